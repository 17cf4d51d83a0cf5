"""Replaying dead letters: each is published to its original subject at most once.

Only to where it can have come from: see `replay_target`. A letter that fails this is refused. One
of a shard goes to the shard that its key has now.

That holds for concurrent and for interrupted replays. A replay claims the letter, reads it again,
publishes the message and removes the letter, in this order; each step is on the server before the
next begins. A later replay continues from whatever step an interrupted one reached.
"""

# Two streams are written to, and no server writes to both at once. The steps in detail:
#
# 1. The claim: a marker `.{position}.replay` beside the letter, which only one replay can put
#    there. It has a token, unknown to programs that may publish letters, and may not read them.
# 2. The letter is read again: one that was discarded or replayed meanwhile is not published.
# 3. The message, with an id made from `format.identity`, the letter's position and the claim's
#    token, so its stream stores it once within its duplicate window, and no publisher of messages
#    can have taken that id before.
# 4. The letter is removed. The marker stays: it is what is left of the letter.
#
# A claim whose letter is still there belongs to a running replay or to one that was interrupted
# between any two steps. While the stream is sure to remember the id, publishing again settles both.
# Each publish is bounded by a quarter of the duplicate window after its claim, so none comes after
# that. Later the stream itself is asked: whether it has the message, or whether it has lost nothing
# since the claim, and so never had it. If messages were removed since (a work queue was worked on),
# the answer cannot be known: the letter is in doubt, stays, and is reported.
#
# This relies on two things: a process that stops between reading its clock and sending does not
# wake within the remaining three quarters of the duplicate window to send all the same; and the
# server's clock does not jump by a quarter of it.

from __future__ import annotations

import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Final, Literal
from uuid import uuid4

import msgspec

from ...contract import covers
from ...display import Record
from ...errors import (
    ContractError,
    JetStreamError,
    MessageNotFound,
    OptionsError,
    PermissionDenied,
    PublishError,
    PublishUnconfirmed,
    QueueFull,
    SmithError,
)
from ..connection.headers import MSG_ID
from ..jetstream.api import NANOS, StoredMessage
from ..jetstream.claim import Taken, compare_and_set
from ..jetstream.session import Session
from .facts import read_number
from .format import REPLAY_COUNT, REPLAY_FIRST, REPLAY_KEY, REPLAY_OF, of_stored, replay_id, replay_key
from .replay_target import Place, Places, refusal
from .selection import Ref
from .store import DeadLetterStore
from .task_pool import TaskPool

CLAIM: Final = "replay"
_LAST_SEQ: Final = "Smith-Replay-After"
_TOKEN: Final = "Smith-Replay-Token"
_STREAM: Final = "Smith-Replay-Stream"
_SHARE: Final = 0.25
"""Of the duplicate window: the bound of a claim's age, and of a publish, that is explained
above."""
_LEAST: Final = 0.5
_CLAIMS: Final = 8

Fate = Literal["replayed", "finished", "gone", "in_doubt", "failed", "refused", "planned"]


class Replayed(Record, frozen=True, kw_only=True):
    """The outcome of one letter of a replay.

    `outcome` is one of:

    - "replayed": published and stored as `seq` of its stream
    - "finished": stored by an earlier replay that was interrupted, or by another one beside this
    - "gone": replayed or discarded by another caller before
    - "in_doubt": see `ReplayReport`
    - "failed": `error` says why; the letter stays
    - "refused": it cannot have come from its stream and consumer as the contract declares them, or
      its payload is incomplete; `error` says why, nothing is sent, and the letter stays
    - "planned": a dry run would replay it

    `moved_to` is the subject that it was published to, or would be, if that is not the original
    one: the number of shards was changed since.
    """

    id: str
    outcome: Fate
    seq: int | None = None
    error: str = ""
    moved_to: str | None = None


