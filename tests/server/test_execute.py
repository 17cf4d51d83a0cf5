"""execute: it returns only what is stored, and says where the intent is if nothing comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
from buses import Account, Face, read_intent
from chaos.proxy import Proxy
from support import eventually_async, eventually_equal

from smith_sdk import (
    Allow,
    AsyncSmithBus,
    Auth,
    Deny,
    Quarantine,
    Reject,
    RetryPolicy,
    consumers,
    result_of,
    subjects,
)
from smith_sdk.aio import diagnosis
from smith_sdk.aio.diagnosis import BUDGET
from smith_sdk.errors import ResultTimeout, StreamNotFound
from smith_sdk.protocol import FsReadV1Intent, IntentResult

raw, vetted, results = subjects.intents.raw, subjects.intents.vetted, subjects.results
spec: Final = consumers.executor_fs_read
SOON: Final = 0.3
"""Seconds in which everything before the wait has long happened."""


@pytest.fixture(autouse=True)
def time_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gets no processor for a moment may answer a diagnosis late."""
    monkeypatch.setattr(diagnosis, "BUDGET", 20.0)


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


def admitting(face: Face, bus: Any, decision: Any = None) -> Any:
    return face.admission(bus, policy=lambda intent: decision or Allow(), executor_id="tester")


async def timed_out(bus: Any, intent: FsReadV1Intent, timeout: float = SOON) -> ResultTimeout:
    began = time.monotonic()
    with pytest.raises(ResultTimeout) as caught:
        await bus.execute(intent, timeout=timeout)
    assert time.monotonic() - began < timeout + diagnosis.BUDGET + 5
    assert (caught.value.timeout, caught.value.intent_id) == (timeout, intent.id)
    assert intent.id in str(caught.value)
    return caught.value


# ---- only what is stored


async def say(bus: AsyncSmithBus, result: IntentResult, **headers: str) -> None:
    """Publish a result without JetStream, as a foreign executor does whose publish is refused."""
    await bus._connection.publish(str(results.of(result)), msgspec.json.encode(result))


async def limit(bus: AsyncSmithBus, stream: str, **config: Any) -> None:
    api = bus._session.api
    await api.stream_update((await api.stream_info(stream))["config"] | config)


async def test_a_result_that_its_stream_refuses_is_not_returned(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await limit(other, "ATOMS_RESULTS", max_msg_size=1000)
        intent = read_intent()
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        large = result_of(intent, output="x" * 2000)
        for _ in range(3):
            await say(other, large)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(executing), 0.2)
        small = result_of(intent, output="small")
        await say(other, small)
        assert (await asyncio.wait_for(executing, 20)) == small
        assert await stored(other, "ATOMS_RESULTS") == 1


