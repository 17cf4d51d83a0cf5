"""Consumers: their info; paused, resumed, reset and shared by groups while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from buses import Account, Face, declaring, read_intent
from msgspec.structs import replace
from support import eventually_async, eventually_has

from smith_sdk import AsyncSmithBus, SmithBus, consumers, subjects
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.errors import ChangeRefused, ConsumerNotFound, DeadlineExceeded, OptionsError
from smith_sdk.topology import CONTRACT

admission = consumers.admission
results = consumers.http_results


async def put(bus: Any, count: int) -> list[str]:
    """Publish intents into the work queue of raw intents; return their ids."""
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])
    return [intent.id for intent in intents]


async def has_pending(consumer: Any, count: int) -> bool:
    return bool((await consumer.info()).num_pending == count)


# ---- info


async def test_info_has_when_it_was_last_active(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        before = await consumer.info()
        assert (before.last_delivered, before.last_acked, before.paused_until) == (None, None, None)
        await put(bus, 3)
        first, *_ = await consumer.fetch(2)
        began = datetime.now(UTC)
        await first.ack_sync()
        await eventually_async(lambda: has_pending(consumer, 1))
        found = await consumer.info()
        assert found.last_delivered <= found.last_acked
        assert timedelta(seconds=-1) < found.last_acked - began < timedelta(seconds=5)
        assert found.last_delivered.utcoffset() == timedelta(0)
        assert (found.num_ack_pending, found.filters) == (1, admission.filters)
        (of_stream,) = (await bus.streams.get("SDLC_RAW")).consumers
        assert of_stream == found


async def test_a_list_with_a_message_that_does_not_decode_is_shown_and_is_plain_data(account: Account) -> None:
    def check(messages: Any, id: str) -> None:
        good, broken = messages.to_dicts()
        assert good["payload"]["id"] == id
        assert "payload" not in broken
        assert (broken["raw"], broken["stream_seq"]) == (b"<b>broken", 2)
        assert "smith.intents.raw.fs.read.v1" in broken["error"]
        shown = messages._repr_html_()
        assert "&lt;b&gt;broken" in shown
        assert "<b>" not in shown

    def blocking(id: str) -> None:
        with SmithBus(account.url) as bus:
            check(bus.consumer(admission).fetch(2), id)

    async with account.applied() as bus:
        (id,) = await put(bus, 1)
        await bus._session.publish("smith.intents.raw.fs.read.v1", b"<b>broken", stream="SDLC_RAW", msg_id="x")
        messages = await bus.consumer(admission).fetch(2)
        check(messages, id)
        for message in messages:
            await message.nack()
        await asyncio.to_thread(blocking, id)


# ---- a confirmed acknowledgement


async def test_an_unconfirmed_ack_ends_at_its_timeout(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put(bus, 1)
        (message,) = await bus.consumer(admission).fetch(1)
        await other._session.api.consumer_delete(admission.stream, admission.name)
        with pytest.raises(DeadlineExceeded, match=r"\$JS\.ACK.* within 0.5 s") as caught:
            await message.ack_sync(timeout=0.5)
        assert caught.value.timeout == 0.5


async def test_an_ack_is_sent_again_until_it_is_confirmed(account: Account) -> None:
    """A consumer that is created again stands for one whose leader changes.

    First no server subscribes to the ack, then the ack is lost, then it counts.
    """
    async with account.applied() as bus:
        consumer = bus.consumer(admission)
        await put(bus, 1)
        (message,) = await consumer.fetch(1)
        await bus._session.api.consumer_delete(admission.stream, admission.name)
        acking = asyncio.ensure_future(message.ack_sync(timeout=30))
        done, _ = await asyncio.wait([acking], timeout=0.3)
        assert not done
        await bus.streams.apply(profile="dev")
        done, _ = await asyncio.wait([acking], timeout=0.3)
        assert not done
        assert len(await consumer.fetch(1)) == 1
        await acking
        assert (await consumer.info()).num_ack_pending == 0


# ---- pause and resume


async def test_a_paused_consumer_delivers_nothing_until_it_is_resumed(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        paused = await consumer.pause(timedelta(minutes=10))
        assert timedelta(minutes=9) < paused.paused_until - datetime.now(UTC) < timedelta(minutes=11)
        assert (await consumer.info()).paused_until == paused.paused_until
        await put(bus, 2)
        assert await consumer.fetch(1, timeout=0.3) == []
        assert (await consumer.resume()).paused_until is None
        assert (await consumer.info()).paused_until is None
        assert len(await consumer.fetch(2)) == 2
        assert (await consumer.resume()).paused_until is None  # safe to repeat


async def test_a_pause_ends_by_itself_and_a_later_one_replaces_it(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        await put(bus, 1)
        await consumer.pause(3600)
        paused = await consumer.pause(for_=3)
        early = await consumer.fetch(1, timeout=0.1)
        assert not early or datetime.now(UTC) >= paused.paused_until  # a machine may be so slow that it has ended
        assert len(early or await consumer.fetch(1, timeout=20)) == 1
        assert (await consumer.info()).paused_until is None


async def test_a_pause_is_not_drift(face: Face) -> None:
    async with face.applied() as bus:
        await bus.consumer(admission).pause(3600)
        await bus.streams.verify("dev")


async def test_a_reader_waits_through_a_pause_and_goes_on(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "HEARTBEAT", 0.5)  # the server serves waiting pulls at the next one after a pause
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        first, second = await put(bus, 1), []
        async with consumer.messages(prefetch=3) as messages:
            message = await asyncio.wait_for(anext(messages), 20)
            assert [message.payload.id] == first
            await consumer.pause(3600)
            await message.ack_sync()  # what was delivered before can still be answered
            second = await put(bus, 5)
            waiting = asyncio.ensure_future(anext(messages))
            await eventually_async(lambda: has_pending(consumer, 5))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            await consumer.resume()
            seen = [(await asyncio.wait_for(waiting, 20)).payload.id]
            while len(seen) < 5:
                seen.append((await asyncio.wait_for(anext(messages), 20)).payload.id)
        assert seen == second


async def test_a_worker_waits_through_a_pause_and_goes_on(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "HEARTBEAT", 0.5)  # the server serves waiting pulls at the next one after a pause
    async with face.applied() as bus, working(face, bus, admission) as handled:
        first = await put(bus, 3)
        await eventually_async(lambda: sorted(handled) == sorted(first))
        await bus.consumer(admission).pause(3600)
        second = await put(bus, 3)
        await eventually_async(lambda: has_pending(bus.consumer(admission), 3))
        assert sorted(handled) == sorted(first)
        await bus.consumer(admission).resume()
        await eventually_async(lambda: sorted(handled) == sorted(first + second))


@asynccontextmanager
async def working(face: Face, bus: Any, spec: Any, **options: Any) -> AsyncIterator[list[str]]:
    """Run a worker; yield the ids of the messages it has handled."""
    worker = face.worker(bus, spec, **options)
    handled: list[str] = []

    def handle(message: Any) -> None:
        handled.append(message.payload.id)

    worker.handler(handle)
    running = asyncio.ensure_future(worker.run())
    try:
        yield handled
    finally:
        await worker.stop()
        await running


# ---- reset


async def test_a_reset_redelivers_what_is_not_acknowledged(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        ids = await put(bus, 5)
        for message in await consumer.fetch(4):
            if message.payload.id in ids[:2]:
                await message.ack_sync()
        found = await consumer.reset()
        assert (found.num_pending, found.num_ack_pending, found.last_delivered) == (3, 0, None)
        again = await consumer.fetch(3, timeout=20)
        assert [message.payload.id for message in again] == ids[2:]
        assert {message.metadata.num_delivered for message in again} == {1}


async def test_a_reset_to_a_sequence(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        ids = await put(bus, 6)
        assert (await consumer.reset(5)).num_pending == 2
        assert [one.payload.id for one in await consumer.fetch(2, timeout=20)] == ids[4:]
        assert (await consumer.reset(seq=2)).num_pending == 5
        assert [one.payload.id for one in await consumer.fetch(5, timeout=20)] == ids[1:]
        assert (await consumer.reset(7)).num_pending == 0  # the sequence of the next message
        later = await put(bus, 1)
        assert [one.payload.id for one in await consumer.fetch(1, timeout=20)] == later


async def test_a_reader_goes_on_through_a_reset(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        ids = await put(bus, 20)
        seen: list[str] = []
        async with consumer.messages(prefetch=4) as messages:
            for _ in range(10):
                seen.append((await asyncio.wait_for(anext(messages), 20)).payload.id)
            await consumer.reset(1)
            while seen[-20:] != ids:
                seen.append((await asyncio.wait_for(anext(messages), 20)).payload.id)
                assert len(seen) <= 40
            waiting = asyncio.ensure_future(anext(messages))
            await consumer.reset()  # while a pull waits
            await asyncio.wait_for(waiting, 20)
            last = await put(bus, 1)
            while seen[-1:] != last:
                message = await asyncio.wait_for(anext(messages), 20)
                await message.ack_sync()
                seen.append(message.payload.id)
        assert set(seen) == {*ids, *last}


async def test_a_worker_goes_on_through_a_reset_and_settles_everything(face: Face) -> None:
    async with face.applied() as bus, working(face, bus, admission, concurrency=4) as handled:
        ids = await put(bus, 50)
        for _ in range(3):
            await bus.consumer(admission).reset()
            ids += await put(bus, 50)

        async def empty() -> bool:
            info = await bus.streams.get("SDLC_RAW")
            (reader,) = info.consumers
            return (info.messages, reader.num_pending, reader.num_ack_pending) == (0, 0, 0)

        await eventually_async(empty, 30)
        assert set(handled) == set(ids)


async def test_resets_and_pauses_that_are_refused(face: Face) -> None:
    new = replace(admission, name="new", stream="ATOMS_RESULTS", filters=("smith.results.*",), deliver_policy="new")
    gone = replace(new, name="gone")
    async with face.applied(contract=replace(CONTRACT, consumers=(*CONTRACT.consumers, new, gone))) as bus:
        await put(bus, 3)
        consumer = bus.consumer(admission)
        for seq in (0, -1, True, "3"):
            with pytest.raises(OptionsError, match=r"reset\(seq\)"):
                await consumer.reset(seq)
        with pytest.raises(OptionsError, match=r"reset\(seq=5\): stream SDLC_RAW ends at 3"):
            await consumer.reset(5)
        await eventually_has(consumer.info, num_pending=3)
        with pytest.raises(ChangeRefused, match="leave out the sequence") as refused:
            await bus.consumer(new).reset(1)
        assert (refused.value.err_code, refused.value.stream, refused.value.consumer) == (10204, "ATOMS_RESULTS", "new")
        async with AsyncSmithBus(face.url) as other:
            await other._session.api.consumer_delete("ATOMS_RESULTS", "gone")
        for call in ("reset", "resume"):
            with pytest.raises(ConsumerNotFound, match="gone does not exist on stream ATOMS_RESULTS"):
                await getattr(bus.consumer(gone), call)()
        with pytest.raises(ConsumerNotFound, match="gone does not exist on stream ATOMS_RESULTS"):
            await bus.consumer(gone).pause(1)
        for wait in (0, -1, float("inf"), "1m"):
            with pytest.raises(OptionsError, match=r"pause\(for_\)"):
                await consumer.pause(wait)
        with pytest.raises(OptionsError, match="no such date"):
            await consumer.pause(1e300)


async def test_a_server_that_is_too_old_is_refused_by_its_api_level(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the required levels raised: the tests have servers of one release."""
    monkeypatch.setattr(consumer_module, "RESET_LEVEL", 98)
    monkeypatch.setattr(consumer_module, "PAUSE_LEVEL", 99)
    async with face.applied() as bus:
        consumer = bus.consumer(admission)
        with pytest.raises(ChangeRefused, match=r"resetting consumer admission of stream SDLC_RAW needs API level 98 .* has 5"):
            await consumer.reset()
        with pytest.raises(ChangeRefused, match=r"pausing .* needs API level 99"):
            await consumer.pause(1)
        with pytest.raises(ChangeRefused, match=r"resuming .* needs API level 99"):
            await consumer.resume()


