"""Reading what a stream holds, in order and without a durable: `bus.read`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self, cast

from .._core import codec
from .._core.foreign_text import escape_control
from .._core.jetstream.api import from_nanos
from .._core.jetstream.lookup_reader import LookupReader
from .._core.jetstream.ordered_reader import OrderedReader
from .._core.jetstream.reading import Reading, Start
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import Stored
from .._core.topology.work_queues import overlap
from ..contract import Contract, Filter, Headed, M_co, Metadata, Received, S_co, StreamSpec, Subscribable, read_headers
from ..display import fields_table
from ..errors import ConnectionLost, OptionsError, SubjectMismatch
from ..options import positive_int, to_seconds
from .message import HeadersT
from .message_key import key_of
from .message_rows import plain_row, shown_row
from .read_ahead import ReadAhead

__all__ = ["ReadMessage", "Reader"]

_UNSET: Final[Any] = object()
_TRIES: Final = 3
"""How often a lost connection may interrupt the beginning of a read."""


class ReadMessage(Received[M_co, S_co]):
    """A message that was read from a stream: there is nothing to acknowledge.

    It is decoded on first access, so an invalid payload never ends an iteration.
    """

    __slots__ = ("_contract", "_payload", "_stored", "_stream", "_subject")

    def __init__(self, stored: Stored, stream: str, contract: Contract) -> None:
        self._stored = stored
        self._stream = stream
        self._contract = contract
        self._payload: Any = _UNSET
        self._subject: Any = None

    @property
    def payload(self) -> M_co:
        """The decoded payload.

        Raises `PayloadDecodeError`, or `UnknownSubject` if the contract has no such subject.
        """
        if self._payload is _UNSET:
            self._payload = codec.decode(self._typed_subject().message_type, self._stored.data, self._stored.subject)
        return cast("M_co", self._payload)

    @property
    def subject(self) -> S_co:
        """The typed subject.

        Raises `UnknownSubject`, or `InvalidToken` if the contract does not allow one of its tokens.
        """
        return cast("S_co", self._typed_subject())

    def _typed_subject(self) -> Any:
        if self._subject is None:
            self._subject = self._contract.parse(self._stored.subject)
        return self._subject

    @property
    def raw(self) -> bytes:
        """The bytes as stored."""
        return self._stored.data

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by name; empty if there are none."""
        return self._stored.headers

    @property
    def typed_headers(self: ReadMessage[Any, Headed[HeadersT]]) -> HeadersT:
        """The headers that its subject declares, decoded at each access.

        Raises `PayloadDecodeError` if one is missing or invalid, and `SubjectMismatch` if the
        subject declares none.
        """
        return cast("HeadersT", read_headers(self._typed_subject(), self.headers, self.raw))

    @property
    def metadata(self) -> Metadata:
        """Its place in the stream: `stream`, `stream_seq` and `timestamp`.

        No consumer delivered it, so `consumer` is empty, and `num_delivered` and the other counts
        are 0.
        """
        return Metadata(
            stream=self._stream,
            consumer="",
            stream_seq=self._stored.seq,
            consumer_seq=0,
            num_delivered=0,
            num_pending=0,
            timestamp=self._stored.time,
        )

    @property
    def idempotency_key(self) -> str:
        """The name of its effect, the same as a handler's `message.idempotency_key`.

        Raises as `payload` does.
        """
        return key_of(self, self._stored.subject)

    def to_dict(self) -> dict[str, Any]:
        """Its facts and its payload as plain data, for `json` and `pandas.json_normalize`.

        `subject`, `stream`, `stream_seq`, `time` (a `datetime`, UTC) and `payload` (a dict; bytes
        of a subject without a payload class as they are). Raises as `payload` does.
        """
        payload: Any = self.payload
        return {**self._facts(), "payload": payload if isinstance(payload, bytes) else payload.to_dict()}

    def _facts(self) -> dict[str, Any]:
        stored = self._stored
        return {"subject": stored.subject, "stream": self._stream, "stream_seq": stored.seq, "time": from_nanos(stored.time)}

    def _plain(self) -> dict[str, Any]:
        return plain_row(self)

    def _shown(self) -> dict[str, object]:
        return shown_row(self, self._contract)

    def _repr_html_(self) -> str:
        return fields_table("ReadMessage", self._shown())

    def __repr__(self) -> str:
        subject = escape_control(self._stored.subject, keep_layout=False)
        return f"<ReadMessage {subject} {len(self._stored.data)} bytes, seq {self._stored.seq} of {self._stream}>"


