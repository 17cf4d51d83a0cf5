"""Bulks on both faces: the way that each takes, what is stored of it, and where to go on after a
failure."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Face, read_intent
from chaos.proxy import Proxy
from msgspec.structs import replace
from support import eventually_async, halt

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, Envelope, OutboxFile, SmithBus, result_of, subjects
from smith_sdk._core.events import Observer, Published
from smith_sdk._core.jetstream import atomic_batch, fast_ingest
from smith_sdk._core.jetstream.fast_flow import FastFlow
from smith_sdk.contract import Contract
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import (
    BulkError,
    BusClosed,
    NoInterest,
    OptionsError,
    PayloadMismatch,
    PayloadTooLarge,
    PermissionDenied,
    PublishCircuitOpen,
    PublishError,
    PublishUnconfirmed,
    QueueFull,
    StreamNotFound,
    SubjectMismatch,
)
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

raw, vetted, results = subjects.intents.raw, subjects.intents.vetted, subjects.results
RAW: Final = "SDLC_RAW"


def declaring(stream: str = RAW, **options: Any) -> Contract:
    """Smith's contract; `stream` takes batches of both kinds, unless told otherwise."""
    changed = {"allow_batched": True, "allow_atomic": True, **options}
    streams = tuple(replace(one, **changed) if one.name == stream else one for one in CONTRACT.streams)
    return replace(CONTRACT, streams=streams)


BATCHED: Final = declaring()


def intents(count: int, path: str = "/x") -> list[FsReadV1Intent]:
    return [read_intent(path) for _ in range(count)]


def enveloped(many: list[FsReadV1Intent]) -> list[Envelope]:
    return [raw.of(one).envelope(one) for one in many]


async def count(bus: Any, stream: str = RAW) -> int:
    found: int = next(info.messages for info in await bus.streams.info() if info.name == stream)
    return found


# ---- the ways


@pytest.mark.parametrize("ids", [True, False])
async def test_fast_ingest_stores_every_message_in_order_and_tells_how(face: Face, ids: bool) -> None:
    async with face.applied(contract=BATCHED) as bus:
        many = intents(1700)
        result = await bus.publish_many(enveloped(many), mode="fast", ids=ids)
        assert (result.stream, result.mode, result.sent, result.stored, result.duplicates) == (RAW, "fast", 1700, 1700, 0)
        assert (result.last_seq, result.is_exact, result.reason) == (1700, not ids, f"stream {RAW} has allow_batched")
        assert await count(bus) == 1700
        again = await bus.publish_many(enveloped(many), mode="fast", ids=ids)
        assert (again.stored, again.duplicates) == ((0, 1700) if ids else (1700, 0))  # without ids nothing is recognised


