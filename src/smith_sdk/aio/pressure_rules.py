"""Rules of back pressure as values: a condition, and what is done while it holds."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from .._core.events import RuleChanged
from .._core.monitoring.rules import Condition, require_name
from ..contract import ConsumerSpec, ShardingSpec
from ..errors import OptionsError
from ..options import Duration, positive_int, to_seconds

_HOLD: Final = 30.0


class AnyWorker(Protocol):
    """A worker of either face."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> ConsumerSpec[Any, Any] | ShardingSpec[Any, Any]: ...


class Action:
    """What a rule does while it holds, and undoes when it ends: made by `limit` and the like."""

    __slots__ = ()

    @property
    def text(self) -> str:
        """In words: "limit executor-http-fetch to max_ack_pending=5"."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class QuarantineNewIntents(Action):
    @property
    def text(self) -> str:
        return "quarantine new intents"


@dataclass(frozen=True, slots=True)
class ReleaseQuarantined(Action):
    rate: float

    @property
    def text(self) -> str:
        return f"release quarantined intents afterwards, {self.rate:g} a second"


@dataclass(frozen=True, slots=True)
class SlowDown(Action):
    worker: Any
    concurrency: int | None
    prefetch: int | None

    @property
    def text(self) -> str:
        return f"slow down {self.worker.name} to {_given(concurrency=self.concurrency, prefetch=self.prefetch)}"


@dataclass(frozen=True, slots=True)
class HoldConsumer(Action):
    consumer: str | ConsumerSpec[Any, Any]
    max_ack_pending: int | None = None
    ack_wait: float | None = None
    pause: bool = False

    @property
    def name(self) -> str:
        return self.consumer if isinstance(self.consumer, str) else self.consumer.name

    @property
    def text(self) -> str:
        if self.pause:
            return f"pause {self.name}"
        return f"limit {self.name} to {_given(max_ack_pending=self.max_ack_pending, ack_wait=self.ack_wait)}"


@dataclass(frozen=True, slots=True)
class Call(Action):
    function: Callable[[RuleChanged], Awaitable[object] | object]

    @property
    def text(self) -> str:
        return f"call {getattr(self.function, '__qualname__', repr(self.function))}"


def _given(**values: float | None) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items() if value is not None)


# ---- the actions


def quarantine_new_intents() -> Action:
    """Have every admission quarantine the intents that arrive.

    They stay in the quarantine after the rule has ended, until they are released or discarded.
    """
    return QuarantineNewIntents()


def release_quarantined(*, rate: float) -> Action:
    """When the rule has ended, release what back pressure has quarantined: at most `rate` intents a
    second, through admission, the oldest first.

    It goes on until all is released, and waits while any rule quarantines new intents. What is left
    when its process ends stays in the quarantine. Raises `OptionsError` for a rate that is not
    above 0.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise OptionsError(f"release_quarantined(rate)={rate!r}: must be intents per second, above 0")
    return ReleaseQuarantined(rate)


def slow_down(worker: AnyWorker, *, concurrency: int | None = None, prefetch: int | None = None) -> Action:
    """Have `worker`, of this process, run at most `concurrency` handlers at once, and request at
    most `prefetch` messages beyond these.

    Handlers that run go on to their end. Raises `OptionsError` for a number below 1 (of `prefetch`:
    below 0), and if none is given.
    """
    if concurrency is None and prefetch is None:
        raise OptionsError("slow_down: give concurrency, prefetch, or both")
    if concurrency is not None:
        positive_int("slow_down(concurrency)", concurrency)
    if prefetch is not None:
        positive_int("slow_down(prefetch)", prefetch, least=0)
    return SlowDown(worker, concurrency, prefetch)


def limit(
    consumer: str | ConsumerSpec[Any, Any], *, max_ack_pending: int | None = None, ack_wait: Duration | None = None
) -> Action:
    """Change `consumer` (its name, or its spec) on the server, for all its readers.

    `max_ack_pending`: deliver nothing while so many messages are unacknowledged; it lowers what is
    there, and never raises it. `ack_wait`: seconds until an unacknowledged message is delivered
    again, also of those that are delivered already; at least what the contract declares, since that
    is what workers renew. Raises `OptionsError`.
    """
    if max_ack_pending is None and ack_wait is None:
        raise OptionsError("limit: give max_ack_pending, ack_wait, or both")
    if max_ack_pending is not None:
        positive_int("limit(max_ack_pending)", max_ack_pending)
    wait = None if ack_wait is None else to_seconds("limit(ack_wait)", ack_wait)
    return HoldConsumer(_consumer("limit", consumer), max_ack_pending, wait)


def pause(consumer: str | ConsumerSpec[Any, Any]) -> Action:
    """Have the server deliver nothing to `consumer` (its name, or its spec), for all its readers.

    A pause ends by itself a minute after the last process that renews it. Raises `OptionsError`.
    """
    return HoldConsumer(_consumer("pause", consumer), pause=True)


def call(function: Callable[[RuleChanged], Awaitable[object] | object]) -> Action:
    """Call `function` with a `RuleChanged` when the rule begins to hold, and again when it ends.

    An async function runs in the event loop, and not on the blocking face; a plain one runs in a
    thread. One that raises is called again after the next interval. Raises `OptionsError` for what
    cannot be called with one argument.
    """
    try:
        inspect.signature(function).bind(None)
    except ValueError:  # a function in C that does not tell
        pass
    except TypeError:
        raise OptionsError(f"call(function)={function!r}: must be a function that takes one argument, a RuleChanged") from None
    return Call(function)


def _consumer(action: str, consumer: Any) -> str | ConsumerSpec[Any, Any]:
    if isinstance(consumer, ConsumerSpec) or (isinstance(consumer, str) and consumer):
        return consumer
    raise OptionsError(f"{action}(consumer)={consumer!r}: must be a name, or a spec of the contract")


# ---- a rule


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """While the condition `when` holds, `do` something.

    Raises `OptionsError` for an invalid value.
    """

    when: Condition
    """`lag_above`, `oldest_above` and `utilisation_above`, joined with `|` and `&`."""
    do: Sequence[Action]
    """One action or several."""
    hold: Duration = _HOLD
    """Seconds for which it lasts at least, so that it does not begin again sooner; 0 or more."""
    name: str = ""
    """What processes that run the same rule call it: letters, digits, - and _. Empty for a name
    that is made of the condition."""

    def __post_init__(self) -> None:
        if not isinstance(self.when, Condition):
            raise OptionsError(f"Rule.when={self.when!r}: must be a condition, such as lag_above(consumers.admission, 10_000)")
        actions = list(self.do) if isinstance(self.do, Sequence) else [self.do]
        if not actions or not all(isinstance(one, Action) for one in actions):
            raise OptionsError(f"Rule.do={self.do!r}: must be a list of actions, such as [quarantine_new_intents()]")
        name = self.name or self.when.label
        require_name("Rule.name", name)
        object.__setattr__(self, "do", tuple(actions))
        object.__setattr__(self, "hold", to_seconds("Rule.hold", self.hold, zero=True))
        object.__setattr__(self, "name", name)
