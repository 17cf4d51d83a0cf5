"""Replaying dead letters: each is published to its original subject once, whoever replays it and however often that is cut off.

Two streams are written to, and no server writes to both at once, so every step leaves word of itself before the next one is taken:

1. the claim: a note `….replay` beside the letter, which only one can put there;
2. the letter is read again: what was discarded or replayed meanwhile is not published;
3. the message, with an id made from what the letter is a letter of, so the stream stores it once inside its duplicate window;
4. the letter is removed. The note stays: it is what is left of the letter.

A claim whose letter is still there belongs to somebody at work or to one who was cut off, between any two of these steps. While the
stream is sure to remember the id, publishing again settles both. Every sending is bounded by a quarter of the duplicate window after its
claim, so none comes after that. Later on the stream itself is asked: whether it has the message; or whether it has lost nothing since the
claim was made, and so never had it. Where messages went since (a work queue was worked on), nobody can know: the letter is in doubt, is
left alone, and is reported.

What this stands on: a process that stops dead between looking at its clock and sending does not wake again within three quarters of the
duplicate window to send all the same; and the server's clock does not jump by a quarter of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec

from ...errors import (
    JetStreamError,
    MessageNotFound,
    OptionsError,
    PermissionDenied,
    PublishError,
    PublishUnconfirmed,
    QueueFull,
    TopologyRefused,
    WrongSequence,
)
from ..connection.headers import MSG_ID
from ..jetstream.api import NANOS, StoredMessage
from ..jetstream.api_errors import WRONG_LAST_SEQUENCE
from ..jetstream.session import Session
from ..jetstream.stream_reader import Stored
from .format import (
    EXPECT_LAST,
    REPLAY_COUNT,
    REPLAY_FIRST,
    REPLAY_OF,
    id_of,
    identity,
    read_stored,
    subject_of,
)

IN_FLIGHT: Final = 64
"""Letters that are replayed or removed at a time: what can be in doubt after a crash."""
_LAST_SEQ: Final = "Smith-Replay-After"
_NOT_REMOVED: Final = (10043, 10057)
"""What the server says of a message that is gone: the former within a stream, the latter before its first message and behind its last."""
_SHARE: Final = 0.25
"""Of the duplicate window: how old a claim may be when its message is sent, how long that may take, and how old a claim may be to join."""
_LEAST: Final = 0.5
_SUBJECT: Final = re.compile(r"[^\s\x00-\x1f\x7f]+")
_CLAIMS: Final = 8
_DEBT: Final = 0.1
"""Seconds that a rate may make up for: a sleep ends late, and a rate of thousands would never be reached."""

Fate = Literal["replayed", "finished", "gone", "in_doubt", "failed", "planned"]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one letter in a replay.

    `outcome` is one of: "replayed", stored as `seq` of its stream; "finished", stored by an earlier replay that was cut off, or by another
    beside this one; "gone", replayed or discarded by somebody else; "in_doubt", see `ReplayReport`; "failed", with the error in words;
    "planned", what a dry run would replay.
    """

    id: str
    outcome: Fate
    seq: int | None = None
    error: str = ""


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all: how many letters had each outcome of `Replayed`, and those with whom something is to be done.

    `in_doubt`: an earlier replay died over these, its stream remembers no ids of that time and has lost messages since. They may have
    been replayed or not: look at what they did, then discard them or replay them with `in_doubt="replay"`.
    """

    replayed: int
    finished: int
    gone: int
    planned: int
    in_doubt: tuple[str, ...]
    failed: tuple[Replayed, ...]


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A letter that is to be replayed, without its payload. `key` is what it is a letter of."""

    id: str
    position: int
    subject: str
    key: str

    @classmethod
    def of(cls, message: Stored | StoredMessage) -> Ref:
        id = id_of(message.subject)
        return cls(id=id, position=message.seq, subject=subject_of(message.headers), key=identity(id, message.headers))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The stream of a letter's original, as it is at `now`."""

    now: datetime
    created: datetime
    window: float
    first_seq: int
    last_seq: int
    holes: int

    @property
    def share(self) -> float:
        return max(_LEAST, _SHARE * self.window)


async def look_at(session: Session, stream: str) -> Target:
    """Raises `StreamNotFound` where the stream of the originals is gone."""
    info = await session.api.stream_info(stream)
    state = info["state"]
    return Target(
        now=datetime.fromisoformat(info["ts"]),
        created=datetime.fromisoformat(info["created"]),
        window=info["config"].get("duplicate_window", 0) / NANOS,
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        holes=state.get("num_deleted", 0),
    )


