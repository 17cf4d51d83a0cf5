"""Values of options: times, durations and positive numbers, each refused in words of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST: Final = timedelta(days=365 * 100)


def duration(text: str) -> timedelta | None:
    """ "45s", "1h30m", "2d"; None for anything else."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return timedelta(seconds=seconds) if seconds <= _LONGEST.total_seconds() else None


def moment(text: str) -> datetime | None:
    """A time, local without a zone; or how long ago. None for anything else."""
    passed = duration(text)
    if passed is not None:
        return datetime.now(UTC) - passed
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None


def _duration(_: Any, tokens: Sequence[Token]) -> timedelta:
    found = duration(tokens[0].value)
    if found is None:
        raise ValueError(f'"{tokens[0].value}" is not a duration; pass one such as 45s, 10m, 1h30m or 2d')
    return found


def _seconds(_: Any, tokens: Sequence[Token]) -> float:
    text = tokens[0].value
    found = duration(f"{text}s") or duration(text)
    if not found:
        raise ValueError(f'"{text}" is not a time above 0; pass seconds such as 30, or a duration such as 500ms or 2m')
    return found.total_seconds()


def _moment(_: Any, tokens: Sequence[Token]) -> datetime:
    found = moment(tokens[0].value)
    if found is None:
        raise ValueError(
            f'"{tokens[0].value}" is not a time; pass one such as 2026-01-31T12:00 (local, or with a zone such as Z), '
            f"or how long ago, such as 45s, 2h or 1d"
        )
    return found


Duration = Annotated[timedelta, Parameter(converter=_duration, n_tokens=1)]
"""An option whose value is a duration."""
Seconds = Annotated[float, Parameter(converter=_seconds, n_tokens=1)]
"""An option whose value is seconds, or a duration; above 0."""
Moment = Annotated[datetime, Parameter(converter=_moment, n_tokens=1)]
"""An option whose value is a time, or how long ago: an aware datetime."""
MOMENT_HELP: Final = "2026-01-31T12:00, or 2h for so long ago."
