"""Reading back stored messages.

PYTEST_DONT_REWRITE: no assertions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from .._core.foreign_text import escape_control
from ..contract import M_co, S_co

if TYPE_CHECKING:
    from .._core.jetstream.api import StoredMessage
    from .._core.jetstream.session import Session
    from ..aio import AsyncSmithBus
    from ..contract import Contract, Subscribable
    from ..sync import SmithBus

M = TypeVar("M")
S = TypeVar("S")


class Stored(Generic[M_co, S_co]):
    """A message as stored in `stream` at `seq` since `time` (RFC 3339).

    `payload`, `subject`, `raw` and `headers` are as of a `Message`.
    """

    __slots__ = ("_contract", "_found", "headers", "raw", "seq", "stream", "time")

    def __init__(self, contract: Contract, stream: str, found: StoredMessage) -> None:
        self._contract = contract
        self._found = found
        self.stream = stream
        self.raw = found.data
        self.headers = found.headers
        self.seq = found.seq
        self.time = found.time

    @property
    def payload(self) -> M_co:
        """The decoded payload. Raises `PayloadDecodeError` or `UnknownSubject`."""
        from .._core import codec

        subject = self._contract.parse(self._found.subject)
        return cast("M_co", codec.decode(subject.message_type, self.raw, self._found.subject))

    @property
    def subject(self) -> S_co:
        """The typed subject. Raises `UnknownSubject` if the contract has no such subject."""
        return cast("S_co", self._contract.parse(self._found.subject))

    def __repr__(self) -> str:
        subject = escape_control(self._found.subject, keep_layout=False)
        return f"<Stored {subject}, seq {self.seq} of {self.stream}, {len(self.raw)} bytes>"


@overload
def published(bus: SmithBus[Any], what: Subscribable[M, S]) -> list[Stored[M, S]]: ...
@overload
def published(bus: AsyncSmithBus[Any], what: Subscribable[M, S]) -> Awaitable[list[Stored[M, S]]]: ...
def published(
    bus: SmithBus[Any] | AsyncSmithBus[Any], what: Subscribable[M, S]
) -> list[Stored[M, S]] | Awaitable[list[Stored[M, S]]]:
    """The stored messages of a subject or filter, oldest first; awaited on the async face.

    Streams with work-queue or interest retention delete a message once it is acknowledged: of
    those, this returns the messages that are still to be processed. Raises `OptionsError` if no
    stream stores `what` (subscribe before it is published), and `SubjectMismatch` if `what` is
    neither a subject of the contract nor a filter.
    """
    from .._core.blocking.faces import Blocking

    if isinstance(bus, Blocking):
        return bus._portal.call(_published, bus._aio._session, what)
    return _published(bus._session, what)


async def _published(session: Session, what: Subscribable[M, S]) -> list[Stored[M, S]]:
    from ..errors import MessageNotFound, OptionsError

    session.require_open()
    session.contract.require_readable(what)
    found: list[Stored[M, S]] = []
    for pattern in what.patterns:
        streams = [one["config"]["name"] for one in await session.api.streams(pattern)]
        if not streams:
            raise OptionsError(f"no stream stores {pattern}: subscribe to it before it is published")
        for stream in streams:
            seq = 1
            with contextlib.suppress(MessageNotFound):
                while True:
                    message = await session.api.next_message(stream, seq, pattern)
                    found.append(Stored(session.contract, stream, message))
                    seq = message.seq + 1
    return sorted(found, key=lambda one: (one._found.time, one.seq))
