"""Options: frozen, keyword-only, validated when they are built.

Durations are seconds (int or float) or a `timedelta`.
"""

from __future__ import annotations

import os
import random
import re
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, cast

from .errors import OptionsError

__all__ = ["Auth", "Backoff", "Once", "RateLimit", "RetryPolicy", "TLSFiles"]

Duration = float | timedelta

WhenDown = Literal["wait", "fail", "store"]
"""What a publish does while its stream cannot be reached."""

_BUCKET: Final = re.compile("[A-Za-z0-9_-]+")
DEFAULT_URL: Final = "nats://127.0.0.1:4222"
_PREFIX: Final = re.compile(r"[^\s.*>\x00-\x1f\x7f]+(?:\.[^\s.*>\x00-\x1f\x7f]+)*")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def to_seconds(name: str, value: Duration, *, zero: bool = False) -> float:
    """`value` in seconds. Raises `OptionsError` naming `name` unless it is finite and above 0.

    With `zero`, 0 is allowed, too.
    """
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif _is_number(value):
        number = float(value)
    else:
        raise OptionsError(f"{name}={value!r}: must be a duration: seconds as a float, or a timedelta")
    if not (0 <= number < float("inf")) or (number == 0 and not zero):
        raise OptionsError(f"{name}={value!r}: must be a finite number of seconds, {'0 or more' if zero else 'above 0'}")
    return number


def positive_int(name: str, value: int, *, least: int = 1) -> int:
    """`value`. Raises `OptionsError` naming `name` unless it is an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionsError(f"{name}={value!r}: must be a whole number of at least {least}")
    return value


def share(name: str, value: float) -> float:
    """`value`. Raises `OptionsError` naming `name` unless it is a number above 0 and up to 1."""
    if not (_is_number(value) and 0 < value <= 1):
        raise OptionsError(f"{name}={value!r}: must be a number above 0 and up to 1")
    return float(value)


def exception_classes(name: str, value: type[Exception] | tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    """`value` as a tuple. Raises `OptionsError` naming `name` unless all are classes of
    `Exception`."""
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise OptionsError(f"{name}={value!r}: must be an exception class, or a tuple of them, each an Exception")
    return kinds


def subject_prefix(name: str, value: str, *, tokens: bool = True) -> str:
    """`value`. Raises `OptionsError` naming `name` unless subjects can begin with it.

    Without `tokens` it must be a single token.
    """
    text: Any = value  # callers without a type checker may pass anything
    whole = isinstance(text, str) and _PREFIX.fullmatch(text) is not None
    if not whole or (not tokens and "." in text):
        what = "tokens joined with dots" if tokens else "one token"
        raise OptionsError(f"{name}={text!r}: must be {what}, without wildcards, white space or a dot at the end")
    return value


def format_duration(seconds: float) -> str:
    """Seconds as a spec writes them: "90s", "6h", "365d"."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or not seconds else f"{seconds * 1000:g}ms"


