"""Events: what observers of a bus are told of its publishes, deliveries, verdicts and connection.

Imports `errors` only. `Observer` is both the protocol and its no-op. A bus without observers pays
one truth test per message: callers build an event only where `if events:` holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal

import msgspec

log: Final = logging.getLogger("smith_sdk.events")

VerdictName = Literal["ack", "retry", "dead_letter", "release"]


class Published(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A JetStream publish has ended. `seconds` from its call; `error` is None once it is stored."""

    subject: str
    stream: str | None
    msg_id: str
    size: int
    """Bytes of the payload."""
    seconds: float
    error: BaseException | None = None
    duplicate: bool = False


class Delivered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker has received a message. `attempt` counts deliveries, from 1."""

    stream: str
    consumer: str
    subject: str
    seq: int
    attempt: int


class Settled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker has settled a message. `seconds` from its delivery; `error` is what its handler raised.

    "ack": done. "retry": nak'ed, for another attempt. "dead_letter": copied to the dead letters and
    terminated. "release": no verdict; it is redelivered after a nak or its ack wait.
    """

    stream: str
    consumer: str
    subject: str
    seq: int
    attempt: int
    verdict: VerdictName
    seconds: float
    error: BaseException | None = None


class Observer:
    """Is told of events, inside the bus's event loop. Override what matters; return at once.

    What an observer raises is logged and goes no further.
    """

    def on_published(self, event: Published) -> None:
        """A JetStream publish has ended."""

    def on_delivered(self, event: Delivered) -> None:
        """A worker has received a message."""

    def on_settled(self, event: Settled) -> None:
        """A worker has settled a message."""

    def on_state(self, state: str, reason: str) -> None:
        """The connection's state has changed; `reason` says why, without credentials."""


class Events:
    """The observers of one bus; false without any."""

    __slots__ = ("_observers",)

    def __init__(self) -> None:
        self._observers: tuple[Observer, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def add(self, observer: Observer) -> None:
        self._observers = (*self._observers, observer)

    def remove(self, observer: Observer) -> None:
        """Tell `observer` nothing more. Safe to repeat."""
        self._observers = tuple(one for one in self._observers if one is not observer)

    def published(self, event: Published) -> None:
        for observer in self._observers:
            _call(observer.on_published, event)

    def delivered(self, event: Delivered) -> None:
        for observer in self._observers:
            _call(observer.on_delivered, event)

    def settled(self, event: Settled) -> None:
        for observer in self._observers:
            _call(observer.on_settled, event)

    def state(self, state: str, reason: str) -> None:
        for observer in self._observers:
            _call(observer.on_state, state, reason)


def _call(method: Callable[..., None], *arguments: object) -> None:
    try:
        method(*arguments)
    except Exception:  # an observer's mistake must not cost a message
        log.exception("an observer failed in %s", getattr(method, "__qualname__", repr(method)))
