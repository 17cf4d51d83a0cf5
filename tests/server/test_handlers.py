"""How handlers run: by payload type, within middleware and a timeout, in threads and processes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gated
import handling
import msgspec
import pytest
from buses import Account, Face, read_intent
from handling import in_a_process, missing_in_processes, path_of
from support import eventually_async, is_alive

from smith_sdk import (
    Backoff,
    Envelope,
    Message,
    Middleware,
    Reject,
    RetryLater,
    RetryPolicy,
    Worker,
    consumers,
    result_of,
    subjects,
)
from smith_sdk.aio.worker import WorkerStats
from smith_sdk.contract import Received
from smith_sdk.errors import HandlerProcessDied, NotAcknowledgeable, OptionsError
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, FsWriteV1Intent, FsWriteV1Params, IntentResult

FAST = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
raw, vetted = subjects.intents.raw, subjects.intents.vetted
spec = consumers.executor_fs_read


def face_handler(face: Face, function: Any) -> Any:
    """The plain `function` as a handler of that face."""

    async def handle(message: Any) -> Any:
        return function(message)

    return handle if face.is_async else function


@contextlib.asynccontextmanager
async def working(face: Face, bus: Any, handler: Any, **options: Any) -> AsyncIterator[Any]:
    worker = face.worker(bus, options.pop("spec", spec), **{"retry": FAST, **options})
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await asyncio.wait_for(running, 30)


async def put(bus: Any, *paths: str) -> list[FsReadV1Intent]:
    intents = [read_intent(path) for path in paths]
    for intent in intents:
        await bus.publish(vetted.of(intent), intent)
    return intents


def stats(worker: Any) -> WorkerStats:
    found: WorkerStats = worker.stats if isinstance(worker, Worker) else worker.inner.stats
    return found


async def settled(bus: Any, which: Any = spec) -> bool:
    info = await bus.consumer(which).info()
    stored = {one.name: one.messages for one in await bus.streams.info()}
    return bool(stored[which.stream] == info.num_pending == info.num_ack_pending == 0)


# ---- handlers by type


async def test_each_type_of_payload_has_its_handler_and_what_has_none_is_a_dead_letter(face: Face) -> None:
    async with face.applied() as bus:
        seen: list[tuple[str, str]] = []
        worker = face.worker(bus, consumers.admission)
        worker.handler_for(FsReadV1Intent)(face_handler(face, lambda message: seen.append(("read", path_of(message)))))
        running = asyncio.ensure_future(worker.run())
        read = read_intent("/r")
        write = FsWriteV1Intent.new(domain="default", params=FsWriteV1Params(path="/w", content=""))
        for intent in (read, write):
            await bus.publish(raw.of(intent), intent)
        await eventually_async(lambda: settled(bus, consumers.admission))
        (letter,) = await bus.dead_letters.list()
        assert (letter.subject, letter.error_type) == (str(raw.of(write)), "Reject")
        assert "no handler for FsWriteV1Intent" in letter.error
        await worker.stop()
        await running
        worker.handler(face_handler(face, lambda message: seen.append(("rest", path_of(message)))))
        running = asyncio.ensure_future(worker.run())
        again = FsWriteV1Intent.new(domain="default", params=FsWriteV1Params(path="/w2", content=""))
        await bus.publish(raw.of(again), again)
        await eventually_async(lambda: settled(bus, consumers.admission))
        await worker.stop()
        await running
        assert seen == [("read", "/r"), ("rest", "/w2")]


@pytest.mark.parametrize("what", ["payload", "text", "number"])
async def test_what_cannot_be_published_is_a_dead_letter_after_one_run(face: Face, what: str) -> None:
    async with face.applied() as bus:
        runs: list[str] = []
        intent = read_intent("/r")

        def handle(message: Any) -> Any:
            runs.append(path_of(message))
            return {"payload": message.payload, "text": "done", "number": 0}[what]

        worker = face.worker(bus, spec, retry=RetryPolicy(max_attempts=5))
        worker.handler(face_handler(face, handle))
        running = asyncio.ensure_future(worker.run())
        await bus.publish(vetted.of(intent), intent)
        await eventually_async(lambda: settled(bus))
        (letter,) = await bus.dead_letters.list()
        name = {"payload": "FsReadV1Intent", "text": "str", "number": "int"}[what]
        assert (letter.error_type, letter.attempts) == ("Reject", 1)
        assert letter.error.startswith(f"the handler returned a {name}, which is not published: return an IntentResult")
        await worker.stop()
        await running
        assert runs == ["/r"]


async def test_handlers_that_do_not_fit_the_options_are_refused_when_they_are_added(face: Face) -> None:
    bus: Any = face.bus("nats://127.0.0.1:1")

    def plain(message: Any) -> None:
        pass

    async def awaited(message: Any) -> None:
        pass

    def make(**options: Any) -> Any:
        worker = face.worker(bus, spec, **options)
        return getattr(worker, "inner", worker)

    worker = make()
    worker.handler(plain)
    worker.handler_for(FsReadV1Intent)(plain)
    with pytest.raises(OptionsError, match="handler already"):
        worker.handler(plain)
    with pytest.raises(OptionsError, match="FsReadV1Intent already"):
        worker.handler_for(FsReadV1Intent)(plain)
    with pytest.raises(OptionsError, match="class of payloads"):
        worker.handler_for("fs.read.v1")
    for kind in (IntentResult, FsReadV1Params, FsWriteV1Intent):
        with pytest.raises(OptionsError, match=rf"{kind.__name__}\): consumer {spec.name} never delivers it, but FsReadV1Intent"):
            worker.handler_for(kind)

    def returns_a_payload(message: Any) -> FsReadV1Intent:
        raise NotImplementedError

    with pytest.raises(OptionsError, match=r"annotated to return FsReadV1Intent: return an IntentResult"):
        make().handler(returns_a_payload)
    with pytest.raises(OptionsError, match="nothing can stop"):
        make(timeout=1).handler(plain)
    with pytest.raises(OptionsError, match="plain function"):
        make(processes=1).handler(awaited)
    with pytest.raises(OptionsError, match="one of the two"):
        make(processes=1, concurrency=1)
    with pytest.raises(OptionsError, match="confirmed"):
        make(ack="twice")
    with pytest.raises(OptionsError, match="drain_timeout"):
        make(drain_timeout=0)
    with pytest.raises(OptionsError, match="retry_on"):
        RetryPolicy(retry_on=ValueError)  # type: ignore[arg-type]


# ---- middleware


class Noting(Middleware):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    def before(self, message: Received[Any, Any], /) -> None:
        self.notes.append(f"{self.name} before")

    def after(self, message: Received[Any, Any], outcome: object, /) -> None:
        self.notes.append(f"{self.name} after {type(outcome).__name__}")

    def error(self, message: Received[Any, Any], error: BaseException, /) -> None:
        self.notes.append(f"{self.name} error {type(error).__name__}")


async def test_middleware_runs_around_the_handler_in_order(face: Face) -> None:
    async with face.applied() as bus:
        notes: list[str] = []

        def handle(message: Any) -> IntentResult:
            notes.append(path_of(message))
            if path_of(message) == "bad":
                raise Reject("no")
            return result_of(message.payload)

        async with working(
            face, bus, face_handler(face, handle), middleware=[Noting("a", notes), Noting("b", notes)], concurrency=1
        ):
            await put(bus, "good", "bad")
            await eventually_async(lambda: settled(bus))
    good = ["a before", "b before", "good", "b after IntentResult", "a after IntentResult"]
    assert notes == [*good, "a before", "b before", "bad", "b error Reject", "a error Reject"]


async def test_middleware_that_raises_counts_as_the_handler(face: Face) -> None:
    async with face.applied() as bus:
        notes: list[str] = []

        class Refusing(Noting):
            def before(self, message: Received[Any, Any], /) -> None:
                super().before(message)
                if path_of(message) == "early":
                    raise Reject("by middleware")

            def after(self, message: Received[Any, Any], outcome: object, /) -> None:
                raise RetryLater(0.01) if message.metadata.num_delivered == 1 else ValueError("late")

            def error(self, message: Received[Any, Any], error: BaseException, /) -> None:
                super().error(message, error)
                raise RuntimeError("of its own")

        runs: list[str] = []
        middleware = [Noting("a", notes), Refusing("b", notes), Noting("c", notes)]
        handler = face_handler(face, lambda message: runs.append(path_of(message)))
        async with working(face, bus, handler, middleware=middleware, concurrency=1):
            await put(bus, "early", "late")
            await eventually_async(lambda: settled(bus))
        letters = {letter.error_type: letter.error for letter in await bus.dead_letters.list()}
    assert letters == {"Reject": "by middleware", "ValueError": "late"}
    assert runs == ["late"] * 3
    assert notes[:4] == ["a before", "b before", "b error Reject", "a error Reject"]  # "c" was never entered


@pytest.mark.parametrize("way", ["plain", "async", "async, later"])
async def test_a_handler_that_exits_has_failed_like_any_other(face: Face, way: str) -> None:
    """asyncio lets `SystemExit` out of a task and its loop: it would end all that runs there."""
    if way != "plain" and not face.is_async:
        pytest.skip("the blocking face has plain handlers only")
    async with face.applied() as bus:
        notes: list[str] = []
        done: list[str] = []

        def plain(message: Any) -> None:
            if path_of(message) == "bad":
                sys.exit(3)
            done.append(path_of(message))

        async def awaited(message: Any) -> None:
            if way == "async, later":
                await asyncio.sleep(0)
            plain(message)

        middleware = [] if way == "async" else [Noting("a", notes)] if way == "plain" else [Awaiting("a", notes)]
        handler = plain if way == "plain" else awaited
        async with working(face, bus, handler, concurrency=1, middleware=middleware) as worker:
            await put(bus, "bad", "good")
            await eventually_async(lambda: settled(bus))
            assert stats(worker).retried == 2
        (letter,) = await bus.dead_letters.list()
    assert (letter.error_type, letter.error, letter.attempts) == ("SystemExit", "3", 3)
    assert done == ["good"]
    assert notes.count("a error SystemExit") == (0 if way == "async" else 3)


class Awaiting(Middleware):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def error(self, message: Received[Any, Any], error: BaseException, /) -> None:
        self.notes.append(f"{self.name} error {type(error).__name__}")


async def test_async_middleware_is_awaited_around_async_handlers_and_refused_around_plain_ones(face: Face) -> None:
    async with face.applied() as bus:
        notes: list[str] = []

        class Slow(Middleware):
            async def before(self, message: Received[Any, Any], /) -> None:
                await asyncio.sleep(0)
                notes.append("before")

            async def after(self, message: Received[Any, Any], outcome: object, /) -> None:
                await asyncio.sleep(0)
                notes.append("after")

        async with working(face, bus, face_handler(face, lambda message: notes.append("handler")), middleware=[Slow()]):
            await put(bus, "x")
            await eventually_async(lambda: settled(bus))
        letters = await bus.dead_letters.list()
    if face.is_async:
        assert notes == ["before", "handler", "after"]
    else:
        assert "handler" not in notes
        assert [letter.error_type for letter in letters] == ["OptionsError"]


# ---- context


async def test_every_message_has_a_context_of_its_own(face: Face) -> None:
    around: contextvars.ContextVar[str] = contextvars.ContextVar("around", default="nothing")
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="nothing")
    seen: list[tuple[str, str, str]] = []

    class Setting(Middleware):
        def before(self, message: Received[Any, Any], /) -> None:
            around.set(path_of(message))

    def handle(message: Any) -> None:
        seen.append((path_of(message), around.get(), mine.get()))
        mine.set(path_of(message))

    async def awaited(message: Any) -> None:
        handle(message)
        before = asyncio.current_task(), around.get(), mine.get()
        await asyncio.sleep(0.001)
        assert (asyncio.current_task(), around.get(), mine.get()) == before
        assert await asyncio.create_task(in_a_task()) == path_of(message)

    async def in_a_task() -> str:
        return mine.get()

    async with face.applied() as bus:
        handler = awaited if face.is_async else handle
        async with working(face, bus, handler, middleware=[Setting()], concurrency=2):
            await put(bus, *map(str, range(10)))
            await eventually_async(lambda: settled(bus))
        assert await bus.dead_letters.list() == ()
    assert sorted(seen) == [(path, path, "nothing") for path in map(str, range(10))]
    assert (around.get(), mine.get()) == ("nothing", "nothing")


# ---- time


async def test_a_handler_that_takes_too_long_is_cancelled_and_has_failed(account: Account) -> None:
    face = Face("async", account)
    async with face.applied() as bus:
        cancelled: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            if path_of(message) == "own":
                raise TimeoutError("of the handler's own")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(message.metadata.num_delivered)
                raise

        async with working(face, bus, handle, timeout=0.1):
            await put(bus, "slow", "own")
            await eventually_async(lambda: settled(bus))
        letters = {letter.error_type: letter.error for letter in await bus.dead_letters.list()}
    assert cancelled == [1, 2, 3]
    assert letters == {
        "HandlerTimeout": "the handler took longer than 0.1 s, and was cancelled",
        "TimeoutError": "of the handler's own",
    }


async def test_the_drain_has_an_end(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine is cancelled and its message nak'ed; a thread may still finish its own."""
    async with face.applied() as bus:
        begun, release = threading.Event(), threading.Event()

        def handle(message: Any) -> None:
            begun.set()
            release.wait(30)

        async def awaited(message: Any) -> None:
            begun.set()
            await asyncio.sleep(60)

        worker = face.worker(bus, spec, drain_timeout=0.2)
        worker.handler(awaited if face.is_async else handle)
        running = asyncio.ensure_future(worker.run())
        await put(bus, "long")
        await eventually_async(begun.is_set)
        began = time.monotonic()
        await worker.stop()
        assert time.monotonic() - began < 20
        assert "1 handlers have not ended within 0.2 s" in caplog.text
        assert stats(worker) == WorkerStats(running=0, succeeded=0, retried=0, dead_lettered=0, unanswered=1)
        if face.is_async:
            (message,) = await bus.consumer(spec).fetch(1)
            assert message.metadata.num_delivered == 2
        release.set()
        await running


