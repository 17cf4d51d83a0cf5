"""A stream or consumer that is deleted and created again while it is used, on a real server.

Readers and workers go on by themselves, and nothing that is meant for a message of the former
stream reaches the one that has its sequence now.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, consumers, result_of, subjects
from smith_sdk._core.jetstream import pull_absence
from smith_sdk._core.jetstream.session import Session
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.aio.stored_results import StoredResults
from smith_sdk.errors import ConsumerNotFound, StreamNotFound

raw = subjects.intents.raw
vetted = subjects.intents.vetted
spec = consumers.admission
SOON = 5.0
"""Seconds within which a stream that was created again is used again."""


async def put(bus: Any, *names: str) -> None:
    for name in names:
        intent = read_intent(name)
        await bus.publish(raw.of(intent), intent)


async def recreate(other: AsyncSmithBus, what: str = "stream") -> None:
    """Delete the stream or the consumer, and apply the contract again."""
    if what == "stream":
        await other._session.api.stream_delete(spec.stream)
    else:
        await other._session.api.consumer_delete(spec.stream, spec.name)
    await other.streams.apply(profile="dev")


async def pulled(other: AsyncSmithBus) -> bool:
    return (await other.consumer(spec).info()).num_waiting > 0


async def unacked(other: AsyncSmithBus, count: int) -> bool:
    info = await other.consumer(spec).info()
    return (info.num_ack_pending, info.num_pending) == (count, 0)


@contextlib.asynccontextmanager
async def working(worker: Any) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.ensure_future(worker.run())
    try:
        yield running
    finally:
        await worker.stop()
        await asyncio.wait_for(running, 15)


def path(message: Any) -> str:
    found: str = message.payload.params.path
    return found


def bus_session(face: Face, bus: Any) -> Session:
    session: Session = (bus if face.is_async else bus.inner._aio)._session
    return session


# ---- it goes on


@pytest.mark.parametrize("what", ["stream", "consumer"])
async def test_a_worker_goes_on(face: Face, what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "smith_sdk")
    seen: list[str] = []
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        worker = face.worker(bus, spec)
        worker.handler(lambda message: seen.append(path(message)))
        await put(other, "before")
        async with working(worker):
            await eventually_async(lambda: seen == ["before"] and worker.stats.succeeded == 1)
            await eventually_async(lambda: pulled(other))
            await recreate(other, what)
            await put(other, "after")
            began = time.monotonic()
            await eventually_async(lambda: seen == ["before", "after"], 15)
            took = time.monotonic() - began
            await eventually_async(lambda: unacked(other, 0))
    assert took < SOON
    assert "waiting up to 10 s for it to be created again" in caplog.text
    assert "SDLC_RAW/admission: the consumer was created again, and is read on" in caplog.text
    assert ("stream SDLC_RAW was deleted and created again: it is read from its start" in caplog.text) is (what == "stream")


@pytest.mark.parametrize("what", ["stream", "consumer"])
async def test_an_iteration_goes_on(face: Face, what: str) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(other, "before")
        async with bus.consumer(spec).messages() as messages:
            first = await anext(messages)
            await first.ack_sync()
            waiting = asyncio.ensure_future(anext(messages))
            await recreate(other, what)
            await put(other, "after")
            second = await asyncio.wait_for(waiting, 15)
            assert (path(first), path(second)) == ("before", "after")
            await second.ack_sync()
            assert second.metadata.stream_seq == (1 if what == "stream" else 2)


async def test_a_consumer_is_waited_for_while_there_is_no_stream(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other, bus.consumer(spec).messages() as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await eventually_async(lambda: pulled(other))
        await other._session.api.stream_delete(spec.stream)
        await asyncio.wait({waiting}, timeout=0.7)
        assert not waiting.done()
        await other.streams.apply(profile="dev")
        await put(other, "after")
        assert path(await asyncio.wait_for(waiting, 15)) == "after"


async def test_it_is_noticed_by_the_count_of_deliveries_also_without_a_pull(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """With all slots busy nothing is requested, so no status tells of it."""
    caplog.set_level(logging.WARNING, "smith_sdk")
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(other, "a", "b", "c")
        async with bus.consumer(spec).messages(prefetch=3) as messages:
            former = [await anext(messages) for _ in range(3)]
            await eventually_async(lambda: unacked(other, 3))
            await recreate(other)
            await put(other, "new-a", "new-b")
            assert [path(await asyncio.wait_for(anext(messages), 15)) for _ in range(2)] == ["new-a", "new-b"]
            await eventually_async(lambda: "stream SDLC_RAW was deleted and created again" in caplog.text)
            for message in former:
                await message.ack()
            assert await unacked(other, 2)


# ---- what was for the former stream


@pytest.mark.parametrize("verdict", ["ack", "nack", "term", "in_progress"])
async def test_a_late_verdict_is_not_taken_for_one_on_the_new_message(face: Face, verdict: str) -> None:
    """The server goes by the sequence alone: the message that has it now would be settled."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(other, "old")
        async with bus.consumer(spec).messages() as messages:
            old = await anext(messages)
            waiting = asyncio.ensure_future(anext(messages))
            await recreate(other)
            await put(other, "new")
            new = await asyncio.wait_for(waiting, 15)
            assert (old.metadata.stream_seq, new.metadata.stream_seq) == (1, 1)
            await getattr(old, verdict)()
            await bus.flush()
            assert await unacked(other, 1)  # also not redelivered
            assert new.metadata.num_delivered == 1
            await new.ack_sync()
            assert await unacked(other, 0)


