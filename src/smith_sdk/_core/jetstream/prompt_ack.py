"""The acknowledgement of one publish that is awaited at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from ...errors import SmithError
from .publish_request import PubAck


class PromptAck:
    """Like an asyncio future for one task, which goes on in the turn in which the ack arrives.

    A future wakes its task in the next turn of the event loop. Where publishes are awaited one by
    one, that turn is a tenth of the processor time of each.
    """

    __slots__ = ("_ack", "_asyncio_future_blocking", "_context", "_error", "_loop", "_wake")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._asyncio_future_blocking = False
        self._ack: PubAck | None = None
        self._error: BaseException | None = None
        self._wake: Callable[[PromptAck], object] | None = None
        self._context: Context | None = None

    # ---- what the window calls

    def done(self) -> bool:
        return self._ack is not None or self._error is not None

    def set_result(self, ack: PubAck, /) -> None:
        self._ack = ack
        if self._wake is None:
            return
        if asyncio.current_task() is not None:  # no task can run inside another
            self._loop.call_soon(self._run)
            return
        try:
            self._run()
        except BaseException as error:
            # A task passes on `SystemExit` and `KeyboardInterrupt`. The loop is to end by that, and
            # not the parser, which has read more than this ack.
            self._loop.call_soon(_raise, error)

    def set_exception(self, error: SmithError, /) -> None:
        self._end(error)

    # ---- what a task calls

    def __await__(self) -> Generator[PromptAck, None, PubAck]:
        if not self.done():
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[[PromptAck], object], *, context: Context | None = None) -> None:
        self._wake, self._context = wake, context

    def result(self) -> PubAck:
        if self._error is not None:
            raise self._error
        assert self._ack is not None
        return self._ack

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self._end(asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg))
        return True

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