# ---- what becomes of a run


async def test_errors_that_the_policy_does_not_retry_are_dead_lettered_at_once(face: Face) -> None:
    policy = RetryPolicy(max_attempts=2, backoff=FAST.backoff, retry_on=(OSError, ValueError), reject_on=(FileNotFoundError,))
    errors = {"os": OSError, "value": ValueError, "missing": FileNotFoundError, "key": KeyError}
    async with face.applied() as bus:
        runs: dict[str, int] = dict.fromkeys(errors, 0)

        def handle(message: Any) -> None:
            runs[path_of(message)] += 1
            raise errors[path_of(message)]("no")

        async with working(face, bus, face_handler(face, handle), retry=policy) as worker:
            await put(bus, *errors)
            await eventually_async(lambda: settled(bus))
            await eventually_async(lambda: stats(worker).dead_lettered == 4)
            assert stats(worker) == WorkerStats(running=0, succeeded=0, retried=2, dead_lettered=4, unanswered=0)
    assert runs == {"os": 2, "value": 2, "missing": 1, "key": 1}


async def test_a_handler_knows_its_attempt_and_when_the_next_would_be(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.1, max=0.4, jitter=0.5))
    async with face.applied() as bus:
        told: list[tuple[int, float | None]] = []

        def handle(message: Any) -> None:
            told.append((message.metadata.num_delivered, message.metadata.next_delay))
            assert message.metadata.next_delay == told[-1][1]
            raise ValueError("again")

        async with working(face, bus, face_handler(face, handle), retry=policy):
            await put(bus, "x")
            await eventually_async(lambda: settled(bus))
        assert (await bus.dead_letters.list())[0].attempts == 3
    (first, one), (second, two), last = told
    assert one is not None
    assert two is not None
    assert (first, second, last) == (1, 2, (3, None))
    assert 0.05 <= one <= 0.1 <= two <= 0.2
    assert f"attempt 1 of 3 at smith.intents.vetted.fs.read.v1.default failed, redelivered in {one:.2f} s" in caplog.text


