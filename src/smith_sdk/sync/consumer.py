# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.consumer`."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Generic, Self

from .._core.blocking.faces import Blocking, BlockingIterator
from ..aio.consumer import (
    ConsumerInfo,
)
from ..contract import ConsumerSpec, M_co, S_co
from ..display import Rows
from .message import Message

__all__ = ["Consumer", "ConsumerInfo", "Messages"]


class Consumer(Blocking, Generic[M_co, S_co]):
    """A durable consumer as the contract declares it, made by `bus.consumer(consumers.x)`.

    It does no I/O until it is read from.
    """

    __slots__ = ()

    @property
    def spec(self) -> ConsumerSpec[M_co, S_co]:
        found: ConsumerSpec[M_co, S_co] = self._aio.spec
        return found

    def messages(self, *, prefetch: int | None = None, max_bytes: int | None = None) -> Messages[M_co, S_co]:
        """Iterate continuously: `for message in consumer.messages()`.

        Messages are requested ahead of need. `prefetch` (messages; default: the contract's) bounds
        what is requested and not yet handled; a message counts as handled when the next one is
        taken. `max_bytes` (bytes, headers included; default: 64 MiB) bounds what is requested and
        not yet handed out; a larger message is delivered all the same, alone. After a link has died
        in silence, the server goes on to answer what was requested there, so both may be exceeded
        by as much again for 30 seconds.

        Prefetched messages are nak'ed when the iterator closes: at the end of
        `with consumer.messages() as messages`, by `messages.stop()`, or, after a
        `break`, a moment after the last reference to the iterator is dropped. Raises
        `OptionsError`.
        """
        return Messages[M_co, S_co]._wrap(self._portal, self._aio.messages(prefetch=prefetch, max_bytes=max_bytes))

    def fetch(self, n: int, timeout: float | timedelta = 5.0) -> Rows[Message[M_co, S_co]]:
        """Up to `n` messages, within `timeout` seconds; perhaps none.

        It takes up to a second more if the server does not confirm the end of the pull; what it
        sent until then is returned, too.

        Raises `ConsumerNotFound`, `StreamNotFound` (also at once if it is deleted meanwhile),
        `JetStreamDisabled`, `PermissionDenied` (also for an ack since the last read: no reply tells
        of its refusal), `BusClosed`, and `OptionsError` for an `n` below 1 or an invalid `timeout`.
        """
        return Rows(Message[M_co, S_co]._wrap(self._portal, one) for one in self._portal.call(self._aio.fetch, n, timeout))

    def info(self) -> ConsumerInfo:
        """Its state on the server. Raises `ConsumerNotFound`, `StreamNotFound`."""
        found: ConsumerInfo = self._portal.call(self._aio.info)
        return found

    def pause(self, for_: float | timedelta) -> ConsumerInfo:
        """Have the server deliver nothing to any reader for `for_` seconds from now.

        Returns the state after that. It replaces an earlier pause. What was delivered before can be
        acknowledged meanwhile. Readers wait, and go on some seconds after the end of the pause. A
        pause is not drift, unless the contract declares `pause_until`. Raises `ConsumerNotFound`,
        `StreamNotFound`, `OptionsError`, and `ChangeRefused` if the server is older than
        nats-server 2.11.
        """
        found: ConsumerInfo = self._portal.call(self._aio.pause, for_)
        return found

    def resume(self) -> ConsumerInfo:
        """End a pause, if there is one; return the state after that. Raises as `pause` does."""
        found: ConsumerInfo = self._portal.call(self._aio.resume)
        return found

    def reset(self, seq: int | None = None) -> ConsumerInfo:
        """Deliver everything from sequence `seq` on, as new; None: all without an ack.

        Readers go on meanwhile, and get some messages twice: those in flight are delivered again. A
        `seq` above what was delivered skips the messages below it. A work queue keeps those and
        delivers them to no reader until another reset.

        Raises `OptionsError` for a `seq` beyond the next message of the stream, `ConsumerNotFound`,
        `StreamNotFound`, and `ChangeRefused` if the server is older than nats-server 2.14, or if
        `seq` is below the start that the consumer's deliver policy sets.
        """
        found: ConsumerInfo = self._portal.call(self._aio.reset, seq)
        return found


class Messages(BlockingIterator[Message[M_co, S_co]], Generic[M_co, S_co]):
    """A continuous read of one consumer.

    Ends when it is stopped or the bus closes. Raises `ConsumerNotFound` or `StreamNotFound` if the
    consumer does not exist, or is deleted and not created again within 10 seconds, and
    `JetStreamDisabled`, `PermissionDenied` or `BusClosed`.

    If its stream is created again, it is read from its start. A message of the former stream that
    is still at hand can be read; an answer to it is dropped, since the server would take it for one
    to the message that has its sequence now, and `ack_sync` raises `StreamNotFound`.
    """

    __slots__ = ()
    _item = Message

    def stop(self) -> None:
        """Request no more, nak what was not handed out, and end the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