# ---- limits of one pull


async def test_a_consumer_that_limits_its_pulls_delivers_everything(face: Face) -> None:
    bounded = replace(admission, max_batch=2, max_expires=0.3, max_bytes=4096)
    declared = replace(CONTRACT, consumers=tuple(bounded if one is admission else one for one in CONTRACT.consumers))
    async with face.applied(contract=declared) as bus:
        ids, seen = await put(bus, 90), []

        async def take(message: Any) -> None:
            await message.ack_sync()
            seen.append(message.payload.id)

        for message in await bus.consumer(bounded).fetch(50, timeout=30):
            await take(message)
        assert len(seen) == 50
        async with bus.consumer(bounded).messages() as messages:
            while len(seen) < 70:
                await take(await asyncio.wait_for(anext(messages), 20))
        async with working(face, bus, bounded) as handled:
            await eventually_async(lambda: set(seen + handled) == set(ids))
        fetching = asyncio.ensure_future(bus.consumer(bounded).fetch(3, timeout=20))
        ids = await put(bus, 1)
        await eventually_async(lambda: delivered(bus, bounded))
        ids += await put(bus, 2)
        assert {message.payload.id for message in await asyncio.wait_for(fetching, 30)} == set(ids)


async def test_a_message_larger_than_max_bytes_is_delivered_from_a_consumer_that_limits_its_pulls(account: Account) -> None:
    bounded = replace(admission, max_batch=2)
    async with account.applied(contract=declaring(bounded)) as bus:
        for number, size in enumerate((10, 20_000, 30)):
            subject = str(subjects.intents.raw.of(read_intent()))
            await bus._session.publish(subject, bytes(size), stream=bounded.stream, msg_id=str(number))
        async with bus.consumer(bounded).messages(prefetch=10, max_bytes=2_000) as messages:
            seen = []
            for _ in range(3):
                message = await asyncio.wait_for(anext(messages), 20)
                await message.ack()
                seen.append(len(message.raw))
        assert seen == [10, 20_000, 30]


