"""Limits for one pull that an operator sets on a consumer, and no contract declares: every reader
keeps to them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, Message, Worker, consumers, subjects
from smith_sdk._core.jetstream.api import NANOS
from smith_sdk.protocol import FsReadV1Intent

spec = consumers.executor_fs_read
vetted = subjects.intents.vetted

LIMITS: tuple[tuple[dict[str, int], str], ...] = (
    ({"max_batch": 1}, "max_batch=1"),
    ({"max_batch": 3}, "max_batch=3"),
    ({"max_expires": 1_500_000_000}, "max_expires=1.5"),
    ({"max_bytes": 2000}, "max_bytes=2000"),
    ({"max_batch": 2, "max_expires": 2 * NANOS}, "max_batch=2"),
)


async def limit(bus: Any, **config: int) -> None:
    """What an operator does with the nats command."""
    api = (bus if isinstance(bus, AsyncSmithBus) else bus.inner._aio)._session.api

    async def work() -> None:
        info = await api.consumer_info(spec.stream, spec.name)
        body = {"stream_name": spec.stream, "config": {**info["config"], **config}, "action": "update"}
        await api.call(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, stream=spec.stream, consumer=spec.name)

    if isinstance(bus, AsyncSmithBus):
        await work()
    else:
        await asyncio.to_thread(bus.inner._portal.call, work)


async def put(bus: Any, count: int) -> None:
    for number in range(count):
        intent = read_intent(f"/{number}")
        await bus.publish(vetted.of(intent), intent)


@pytest.mark.parametrize(("config", "logged"), LIMITS, ids=lambda one: one if isinstance(one, str) else "")
async def test_a_worker_and_an_iteration_ask_for_no_more(
    config: dict[str, int], logged: str, face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[str] = []

    def plain(message: Any) -> None:
        handled.append(message.payload.params.path)

    async def handle(message: Any) -> None:
        plain(message)

    async with face.applied() as bus:
        worker = face.worker(bus, spec, concurrency=4)
        worker.handler(handle if face.is_async else plain)
        running = asyncio.ensure_future(worker.run())
        await put(bus, 1)
        await eventually_async(lambda: len(handled) == 1)
        await limit(bus, **config)  # while the worker's pulls stand
        await put(bus, 12)
        await eventually_async(lambda: len(handled) == 13)
        await worker.stop()
        await running

        await put(bus, 6)
        messages = (bus if face.is_async else bus.inner).consumer(spec).messages(max_bytes=1_000_000)
        if face.is_async:
            async with messages:
                for _ in range(6):
                    await (await asyncio.wait_for(anext(messages), 10)).ack()
        else:
            await asyncio.to_thread(lambda: [next(messages).ack() for _ in range(6)])
            await asyncio.to_thread(messages.stop)
        told = [one.getMessage() for one in caplog.records if "requesting no more than that" in one.getMessage()]
    if "max_bytes" not in config:
        assert logged in told[-1]
    assert len(told) <= len(config), "once for each limit"


@pytest.mark.parametrize("config", [{"max_batch": 4}, {"max_expires": 1_000_000_000}], ids=str)
async def test_a_fetch_is_split_into_pulls_that_the_consumer_allows(config: dict[str, int], face: Face) -> None:
    async with face.applied() as bus:
        await limit(bus, **config)
        await put(bus, 10)
        for number in (10, 10):
            began = time.monotonic()
            messages = await bus.consumer(spec).fetch(number, timeout=20)
            assert len(messages) == number
            assert time.monotonic() - began < 15
            for message in messages:
                await message.nack()
        later = asyncio.ensure_future(bus.consumer(spec).fetch(11, timeout=20))
        await asyncio.sleep(2)
        await put(bus, 1)
        assert len(await later) == 11, "the fetch lasts longer than one pull may"


async def test_few_pulls_may_wait_and_none_is_lost(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """A pull beyond max_waiting is dropped without a word: its messages would be waited for."""
    async with account.applied() as bus:
        api = bus._session.api
        info = await api.consumer_info(spec.stream, spec.name)
        await api.call(f"CONSUMER.DELETE.{spec.stream}.{spec.name}", None, stream=spec.stream, consumer=spec.name)
        kept = {name: value for name, value in info["config"].items() if name != "metadata"}
        body = {"stream_name": spec.stream, "config": {**kept, "max_waiting": 1, "max_batch": 1}, "action": "create"}
        await api.call(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, stream=spec.stream, consumer=spec.name)
        await put(bus, 20)
        began = time.monotonic()
        worker = Worker(bus, spec, concurrency=8)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            await asyncio.sleep(0.01)

        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.succeeded == 20, 20)
        await worker.stop()
        await running
        assert time.monotonic() - began < 20
        assert bus._session.consumer_state(spec.stream, spec.name).limits.pulls == 1
    assert "no heartbeat" not in caplog.text


async def test_an_unlimited_consumer_is_not_looked_up(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with account.applied() as bus:
        await put(bus, 3)
        assert len(await bus.consumer(spec).fetch(3)) == 3
        state = bus._session.consumer_state(spec.stream, spec.name)
        assert not state.limits.is_looked_up
        assert state.limits.describe() == ""