def start_of(
    *,
    since: datetime | timedelta | float | None,
    last: int | None,
    from_seq: int | None,
    last_per_subject: bool,
    follow: bool,
) -> Start:
    """Where a read begins. Raises `OptionsError` for invalid values, and for more than one."""
    given = {"since": since, "last": last, "from_seq": from_seq, "last_per_subject": last_per_subject or None}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise OptionsError(f"read({', '.join(f'{name}={given[name]!r}' for name in names)}): pass one of {' and '.join(names)}")
    if last is not None:
        positive_int("read(last)", last, least=0 if follow else 1)
    if from_seq is not None:
        positive_int("read(from_seq)", from_seq)
    return Start(seq=from_seq, since=_moment(since), last=last, last_per_subject=last_per_subject)


def _moment(since: datetime | timedelta | float | None) -> datetime | None:
    if since is None:
        return None
    now = datetime.now(UTC)
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise OptionsError(f"read(since={since!r}) has no time zone: pass an aware datetime, or seconds ago")
        if since > now:
            raise OptionsError(f"read(since={since!r}) is in the future: follow=True waits for new messages")
        return since.astimezone(UTC)
    try:
        return now - timedelta(seconds=to_seconds("read(since)", since))
    except OverflowError:
        raise OptionsError(f"read(since={since!r}): there is no such date") from None


def streams_with(contract: Contract, pattern: str) -> list[StreamSpec]:
    """The declared streams that store subjects which `pattern` matches."""
    return [spec for spec in contract.streams if any(overlap(one, pattern) for one in spec.subjects)]


def stream_of(contract: Contract, what: Subscribable[Any, Any]) -> str:
    """The one stream that stores `what`.

    Raises `SubjectMismatch` if it is not of this contract, or no stream stores it, and
    `OptionsError` if several do.
    """
    if not isinstance(what, Filter):
        contract.require(what)
    found: dict[str, str] = {}
    for pattern in what.patterns:
        names = [spec.name for spec in streams_with(contract, pattern)]
        if not names:
            raise SubjectMismatch(f"{pattern} is stored by no stream, so it cannot be read: subscribe() receives it")
        found |= dict.fromkeys(names, pattern)
    if len(found) > 1:
        parts = " and ".join(f"{name} ({pattern})" for name, pattern in sorted(found.items()))
        raise OptionsError(f"{' | '.join(what.patterns)} is stored by several streams, {parts}: read each on its own")
    contract.require_readable(what)
    return next(iter(found))


class Reader(ReadAhead[Stored], Generic[M_co, S_co]):
    """Messages of one stream, in its order: what `bus.read` returns.

    `async with bus.read(...) as messages` has fixed where the read starts and ends when the block
    begins; a bare `async for` does so at its first step. Up to 1,000 messages are read ahead.
    """

    def __init__(self, session: Session, what: Subscribable[M_co, S_co], start: Start, follow: bool) -> None:
        super().__init__(session)
        self._what = what
        self._start_at = start
        self._follow = follow
        self._stream = stream_of(session.contract, what)

    async def _new_reading(self) -> Reading:
        kind = LookupReader if await self._is_consumed() else OrderedReader
        return kind(self._session, self._stream, self._what.patterns, self._start_at, follow=self._follow)

    async def _is_consumed(self) -> bool:
        """Whether the stream deletes what its consumers have acknowledged."""
        for _ in range(_TRIES - 1):
            with suppress(ConnectionLost):
                return await self._keeps_until_acknowledged()
        return await self._keeps_until_acknowledged()

    async def _keeps_until_acknowledged(self) -> bool:
        config = (await self._session.api.stream_info(self._stream))["config"]
        return bool(config["retention"] != "limits")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReadMessage[M_co, S_co]:
        reading = self._reading
        stored = None if reading is None else reading.take()
        if stored is None:
            stored = await self._next_raw()
        return self._made(stored)

    def _made(self, raw: Stored) -> ReadMessage[M_co, S_co]:
        return ReadMessage(raw, self._stream, self._session.contract)

    async def stop(self) -> None:
        """Read no more, and end the iteration. Safe to repeat."""
        await self._end()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
