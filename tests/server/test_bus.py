"""Moving messages, on both faces and a real server: publish, read, execute."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from buses import Account, Face, declaring, health, log_entry, read_intent, request
from msgspec.structs import replace
from support import eventually_async, has_length, without_login

from smith_sdk import AsyncSmithBus, PubAck, consumers, result_of, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream.delivery import IN_PROGRESS
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    AuthenticationError,
    BusClosed,
    DeadlineExceeded,
    NotAcknowledgeable,
    OptionsError,
    PayloadTooLarge,
    PublishManyError,
    ResultTimeout,
    SubjectMismatch,
)
from smith_sdk.protocol import FsReadV1Params, IntentResult

raw, vetted = subjects.intents.raw, subjects.intents.vetted


# ---- publishing


async def test_a_published_message_is_stored_once_by_its_own_id(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        first = await bus.publish(raw.of(intent), intent)
        again = await bus.publish(raw.of(intent), intent)
        other = await bus.publish(raw.of(intent), read_intent())
        assert (first.stream, first.seq, first.duplicate) == ("SDLC_RAW", 1, False)
        assert (again.seq, again.duplicate) == (1, True)
        assert (other.seq, other.duplicate) == (2, False)


@pytest.mark.parametrize(
    "options", [{"msg_id": UUID(int=7)}, {"msg_id": ""}, {"headers": [("A", "b")]}, {"headers": {"A": 1}}], ids=str
)
async def test_an_invalid_id_or_header(face: Face, options: Any) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        with pytest.raises(OptionsError, match=next(iter(options))[:6]):
            await bus.publish(raw.of(intent), intent, **options)
        assert not (await bus.publish(raw.of(intent), intent)).duplicate


async def test_one_intent_is_one_message_in_each_stream(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        assert not (await bus.publish(raw.of(intent), intent)).duplicate
        assert not (await bus.publish(vetted.of(intent), intent)).duplicate


async def test_a_message_id_of_the_callers_own_decides(face: Face) -> None:
    async with face.applied() as bus:
        one, two = read_intent(), read_intent()
        await bus.publish(raw.of(one), one, msg_id="mine")
        assert (await bus.publish(raw.of(two), two, msg_id="mine")).duplicate
        assert not (await bus.publish(raw.of(one), one, msg_id="other")).duplicate


async def test_payloads_without_an_id_are_all_kept(face: Face) -> None:
    async with face.applied() as bus:
        event = health()
        acks = [await bus.publish(subjects.events.health.of(event), event) for _ in range(3)]
        assert [ack.seq for ack in acks] == [1, 2, 3]


async def test_submit_pipelines_and_each_future_has_its_own_ack(face: Face) -> None:
    async with face.applied() as bus:
        intents = [read_intent(str(number)) for number in range(500)]
        futures = [await bus.submit(raw.of(intent), intent) for intent in intents]
        acks = await asyncio.gather(*futures)
        assert [ack.seq for ack in acks] == list(range(1, 501))


async def test_the_window_bounds_messages_in_flight(face: Face) -> None:
    async with face.bus(face.url, max_pending_messages=8) as bus:
        await bus.streams.apply(profile="dev")
        intents = [read_intent() for _ in range(200)]
        futures = [await bus.submit(raw.of(intent), intent) for intent in intents]
        assert sorted([(await future).seq for future in futures]) == list(range(1, 201))


async def test_publish_many_keeps_the_order(face: Face) -> None:
    async with face.applied() as bus:
        intents = [read_intent(str(number)) for number in range(1000)]
        acks = await bus.publish_many(raw.of(intent).envelope(intent) for intent in intents)
        assert [ack.seq for ack in acks] == list(range(1, 1001))
        found = await bus.consumer(consumers.admission).fetch(1000, timeout=10)
        assert [message.payload.id for message in found] == [intent.id for intent in intents]


async def test_publish_many_tries_all_and_tells_of_each(face: Face, make_server: Any) -> None:
    server = make_server(max_payload=65536)
    async with face.bus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        good = [read_intent(), read_intent()]
        big = read_intent("x" * 70_000)
        envelopes = [raw.of(intent).envelope(intent) for intent in (good[0], big, good[1])]
        with pytest.raises(PublishManyError, match="1 of 3") as caught:
            await bus.publish_many(envelopes)
        first, second, third = caught.value.outcomes
        assert isinstance(first, PubAck)
        assert isinstance(third, PubAck)
        assert (first.seq, third.seq) == (1, 2)
        assert isinstance(second, PayloadTooLarge)
        assert caught.value.failures == [second]


async def test_publish_many_of_nothing(face: Face) -> None:
    async with face.applied() as bus:
        assert await bus.publish_many([]) == []
        for timeout in (0, -1, float("nan"), float("inf")):
            with pytest.raises(OptionsError, match="timeout"):
                await bus.publish_many([], timeout=timeout)


async def test_publish_many_of_other_objects_than_envelopes(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        with pytest.raises(PublishManyError, match="publish_many takes what") as caught:
            await bus.publish_many([intent, raw.of(intent).envelope(intent)])
        refused, ack = caught.value.outcomes
        assert isinstance(refused, SubjectMismatch)
        assert isinstance(ack, PubAck)
        assert ack.seq == 1


async def test_headers_arrive_and_the_callers_dict_stays_as_it_is(face: Face) -> None:
    async with face.applied() as bus:
        intent, headers = read_intent(), {"Trace-Id": "abc", "Zwei": "2"}
        await bus.publish(raw.of(intent), intent, headers=headers)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        assert message.headers["Trace-Id"] == "abc"
        assert message.headers["Zwei"] == "2"
        assert message.headers["Nats-Msg-Id"].endswith(intent.id)
        assert headers == {"Trace-Id": "abc", "Zwei": "2"}
        with pytest.raises(OptionsError, match="Bad"):
            await bus.publish(raw.of(intent), intent, headers={"Bad": 3})
        with pytest.raises(OptionsError, match="Not a name"):
            await bus.publish(raw.of(intent), intent, headers={"Not a name": "x"})


async def test_a_header_cannot_become_two(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        await bus.publish(raw.of(intent), intent, headers={"Trace-Id": "abc\r\nNats-Rollup: all\r\n\r\nxyz"})
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        assert message.headers == {"Trace-Id": "abc  Nats-Rollup: all    xyz", "Nats-Msg-Id": f"{raw.of(intent)}:{intent.id}"}
        assert message.payload == intent


# ---- core NATS


async def test_emit_reaches_subscribers(face: Face) -> None:
    async with face.applied() as bus, bus.subscribe(subjects.logs.errors.filter()) as messages:
        entry = log_entry("one")
        await bus.emit(subjects.logs.errors.of(entry), entry)
        message = await anext(messages)
        assert message.payload == entry
        assert message.subject == subjects.logs.errors.of(entry)
        assert message.headers == {}
        with pytest.raises(NotAcknowledgeable):
            await message.ack()
        with pytest.raises(NotAcknowledgeable):
            _ = message.metadata


async def test_joined_and_overlapping_filters_bring_each_message_once(face: Face) -> None:
    async with face.applied() as bus:
        # logs.service matches smith.logs.*.*, logs.errors smith.logs.errors.*: a message twice.
        both = subjects.logs.service.filter() | subjects.logs.errors.filter() | subjects.results.filter()
        async with bus.subscribe(both) as messages:
            result = result_of(read_intent())
            for number in range(5):
                entry = log_entry(str(number))
                await bus.emit(subjects.logs.errors.of(entry), entry)
            await bus.publish(subjects.results.of(result), result)
            found = [await anext(messages) for _ in range(6)]
        logs = [one.payload.message for one in found if not isinstance(one.payload, IntentResult)]
        assert sorted(logs) == list("01234")


async def test_several_tasks_read_one_subscription_to_its_end(face: Face) -> None:
    async with face.applied() as bus, bus.subscribe(subjects.logs.errors.filter()) as messages:
        seen: list[str] = []

        async def read() -> None:
            async for message in messages:
                seen.append(message.payload.message)

        reading = [asyncio.ensure_future(read()) for _ in range(3)]
        for number in range(6):
            await asyncio.sleep(0)  # all wait
            entry = log_entry(str(number))
            await bus.emit(subjects.logs.errors.of(entry), entry)
            await eventually_async(has_length(seen, number + 1))
        await messages.stop()
        await asyncio.wait_for(asyncio.gather(*reading), 20)
        assert seen == list("012345")


async def test_a_stopped_subscription_ends(face: Face) -> None:
    async with face.applied() as bus:
        subscription = bus.subscribe(subjects.logs.errors.filter())
        async with subscription:
            pass
        assert [message async for message in subscription] == []


# ---- consumers


async def fill(bus: Any, count: int) -> list[Any]:
    intents = [read_intent(str(number)) for number in range(count)]
    await bus.publish_many([raw.of(intent).envelope(intent) for intent in intents])
    return intents


async def test_messages_iterate_in_order_past_the_prefetch(face: Face) -> None:
    async with face.applied() as bus:
        intents = await fill(bus, 700)
        found = []
        async with bus.consumer(consumers.admission).messages(prefetch=50) as messages:
            async for message in messages:
                found.append(message.payload.id)
                await message.ack()
                if len(found) == len(intents):
                    break
        assert found == [intent.id for intent in intents]
        await eventually_async(lambda: acknowledged(bus))


async def acknowledged(bus: Any) -> bool:
    info = await bus.consumer(consumers.admission).info()
    return bool(info.num_ack_pending == 0 and info.num_pending == 0)


async def test_metadata_and_subject_are_those_of_the_stream(face: Face) -> None:
    async with face.applied() as bus:
        (intent, _) = await fill(bus, 2)
        message, _ = await bus.consumer(consumers.admission).fetch(2)
        assert message.subject == raw.of(intent)
        assert message.payload == intent
        facts = message.metadata
        assert (facts.stream, facts.consumer, facts.stream_seq, facts.num_delivered) == ("SDLC_RAW", "admission", 1, 1)
        assert abs(facts.timestamp - time.time_ns()) < 60e9


async def test_nack_brings_it_again_after_the_delay(face: Face) -> None:
    async with face.applied() as bus:
        await fill(bus, 1)
        async with bus.consumer(consumers.admission).messages() as messages:
            first = await anext(messages)
            assert not first.metadata.is_redelivery
            await first.nack()
            second = await anext(messages)
            assert second.metadata.num_delivered == 2
            assert second.metadata.is_redelivery
            began = time.monotonic()
            await second.nack(0.4)
            third = await anext(messages)
            assert third.metadata.num_delivered == 3
            assert time.monotonic() - began >= 0.35
            await third.ack()
            with pytest.raises(NotAcknowledgeable, match="one verdict"):
                await third.nack()


@pytest.mark.parametrize("delay", [1e12, timedelta.max], ids=["a time in milliseconds", "for ever"])
async def test_a_delay_beyond_the_servers_range_does_not_end_at_once(face: Face, delay: float | timedelta) -> None:
    async with face.applied() as bus:
        await fill(bus, 1)
        reader = bus.consumer(consumers.admission)
        (message,) = await reader.fetch(1)
        await message.nack(delay)
        assert await reader.fetch(1, timeout=0.5) == []


@pytest.mark.parametrize("timeout", [1e12, timedelta.max], ids=["a time in milliseconds", "for ever"])
async def test_a_fetch_may_wait_for_longer_than_the_server_can_count(face: Face, timeout: float | timedelta) -> None:
    async with face.applied() as bus:
        fetching = asyncio.ensure_future(bus.consumer(consumers.admission).fetch(1, timeout))
        await asyncio.wait({fetching}, timeout=0.2)
        await fill(bus, 1)
        assert len(await asyncio.wait_for(fetching, 10)) == 1


async def test_term_ends_a_message_for_good(face: Face) -> None:
    async with face.applied() as bus:
        await fill(bus, 1)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.term("no good: \udcff")  # as in the name of a file that is not UTF-8
        await eventually_async(lambda: acknowledged(bus))
        assert await bus.consumer(consumers.admission).fetch(1, timeout=0.2) == []


async def test_ack_sync_returns_when_the_server_knows(face: Face) -> None:
    async with face.applied() as bus:
        await fill(bus, 1)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.in_progress()
        with pytest.raises(OptionsError, match="timeout"):
            await message.ack_sync(0)
        await message.ack_sync(timedelta(seconds=5))
        assert await acknowledged(bus)
        with pytest.raises(NotAcknowledgeable):
            await message.ack()


async def test_a_verdict_that_could_not_be_sent_does_not_count(account: Account) -> None:
    async with account.applied() as bus:
        await fill(bus, 1)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
    for verdict in (message.ack, message.nack, message.term, message.ack_sync):
        with pytest.raises(BusClosed):  # and not that it was answered already
            await verdict()


async def test_fetch_returns_at_n_at_the_timeout_or_empty(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(consumers.admission)
        began = time.monotonic()
        assert await consumer.fetch(5, timeout=0.3) == []
        assert 0.25 < time.monotonic() - began < 10
        await fill(bus, 7)
        began = time.monotonic()
        assert len(await consumer.fetch(5, timeout=20)) == 5
        assert time.monotonic() - began < 15
        assert len(await consumer.fetch(5, timeout=1)) == 2
        with pytest.raises(OptionsError, match="fetch"):
            await consumer.fetch(0)


async def test_fetch_leaves_messages_that_it_did_not_return_to_others(face: Face) -> None:
    async with face.applied() as bus:
        consumer = bus.consumer(consumers.admission)
        for _ in range(5):
            assert await consumer.fetch(10, timeout=0.05) == []
        await fill(bus, 20)
        found = await consumer.fetch(20, timeout=20)
        assert [message.metadata.num_delivered for message in found] == [1] * 20


async def test_stop_releases_messages_that_were_not_returned(face: Face) -> None:
    patient = replace(consumers.admission, ack_wait=60.0)
    async with face.applied(contract=declaring(patient)) as bus:
        await fill(bus, 100)
        consumer = bus.consumer(patient)
        async with consumer.messages(prefetch=100) as messages:
            await (await anext(messages)).ack()
            await eventually_async(lambda: all_delivered(consumer))
        # Long before the ack wait of 60 s the other 99 are redelivered to the next reader.
        began = time.monotonic()
        again = await consumer.fetch(99, timeout=50)
        assert len(again) == 99
        assert time.monotonic() - began < 30
        assert [message async for message in messages] == []


async def all_delivered(consumer: Any) -> bool:
    return bool((await consumer.info()).num_pending == 0)


async def test_buffered_messages_are_extended_past_the_ack_wait(face: Face) -> None:
    """Shown by what the server is told: a pause of this process may be longer than the ack wait."""
    quick = replace(consumers.admission, ack_wait=1.0)
    extended: Counter[int] = Counter()

    def count(message: RawMessage) -> None:
        if message.data == IN_PROGRESS:
            extended[int(message.subject.split(".")[5])] += 1

    async with face.applied(contract=declaring(quick)) as bus, AsyncSmithBus(face.url) as other:
        acks = await other._session.connection.subscribe(f"$JS.ACK.{quick.stream}.{quick.name}.>", count)
        await request(other)
        await fill(bus, 20)
        async with bus.consumer(quick).messages() as messages:
            first = await anext(messages)
            # Three times in an ack wait, so this is past it.
            await eventually_async(lambda: all(extended[seq] > 3 for seq in range(2, 21)))
            await first.ack()
        await acks.unsubscribe()


# ---- execute


async def answer(bus: Any, **fields: Any) -> None:
    """A stand-in for admission and executor: answers the next raw intent."""
    async with bus.consumer(consumers.admission).messages() as messages:
        message = await anext(messages)
        result = result_of(message.payload, **fields)
        await bus.publish(subjects.results.of(result), result)
        await message.ack()


async def test_execute_returns_the_result(face: Face) -> None:
    async with face.applied() as bus:
        answering = asyncio.ensure_future(answer(bus, output={"size": 7}))
        intent = read_intent()
        result = await bus.execute(intent, timeout=10)
        assert (result.intent_id, result.status, result.output) == (intent.id, "ok", {"size": 7})
        await answering
        # Again: the intent is a duplicate, and its result was published before anybody listened.
        assert await bus.execute(intent, timeout=10) == result


async def test_execute_raises_if_no_result_arrives(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match=r"fs\.read\.v1") as caught:
            await bus.execute(intent, timeout=0.3)
        assert time.monotonic() - began < 10
        assert isinstance(caught.value, DeadlineExceeded)
        assert (caught.value.intent_id, caught.value.timeout) == (intent.id, 0.3)


async def test_execute_raises_if_the_bus_is_closed(face: Face) -> None:
    async with face.applied() as bus:
        executing = asyncio.ensure_future(bus.execute(read_intent(), timeout=30))
        await eventually_async(lambda: stored(bus, "SDLC_RAW"))
        await bus.close()
        with pytest.raises(BusClosed, match="closed"):
            await asyncio.wait_for(executing, 20)


async def test_execute_survives_a_server_that_is_killed_and_comes_back(face: Face, tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        async with face.bus(server.url) as bus, AsyncSmithBus(server.url) as other:
            await bus.streams.apply(profile="dev")
            intent = read_intent()
            executing = asyncio.ensure_future(bus.execute(intent, timeout=30))
            await eventually_async(lambda: stored(other, "SDLC_RAW"))
            server.kill()
            server.start()
            # Received live or read from the stream, depending on which side reconnects first.
            result = result_of(intent, output="after")
            await other.publish(subjects.results.of(result), result, timeout=20)
            assert (await executing).output == "after"


async def stored(bus: Any, stream: str) -> int:
    found: int = next(info.messages for info in await bus.streams.info() if info.name == stream)
    return found


# ---- opening and closing


async def test_a_bus_that_is_not_open_raises(face: Face) -> None:
    bus = face.bus("nats://127.0.0.1:1")
    intent = read_intent()
    with pytest.raises(BusClosed, match="connect"):
        await bus.publish(raw.of(intent), intent)
    with pytest.raises(BusClosed, match="connect"):
        await bus.consumer(consumers.admission).fetch(1)
    await bus.close()


async def test_closing_flushes_submitted_messages(face: Face) -> None:
    async with face.bus(face.url) as bus:
        await bus.streams.apply(profile="dev")
        futures = []
        for number in range(300):
            intent = read_intent(str(number))
            futures.append(await bus.submit(raw.of(intent), intent))
    assert len([await future for future in futures]) == 300
    await bus.close()
    intent = read_intent()
    with pytest.raises(BusClosed):
        await bus.publish(raw.of(intent), intent)


async def test_a_bus_can_be_opened_again(face: Face, make_server: Any) -> None:
    server = make_server()
    bus = face.bus(server.url)
    for _ in range(2):
        async with bus:
            await bus.streams.apply(profile="dev")
            intent = read_intent()
            assert (await bus.publish(raw.of(intent), intent)).stream == "SDLC_RAW"
            assert bus.url == without_login(server.url)
            with pytest.raises(BusClosed, match="already"):
                await bus.connect()
            assert len(await bus.consumer(consumers.admission).fetch(1)) == 1


async def test_the_url_of_an_embedded_bus_lets_in_and_nothing_else_shows_its_password(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "smith_sdk")
    bus = face.embedded()
    changes = (bus if face.is_async else bus.inner).states()
    async with bus:
        password = bus.url.partition("smith:")[2].partition("@")[0]
        assert len(password) == 32
        async with AsyncSmithBus(bus.url) as other:
            await other.streams.verify("dev")
        shown = [repr(bus if face.is_async else bus.inner), repr(await bus.streams.info())]
        shown.append(repr([await anext(changes) if face.is_async else await asyncio.to_thread(next, changes) for _ in range(2)]))
        with pytest.raises(AuthenticationError) as refused:
            await AsyncSmithBus(without_login(bus.url)).connect()
        with pytest.raises(BusClosed) as again:
            await bus.connect()
        shown += [str(refused.value), str(again.value)]
    shown += [caplog.text, repr(bus if face.is_async else bus.inner), "".join(map(repr, (vars(one) for one in caplog.records)))]
    assert "connected to nats://127.0.0.1:" in caplog.text
    assert not [one for one in shown if password in one]


async def test_an_embedded_bus_keeps_its_streams_in_a_given_directory(face: Face, tmp_path: Path) -> None:
    async with face.embedded(tmp_path) as bus:
        intents = await fill(bus, 3)
    async with face.embedded(tmp_path) as bus:
        found = await bus.consumer(consumers.admission).fetch(3)
        assert [message.payload for message in found] == intents
        assert isinstance(found[0].payload.params, FsReadV1Params)
