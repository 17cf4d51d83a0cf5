"""The beginning and the end of a worker's run: hooks, draining, stopping at once, limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
import pytest
from buses import Face, read_intent
from lifecycle import notes
from support import eventually_async, is_alive

from smith_sdk import Backoff, Message, RetryLater, RetryPolicy, Worker, consumers, subjects
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.aio import hooks as hooks_module
from smith_sdk.aio.worker import WorkerStats
from smith_sdk.errors import ConsumerNotFound, OptionsError
from smith_sdk.protocol import FsReadV1Intent

FAST = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
vetted = subjects.intents.vetted
spec = consumers.executor_fs_read
START = 40
"""Seconds in which processes start, also on a busy machine."""


@contextlib.asynccontextmanager
async def running(worker: Any) -> AsyncIterator[asyncio.Task[None]]:
    task: asyncio.Task[None] = asyncio.ensure_future(worker.run())
    try:
        yield task
    finally:
        await worker.stop()
        await asyncio.wait_for(task, 30)


async def put(bus: Any, *paths: str) -> None:
    for path in paths:
        intent = read_intent(path)
        await bus.publish(vetted.of(intent), intent)


def stats(worker: Any) -> WorkerStats:
    found: WorkerStats = worker.stats if isinstance(worker, Worker) else worker.inner.stats
    return found


def face_handler(face: Face, function: Any) -> Any:
    async def handle(message: Any) -> None:
        function(message)

    return handle if face.is_async else function


async def fetched(bus: Any, count: int, timeout: float = 10) -> list[tuple[str, int]]:
    """The path and the delivery of `count` messages that are free long before any ack wait is
    over."""
    found = await bus.consumer(spec).fetch(count, timeout=timeout)
    found = [getattr(one, "inner", one) for one in found]
    return [(one.payload.params.path, one.metadata.num_delivered) for one in found]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where handlers and hooks of `lifecycle` note what happens."""
    monkeypatch.setenv("SMITH_TEST_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def words(file: Path) -> list[str]:
    return [line[0] for line in notes(file)]


# ---- hooks


async def test_hooks_run_around_the_messages_of_each_run(face: Face) -> None:
    async with face.applied() as bus:
        seen: list[str] = []
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: seen.append(message.payload.params.path)))
        worker.on_start(lambda: seen.append("open"))

        def close() -> None:
            seen.append("close")

        async def open_more() -> None:
            await asyncio.sleep(0)
            seen.append("open more")

        async def close_more() -> None:
            await bus.streams.info()  # the bus is still there
            seen.append("close more")

        def close_more_here() -> None:
            bus.inner.streams.info()
            seen.append("close more")

        assert worker.on_stop(close) is close
        worker.on_start(open_more if face.is_async else lambda: seen.append("open more"))
        worker.on_stop(close_more if face.is_async else close_more_here)
        for path in ("a", "b"):
            await put(bus, path)
            seen.clear()
            async with running(worker):
                await eventually_async(partial(seen.__contains__, path))
            assert seen == ["open", "open more", path, "close more", "close"]


async def test_a_start_hook_that_fails_ends_the_run_before_anything_is_pulled(face: Face) -> None:
    async with face.applied() as bus:
        await put(bus, "a")
        seen: list[str] = []
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))

        def fail() -> None:
            raise LookupError("no database")

        worker.on_start(fail)
        worker.on_start(lambda: seen.append("never"))
        worker.on_stop(lambda: seen.append("close"))
        with pytest.raises(LookupError, match="no database"):
            await worker.run()
        assert seen == ["close"]
        assert (await bus.consumer(spec).info()).num_waiting == 0
        assert await fetched(bus, 1) == [("a", 1)]


async def test_all_stop_hooks_run_and_the_first_error_is_raised(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus:
        seen: list[str] = []
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))

        def fail(word: str) -> None:
            seen.append(word)
            raise LookupError(word)

        worker.on_stop(lambda: seen.append("first"))
        worker.on_stop(lambda: fail("second"))
        worker.on_stop(lambda: fail("third"))
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulls(bus))
        await worker.stop()
        with pytest.raises(LookupError, match="third"):
            await task
        assert seen == ["third", "second", "first"]
        logged = [record.exc_info[1] for record in caplog.records if record.exc_info and "on_stop hook" in record.message]
        assert [str(error) for error in logged] == ["third", "second"]


async def pulls(bus: Any) -> bool:
    return bool((await bus.consumer(spec).info()).num_waiting)


