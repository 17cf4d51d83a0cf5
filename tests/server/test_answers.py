"""Callers are answered: an intent that admission or a worker gives up has a result that says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
from buses import Account, Face, read_intent
from handling import in_a_process
from support import eventually_async

from smith_sdk import (
    Admission,
    Allow,
    AsyncSmithBus,
    Auth,
    Backoff,
    Deny,
    Quarantine,
    Reject,
    ResultCode,
    RetryPolicy,
    Worker,
    consumers,
    result_of,
    subjects,
)
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import (
    FsReadV1Intent,
    FsWriteV1Intent,
    FsWriteV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    IntentResult,
)

raw, vetted, results = subjects.intents.raw, subjects.intents.vetted, subjects.results
spec: Final = consumers.executor_fs_read
QUICK: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.01, max=0.01))
HEADER: Final = "Smith-Answer-For"


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    """Workers and admissions that run meanwhile."""
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


def handled(face: Face, bus: Any, function: Any, **options: Any) -> Any:
    """A worker with `function` as its handler."""
    worker = face.worker(bus, options.pop("spec", spec), **{"retry": QUICK, **options})
    worker.handler(function)
    return worker


async def stored(account_url: str) -> list[tuple[IntentResult, dict[str, str]]]:
    """Every result in its stream, with its headers, in order."""
    async with AsyncSmithBus(account_url) as bus:
        found = []
        for seq in range(1, (await bus.streams.get("ATOMS_RESULTS")).last_seq + 1):
            message = await bus._session.api.message("ATOMS_RESULTS", seq)
            found.append((msgspec.json.decode(message.data, type=IntentResult), message.headers))
        return found


async def answers(url: str) -> dict[str, tuple[str, str]]:
    """Status and code by intent id; each intent has one result."""
    found = await stored(url)
    by_id: dict[str, tuple[str, str]] = {
        str(result.intent_id): (result.status, result.error.code if result.error else "") for result, _ in found
    }
    assert len(by_id) == len(found)
    return by_id


async def put(bus: Any, *paths: str) -> dict[str, FsReadV1Intent]:
    intents = {path: read_intent(path) for path in paths}
    for intent in intents.values():
        await bus.publish(vetted.of(intent), intent)
    return intents


# ---- what a worker gives up


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("text")


def fail(message: Any) -> Any:
    path = message.payload.params.path
    if path == "reject":
        raise Reject("a path must be absolute")
    if path == "no json":
        return result_of(message.payload, output={object()})
    if path == "no result":
        return message.payload
    raise {"raise": OSError(2, "No such file", "/x"), "long": ValueError("x\n" * 5000), "mute": Mute()}[path]


async def test_whatever_a_handler_does_wrong_its_caller_is_answered_before_the_dead_letter(face: Face) -> None:
    async with face.applied() as bus:
        intents = await put(bus, "raise", "reject", "long", "mute", "no json", "no result")
        async with running(handled(face, bus, fail)):
            await eventually_async(lambda: has_letters(bus, len(intents)))
        found = {str(result.intent_id): (result, headers) for result, headers in await stored(face.url)}
        letters = {letter.id: letter for letter in await bus.dead_letters.list()}
        said = {}
        for path, intent in intents.items():
            result, headers = found.pop(intent.id)
            letter = letters.pop(headers[HEADER])
            assert result.error is not None
            assert result.status == "error"
            assert len(result.error.message) <= 1024
            assert "\n" not in result.error.message
            assert msgspec.json.decode(letter.payload)["id"] == intent.id
            assert result.finished_at_ns <= letter.time.timestamp() * 1e9
            said[path] = (result.error.code, result.error.message.partition(": ")[0])
        assert (found, letters) == ({}, {})
        assert said == {
            "raise": ("HANDLER_FAILED", "FileNotFoundError"),
            "reject": ("REJECTED", "a path must be absolute"),
            "long": ("HANDLER_FAILED", "ValueError"),
            "mute": ("HANDLER_FAILED", "Mute"),
            "no json": ("HANDLER_FAILED", "PayloadMismatch"),
            "no result": ("HANDLER_FAILED", "Reject"),
        }


async def has_letters(bus: Any, count: int) -> bool:
    return len(await bus.dead_letters.list()) == count


async def has_results(url: str, count: int) -> bool:
    return len(await stored(url)) == count


def succeeded(worker: Any, count: int) -> bool:
    return bool(worker.stats.succeeded == count)


async def test_execute_returns_with_the_last_attempt_and_not_at_its_timeout(face: Face) -> None:
    async with face.applied() as bus:
        ended: list[float] = []

        def handle(message: Any) -> None:
            ended.append(time.monotonic())
            raise ValueError("as ever")

        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="tester")
        async with running(admission, handled(face, bus, handle)):
            result = await bus.execute(read_intent(), timeout=60)
        assert time.monotonic() - ended[-1] < 30
        assert len(ended) == 2
        assert (result.status, result.error.code, result.error.message) == ("error", "HANDLER_FAILED", "ValueError: as ever")
        assert result.error.code == ResultCode.HANDLER_FAILED


async def test_a_handler_process_that_takes_too_long_or_dies(face: Face) -> None:
    async with face.applied() as bus:
        intents = await put(bus, "wait:/dev/null")
        dies = FsWriteV1Intent.new(domain="default", params=FsWriteV1Params(path="die", content=""))
        await bus.publish(vetted.of(dies), dies)
        options: dict[str, Any] = {"processes": 1, "retry": RetryPolicy(max_attempts=1)}
        slow = handled(face, bus, in_a_process, timeout=0.2, **options)
        dying = handled(face, bus, in_a_process, spec=consumers.executor_fs_write, **options)  # has the time for it
        async with running(slow, dying):
            await eventually_async(lambda: has_letters(bus, 2))
        assert await answers(face.url) == {
            dies.id: ("killed", "HANDLER_DIED"),
            intents["wait:/dev/null"].id: ("timeout", "HANDLER_TIMEOUT"),
        }


async def test_an_async_handler_that_takes_too_long(account: Account) -> None:
    async with account.applied() as bus:
        worker = Worker(bus, spec, timeout=0.05, retry=QUICK)

        @worker.handler
        async def wait(message: Any) -> None:
            await asyncio.Event().wait()

        intents = await put(bus, "/x")
        async with running(worker):
            await eventually_async(lambda: has_letters(bus, 1))
        assert await answers(account.url) == {intents["/x"].id: ("timeout", "HANDLER_TIMEOUT")}


async def test_a_poison_message(face: Face) -> None:
    """Its attempt marker is there already: an earlier process has not survived it."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intents = await put(bus, "poison")
        for _ in range(2):
            (message,) = await bus.consumer(spec).fetch(1)
            await message.nack()
        marker = f"smith.dlq.{spec.stream}.{spec.name}.1.trial"
        await other._session.publish(marker, b"another process", stream="SMITH_DLQ", msg_id="marker")
        async with running(handled(face, bus, fail)):
            letter = (await eventually_async(bus.dead_letters.list))[0]
        assert letter.error_type == "DeliveriesExhausted"
        assert await answers(face.url) == {intents["poison"].id: ("killed", "HANDLER_DIED")}


