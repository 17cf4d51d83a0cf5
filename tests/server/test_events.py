"""What observers of a bus receive: how each publish ended, and the states of its connection."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import pytest
from buses import Account, read_intent
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk._core.events import Observer, Published
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    BusClosed,
    NoInterest,
    PayloadTooLarge,
    PublishUnconfirmed,
    StreamNotFound,
    WrongSequence,
)
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

Make = Callable[..., EmbeddedServer]
raw = subjects.intents.raw


class Recorder(Observer):
    def __init__(self) -> None:
        self.published: list[Published] = []
        self.states: list[str] = []
        self.reasons: list[str] = []

    def on_published(self, event: Published) -> None:
        self.published.append(event)

    def on_state(self, state: str, reason: str) -> None:
        self.states.append(state)
        self.reasons.append(reason)

    def the_one(self, kind: type[BaseException] | None = None) -> Published:
        """The only publish that ended; with an error of this `kind`."""
        (event,) = self.published
        assert type(event.error) is (type(None) if kind is None else kind)
        return event


def observed(bus: AsyncSmithBus) -> Recorder:
    recorder = Recorder()
    bus._session.events.add(recorder)
    return recorder


@contextmanager
def halted(server: EmbeddedServer) -> Iterator[None]:
    halt(server.pid)
    try:
        yield
    finally:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGCONT)


async def test_an_acknowledged_publish_and_its_duplicate(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        event = recorder.the_one()
        subject = str(raw.of(intent))
        assert (event.subject, event.stream, event.msg_id) == (subject, "SDLC_RAW", f"{subject}:{intent.id}")
        assert event.size == len(msgspec.json.encode(intent))
        assert not event.duplicate
        assert 0 < event.seconds < 10
        assert (await bus.publish(raw.of(intent), intent)).duplicate
        assert [one.duplicate for one in recorder.published] == [False, True]


async def test_every_publish_of_many_is_reported_once_before_its_caller_goes_on(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        intents = [read_intent(str(number)) for number in range(200)]
        acks = await bus.publish_many([raw.of(one).envelope(one) for one in intents])
        assert len(acks) == 200
        assert [one.msg_id for one in recorder.published] == [f"{raw.of(one)}:{one.id}" for one in intents]


def refused(intent: FsReadV1Intent) -> PublishRequest:
    """One that the stream refuses: it is not at that sequence."""
    headers = {"Nats-Expected-Last-Sequence": "7"}
    return PublishRequest(str(raw.of(intent)), msgspec.json.encode(intent), "SDLC_RAW", intent.id, headers)


async def test_a_publish_that_the_stream_refused(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        intent = read_intent()
        with pytest.raises(WrongSequence) as caught:
            await (await bus._session.submit(refused(intent)))
        assert recorder.the_one(WrongSequence).error is caught.value


async def test_a_publish_that_was_refused_before_it_was_sent(account: Account) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        large = read_intent("x" * (bus._session.connection.max_payload + 1))
        with pytest.raises(PayloadTooLarge) as caught:
            await bus.publish(raw.of(large), large)
        assert recorder.the_one(PayloadTooLarge).error is caught.value


async def test_a_publish_to_an_interest_stream_that_would_drop_it(account: Account) -> None:
    contract = msgspec.structs.replace(CONTRACT, consumers=())
    async with AsyncSmithBus(account.url, contract=contract) as bus:
        await bus.streams.apply(profile="dev")
        recorder = observed(bus)
        intent = read_intent()
        vetted = subjects.intents.vetted.of(intent)
        with pytest.raises(NoInterest):
            await bus.publish(vetted, intent)
        assert recorder.the_one(NoInterest).subject == str(vetted)


async def test_a_publish_to_a_stream_that_does_not_exist(account: Account) -> None:
    async with AsyncSmithBus(account.url) as bus:
        recorder = observed(bus)
        intent = read_intent()
        with pytest.raises(StreamNotFound):
            await bus.publish(raw.of(intent), intent)
        assert recorder.the_one(StreamNotFound).stream == "SDLC_RAW"


async def test_an_unconfirmed_publish_and_one_that_found_no_room(make_server: Make) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_messages=1) as full, AsyncSmithBus(server.url) as free:
        await free.streams.apply(profile="dev")
        first, second, third = read_intent(), read_intent(), read_intent()
        with halted(server):
            await full.submit(raw.of(first), first, timeout=60)
            recorders = observed(full), observed(free)
            with pytest.raises(PublishUnconfirmed, match="no room"):
                await full.publish(raw.of(second), second, timeout=0.1)
            with pytest.raises(PublishUnconfirmed, match="the deadline passed"):
                await free.publish(raw.of(third), third, timeout=0.3)
            waited, unconfirmed = (recorder.the_one(PublishUnconfirmed) for recorder in recorders)
        assert isinstance(waited.error, PublishUnconfirmed)
        assert isinstance(unconfirmed.error, PublishUnconfirmed)
        assert [waited.error.may_be_stored, unconfirmed.error.may_be_stored] == [False, True]
        assert 0.1 <= waited.seconds < 30
        assert 0.3 <= unconfirmed.seconds < 30


async def test_a_publish_in_flight_when_the_bus_is_closed(make_server: Make) -> None:
    server = make_server()
    bus = AsyncSmithBus(server.url)
    await bus.connect()
    await bus.streams.apply(profile="dev")
    recorder = observed(bus)
    intent = read_intent()
    with halted(server):
        submitted = await bus.submit(raw.of(intent), intent, timeout=30)
        await bus.close(timeout=0.1)
    with pytest.raises(PublishUnconfirmed):
        await submitted
    assert recorder.the_one(PublishUnconfirmed).msg_id.endswith(intent.id)
    with pytest.raises(BusClosed):
        await bus.publish(raw.of(intent), intent)
    assert isinstance(recorder.published[-1].error, BusClosed)


@pytest.mark.parametrize("room", [1, 10], ids=["waiting_for_room", "in_flight"])
async def test_a_caller_that_stops_waiting(make_server: Make, room: int) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, max_pending_messages=room) as bus:
        await bus.streams.apply(profile="dev")
        first, second = read_intent(), read_intent()
        with halted(server):
            await bus.submit(raw.of(first), first, timeout=20)
            recorder = observed(bus)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await bus.publish(raw.of(second), second, timeout=20)
            await eventually_async(lambda: len(recorder.published) == 1)
            assert recorder.the_one(asyncio.CancelledError).msg_id.endswith(second.id)
        await eventually_async(lambda: len(bus._session.window) == 0)
        assert len(recorder.published) == 1  # `first` was published before it looked


async def test_an_error_that_no_caller_looks_at_is_still_logged(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        recorder = observed(bus)
        intent = read_intent()
        future = await bus._session.submit(refused(intent))
        await eventually_async(future.done)
        recorder.published.clear()
        caplog.clear()
        del future
        gc.collect()
    assert any("exception was never retrieved" in record.getMessage() for record in caplog.records)


async def test_an_event_that_its_own_error_leads_back_to_is_collected(account: Account) -> None:
    class Kept(Recorder): ...

    async with account.applied() as bus:

        async def fail() -> weakref.ref[Kept]:
            recorder = Kept()
            bus._session.events.add(recorder)
            intent = read_intent()
            with pytest.raises(WrongSequence):
                await (await bus._session.submit(refused(intent)))
            bus._session.events.remove(recorder)
            error = recorder.the_one(WrongSequence).error
            assert error is not None
            assert any(frame.f_locals.get("recorder") is recorder for frame, _ in traceback.walk_tb(error.__traceback__))
            return weakref.ref(recorder)

        alive = await fail()
        await asyncio.sleep(0)
        gc.collect()
        assert alive() is None


async def test_an_observer_that_raises_costs_neither_the_message_nor_other_observers(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        def on_published(self, event: Published) -> None:
            raise RuntimeError("broken observer")

    async with account.applied() as bus:
        bus._session.events.add(Broken())
        recorder = observed(bus)
        intent = read_intent()
        with caplog.at_level(logging.ERROR, logger="smith_sdk.events"):
            assert not (await bus.publish(raw.of(intent), intent)).duplicate
        recorder.the_one()
    assert "Broken.on_published" in caplog.text


async def test_without_observers_the_window_alone_has_the_publish(account: Account) -> None:
    async with account.applied() as bus:
        session = bus._session
        intent = read_intent()
        request = PublishRequest(str(raw.of(intent)), msgspec.json.encode(intent), "SDLC_RAW", "1")
        before = session.submit(request)
        recorder = observed(bus)
        with_one = session.submit(request)
        session.events.remove(recorder)
        after = session.submit(request)
        names = [getattr(one, "__qualname__", "") for one in (before, with_one, after)]
        for one in (before, with_one, after):
            await asyncio.wait_for(await one, 10)
        assert names == ["AckWindow.submit", "observed", "AckWindow.submit"]
        assert recorder.published == []  # it no longer observed when they ended


async def test_the_states_of_a_connection_that_is_lost_and_comes_back(make_server: Make) -> None:
    server = make_server()
    bus = AsyncSmithBus(server.url)
    recorder = observed(bus)
    for _ in range(2):  # a bus may be opened again
        await bus.connect()
        await eventually_async(lambda: "connected" in recorder.states)
        server.kill()
        await eventually_async(lambda: "reconnecting" in recorder.states)
        await asyncio.to_thread(server.start)
        await eventually_async(lambda: recorder.states[-1] == "connected")
        await bus.close()
        assert recorder.states[0] == "connecting"
        assert recorder.states.count("connected") == 2
        assert recorder.states.count("closed") == 1
        assert recorder.states[-1] == "closed"
        assert all(recorder.reasons)
        recorder.states.clear()
