"""What an operator allows for one pull of a consumer, beyond what its contract declares.

The server tells a limit only when it refuses a pull for it, so readers learn it from that. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .api import NANOS

_EXCEEDED: Final = re.compile(r"Exceeded MaxRequest(Batch|Expires|MaxBytes) of (\S+)$")
_DURATION: Final = re.compile(r"([\d.]+)(h|ms|m|s|µs|us|ns)")  # as Go writes one: 1m30s, 1.5s, 500ms
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_MARGIN: Final = 1e-6
"""Seconds below the server's limit, for what is lost between its nanoseconds and a float."""
MAX_PULLS: Final = 16
"""Pulls made at once where each is bounded: all readers of a consumer have `max_waiting` (512
unless declared) together."""


class PullLimits:
    """The limits for the pulls of one consumer; None: none is known. Shared by its readers."""

    __slots__ = ("batch", "expires", "is_looked_up", "max_bytes", "pulls")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The consumer is another one: nothing is known of it."""
        self.batch: int | None = None
        """Messages of one pull."""
        self.expires: float | None = None
        """Seconds that a pull lives."""
        self.max_bytes: int | None = None
        """Bytes of one pull."""
        self.pulls = MAX_PULLS
        """Pulls that one reader has outstanding at once, if each is bounded."""
        self.is_looked_up = False
        """Whether the consumer's config was requested."""

    def learn(self, description: str) -> bool | None:
        """Take over the limit that a refused pull has exceeded.

        Whether it is a new one; None if `description` names no limit.
        """
        found = _EXCEEDED.search(description)
        value = None if found is None else _seconds(found[2]) if found[1] == "Expires" else _whole(found[2])
        if found is None or not value:
            return None
        return self._lower({"Batch": "batch", "Expires": "expires", "MaxBytes": "max_bytes"}[found[1]], value)

    def learn_from(self, config: Mapping[str, Any]) -> None:
        """Take over the limits of a consumer's config, as the server has it."""
        for name in ("batch", "max_bytes"):
            if limit := config.get("max_batch" if name == "batch" else name):
                self._lower(name, limit)
        if expires := config.get("max_expires"):
            self._lower("expires", expires / NANOS)
        self.pulls = min(MAX_PULLS, config.get("max_waiting") or MAX_PULLS)

    def _lower(self, name: str, value: float) -> bool:
        now = getattr(self, name)
        if now is not None and now <= value:
            return False
        setattr(self, name, value)
        return True

    def batch_within(self, declared: int | None) -> int | None:
        """Messages of one pull, if the contract declares `declared`."""
        return _least(declared, self.batch)

    def expires_within(self, wanted: float) -> float:
        """Seconds that a pull may live, if it is to live `wanted`."""
        return wanted if self.expires is None else min(wanted, self.expires - _MARGIN)

    def describe(self) -> str:
        """The limits as the server's config has them."""
        found = {"max_batch": self.batch, "max_expires": self.expires, "max_bytes": self.max_bytes}
        return ", ".join(f"{name}={value:g}" for name, value in found.items() if value is not None)


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _seconds(text: str) -> float:
    """The seconds of a duration as Go writes it; 0 if it is not one."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return 0.0
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
