"""A future that one task awaits, and that resumes it as soon as it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_PENDING: Final[Any] = object()
_ONE_TASK: Final = "this future is awaited by one task, and no callback can be added to it"


class PromptFuture(Generic[T]):
    """Like an asyncio future for one task, which goes on in the turn in which it gets its result.

    A future of asyncio wakes its task in the next turn of the event loop. Where publishes are
    awaited one by one, that turn is a tenth of the processor time of each.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_context", "_error", "_loop", "_result", "_wake")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Until a task awaits it, `asyncio.isfuture` takes it for any other awaitable, and `shield`,
        # `gather` and `wait_for` await it in a task of their own.
        self._asyncio_future_blocking: bool | None = None
        self._cancelled = False
        self._result: T = _PENDING
        self._error: BaseException | None = None
        self._wake: Callable[[PromptFuture[T]], object] | None = None
        self._context: Context | None = None

    # ---- what ends it

    def done(self) -> bool:
        return self._result is not _PENDING or self._error is not None

    def cancelled(self) -> bool:
        return self._cancelled

    def set_result(self, result: T, /) -> None:
        self._result = result
        if self._wake is None:
            return
        if asyncio.current_task(self._loop) is not None:  # no task can run inside another
            self._loop.call_soon(self._run)
            return
        try:
            self._run()
        except BaseException as error:
            # A task passes on `SystemExit` and `KeyboardInterrupt`. The loop is to end by that, and
            # not the caller: it is a parser, which has read more than this ack.
            self._loop.call_soon(_raise, error)

    def set_exception(self, error: BaseException, /) -> None:
        self._end(error)

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self._cancelled = True
        self._end(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True

    # ---- what a task calls

    def __await__(self) -> Generator[PromptFuture[T], None, T]:
        if not self.done():
            if self._wake is not None:
                raise RuntimeError(_ONE_TASK)
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[[PromptFuture[T]], object], *, context: Context | None = None) -> None:
        if context is None or self._wake is not None:
            raise RuntimeError(_ONE_TASK)
        self._wake, self._context = wake, context

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result

    def _end(self, error: BaseException) -> None:
        self._error = error
        if self._wake is not None:
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            assert self._context is not None
            self._context.run(wake, self)


def _raise(error: BaseException) -> None:
    raise error
