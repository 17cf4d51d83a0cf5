"""The circuits around publishing: one for each stream, so that a stream that does not answer is not
waited for by every publish, and stops no other stream.

A closed circuit costs a message two look-ups: its acknowledgement adds one to a `Tally`, which is
handed to the breaker from time to time. Only failures, and the probes of a half-open circuit, call
the breaker itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Final

from ...errors import (
    CircuitOpen,
    ConnectionLost,
    JetStreamDisabled,
    JetStreamError,
    PublishCircuitOpen,
    PublishUnconfirmed,
    StreamNotFound,
    WrongStream,
)
from ..connection.state import Listener
from ..events import CircuitChanged, CircuitState, Events
from ..monitoring.breaker import CircuitBreaker, Permit
from .publish_request import PublishRequest

_COUNT: Final = (PublishUnconfirmed, ConnectionLost, JetStreamDisabled)
"""After these, the next publish to the stream would probably wait in vain, too.

A stream without a leader, and a server that is down, are `PublishUnconfirmed`."""
PUBLISH_BREAKER: Final = CircuitBreaker(name="publish", count=_COUNT)
"""The default of a bus. No publish goes through it: each stream has a circuit like it."""
_HAND_OVER: Final = 1.0
"""Seconds after which the acknowledgements of a stream are handed to its breaker."""
_REFUSALS: Final = 64
"""Refused publishes after which the loop may run: a caller that repeats one would stop it."""


class Tally:
    """The publishes of one stream, for as long as its circuit stays closed."""

    __slots__ = ("_failed", "acked")

    def __init__(self, failed: Callable[[Tally, BaseException], None]) -> None:
        self._failed = failed
        self.acked = 0
        """Publishes that were acknowledged and that the breaker does not know of yet."""

    def failed(self, error: BaseException) -> None:
        """A publish that was sent has ended with `error`."""
        self._failed(self, error)


class Probe(Tally):
    """One publish that shows whether the stream answers again."""

    __slots__ = ("_permit",)

    def __init__(self, permit: Permit) -> None:
        super().__init__(partial(_end_probe, permit))
        self._permit = permit

    def ended(self, _: object = None) -> None:
        """Its future has ended, or there will be none."""
        if self.acked:
            self._permit.end()
        else:
            self._permit.cancel()  # unless it has failed: the first end counts


class PublishCircuits(Listener):
    """The circuits of one bus. `template` has their options. Belongs to one event loop."""

    def __init__(self, template: CircuitBreaker, events: Events) -> None:
        self.closed: dict[str | None, Tally] = {}
        """The tallies of the streams whose circuit is closed."""
        self._template = template
        self._events = events
        self._breakers: dict[str, CircuitBreaker] = {}
        self._next = 0.0
        self._refused = 0

    @property
    def states(self) -> Mapping[str, CircuitState]:
        """The state of the circuit of each stream that was published to, as the next call finds
        it."""
        return {stream: breaker.next_state for stream, breaker in self._breakers.items()}

    def forget(self) -> None:
        """Begin anew. What is in flight no longer counts."""
        self.closed.clear()
        self._breakers.clear()

    def acquire(self, request: PublishRequest) -> Tally:
        """Ask to publish: a tally of the stream, or a `Probe`, whose `ended` has to be called.

        Raises `PublishCircuitOpen`.
        """
        stream = str(request.stream)
        breaker = self._breakers.get(stream)
        if breaker is None:
            breaker = self._breakers[stream] = self._template.named(f"publish {stream}", count=_COUNT)
            breaker.on_change(partial(self._changed, stream, breaker))
            self.closed[stream] = Tally(partial(self._count, stream, breaker))
        elif stream not in self.closed:
            try:
                return Probe(breaker.acquire())
            except CircuitOpen as error:
                self._refused += 1
                raise PublishCircuitOpen(
                    f"{request.subject} was not sent to stream {stream}: {error}",
                    name=error.name,
                    until=error.until,
                    retry_after=error.retry_after,
                    stream=stream,
                    subject=request.subject,
                    msg_id=request.msg_id,
                ) from None
        return self.closed[stream]

    @property
    def should_yield(self) -> bool:
        """Whether the event loop has to run before the next refusal."""
        return not self._refused % _REFUSALS

    def hand_over(self) -> None:
        """Tell the breakers of acknowledgements, if it is time to. Costs next to nothing if not."""
        now = monotonic()
        if now >= self._next:
            self._next = now + _HAND_OVER
            for stream, tally in tuple(self.closed.items()):  # the next success may be the call that opens it
                if tally.acked:
                    acked, tally.acked = tally.acked, 0
                    self._breakers[str(stream)].add_successes(acked)

    def on_reconnect(self) -> None:
        """What did not answer may have been the link: the next publishes are probes."""
        for breaker in self._breakers.values():
            breaker.retry_now()

    def _count(self, stream: str, breaker: CircuitBreaker, tally: Tally, error: BaseException) -> None:
        if self.closed.get(stream) is not tally:
            return  # it was sent before the circuit opened
        if breaker.counts(error):
            acked, tally.acked = tally.acked, 0
            breaker.add_successes(acked)
            breaker.acquire().end(error)
        elif _is_answer(error):
            tally.acked += 1

    def _changed(self, stream: str, breaker: CircuitBreaker, change: CircuitChanged) -> None:
        if self._breakers.get(stream) is not breaker:
            return  # forgotten
        if change.new == "closed":
            self.closed[stream] = Tally(partial(self._count, stream, breaker))
        else:
            self.closed.pop(stream, None)
        if self._events:
            self._events.circuit(change)


def _end_probe(permit: Permit, _: Tally, error: BaseException) -> None:
    if permit.counts(error) or _is_answer(error):
        permit.end(error)
    else:
        permit.cancel()


def _is_answer(error: Any) -> bool:
    """Whether the server has answered for the stream. Other errors tell nothing about it."""
    return isinstance(error, JetStreamError) and (error.err_code != 0 or isinstance(error, (StreamNotFound, WrongStream)))