async def test_the_order_in_the_stream_is_that_of_sending(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        many = intents(300)
        async with bus.bulk(RAW, mode="fast") as bulk:
            for one in many:
                await bulk.add(raw.of(one), one)
            assert (bulk.mode, repr(bulk)) == ("fast", f"<Bulk into {RAW}: fast, 300 messages>")
        assert bulk.result.sent == 300
        assert [message.payload.id async for message in bus.read(raw.filter())] == [one.id for one in many]


async def test_each_way_sends_the_id_and_the_headers_that_publish_would(face: Face) -> None:
    async with face.applied(contract=BATCHED) as bus:
        for mode in ("window", "auto", "fast", "atomic"):
            one, other = intents(2)
            async with bus.bulk(RAW, mode=mode) as bulk:
                await bulk.add(raw.of(one), one)
                await bulk.add(raw.of(other), other, msg_id=f"own-{mode}", headers={"X-Trace": mode})
            assert (bulk.result.sent, bulk.result.stored) == (2, 2)
            assert (await bus.publish(raw.of(one), one)).duplicate
            assert (await bus.publish(raw.of(other), other, msg_id=f"own-{mode}")).duplicate
        seen = [message.headers.get("X-Trace") async for message in bus.read(raw.filter())]
        assert seen == [None, "window", None, "auto", None, "fast", None, "atomic"]


async def test_a_stream_without_batches_gets_the_window_and_the_result_says_why(account: Account) -> None:
    async with account.applied() as bus:
        for mode in ("auto", "fast"):
            async with bus.bulk(RAW, mode=mode) as bulk:
                await bulk.add_many(enveloped(intents(5)))
            assert bulk.result.mode == bulk.mode == "window"
            assert bulk.reason == (
                f"stream {RAW} does not have allow_batched: declare allow_batched = true, and run `smith streams apply`"
            )
        # ids are always sent by the window, which repeats by them
        result = await bus.publish_many(enveloped(intents(3)), mode="fast", ids=False)
        assert (result.mode, result.stored, result.is_exact) == ("window", 3, True)
        with pytest.raises(PublishError, match=f"no atomic batch for {RAW}: .*declare allow_atomic = true"):
            await bus.publish_many(enveloped(intents(1)), mode="atomic")
        assert await count(bus) == 13


async def test_auto_takes_the_window_for_few_messages_and_fast_ingest_for_many(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        few, many = enveloped(intents(499)), enveloped(intents(500))
        assert (await bus.publish_many(few, mode="auto")).mode == "window"
        assert (await bus.publish_many(many, mode="auto")).mode == "fast"
        assert (await bus.publish_many((one for one in few), mode="auto")).mode == "fast"  # of unknown length
        repeated = await bus.publish_many(few + enveloped(intents(1)), mode="auto")
        assert (repeated.stored, repeated.duplicates, repeated.is_exact) == (1, 499, False)
        assert await bus.publish_many([], mode="auto") == await bus.publish_many([], mode="fast")


async def test_what_is_known_of_a_stream_is_asked_again_after_a_refusal(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        assert (await bus.publish_many(enveloped(intents(1)), mode="fast", ids=False)).mode == "fast"
        await update(bus, allow_batched=False)
        result = await bus.publish_many(enveloped(intents(2)), mode="fast", ids=False)
        assert (result.mode, result.stored) == ("window", 2)
        assert "takes no batch now: batch publish is disabled (err_code 10205)" in result.reason
        result = await bus.publish_many(enveloped(intents(2)), mode="fast", ids=False)
        assert "does not have allow_batched" in result.reason
        await update(bus, allow_batched=True)
        assert await count(bus) == 5


async def update(bus: AsyncSmithBus, stream: str = RAW, **changes: Any) -> None:
    config = (await bus._session.api.stream_info(stream))["config"]
    await bus._session.api.stream_update({**config, **changes})


# ---- atomic


async def test_an_atomic_batch_stores_all_of_a_thousand_or_nothing(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        many = intents(1000)
        result = await bus.publish_many(enveloped(many), mode="atomic")
        assert (result.mode, result.sent, result.stored, result.last_seq, result.is_exact) == ("atomic", 1000, 1000, 1000, True)
        with pytest.raises(BulkError, match=r"none of them.*10201") as caught:
            await bus.publish_many(enveloped([*intents(3), many[5], *intents(3)]), mode="atomic")
        error = caught.value
        assert (error.mode, error.sent, error.resume_from, error.may_be_stored, error.err_code) == ("atomic", 7, 0, False, 10201)
        assert error.stream == RAW
        assert isinstance(error.__cause__, PublishError)
        with pytest.raises(OptionsError, match="at most 1,000 messages"):
            await bus.publish_many(enveloped(intents(1001)), mode="atomic")
        assert (await bus.publish_many(enveloped(intents(1)), mode="atomic", ids=False)).stored == 1
        assert await count(bus) == 1001


async def test_a_block_that_raises_stores_nothing_of_an_atomic_batch(face: Face) -> None:
    async with face.applied(contract=BATCHED) as bus:
        bulk = bus.bulk(RAW, mode="atomic")

        async def fail() -> None:
            async with bulk:
                await bulk.add_many(enveloped(intents(10)))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        with pytest.raises(OptionsError, match="no result yet"):
            bulk.result  # noqa: B018
        with pytest.raises(PayloadMismatch):
            await bus.publish_many([*enveloped(intents(2)), bad()], mode="atomic")
        assert await count(bus) == 0


async def test_a_full_stream_refuses_an_atomic_batch_as_a_whole(account: Account) -> None:
    async with account.applied(contract=declaring(max_msgs=5)) as bus:
        with pytest.raises(BulkError) as caught:
            await bus.publish_many(enveloped(intents(6)), mode="atomic")
        assert isinstance(caught.value.__cause__, QueueFull)
        assert caught.value.err_code == 10077
        assert await count(bus) == 0
        assert (await bus.publish_many(enveloped(intents(5)), mode="atomic")).stored == 5


async def test_an_atomic_batch_waits_while_the_stream_has_too_many_open_ones(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with account.applied(contract=BATCHED) as bus:
        subject = str(raw.of(read_intent()))
        connection = bus._session.connection
        for number in range(50):
            block = f"NATS/1.0\r\nNats-Batch-Id: open{number}\r\nNats-Batch-Sequence: 1\r\n\r\n"
            await bus._session.requests.request(subject, b"{}", timeout=5, block=block.encode())
        with monkeypatch.context() as patch:
            patch.setattr(atomic_batch, "_BUSY", Backoff(initial=60, max=60, jitter=0))  # more than is left
            with pytest.raises(BulkError, match=r"too many open batches \(err_code 10210\)") as caught:
                async with bus.bulk(RAW, mode="atomic", timeout=30) as bulk:
                    await bulk.add_many(enveloped(intents(2)))
        assert not caught.value.may_be_stored
        waiting = asyncio.create_task(bus.publish_many(enveloped(intents(2)), mode="atomic"))
        done, _ = await asyncio.wait((waiting,), timeout=0.3)
        assert not done
        end = b"NATS/1.0\r\nNats-Batch-Id: open7\r\nNats-Batch-Sequence: 2\r\nNats-Batch-Commit: 1\r\n\r\n"
        await connection.publish(subject, b"{}", "", end)
        assert (await asyncio.wait_for(waiting, 10)).stored == 2


# ---- what stops a bulk


def bad() -> Envelope:
    """An envelope whose payload no reader could decode."""
    one = read_intent()
    return raw.of(one).envelope(replace(one, params=replace(one.params, path=7)))


@pytest.mark.parametrize("ids", [True, False])
async def test_fast_ingest_says_from_which_message_to_go_on(face: Face, ids: bool) -> None:
    async with face.applied(contract=declaring(max_msgs=700)) as bus:
        many = intents(1000)
        with pytest.raises(
            BulkError, match=r"its first 700 of .* Go on with message number 700, counted from 0: .*full"
        ) as caught:
            await bus.publish_many(enveloped(many), mode="fast", ids=ids)
        error = caught.value
        assert (error.stream, error.mode, error.resume_from, error.seq, error.err_code) == (RAW, "fast", 700, 700, 10077)
        assert (error.failures, error.may_be_stored) == ({}, False)
        assert isinstance(error.__cause__, QueueFull)
        assert [one.id for one in error.remaining(many)] == [one.id for one in many[700:]]
        assert await count(bus) == 700


async def test_auto_tries_every_message_and_names_those_that_failed(account: Account) -> None:
    async with account.applied(contract=declaring(max_msgs=700)) as bus:
        many: list[Envelope] = enveloped(intents(800))
        many[3] = bad()
        with pytest.raises(BulkError, match="100 of 800 messages for stream SDLC_RAW failed") as caught:
            await bus.publish_many(many, mode="auto")
        error = caught.value
        assert (error.mode, error.sent, error.resume_from, error.may_be_stored) == ("window", 800, 800, False)
        assert list(error.failures) == [3, *range(701, 800)]
        assert isinstance(error.failures[3], PayloadMismatch)
        assert {type(one) for number, one in error.failures.items() if number > 3} == {QueueFull}
        assert error.remaining(range(800)) == list(error.failures)
        assert await count(bus) == 700


async def test_a_message_that_cannot_be_sent_ends_fast_ingest_before_it(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        many = [*enveloped(intents(10)), bad(), *enveloped(intents(10))]
        with pytest.raises(BulkError, match="number 10") as caught:
            await bus.publish_many(many, mode="fast")
        assert (caught.value.resume_from, caught.value.seq) == (10, 10)
        assert isinstance(caught.value.__cause__, PayloadMismatch)
        assert await count(bus) == 10
        one = read_intent()
        async with bus.bulk(RAW, mode="fast") as bulk:
            await bulk.add(raw.of(one), one)
            with pytest.raises(PayloadMismatch):
                await bulk.add_many([bad()])  # not a part of it
        assert (bulk.result.sent, bulk.result.stored) == (1, 1)


async def test_a_message_over_the_limits_is_refused_before_it_is_sent(account: Account) -> None:
    async with account.applied(contract=declaring(max_msg_size=4096)) as bus:
        for mode in ("window", "fast", "atomic"):
            async with bus.bulk(RAW, mode=mode) as bulk:
                small, big = read_intent(), read_intent("/" + "x" * 4000)
                await bulk.add(raw.of(small), small)
                with pytest.raises(PayloadTooLarge, match=f"stream {RAW} accepts 4096"):
                    await bulk.add(raw.of(big), big)
            assert bulk.result.stored == 1


async def test_a_message_that_only_the_server_finds_too_large_stops_fast_ingest_there(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        await update(bus, max_msg_size=4096)
        for position in (0, 5, 9):
            many = intents(10)
            many[position] = read_intent("/" + "x" * 4000)
            with pytest.raises(BulkError) as caught:
                await bus.publish_many(enveloped(many), mode="fast", ids=False)
            assert (caught.value.resume_from, caught.value.may_be_stored) == (position, False), position
            assert isinstance(caught.value.__cause__, PayloadTooLarge)
        with pytest.raises(BulkError, match=r"none of them.*incomplete") as caught:
            await bus.publish_many(enveloped([*intents(2), read_intent("/" + "x" * 4000), *intents(2)]), mode="atomic")
        assert not caught.value.may_be_stored
        assert await count(bus) == 14


async def test_a_bulk_has_one_stream_and_that_of_the_contract(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        one = read_intent()
        result = result_of(one, output={})
        with pytest.raises(SubjectMismatch, match="is kept by stream ATOMS_RESULTS, and this bulk is for SDLC_RAW"):
            async with bus.bulk(RAW, mode="fast") as bulk:
                await bulk.add(results.of(result), result)
        with pytest.raises(BulkError, match="number 1") as caught:
            await bus.publish_many([*enveloped([one]), results.of(result).envelope(result)], mode="fast")
        assert isinstance(caught.value.__cause__, SubjectMismatch)
        with pytest.raises(OptionsError, match="stream 'NONE' is not declared in contract 'smith'"):
            bus.bulk("NONE")
        async with bus.bulk(BATCHED.stream(RAW)) as bulk:
            pass
        assert bulk.result.sent == 0


async def test_an_interest_stream_without_a_consumer_for_it_refuses_a_message(account: Account) -> None:
    spec = declaring("ATOMS_VETTED")
    lonely = replace(spec, consumers=tuple(one for one in spec.consumers if one.name != "executor-fs-read"))
    async with account.applied(contract=lonely) as bus:
        for mode in ("window", "fast", "atomic"):
            async with bus.bulk("ATOMS_VETTED", mode=mode) as bulk:
                one = read_intent()
                with pytest.raises(NoInterest):
                    await bulk.add(vetted.of(one), one)
            assert bulk.result.sent == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "slow"}, 'must be "auto", "window", "atomic" or "fast"'),
        ({"mode": "auto", "ids": False}, 'ids=False: mode="auto" sends messages again by their ids'),
        ({"mode": "fast", "ids": 1}, "ids=1: must be True or False"),
        ({"mode": "fast", "when_down": "store"}, 'mode="fast" does not go through the outbox'),
        ({"mode": "fast", "timeout": -1}, "timeout"),
        ({"mode": "fast", "retry": False}, 'retry=False: needs mode="window"'),
    ],
)
async def test_options_that_do_not_go_together_are_refused_at_once(options: dict[str, Any], match: str) -> None:
    for face in (AsyncSmithBus, SmithBus):
        bus: Any = face(contract=BATCHED)
        if "retry" not in options:
            with pytest.raises(OptionsError, match=match):
                bus.bulk(RAW, **options)
    with pytest.raises(OptionsError, match=match):
        await AsyncSmithBus(contract=BATCHED).publish_many(enveloped(intents(1)), **options)


async def test_a_bulk_is_used_once_and_within_its_block(face: Face) -> None:
    async with face.applied(contract=BATCHED) as bus:
        bulk, one = bus.bulk(RAW, mode="fast"), read_intent()
        with pytest.raises(OptionsError, match="in a `with` block"):
            await bulk.add(raw.of(one), one)
        async with bulk:
            await bulk.add(raw.of(one), one)
            first = await bulk.commit()
            assert first == await bulk.commit() == bulk.result
            with pytest.raises(OptionsError, match="is over"):
                await bulk.add(raw.of(one), one)
        with pytest.raises(OptionsError, match="used once"):
            async with bulk:
                pass
        async with bus.bulk(RAW, mode="fast", ids=False) as other:
            with pytest.raises(OptionsError, match="carry none"):
                await other.add(raw.of(one), one, msg_id="x")
    with pytest.raises(BusClosed):
        async with bus.bulk(RAW):
            pass


# ---- flow


async def test_bulks_at_once_share_the_stream_and_callers_share_a_bulk(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus, AsyncSmithBus(account.url, contract=BATCHED) as other:
        found = await asyncio.gather(
            *(one.publish_many(enveloped(intents(700)), mode="fast", ids=False) for one in (bus, other, bus, other))
        )
        assert [one.stored for one in found] == [700] * 4
        async with bus.bulk(RAW, mode="fast") as bulk:

            async def add(many: list[FsReadV1Intent]) -> None:
                for one in many:
                    await bulk.add(raw.of(one), one)

            await asyncio.gather(*(add(intents(150)) for _ in range(4)))
        assert (bulk.result.sent, bulk.result.stored) == (600, 600)
        assert await count(bus) == 3400


async def test_bytes_in_flight_are_bounded_by_more_than_one_batch(face: Face) -> None:
    async with face.bus(face.url, contract=BATCHED, manage="apply", profile="dev", max_pending_bytes=20_000) as bus:
        result = await bus.publish_many(enveloped([read_intent("/" + "x" * size) for size in (3000,) * 40]), mode="fast")
        assert (result.mode, result.stored, result.last_seq) == ("fast", 40, 40)
        alone = await bus.publish_many(enveloped([read_intent("/" + "x" * 30_000) for _ in range(3)]), mode="fast")
        assert alone.stored == 3
        with pytest.raises(OptionsError, match="at most 20,000 bytes"):
            await bus.publish_many(enveloped([read_intent("/" + "x" * 3000) for _ in range(10)]), mode="atomic")


async def test_a_batch_outlives_a_caller_that_pauses(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server forgets a batch after 10 s. A ping keeps it, shown here by its reply."""
    monkeypatch.setattr(fast_ingest, "_IDLE", 0.05)
    async with account.applied(contract=BATCHED) as bus:
        async with bus.bulk(RAW, mode="fast") as bulk:
            await bulk.add_many(enveloped(intents(1)))
            assert bulk._fast is not None
            heard: list[bytes] = []
            reply = bulk._fast._flow.reply

            def hear(_: FastFlow, number: int, data: bytes) -> bool:
                heard.append(data)
                return reply(number, data)

            monkeypatch.setattr(FastFlow, "reply", hear)
            await eventually_async(lambda: len(heard) > 2)
            assert all(b'"type":"ack"' in one for one in heard)
            await bulk.add_many(enveloped(intents(1)))
        assert bulk.result.stored == 2


# ---- faults; more in tests/chaos/test_bulk_links.py


@pytest.mark.parametrize("mode", ["fast", "atomic"])
async def test_a_deaf_link_ends_within_the_timeout_and_the_error_says_what_may_be_stored(make_server: Any, mode: str) -> None:
    server: EmbeddedServer = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(proxy.url, contract=BATCHED, manage="apply", profile="dev", ping_interval=60) as bus:
            began = time.monotonic()
            bulk = bus.bulk(RAW, mode=mode, timeout=1.5)  # type: ignore[arg-type]

            async def send() -> None:
                async with bulk:
                    await bulk.add_many(enveloped(intents(600)))
                    proxy.deafen("to_client")

            with pytest.raises(BulkError) as caught:
                await send()
            assert 1.4 < time.monotonic() - began < 8
            error = caught.value
            assert isinstance(error.__cause__, PublishUnconfirmed)
            assert error.may_be_stored is (mode == "fast")  # the first of the atomic batch was not answered
            assert error.resume_from in ((0,) if mode == "atomic" else (0, 500))
            proxy.hear()


async def test_auto_sends_nothing_again_that_the_stream_may_have_forgotten(make_server: Any) -> None:
    server: EmbeddedServer = make_server()
    forgetful = declaring(duplicate_window=1.0)
    async with AsyncSmithBus(server.url, contract=forgetful, manage="apply", profile="dev", ping_interval=60) as bus:
        many = enveloped(intents(20))

        async def send() -> None:
            async with bus.bulk(RAW, mode="auto", timeout=1.5) as bulk:
                await bulk.add_many(many)
                halt(server.pid)

        with pytest.raises(BulkError, match="may have forgotten its id") as caught:
            await send()
        error = caught.value
        assert (error.mode, error.may_be_stored, list(error.failures)) == ("window", True, list(range(20)))
        os.kill(server.pid or 0, signal.SIGCONT)
        last = read_intent()  # acknowledged once all before it are stored
        await bus._session.requests.request(str(raw.of(last)), b"{}", timeout=30)
        assert await count(bus) == 21  # they were stored, and not twice


async def test_a_cancelled_bulk_leaves_nothing_behind(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        listeners = len(bus._connection._status.listeners)
        subscriptions = len(bus._connection._subscriptions)
        for mode in ("fast", "window", "auto", "atomic"):

            async def endless(chosen: Any = mode) -> None:
                async with bus.bulk(RAW, mode=chosen) as bulk:
                    while True:
                        one = read_intent()
                        try:
                            await bulk.add(raw.of(one), one)
                        except OptionsError:  # the atomic one is at its limit
                            await asyncio.sleep(60)

            task = asyncio.create_task(endless())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(bus._connection._status.listeners) == listeners
        assert len(bus._connection._subscriptions) == subscriptions
        await eventually_async(lambda: not len(bus._session.window))
        assert (await bus.publish_many(enveloped(intents(10)), mode="fast")).stored == 10


async def test_a_closed_bus_ends_a_bulk(account: Account) -> None:
    bus = account.applied(contract=BATCHED)
    await bus.connect()

    async def send() -> None:
        async with bus.bulk(RAW, mode="fast") as bulk:
            await bulk.add_many(enveloped(intents(3)))
            await bus.close()

    with pytest.raises(BulkError) as caught:
        await send()
    assert isinstance(caught.value.__cause__, BusClosed)
    assert caught.value.may_be_stored


# ---- circuits, observers, permissions


async def test_a_deleted_stream_is_named_and_opens_no_circuit(account: Account) -> None:
    async with account.applied(contract=BATCHED) as bus:
        await bus._session.bulk_support.of(RAW)
        await bus._session.api.stream_delete(RAW)
        with pytest.raises(BulkError) as caught:
            await bus.publish_many(enveloped(intents(1)), mode="fast", ids=False)
        assert isinstance(caught.value.__cause__, StreamNotFound)
        with pytest.raises(StreamNotFound):
            await bus.publish_many(enveloped(intents(1)), mode="fast")
        with pytest.raises(BulkError) as caught:
            await bus.publish_many(enveloped(intents(1)), mode="atomic")
        assert isinstance(caught.value.__cause__, StreamNotFound)
        assert bus._session.circuits is not None
        assert bus._session.circuits.states == {RAW: "closed"}


async def test_a_bulk_counts_for_the_circuit_of_its_stream_and_is_refused_by_it(make_server: Any) -> None:
    server: EmbeddedServer = make_server()
    breaker = CircuitBreaker(minimum=4)
    async with AsyncSmithBus(
        server.url, contract=BATCHED, manage="apply", profile="dev", publish_breaker=breaker, ping_interval=60
    ) as bus:
        await bus.publish_many(enveloped(intents(1)), mode="fast", ids=False)
        halt(server.pid)
        for _ in range(3):
            with pytest.raises(BulkError):
                await bus.publish_many(enveloped(intents(2)), mode="fast", ids=False, timeout=0.05)
        with pytest.raises(PublishCircuitOpen):
            await bus.publish_many(enveloped(intents(2)), mode="fast", ids=False)
        os.kill(server.pid or 0, signal.SIGCONT)


class Recorder(Observer):
    def __init__(self) -> None:
        self.published: list[Published] = []

    def on_published(self, event: Published) -> None:
        self.published.append(event)


async def test_observers_see_each_message_of_a_bulk_once(account: Account) -> None:
    async with account.applied(contract=declaring(max_msgs=30)) as bus:
        recorder = Recorder()
        bus._session.events.add(recorder)
        many = intents(10)
        await bus.publish_many(enveloped(many), mode="fast")
        await bus.publish_many(enveloped(intents(10)), mode="atomic")
        assert [one.msg_id for one in recorder.published[:10]] == [f"{raw.of(one)}:{one.id}" for one in many]
        assert [(one.stream, one.error) for one in recorder.published] == [(RAW, None)] * 20
        recorder.published.clear()
        with pytest.raises(BulkError):
            await bus.publish_many(enveloped(intents(12)), mode="fast")
        assert [type(one.error) for one in recorder.published] == [type(None)] * 10 + [QueueFull] * 2


async def test_a_bulk_with_an_outbox_keeps_what_cannot_be_sent(account: Account, tmp_path: Path) -> None:
    options: dict[str, Any] = {"contract": BATCHED, "manage": "apply", "profile": "dev", "when_down": "store"}
    async with AsyncSmithBus(account.url, outbox=OutboxFile(tmp_path / "outbox"), **options) as bus:
        result = await bus.publish_many(enveloped(intents(600)), mode="auto")
        assert (result.mode, result.stored, result.in_outbox) == ("window", 600, 0)
        assert 'when_down="store"' in result.reason
        assert (await bus.publish_many(enveloped(intents(600)), mode="fast")).mode == "fast"


async def test_a_user_that_may_not_ask_gets_the_window(make_server: Any) -> None:
    denied = f"$JS.API.STREAM.INFO.{RAW}"
    config = f"""
        accounts {{ A {{ jetstream: enabled, users: [
            {{ user: owner, password: o }}
            {{ user: small, password: s, permissions: {{ publish: {{ deny: ["{denied}"] }} }} }}
        ] }} }}
    """
    server: EmbeddedServer = make_server(config=config)
    url = server.url.rpartition("@")[2].removeprefix("nats://")
    async with (
        AsyncSmithBus(f"nats://owner:o@{url}", contract=BATCHED, manage="apply", profile="dev"),
        AsyncSmithBus(f"nats://small:s@{url}", contract=BATCHED) as bus,
    ):
        result = await bus.publish_many(enveloped(intents(3)), mode="fast")
        assert (result.mode, result.stored) == ("window", 3)
        assert denied in result.reason
        with pytest.raises(PermissionDenied):
            await bus.publish_many(enveloped(intents(3)), mode="atomic")
