"""Messages of core NATS: a base class of the bus."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from .._core.connection.headers import block_of
from .._core.jetstream.session import Session
from ..contract import CoreSubject, MessageT, PayloadOf, ReplyT, RequestSubject, SubjectWithHeaders, Subscribable
from ..errors import SubjectMismatch
from ..options import to_seconds
from .publisher import checked
from .requests import REQUEST_TIMEOUT, request, require_size
from .subscription import Subscription

__all__ = ["CoreMessages"]

M = TypeVar("M")
S = TypeVar("S")

_FLUSH_TIMEOUT: Final = 10.0


class CoreMessages:
    """The part of a bus whose messages no stream stores. Every bus is one: see `AsyncSmithBus`."""

    _session: Session

    async def emit(self, subject: CoreSubject[MessageT], payload: PayloadOf[MessageT]) -> None:
        """Send `payload` over core NATS, without acknowledgement, to current subscribers only.

        It returns once the message is handed to the connection. If the server refuses it, that is
        known a moment later: it is logged, and the next `emit` to the same subject, or `flush()`,
        raises `PermissionDenied`.

        Raises `SubjectMismatch` (also for a subject that a stream keeps, or that is for requests),
        `PayloadMismatch`, `PayloadTooLarge`, `PermissionDenied`, `BusClosed`.
        """
        target: Any = subject
        block = b""
        if has_headers := type(target) is SubjectWithHeaders:
            target, block = target.target, block_of(target.wire)
        where, data = checked(self._session, target, payload, has_headers)
        if subject.STREAM is not None:
            raise SubjectMismatch(f"{where} is kept by stream {subject.STREAM}: use publish()")
        if isinstance(subject, RequestSubject):
            raise SubjectMismatch(f"{where} is answered by a service: use request()")
        self._session.require_open()
        require_size(self._session, where, len(block) + len(data))
        await self._session.connection.emit(where, data, block)

    async def flush(self, timeout: float | timedelta = _FLUSH_TIMEOUT) -> None:
        """Wait until the server has processed everything that was emitted, for `timeout` seconds.

        Without a connection it waits for the next one. Raises `PermissionDenied` if the server has
        refused a message that was emitted since the last flush, naming the subject of the first;
        `DeadlineExceeded` after `timeout` seconds; `ConnectionLost` if the connection was lost
        meanwhile; `BusClosed`.
        """
        self._session.require_open()
        await self._session.connection.flush(timeout=to_seconds("flush(timeout)", timeout))

    async def request(
        self,
        subject: RequestSubject[MessageT, ReplyT, Any],
        payload: PayloadOf[MessageT],
        *,
        timeout: float | timedelta = REQUEST_TIMEOUT,
        headers: Mapping[str, str] | None = None,
    ) -> ReplyT:
        """Send `payload` as a request, and return the reply of the service that answers first.

        It is sent once: whether to repeat it is the caller's decision, since a service may have
        done the work although no reply arrived.

        - `timeout`: until it is `RequestTimeout`.
        - `headers`: a mapping of str to str, sent with the request.

        Raises `ServiceError` if the service answers with an error, by its class if the subject
        declares it; `NoResponders` if no service listens; `RequestTimeout`; `PayloadDecodeError`
        for a reply that is not valid; `ConnectionLost` if there is no connection, or it is lost
        meanwhile; `PermissionDenied`, `PayloadTooLarge`, `SubjectMismatch`, `PayloadMismatch`,
        `OptionsError`, `BusClosed`.
        """
        reply: ReplyT = await request(self._session, subject, payload, to_seconds("request(timeout)", timeout), headers)
        return reply

    def subscribe(self, what: Subscribable[M, S]) -> Subscription[M, S]:
        """Iterate over messages on `what`, as core NATS delivers them from now on.

        `what` is a subject or a filter; filters are joined with `|`. Messages that are published to
        streams arrive here, too, but without the stream's guarantees: to miss none, read them from
        a consumer. Raises `SubjectMismatch` for a subject of another contract, `BusClosed`.
        """
        return Subscription(self._session, what)
