"""Middleware: what a user runs around every handler of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from .._core.log_records import LogFields, sdk_logger
from ..contract import Envelope, Received
from ..errors import OptionsError
from ..protocol import IntentResult

__all__ = ["Middleware"]

log: Final = sdk_logger("worker")

Outcome = IntentResult | Envelope | None
"""What a handler may return: an envelope or an `IntentResult` is published before the ack."""

_ENDS: Final = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
"""These end a run from outside; a handler that raises anything else has failed."""


class Middleware:
    """Runs around every handler of a worker. Override what is needed.

    What a method raises counts as if the handler had raised it. The first middleware in a worker's
    list is the outermost: its `before` runs first, its `after` or `error` last. The methods run
    where the handler does, in the same context: `async def` for async handlers, plain for plain
    ones (on the blocking face always).
    """

    def before(self, message: Received[Any, Any], /) -> Awaitable[None] | None:
        """Before the handler."""
        return None

    def after(self, message: Received[Any, Any], outcome: Outcome, /) -> Awaitable[None] | None:
        """After the handler has returned `outcome`, before that is published."""
        return None

    def error(self, message: Received[Any, Any], error: BaseException, /) -> Awaitable[None] | None:
        """After the handler, or a middleware within this one, has raised `error`.

        Also for `Reject`, `RetryLater` and `SystemExit`. What this method raises is logged; `error`
        stands.
        """
        return None


class MiddlewareChain:
    """The middleware of one worker; false without any. Raises `OptionsError` for other objects."""

    def __init__(self, name: str, middleware: Sequence[Middleware] = ()) -> None:
        self._name = name
        self._middleware = tuple(middleware)
        for one in self._middleware:
            if not isinstance(one, Middleware):
                raise OptionsError(f"Worker.middleware: {one!r} is not a Middleware: pass instances of classes that extend it")

    def __bool__(self) -> bool:
        return bool(self._middleware)

    async def run_async(self, function: Callable[[Any], Awaitable[Any]], message: Any) -> Any:
        """Await `function(message)` with the middleware around it."""
        return await self._around(function, True, message)

    def run_plain(self, function: Callable[[Any], Any], message: Any) -> Any:
        """Call `function(message)` with the middleware around it.

        Raises `OptionsError` for async middleware. A coroutine that never waits needs no event
        loop: this runs in the handler's thread.
        """
        running = self._around(function, False, message)
        try:
            running.send(None)
        except StopIteration as end:
            return end.value
        running.close()
        raise OptionsError(f"the worker of {self._name} has plain handlers: its middleware cannot be async")

    async def _around(self, function: Callable[[Any], Any], is_async: bool, message: Any) -> Any:
        entered = 0
        try:
            for one in self._middleware:
                entered += 1
                if (pause := one.before(message)) is not None:
                    await pause
            outcome = await function(message) if is_async else function(message)
            for one in reversed(self._middleware):
                if (pause := one.after(message, outcome)) is not None:
                    await pause
        except _ENDS:
            raise
        except BaseException as error:
            await self._on_error(entered, message, error)
            raise
        return outcome

    async def _on_error(self, entered: int, message: Any, error: BaseException) -> None:
        """Call `error` of those whose `before` was called, the innermost first."""
        for one in reversed(self._middleware[:entered]):
            try:
                if (pause := one.error(message, error)) is not None:
                    await pause
            except _ENDS:
                raise
            except BaseException as another:
                log.error(
                    "%s: a middleware's error() raised %s: %s",
                    self._name,
                    type(another).__name__,
                    another,
                    exc_info=another,
                    extra=LogFields(consumer=self._name, error_type=type(another).__name__),
                )
