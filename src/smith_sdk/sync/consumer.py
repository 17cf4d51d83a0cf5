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
from .message import Message

__all__ = ["Consumer", "ConsumerInfo", "Messages"]


class Consumer(Blocking, Generic[M_co, S_co]):
    """A durable consumer as the contract declares it. Made by `bus.consumer(consumers.x)`; does no
    I/O until it is read from.
    """

    __slots__ = ()

    @property
    def spec(self) -> ConsumerSpec[M_co, S_co]:
        found: ConsumerSpec[M_co, S_co] = self._aio.spec
        return found

    def messages(self, *, prefetch: int | None = None, max_bytes: int | None = None) -> Messages[M_co, S_co]:
        """Iterate continuously: `for message in consumer.messages()`. Messages are asked for ahead
        of need.

        `prefetch` (default: the contract's) bounds what is asked for and not yet handled; a message
        counts as handled when the next one is taken. `max_bytes` (default: 64 MiB) bounds what is
        asked for and not yet handed out, headers included; a message that is larger comes all the
        same, alone. After a link has died in silence, both may be exceeded by as much again, for 30
        seconds: its server still sends what was asked for there. Who leaves the loop for good gives
        back what it holds ahead: at once at the end of `with consumer.messages() as messages` or by
        `messages.stop()`, a moment later where, after a `break`, nobody holds the iterator.
        """
        return Messages[M_co, S_co]._wrap(self._portal, self._aio.messages(prefetch=prefetch, max_bytes=max_bytes))

    def fetch(self, n: int, timeout: float | timedelta = 5.0) -> list[Message[M_co, S_co]]:
        """Up to `n` messages: returns when they are here, or after `timeout` seconds with what is
        here (perhaps nothing).

        It takes up to a second more where the server does not confirm the end of the pull: what it
        sent until then is returned, too.

        Raises `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`, `PermissionDenied`,
        `BusClosed`.
        """
        return [Message[M_co, S_co]._wrap(self._portal, one) for one in self._portal.call(self._aio.fetch, n, timeout)]

    def info(self) -> ConsumerInfo:
        """What the server knows of it. Raises `ConsumerNotFound`, `StreamNotFound`."""
        found: ConsumerInfo = self._portal.call(self._aio.info)
        return found

    def pause(self, for_: float | timedelta) -> ConsumerInfo:
        """Have the server deliver nothing for `for_` seconds from now, whatever was said before;
        return what it then knows.

        What was delivered before can be acknowledged meanwhile. Who reads waits, and goes on some
        seconds after the end of the pause. It is no drift, unless the contract declares
        `pause_until`. Raises `ConsumerNotFound`, `StreamNotFound`, and `ChangeRefused` where the
        server is older than nats-server 2.11.
        """
        found: ConsumerInfo = self._portal.call(self._aio.pause, for_)
        return found

    def resume(self) -> ConsumerInfo:
        """End a pause, if there is one; return what the server then knows. Raises as `pause`
        does.
        """
        found: ConsumerInfo = self._portal.call(self._aio.resume)
        return found

    def reset(self, seq: int | None = None) -> ConsumerInfo:
        """Deliver again all from sequence `seq` on, as if for the first time; None: all that is not
        acknowledged yet.

        Who reads meanwhile goes on, and gets some messages twice: what is being handled comes
        again. A `seq` above what was delivered skips what is below it, which a work queue then
        keeps and gives to nobody, until another reset.

        Raises `OptionsError` for a `seq` beyond the next message of the stream, `ConsumerNotFound`,
        `StreamNotFound`, and `ChangeRefused` where the server is older than nats-server 2.14, or
        `seq` below where the consumer's deliver policy has it begin.
        """
        found: ConsumerInfo = self._portal.call(self._aio.reset, seq)
        return found


class Messages(BlockingIterator[Message[M_co, S_co]], Generic[M_co, S_co]):
    """A continuous read of one consumer. Ends when it is stopped or the bus closes; raises when the
    consumer is gone.
    """

    __slots__ = ()
    _item = Message

    def stop(self) -> None:
        """Ask for no more and give back what was not handed out; the iteration ends. Safe to
        repeat.
        """
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
