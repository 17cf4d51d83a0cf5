"""Ways to run a function for a message: in the event loop or in a thread.

`process_runner` has the third.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from .._core.execution.context_call import call_in_context
from .._core.execution.thread_pool import ThreadPool
from ..errors import HandlerTimeout, RetryLater
from .message import Message
from .middleware import MiddlewareChain

Run = Callable[[Any], Awaitable[Any]]
"""Runs one handler for a message. Raises what the handler raises."""
Present = Callable[[Message[Any, Any]], Any]
"""Makes of a message what a plain handler gets: the blocking face's own `Message`."""


class CannotRun(Exception):
    """Ends the run of a worker with the error that is its cause.

    A process for handlers could not be started, or the server's permissions forbid what the worker
    itself publishes. A handler's own `PermissionDenied` is an error of that handler.
    """


class NotRun(RetryLater):
    """Raised before a handler has run: redeliver the message, and do not count the delivery."""


class Runner(Protocol):
    """One way to run handlers.

    `bind` them first, `open` before the first run, `close` after the last.
    """

    @property
    def cancellable(self) -> bool:
        """Whether a run that is cancelled has ended by that."""
        ...

    def bind(self, function: Callable[[Any], Any]) -> Run:
        """A function that runs `function`."""
        ...

    async def open(self) -> None:
        """Start what the runs need. May be called again after `close`."""
        ...

    def close(self) -> None:
        """Let go of what `open` started. Safe to repeat."""
        ...


class InlineRunner:
    """Coroutine functions, in the event loop. `timeout` (seconds) cancels a run."""

    cancellable: bool = True

    def __init__(self, chain: MiddlewareChain, timeout: float | None) -> None:
        self._chain = chain
        self._timeout = timeout

    def bind(self, function: Callable[[Any], Any]) -> Run:
        if self._chain:
            function = partial(self._chain.run_async, function)
        if self._timeout is not None:
            function = partial(self._in_time, function)
        return partial(call_in_context, function)

    async def _in_time(self, function: Run, message: Any) -> Any:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await function(message)
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(f"the handler took longer than {self._timeout:g} s, and was cancelled") from None
            raise

    async def open(self) -> None:
        """Nothing to start."""

    def close(self) -> None:
        """Nothing to let go of."""


class ThreadRunner:
    """Plain functions, each call in one of `slots` threads.

    Like `asyncio.to_thread`, but the event loop's own pool has few threads, and others use it too.
    A function that returns an awaitable has it awaited in the event loop.
    """

    cancellable: bool = False

    def __init__(self, name: str, slots: int, chain: MiddlewareChain | None = None) -> None:
        self._name = f"smith-{name}"
        self._slots = slots
        self._chain = chain
        self._pool: ThreadPool | None = None
        self._present: Present | None = None

    def show_as(self, present: Present) -> None:
        """Have functions get what `present` makes of a message, called in the event loop."""
        self._present = present

    def bind(self, function: Callable[[Any], Any]) -> Run:
        return partial(self.run, function)

    async def run(self, function: Callable[[Any], Any], message: Any) -> Any:
        assert self._pool is not None
        if self._chain:
            function = partial(self._chain.run_plain, function)
        if self._present is not None:
            result = await self._pool.submit(function, self._present(message))
        elif not isinstance(message, Message):  # a service's function gets the call
            result = await self._pool.submit(function, message)
        else:  # for lack of an event loop, the function cannot answer the message
            message._in_thread = True  # for good if the call fails or is cancelled: the thread may go on
            result = await self._pool.submit(function, message)
            message._in_thread = False  # a coroutine that it returns is awaited in the event loop
        if result is not None and inspect.isawaitable(result):
            result = await result
        return result

    async def open(self) -> None:
        """Start the threads. Raises `RuntimeError` if the system has no more."""
        self._pool = ThreadPool(self._name, self._slots)

    async def in_thread(self, function: Callable[[], None]) -> None:
        """Call `function` in one of the threads, and nothing around it."""
        assert self._pool is not None
        await self._pool.run(function)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
