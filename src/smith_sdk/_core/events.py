"""Events: what a bus reports to its observers of publishes, deliveries, verdicts and connection.

`Observer` is both the protocol and its no-op. A bus without observers pays one truth test per
message: an event is built only where `if events:` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Literal

import msgspec

from .log_records import sdk_logger

log: Final = sdk_logger("events")

VerdictName = Literal["ack", "retry", "dead_letter", "release"]
CircuitState = Literal["closed", "open", "half-open"]

# Without gc=False where an event has an error: the error's traceback may lead back to the event.


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A JetStream publish has ended: acknowledged (`error` is None), or with `error`.

    An `asyncio.CancelledError` means that the caller stopped waiting: the message may be stored.
    """

    subject: str
    stream: str | None
    """The stream that is to store it; None if the caller expects no particular one."""
    msg_id: str
    size: int
    """Bytes of the payload."""
    seconds: float
    """Since the call, waiting for room in the window included."""
    error: BaseException | None = None
    duplicate: bool = False
    """The stream had stored it before, under the same `msg_id`."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker has received a message."""

    stream: str
    consumer: str
    subject: str
    seq: int
    """The message's sequence in its stream, from 1."""
    attempt: int
    """Which delivery this is, from 1, as the server counts them."""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A worker has settled a message.

    "ack": done. "retry": nak'ed, for another attempt. "dead_letter": copied to the dead letters and
    terminated. "release": no verdict; it is redelivered after a nak or its ack wait.
    """

    stream: str
    consumer: str
    subject: str
    seq: int
    """The message's sequence in its stream, from 1."""
    attempt: int
    """Which delivery this was, from 1."""
    verdict: VerdictName
    seconds: float
    """Since the worker received it."""
    error: BaseException | None = None
    """What its handler raised."""


class CircuitChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A circuit breaker has changed its state."""

    name: str
    old: CircuitState
    new: CircuitState
    reason: str
    """Why, in one line: "12 of 20 calls within 30 s failed"."""
    until: float | None = None
    """If it is open now: when the next call may be made, on the clock of `time.monotonic`."""


class RuleChanged(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A rule of back pressure has begun to hold, or holds no more."""

    rule: str
    active: bool
    """Whether it holds now."""
    reason: str
    """The figures that decided, in one line: "lag of admission is 12,345, above 10,000"."""
    since: datetime
    """When it began (UTC)."""
    is_owner: bool
    """Whether this process does what is for all of them. Of several that run the rule, one does."""


class Observer:
    """Receives the events of a bus. Override what matters.

    The methods are called inside the bus's event loop, and must return at once. An exception from
    one is logged, and changes nothing for the message or for other observers.
    """

    def on_published(self, event: Published) -> None:
        """A JetStream publish has ended."""

    def on_delivered(self, event: Delivered) -> None:
        """A worker has received a message."""

    def on_settled(self, event: Settled) -> None:
        """A worker has settled a message."""

    def on_state(self, state: str, reason: str) -> None:
        """The connection's state has changed; `reason` says why, without credentials."""

    def on_circuit(self, event: CircuitChanged) -> None:
        """A circuit breaker of the bus has changed its state."""

    def on_backpressure(self, event: RuleChanged) -> None:
        """A rule of back pressure has begun to hold in this process, or holds no more."""


class Events:
    """The observers of one bus; false without any."""

    __slots__ = ("observers",)

    def __init__(self) -> None:
        self.observers: tuple[Observer, ...] = ()
        """For hot paths: `if events.observers:` spares the call that `if events:` costs."""

    def __bool__(self) -> bool:
        return bool(self.observers)

    def add(self, observer: Observer) -> None:
        self.observers = (*self.observers, observer)

    def remove(self, observer: Observer) -> None:
        """Report nothing more to `observer`. Safe to repeat."""
        self.observers = tuple(one for one in self.observers if one is not observer)

    def published(self, event: Published) -> None:
        for observer in self.observers:
            _call(observer.on_published, event)

    def delivered(self, event: Delivered) -> None:
        for observer in self.observers:
            _call(observer.on_delivered, event)

    def settled(self, event: Settled) -> None:
        for observer in self.observers:
            _call(observer.on_settled, event)

    def state(self, state: str, reason: str) -> None:
        for observer in self.observers:
            _call(observer.on_state, state, reason)

    def circuit(self, event: CircuitChanged) -> None:
        for observer in self.observers:
            _call(observer.on_circuit, event)

    def backpressure(self, event: RuleChanged) -> None:
        for observer in self.observers:
            _call(observer.on_backpressure, event)


def _call(method: Callable[..., None], *arguments: object) -> None:
    try:
        method(*arguments)
    except Exception:  # an observer's mistake must not cost a message
        log.exception("an observer raised in %s", getattr(method, "__qualname__", repr(method)))