async def test_a_confirmed_acknowledgement_is_known_to_the_server_before_the_next_run(face: Face) -> None:
    async with face.applied() as bus:
        left: list[int] = []

        def handle(message: Any) -> None:
            left.append(message.metadata.num_delivered)

        async with working(face, bus, face_handler(face, handle), ack="confirmed", concurrency=1) as worker:
            await put(bus, *map(str, range(20)))
            await eventually_async(lambda: stats(worker).succeeded == 20)
            assert (await bus.consumer(spec).info()).num_ack_pending == 0


# ---- outputs


async def test_outputs_of_a_redelivered_message_are_stored_once(face: Face) -> None:
    """Both published and returned outputs; payloads differ each time, since their times do."""
    async with face.applied() as bus:
        acks: list[bool] = []

        def outputs(message: Any) -> list[tuple[Any, Any]]:
            result = result_of(message.payload, output=message.metadata.num_delivered)
            return [(subjects.results.of(result), result)] * 2

        async def awaited(message: Any) -> Envelope:
            for subject, result in outputs(message):
                acks.append((await message.publish(subject, result)).duplicate)
            return finished(message)

        def plain(message: Any) -> Envelope:
            for subject, result in outputs(message):
                acks.append(message.publish(subject, result).duplicate)
            return finished(message)

        def finished(message: Any) -> Envelope:
            if message.metadata.num_delivered < 3:
                raise ValueError("once more")
            result = result_of(message.payload, output="returned")
            return subjects.results.of(result).envelope(result)

        async with working(face, bus, awaited if face.is_async else plain):
            await put(bus, "x")
            await eventually_async(lambda: settled(bus))
        stored = next(one.messages for one in await bus.streams.info() if one.name == "ATOMS_RESULTS")
        assert acks == [False, False, True, True, True, True]
        assert stored == 3  # two in the first run, and what the last returned