async def delivered(bus: Any, which: Any) -> bool:
    info = await bus.consumer(which).info()
    return bool(info.num_pending == 0 and info.num_ack_pending)


# ---- priority groups


def grouping(policy: Any, *groups: str) -> tuple[Any, Any]:
    """Smith's contract with a consumer in groups, and that consumer."""
    grouped = replace(admission, priority_policy=policy, priority_groups=groups)
    return replace(CONTRACT, consumers=tuple(grouped if one is admission else one for one in CONTRACT.consumers)), grouped


@pytest.mark.parametrize("groups", [("workers",), ("workers", "helpers")])
@pytest.mark.parametrize("policy", ["overflow", "prioritized"])
async def test_a_consumer_with_priority_groups_delivers(face: Face, policy: str, groups: tuple[str, ...]) -> None:
    declared, grouped = grouping(policy, *groups)
    async with face.applied(contract=declared) as bus:
        ids = await put(bus, 30)
        seen = []
        for _ in range(2):
            for message in await bus.consumer(grouped).fetch(3):
                await message.ack_sync()
                seen.append(message.payload.id)
        async with bus.consumer(grouped).messages(prefetch=5) as messages:
            while len(seen) < 20:
                message = await asyncio.wait_for(anext(messages), 20)
                await message.ack_sync()
                seen.append(message.payload.id)
        async with working(face, bus, grouped) as handled:
            await eventually_async(lambda: set(seen + handled) == set(ids))


