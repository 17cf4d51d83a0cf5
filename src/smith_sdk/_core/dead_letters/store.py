"""The dead letters on the server: put, read, list, count and remove them.

A letter is at `{root}.{stream}.{consumer}.{seq}`, named by its original. Markers stand beside it,
one token deeper: `.trial` (an isolated attempt has begun), `.replay` (claimed by a replay),
`.limbo` (copied by an audit).
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Final

from ...errors import ContractError, MessageNotFound, PayloadTooLarge, TopologyRefused
from ..jetstream import stream_reader
from ..jetstream.api import StoredMessage
from ..jetstream.claim import Taken, compare_and_set
from ..jetstream.session import Session
from ..jetstream.stream_reader import Stored
from . import format as letter_format
from .format import Death, Original

# The errors for deleting a deleted message: within the stream; before its first or after its last.
_NOT_THERE: Final = (10043, 10057)


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
        """Store a copy of `original`, once: it is there when this returns.

        The subject may hold the letter of another message, from a stream of the same name that was
        deleted and counted the same sequences. Then this letter is put behind that one. Raises what
        publishing raises.
        """
        subject = self.subject(original.id)
        msg_id = f"{subject}:{original.stored}"
        expected, room = 0, letter_format.MAX_HEADERS
        by = letter_format.Reporter(host=socket.gethostname(), worker=death.worker or str(os.getpid()), now=datetime.now(UTC))
        while True:
            headers = letter_format.encode(original, death, by, room)
            try:
                stored = await compare_and_set(
                    self.session, self.stream, subject, original.data, expected=expected, headers=headers, msg_id=msg_id
                )
            except PayloadTooLarge:
                if not room:
                    raise
                room = 0  # the payload may fit without the headers that can be left out
                continue
            if not isinstance(stored, Taken):  # by this call, or by an earlier delivery whose worker got no further
                return
            expected = 0 if stored.message is None else stored.message.seq

    async def get(self, id: str) -> StoredMessage:
        """The newest letter with that id. Raises `MessageNotFound`."""
        return await self.last(self.subject(id))

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
        """Delete the message at `position`; it may be deleted already.

        Raises `TopologyRefused` on a stream with deny_delete.
        """
        body = {"seq": position, "no_erase": True}
        try:
            await self.session.api.call(f"STREAM.MSG.DELETE.{self.stream}", body, stream=self.stream)
        except TopologyRefused as refusal:
            if refusal.err_code not in _NOT_THERE:
                raise
            try:
                await self.at(position)
            except MessageNotFound:
                return
            raise

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