async def test_core_messages_have_no_outputs(face: Face) -> None:
    async with face.applied() as bus, bus.subscribe(vetted.filter()) as messages:
        await put(bus, "x")
        message = await anext(messages)
        result = result_of(message.payload)
        with pytest.raises(NotAcknowledgeable):
            await message.publish(subjects.results.of(result), result)


# ---- processes


async def test_plain_handlers_run_in_processes(face: Face) -> None:
    async with face.applied() as bus:
        async with working(face, bus, in_a_process, processes=2) as worker:
            await put(bus, *(f"ok:{number}" for number in range(20)))
            await eventually_async(lambda: stats(worker).succeeded == 20, 30)
            await eventually_async(lambda: settled(bus))
        found = {letter.error_type for letter in await bus.dead_letters.list()}
        assert found == set()
        pids = set()
        async for message in bus.consumer(consumers.http_results).messages():
            pids.add(message.payload.output["pid"])
            if not message.metadata.num_pending:
                break
    assert len(pids) == 2
    assert os.getpid() not in pids
    await eventually_async(lambda: not any(map(is_alive, pids)))


async def test_an_error_in_a_process_is_treated_as_one_in_a_thread(face: Face) -> None:
    async with face.applied() as bus:
        once = RetryPolicy(max_attempts=1)
        async with working(face, bus, in_a_process, processes=1, retry=once):
            verdicts = ["verdict:ack", "verdict:ack_sync"]
            await put(bus, "raise:value", "raise:odd", "reject:not mine", "later:0.2", *verdicts, "exit:3", "die:", "ok:")
            await eventually_async(lambda: settled(bus), 60)
        letters = {
            msgspec.json.decode(letter.payload, type=FsReadV1Intent).params.path: (letter.error_type, letter.error)
            for letter in await bus.dead_letters.list()
        }
    assert letters["raise:value"] == ("ValueError", "of value")
    assert letters["raise:odd"] == ("Odd", "('of odd', '', 'third')")
    assert letters["reject:not mine"] == ("Reject", "not mine")
    for verdict in verdicts:
        assert letters[verdict][0] == "NotAcknowledgeable"
        assert "the verdict is what it returns" in letters[verdict][1]
    assert "exit status 3" in letters["exit:3"][1]
    assert "SIGKILL" in letters["die:"][1]
    assert {letters[one][0] for one in ("exit:3", "die:")} == {"HandlerProcessDied"}
    assert len(letters) == 5 + len(verdicts)


