"""The dead letters on the server: put, read, list, count and remove them.

A letter is at `{root}.{stream}.{consumer}.{seq}`, named by its original. Markers stand beside it,
deeper: `.trial` (an isolated attempt has begun), `.unrun` (deliveries that are no attempts),
`.{position}.replay` (claimed by a replay), `.limbo` (copied by an audit). A worker needs the right
to publish to them, and no right to read.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from ...errors import ContractError, MessageNotFound, PayloadTooLarge, PermissionDenied, TopologyRefused, WrongSequence
from ..jetstream import stream_reader
from ..jetstream.api import StoredMessage
from ..jetstream.claim import Taken, compare_and_set
from ..jetstream.session import Session
from ..jetstream.stream_reader import Stored
from . import format as letter_format
from .format import Death, Original, Reporter

_TRIES: Final = 8
"""How often a letter is put while other publishers write to its subject."""
_CUT_FACTS: Final = 256
"""Bytes for the headers that say that a payload was cut."""
# The errors for deleting a deleted message: within the stream; before its first or after its last.
_NOT_THERE: Final = (10043, 10057)


class _Fit:
    """A letter that sheds what does not fit: headers first, then the end of its payload."""

    def __init__(self, original: Original, death: Death, by: Reporter) -> None:
        self._original, self._death, self._by = original, death, by
        self._kept: int | None = None
        self._is_bare = False
        self.data = original.data
        self.headers = letter_format.encode(original, death, by)

    def shrink(self, error: PayloadTooLarge) -> bool:
        """Make it smaller than the one that raised `error`. False if nothing is left to shed."""
        if not self._is_bare:
            self._is_bare = True
        elif self._kept is None:
            whole, self._kept = len(self.data), len(self.data) // 2
            if error.limit and error.size:  # it was refused here; a server does not say by how much
                self._kept = max(0, min(whole, error.limit - (error.size - whole) - _CUT_FACTS))
        elif self._kept:
            self._kept //= 2
        else:
            return False
        self.data = self._original.data[: self._kept]
        self.headers = letter_format.encode(self._original, self._death, self._by, 0, kept=self._kept)
        return True


class DeadLetterStore:
    """The dead letters of the session's contract."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def root(self) -> str:
        """The subject that all of theirs begin with. Raises `ContractError` if there is none."""
        root = self.session.contract.dead_letters
        if root is None:
            raise ContractError(f"contract {self.session.contract.name!r} declares no subject for dead letters")
        return root

    @property
    def stream(self) -> str:
        """The stream that holds them."""
        root = self.root
        return next(spec.name for spec in self.session.contract.streams if f"{root}.>" in spec.subjects)

    def subject(self, id: str, marker: str = "") -> str:
        """The subject of the letter with that id, or of the `marker` beside it."""
        return f"{self.root}.{id}.{marker}" if marker else f"{self.root}.{id}"

    async def put(self, original: Original, death: Death) -> None:
        """Store a copy of `original`, once: it is there, byte for byte, when this returns.

        The subject may hold another message: the letter of a message from a stream of the same name
        that was deleted and counted the same sequences, or what another publisher put there. Then
        this letter is put behind that one. A payload that does not fit is cut, and the letter says
        so. Raises what publishing raises; `WrongSequence` if other publishers are faster each time.
        """
        subject, expected = self.subject(original.id), 0
        by = letter_format.Reporter(host=socket.gethostname(), worker=death.worker or str(os.getpid()), now=datetime.now(UTC))
        fit = _Fit(original, death, by)
        for _ in range(_TRIES):
            stored = await self._put_fitting(subject, fit, expected)
            if stored is None:
                return
            if stored.message is not None and letter_format.is_copy(stored.message, original):
                return  # by an earlier delivery, whose worker got no further
            expected = 0 if stored.message is None else stored.message.seq
        raise WrongSequence(
            f"the dead letter of seq {original.seq} of {original.stream} could not be stored in {_TRIES} attempts, because others "
            f"publish to {subject} as well: find out which, and take their right to do so away",
            stream=self.stream,
            subject=subject,
        )

    async def _put_fitting(self, subject: str, fit: _Fit, expected: int) -> Taken | None:
        """Put the letter, smaller each time that it is too large. None: it is stored."""
        while True:
            try:
                stored = await compare_and_set(
                    self.session, self.stream, subject, fit.data, expected=expected, headers=fit.headers
                )
            except PayloadTooLarge as error:
                if not fit.shrink(error):
                    raise
            except PermissionDenied as error:
                if error.subject == subject:
                    raise
                # What is there may not be read. A second letter of one message is better than none.
                await self.session.publish(subject, fit.data, stream=self.stream, msg_id=uuid4().hex, headers=fit.headers)
                return None
            else:
                return stored if isinstance(stored, Taken) else None

    async def get(self, id: str) -> StoredMessage:
        """The newest letter with that id. Raises `MessageNotFound`."""
        return await self.last(self.subject(id))

    async def all_of(self, id: str) -> AsyncGenerator[StoredMessage, None]:
        """Every letter with that id, the oldest first."""
        subject, seq = self.subject(id), 1
        while True:
            try:
                found = await self.session.api.next_message(self.stream, seq, subject)
            except MessageNotFound:
                return
            yield found
            seq = found.seq + 1

    async def last(self, subject: str) -> StoredMessage:
        """The newest message on `subject`. Raises `MessageNotFound`."""
        return await self.session.api.last_message(self.stream, subject)

    async def at(self, position: int) -> StoredMessage:
        """The message at `position`. Raises `MessageNotFound`."""
        return await self.session.api.message(self.stream, position)

    async def page(
        self,
        pattern: str,
        *,
        after: int = 0,
        since: datetime | None = None,
        limit: int = stream_reader.PAGE,
        headers_only: bool = False,
    ) -> list[Stored]:
        """The first `limit` messages on `pattern` behind position `after`; fewer at the end."""
        return await stream_reader.read_page(
            self.session, self.stream, pattern, after=after, since=since, limit=limit, headers_only=headers_only
        )

    async def each(self, pattern: str) -> AsyncGenerator[Stored, None]:
        """Every message on `pattern`, without its payload."""
        after = 0
        while True:
            page = await self.page(pattern, after=after, headers_only=True)
            for one in page:
                yield one
            if len(page) < stream_reader.PAGE:
                return
            after = page[-1].seq

    async def count(self, pattern: str, since: datetime | None) -> int:
        """How many messages on `pattern` were stored at `since` or later, as the server counts."""
        return await stream_reader.count(self.session, self.stream, pattern, since=since)

    async def remove(self, position: int) -> None:
        """Delete the message at `position`; see `remove`."""
        await remove(self.session, self.stream, position)

    async def positions(self) -> tuple[int, int]:
        """The first and the last position as they are now."""
        state = (await self.session.api.stream_info(self.stream))["state"]
        return int(state["first_seq"]), int(state["last_seq"])

    async def end(self) -> int:
        """The last position as it is now. Raises `TopologyRefused` if no letter can be removed."""
        info = await self.session.api.stream_info(self.stream)
        if info["config"].get("deny_delete"):
            raise TopologyRefused(
                f"stream {self.stream} has deny_delete: its dead letters cannot be removed, so they can be neither replayed "
                f"nor discarded; declare a stream without it",
                stream=self.stream,
            )
        return int(info["state"]["last_seq"])


async def remove(session: Session, stream: str, position: int) -> None:
    """Delete the message at `position` of `stream`; it may be deleted already.

    Raises `TopologyRefused` on a stream with deny_delete.
    """
    body = {"seq": position, "no_erase": True}
    try:
        await session.api.call(f"STREAM.MSG.DELETE.{stream}", body, stream=stream)
    except TopologyRefused as refusal:
        if refusal.err_code not in _NOT_THERE:
            raise
        try:
            await session.api.message(stream, position)
        except MessageNotFound:
            return
        raise
