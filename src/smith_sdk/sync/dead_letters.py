# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.dead_letters`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from .._core.blocking.faces import Blocking, BlockingIterator
from .._core.dead_letters.audit import Finding
from .._core.dead_letters.format import DeadLetter
from .._core.dead_letters.replay import Replayed, ReplayReport
from ..display import FixedRows

__all__ = ["DeadLetter", "DeadLetters", "Finding", "Findings", "ReplayReport", "Replayed"]


class DeadLetters(Blocking):
    """The dead letters of the bus's contract: `bus.dead_letters`.

    Letters are chosen by `stream` and `consumer` of the original, by `error_type` (the name of the
    exception's class), and by the time when they were stored: at `since` or later, before `until`
    (datetimes with a time zone).
    """

    __slots__ = ()

    def list(
        self,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        limit: int = 1000,
        newest_first: bool = False,
        before: int | None = None,
    ) -> FixedRows[DeadLetter]:
        """The oldest `limit` of the chosen dead letters, with their payloads; or the newest.

        For the next page pass the `position` of the last one as `after`, or with `newest_first` as
        `before`; a page with fewer than `limit` is the last. Raises `StreamNotFound`, and
        `OptionsError` for an invalid filter, `after`, `before` or `limit`.
        """
        found: FixedRows[DeadLetter] = self._portal.call(
            self._aio.list,
            stream=stream,
            consumer=consumer,
            error_type=error_type,
            since=since,
            until=until,
            after=after,
            limit=limit,
            newest_first=newest_first,
            before=before,
        )
        return found

    def get(self, id: str) -> DeadLetter:
        """The newest dead letter with the id `{stream}.{consumer}.{seq}`.

        Raises `MessageNotFound`, and `OptionsError` for an invalid id.
        """
        found: DeadLetter = self._portal.call(self._aio.get, id)
        return found

    def count(
        self,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> int:
        """The number of chosen letters.

        With `error_type` or `until` their headers are read, otherwise the server counts them.
        """
        found: int = self._portal.call(
            self._aio.count, stream=stream, consumer=consumer, error_type=error_type, since=since, until=until
        )
        return found

    def replay(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        rate: float | None = None,
        in_doubt: Literal["keep", "replay"] = "keep",
        dry_run: bool = False,
        progress: Callable[[Replayed], object] | None = None,
    ) -> ReplayReport:
        """Publish letters to their original subjects again, and remove them.

        Replays those with `ids`, or the chosen ones that are there now.
        `until=datetime.now(UTC)` alone chooses all. Every consumer whose filter matches gets the
        message, with its own headers and the trail: `Smith-Replay-Of` (this letter's id),
        `Smith-Replay-First` and `Smith-Replay-Count`. At most `rate` letters a second.

        An interrupted replay can be run again, and two may run at once; each letter is replayed at
        most once. If that cannot be guaranteed after a crash, the letter stays and is reported as
        in doubt (see `ReplayReport`), unless `in_doubt="replay"`. `progress` is called in the event
        loop with the outcome of each letter; it must return at once.

        A letter is published only to where it can have come from: a subject that its stream
        captures and its consumer takes, as the contract declares them. Others are reported as
        refused, also by a `dry_run`, and stay: any program that may publish to the subjects of dead
        letters can forge one. That a message was admitted before cannot be told from its letter.

        A letter that its stream refuses is reported as failed and stays. Raises an error that
        concerns all of them, once the letters that were begun are finished: `StreamNotFound` (the
        originals' stream no longer exists), `QueueFull`, `PublishUnconfirmed`, `TopologyRefused`
        (the stream of the letters has deny_delete), `PermissionDenied`, `BusClosed`,
        `OptionsError`. What was replayed before stays replayed.
        """
        found: ReplayReport = self._portal.call(
            self._aio.replay,
            ids,
            stream=stream,
            consumer=consumer,
            error_type=error_type,
            since=since,
            until=until,
            rate=rate,
            in_doubt=in_doubt,
            dry_run=dry_run,
            progress=progress,
        )
        return found

    def discard(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        stream: str | None = None,
        consumer: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        dry_run: bool = False,
        progress: Callable[[str], object] | None = None,
    ) -> tuple[str, ...]:
        """Delete letters: those with `ids`, or the chosen ones that are there now.

        Returns the ids of those that were deleted, or with `dry_run` would be. Letters that
        do not exist (any more) are left out. `progress` is called in the event loop with each id.
        Raises `TopologyRefused` if the letters' stream has deny_delete, `StreamNotFound`,
        `OptionsError`.
        """
        found: tuple[str, ...] = self._portal.call(
            self._aio.discard,
            ids,
            stream=stream,
            consumer=consumer,
            error_type=error_type,
            since=since,
            until=until,
            dry_run=dry_run,
            progress=progress,
        )
        return found

    def audit(self, *, repair: bool = False) -> FixedRows[Finding]:
        """Find messages that are stuck between a consumer of the contract and the dead letters.

        `Finding` lists what can be wrong. With `repair`, repair what can be repaired. Safe to
        repeat, and while workers run.
        """
        found: FixedRows[Finding] = self._portal.call(self._aio.audit, repair=repair)
        return found

    def watch(self, *, repair: bool = False) -> Findings:
        """Iterate over messages that the server gives up, beginning with those of the past.

        Reads the server's advisories from the stream that the contract declares for them. With
        `repair`, copies each message to the dead letters. An advisory is believed only if the
        server, asked about that consumer and that message, bears it out.
        """
        return Findings._wrap(self._portal, self._aio.watch(repair=repair))


class Findings(BlockingIterator[Finding]):
    """Messages that the server gives up: `bus.dead_letters.watch()`.

    Ends when it is stopped or the bus is closed.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """What it is, for people."""
        found: str = self._aio.name
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, as JSON can say it."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    def stop(self) -> None:
        """End the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)