async def test_a_process_that_takes_too_long_is_killed_and_replaced(
    face: Face, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy machine may make any attempt take too long: there are many, of which the first that
    begins waits."""
    async with face.applied() as bus:
        often = RetryPolicy(max_attempts=50, backoff=FAST.backoff)
        async with working(face, bus, in_a_process, processes=1, retry=often, timeout=0.5) as worker:
            await put(bus, f"wait-once:{tmp_path}/pid")
            await eventually_async(lambda: stats(worker).succeeded == 1, 30)
        failed = [one for one in caplog.records if "failed, redelivered" in one.getMessage()]
        assert {one.__dict__["error_type"] for one in failed} == {"HandlerTimeout"}
        pid = int((tmp_path / "pid").read_text())
        assert not is_alive(pid)
        (result,) = [one async for one in bus.read(subjects.results.filter())]
        assert result.payload.output["pid"] != pid


async def test_at_the_end_of_the_drain_messages_in_processes_are_naked(face: Face, tmp_path: Path) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=1, drain_timeout=0.2)
        worker.handler(in_a_process)
        running = asyncio.ensure_future(worker.run())
        await put(bus, f"wait:{tmp_path}/pid")
        await eventually_async(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 30)
        await worker.stop()
        await running
        assert not is_alive(int((tmp_path / "pid").read_text()))
        (message,) = await bus.consumer(spec).fetch(1)
        assert message.metadata.num_delivered == 2


async def test_a_handler_that_cannot_be_pickled_is_refused_before_anything_is_read(face: Face) -> None:
    async with face.applied() as bus:
        await put(bus, "x")
        worker = face.worker(bus, spec, processes=1)
        worker.handler(lambda message: None)
        with pytest.raises(OptionsError, match="top level of a module"):
            await worker.run()
        (message,) = await bus.consumer(spec).fetch(1)
        assert message.metadata.num_delivered == 1


async def test_processes_that_do_not_start_end_the_worker_and_dead_letter_nothing(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "only_here", handling)
    monkeypatch.setattr(missing_in_processes, "__module__", "only_here")
    async with face.applied() as bus:
        await put(bus, "x")
        worker = face.worker(bus, spec, processes=1)
        worker.handler(missing_in_processes)
        with pytest.raises(HandlerProcessDied, match="import its handler"):
            await worker.run()
        (message,) = await bus.consumer(spec).fetch(1)
        assert message.metadata.num_delivered == 1
        assert await bus.dead_letters.list() == ()


async def test_a_process_that_cannot_be_replaced_ends_the_worker_and_dead_letters_nothing(
    face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever slot needs the process next: none waits for one that never starts."""
    gate = tmp_path / "gate"
    monkeypatch.setenv("SMITH_TEST_GATE", str(gate))
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=2, drain_timeout=60)
        worker.handler(gated.die)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: waiting(bus), 30)
        gate.touch()
        await put(bus, *map(str, range(6)))
        with pytest.raises(HandlerProcessDied, match="import its handler"):
            await asyncio.wait_for(running, 30)
        assert await bus.dead_letters.list() == ()
        assert (await bus.streams.get(spec.stream)).messages == 6


async def waiting(bus: Any) -> bool:
    return bool((await bus.consumer(spec).info()).num_waiting)