async def test_stop_hooks_run_after_a_failure_which_stays_the_one_that_is_raised(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))

        def fail() -> None:
            raise LookupError("nor a database")

        worker.on_stop(fail)
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulls(bus))
        session = (bus if face.is_async else bus.inner._aio)._session
        if face.is_async:
            await session.api.consumer_delete(spec.stream, spec.name)
        else:
            await asyncio.to_thread(bus.inner._portal.call, session.api.consumer_delete, spec.stream, spec.name)
        with pytest.raises(ConsumerNotFound) as raised:
            await asyncio.wait_for(task, 30)
        assert any("LookupError: nor a database" in one for one in raised.value.__notes__)


async def test_a_stop_hook_that_hangs_does_not_keep_the_worker(
    face: Face, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "STOP_TIMEOUT", 0.2)
    let_go = threading.Event()
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))
        worker.on_stop(lambda: let_go.wait(60) and None)
        async with running(worker):
            await eventually_async(lambda: pulls(bus))
        let_go.set()
    assert "on_stop hooks have not ended within 0.2 s" in caplog.text


async def test_a_start_hook_that_hangs_is_left_by_a_stop_at_once(face: Face) -> None:
    let_go = threading.Event()
    async with face.applied() as bus:
        seen: list[str] = []
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))

        def open_it() -> None:
            seen.append("open")
            let_go.wait(60)

        worker.on_start(open_it)
        worker.on_stop(lambda: seen.append("close"))
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: seen == ["open"])
        await worker.stop(now=True)
        await asyncio.wait_for(task, 20)
        let_go.set()
        assert seen == ["open", "close"]


@pytest.mark.parametrize("when", ["on_start", "on_stop"])
async def test_a_hook_may_stop_its_own_worker(face: Face, when: str) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        seen: list[str] = []
        worker.handler(face_handler(face, lambda message: seen.append("handled")))
        if face.is_async:
            getattr(worker, when)(worker.stop)
        else:
            getattr(worker, when)(worker.inner.stop)
        await put(bus, "a")
        task = asyncio.ensure_future(worker.run())
        if when == "on_stop":
            await eventually_async(lambda: seen)
            await worker.stop()
        await asyncio.wait_for(task, 30)
        assert seen == (["handled"] if when == "on_stop" else [])
        is_done = when == "on_stop"
        assert await fetched(bus, 1, 0.5 if is_done else 10) == ([] if is_done else [("a", 1)])  # it was not even pulled


async def test_a_run_that_is_cancelled_runs_its_stop_hooks(face: Face) -> None:
    if not face.is_async:
        return  # nothing cancels a call of the blocking face but Ctrl-C, which stops the worker
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        worker.handler(face_handler(face, lambda message: None))
        seen: list[str] = []
        worker.on_stop(lambda: seen.append("close"))
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: pulls(bus))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["close"]


async def test_hooks_that_do_not_fit_are_refused(face: Face) -> None:
    bus: Any = face.bus("nats://127.0.0.1:1")
    worker = face.worker(bus, spec)

    async def later() -> None:
        pass

    for wrong, why in ((7, "is not a hook"), (lambda worker: None, "takes arguments")):
        with pytest.raises(OptionsError, match=why):
            worker.on_start(wrong)
    with pytest.raises(OptionsError, match=r"where no event loop runs: its hook .*later is a plain function"):
        Worker((bus if face.is_async else bus.inner._aio), spec, processes=1).on_stop(later)
    if not face.is_async:
        with pytest.raises(OptionsError, match=r"is on the blocking face: its hook .*later is a plain function"):
            worker.on_start(later)


async def test_hooks_run_here_and_in_each_process(face: Face, file: Path) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=2)
        worker.handler(lifecycle.handle)
        for hook in (lifecycle.open_it, lifecycle.open_more):
            worker.on_start(hook)
        for hook in (lifecycle.close_it, lifecycle.close_more):
            worker.on_stop(hook)
        await put(bus, *map(str, range(10)))
        async with running(worker):
            await eventually_async(lambda: stats(worker).succeeded == 10, START)
    by_pid: dict[str, list[str]] = {}
    for line in notes(file):
        by_pid.setdefault(line[-1], []).append(line[0])
    assert len(by_pid) == 3
    for seen in by_pid.values():
        assert seen[:2] == ["open", "open-more"]
        assert seen[-2:] == ["close-more", "close"]
        assert set(seen[2:-2]) <= {"handled"}
    assert words(file)[-2:] == ["close-more", "close"]  # here last
    assert words(file).count("handled") == 10


