"""How the handlers of a worker are run: in the event loop, in a thread or in a process, with what goes around them.

Every message has a context of its own: what a handler or a middleware sets in context variables is gone with the message.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import msgspec

from .._core.blocking.portal import Portal
from .._core.connection.connection import RawMessage
from .._core.execution.context_call import call_in_context
from .._core.execution.process_pool import WorkerProcess
from .._core.execution.thread_pool import ThreadPool
from ..contract import Contract, Payload
from ..errors import HandlerProcessDied, HandlerTimeout, NotAcknowledgeable, OptionsError, Reject
from .message import Message
from .middleware import Middleware, Outcome

log: Final = logging.getLogger("smith_sdk.worker")

ResultT = TypeVar("ResultT", bound=Outcome | Awaitable[Outcome])
KindT = TypeVar("KindT", bound=Payload)
T = TypeVar("T")

_ENDS: Final = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
"""What ends a run from outside; a handler that raises anything else has failed."""

_Running = Callable[[Message[Any, Any]], Awaitable[Outcome]]


class CannotRun(Exception):
    """A process for handlers does not come up; why is the cause."""


class Handlers:
    """The handlers of one worker. `open` before the first `run`, `close` after the last; open it again as you like."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        *,
        slots: int,
        processes: bool,
        timeout: float | None,
        middleware: Sequence[Middleware],
    ) -> None:
        self._name = name
        self._contract = contract
        self._slots = slots
        self._processes = processes
        self._timeout = timeout
        self._middleware = tuple(middleware)
        for one in self._middleware:
            if not isinstance(one, Middleware):
                raise OptionsError(f"Worker.middleware: {one!r} is no Middleware: give instances of classes that extend it")
        self._present: Callable[[Message[Any, Any]], Any] | None = None
        self._all: _Running | None = None
        self._by_kind: dict[type, _Running] = {}
        self._functions: list[Callable[[Any], Any]] = []
        self._threads: ThreadPool | None = None
        self.needs_threads = False
        """To be known before they are opened: whether there will be `in_thread`."""
        self._children: SimpleQueue[WorkerProcess] = SimpleQueue()
        """Those that are idle: a thread takes one for each call."""
        self._alive: set[WorkerProcess] = set()
        self.cancellable = True
        """Whether a handler that is cancelled has ended by that. A thread goes on."""

    def show_as(self, present: Callable[[Message[Any, Any]], Any]) -> None:
        """Have plain handlers see a message as `present` shows it, and refuse others: for the blocking face."""
        self._present = present

    def __bool__(self) -> bool:
        return self._all is not None or bool(self._by_kind)

    def add(self, function: Callable[[Any], Any], kind: type | None) -> None:
        """`function` is for messages of `kind`; None: for all that no other is for. Raises `OptionsError`."""
        if kind is None and self._all is not None:
            raise OptionsError(f"the worker of {self._name} has a handler already: one each, or one for each type of payload")
        if kind is not None and kind in self._by_kind:
            raise OptionsError(f"the worker of {self._name} has a handler for {kind.__name__} already")
        run = self._runner(function)
        if kind is None:
            self._all = run
        else:
            self._by_kind[kind] = run

    def _runner(self, function: Callable[[Any], Any]) -> _Running:
        if not callable(function):
            raise OptionsError(f"the worker of {self._name}: {function!r} is no handler, which is a function of a message")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            if self._present is not None:
                raise OptionsError(f"the worker of {self._name} is on the blocking face: its handler is a plain function")
            if self._processes:
                raise OptionsError(f"the worker of {self._name} has processes: its handler is a plain function")
            if self._middleware:
                function = partial(self._around, function, True)
            return partial(call_in_context, function if self._timeout is None else partial(self._in_time, function))
        self.cancellable, self.needs_threads = False, True
        if self._processes:
            self._functions.append(function)
            return partial(self._run_plain, len(self._functions) - 1)
        if self._timeout is not None:
            raise OptionsError(
                f"the worker of {self._name} has a timeout, and its handler is a plain function, which nothing can stop in a "
                f"thread: make it async, or give the worker processes"
            )
        return partial(self._run_plain, function)

    # ---- running

    async def open(self) -> None:
        """Start threads, and processes, where they are needed.

        Raises `OptionsError` for a handler that no process can have, `HandlerProcessDied`, `RuntimeError` where the system has no more
        threads.
        """
        if self.needs_threads:
            self._threads = ThreadPool(f"smith-{self._name}", self._slots)
        if self._processes:
            for function in self._functions:
                _require_portable(self._name, function)
            await asyncio.gather(*(self.in_thread(lambda: self._children.put(self._new_child())) for _ in range(self._slots)))

    def kill(self) -> bool:
        """End what runs in processes; False where nothing does."""
        for child in tuple(self._alive):
            child.kill()
        return bool(self._alive)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()
        self.kill()
        self._alive.clear()
        self._children = SimpleQueue()

    def run(self, message: Message[Any, Any]) -> Awaitable[Outcome]:
        """Run the handler that is for `message`. Raises what it raises, `HandlerTimeout`, `HandlerProcessDied`, `CannotRun`."""
        run = self._by_kind.get(type(message.payload), self._all) if self._by_kind else self._all
        if run is None:
            raise Reject(f"the worker of {self._name} has no handler for {type(message.payload).__name__}")
        return run(message)

    async def _in_time(self, function: Callable[[Message[Any, Any]], Awaitable[Outcome]], message: Message[Any, Any]) -> Outcome:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await function(message)
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(f"the handler took longer than {self._timeout:g} s, and was cancelled") from None
            raise

    async def _run_plain(self, function: Callable[[Any], Any] | int, message: Message[Any, Any]) -> Outcome:
        shown = message if self._present is None else self._present(message)
        if isinstance(function, int):  # which of those that the processes have
            function = partial(self._in_child, function, message._raw)
        if self._middleware:
            function = partial(self._all_around, function)
        result = await self.in_thread(function, shown)
        if inspect.isawaitable(result):
            result = await result
        return result  # type: ignore[no-any-return]

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Like `asyncio.to_thread`, but with a thread for every slot: the loop's own pool has few, and others use it too."""
        assert self._threads is not None
        return await self._threads.run(function, *arguments)

    def _all_around(self, function: Callable[[Any], Any], message: Any) -> Any:
        """In the thread: what never has to wait needs no event loop to run in."""
        running = self._around(function, False, message)
        try:
            running.send(None)
        except StopIteration as end:
            return end.value
        running.close()
        raise OptionsError(f"the worker of {self._name} has plain handlers: its middleware cannot be async")

    async def _around(self, function: Callable[[Any], Any], waits: bool, message: Any) -> Any:
        """`function`, with the middleware around it."""
        entered = 0
        try:
            for one in self._middleware:
                entered += 1
                if (pause := one.before(message)) is not None:
                    await pause
            outcome = await function(message) if waits else function(message)
            for one in reversed(self._middleware):
                if (pause := one.after(message, outcome)) is not None:
                    await pause
        except _ENDS:
            raise
        except BaseException as error:
            for one in reversed(self._middleware[:entered]):
                try:
                    if (pause := one.error(message, error)) is not None:
                        await pause
                except _ENDS:
                    raise
                except BaseException as another:
                    log.error("%s: a middleware's error() raised %s: %s", self._name, type(another).__name__, another)
            raise
        return outcome

    # ---- processes

    def _in_child(self, which: int, raw: RawMessage, _: object) -> Any:
        """In the thread: run it in a process, whatever the message is shown as here."""
        child = self._children.get()
        try:
            if not child.is_alive:
                self._alive.discard(child)
                child = self._new_child()
        except HandlerProcessDied as error:
            self._children.put(child)
            raise CannotRun from error
        try:
            return child.call((which, raw.subject, raw.reply, raw.data, raw.headers), self._timeout)
        finally:
            self._children.put(child)

    def _new_child(self) -> WorkerProcess:
        child = WorkerProcess(
            f"a process of {self._name}", partial(_handle, self._contract, self._present is not None, tuple(self._functions))
        )
        self._alive.add(child)
        child.ready()
        return child


