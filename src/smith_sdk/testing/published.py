"""Reading back what the streams keep.

PYTEST_DONT_REWRITE: no assertions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

from ..contract import M_co, S_co

if TYPE_CHECKING:
    from .._core.jetstream.api import StoredMessage
    from .._core.jetstream.session import Session
    from ..aio import AsyncSmithBus
    from ..contract import AnySubject, Contract, Subscribable
    from ..sync import SmithBus

M = TypeVar("M")
S = TypeVar("S", bound="AnySubject")


class Stored(Generic[M_co, S_co]):
    """A message as `stream` keeps it, at `seq`, since `time` (RFC 3339): `payload`, `subject`, `raw` and `headers` as of a `Message`."""

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
        """The decoded payload; raises `PayloadDecodeError`, or `UnknownSubject` when the subject is none of the contract's."""
        from .._core import codec

        subject = self._contract.parse(self._found.subject)
        return cast("M_co", codec.decode(subject.message_type, self.raw, self._found.subject))

    @property
    def subject(self) -> S_co:
        """The typed subject; raises `UnknownSubject`."""
        return cast("S_co", self._contract.parse(self._found.subject))

    def __repr__(self) -> str:
        return f"<Stored {self._found.subject}, seq {self.seq} of {self.stream}, {len(self.raw)} bytes>"


@overload
def published(bus: SmithBus, what: Subscribable[M, S]) -> list[Stored[M, S]]: ...
@overload
def published(bus: AsyncSmithBus, what: Subscribable[M, S]) -> Awaitable[list[Stored[M, S]]]: ...
def published(bus: SmithBus | AsyncSmithBus, what: Subscribable[M, S]) -> list[Stored[M, S]] | Awaitable[list[Stored[M, S]]]:
    """What the streams keep on a subject or filter, oldest first; to be awaited on the async face.

    A work queue, and a stream of interest, keep a message until it is acknowledged: there, this is what is still to be done. Raises
    `OptionsError` where no stream keeps `what`: subscribe to it before it is sent; `SubjectMismatch` where it is neither of the two.
    """
    from .._core.blocking.faces import Blocking

    if isinstance(bus, Blocking):
        return bus._portal.call(_published, bus._aio._session, what)
    return _published(bus._session, what)


async def _published(session: Session, what: Subscribable[M, S]) -> list[Stored[M, S]]:
    from ..contract import Subscribable
    from ..errors import MessageNotFound, OptionsError

    session.require_open()
    if not isinstance(what, Subscribable):
        session.contract.require(what)
    found: list[Stored[M, S]] = []
    for pattern in what.patterns:
        streams = [one["config"]["name"] for one in await session.api.streams(pattern)]
        if not streams:
            raise OptionsError(f"no stream keeps {pattern}: subscribe to it before it is sent, and read it there")
        for stream in streams:
            seq = 1
            with contextlib.suppress(MessageNotFound):
                while True:
                    message = await session.api.next_message(stream, seq, pattern)
                    found.append(Stored(session.contract, stream, message))
                    seq = message.seq + 1
    return sorted(found, key=lambda one: (one._found.time, one.seq))