async def test_a_start_hook_that_fails_in_a_process_ends_the_run_with_its_error(face: Face, file: Path) -> None:
    async with face.applied() as bus:
        await put(bus, "a")
        worker = face.worker(bus, spec, processes=2)
        worker.handler(lifecycle.handle)
        worker.on_start(lifecycle.in_children_only)
        worker.on_stop(lifecycle.close_it)
        with pytest.raises(LookupError, match="no database here") as raised:
            await asyncio.wait_for(worker.run(), START)
        assert "in_children_only" in raised.value.__notes__[0]
        assert await fetched(bus, 1) == [("a", 1)]
        assert "handled" not in words(file)


async def test_errors_of_stop_hooks_in_processes_are_logged(face: Face, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=1)
        worker.handler(lifecycle.handle)
        worker.on_stop(lifecycle.close_badly_in_children)
        async with running(worker):
            await put(bus, "a")
            await eventually_async(lambda: stats(worker).succeeded == 1, START)
    assert words(file) == ["handled", "close", "close"]
    (error,) = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert str(error) == "no database there"


async def test_a_process_whose_stop_hook_hangs_is_killed(face: Face, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.process_runner.STOP_TIMEOUT", 0.5)
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=1)
        worker.handler(lifecycle.handle)
        worker.on_stop(lifecycle.close_never)
        async with running(worker):
            await put(bus, "a")
            await eventually_async(lambda: stats(worker).succeeded == 1, START)
            began = time.monotonic()
        assert time.monotonic() - began < 20
    pid = notes(file)[0][-1]
    assert not is_alive(int(pid))


# ---- draining


@pytest.mark.parametrize("processes", [None, 1], ids=["here", "process"])
async def test_handlers_see_that_the_worker_drains(face: Face, file: Path, processes: int | None) -> None:
    async with face.applied() as bus:
        options = {} if processes is None else {"processes": processes}
        worker = face.worker(bus, spec, **options)
        worker.handler(lifecycle.until_draining)  # a plain function, in a thread or a process
        await put(bus, "a")
        async with running(worker):
            await eventually_async(lambda: words(file) == ["started"], START)
        assert [line[:-1] for line in notes(file)] == [["started", "False"], ["draining"]]
        assert stats(worker).succeeded == 1


async def test_an_async_handler_hands_its_message_on_while_the_worker_drains(face: Face) -> None:
    if not face.is_async:
        return
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        started = asyncio.Event()

        async def handle(message: Message[FsReadV1Intent]) -> None:
            started.set()
            await eventually_async(lambda: message.draining)
            raise RetryLater(0)

        worker.handler(handle)
        await put(bus, "a")
        async with running(worker):
            await started.wait()
        assert (stats(worker).retried, stats(worker).unanswered) == (1, 0)
        assert await fetched(bus, 1) == [("a", 2)]


async def test_a_message_outside_workers_never_drains(face: Face) -> None:
    async with face.applied() as bus:
        await put(bus, "a")
        (message,) = await bus.consumer(spec).fetch(1)
        assert message.draining is False


# ---- at once


async def test_stopping_at_once_cancels_handlers_and_releases_their_messages(face: Face) -> None:
    """On the blocking face they are in threads, which nothing can end: they are left behind."""
    async with face.applied() as bus:
        worker = face.worker(bus, spec, concurrency=2)
        let_go = threading.Event()
        cancelled: list[str] = []

        async def handle(message: Any) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(message.payload.params.path)
                raise

        worker.handler(handle if face.is_async else lambda message: let_go.wait(60) and None)
        await put(bus, "a", "b", "c")
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: stats(worker).running == 2)
        draining = asyncio.ensure_future(worker.stop())
        await eventually_async(lambda: not_pulling(bus))
        began = time.monotonic()
        await worker.stop(now=True)
        await asyncio.wait_for(asyncio.gather(task, draining), 15)
        assert time.monotonic() - began < 15
        assert sorted(cancelled) == (["a", "b"] if face.is_async else [])
        assert stats(worker).unanswered == 2
        found = await fetched(bus, 3)
        let_go.set()
        assert sorted(path for path, _ in found) == ["a", "b", "c"]
        assert {path: count for path, count in found if path != "c"} == {"a": 2, "b": 2}


async def not_pulling(bus: Any) -> bool:
    return not await pulls(bus)