async def remove(session: Session, stream: str, position: int) -> None:
    """Take the message at `position` out of `stream`; it may be gone already."""
    try:
        await session.api.call(f"STREAM.MSG.DELETE.{stream}", {"seq": position, "no_erase": True}, stream=stream)
    except TopologyRefused as refusal:
        if refusal.err_code not in _NOT_REMOVED:
            raise
        try:
            await session.api.message(stream, position)
        except MessageNotFound:
            return
        raise


async def last_position(session: Session, stream: str) -> int:
    """The end of the dead letters as they are now. Raises `TopologyRefused` where none of them can be taken away."""
    info = await session.api.stream_info(stream)
    if info["config"].get("deny_delete"):
        raise TopologyRefused(
            f"stream {stream} has deny_delete: its dead letters cannot be removed, so neither replayed nor discarded; "
            f"declare a stream without it",
            stream=stream,
        )
    return int(info["state"]["last_seq"])


class Pool:
    """Runs work for many letters, `IN_FLIGHT` at a time and at most `rate` a second. What was begun is finished, come what may."""

    def __init__(self, rate: float | None = None) -> None:
        self._pause = 0.0 if rate is None else 1 / rate
        self._due = 0.0
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None

    async def __aenter__(self) -> Pool:
        return self

    async def run(self, work: Any) -> None:
        """Begin the coroutine `work` when there is room and time. Raises what an earlier one raised."""
        try:
            await self._turn()
        except BaseException:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _turn(self) -> None:
        if self._pause:
            now = time.monotonic()
            self._due = max(now - _DEBT, self._due) if self._due else now
            await asyncio.sleep(max(0.0, self._due - now))
            self._due += self._pause
        await self._room.acquire()
        if self._error is not None:
            raise self._error

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        error = None if task.cancelled() else task.exception()
        self._error = self._error or error

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if error is None and self._error is not None:
            raise self._error


