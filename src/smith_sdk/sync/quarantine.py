# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.quarantine`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from .._core.blocking.faces import Blocking
from ..aio.quarantine_records import QuarantineRecord
from ..aio.quarantine_release import Released, ReleaseReport
from ..display import FixedRows

__all__ = ["QuarantineRecord", "QuarantinedIntents", "ReleaseReport", "Released"]


class QuarantinedIntents(Blocking):
    """What admission has quarantined: `bus.quarantine`.

    Records are chosen by `rule` ("backpressure", or the rule of a policy), by `capability` and
    `intent_id`, by `expired` (True: only expired intents, False: only others), and by the time when
    they were quarantined: at `since` or later, before `until` (datetimes with a time zone).

    To release and to discard takes the right to publish on `smith.audit.policy.>`, which is the
    right to decide about intents: see the role `quarantine-operator`.
    """

    __slots__ = ()

    def list(
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
        found: FixedRows[QuarantineRecord] = self._portal.call(
            self._aio.list,
            rule=rule,
            capability=capability,
            intent_id=intent_id,
            expired=expired,
            since=since,
            until=until,
            after=after,
            limit=limit,
        )
        return found

    def get(self, id: str) -> QuarantineRecord:
        """The record with that `id`. Raises `MessageNotFound`, and `OptionsError`."""
        found: QuarantineRecord = self._portal.call(self._aio.get, id)
        return found

    def count(
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
        found: int = self._portal.call(
            self._aio.count, rule=rule, capability=capability, intent_id=intent_id, expired=expired, since=since, until=until
        )
        return found

    def release(
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
        found: ReleaseReport = self._portal.call(
            self._aio.release,
            ids,
            rule=rule,
            capability=capability,
            intent_id=intent_id,
            expired=expired,
            since=since,
            until=until,
            limit=limit,
            rate=rate,
            force=force,
            by=by,
            dry_run=dry_run,
            progress=progress,
        )
        return found

    def discard(
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
        found: tuple[str, ...] = self._portal.call(
            self._aio.discard,
            ids,
            rule=rule,
            capability=capability,
            intent_id=intent_id,
            expired=expired,
            since=since,
            until=until,
            by=by,
            dry_run=dry_run,
            progress=progress,
        )
        return found