def format_size(count: int) -> str:
    """Bytes as a spec writes them: "10MiB"; with one decimal if it is not a whole number of a
    unit."""
    for unit, length in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count // length}{unit}" if count % length == 0 else f"{count / length:.1f}{unit}"
    return f"{count}B"


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Exponential backoff with jitter, for redelivery delays, publish retries and reconnects.

    The pause after failed attempt n, from 1, is `initial * multiplier ** (n - 1)`, at most `max`,
    less a random share of up to `jitter`. Raises `OptionsError` for an invalid value.
    """

    initial: Duration = 0.5
    """The pause after the first attempt, in seconds (or a timedelta); above 0."""
    max: Duration = 60.0
    """The longest pause, in seconds (or a timedelta); at least `initial`."""
    multiplier: float = 2.0
    """By how much each pause is longer than the one before; 1 or more."""
    jitter: float = 1.0
    """0 to 1. 1 is full jitter: a pause is anything from 0 to its whole length. 0 is none."""

    def __post_init__(self) -> None:
        initial, most = to_seconds("Backoff.initial", self.initial), to_seconds("Backoff.max", self.max)
        if most < initial:
            raise OptionsError(f"Backoff.max={self.max!r} is below Backoff.initial={self.initial!r}")
        if not (_is_number(self.multiplier) and 1 <= self.multiplier < float("inf")):
            raise OptionsError(f"Backoff.multiplier={self.multiplier!r}: must be a number of 1 or more")
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 1):
            raise OptionsError(f"Backoff.jitter={self.jitter!r}: must be a number from 0 to 1")
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "max", most)

    def delay(self, attempt: int) -> float:
        """Seconds (float) to wait after attempt number `attempt`, from 1, has failed."""
        # `__post_init__` made them seconds
        initial, most = cast("float", self.initial), cast("float", self.max)
        try:
            whole_delay = min(most, initial * self.multiplier ** (max(attempt, 1) - 1))
        except OverflowError:
            whole_delay = most
        return whole_delay * (1 - self.jitter * random.random())


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """What a worker does with a message whose handler raises: retry it, or dead-letter it.

    It is retried up to `max_attempts` if the error is one of `retry_on` and not one of `reject_on`;
    otherwise it is dead-lettered at once, as with `Reject`. Raises `OptionsError` for an invalid
    value.
    """

    max_attempts: int = 5
    """How often the handler runs at most, 1 or more; -1 for no limit."""
    backoff: Backoff = field(default_factory=Backoff)
    """The pauses between the attempts."""
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    """Exception classes to retry."""
    reject_on: tuple[type[BaseException], ...] = ()
    """Exception classes to dead-letter at once, also if `retry_on` has a base class of theirs."""

    def __post_init__(self) -> None:
        if self.max_attempts != -1:
            positive_int("RetryPolicy.max_attempts", self.max_attempts)
        if not isinstance(self.backoff, Backoff):
            raise OptionsError(f"RetryPolicy.backoff={self.backoff!r}: must be a Backoff, such as Backoff(initial=0.5, max=60)")
        for name in ("retry_on", "reject_on"):
            kinds = getattr(self, name)
            if not isinstance(kinds, tuple) or not all(
                isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
            ):
                raise OptionsError(f"RetryPolicy.{name}={kinds!r}: must be a tuple of exception classes")

    def allows(self, error: BaseException, attempt: int) -> bool:
        """Whether a message has another attempt after attempt number `attempt` raised `error`."""
        return not 0 < self.max_attempts <= attempt and isinstance(error, self.retry_on) and not isinstance(error, self.reject_on)


@dataclass(frozen=True, kw_only=True, slots=True)
class Once:
    """Where a worker keeps what it has run: `Worker(once=Once(...))`.

    A key of a key-value bucket for each message, by its `idempotency_key`: while its handler runs,
    and for `ttl` after that, no other delivery of it runs. The contract declares the bucket, as the
    stream `KV_{bucket}`. Raises `OptionsError` for an invalid value.
    """

    bucket: str
    """The name of the bucket: letters, digits, `-` and `_`."""
    ttl: Duration
    """Seconds (or a timedelta) for which what has run is remembered; at least `lease`."""
    lease: Duration = 30.0
    """Seconds (or a timedelta; 1 or more) after which another worker may run a message whose own
    worker has died. A living worker renews it every third of that."""

    def __post_init__(self) -> None:
        bucket: object = self.bucket  # callers without a type checker may pass anything
        if not isinstance(bucket, str) or not _BUCKET.fullmatch(bucket):
            raise OptionsError(f"Once.bucket={bucket!r}: must be the name of a key-value bucket: letters, digits, - and _")
        lease, ttl = to_seconds("Once.lease", self.lease), to_seconds("Once.ttl", self.ttl)
        if lease < 1:
            raise OptionsError(f"Once.lease={self.lease!r}: must be at least 1 second, the shortest time that a bucket knows")
        if ttl < lease:
            raise OptionsError(f"Once.ttl={self.ttl!r} is below Once.lease={self.lease!r}")
        object.__setattr__(self, "lease", lease)
        object.__setattr__(self, "ttl", ttl)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many handlers a worker starts: at most `count` in `per` seconds, in the long run.

    They may start together as long as `burst` is not used up; so in a given span of `per` seconds
    at most `count` + `burst` start. Each worker of a process has a limit of its own. Raises
    `OptionsError` for an invalid value.
    """

    count: int
    """Handlers that start in `per` seconds; 1 or more."""
    per: Duration = field(default=1.0, kw_only=True)
    """Seconds (or a timedelta)."""
    burst: int | None = field(default=None, kw_only=True)
    """How many may start together after a pause, 1 or more; None for `count`. With 1 they start
    evenly."""

    def __post_init__(self) -> None:
        positive_int("RateLimit.count", self.count)
        object.__setattr__(self, "per", to_seconds("RateLimit.per", self.per))
        if self.burst is not None:
            positive_int("RateLimit.burst", self.burst)

    @property
    def per_second(self) -> float:
        """Handlers that start in a second."""
        return self.count / cast("float", self.per)


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """How to sign in to the server: in one of four ways. No secret appears in its repr.

    Raises `OptionsError` for a user without a password, and for more than one way.
    """

    user: str | None = field(default=None, repr=False)
    """Together with `password`."""
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    creds: str | os.PathLike[str] | None = None
    """Path of a .creds file (a JWT and an NKey seed). It is read at each connect, so that a renewed
    file is used. Needs the extra `signing`."""
    nkey_seed: str | os.PathLike[str] | None = None
    """Path of a file with an NKey seed. Read at each connect; needs the extra `signing`."""

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise OptionsError("Auth: user and password go together")
        ways = [name for name in ("user", "token", "creds", "nkey_seed") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise OptionsError(f"Auth: give one way to sign in, not {' and '.join(ways)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TLSFiles:
    """Files for TLS, each in PEM format. For anything else, pass an `ssl.SSLContext` instead.

    Raises `OptionsError` for a `cert` without a `key`, or the other way round.
    """

    ca: str | os.PathLike[str] | None = None
    """Path of the certificates to trust; None for those of the system."""
    cert: str | os.PathLike[str] | None = None
    """Path of the client certificate, with its chain."""
    key: str | os.PathLike[str] | None = None
    """Path of the private key of `cert`, not encrypted."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise OptionsError("TLSFiles: cert and key go together")

    def context(self) -> ssl.SSLContext:
        """An `ssl.SSLContext` with these files. Raises `OptionsError` naming a file it cannot
        read."""
        try:
            made = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # also ssl.SSLError, a subclass
            raise OptionsError(f"TLSFiles: ca={os.fspath(self.ca or '')}: {error.strerror}") from None
        if self.cert is not None and self.key is not None:
            try:
                # otherwise OpenSSL asks for one at the terminal
                made.load_cert_chain(self.cert, self.key, password="")
            except OSError as error:
                files = f"cert={os.fspath(self.cert)}, key={os.fspath(self.key)}"
                raise OptionsError(f"TLSFiles: {files}: {error.strerror or error}") from None
        return made


def server_urls(url: str | Sequence[str]) -> list[str]:
    """The servers in `url`: a string may list several, separated by commas.

    Raises `OptionsError` if there are none, or if one is not a str.
    """
    given: Any = url  # callers without a type checker may pass anything
    urls = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    # the value is not shown: it may have a password
    if not all(isinstance(one, str) for one in urls):
        raise OptionsError("url: must be a str, or a sequence of str")
    if isinstance(url, str):
        urls = [one.strip() for one in urls]
    if not urls or not all(urls):
        raise OptionsError("url: must have at least one server, such as nats://127.0.0.1:4222")
    return urls