async def test_an_intent_that_cannot_be_decoded_is_answered_if_its_id_can_be_read(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        where = "smith.intents.vetted.fs.read.v1.default"
        broken = {
            "params": msgspec.json.encode({**msgspec.to_builtins(read_intent()), "id": "params", "params": {"path": 5}}),
            "cut": b'{"id": "cu',
            "a.b": b'{"id": "a.b"}',
            "": b"\xff",
        }
        for id, data in broken.items():
            await other._session.publish(where, data, stream=spec.stream, msg_id=f"{where}:{id}")
        async with running(handled(face, bus, fail)):
            await eventually_async(lambda: has_letters(bus, 4))
        assert await answers(face.url) == dict.fromkeys(("params", "cut"), ("error", "INTENT_INVALID"))
        warned = sorted(line for line in caplog.messages if "no readable intent id" in line)
        assert [line.partition(" on ")[0] for line in warned] == [f"executor-fs-read: no result for seq {seq}" for seq in (3, 4)]


async def test_an_intent_that_the_worker_has_no_handler_for(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, consumers.admission, retry=QUICK, answer_failures=True)
        worker.handler_for(FsWriteV1Intent)(fail)
        intent = read_intent("/x")
        await bus.publish(subjects.intents.raw.of(intent), intent)
        async with running(worker):
            await eventually_async(lambda: has_letters(bus, 1))
        assert await answers(face.url) == {intent.id: ("error", "REJECTED")}


async def test_only_workers_for_intents_answer(face: Face) -> None:
    async with face.applied() as bus:
        for value in (True, "yes"):
            with pytest.raises(OptionsError, match="answer_failures"):
                face.worker(bus, consumers.http_results, answer_failures=value)
        result = result_of(read_intent())
        await bus.publish(results.of(result), result)
        intents = await put(bus, "reject")

        def reject(message: Any) -> None:
            raise Reject("no")

        reader = handled(face, bus, reject, spec=consumers.http_results)
        silent = handled(face, bus, reject, answer_failures=False)
        async with running(reader, silent):
            await eventually_async(lambda: has_letters(bus, 2))
        assert [one.intent_id for one, _ in await stored(face.url)] == [result.intent_id]
        intent = HttpFetchV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://x"))
        await bus.publish(vetted.of(intent), intent)
        async with running(handled(face, bus, reject, spec=consumers.executor_http_fetch, answer_failures=True)):
            await eventually_async(lambda: has_letters(bus, 3))
        assert {one.intent_id for one, _ in await stored(face.url)} == {result.intent_id, intent.id}
        assert intents["reject"].id != intent.id


# ---- what a handler gives up itself


@pytest.mark.parametrize("call", ["term", "term for a reason", "ack", "ack_sync"])
async def test_a_handler_that_ends_its_message_and_leaves_no_result(face: Face, call: str) -> None:
    """It is not redelivered and has no dead letter, so its caller would wait for nothing."""
    name, _, rest = call.partition(" for ")
    words = ("no disk",) if rest else ()
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=QUICK)
        if face.is_async:

            @worker.handler  # type: ignore[untyped-decorator]
            async def handle_async(message: Any) -> None:
                await getattr(message, name)(*words)
                if name != "term":
                    raise ValueError("after it")
        else:

            @worker.handler  # type: ignore[untyped-decorator]
            def handle(message: Any) -> None:
                getattr(message, name)(*words)
                if name != "term":
                    raise ValueError("after it")

        intents = await put(bus, "/x")
        async with running(worker):
            await eventually_async(lambda: has_results(face.url, 1))
        ((result, _),) = await stored(face.url)
    assert (result.intent_id, result.status) == (intents["/x"].id, "error")
    assert result.error is not None
    if name == "term":
        assert result.error.code == "REJECTED"
        assert result.error.message == "the handler terminated the message" + (": no disk" if rest else "")
    else:
        assert (result.error.code, result.error.message) == ("HANDLER_FAILED", "ValueError: after it")


