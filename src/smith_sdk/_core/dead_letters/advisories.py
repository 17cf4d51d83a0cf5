"""The server's advisories, as the stream that captures them holds them.

Any program that may publish to their subjects can forge one. They say where to look; what the
server answers decides what is done (see `given_up`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from ..jetstream.session import Session
from ..jetstream.stream_reader import PAGE, Stored, read_page
from ..log_records import LogFields, sdk_logger

log: Final = sdk_logger("dead_letters")

_ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER"
GIVEN_UP: Final = f"{_ADVISORY}.MAX_DELIVERIES"
TERMINATED: Final = f"{_ADVISORY}.MSG_TERMINATED"

_Sequence = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Advisory(msgspec.Struct, frozen=True):
    """The fields of an advisory that are read."""

    stream: str
    consumer: str
    stream_seq: _Sequence
    deliveries: _Sequence
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]

    @property
    def id(self) -> str:
        return f"{self.stream}.{self.consumer}.{self.stream_seq}"


_decode: Final = msgspec.json.Decoder(Advisory).decode


class Advisories:
    """Reads advisories. Messages that are not valid advisories are skipped; the first is logged."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stream = next((s.name for s in session.contract.streams if f"{GIVEN_UP}.>" in s.subjects), None)
        self._logged = False

    async def read(self, kind: str, after: int = 0, consumer: str = ">") -> AsyncGenerator[tuple[int, Advisory | None], None]:
        """The advisories of one kind behind sequence `after`, each with its own sequence.

        `consumer` is `{stream}.{consumer}`. None for a message that is not an advisory about the
        consumer that its subject names.
        """
        if self._stream is None:
            return
        while True:
            page = await read_page(self._session, self._stream, f"{kind}.{consumer}", after=after)
            for one in page:
                yield one.seq, self._read(kind, one)
            if len(page) < PAGE:
                return
            after = page[-1].seq

    def _read(self, kind: str, stored: Stored) -> Advisory | None:
        try:
            found = _decode(stored.data)
            found.timestamp.astimezone(UTC)  # at either end of the calendar there may be no such time
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            found = None
        if found is not None and stored.subject == f"{kind}.{found.stream}.{found.consumer}":
            return found
        if not self._logged:
            self._logged = True
            log.warning(
                "seq %d of stream %s is not an advisory of the server, and is skipped, as are others like it: find out which "
                "program publishes to %s, and take its right to do so away",
                stored.seq,
                self._stream,
                kind,
                extra=LogFields(stream=str(self._stream)),
            )
        return None
