"""Running handlers in processes, and the side of it that lives there.

A process gets the bytes of a message and returns what the handler returns or raises: no connection
leads there, so its message is for reading.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from .._core.connection.parser import RawMessage
from .._core.execution.process_pool import WorkerProcess
from ..contract import Contract
from ..errors import HandlerProcessDied, NotAcknowledgeable, OptionsError
from .message import Message
from .middleware import MiddlewareChain
from .runners import CannotRun, Present, Run, ThreadRunner

PresentDetached = Callable[[Message[Any, Any], str], Any]
"""`Present` for a process: picklable. What needs a connection raises with the text given here."""

FOR_READING: Final = (
    "in a process of its own a handler has the message for reading: the verdict is what it returns or raises, and what it is to "
    "publish is what it returns"
)


class ProcessRunner:
    """Plain functions, each call in one of `slots` processes.

    A call that takes longer than `timeout` seconds has its process killed. A thread waits for each
    process; middleware runs there.
    """

    cancellable: bool = False

    def __init__(self, name: str, contract: Contract, slots: int, chain: MiddlewareChain, timeout: float | None) -> None:
        self._name = name
        self._contract = contract
        self._slots = slots
        self._timeout = timeout
        self._threads = ThreadRunner(name, slots, chain)
        self._functions: list[Callable[[Any], Any]] = []
        self._present: PresentDetached | None = None
        self._idle: SimpleQueue[WorkerProcess] = SimpleQueue()
        """A thread takes one for each call."""
        self._alive: set[WorkerProcess] = set()

    def show_as(self, present: Present, detached: PresentDetached) -> None:
        """Have functions get what `detached` makes of a message, middleware what `present` does."""
        self._threads.show_as(present)
        self._present = detached

    def bind(self, function: Callable[[Any], Any]) -> Run:
        self._functions.append(function)
        return partial(self._run, len(self._functions) - 1)

    async def _run(self, which: int, message: Message[Any, Any]) -> Any:
        return await self._threads.run(partial(self._call, which, message._raw), message)

    async def open(self) -> None:
        """Start threads and processes.

        Raises `OptionsError` if a function cannot be pickled, `HandlerProcessDied` if a process
        does not start, `RuntimeError` if the system has no more threads.
        """
        for function in self._functions:
            _require_picklable(self._name, function)
        await self._threads.open()
        await asyncio.gather(*(self._threads.in_thread(lambda: self._idle.put(self._new_process())) for _ in range(self._slots)))

    def kill(self) -> bool:
        """End what runs, at once. False if there is no process."""
        for process in tuple(self._alive):
            process.kill()
        return bool(self._alive)

    def close(self) -> None:
        self._threads.close()
        self.kill()
        self._alive.clear()
        self._idle = SimpleQueue()

    # ---- in a thread

    def _call(self, which: int, raw: RawMessage, _: object) -> Any:
        """Have an idle process run it. The last argument is the message as middleware gets it."""
        process = self._idle.get()
        try:
            if not process.is_alive:
                self._alive.discard(process)
                process = self._new_process()
        except HandlerProcessDied as error:
            self._idle.put(process)  # or the thread of another slot would wait for it for ever
            raise CannotRun from error
        try:
            return process.call((which, raw.subject, raw.reply, raw.data, raw.headers), self._timeout)
        finally:
            self._idle.put(process)

    def _new_process(self) -> WorkerProcess:
        handle = partial(_handle, self._contract, self._present, tuple(self._functions))
        process = WorkerProcess(f"a process of {self._name}", handle)
        self._alive.add(process)
        process.ready()
        return process


def _require_picklable(name: str, function: Callable[[Any], Any]) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionsError(
            f"the worker of {name} has processes: its handler is a function at the top level of a module ({error})"
        ) from None


# ---- in the process


class _Raw(msgspec.Struct):
    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


class _Session:
    """As much of a session as reading a message needs."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract


class _ReadOnlyMessage(Message[Any, Any]):
    __slots__ = ()

    def _check(self) -> None:
        raise NotAcknowledgeable(FOR_READING)

    def _note(self, call: str) -> None:
        raise NotAcknowledgeable(FOR_READING)


def _handle(
    contract: Contract,
    present: PresentDetached | None,
    functions: tuple[Callable[[Any], Any], ...],
    call: tuple[int, str, str, bytes, dict[str, str] | None],
) -> Any:
    which, *raw = call
    message = _ReadOnlyMessage(_Raw(*raw), _Session(contract))  # type: ignore[arg-type]
    return functions[which](message if present is None else present(message, FOR_READING))