class ReplayReport(Record, frozen=True, kw_only=True):
    """The outcome of a replay: how many letters had each outcome, and which ones need attention.

    `in_doubt` are ids of letters during whose replay an earlier replay was killed; their stream no
    longer remembers message ids of that time, and messages were removed from it since. They may
    have been replayed or not: check their effects, then discard them or replay them with
    `in_doubt="replay"`.

    `refused` are letters that may be forged: read them, then discard them.

    `moved` is how many of those that were replayed, or would be, go to another shard than before,
    since the number of shards was changed.
    """

    replayed: int
    finished: int
    gone: int
    planned: int
    in_doubt: tuple[str, ...]
    failed: tuple[Replayed, ...]
    refused: tuple[Replayed, ...]
    moved: int = 0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The stream of a letter's original, as it is at `now` by the server's clock."""

    now: datetime
    created: datetime
    window: float
    first_seq: int
    last_seq: int
    holes: int

    @property
    def share(self) -> float:
        """Seconds between a claim and the sending of its message, and for that publish, at most."""
        return max(_LEAST, _SHARE * self.window)

    def is_fresh(self, claimed: datetime) -> bool:
        """Whether the stream is sure to remember the id of a message sent after that claim."""
        return (self.now - claimed).total_seconds() < _SHARE * self.window

    def lost_nothing(self, claimed: datetime, after: int) -> bool:
        """Whether it holds every message that was stored behind `after` since that claim."""
        return self.created < claimed and self.first_seq <= after + 1 and not self.holes


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim on a letter, at `position` among the dead letters; `is_own`: of this replay."""

    position: int
    token: str
    is_own: bool


async def read_target(session: Session, stream: str) -> Target:
    """Raises `StreamNotFound` if the stream of the originals no longer exists."""
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