async def test_a_handler_that_naks_its_message_and_raises_does_so_max_attempts_times(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=QUICK)
        if face.is_async:

            @worker.handler  # type: ignore[untyped-decorator]
            async def handle_async(message: Any) -> None:
                await message.nack(0.3)
                raise ValueError("after it")
        else:

            @worker.handler  # type: ignore[untyped-decorator]
            def handle(message: Any) -> None:
                message.nack(0.3)
                raise ValueError("after it")

        intents = await put(bus, "/x")
        async with running(worker):
            await eventually_async(lambda: has_letters(bus, 1))
            await eventually_async(lambda: queue_is_empty(bus))
            await eventually_async(lambda: (worker.stats.retried, worker.stats.dead_lettered) == (1, 1))
    assert await answers(face.url) == {intents["/x"].id: ("error", "HANDLER_FAILED")}


async def queue_is_empty(bus: Any) -> bool:
    return bool((await bus.streams.get("ATOMS_VETTED")).messages == 0)


async def test_a_handler_that_terminates_its_message_after_a_result(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=QUICK)
        if face.is_async:

            @worker.handler  # type: ignore[untyped-decorator]
            async def handle_async(message: Any) -> IntentResult:
                await message.term()
                return result_of(message.payload, output="done")
        else:

            @worker.handler  # type: ignore[untyped-decorator]
            def handle(message: Any) -> IntentResult:
                message.term()
                return result_of(message.payload, output="done")

        intents = await put(bus, "/x")
        async with running(worker):
            await eventually_async(lambda: has_results(face.url, 1))
            await eventually_async(lambda: succeeded(worker, 1))
    assert await answers(face.url) == {intents["/x"].id: ("ok", "")}