async def test_a_result_that_was_never_stored_is_named_in_the_timeout(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await limit(other, "ATOMS_RESULTS", max_msg_size=1000)
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.ack_sync()
        executing = asyncio.ensure_future(timed_out(bus, intent, 1.0))
        while not executing.done():  # also when it has subscribed
            await say(other, result_of(intent, output="x" * 2000))
            await asyncio.wait((executing,), timeout=0.05)
        error = await executing
        assert error.state == "not_stored"
        assert "a result was sent, and ATOMS_RESULTS has not stored it" in str(error)


async def stored(bus: AsyncSmithBus, stream: str) -> int:
    return (await bus.streams.get(stream)).messages


async def test_a_result_is_returned_once_a_slow_stream_has_it(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cluster the message arrives before the majority has stored it."""
    monkeypatch.setattr("smith_sdk.aio.execute._LAST_LOOK", 0.01)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        api = (bus if face.is_async else bus.inner._aio)._session.api
        look, looks = api.last_message, []

        async def late(stream: str, subject: str) -> Any:
            looks.append(subject)
            return await look(stream, subject if len(looks) > 5 else "smith.results.none")

        monkeypatch.setattr(api, "last_message", late)
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        result = result_of(intent, output="x")
        await other.publish(results.of(result), result)
        assert (await asyncio.wait_for(executing, 20)) == result
        assert len(looks) == 6


async def test_an_older_result_is_not_mistaken_for_the_new_one(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent that is executed again has a result in the stream, and the new one is stored a
    moment after it was received."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        api = (bus if face.is_async else bus.inner._aio)._session.api
        look, looks = api.last_message, []

        async def late(stream: str, subject: str) -> Any:
            looks.append(subject)
            return await (api.message(stream, 1) if len(looks) < 4 else look(stream, subject))

        monkeypatch.setattr(api, "last_message", late)
        intent = read_intent()
        first, second = (result_of(intent, output=word) for word in ("first", "second"))
        await other.publish(results.of(first), first)
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await other.publish(results.of(second), second, msg_id="second")
        assert (await asyncio.wait_for(executing, 20)) == second
        assert len(looks) == 4
        # A repeated result is a duplicate: what the stream keeps in its place is the result.
        again = read_intent()
        executing = asyncio.ensure_future(bus.execute(again, timeout=20))
        await eventually_async(lambda: has(other, "SDLC_RAW", 2))
        kept, dropped = (result_of(again, output=word) for word in ("kept", "dropped"))
        await other.publish(results.of(kept), kept)
        await other.publish(results.of(dropped), dropped)
        assert (await asyncio.wait_for(executing, 20)) == kept


async def has(bus: AsyncSmithBus, stream: str, count: int) -> bool:
    return await stored(bus, stream) == count


async def test_a_stream_for_results_that_does_not_exist_is_named(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await other._session.api.stream_delete("ATOMS_RESULTS")
        intent = read_intent()
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await say(other, result_of(intent))
        with pytest.raises(StreamNotFound, match="ATOMS_RESULTS"):
            await asyncio.wait_for(executing, 20)


async def test_without_permission_to_look_a_result_of_a_possible_size_is_returned(
    face: Face, make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(
        config='max_payload: 8388608, authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x",'
        ' permissions: { publish: { deny: "$JS.API.STREAM.MSG.GET.>" } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev") as other,
        face.bus(server.url, auth=Auth(user="some", password="x")) as bus,
    ):
        intent = read_intent()
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await say(other, result_of(intent, output="x" * 4 * 1024 * 1024))
        await say(other, small := result_of(intent, output="small"))
        assert (await asyncio.wait_for(executing, 10)) == small
        (line,) = [line for line in caplog.messages if "without a look" in line]
        assert f"result of intent {intent.id}" in line
        assert "$JS.API.STREAM.MSG.GET.ATOMS_RESULTS" in line


# ---- where the intent is


async def test_an_intent_that_admission_has_not_read(face: Face) -> None:
    async with face.applied() as bus:
        other = read_intent()
        await bus.publish(raw.of(other), other)
        error = await timed_out(bus, read_intent())
        assert (error.state, error.attempt, error.dead_letter) == ("awaiting_admission", None, None)
        assert "waits for admission as seq 2 of SDLC_RAW; 2 wait there, and nothing reads them" in str(error)
        assert "may still be executed" in str(error)


async def test_an_intent_that_admission_has_read_and_not_decided(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        error = await timed_out(bus, intent)
        assert (error.state, error.attempt) == ("in_admission", 1)
        await message.nack()
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        error = await timed_out(bus, intent)
        assert (error.state, error.attempt) == ("in_admission", 2)
        assert "which has not decided yet (attempt 2)" in str(error)


@pytest.mark.parametrize(
    ("decision", "state"), [(Quarantine("looks odd"), "quarantined"), (Deny("not today"), "denied")], ids=["quarantine", "deny"]
)
async def test_an_intent_that_admission_has_not_passed_on(face: Face, decision: Any, state: str) -> None:
    """Its result has been removed, or came from an admission that does not answer."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        async with running(admitting(face, bus, decision)):
            assert (await bus.execute(intent, timeout=10)).status == "denied"
            await eventually_async(lambda: has(other, "SDLC_RAW", 0))
        await other._session.api.stream_purge("ATOMS_RESULTS", {})
        error = await timed_out(bus, intent)
        assert error.state == state
        assert decision.reason in str(error)
        assert "may still be executed" not in str(error)


async def test_bytes_in_quarantine_have_no_audit_event(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        where = str(raw.of(intent))
        data = msgspec.json.encode({**msgspec.to_builtins(intent), "params": {"path": 5}})
        await other._session.publish(where, data, stream="SDLC_RAW", msg_id=f"{where}:{intent.id}")
        async with running(admitting(face, bus)):
            await eventually_async(lambda: has(other, "SDLC_RAW", 0))
        await other._session.api.stream_purge("ATOMS_RESULTS", {})
        error = await timed_out(bus, intent)
        assert error.state == "quarantined"
        assert "not a valid FsReadV1Intent" in str(error)


async def test_what_only_looks_like_a_record_about_it_says_nothing(face: Face) -> None:
    """In the quarantine and among the dead letters anything may stand."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        place = subjects.intents.quarantine(capability=intent.capability)
        await other._session.publish(str(place), b"{", stream=str(place.STREAM), msg_id=f"{place}:seq-1")
        odd = {"Smith-Dead-Attempts": "x", "Smith-Dead-Msg-Id": f"{raw.of(intent)}:{intent.id}"}
        letter = f"smith.dlq.ATOMS_VETTED.{consumers.executor_fs_read.name}.x"
        await other._session.publish(letter, b"", stream="SMITH_DLQ", msg_id="odd", headers=odd)
        error = await timed_out(bus, intent)
        assert error.state == "awaiting_admission"


async def test_an_intent_that_is_vetted_and_unread(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        before, intent = read_intent(), read_intent()
        async with running(admitting(face, bus)):
            for one in (before, intent):
                await bus.publish(raw.of(one), one)
            await eventually_async(lambda: has(other, "ATOMS_VETTED", 2))
            error = await timed_out(bus, intent)
            assert error.state == "queued"
            words = r"executor-fs-read has not read seq [12] of ATOMS_VETTED; 2 wait there, and nothing reads them"
            assert re.search(words, str(error))
            assert "is an executor for fs.read.v1 running?" in str(error)
            # A look into an interest stream leaves nothing behind that would keep its messages.
            for message in await bus.consumer(spec).fetch(2):
                await message.ack_sync()
            await eventually_async(lambda: has(other, "ATOMS_VETTED", 0))


async def test_an_intent_that_an_executor_works_on(face: Face) -> None:
    async with face.applied() as bus:
        intent, beside = read_intent(), read_intent()
        async with running(admitting(face, bus)):
            await bus.publish(raw.of(intent), intent)
            (message,) = await eventually_async(lambda: bus.consumer(spec).fetch(1))
            error = await timed_out(bus, intent)
            assert (error.state, error.attempt) == ("running", 1)
            for attempt in (2, 3):
                await message.nack()
                (message,) = await bus.consumer(spec).fetch(1)
                error = await timed_out(bus, intent)
                assert (error.state, error.attempt) == ("running", attempt)
                assert (
                    f"read by executor-fs-read, which works on it or waits for a retry (attempt {attempt}); it may still"
                    in str(error)
                )
            await bus.publish(raw.of(beside), beside)
            await eventually_async(lambda: bus.consumer(spec).fetch(1))
            error = await timed_out(bus, beside)
            assert (error.state, error.attempt) == ("running", None)  # the server counts for all of them together


async def test_an_intent_that_was_dead_lettered_without_an_answer(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, answer_failures=False)

        def reject(message: Any) -> None:
            raise Reject("a path must be absolute")

        worker.handler(reject)
        async with running(admitting(face, bus), worker):
            other, intent = read_intent(), read_intent()
            for count, one in enumerate((other, intent), 1):
                await bus.publish(raw.of(one), one)
                await eventually_equal(bus.dead_letters.count, count)
            error = await timed_out(bus, intent)
        assert (error.state, error.dead_letter) == ("dead_lettered", "ATOMS_VETTED.executor-fs-read.2")
        assert (await bus.dead_letters.get(error.dead_letter)).error == "a path must be absolute"
        assert "after attempt 1: Reject: a path must be absolute" in str(error)


async def test_an_intent_that_admission_has_dead_lettered(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        async with running(admitting(face, bus, "nonsense")):
            assert (await bus.execute(intent, timeout=10)).error.code == "ADMISSION_FAILED"
            await eventually_async(bus.dead_letters.list)
        await other._session.api.stream_purge("ATOMS_RESULTS", {})
        error = await timed_out(bus, intent)
        assert (error.state, error.dead_letter) == ("dead_lettered", "SDLC_RAW.admission.1")


async def test_an_intent_whose_handler_returns_no_result(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=RetryPolicy(max_attempts=1))
        worker.handler(lambda message: None)
        intent = read_intent()
        async with running(admitting(face, bus), worker):
            await bus.publish(raw.of(intent), intent)
            await eventually_async(lambda: worker.stats.succeeded == 1)
            await eventually_async(lambda: has(bus, "ATOMS_VETTED", 0))
            error = await timed_out(bus, intent)
        assert error.state == "finished"
        assert "executor-fs-read acknowledged it without a result: does its handler return one?" in str(error)


async def test_what_may_not_be_asked_is_named(face: Face, make_server: Any) -> None:
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { allow: ["smith.intents.raw.>", "$JS.API.STREAM.MSG.GET.ATOMS_RESULTS", "_INBOX.>"] } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev"),
        face.bus(server.url, auth=Auth(user="some", password="x")) as bus,
    ):
        error = await timed_out(bus, read_intent())
        assert error.state == "unknown"
        assert "not asked, for lack of permission: " in str(error)
        for subject in ("STREAM.MSG.GET.SDLC_RAW", "STREAM.MSG.GET.AUDIT_SECURITY", "CONSUMER.INFO.ATOMS_VETTED"):
            assert f"$JS.API.{subject}" in str(error)
        assert "may still be executed" in str(error)


async def test_a_link_that_falls_silent_costs_no_more_than_the_budget(
    face: Face, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "BUDGET", BUDGET)
    with Proxy(account.url) as proxy:
        async with account.applied() as other, face.bus(proxy.url) as bus:
            executing = asyncio.ensure_future(timed_out(bus, read_intent(), 1.0))
            await eventually_async(lambda: stored(other, "SDLC_RAW"))
            proxy.stall()
            error = await executing
            assert error.state == "unknown"
            assert "the server did not say within 1 s" in str(error)
            proxy.hear()


async def test_a_stored_result_that_was_not_received_is_returned_at_the_timeout(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        result = result_of(intent, output="late")
        await other.publish(results.of(result), result)
        assert await bus.execute(intent, timeout=SOON) == result


async def test_an_intent_whose_result_its_stream_has_no_room_for(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the result nor the answer that says so can be stored: the dead letter has it all."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await limit(other, "ATOMS_RESULTS", max_bytes=10, discard="new")
        worker = face.worker(bus, spec, retry=RetryPolicy(max_attempts=1))
        worker.handler(lambda message: result_of(message.payload))
        intent = read_intent()
        async with running(admitting(face, bus), worker):
            await bus.publish(raw.of(intent), intent)
            await eventually_equal(bus.dead_letters.count, 1)
            error = await timed_out(bus, intent)
        assert (error.state, error.dead_letter) == ("dead_lettered", "ATOMS_VETTED.executor-fs-read.1")
        assert "QueueFull: stream ATOMS_RESULTS is full" in str(error)
        assert [line for line in caplog.messages if intent.id in line and "could not be published" in line]


async def test_a_refused_result_gives_way_to_the_one_that_is_stored(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that may not follow a handler's result arrives all the same: nothing matches it."""
    monkeypatch.setattr("smith_sdk.aio.execute._SETTLED", 0.1)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await limit(other, "ATOMS_RESULTS", max_msg_size=1000)
        intent = read_intent()
        kept = result_of(intent, output="kept")
        await other.publish(results.of(kept), kept)
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await say(other, result_of(intent, status="error", output="x" * 2000))
        assert (await asyncio.wait_for(executing, 20)) == kept


# ---- what others put on the subject of a result


async def put(bus: AsyncSmithBus, intent: FsReadV1Intent, *datas: bytes) -> None:
    """Have the results stream store `datas` on the subject of the intent's result."""
    before = await stored(bus, "ATOMS_RESULTS")
    for data in datas:
        await bus._connection.publish(f"smith.results.{intent.id}", data)
    await eventually_async(lambda: has(bus, "ATOMS_RESULTS", before + len(datas)))


def others_result() -> bytes:
    return msgspec.json.encode(result_of(read_intent(), output="of another intent"))


STRAYS: Final = {
    "garbage": [b"garbage"],
    "empty": [b""],
    "another intent's": [others_result()],
    "200": [b"\xff" * 100] * 200,
    "huge": [b"[" * 3_000_000, b"7" * 3_000_000, b'"' + b"\x00\x1b" * 1_000_000],
    "an unknown status": [others_result().replace(b'"ok"', b'"perfect"')],
}


@pytest.mark.parametrize("strays", STRAYS.values(), ids=STRAYS)
async def test_what_is_no_result_does_not_end_the_wait(face: Face, strays: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        executing = asyncio.ensure_future(bus.execute(intent, timeout=20))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await put(other, intent, *strays)
        await put(other, intent, msgspec.json.encode(result := result_of(intent, output="the true one")))
        assert await asyncio.wait_for(executing, 10) == result
        (line,) = [line for line in caplog.messages if "no result of it" in line]
        assert intent.id in line
        assert len(line) < 1024
        assert line.isprintable()


@pytest.mark.parametrize(
    "strays", [STRAYS["garbage"], STRAYS["200"], STRAYS["another intent's"]], ids=["one", "200", "another's"]
)
async def test_a_result_is_found_behind_what_is_none(face: Face, strays: list[bytes]) -> None:
    """It was stored before the wait, and not received."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        result = result_of(intent, output="the true one")
        await put(other, intent, strays[0], msgspec.json.encode(result), *strays)
        assert await bus.execute(intent, timeout=SOON) == result


async def test_a_result_is_found_behind_what_is_none_after_a_lost_connection(face: Face, account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with account.applied() as other, face.bus(proxy.url) as bus:
            intent = read_intent()
            executing = asyncio.ensure_future(bus.execute(intent, timeout=30))
            await eventually_async(lambda: stored(other, "SDLC_RAW"))
            await put(other, intent, b"garbage")
            proxy.cut()
            result = result_of(intent, output="the true one")
            await put(other, intent, b"", msgspec.json.encode(result), b"garbage", others_result())
            proxy.restore()
            assert await asyncio.wait_for(executing, 20) == result


async def test_only_its_own_timeout_ends_it(face: Face, account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with account.applied() as other, face.bus(proxy.url, publish_timeout=0.2) as bus:
            proxy.delay(0.3)  # the acknowledgement takes longer than a publish may
            intent = read_intent()
            executing = asyncio.ensure_future(bus.execute(intent, timeout=30))
            await eventually_async(lambda: stored(other, "SDLC_RAW"))
            result = result_of(intent, output="late")
            await put(other, intent, msgspec.json.encode(result))
            assert await asyncio.wait_for(executing, 20) == result


async def test_a_timeout_says_what_came_in_place_of_the_result(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        executing = asyncio.ensure_future(timed_out(bus, intent, 1.0))
        await eventually_async(lambda: stored(other, "SDLC_RAW"))
        await put(other, intent, b"\x1b[2Jgarbage", others_result())
        error = await executing
        assert error.state == "awaiting_admission"
        assert "; 2 messages on its subject are no result of this intent: it is the result of intent " in str(error)
        again = read_intent()
        await put(other, again, b"\x1b[2J")
        error = await timed_out(bus, again)
        assert "; a message on its subject is no result of this intent: the message on smith.results." in str(error)
        assert str(error).isprintable()
