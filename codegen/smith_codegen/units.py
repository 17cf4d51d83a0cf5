"""Units in a spec: durations as "90s", sizes as "10MiB", times as RFC 3339, by name of the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

DURATIONS: Final = frozenset(
    (
        "ack_wait",
        "duplicate_window",
        "inactive_threshold",
        "limit_marker_ttl",
        "max_age",
        "max_expires",
        "pin_timeout",
        "priority_timeout",
        "subject_delete_marker_ttl",
        "ttl",
    )
)
SIZES: Final = frozenset(("fit", "max_bytes", "max_msg_size", "max_value_size"))
TIMES: Final = frozenset(("opt_start_time", "pause_until"))

_seconds: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_bytes: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def seconds(text: str) -> float:
    """`"90s"`, `"6h"`, `"365d"` in seconds; raises `ValueError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not match:
        raise ValueError(f"{text!r} is not a duration")
    return float(match[1]) * _seconds[match[2]]


def size(value: str | int) -> int:
    """`"500MiB"` or a plain number, in bytes; raises `ValueError`."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB|TiB)", value)
    if not match:
        raise ValueError(f"{value!r} is not a size")
    return int(match[1]) * _bytes[match[2]]


def moment(text: str) -> str:
    """`"2030-01-31T12:00:00Z"` or with an offset, as the same time in UTC; raises `ValueError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"{text!r} is not a time with a zone")
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


def reader(name: str) -> tuple[Callable[[Any], Any], str] | None:
    """The function that reads a key called `name`, and an example; None if the key has no unit."""
    if name in DURATIONS:
        return seconds, 'write a number and ms, s, m, h or d: "90s"'
    if name in SIZES:
        return size, 'write a number and B, KiB, MiB, GiB or TiB: "500MiB"'
    if name in TIMES:
        return moment, 'write it as RFC 3339: "2030-01-31T12:00:00Z"'
    return None
