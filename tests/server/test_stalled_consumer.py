"""As many messages wait for a delayed retry as the consumer's max_ack_pending: nothing else is
delivered, and a reader that waits says so."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, RetryLater, Worker, consumers, subjects

spec = consumers.executor_fs_read
vetted = subjects.intents.vetted


async def limit(bus: AsyncSmithBus, most: int) -> None:
    """Have the server deliver no more than `most` messages without an answer."""
    api = bus._session.api
    info = await api.consumer_info(spec.stream, spec.name)
    body = {"stream_name": spec.stream, "config": {**info["config"], "max_ack_pending": most}, "action": "update"}
    await api.call(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, stream=spec.stream, consumer=spec.name)


async def put(bus: Any, *paths: str) -> None:
    for path in paths:
        intent = read_intent(path)
        await bus.publish(vetted.of(intent), intent)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING and "deliver" in one.getMessage()]


async def test_a_worker_whose_delayed_retries_fill_the_consumer_says_so(
    face: Face, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []
    later = 7.0

    def plain(message: Any) -> None:
        if message.payload.params.path == "/later" and message.metadata.num_delivered == 1:
            raise RetryLater(later)
        handled.append(message.payload.params.path)

    async def handle(message: Any) -> None:
        plain(message)

    async with account.applied() as other, face.bus(account.url) as bus:
        await limit(other, 3)
        worker = face.worker(bus, spec)
        worker.handler(handle if face.is_async else plain)
        await put(bus, *["/later"] * 3, "/now")
        running = asyncio.ensure_future(worker.run())
        (told,) = await eventually_async(lambda: warnings(caplog), 15)
        assert "ATOMS_VETTED/executor-fs-read delivers nothing: 3 messages are unanswered" in told
        assert "max_ack_pending=3, and 1 more wait; 3 of them wait for a retry that this process has delayed" in told
        assert (await other.consumer(spec).info()).is_full
        await eventually_async(lambda: len(handled) == 4, 15)
        await eventually_async(lambda: len(warnings(caplog)) == 2)
        assert "ATOMS_VETTED/executor-fs-read delivers again, after" in warnings(caplog)[1]
        await worker.stop()
        await running


async def test_a_worker_that_was_restarted_says_so_though_it_has_delayed_nothing(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smith_sdk._core.jetstream.consumer_state._FIRST_PAUSE", 1.0)
    async with account.applied() as before, account.applied() as bus:
        await limit(before, 2)
        await put(before, "/a", "/b", "/c")
        for message in await before.consumer(spec).fetch(2):
            await message.nack(600)
        worker = Worker(bus, spec)

        @worker.handler
        async def handle(message: Any) -> None:
            """Gets nothing."""

        running = asyncio.ensure_future(worker.run())
        (told,) = await eventually_async(lambda: warnings(caplog), 20)
        assert "other readers hold them" in told
        await worker.stop()
        await running


async def test_a_worker_that_is_busy_itself_is_not_warned_about(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()
    async with account.applied() as bus:
        await limit(bus, 2)
        looks = 0
        info = bus._session.api.consumer_info

        async def counted(stream: str, consumer: str) -> dict[str, Any]:
            nonlocal looks
            looks += 1
            return await info(stream, consumer)

        bus._session.api.consumer_info = counted  # type: ignore[method-assign]
        worker = Worker(bus, spec, concurrency=2)

        @worker.handler
        async def handle(message: Any) -> None:
            await release.wait()

        await put(bus, "/a", "/b", "/c")
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.running == 2)
        at_start, watched = looks, asyncio.get_running_loop().time()
        await eventually_async(lambda: asyncio.get_running_loop().time() > watched + 6)
        assert looks == at_start
        release.set()
        await eventually_async(lambda: worker.stats.succeeded == 3)
        await worker.stop()
        await running
    assert not warnings(caplog)
