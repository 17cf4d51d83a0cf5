"""Health as values: checks, the report that they make, and since when each is as it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal

from msgspec.structs import replace

from ...display import Record

Health = Literal["ok", "degraded", "failing"]

_WORST: Final[dict[Health, int]] = {"ok": 0, "degraded": 1, "failing": 2}


class Check(Record, frozen=True, kw_only=True):
    """One thing that was looked at.

    `name` is what it is about: "connection", "stream SDLC_RAW", "consumer admission",
    "dead letters". `reason` says what was found, also where all is well; `remedy` what to do about
    it, empty where nothing is to be done. `since` (UTC) is when it began: by the server where that
    is known, else when this bus first saw it with this status.
    """

    name: str
    status: Health
    reason: str
    remedy: str = ""
    since: datetime | None = None


class HealthReport(Record, frozen=True, kw_only=True):
    """How the bus is. `status` is the worst of its `checks`: "ok", "degraded" or "failing"."""

    status: Health
    checks: tuple[Check, ...]

    @property
    def problems(self) -> tuple[Check, ...]:
        """The checks that are not "ok", the worst first."""
        found = [check for check in self.checks if check.status != "ok"]
        return tuple(sorted(found, key=lambda check: -_WORST[check.status]))


def report(checks: Iterable[Check]) -> HealthReport:
    found = tuple(checks)
    return HealthReport(status=worst(check.status for check in found), checks=found)


def worst(statuses: Iterable[Health]) -> Health:
    """The worst of `statuses`; "ok" if there is none."""
    found: Health = "ok"
    for status in statuses:
        if _WORST[status] > _WORST[found]:
            found = status
    return found


class Sightings:
    """Since when each check of a bus has had its status, as far as the bus has looked."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Health, datetime]] = {}

    def dated(self, checks: Iterable[Check], now: datetime) -> list[Check]:
        """`checks`, each with a `since`. What is not among them any more is forgotten."""
        before, self._seen = self._seen, {}
        found = []
        for check in checks:
            status, since = before.get(check.name, (None, now))
            since = since if status == check.status else now
            self._seen[check.name] = (check.status, since)
            found.append(check if check.since is not None else replace(check, since=since))
        return found
