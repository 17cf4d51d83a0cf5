"""Rules on measures: conditions with two thresholds each, and whether a rule holds over time.

Back pressure and alerts are both made of them; `conditions` has the functions that make them.

Pure: values and the time (monotonic, in seconds) are handed in. A value that is not known changes
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

from ...contract import Contract
from ...errors import OptionsError
from ...options import format_duration

Kind = Literal[
    "lag",
    "age of the oldest message",
    "ack pending",
    "redelivery rate",
    "stalled",
    "utilisation",
    "replica lag",
    "dead letters per minute",
    "drift",
]
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
Subject = Literal["consumer", "stream", "contract"]


class _Facts(NamedTuple):
    function: str
    """What makes a condition on it."""
    label: str
    """What names of rules begin with."""
    of: Subject


_KINDS: Final[dict[Kind, _Facts]] = {
    "lag": _Facts("lag_above", "lag", "consumer"),
    "age of the oldest message": _Facts("oldest_above", "oldest", "consumer"),
    "ack pending": _Facts("ack_pending_above", "ack-pending", "consumer"),
    "redelivery rate": _Facts("redelivery_rate_above", "redelivery-rate", "consumer"),
    "stalled": _Facts("stalled", "stalled", "consumer"),
    "utilisation": _Facts("utilisation_above", "utilisation", "stream"),
    "replica lag": _Facts("replica_lag_above", "replica-lag", "stream"),
    "dead letters per minute": _Facts("dead_letters_above", "dead-letters", "contract"),
    "drift": _Facts("drifted", "drift", "contract"),
}


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: something of a stream, of one of its consumers, or of the whole contract.

    The value of "stalled" is 1 or 0; of "drift", how many streams and consumers differ; of "replica
    lag", infinity while a replica is offline.
    """

    kind: Kind
    stream: str = ""
    """Empty until the contract is known, where a consumer is named alone."""
    consumer: str = ""
    """Empty for what is about the stream."""

    @property
    def function(self) -> str:
        """The function that makes a condition on it: "lag_above"."""
        return _KINDS[self.kind].function

    @property
    def of(self) -> Subject:
        return _KINDS[self.kind].of

    @property
    def what(self) -> str:
        """ "lag of executor-http-fetch"."""
        return " of ".join(filter(None, (self.kind, self.consumer or self.stream)))

    @property
    def label(self) -> str:
        """ "lag-executor-http-fetch"."""
        return "-".join(filter(None, (_KINDS[self.kind].label, self.consumer or self.stream)))

    def format(self, value: float) -> str:
        if self.kind in ("utilisation", "redelivery rate"):
            return f"{value:.1%}"
        if self.kind == "age of the oldest message":
            return format_duration(round(value, 1))
        return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"

    def sentence(self, value: float) -> str:
        """What a value says by itself, where no number need be compared; empty elsewhere."""
        if self.kind == "stalled":
            return f"{self.consumer} is {'' if value else 'not '}stalled"
        if self.kind == "drift":
            if not value:
                return "all streams and consumers are as declared"
            one = value == 1
            return f"{value:,.0f} stream{'' if one else 's'} or consumer{'' if one else 's'} {'is' if one else 'are'} not as declared"
        return f"a replica of {self.stream} is offline" if value == inf else ""