async def test_a_handler_that_does_not_let_itself_be_cancelled_is_left_behind(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not face.is_async:
        return
    monkeypatch.setattr("smith_sdk.aio.slot_tasks._CANCEL", 0.2)
    async with face.applied() as bus:
        worker = face.worker(bus, spec)
        let_go = asyncio.Event()
        started: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            started.append("")
            while not let_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await let_go.wait()

        worker.handler(handle)
        await put(bus, "a")
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: started)
        await worker.stop(now=True)
        await asyncio.wait_for(task, 20)
        assert await fetched(bus, 1) == [("a", 2)]
        let_go.set()


async def test_stopping_at_once_kills_processes_and_releases_their_messages(face: Face, file: Path) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=1)
        worker.handler(lifecycle.sleep_for_ever)
        worker.on_stop(lifecycle.close_it)
        await put(bus, "a")
        task = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: words(file) == ["started"], START)
        await worker.stop(now=True)
        await asyncio.wait_for(task, 20)
        assert stats(worker).unanswered == 1
        assert not is_alive(int(notes(file)[0][-1]))
        assert words(file) == ["started", "close"]  # that one here
        assert await fetched(bus, 1) == [("a", 2)]


# ---- the end


async def test_a_worker_logs_what_became_of_its_messages(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.worker")
    async with face.applied() as bus:
        worker = face.worker(bus, spec, retry=FAST, drain_timeout=0.1)
        let_go = threading.Event()

        def handle(message: Any) -> None:
            path = message.payload.params.path
            if path == "bad":
                raise ValueError(path)
            if path == "long":
                let_go.wait(30)

        worker.handler(handle)
        await put(bus, "a", "b", "bad")
        async with running(worker):
            await eventually_async(lambda: stats(worker).dead_lettered == 1 and stats(worker).succeeded == 2)
        await put(bus, "long", "c")
        async with running(worker):
            await eventually_async(lambda: stats(worker).succeeded == 3 and stats(worker).running == 1)
        let_go.set()
    found = [record.message for record in caplog.records if "stopped:" in record.message]
    assert found == [
        "worker executor-fs-read stopped: 5 handled (2 retried, 1 dead-lettered), 0 released",
        "worker executor-fs-read stopped: 1 handled, 1 released",
    ]


# ---- max_messages


async def test_without_processes_a_worker_stops_after_so_many_messages(face: Face) -> None:
    async with face.applied() as bus:
        seen: list[str] = []
        worker = face.worker(bus, spec, concurrency=4, max_messages=5)
        worker.handler(face_handler(face, lambda message: seen.append(message.payload.params.path)))
        await put(bus, *map(str, range(12)))
        for count in (5, 10):
            await asyncio.wait_for(worker.run(), 20)
            assert len(seen) == count
        assert len(set(seen)) == 10
        found = await fetched(bus, 2)
        assert {path for path, _ in found} == set(map(str, range(12))) - set(seen)


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
async def test_a_limit_that_is_not_a_positive_number_is_refused(face: Face, value: Any) -> None:
    bus: Any = face.bus("nats://127.0.0.1:1")
    with pytest.raises(OptionsError, match=r"Worker\.max_messages"):
        face.worker(bus, spec, max_messages=value)


@pytest.mark.parametrize(("most", "count", "processes"), [(3, 9, 2), (1, 2, 1)])
async def test_processes_are_replaced_after_so_many_messages_and_none_is_lost(
    face: Face, file: Path, most: int, count: int, processes: int
) -> None:
    async with face.applied() as bus:
        worker = face.worker(bus, spec, processes=processes, max_messages=most)
        worker.handler(lifecycle.handle_slowly)
        worker.on_stop(lifecycle.close_it)
        await put(bus, *map(str, range(count)))
        async with running(worker):
            await eventually_async(lambda: stats(worker).succeeded == count, 2 * START)
    handled = [line for line in notes(file) if line[0] == "handled"]
    assert sorted(int(line[1]) for line in handled) == list(range(count))
    assert {line[2] for line in handled} == {"1"}  # the first delivery of each
    by_pid = Counter(line[-1] for line in handled)
    assert max(by_pid.values()) <= most
    assert len(by_pid) >= count / most
    if processes > 1:
        assert min(by_pid.values()) < most  # the first ones do not end together
    closed = {line[-1] for line in notes(file) if line[0] == "close"}
    assert set(by_pid) <= closed
    assert not any(is_alive(int(pid)) for pid in by_pid)