class Replay:
    """One replay. `tell` hears of every letter as it ends."""

    def __init__(
        self, session: Session, root: str, stream: str, *, force: bool, tell: Callable[[Replayed], object] | None
    ) -> None:
        self._session = session
        self._root = root
        self._stream = stream
        self._force = force
        self._tell = tell
        self._targets: dict[str, Target] = {}
        self._counts: dict[Fate, int] = {}
        self._in_doubt: list[str] = []
        self._failed: list[Replayed] = []

    async def run(self, pages: AsyncIterator[Sequence[Ref]], *, rate: float | None, dry_run: bool) -> ReplayReport:
        async with Pool(None if dry_run else rate) as pool:
            async for page in pages:
                self._targets.clear()
                for ref in page:
                    if dry_run:
                        await self._target(ref)
                        self._end(Replayed(id=ref.id, outcome="planned"))
                    else:
                        await pool.run(self._replay(ref))
        return ReplayReport(
            replayed=self._counts.get("replayed", 0),
            finished=self._counts.get("finished", 0),
            gone=self._counts.get("gone", 0),
            planned=self._counts.get("planned", 0),
            in_doubt=tuple(self._in_doubt),
            failed=tuple(self._failed),
        )

    def gone(self, id: str) -> None:
        """A letter that was asked for by its id and is not there."""
        self._end(Replayed(id=id, outcome="gone"))

    def _end(self, outcome: Replayed) -> None:
        self._counts[outcome.outcome] = self._counts.get(outcome.outcome, 0) + 1
        if outcome.outcome == "in_doubt":
            self._in_doubt.append(outcome.id)
        elif outcome.outcome == "failed":
            self._failed.append(outcome)
        if self._tell is not None:
            self._tell(outcome)

    async def _target(self, ref: Ref) -> Target:
        """As it was when the page began, or since: every claim of the page comes later."""
        stream = ref.id.split(".")[0]
        if stream not in self._targets:
            self._targets[stream] = await look_at(self._session, stream)
        return self._targets[stream]

    async def _replay(self, ref: Ref) -> None:
        try:
            outcome = await self._one(ref)
        except (QueueFull, PublishUnconfirmed):
            raise  # of the stream, rather than of this letter: what comes next would fare no better
        except (OptionsError, PublishError) as error:
            outcome = Replayed(id=ref.id, outcome="failed", error=f"{type(error).__name__}: {error}")
        self._end(outcome)

    async def _one(self, ref: Ref) -> Replayed:
        if not _SUBJECT.fullmatch(ref.subject):
            return Replayed(id=ref.id, outcome="failed", error="it does not say which subject it is from: discard it")
        expected = 0
        for _ in range(_CLAIMS):
            began = time.monotonic()
            target = await self._target(ref)
            claim = await self._claim(ref, expected, target)
            if claim is None:
                found = await self._judge(ref)
                if isinstance(found, Replayed):
                    return found
                if found is not None:
                    expected = found
                    continue
            try:
                letter = await self._letter(ref)
            except MessageNotFound:
                return Replayed(id=ref.id, outcome="gone")
            if time.monotonic() - began > target.share:  # too late to be sure of what another makes of the claim: once more
                expected = await self._give_back(claim)
                continue
            return await self._publish(ref, letter, target, claim)
        return Replayed(
            id=ref.id, outcome="failed", error="it could not be claimed in time: replay it again when the server is less busy"
        )

    async def _claim(self, ref: Ref, expected: int, target: Target) -> int | None:
        """Put the note beside the letter, in place of the one at `expected` (0: of none); None where another one stands there."""
        headers = {
            EXPECT_LAST: str(expected),
            _LAST_SEQ: str(target.last_seq),
            "Smith-Replay-By": f"{socket.gethostname()}:{os.getpid()}",
        }
        try:
            ack = await self._session.publish(
                self._note(ref), ref.key.encode(), stream=self._stream, msg_id=uuid4().hex, headers=headers
            )
        except WrongSequence as refusal:
            if refusal.err_code != WRONG_LAST_SEQUENCE:
                raise
            return None
        return ack.seq

    def _note(self, ref: Ref) -> str:
        return f"{self._root}.{ref.id}.replay"

    async def _give_back(self, claim: int | None) -> int:
        if claim is not None:
            await remove(self._session, self._stream, claim)
        return 0

    async def _letter(self, ref: Ref) -> StoredMessage:
        return await self._session.api.message(self._stream, ref.position)

    async def _judge(self, ref: Ref) -> Replayed | int | None:
        """What to do about a claim that stands there: the end, the note to claim in place of (0: none), or None to publish beside it."""
        try:
            note = await self._session.api.last_message(self._stream, self._note(ref))
        except MessageNotFound:  # given back meanwhile
            return 0
        try:
            await self._letter(ref)
        except MessageNotFound:
            return Replayed(id=ref.id, outcome="gone")
        if note.data != ref.key.encode():  # of another letter: the stream was made anew since
            return note.seq
        target = await look_at(self._session, ref.id.split(".")[0])
        claimed = datetime.fromisoformat(note.time)
        if (target.now - claimed).total_seconds() < _SHARE * target.window:
            return None
        after = int(note.headers.get(_LAST_SEQ, "0"))
        was_stored = False if target.last_seq == after else await self._is_stored(ref, after)
        if was_stored and target.created < claimed:
            await remove(self._session, self._stream, ref.position)
            return Replayed(id=ref.id, outcome="finished")
        kept_all = target.created < claimed and target.first_seq <= after + 1 and not target.holes
        if target.last_seq == after or kept_all or self._force:
            return note.seq
        return Replayed(id=ref.id, outcome="in_doubt")

    async def _is_stored(self, ref: Ref, after: int) -> bool:
        """Whether the stream holds the message, behind sequence `after`."""
        stream, seq = ref.id.split(".")[0], after + 1
        while True:
            try:
                found = await self._session.api.next_message(stream, seq, ref.subject)
            except MessageNotFound:
                return False
            if found.headers.get(MSG_ID) == self._msg_id(ref):
                return True
            seq = found.seq + 1

    def _msg_id(self, ref: Ref) -> str:
        return f"dead-letter:{ref.key}"

    async def _publish(self, ref: Ref, stored: StoredMessage, target: Target, claim: int | None) -> Replayed:
        letter = read_stored(stored)
        headers = {
            **letter.headers,
            REPLAY_OF: letter.id,
            REPLAY_FIRST: letter.first_letter or letter.id,
            REPLAY_COUNT: str(letter.replays + 1),
            "Nats-Expected-Stream": letter.stream,
        }
        timeout = min(self._session.publish_timeout, target.share)
        try:
            ack = await self._session.publish(
                letter.subject, letter.payload, stream=letter.stream, msg_id=self._msg_id(ref), headers=headers, timeout=timeout
            )
        except PublishUnconfirmed as error:
            if not error.may_be_stored:
                await self._give_back(claim)
            raise
        except (JetStreamError, OptionsError, PermissionDenied):
            await self._give_back(claim)
            raise
        await remove(self._session, self._stream, ref.position)
        return Replayed(id=ref.id, outcome="finished" if ack.duplicate else "replayed", seq=ack.seq)
