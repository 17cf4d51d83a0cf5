"""Options: frozen, keyword-only, validated when they are built. Durations are seconds (`float`) or a `timedelta`."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, cast

from .errors import OptionsError

__all__ = ["Auth", "Backoff", "RetryPolicy"]

Duration = float | timedelta

DEFAULT_URL: Final = "nats://127.0.0.1:4222"


def seconds(name: str, value: Duration, *, zero: bool = False) -> float:
    """`value` in seconds; raises `OptionsError` naming `name` unless it is finite and positive (or zero, where that is allowed)."""
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value)
    else:
        raise OptionsError(f"{name}={value!r}: a duration is seconds as a float, or a timedelta")
    if not (0 <= number < float("inf")) or (number == 0 and not zero):
        raise OptionsError(f"{name}={value!r}: a duration is a finite number of seconds {'of 0 or more' if zero else 'above 0'}")
    return number


def whole(name: str, value: int, *, least: int = 1) -> int:
    """`value` itself; raises `OptionsError` naming `name` unless it is an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionsError(f"{name}={value!r}: a whole number of {least} or more is needed")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Exponential backoff with jitter: one type for redelivery delays, publish retries and reconnects.

    Attempt n (from 1) waits `initial * multiplier**(n-1)` seconds, at most `max`; `jitter` is the share of that which is drawn at
    random: 1.0 is "full jitter" (anything from 0 to the whole), 0.0 none.
    """

    initial: Duration = 0.5
    max: Duration = 60.0
    multiplier: float = 2.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        initial, most = seconds("Backoff.initial", self.initial), seconds("Backoff.max", self.max)
        if most < initial:
            raise OptionsError(f"Backoff.max={self.max!r} is below Backoff.initial={self.initial!r}")
        if not 1 <= self.multiplier < float("inf"):
            raise OptionsError(f"Backoff.multiplier={self.multiplier!r}: 1 or more is needed")
        if not 0 <= self.jitter <= 1:
            raise OptionsError(f"Backoff.jitter={self.jitter!r}: a share from 0 to 1 is needed")
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "max", most)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th try (from 1) has failed."""
        initial, most = cast("float", self.initial), cast("float", self.max)  # `__post_init__` made them seconds
        try:
            whole_delay = min(most, initial * self.multiplier ** (max(attempt, 1) - 1))
        except OverflowError:
            whole_delay = most
        return whole_delay * (1 - self.jitter * random.random())


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How a worker treats a handler that raises: up to `max_attempts` runs (-1: without end), `backoff` between them."""

    max_attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        if self.max_attempts != -1:
            whole("RetryPolicy.max_attempts", self.max_attempts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """What to show the server. Nothing of it appears in a repr; files are read by nats-py at each connect.

    `user` and `password`, or `token`, or `creds` (path of a .creds file), or `nkey_seed` (path of a file with an NKey seed).
    """

    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    creds: str | os.PathLike[str] | None = None
    nkey_seed: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise OptionsError("Auth: user and password go together")
        ways = [name for name in ("user", "token", "creds", "nkey_seed") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise OptionsError(f"Auth: one way at a time, not {' and '.join(ways)}")


def server_urls(url: str | Sequence[str] | None) -> list[str]:
    """The servers to connect to: `url` as given, else SMITH_NATS_URL, else NATS_URL, else the local default.

    A string may list several, separated by commas.
    """
    if url is None:
        url = os.environ.get("SMITH_NATS_URL") or os.environ.get("NATS_URL") or DEFAULT_URL
    urls = [part.strip() for part in url.split(",")] if isinstance(url, str) else list(url)
    if not urls or not all(urls):
        raise OptionsError("url: at least one server is needed, such as nats://127.0.0.1:4222")
    return urls