async def test_nor_while_it_is_not_known_yet_what_was_created_again(
    face: Face, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another reader may have the new message by then."""
    caplog.set_level(logging.WARNING, "smith_sdk")
    monkeypatch.setattr(pull_absence, "_PAUSE", 60.0)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(other, "old-1", "old-2")
        async with bus.consumer(spec).messages() as messages:
            old = [await anext(messages) for _ in range(2)]
            waiting = asyncio.ensure_future(anext(messages))
            await eventually_async(lambda: pulled(other))
            await recreate(other)
            await put(other, "new-1", "new-2")
            new = await other.consumer(spec).fetch(2, timeout=10)
            assert [path(message) for message in new] == ["new-1", "new-2"]
            await eventually_async(lambda: "waiting up to 10 s for it" in caplog.text)
            await old[0].ack()
            with pytest.raises(ConsumerNotFound, match="nothing was acknowledged"):
                await old[1].ack_sync()
            await bus.flush()
            assert await unacked(other, 2)
            for message in new:
                await message.ack_sync()
        await asyncio.wait({waiting}, timeout=10)
        assert not bus_session(face, bus).replaced.is_needed  # nothing is dropped once nobody waits


async def test_a_confirmed_ack_of_a_message_that_does_not_exist_any_more_is_an_error(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(other, "old")
        async with bus.consumer(spec).messages() as messages:
            old = await anext(messages)
            waiting = asyncio.ensure_future(anext(messages))
            await recreate(other)
            await put(other, "new")
            await asyncio.wait_for(waiting, 15)
            with pytest.raises(StreamNotFound, match="SDLC_RAW was deleted and created again after it had delivered sequence 1"):
                await old.ack_sync()
            assert await unacked(other, 1)


@pytest.mark.parametrize("ack", ["sent", "confirmed"])
async def test_a_handler_that_ran_meanwhile_settles_nothing_of_the_new_stream(face: Face, ack: str) -> None:
    seen: list[str] = []
    release = asyncio.Event()
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        worker = face.worker(bus, spec, concurrency=2, ack=ack)
        loop = asyncio.get_running_loop()

        def handle(message: Any) -> None:
            seen.append(path(message))
            if path(message) != "next":
                asyncio.run_coroutine_threadsafe(release.wait(), loop).result(30)

        worker.handler(handle)
        await put(other, "old")
        async with working(worker):
            await eventually_async(lambda: seen == ["old"])
            await eventually_async(lambda: pulled(other))
            await recreate(other)
            await put(other, "new")
            await eventually_async(lambda: seen == ["old", "new"])
            await other.consumer(spec).pause(60)  # "new" stays as it is
            release.set()
            await eventually_async(lambda: worker.stats.running == 0)
            await eventually_async(lambda: unacked(other, 0))
            stats = worker.stats
            assert (stats.succeeded, stats.unanswered) == ((2, 0) if ack == "sent" else (1, 1))


# ---- it is not created again


@pytest.mark.parametrize(("what", "error"), [("consumer", ConsumerNotFound), ("stream", StreamNotFound)])
async def test_a_worker_ends_when_nobody_creates_it_again(
    face: Face, what: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.5)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        worker = face.worker(bus, spec)
        worker.handler(lambda message: None)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulled(other))
        if what == "stream":
            await other._session.api.stream_delete(spec.stream)
        else:
            await other._session.api.consumer_delete(spec.stream, spec.name)
        with pytest.raises(error, match="smith streams apply"):
            await asyncio.wait_for(running, 15)


async def test_what_is_missing_at_the_start_is_an_error_at_once(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "smith_sdk")
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await other._session.api.consumer_delete(spec.stream, spec.name)
        worker = face.worker(bus, spec)
        worker.handler(lambda message: None)
        with pytest.raises(ConsumerNotFound):
            await asyncio.wait_for(worker.run(), 15)
        with pytest.raises(ConsumerNotFound):
            await asyncio.wait_for(anext(bus.consumer(spec).messages()), 15)
    assert "waiting up to" not in caplog.text


async def test_a_fetch_does_not_wait(face: Face) -> None:
    """Its caller decides what to do: a fetch is one request."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        fetching = asyncio.ensure_future(bus.consumer(spec).fetch(1, timeout=60))
        await eventually_async(lambda: pulled(other))
        await other._session.api.consumer_delete(spec.stream, spec.name)
        with pytest.raises(ConsumerNotFound):
            await asyncio.wait_for(fetching, 15)
        await other.streams.apply(profile="dev")
        await put(other, "again")
        (message,) = await bus.consumer(spec).fetch(1, timeout=10)
        assert path(message) == "again"


# ---- publishers


async def test_a_publisher_goes_on(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """An error while there is no stream; then its messages are stored, also those of an interest
    stream, whose consumers are known for some seconds."""
    caplog.set_level(logging.WARNING, "smith_sdk")
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        for number in range(3):
            intent = read_intent(f"{number}")
            await bus.publish(raw.of(intent), intent)
            await bus.publish(vetted.of(intent), intent)
        await other._session.api.stream_delete("SDLC_RAW")
        await other._session.api.stream_delete("ATOMS_VETTED")
        for subject in (raw, vetted):
            intent = read_intent("lost")
            with pytest.raises(StreamNotFound):
                await bus.publish(subject.of(intent), intent, timeout=10)
        await other.streams.apply(profile="dev")
        began = time.monotonic()
        for subject in (raw, vetted):
            intent = read_intent("kept")
            ack = await bus.publish(subject.of(intent), intent, timeout=10)
            assert ack.seq == 1
        assert time.monotonic() - began < SOON
        for stream in ("SDLC_RAW", "ATOMS_VETTED"):
            assert caplog.text.count(f"stream {stream} exists again: what is published to it is stored") == 1
        assert [info.messages for info in await other.streams.info() if info.name in ("SDLC_RAW", "ATOMS_VETTED")] == [1, 1]


async def test_the_result_of_an_intent_is_found_in_a_stream_of_results_that_was_created_again(account: Account) -> None:
    """Its sequences begin again, below what was looked at before."""
    intent = read_intent()
    result, subject = result_of(intent), subjects.results(intent_id=intent.id)
    async with account.applied() as bus:
        looked_up = StoredResults(bus._session, subject, lambda _: False)
        for other in map(result_of, (read_intent("a"), read_intent("b"))):
            await bus.publish(subjects.results.of(other), other)
        await bus._session.publish(str(subject), b"no result", stream="ATOMS_RESULTS", msg_id="stray")
        assert await looked_up.newest() is None
        await bus._session.api.stream_delete("ATOMS_RESULTS")
        await bus.streams.apply(profile="dev")
        await bus.publish(subjects.results.of(result), result)
        found = await looked_up.newest()
        assert found is not None
        assert found.message.seq == 1
        assert found.payload == result
