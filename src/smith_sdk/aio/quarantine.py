"""The quarantine: intents that wait for a person's or a rule's word. `bus.quarantine`."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final
from uuid import uuid4

from .. import subjects
from .._core import codec
from .._core.dead_letters.task_pool import TaskPool
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..display import FixedRows
from ..errors import OptionsError
from ..options import positive_int
from ..protocol import EventType, SecurityEvent
from .quarantine_records import (
    STREAM,
    QuarantineRecord,
    QuarantineRecords,
    RecordFilters,
    require_chosen,
    valid_record_id,
)
from .quarantine_release import Released, ReleaseReport, ReleaseRun, kept_intent
from .release_events import settle

__all__ = ["QuarantineRecord", "QuarantinedIntents", "ReleaseReport", "Released"]

log: Final = sdk_logger("admission")

EVENT_TYPE: Final = "quarantine_discarded"
_NAMED: Final = 100
"""Positions of discarded records that one event names."""


class QuarantinedIntents:
    """What admission has quarantined: `bus.quarantine`.

    Records are chosen by `rule` ("backpressure", or the rule of a policy), by `capability` and
    `intent_id`, by `expired` (True: only expired intents, False: only others), and by the time when
    they were quarantined: at `since` or later, before `until` (datetimes with a time zone).

    To release and to discard takes the right to publish on `smith.audit.policy.>`, which is the
    right to decide about intents: see the role `quarantine-operator`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._records = QuarantineRecords(session)

    # ---- reading

    async def list(
        self,
        *,
        rule: str | None = None,
        capability: str | None = None,
        intent_id: str | None = None,
        expired: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> FixedRows[QuarantineRecord]:
        """The oldest `limit` of the chosen records, with their payloads.

        For the next page pass the `position` of the last one as `after`; a page with fewer than
        `limit` is the last. Nothing is taken from the quarantine. Raises `StreamNotFound`, and
        `OptionsError` for an invalid filter, `after` or `limit`.
        """
        filters = RecordFilters(rule=rule, capability=capability, intent_id=intent_id, expired=expired, since=since, until=until)
        most, behind = positive_int("list(limit)", limit), positive_int("list(after)", after, least=0)
        found: list[QuarantineRecord] = []
        async with aclosing(self._records.pages(filters, after=behind)) as reading:
            async for page in reading:
                found += page
                if len(found) >= most:
                    break
        return FixedRows(found[:most])

    async def get(self, id: str) -> QuarantineRecord:
        """The record with that `id`. Raises `MessageNotFound`, and `OptionsError`."""
        return await self._records.at(valid_record_id(id))

    async def count(
        self,
        *,
        rule: str | None = None,
        capability: str | None = None,
        intent_id: str | None = None,
        expired: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """The number of chosen records. With filters each is read; without, the server counts."""
        filters = RecordFilters(rule=rule, capability=capability, intent_id=intent_id, expired=expired, since=since, until=until)
        if filters.is_empty:
            return int((await self._session.api.stream_info(STREAM))["state"]["messages"])
        total = 0
        async with aclosing(self._records.pages(filters)) as reading:
            async for page in reading:
                total += len(page)
        return total

    # ---- the way out

    async def release(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        rule: str | None = None,
        capability: str | None = None,
        intent_id: str | None = None,
        expired: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        rate: float | None = None,
        force: bool = False,
        by: str | None = None,
        dry_run: bool = False,
        progress: Callable[[Released], object] | None = None,
    ) -> ReleaseReport:
        """Put intents back into the raw stream, byte for byte, and remove their records.

        Releases those with `ids`, or the chosen ones that are there now, the oldest first, at most
        `limit` of them and at most `rate` a second. `until=datetime.now(UTC)` alone chooses all.

        Each passes admission again: signature, expiry and replay protection count as for any
        intent, and one that has expired is denied. Back pressure does not quarantine it again. The
        policy decides about it; where a policy's rule had quarantined it, the release is the
        answer to that, and a further `Quarantine` of the policy lets it through. The audit trail
        says who released it: `by`, by default this host and process.

        While back pressure is on, nothing is released, and the report's `stopped` says so; also if
        it comes on meanwhile. With `force` that does not count.

        An interrupted release can be run again, and two may run at once: each intent is let through
        at most once. `progress` is called in the event loop with the outcome of each record; it
        must return at once.

        A record that the raw stream refuses is reported as failed and stays. Raises an error that
        concerns all of them, once those that were begun are finished: `QueueFull` (the raw stream
        is full), `PublishUnconfirmed`, `StreamNotFound`, `TopologyRefused`, `PermissionDenied`,
        `BusClosed`, `OptionsError`. What was released before stays released.
        """
        filters = RecordFilters(rule=rule, capability=capability, intent_id=intent_id, expired=expired, since=since, until=until)
        chosen = require_chosen("release", ids, filters)
        if rate is not None and not 0 < rate < float("inf"):
            raise OptionsError(f"release(rate={rate!r}): intents per second, above 0")
        most = None if limit is None else positive_int("release(limit)", limit)
        run = ReleaseRun(self._records, _operator(by), force=force, progress=progress)
        return await run.run(self._records.chosen(chosen, run.missing), rate=rate, limit=most, dry_run=dry_run)

    async def discard(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        rule: str | None = None,
        capability: str | None = None,
        intent_id: str | None = None,
        expired: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: str | None = None,
        dry_run: bool = False,
        progress: Callable[[str], object] | None = None,
    ) -> tuple[str, ...]:
        """Delete records: those with `ids`, or the chosen ones that are there now.

        Returns the ids of those that were deleted, or with `dry_run` would be; one that is gone, or
        that was let through by a release before, is left out. The audit trail says for each intent
        that it was discarded, and by whom: `by`, by default this host and process. Bytes that are
        not an intent share one security event. `progress` is called in the event loop with each id.
        Raises `TopologyRefused` if the quarantine's stream has deny_delete, `StreamNotFound`,
        `OptionsError`, and what publishing raises.
        """
        filters = RecordFilters(rule=rule, capability=capability, intent_id=intent_id, expired=expired, since=since, until=until)
        chosen = require_chosen("discard", ids, filters)
        done: list[str] = []
        garbage: list[int] = []
        who = _operator(by)

        async def take(record: QuarantineRecord) -> None:
            if not dry_run:
                if record.intent_id is None:
                    garbage.append(record.position)
                elif (await settle(self._session, kept_intent(record), "discarded", who)).fate == "decided":
                    await self._records.remove(record.position)
                    return
                await self._records.remove(record.position)
            done.append(record.id)
            if progress is not None:
                progress(record.id)

        try:
            async with aclosing(self._records.chosen(chosen, lambda id: None)) as reading, TaskPool() as pool:
                async for page in reading:
                    for record in page:
                        await pool.run(take(record))
        finally:
            if done and not dry_run:
                log.info("%d records of the quarantine were discarded by %s", len(done), who, extra=_FIELDS)
            if garbage:
                await self._report(garbage, who)
        return tuple(sorted(done, key=int))

    async def _report(self, garbage: Sequence[int], who: str) -> None:
        """Publish the security event about discarded bytes that are not intents."""
        subject = subjects.audit.security(event_type=EventType(EVENT_TYPE))
        event = SecurityEvent.new(
            event_type=subject.event_type,
            severity="info",
            detail={"by": who, "discarded": len(garbage), "positions": list(garbage[:_NAMED])},
        )
        await self._session.publish(str(subject), codec.encode(event), stream=str(subject.STREAM), msg_id=uuid4().hex)


def _operator(by: str | None) -> str:
    """Who releases or discards. Raises `OptionsError` unless it is text."""
    if by is None:
        return f"{socket.gethostname()}:{os.getpid()}"
    if not isinstance(by, str) or not by.strip():
        raise OptionsError(f"by={by!r}: the name of a person or a program is needed")
    return by


_FIELDS: Final = LogFields(stream=STREAM)