async def test_a_result_of_another_intent_is_logged(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    other = read_intent("/other")

    def handle(message: Any) -> IntentResult:
        return result_of(other if message.payload.params.path == "/x" else message.payload)

    async with face.applied() as bus:
        worker = handled(face, bus, handle)
        intents = await put(bus, "/x", "/y")
        async with running(worker):
            await eventually_async(lambda: succeeded(worker, 2))
    assert set(await answers(face.url)) == {other.id, intents["/y"].id}
    (warned,) = [line for line in caplog.messages if "returned a result of" in line]
    assert f"handler of intent {intents['/x'].id} returned a result of intent {other.id}" in warned


# ---- beside other results


async def test_a_result_that_the_handler_has_published_stands(face: Face) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=QUICK)
        if face.is_async:

            @worker.handler  # type: ignore[untyped-decorator]
            async def handle_async(message: Any) -> None:
                result = result_of(message.payload, output="done")
                await message.publish(results.of(result), result)
                raise ValueError("after it")
        else:

            @worker.handler  # type: ignore[untyped-decorator]
            def handle(message: Any) -> None:
                result = result_of(message.payload, output="done")
                message.publish(results.of(result), result)
                raise ValueError("after it")

        intents = await put(bus, "/x")
        async with running(worker):
            await eventually_async(lambda: has_letters(bus, 1))
        assert await answers(face.url) == {intents["/x"].id: ("ok", "")}


async def test_a_replayed_dead_letter_has_its_newest_result(face: Face) -> None:
    """The stream deduplicates results by intent: an answer must not swallow what comes later."""
    async with face.applied() as bus:
        intent = read_intent()
        outcomes: list[Any] = [ValueError("first"), ValueError("second"), None]

        def handle(message: Any) -> IntentResult:
            if outcomes[0] is not None:
                raise outcomes[0]
            return result_of(message.payload, output="done")

        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="tester")
        async with running(admission, handled(face, bus, handle, retry=RetryPolicy(max_attempts=1))):
            first = await bus.execute(intent, timeout=20)
            await eventually_async(lambda: has_letters(bus, 1))
            for number, words in enumerate(("second", "done"), start=2):
                outcomes.pop(0)
                (letter,) = await bus.dead_letters.list()
                await bus.dead_letters.replay(letter.id)

                async def is_stored(number: int = number) -> bool:
                    return len(await stored(face.url)) == number

                await eventually_async(is_stored)
                newest = await bus.execute(intent, timeout=20)
                assert words in (newest.output, newest.error and newest.error.message.partition(": ")[2])
                if words == "second":
                    await eventually_async(lambda: has_letters(bus, 1))
        assert first.error.message == "ValueError: first"
        assert [result.status for result, _ in await stored(face.url)] == ["error", "error", "ok"]


async def test_an_answer_repeated_after_a_crash_is_stored_once(account: Account) -> None:
    """The worker died between the answer and the dead letter. `chaos` kills it there for real."""
    async with account.applied() as bus:
        await put(bus, "/x")
        worker = Worker(bus, spec)
        sender = worker._slots._settler._answers
        assert sender is not None
        for _ in range(2):
            (message,) = await bus.consumer(spec).fetch(1)
            await sender.send(message, "ValueError", "no", ValueError("no"))
            await message.nack()
        assert len(await stored(account.url)) == 1


# ---- answers that cannot be published