async def test_a_consumer_with_a_pinned_client_serves_one_reader_until_it_leaves(face: Face) -> None:
    declared, grouped = grouping("pinned_client", "workers")
    grouped = replace(grouped, priority_timeout=1.0)
    declared = replace(declared, consumers=tuple(grouped if one.name == "admission" else one for one in declared.consumers))
    async with face.applied(contract=declared) as bus:
        ids, seen = await put(bus, 40), []
        consumer = bus.consumer(grouped)
        for _ in range(3):
            for message in await consumer.fetch(3, timeout=20):
                await message.ack_sync()
                seen.append(message.payload.id)
        assert len(seen) == 9
        async with consumer.messages(prefetch=5) as messages:
            while len(seen) < 20:
                message = await asyncio.wait_for(anext(messages), 20)
                await message.ack_sync()
                seen.append(message.payload.id)
            async with working(face, bus, grouped) as handled:
                while len(seen) < 30:
                    message = await asyncio.wait_for(anext(messages), 20)
                    await message.ack_sync()
                    seen.append(message.payload.id)
                assert handled == []
                await messages.stop()
                await eventually_async(lambda: set(seen + handled) == set(ids), 20)
                more = await put(bus, 30)
                await eventually_async(lambda: set(seen + handled) == {*ids, *more}, 20)