def _require_portable(name: str, function: Callable[[Any], Any]) -> None:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise OptionsError(
            f"the worker of {name} has processes: its handler is a function at the top level of a module ({error})"
        ) from None


# ---- in a handler's process


class _Raw(msgspec.Struct):
    subject: str
    reply: str
    data: bytes
    headers: dict[str, str] | None


class _Session:
    """As much of a session as a message needs that is only looked at."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract


_FOR_READING: Final = (
    "in a process of its own a handler has the message for reading: the verdict is what it returns or raises, and what it is to publish "
    "is what it returns"
)


class _Shown(Message[Any, Any]):
    """A message in a handler's process: for reading."""

    __slots__ = ()

    def _check(self) -> None:
        raise NotAcknowledgeable(_FOR_READING)


class _NoPortal(Portal):
    """What stands behind a message of the blocking face there."""

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise NotAcknowledgeable(_FOR_READING)


def _handle(
    contract: Contract,
    blocking: bool,
    functions: tuple[Callable[[Any], Any], ...],
    call: tuple[int, str, str, bytes, dict[str, str] | None],
) -> Any:
    which, *raw = call
    message: Any = _Shown(_Raw(*raw), _Session(contract))  # type: ignore[arg-type]
    if blocking:
        from .. import sync

        message = sync.Message._wrap(_NoPortal(), message)
    return functions[which](message)
