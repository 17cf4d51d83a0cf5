"""Events: what a bus reports to its observers of publishes, deliveries, verdicts and connection.

`Observer` is both the protocol and its no-op. A bus without observers pays one truth test per
message: an event is built only where `if events:` holds. A `Tracer` is an observer that is called
before something is done, too, and may add headers to what is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Literal, Protocol

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


# ---- tracing


class Outgoing(Protocol):
    """A message that is about to be published: a `PublishRequest`."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def stream(self) -> str | None: ...
    @property
    def msg_id(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str] | None: ...


class Incoming(Protocol):
    """A message as received."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str] | None: ...


class Delivery(Incoming, Protocol):
    """A message of a consumer: a `RawMessage`."""

    @property
    def reply(self) -> str:
        """The ack subject, which has its stream, consumer and sequence."""
        ...


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a caller receives messages from."""

    filter: str
    """The subjects, with wildcards; joined by " | " if there are several."""
    stream: str | None = None
    consumer: str | None = None
    """Both None for core NATS."""


class Operation:
    """What a tracer follows from the call that returned it until `end`. This one does nothing."""

    __slots__ = ()

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Of a publish: what to send in place of the message's headers; None: those."""
        return None

    def end(self, error: BaseException | None = None) -> None:
        """It has ended, with `error` or well. Called once."""


NO_OPERATION: Final = Operation()

Enter = Callable[[], AbstractContextManager[object]]


class Tracer(Observer):
    """An observer that follows messages on their way through programs. Override what matters.

    An exception from one of these is logged, and changes nothing: there is no operation then.
    """

    def on_create(self, message: Outgoing) -> Operation:
        """A message is made that may be sent later, by another process: its headers are kept."""
        return NO_OPERATION

    def on_send(self, message: Outgoing) -> Operation:
        """A message is published. Ends with the publish, before `on_published`, in any context."""
        return NO_OPERATION

    def on_receive(self, messages: Sequence[Incoming], source: Source, since: int) -> None:
        """A caller gets `messages` that it has asked for at `since` (`time.time_ns`).

        No message: it has waited in vain. May be called in any thread.
        """

    def on_process(self, message: Delivery) -> Operation:
        """A worker begins with `message`, in this context, which its handler gets a copy of.

        It ends in this context when the message is settled; `on_delivered` and `on_settled` are
        called between.
        """
        return NO_OPERATION

    def on_settle(self, message: Delivery, answer: bytes) -> Operation:
        """`answer`, an ack, nak or term, is sent to the server."""
        return NO_OPERATION

    def on_execute(self, subject: str, intent_id: str) -> Operation:
        """An intent is published on `subject`, and its result waited for, in this context."""
        return NO_OPERATION

    def on_detach(self) -> Enter | None:
        """What is in this context goes on in another process: the picklable result is entered
        there."""
        return None


def begin(method: Callable[..., Operation], *arguments: Any) -> Operation:
    """The operation that a method of a tracer returns; none if it raises."""
    try:
        return method(*arguments)
    except Exception:
        _log_raised(method)
        return NO_OPERATION


def end(operation: Operation, error: BaseException | None = None) -> None:
    _call(operation.end, error)


class Events:
    """The observers of one bus; false without any."""

    __slots__ = ("_adding", "observers", "tracer")

    def __init__(self) -> None:
        self.observers: tuple[Observer, ...] = ()
        """For hot paths: `if events.observers:` spares the call that `if events:` costs."""
        self.tracer: Tracer | None = None
        """The latest of the observers that is a tracer. There is room for one in a message."""

        self._adding = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self.observers)

    def add(self, observer: Observer) -> None:
        """Report to `observer` as well. From any thread, as is `remove`."""
        with self._adding:
            self._set((*self.observers, observer))

    def remove(self, observer: Observer) -> None:
        """Report nothing more to `observer`. Safe to repeat."""
        with self._adding:
            self._set(tuple(one for one in self.observers if one is not observer))

    def _set(self, observers: tuple[Observer, ...]) -> None:
        self.observers = observers
        self.tracer = next((one for one in reversed(observers) if isinstance(one, Tracer)), None)

    def received(self, messages: Sequence[Incoming], source: Source, since: int) -> None:
        if self.tracer is not None:
            _call(self.tracer.on_receive, messages, source, since)

    def detached(self) -> Enter | None:
        """What to enter in another process, so that this context goes on there."""
        if self.tracer is None:
            return None
        try:
            return self.tracer.on_detach()
        except Exception:
            _log_raised(self.tracer.on_detach)
            return None

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
        _log_raised(method)


def _log_raised(method: Callable[..., object]) -> None:
    log.exception("an observer raised in %s", getattr(method, "__qualname__", repr(method)))