async def test_a_dead_letter_is_written_though_the_answer_has_no_room(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        api = other._session.api
        config = (await api.stream_info("ATOMS_RESULTS"))["config"]
        await api.stream_update(config | {"max_bytes": 10, "discard": "new"})
        intents = await put(bus, "raise")
        async with running(handled(face, bus, fail)):
            await eventually_async(lambda: has_letters(bus, 1))
        (line,) = [line for line in caplog.messages if "could not be published" in line]
        assert intents["raise"].id in line
        assert "ATOMS_RESULTS is full" in line


async def test_a_result_that_may_not_be_read_stands(face: Face, make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The worker's role needs no permission to read results: that there is one is enough."""
    server = make_server(
        config='authorization { users: [ { user: "all", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: "$JS.API.STREAM.MSG.GET.ATOMS_RESULTS" } } } ] }'
    )
    async with (
        AsyncSmithBus(server.url, auth=Auth(user="all", password="x"), manage="apply", profile="dev") as other,
        face.bus(server.url, auth=Auth(user="some", password="x")) as bus,
    ):
        intents = await put(other, "raise")
        result = result_of(intents["raise"], output="done")
        await other.publish(results.of(result), result)
        async with running(handled(face, bus, fail)):
            await eventually_async(lambda: has_letters(other, 1))
        assert (await other.streams.get("ATOMS_RESULTS")).last_seq == 1
        assert not [line for line in caplog.messages if "could not be published" in line]


# ---- admission


async def test_a_quarantined_intent_is_answered_and_logged(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "smith_sdk.admission")
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        odd, no_subject, undecodable = read_intent("/odd"), read_intent("/subject"), read_intent("/bytes")
        admission = face.admission(bus, policy=lambda intent: Quarantine("looks odd"), executor_id="tester")
        where = str(raw.of(odd))
        damaged = {
            no_subject.id: msgspec.json.encode({**msgspec.to_builtins(no_subject), "domain": "a.b"}),
            undecodable.id: msgspec.json.encode({**msgspec.to_builtins(undecodable), "params": {"path": 5}}),
            "": b"no intent at all",
        }
        async with running(admission):
            result = await bus.execute(odd, timeout=10)
            assert (result.status, result.error.code, result.error.message) == ("denied", "QUARANTINED", "looks odd")
            for id, data in damaged.items():
                await other._session.publish(where, data, stream="SDLC_RAW", msg_id=f"m{id}")
            await eventually_async(lambda: len([line for line in caplog.messages if "quarantines" in line]) == 4)
            await eventually_async(lambda: has_answers(face.url, 3))
        assert await answers(face.url) == dict.fromkeys((odd.id, no_subject.id, undecodable.id), ("denied", "QUARANTINED"))
        warned = [line for line in caplog.messages if "quarantines" in line]
        for id in (odd.id, no_subject.id, undecodable.id, "(no readable id)"):
            assert any(id in line and where in line for line in warned)
        assert "looks odd" in warned[0]


async def has_answers(url: str, count: int) -> bool:
    return len(await answers(url)) == count


async def test_the_caller_hears_of_a_policy_that_raises_and_of_an_unknown_subject(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:

        def policy(intent: Any) -> Any:
            raise RuntimeError("the policy is broken")

        await other._session.publish("smith.intents.raw.mind.read.v9", b'{"id": "x"}', stream="SDLC_RAW", msg_id="x")
        intent = read_intent()
        async with running(face.admission(bus, policy=policy, executor_id="tester")):
            result = await bus.execute(intent, timeout=20)
            await eventually_async(lambda: has_answers(face.url, 2))
        assert (result.status, result.error.message) == ("error", "RuntimeError: the policy is broken")
        assert await answers(face.url) == {"x": ("error", "INTENT_INVALID"), intent.id: ("error", "ADMISSION_FAILED")}


async def test_an_expired_intent_is_denied(face: Face) -> None:
    async with face.applied() as bus:
        async with running(face.admission(bus, policy=lambda intent: Allow(), executor_id="tester")):
            intent = read_intent(created_at_ns=1, ttl_ms=10)
            assert intent.is_expired
            result = await bus.execute(intent, timeout=10)
        assert (result.status, result.error.code) == ("denied", ResultCode.INTENT_EXPIRED)


@pytest.mark.parametrize("decision", [Deny("not today"), Quarantine("odd")])
async def test_an_intent_that_is_published_again_and_admitted_has_its_own_result(account: Account, decision: Any) -> None:
    async with account.applied() as bus:
        decisions = [decision, Allow()]
        intent = read_intent()
        admission = Admission(bus, policy=lambda intent: decisions[0], executor_id="tester")
        worker = Worker(bus, spec)
        worker.handler(returns_done)
        async with running(admission, worker):
            await bus.publish(raw.of(intent), intent)
            await eventually_async(lambda: has_answers(account.url, 1))
            decisions.pop(0)
            await bus.publish(raw.of(intent), intent, msg_id="again")

            async def has_both() -> bool:
                return [result.status for result, _ in await stored(account.url)] == ["denied", "ok"]

            await eventually_async(has_both)
            decisions.insert(0, decision)
            await bus.publish(raw.of(intent), intent, msg_id="a third time")

            async def is_decided() -> bool:
                info = await bus.streams.get("SDLC_RAW")
                return (info.messages, info.last_seq) == (0, 3)

            await eventually_async(is_decided)
        assert await has_both()  # the result of a handler stands


async def returns_done(message: Any) -> IntentResult:
    return result_of(message.payload, output="done")
