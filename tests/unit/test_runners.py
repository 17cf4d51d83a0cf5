"""The three ways to run a handler, and which of them a handler gets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from buses import read_intent
from handling import in_a_process, path_of
from support import eventually_async, is_alive

from smith_sdk import AsyncSmithBus, Message, Middleware, Reject, consumers, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.execution.process_pool import WorkerProcess
from smith_sdk.aio.handlers import Handlers
from smith_sdk.aio.message_keys import MessageKeys
from smith_sdk.aio.middleware import MiddlewareChain
from smith_sdk.aio.process_runner import ProcessRunner
from smith_sdk.aio.runners import InlineRunner, Runner, ThreadRunner
from smith_sdk.contract import Received
from smith_sdk.errors import HandlerProcessDied, HandlerTimeout, NotAcknowledgeable, OptionsError
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

NO_MIDDLEWARE = MiddlewareChain("here")


@asynccontextmanager
async def opened(runner: Any) -> AsyncIterator[None]:
    try:
        await runner.open()
        yield
    finally:
        runner.close()


def received(path: str) -> Message[FsReadV1Intent, Any]:
    """A message as a consumer delivers it, on a bus that is not connected."""
    intent = read_intent(path)
    subject = str(subjects.intents.vetted.of(intent))
    raw = RawMessage(
        subject,
        "$JS.ACK.ATOMS_VETTED.executor-fs-read.1.1.1.1700000000000000000.0",
        msgspec.json.encode(intent),
        f"NATS/1.0\r\nNats-Msg-Id: {subject}:{intent.id}\r\n\r\n".encode(),
    )
    return Message(raw, AsyncSmithBus("nats://127.0.0.1:1")._session)


# ---- in the event loop


async def test_a_coroutine_function_runs_in_the_current_task() -> None:
    async def handle(message: str) -> tuple[str, object]:
        await asyncio.sleep(0)
        return message, asyncio.current_task()

    runner = InlineRunner(NO_MIDDLEWARE, None)
    async with opened(runner):
        assert await runner.bind(handle)("m") == ("m", asyncio.current_task())
    assert runner.cancellable


async def test_a_timeout_cancels_a_coroutine_and_is_told_from_its_own_timeouts() -> None:
    cancelled = asyncio.Event()

    async def slow(_: object) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.set()

    async def own(_: object) -> None:
        raise TimeoutError("of its own")

    runner = InlineRunner(NO_MIDDLEWARE, 0.01)
    with pytest.raises(HandlerTimeout, match=r"longer than 0\.01 s"):
        await runner.bind(slow)(None)
    assert cancelled.is_set()
    with pytest.raises(TimeoutError, match="of its own") as caught:
        await runner.bind(own)(None)
    assert type(caught.value) is TimeoutError


# ---- in threads


async def test_a_plain_function_runs_in_a_thread_and_gets_what_is_presented() -> None:
    runner = ThreadRunner("here", 2, NO_MIDDLEWARE)
    runner.show_as(lambda message: f"shown {message}")
    async with opened(runner):
        run = runner.bind(lambda shown: (shown, threading.current_thread().name))
        shown, thread = await run("m")
    assert shown == "shown m"
    assert thread.startswith("smith-here-")
    assert not runner.cancellable


async def test_an_awaitable_that_a_plain_function_returns_is_awaited_in_the_loop() -> None:
    async def later(message: str) -> tuple[str, threading.Thread]:
        await asyncio.sleep(0)
        return message, threading.current_thread()

    runner = ThreadRunner("here", 1)
    async with opened(runner):
        assert await runner.bind(lambda message: later(message))("m") == ("m", threading.current_thread())


async def test_a_runner_opens_again_after_it_was_closed() -> None:
    runner = ThreadRunner("again", 1)
    run = runner.bind(lambda message: message + 1)
    for _ in range(2):
        async with opened(runner):
            assert await run(1) == 2
    await eventually_async(lambda: not any(one.name.startswith("smith-again-") for one in threading.enumerate()))


# ---- in processes


async def test_a_process_runs_a_picklable_function_and_ends_with_its_runner() -> None:
    runner = ProcessRunner("here", CONTRACT, 1, NO_MIDDLEWARE, None)
    run = runner.bind(in_a_process)
    async with opened(runner):
        pids = {(await run(received("ok:"))).output["pid"] for _ in range(2)}
        with pytest.raises(Reject, match="not mine"):
            await run(received("reject:not mine"))
        with pytest.raises(NotAcknowledgeable, match="the verdict is what it returns"):
            await run(received("verdict:ack"))
        with pytest.raises(HandlerProcessDied, match="SIGKILL"):
            await run(received("die:"))
        another = (await run(received("ok:"))).output["pid"]
    assert len(pids) == 1
    assert {os.getpid(), another}.isdisjoint(pids)
    await eventually_async(lambda: not any(map(is_alive, (*pids, another))))


async def test_killing_a_runner_ends_what_runs_in_its_processes(tmp_path: Any) -> None:
    runner = ProcessRunner("here", CONTRACT, 1, NO_MIDDLEWARE, None)
    run = runner.bind(in_a_process)
    assert not runner.kill()
    async with opened(runner):
        running = asyncio.ensure_future(run(received(f"wait:{tmp_path}/pid")))
        await eventually_async(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 30)
        assert runner.kill()
        with pytest.raises(HandlerProcessDied):
            await running


async def test_a_function_that_cannot_be_pickled_starts_no_process() -> None:
    runner = ProcessRunner("here", CONTRACT, 1, NO_MIDDLEWARE, None)
    runner.bind(lambda message: None)
    with pytest.raises(OptionsError, match="top level of a module"):
        await runner.open()
    assert not runner.kill()
    runner.close()


def test_a_process_that_two_threads_kill_at_once_ends_once() -> None:
    """One waits for its answer and sees that it has ended, the other stops the worker."""
    process = WorkerProcess("a process", len)
    process.ready()
    closed: list[int] = []
    join, close = process._join, process._control.close
    together = threading.Barrier(2)

    def meet(timeout: float) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):  # the other thread waits before it
            together.wait(0.2)
        join(timeout)

    def note() -> None:
        closed.append(threading.get_ident())
        close()

    process._join, process._control.close = meet, note  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as threads:
        for killing in [threads.submit(process.kill) for _ in range(2)]:
            killing.result(30)
    assert len(closed) == 1
    assert not process.is_alive
    process.announce_stop()
    process.kill()


# ---- middleware


async def test_middleware_runs_where_the_handler_does() -> None:
    threads: list[threading.Thread] = []

    class Noting(Middleware):
        def before(self, message: Received[Any, Any], /) -> None:
            threads.append(threading.current_thread())

    async def handle(_: object) -> None:
        threads.append(threading.current_thread())

    chain = MiddlewareChain("here", [Noting()])
    inline, plain = InlineRunner(chain, None), ThreadRunner("here", 1, chain)
    async with opened(plain):
        await inline.bind(handle)(None)
        await plain.bind(lambda _: threads.append(threading.current_thread()))(None)
    here = threading.current_thread()
    assert threads[:2] == [here, here]
    assert threads[2] is threads[3] is not here


def test_a_chain_takes_instances_of_middleware_only() -> None:
    with pytest.raises(OptionsError, match="is not a Middleware"):
        MiddlewareChain("here", [Middleware])  # type: ignore[list-item]
    assert not MiddlewareChain("here")
    assert MiddlewareChain("here", [Middleware()])


# ---- which runner a handler gets


def handlers(*, processes: bool = False, timeout: float | None = None) -> Handlers:
    return Handlers("here", CONTRACT, consumers.executor_fs_read, slots=1, processes=processes, timeout=timeout, middleware=())


def plain(message: Any) -> Any:
    return f"plain {path_of(message)} in {threading.current_thread().name}"


async def awaited(message: Any) -> Any:
    return f"awaited {path_of(message)} in {threading.current_thread().name}"


async def test_each_handler_gets_the_runner_that_fits_it() -> None:
    both = handlers()
    both.add(awaited, FsReadV1Intent)
    assert both.cancellable
    both.add(plain, None)
    assert not both.cancellable
    async with opened(both):
        assert await both.run(received("x")) == "awaited x in MainThread"
    rest = handlers()
    rest.add(plain, None)
    async with opened(rest):
        assert str(await rest.run(received("x"))).startswith("plain x in smith-here-")
    assert not rest.kill()


def test_a_message_without_a_handler_is_rejected() -> None:
    none = handlers()
    assert not none
    with pytest.raises(Reject, match="no handler for FsReadV1Intent"):
        none.run(received("x"))


@pytest.mark.parametrize(
    ("made", "function", "reason"),
    [
        (partial(handlers, processes=True), awaited, "plain function"),
        (partial(handlers, timeout=1.0), plain, "nothing can stop"),
        (handlers, "not callable", "is not a handler"),
    ],
)
def test_a_handler_that_does_not_fit_is_refused(made: Any, function: Any, reason: str) -> None:
    with pytest.raises(OptionsError, match=reason):
        made().add(function, None)


def test_the_blocking_face_refuses_coroutine_functions() -> None:
    blocking = handlers()
    blocking.show_as(lambda message: message, lambda message, why: message)
    with pytest.raises(OptionsError, match="blocking face"):
        blocking.add(awaited, None)


@pytest.mark.parametrize(
    ("path", "is_kept"), [("/srv/index.html", True), ("/srv/" + "x" * 20_000, False)], ids=["small", "large"]
)
def test_a_payload_that_was_decoded_for_its_key_is_not_decoded_again(path: str, is_kept: bool) -> None:
    message = received(path)
    seen: list[Any] = []

    def key(message: Message[FsReadV1Intent]) -> str:
        seen.append(message.payload)
        return message.payload.domain

    keys = MessageKeys(message._session, consumers.executor_fs_read, key, 1)
    assert keys.of(message._raw) == message.payload.domain
    assert message.payload == seen[0]
    assert (message.payload is seen[0]) == is_kept
    assert message._raw.decoded is None


def test_all_runners_follow_the_protocol() -> None:
    every: list[Runner] = [
        InlineRunner(NO_MIDDLEWARE, None),
        ThreadRunner("here", 1),
        ProcessRunner("here", CONTRACT, 1, NO_MIDDLEWARE, None),
    ]
    assert [runner.cancellable for runner in every] == [True, False, False]
