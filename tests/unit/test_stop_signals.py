"""Signals for the workers of a process: they stop, and the program's own handlers are left alone
or restored."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import eventually, eventually_async

from smith_sdk._core.execution.stop_signals import stop_on_signals
from smith_sdk._core.execution.stopping import Stopping
from smith_sdk.errors import OptionsError

NUMBERS = (signal.SIGTERM, signal.SIGINT)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in NUMBERS]


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = handlers()
    yield
    assert handlers() == before
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@contextlib.contextmanager
def installed(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


# ---- what is taken


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_signal_stops_every_worker_of_the_process(number: signal.Signals) -> None:
    first, second, third = Stopping(), Stopping(), Stopping()
    with stop_on_signals(first):
        with stop_on_signals(second):
            send(number)
            assert first.draining
            assert second.draining
        with stop_on_signals(third):
            send(number)
            assert third.draining
    assert not any(run.at_once for run in (first, second, third))


async def test_the_handlers_of_the_process_are_restored_after_the_last_worker() -> None:
    before = handlers()  # one of them asyncio.run's own
    first, second = stop_on_signals(Stopping()), stop_on_signals(Stopping())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # not in the order in which they began
    assert handlers() != before
    second.__exit__(None, None, None)
    assert handlers() == before


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_handler_of_the_program_keeps_its_signal(number: signal.Signals) -> None:
    seen: list[int] = []
    stopping = Stopping()
    other = NUMBERS[1 - NUMBERS.index(number)]
    with installed(number, lambda number, frame: seen.append(number)), stop_on_signals(stopping):
        send(number)
        assert seen == [number]
        assert not stopping.draining
        send(other)  # that one is free
        assert stopping.draining
    assert seen == [number]


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_handler_of_the_event_loop_keeps_its_signal_and_is_still_there_afterwards(number: signal.Signals) -> None:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(number)
    seen: list[str] = []
    loop.add_signal_handler(number, lambda: seen.append("program"))
    try:
        for signals, stops in ((None, False), (NUMBERS, True), ((), False)):
            stopping = Stopping()
            with stop_on_signals(stopping, signals):
                send(number)
                await eventually_async(lambda: seen == ["program"])
                assert stopping.draining is stops
            seen.clear()
            send(number)
            await eventually_async(lambda: seen == ["program"])
            seen.clear()
    finally:
        loop.remove_signal_handler(number)
        signal.signal(number, before)


async def test_an_ignored_signal_stays_ignored() -> None:
    stopping = Stopping()
    with installed(signal.SIGINT, signal.SIG_IGN), stop_on_signals(stopping):  # nohup, and a shell's background jobs
        send(signal.SIGINT)
        assert not stopping.draining


async def test_signals_that_are_asked_for_reach_the_worker_and_then_the_program() -> None:
    seen: list[bool] = []
    stopping = Stopping()
    with (
        installed(signal.SIGTERM, lambda number, frame: seen.append(stopping.draining)),
        stop_on_signals(stopping, (signal.SIGTERM,)),
    ):
        default = Stopping()
        with stop_on_signals(default):  # another worker leaves it to the program
            send(signal.SIGTERM)
            assert not default.draining
    assert seen == [True]


async def test_no_signals_are_taken_if_none_are_asked_for() -> None:
    before = handlers()
    with stop_on_signals(Stopping(), ()):
        assert handlers() == before


@pytest.mark.parametrize("signals", [(9,), (signal.SIGTERM, 0), (10_000,)])
async def test_what_is_not_a_signal_that_can_be_handled_is_refused(signals: tuple[int, ...]) -> None:
    before = handlers()
    with pytest.raises(OptionsError, match="is not a signal that a program can handle"), stop_on_signals(Stopping(), signals):
        pass
    assert handlers() == before


async def test_one_signal_that_is_not_in_a_tuple_is_refused() -> None:
    wrong: Any = signal.SIGTERM
    with pytest.raises(OptionsError, match="a tuple of signals is needed"), stop_on_signals(Stopping(), wrong):
        pass


async def test_outside_the_main_thread_signals_are_left_alone_and_refused_if_asked_for() -> None:
    before = handlers()

    async def within() -> list[object]:
        with stop_on_signals(Stopping()):
            return handlers()

    async def explicit() -> None:
        with stop_on_signals(Stopping(), NUMBERS):
            pass

    assert await asyncio.to_thread(asyncio.run, within()) == before
    with pytest.raises(OptionsError, match="main thread only"):
        await asyncio.to_thread(asyncio.run, explicit())


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_signal_that_another_thread_gets_wakes_the_loop(workers: int) -> None:
    """Of two in a row the kernel may deliver both there; the loop has nothing else to wake it."""
    stoppings = [Stopping() for _ in range(workers)]
    with contextlib.ExitStack() as stack:
        contexts = [stop_on_signals(stopping) for stopping in stoppings]
        for context in reversed(contexts):
            stack.enter_context(context)
        asyncio.get_running_loop().call_soon(threading.Thread(target=signal_this_thread).start)
        async with asyncio.timeout(20), stoppings[0].until_at_once():
            began = time.monotonic()
            await stoppings[0].wait()
            assert time.monotonic() - began < 5
    assert signal.set_wakeup_fd(-1) == -1


def signal_this_thread() -> None:
    time.sleep(0.2)  # the loop sleeps by now
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


async def test_the_wakeup_of_a_program_is_left_alone() -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer:
        signal.set_wakeup_fd(writer.fileno())
        try:
            with stop_on_signals(Stopping()):
                send(signal.SIGTERM)
                assert reader.recv(1) == bytes([signal.SIGTERM])
        finally:
            assert signal.set_wakeup_fd(-1) == writer.fileno()


# ---- programs that install and restore handlers of their own meanwhile


async def test_a_program_that_saves_our_handler_and_restores_it_later_gets_what_was_there() -> None:
    """As uvicorn's `capture_signals` does, which then raises the signal once more."""
    seen: list[int] = []

    def own(number: int, frame: object) -> None:
        seen.append(number)

    with installed(signal.SIGTERM, own):
        worker = stop_on_signals(Stopping(), (signal.SIGTERM,))
        worker.__enter__()
        saved = signal.signal(signal.SIGTERM, lambda number, frame: None)
        installed_since = signal.getsignal(signal.SIGTERM)
        worker.__exit__(None, None, None)
        assert signal.getsignal(signal.SIGTERM) is installed_since  # not ours to remove
        signal.signal(signal.SIGTERM, saved)
        signal.raise_signal(signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is own


async def test_a_server_within_the_run_of_a_worker_passes_its_signal_on() -> None:
    stopping = Stopping()
    with stop_on_signals(stopping):
        before = signal.signal(signal.SIGTERM, lambda number, frame: None)
        send(signal.SIGTERM)  # the server stops
        assert not stopping.draining
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        assert stopping.draining


def test_after_asyncio_run_its_own_handler_is_not_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        async def work() -> None:
            with stop_on_signals(Stopping()):
                await asyncio.sleep(60)

        tasks.append(asyncio.ensure_future(work()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    asyncio.run(main())  # it cancels the task only after it has looked at its handler
    assert signal.getsignal(signal.SIGINT) is before is signal.default_int_handler


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_a_fork_can_be_terminated() -> None:
    """As the pools of multiprocessing do it: they would wait for ever."""
    with stop_on_signals(Stopping()):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(7)
        os.kill(pid, signal.SIGTERM)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


# ---- the second one


async def test_a_second_signal_ends_it_at_once_and_a_copy_of_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("smith_sdk._core.execution.stopping.monotonic", lambda: now)
    stopping = Stopping()
    with stop_on_signals(stopping):
        send(signal.SIGINT)
        now += 0.45
        send(signal.SIGTERM)  # a terminal sends the one, a wrapper the other
        assert stopping.draining
        assert not stopping.at_once
        now += 0.1
        send(signal.SIGINT)
        assert stopping.at_once
        send(signal.SIGINT)
        now += 10
        send(signal.SIGINT)  # a third one changes nothing


async def test_what_waits_is_left_at_once_wherever_it_waits() -> None:
    stopping = Stopping()
    reached: list[str] = []
    async with stopping.until_at_once():
        asyncio.get_running_loop().call_later(0.01, lambda: stopping.request())
        await stopping.wait()
        reached.append("drains")
        threading.Thread(target=lambda: stopping.request(at_once=True)).start()
        await asyncio.sleep(60)
        reached.append("never")
    stopping.request(at_once=True)  # once more, after that
    await asyncio.sleep(0.01)
    assert reached == ["drains"]


async def test_errors_and_cancellation_pass_through() -> None:
    with pytest.raises(TimeoutError, match="own"):
        async with Stopping().until_at_once():
            raise TimeoutError("own")

    async def wait() -> None:
        async with Stopping().until_at_once():
            await asyncio.sleep(60)

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_request_from_before_the_run_is_not_lost() -> None:
    stopping = Stopping()
    stopping.request(at_once=True)
    async with stopping.until_at_once():
        await asyncio.sleep(60)
        pytest.fail("it went on")


def test_a_loop_that_a_handler_blocks_is_interrupted_by_a_late_signal() -> None:
    """Nothing else would end it: requests wait for the loop, and the loop for the handler."""

    stopping = Stopping()

    async def main() -> None:
        with stop_on_signals(stopping):
            async with stopping.until_at_once():
                thread.start()
                threading.Event().wait(30)  # blocks the loop

    def signals() -> None:
        send(signal.SIGTERM)
        eventually(lambda: stopping._signals.age > 2)  # since it was handled; a loop that is not blocked needs less
        send(signal.SIGTERM)

    thread = threading.Thread(target=signals, daemon=True)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    thread.join()
