"""Running handlers in processes, and the side of it that lives there.

A process gets the bytes of a message and returns what the handler returns or raises: no connection
leads there, so its message is for reading.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pickle
import threading
from collections.abc import Callable
from functools import partial
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final

from .._core.connection.parser import RawMessage
from .._core.events import Enter, Events
from .._core.execution.process_pool import STOPPING, WorkerProcess
from .._core.execution.thread_pool import run_in_thread
from .._core.log_records import LogFields, sdk_logger
from ..contract import Contract
from ..errors import HandlerProcessDied, NotAcknowledgeable, OptionsError
from .hooks import STOP_TIMEOUT, Hooks
from .message import Message
from .middleware import MiddlewareChain
from .runners import CannotRun, Present, Run, ThreadRunner

log: Final = sdk_logger("worker")

PresentDetached = Callable[[Message[Any, Any], str], Any]
"""`Present` for a process: picklable. What needs a connection raises with the text given here."""

FOR_READING: Final = (
    "a handler in a process of its own has the message for reading only: the verdict is what it returns or raises (Reject, "
    "RetryLater), and it returns what is to be published"
)


class _Child:
    """A process, and what is left of its life."""

    def __init__(self, process: WorkerProcess, messages: int | None) -> None:
        self.process = process
        self.left = messages
        """Messages until it is replaced; None: no limit."""
        self.calls = 0
        self.since = monotonic()
        self.is_free = False
        """Whether it has started and runs no call."""
        self.successor: concurrent.futures.Future[_Child | None] | None = None

    def needs_successor(self, start: float) -> bool:
        """Whether to start it, which takes `start` seconds, before the next call."""
        if self.left is None or self.successor is not None:
            return False
        if self.left == 1:
            return True
        per_call = (monotonic() - self.since) / self.calls if self.calls else inf
        return (self.left - 1) * per_call <= 2 * start


class ProcessRunner:
    """Plain functions, each call in one of `slots` processes.

    A call that takes longer than `timeout` seconds has its process killed. A thread waits for each
    process; middleware runs there. With `max_messages`, a process is replaced after that many.
    """

    cancellable: bool = False

    def __init__(
        self,
        name: str,
        contract: Contract,
        slots: int,
        chain: MiddlewareChain,
        timeout: float | None,
        hooks: Hooks | None = None,
        events: Events | None = None,
    ) -> None:
        self._name = name
        self._events = Events() if events is None else events
        self._contract = contract
        self._slots = slots
        self._timeout = timeout
        self._hooks = Hooks(name) if hooks is None else hooks
        self.max_messages: int | None = None
        self._threads = ThreadRunner(name, slots, chain)
        self._functions: list[Callable[[Any], Any]] = []
        self._present: PresentDetached | None = None
        self._idle: SimpleQueue[_Child | None] = SimpleQueue()
        """A thread takes one for each call; None stands for one that has to be started."""
        self._lock = threading.Lock()
        self._alive: set[_Child] = set()
        self._ending: set[concurrent.futures.Future[None]] = set()
        """Of processes that were replaced and have not ended."""
        self._is_open = False
        self._is_stopping = False
        self._start_seconds = 1.0
        """How long the last process has taken to start."""

    def show_as(self, present: Present, detached: PresentDetached) -> None:
        """Have functions get what `detached` makes of a message, middleware what `present` does."""
        self._threads.show_as(present)
        self._present = detached

    def bind(self, function: Callable[[Any], Any]) -> Run:
        self._functions.append(function)
        return partial(self._run, len(self._functions) - 1)

    async def _run(self, which: int, message: Message[Any, Any]) -> Any:
        fence = message._fence if message._guard is None else message._fence or 0
        return await self._threads.run(partial(self._call, which, message._raw, fence), message)

    async def open(self) -> None:
        """Start threads and processes.

        Raises what a start hook raises, `OptionsError` if a function cannot be pickled,
        `HandlerProcessDied` if a process does not start, `RuntimeError` if the system has no more
        threads.
        """
        for function in self._functions:
            _require_picklable(self._name, "its handler", function)
        for hook in (*self._hooks.start, *self._hooks.stop):
            _require_picklable(self._name, "each of its hooks", hook)
        self._is_open, self._is_stopping = True, False
        await self._threads.open()
        await asyncio.gather(*(self._threads.in_thread(partial(self._start_first, number)) for number in range(self._slots)))

    def _start_first(self, number: int) -> None:
        """Start the process of a slot.

        The first ones live for fewer messages, each for another number: not all end together.
        """
        most = self.max_messages
        self._idle.put(self._new_child(most and max(1, most - number * most // self._slots)))

    def announce_stop(self) -> None:
        """Have `message.draining` be true in every process."""
        with self._lock:
            self._is_stopping = True
            for child in self._alive:
                child.process.announce_stop()

    def kill(self) -> bool:
        """End what runs, at once. False if there is no process."""
        with self._lock:
            self._is_open = False
            alive, self._alive = self._alive, set()
        for child in alive:
            child.process.kill()
        return bool(alive)

    async def finish(self) -> None:
        """Have processes that run nothing run their stop hooks and end."""
        with self._lock:
            free = [child for child in self._alive if child.is_free]
            ending = [asyncio.wrap_future(one) for one in self._ending]
        for child in free:
            child.is_free = False
        await asyncio.gather(*ending, *(run_in_thread(self._finish_child, child) for child in free))

    def close(self) -> None:
        self._threads.close()
        self.kill()
        self._idle = SimpleQueue()

    # ---- in a thread

    def _call(self, which: int, raw: RawMessage, fence: int | None, _: object) -> Any:
        """Have an idle process run it. The last argument is the message as middleware gets it."""
        idle = self._idle
        child = idle.get()
        try:
            if child is None or not child.process.is_alive:
                self._forget(child)
                child = None
                child = self._new_child(self.max_messages)
        except Exception as error:
            idle.put(None)  # or the thread of another slot would wait for it for ever
            if not self._is_open:
                raise HandlerProcessDied(f"the processes of {self._name} were killed") from error
            raise CannotRun from error
        child.is_free = False
        if child.needs_successor(self._start_seconds):
            self._start_successor(child)
        try:
            enter = self._events.detached()
            return child.process.call((which, enter, fence, raw.subject, raw.reply, raw.data, raw.headers), self._timeout)
        finally:
            self._called(child, idle)

    def _called(self, child: _Child, idle: SimpleQueue[_Child | None]) -> None:
        """Hand it, or its successor, to the next call. `idle` may be that of an earlier run."""
        child.calls += 1
        if child.left is not None:
            child.left -= 1
        if child.successor is None or (child.left and child.process.is_alive):
            child.is_free = True
            idle.put(child)
        else:
            child.successor.add_done_callback(lambda done: idle.put(done.result()))
            self._end(child)

    def _end(self, child: _Child) -> None:
        ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        with self._lock:
            self._ending.add(ended)

        def end() -> None:
            try:
                self._finish_child(child)
            finally:
                with self._lock:
                    self._ending.discard(ended)
                ended.set_result(None)

        _in_background(end)

    def _start_successor(self, child: _Child) -> None:
        future: concurrent.futures.Future[_Child | None] = concurrent.futures.Future()
        child.successor = future

        def start() -> None:
            new = None
            try:
                new = self._new_child(self.max_messages)
            except Exception as error:
                if self._is_open:  # the next call tries once more, and then ends the worker
                    kind = type(error).__name__
                    fields = LogFields(consumer=self._name, error_type=kind)
                    log.warning("%s: a process could not be replaced: %s: %s", self._name, kind, error, extra=fields)
            finally:
                future.set_result(new)

        _in_background(start)

    def _new_child(self, messages: int | None) -> _Child:
        began = monotonic()
        handle = partial(_handle, self._contract, self._present, tuple(self._functions))
        process = WorkerProcess(f"a process of {self._name}", handle, self._hooks.start, self._hooks.stop)
        child = _Child(process, messages)
        with self._lock:
            is_open = self._is_open
            if is_open:
                self._alive.add(child)
            if self._is_stopping:
                process.announce_stop()
        if not is_open:
            process.kill()
        process.ready()
        self._start_seconds = monotonic() - began
        child.since = monotonic()
        child.is_free = True
        return child

    def _finish_child(self, child: _Child) -> None:
        try:
            if child.process.is_alive:
                child.process.finish(STOP_TIMEOUT)
        except Exception as error:  # of a hook there, above all
            fields = LogFields(consumer=self._name, error_type=type(error).__name__)
            log.error("the worker of %s: a process did not stop as it should", self._name, exc_info=error, extra=fields)
        self._forget(child)

    def _forget(self, child: _Child | None) -> None:
        if child is not None:
            with self._lock:
                self._alive.discard(child)
            child.process.kill()  # also the processes that it has left behind


def _in_background(function: Callable[[], None]) -> None:
    try:
        threading.Thread(target=function, name="smith-processes", daemon=True).start()
    except RuntimeError:  # no more threads, or the main thread has ended
        function()


def _require_picklable(name: str, what: str, function: Callable[..., Any]) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionsError(
            f"the worker of {name} has processes: {what} is a function at the top level of a module ({error})"
        ) from None


# ---- in the process


class _Session:
    """As much of a session as reading a message needs."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.parse = contract.parse


class _ReadOnlyMessage(Message[Any, Any]):
    __slots__ = ()

    def _check(self) -> None:
        raise NotAcknowledgeable(FOR_READING)

    def _note(self, called: tuple[str]) -> None:
        raise NotAcknowledgeable(FOR_READING)


def _handle(
    contract: Contract,
    present: PresentDetached | None,
    functions: tuple[Callable[[Any], Any], ...],
    call: tuple[int, Enter | None, int | None, str, str, bytes, dict[str, str] | None],
) -> Any:
    which, enter, fence, subject, reply, data, headers = call
    session: Any = _Session(contract)  # a bus is not connected in this process
    message = _ReadOnlyMessage(RawMessage(subject, reply, data, None, headers), session)
    message._stopping, message._fence = STOPPING, fence
    with contextlib.nullcontext() if enter is None else enter():
        return functions[which](message if present is None else present(message, FOR_READING))
