"""Releasing quarantined intents: each goes back through admission, once in effect.

First the audit trail gets an event that says so, then the raw stream gets the intent's bytes, then
the record is removed. A release that is interrupted leaves the record, and is run again: it finds
its event, and may publish a second copy of the raw message, which admission drops by that event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from math import inf
from time import monotonic
from typing import Final, Literal
from uuid import uuid4

from .. import subjects
from .._core.dead_letters.task_pool import TaskPool
from .._core.foreign_text import one_line
from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.monitoring.control import BUCKET, SWITCHES, Switch, read_switch
from ..display import Record
from ..errors import MessageNotFound, OptionsError, PublishError, PublishUnconfirmed, QueueFull, StreamNotFound
from .decision_headers import AT, BY, COUNT, RELEASE, RULE
from .quarantine_records import QuarantineRecord, QuarantineRecords
from .release_events import KeptIntent, settle

_RAW: Final = str(subjects.intents.raw.STREAM)

_LOOK: Final = 1.0
"""Seconds between two looks whether back pressure is on."""

Fate = Literal["released", "finished", "gone", "failed", "refused", "planned"]


class Released(Record, frozen=True, kw_only=True):
    """The outcome of one record of a release.

    `outcome` is one of:

    - "released": published to the raw stream as `seq`
    - "finished": released by an earlier call that was interrupted, or by another one beside this
    - "gone": discarded, or released by another caller before
    - "failed": `error` says why; the record stays
    - "refused": it cannot be released, as `error` says; the record stays
    - "planned": a dry run would release it

    `expired`: its intent had expired, so admission denies it.
    """

    id: str
    outcome: Fate
    seq: int | None = None
    expired: bool = False
    error: str = ""


class ReleaseReport(Record, frozen=True, kw_only=True):
    """The outcome of a release: how many records had each outcome, and which need attention.

    `expired` counts those of `released`, `finished` and `planned` that had expired. `stopped` is ""
    unless the release has left the others where they are: because back pressure is on, as it says.
    """

    released: int
    finished: int
    gone: int
    planned: int
    expired: int
    failed: tuple[Released, ...]
    refused: tuple[Released, ...]
    stopped: str


class ReleaseRun:
    """One release. `force`: also while back pressure is on."""

    def __init__(
        self, records: QuarantineRecords, by: str, *, force: bool, progress: Callable[[Released], object] | None
    ) -> None:
        self._records = records
        self._session = records.session
        self._by = by
        self._force = force
        self._progress = progress
        self._ends: list[Released] = []
        self._counts: Counter[str] = Counter()
        self._looked = -inf
        self._stopped = ""

    async def run(
        self, pages: AsyncGenerator[Sequence[QuarantineRecord], None], *, rate: float | None, limit: int | None, dry_run: bool
    ) -> ReleaseReport:
        left = inf if limit is None else limit
        async with aclosing(pages) as reading, TaskPool(None if dry_run else rate) as pool:
            async for page in reading:
                for record in page:
                    if left <= 0 or (not dry_run and await self._must_stop()):
                        break
                    left -= 1
                    await pool.run(self._end(record, dry_run))
                if left <= 0 or self._stopped:
                    break
        return ReleaseReport(
            released=self._counts["released"],
            finished=self._counts["finished"],
            gone=self._counts["gone"],
            planned=self._counts["planned"],
            expired=self._counts["expired"],
            failed=tuple(one for one in self._ends if one.outcome == "failed"),
            refused=tuple(one for one in self._ends if one.outcome == "refused"),
            stopped=self._stopped,
        )

    def missing(self, id: str) -> None:
        """Report a record that was chosen by its id and is not there."""
        self._note(Released(id=id, outcome="gone"))

    def _note(self, outcome: Released) -> None:
        self._counts[outcome.outcome] += 1
        self._counts["expired"] += outcome.expired
        if outcome.outcome in ("failed", "refused"):
            self._ends.append(outcome)
        if self._progress is not None:
            self._progress(outcome)

    async def _must_stop(self) -> bool:
        """Whether back pressure is on: what is released would raise it."""
        if not self._force and monotonic() - self._looked > _LOOK:
            self._looked = monotonic()
            switch = await pressure(self._session)
            if switch is not None:
                self._stopped = f"back pressure is on, by rule {switch.rule}: {switch.reason}"
        return bool(self._stopped)

    async def _end(self, record: QuarantineRecord, dry_run: bool) -> None:
        expired = record.is_expired
        if record.problem:
            outcome = Released(id=record.id, outcome="refused", error=record.problem)
        elif dry_run:
            outcome = Released(id=record.id, outcome="planned", expired=expired)
        else:
            try:
                outcome = await self._release(record, expired)
            except (QueueFull, PublishUnconfirmed):
                raise  # about the stream rather than this record: the next one would fare no better
            except (OptionsError, PublishError) as error:
                outcome = Released(id=record.id, outcome="failed", error=f"{type(error).__name__}: {error}")
        self._note(outcome)

    async def _release(self, record: QuarantineRecord, expired: bool) -> Released:
        settled = await settle(self._session, kept_intent(record), "released", self._by)
        seq = None
        if settled.fate == "released":
            seq = await self._publish(record, settled.seq)
        await self._records.remove(record.position)
        if settled.fate == "discarded":
            return Released(id=record.id, outcome="gone")
        return Released(id=record.id, outcome="released" if settled.is_own else "finished", seq=seq, expired=expired)

    async def _publish(self, record: QuarantineRecord, event: int) -> int:
        """Publish the raw message of the release with that `event`. Returns its sequence."""
        headers = {
            **record.headers,
            RELEASE: str(event),
            RULE: one_line(record.rule),
            AT: record.time.isoformat(),
            BY: one_line(self._by),
            COUNT: str(record.releases + 1),
        }
        key = f"release.{event}"
        while True:
            msg_id = f"{record.subject}:{key}:{record.intent_id}"
            ack = await self._session.publish(record.subject, record.payload, stream=_RAW, msg_id=msg_id, headers=headers)
            if not ack.duplicate or await self._is_ours(ack.seq, record):
                return ack.seq
            key = f"{key}.{uuid4().hex}"  # another program has taken the id; admission drops a copy

    async def _is_ours(self, seq: int, record: QuarantineRecord) -> bool:
        try:
            there = await self._session.api.message(_RAW, seq)
        except MessageNotFound:
            return False
        return there.subject == record.subject and there.data == record.payload


async def pressure(session: Session) -> Switch | None:
    """What switches the quarantine on now; None if nothing does."""
    try:
        found = await Bucket(session, BUCKET).list(SWITCHES)
    except StreamNotFound:
        return None
    return read_switch(found[0]) if found else None


def kept_intent(record: QuarantineRecord) -> KeptIntent:
    return KeptIntent(
        intent_id=str(record.intent_id),
        place=record.place,
        digest=record.sha256,
        rule=record.rule or "unknown",
        reason=record.reason,
        event=record.event,
        count=record.releases,
    )