class Condition(msgspec.Struct, frozen=True):
    """When a rule begins to hold, and when it ends: made by `lag_above` and the like.

    Conditions are joined: `a | b` holds if either does, `a & b` if both do.
    """

    def __or__(self, other: Condition) -> Condition:
        return _Joined("or", (self, other)) if isinstance(other, Condition) else NotImplemented

    def __and__(self, other: Condition) -> Condition:
        return _Joined("and", (self, other)) if isinstance(other, Condition) else NotImplemented

    def __bool__(self) -> bool:
        raise OptionsError("a condition has no truth value by itself: join conditions with | and &, not with `or` and `and`")

    def thresholds(self) -> Iterator[Threshold]:
        """Its parts that are about one measure each."""
        raise NotImplementedError

    def holds(self, over: Mapping[Threshold, bool]) -> bool:
        """Whether it holds, given which of its thresholds are exceeded."""
        raise NotImplementedError

    def resolved(self, contract: Contract) -> Condition:
        """The same with the streams of its consumers. Raises `OptionsError` for what `contract`
        does not declare."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """A name for it that a key of a bucket may have: "lag-executor-http-fetch"."""
        raise NotImplementedError

    def written(self, each: Callable[[Threshold], str], *, conjunction: str = "and") -> str:
        """Its thresholds as `each` writes them, joined by "or" and `conjunction`, in another
        language."""
        raise NotImplementedError


class Threshold(Condition, frozen=True, kw_only=True):
    """Holds once the measure is above `above`, until it is below `clear_below`."""

    measure: Measure
    above: float
    clear_below: float

    def thresholds(self) -> Iterator[Threshold]:
        yield self

    def holds(self, over: Mapping[Threshold, bool]) -> bool:
        return over.get(self, False)

    def resolved(self, contract: Contract) -> Self:
        measure = self.measure
        if measure.of == "contract":
            if measure.kind == "dead letters per minute" and contract.dead_letters is None:
                raise OptionsError(f"{measure.function}: contract {contract.name!r} declares no dead letters")
            return self
        if measure.of == "stream":
            if measure.stream not in {one.name for one in contract.streams}:
                raise _unknown(measure, measure.stream, contract, (one.name for one in contract.streams))
            return self
        for one in contract.consumers:
            if one.name == measure.consumer and measure.stream in ("", one.stream):
                return msgspec.structs.replace(self, measure=msgspec.structs.replace(measure, stream=one.stream))
        raise _unknown(measure, measure.consumer, contract, (one.name for one in contract.consumers))

    @property
    def label(self) -> str:
        return self.measure.label

    def written(self, each: Callable[[Threshold], str], *, conjunction: str = "and") -> str:
        return each(self)

    def text(self, value: float, *, is_over: bool) -> str:
        """ "lag of executor-http-fetch is 12,345, above 10,000"."""
        measure = self.measure
        if sentence := measure.sentence(value):
            return sentence
        if value > self.above:
            than = f"above {measure.format(self.above)}"
        elif value < self.clear_below:
            than = f"below {measure.format(self.clear_below)}"
        else:
            than = f"not below {measure.format(self.clear_below)}" if is_over else f"not above {measure.format(self.above)}"
        return f"{measure.what} is {measure.format(value)}, {than}"


class _Joined(Condition, frozen=True):
    how: Literal["or", "and"]
    parts: tuple[Condition, Condition]

    def thresholds(self) -> Iterator[Threshold]:
        for part in self.parts:
            yield from part.thresholds()

    def holds(self, over: Mapping[Threshold, bool]) -> bool:
        each = (part.holds(over) for part in self.parts)
        return any(each) if self.how == "or" else all(each)

    def resolved(self, contract: Contract) -> Condition:
        one, other = self.parts
        return _Joined(self.how, (one.resolved(contract), other.resolved(contract)))

    @property
    def label(self) -> str:
        return f"-{self.how}-".join(part.label for part in self.parts)

    def written(self, each: Callable[[Threshold], str], *, conjunction: str = "and") -> str:
        parts = [f"({part.written(each, conjunction=conjunction)})" for part in self.parts]
        return f" {conjunction if self.how == 'and' else 'or'} ".join(parts)


def require_name(option: str, name: Any) -> str:
    """`name`. Raises `OptionsError` unless a rule can have it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionsError(f"{option}={name!r}: must be up to 128 letters, digits, - and _")
    return name


def _unknown(measure: Measure, name: str, contract: Contract, known: Iterator[str]) -> OptionsError:
    names = ", ".join(known) or "none"
    return OptionsError(
        f"{measure.function}({measure.of})={name!r}: is not declared in contract {contract.name!r}, which has {names}"
    )


# ---- over time


class RuleState:
    """Whether a rule holds.

    It begins once its condition has held for `wait` seconds, and ends with it, but not before it
    has lasted for `hold` seconds: so it begins at most once in that time, however its measures
    jump.
    """

    def __init__(self, when: Condition, hold: float, wait: float = 0.0) -> None:
        self.when = when
        self._hold = hold
        self._wait = wait
        self._held_since: float | None = None
        self._over = dict.fromkeys(when.thresholds(), False)
        self._values: dict[Threshold, float] = {}
        self.active = False
        self._began = 0.0

    def step(self, values: Mapping[Measure, float], now: float) -> bool:
        """Whether it holds at `now`, given the values that are known then."""
        for threshold, was in self._over.items():
            value = values.get(threshold.measure)
            if value is not None:
                self._values[threshold] = value
                self._over[threshold] = value >= threshold.clear_below if was else value > threshold.above
        if not self.holds:
            self._held_since = None
            if self.active and now - self._began >= self._hold:
                self.active = False
        elif not self.active and self._has_waited(values, now):
            self.begin(now)
        return self.active

    def _has_waited(self, values: Mapping[Measure, float], now: float) -> bool:
        if not self._wait:
            return True
        if self._held_since is None:
            self._held_since = now
        # Values of before a gap do not tell that it has held through the gap.
        is_known = self.when.holds({one: over and one.measure in values for one, over in self._over.items()})
        return is_known and now - self._held_since >= self._wait

    def begin(self, now: float) -> None:
        """It holds from now on, by its own condition or because another process found so."""
        self.active, self._began = True, now

    def restore(self, now: float) -> None:
        """It held before this process began: until values below its other thresholds are known."""
        self._over = dict.fromkeys(self._over, True)
        self.begin(now)

    def end(self) -> None:
        """It holds no more, whatever its measures are: it begins again above a threshold only."""
        self.active = False
        self._held_since = None
        self._over = dict.fromkeys(self._over, False)

    @property
    def holds(self) -> bool:
        """Whether its condition does, by the last values."""
        return self.when.holds(self._over)

    @property
    def reason(self) -> str:
        """The values that decide, as text: "lag of executor-http-fetch is 12,345, above 10,000"."""
        return " and ".join(one.text(self._values[one], is_over=self._over[one]) for one in self.decisive)

    @property
    def decisive(self) -> list[Threshold]:
        """The thresholds that decide, of those whose values are known."""
        holds = self.holds
        return [one for one, is_over in self._over.items() if is_over == holds and one in self._values]

    def value(self, threshold: Threshold) -> float:
        """The last value that was known. Raises `KeyError` if none was."""
        return self._values[threshold]
