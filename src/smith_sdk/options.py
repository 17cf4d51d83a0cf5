"""Options: frozen, keyword-only, validated when they are built. Durations are seconds (`float`) or a `timedelta`."""

from __future__ import annotations

import os
import random
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, cast

from .errors import OptionsError

__all__ = ["Auth", "Backoff", "RetryPolicy", "TLSFiles"]

Duration = float | timedelta

DEFAULT_URL: Final = "nats://127.0.0.1:4222"


def to_seconds(name: str, value: Duration, *, zero: bool = False) -> float:
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


def positive_int(name: str, value: int, *, least: int = 1) -> int:
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
        initial, most = to_seconds("Backoff.initial", self.initial), to_seconds("Backoff.max", self.max)
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
    """How a worker treats a handler that raises: up to `max_attempts` runs (-1: without end), `backoff` between them.

    Only for what is one of `retry_on`, and none of `reject_on`: other errors are a dead letter at once, as with `Reject`.
    """

    max_attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    reject_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts != -1:
            positive_int("RetryPolicy.max_attempts", self.max_attempts)
        if not isinstance(self.backoff, Backoff):
            raise OptionsError(f"RetryPolicy.backoff={self.backoff!r}: a Backoff is needed, such as Backoff(initial=0.5, max=60)")
        for name in ("retry_on", "reject_on"):
            kinds = getattr(self, name)
            if not isinstance(kinds, tuple) or not all(
                isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
            ):
                raise OptionsError(f"RetryPolicy.{name}={kinds!r}: a tuple of exception classes is needed")

    def allows(self, error: BaseException, attempt: int) -> bool:
        """Whether a message whose `attempt`-th run ended with `error` is to have another."""
        return not 0 < self.max_attempts <= attempt and isinstance(error, self.retry_on) and not isinstance(error, self.reject_on)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """What to show the server. No secret appears in a repr; files are read at each connect, so renewed ones count.

    `user` and `password`, or `token`, or `creds` (path of a .creds file), or `nkey_seed` (path of a file with an NKey seed). The two
    kinds of file need the extra `signing`.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class TLSFiles:
    """Files (PEM) for TLS: `ca` to trust instead of the system's, `cert` and `key` to show. `key` must not be encrypted.

    For anything else, make an `ssl.SSLContext` and give that.
    """

    ca: str | os.PathLike[str] | None = None
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise OptionsError("TLSFiles: cert and key go together")

    def context(self) -> ssl.SSLContext:
        """The context for these files. Raises `OptionsError` naming the file that cannot be read."""
        try:
            made = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # ssl.SSLError is one
            raise OptionsError(f"TLSFiles: ca={os.fspath(self.ca or '')}: {error.strerror}") from None
        if self.cert is not None and self.key is not None:
            try:
                made.load_cert_chain(self.cert, self.key, password="")  # or OpenSSL would ask at the terminal
            except OSError as error:
                files = f"cert={os.fspath(self.cert)}, key={os.fspath(self.key)}"
                raise OptionsError(f"TLSFiles: {files}: {error.strerror or error}") from None
        return made


def server_urls(url: str | Sequence[str]) -> list[str]:
    """The servers in `url`: a string may list several, separated by commas."""
    given: Any = url  # not everything goes past a type checker
    urls = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(one, str) for one in urls):  # not shown: there may be a password in them
        raise OptionsError("url: a str, or a sequence of them, is needed")
    if isinstance(url, str):
        urls = [one.strip() for one in urls]
    if not urls or not all(urls):
        raise OptionsError("url: at least one server is needed, such as nats://127.0.0.1:4222")
    return urls