class Replay:
    """One replay. `progress` is called with each outcome; `force` replays letters in doubt."""

    def __init__(self, store: DeadLetterStore, *, force: bool, progress: Callable[[Replayed], object] | None) -> None:
        self._store = store
        self._session = store.session
        self._force = force
        self._progress = progress
        self._targets: dict[str, Target] = {}
        self._places = Places(store.session)
        self._moved = 0
        self._counts: dict[Fate, int] = {}
        self._in_doubt: list[str] = []
        self._failed: list[Replayed] = []
        self._refused: list[Replayed] = []

    async def run(self, pages: AsyncIterator[Sequence[Ref]], *, rate: float | None, dry_run: bool) -> ReplayReport:
        async with TaskPool(None if dry_run else rate) as pool:
            async for page in pages:
                self._targets.clear()
                self._places.forget()
                for ref in page:
                    why = refusal(self._session.contract, ref)
                    if why is not None:
                        self._end(Replayed(id=ref.id, outcome="refused", error=why))
                    elif dry_run:
                        await self._plan(ref)
                    else:
                        await pool.run(self._replay(ref))
        return ReplayReport(
            replayed=self._counts.get("replayed", 0),
            finished=self._counts.get("finished", 0),
            gone=self._counts.get("gone", 0),
            planned=self._counts.get("planned", 0),
            in_doubt=tuple(self._in_doubt),
            failed=tuple(self._failed),
            refused=tuple(self._refused),
            moved=self._moved,
        )

    def missing(self, id: str) -> None:
        """Report a letter that was chosen by its id and is not there."""
        self._end(Replayed(id=id, outcome="gone"))

    def _end(self, outcome: Replayed) -> None:
        self._counts[outcome.outcome] = self._counts.get(outcome.outcome, 0) + 1
        self._moved += outcome.moved_to is not None
        if outcome.outcome == "in_doubt":
            self._in_doubt.append(outcome.id)
        elif outcome.outcome == "failed":
            self._failed.append(outcome)
        elif outcome.outcome == "refused":
            self._refused.append(outcome)
        if self._progress is not None:
            self._progress(outcome)

    async def _target(self, stream: str) -> Target:
        """As it was when the page began, or later: every claim of the page comes after that."""
        if stream not in self._targets:
            self._targets[stream] = await read_target(self._session, stream)
        return self._targets[stream]

    async def _place(self, ref: Ref) -> Place | None:
        """Where the letter goes; None if it was removed. Raises `ContractError`."""
        spec = self._places.sharding(ref)
        if spec is None:
            return Place(ref.subject, ref.id.split(".")[0])
        letter = await self._letter(ref)
        return None if letter is None else await self._places.of(ref, spec, letter.data)

    async def _plan(self, ref: Ref) -> None:
        try:
            place = await self._place(ref)
        except ContractError as error:
            self._end(_failed(ref, error))
            return
        if place is None:
            self._end(Replayed(id=ref.id, outcome="gone"))
            return
        await self._target(place.stream)
        self._end(Replayed(id=ref.id, outcome="planned", moved_to=_moved(ref, place)))

    async def _replay(self, ref: Ref) -> None:
        try:
            place = await self._place(ref)
            outcome = Replayed(id=ref.id, outcome="gone") if place is None else await self._one(ref, place)
        except (QueueFull, PublishUnconfirmed):
            raise  # about the stream rather than this letter: the next one would fare no better
        except (ContractError, OptionsError, PublishError) as error:
            outcome = _failed(ref, error)
        self._end(outcome)

    async def _one(self, ref: Ref, place: Place) -> Replayed:
        expected = 0
        for _ in range(_CLAIMS):
            began = time.monotonic()
            target = await self._target(place.stream)
            claim = await self._claim(ref, place, expected, target)
            if isinstance(claim, Taken):
                found = 0 if claim.message is None else await self._judge(ref, place, claim.message)
                if isinstance(found, Replayed):
                    return found
                if isinstance(found, int):
                    expected = found
                    continue
                claim = found
            letter = await self._letter(ref)
            if letter is None:
                return Replayed(id=ref.id, outcome="gone")
            # another replay may already judge the claim as old: claim again
            if time.monotonic() - began > target.share:
                if claim.is_own:
                    await self._store.remove(claim.position)
                expected = 0
                continue
            outcome = await self._publish(ref, place, letter, target, claim)
            if outcome is not None:
                return outcome
            expected = claim.position
        return Replayed(
            id=ref.id, outcome="failed", error="it could not be claimed in time: replay it again when the server is less busy"
        )

    async def _letter(self, ref: Ref) -> StoredMessage | None:
        """The letter as it is now, whole; None if it was removed, or another stands there."""
        try:
            letter = await self._store.at(ref.position)
        except MessageNotFound:
            return None
        return letter if Ref.of(letter) == ref else None

    async def _claim(self, ref: Ref, place: Place, expected: int, target: Target) -> Claim | Taken:
        """Put the claim beside the letter, in place of the one at `expected` (0: none is there)."""
        token = uuid4().hex
        headers = {
            _LAST_SEQ: str(target.last_seq),
            _TOKEN: token,
            _STREAM: place.stream,
            "Smith-Replay-By": f"{socket.gethostname()}:{os.getpid()}",
        }
        subject = self._store.subject(f"{ref.id}.{ref.position}", CLAIM)
        try:
            stored = await compare_and_set(
                self._session, self._store.stream, subject, ref.key.encode(), expected=expected, headers=headers
            )
        except QueueFull as error:
            raise QueueFull(
                f"stream {self._store.stream} is full, and a replay needs a little room there for each letter until it is "
                f"removed: discard a letter that is no longer needed, or raise max_bytes of the stream",
                err_code=error.err_code,
                code=error.code,
                stream=error.stream,
                subject=error.subject,
                msg_id=error.msg_id,
            ) from error
        return stored if isinstance(stored, Taken) else Claim(position=stored, token=token, is_own=True)

    async def _judge(self, ref: Ref, place: Place, claim: StoredMessage) -> Replayed | int | Claim:
        """Decide about an earlier claim.

        Returns the outcome, or the claim's position if it is to be replaced, or the claim to
        publish beside it.
        """
        letter = await self._letter(ref)
        if letter is None:
            return Replayed(id=ref.id, outcome="gone")
        after, token = read_number(claim.headers.get(_LAST_SEQ, "")), claim.headers.get(_TOKEN, "")
        # of another letter (the stream was deleted and created again since), or not of a replay
        if claim.data != ref.key.encode() or after is None or not token:
            return claim.seq
        if claim.headers.get(_STREAM, place.stream) != place.stream:  # the number of shards was changed since
            return claim.seq if self._force else Replayed(id=ref.id, outcome="in_doubt")
        target = await read_target(self._session, place.stream)
        claimed = datetime.fromisoformat(claim.time)
        if target.is_fresh(claimed):
            return Claim(position=claim.seq, token=token, is_own=False)
        nothing_since = target.last_seq == after
        if target.created < claimed and not nothing_since and await self._is_stored(ref, place, letter, token, after):
            await self._store.remove(ref.position)
            return Replayed(id=ref.id, outcome="finished")
        if nothing_since or target.lost_nothing(claimed, after) or self._force:
            return claim.seq
        return Replayed(id=ref.id, outcome="in_doubt")

    async def _is_stored(self, ref: Ref, place: Place, letter: StoredMessage, token: str, after: int) -> bool:
        """Whether the stream holds the message behind sequence `after`."""
        seq, msg_id = after + 1, replay_id(ref.key, token)
        while True:
            try:
                found = await self._session.api.next_message(place.stream, seq, place.pattern)
            except MessageNotFound:
                return False
            if found.headers.get(MSG_ID) == msg_id and found.data == letter.data:
                return True
            seq = found.seq + 1

    async def _publish(self, ref: Ref, place: Place, stored: StoredMessage, target: Target, claim: Claim) -> Replayed | None:
        """Publish it and remove the letter. None if the claim is to be replaced: it was forged."""
        letter = of_stored(stored)
        headers = {
            **letter.headers,
            REPLAY_OF: letter.id,
            REPLAY_FIRST: letter.first_letter or letter.id,
            REPLAY_COUNT: str(letter.replays + 1),
            REPLAY_KEY: replay_key(letter, stored.headers),
            "Nats-Expected-Stream": place.stream,
        }
        timeout = min(self._session.publish_timeout, target.share)
        msg_id = replay_id(ref.key, claim.token)
        try:
            ack = await self._session.publish(
                place.subject,
                letter.payload,
                stream=place.stream,
                msg_id=msg_id,
                headers=headers,
                timeout=timeout,
                shard=place.shard,
            )
        except PublishUnconfirmed as error:
            if not error.may_be_stored and claim.is_own:
                await self._store.remove(claim.position)
            raise
        except (JetStreamError, OptionsError, PermissionDenied):
            if claim.is_own:
                await self._store.remove(claim.position)
            raise
        if ack.duplicate and not await self._is_there(place, ack.seq, stored):
            return None
        await self._store.remove(ref.position)
        fate: Fate = "finished" if ack.duplicate else "replayed"
        return Replayed(id=ref.id, outcome=fate, seq=ack.seq, moved_to=_moved(ref, place))

    async def _is_there(self, place: Place, seq: int, letter: StoredMessage) -> bool:
        """Whether the message at `seq`, which has the replay's id, is the replayed one.

        One that was taken from a work queue since is: only a reader of claims knows the id.
        """
        try:
            there = await self._session.api.message(place.stream, seq)
        except MessageNotFound:
            return True
        return covers(place.pattern, there.subject) and there.data == letter.data


def _moved(ref: Ref, place: Place) -> str | None:
    return None if place.subject == ref.subject else place.subject


def _failed(ref: Ref, error: SmithError) -> Replayed:
    return Replayed(id=ref.id, outcome="failed", error=f"{type(error).__name__}: {error}")
