"""Rules on measures: conditions with two thresholds each, and whether a rule holds over time.

Pure: values and the time (monotonic, in seconds) are handed in. A value that is not known changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Self

import msgspec

from ...contract import ConsumerSpec, Contract, StreamSpec
from ...errors import OptionsError
from ...options import Duration, format_duration, positive_int, share, to_seconds

Kind = Literal["lag", "age of the oldest message", "utilisation"]

_OPTIONS: Final[dict[Kind, str]] = {
    "lag": "lag_above(consumer)",
    "age of the oldest message": "oldest_above(consumer)",
    "utilisation": "utilisation_above(stream)",
}
_CLEAR_SHARE: Final = 0.75
"""The share of its threshold below which a value clears, unless told otherwise."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: something of a stream, or of one of its consumers."""

    kind: Kind
    stream: str = ""
    """Empty until the contract is known, where a consumer is named alone."""
    consumer: str = ""
    """Empty for what is about the stream."""

    @property
    def what(self) -> str:
        """ "lag of executor-http-fetch"."""
        return f"{self.kind} of {self.consumer or self.stream}"

    def format(self, value: float) -> str:
        if self.kind == "lag":
            return f"{value:,.0f}"
        if self.kind == "utilisation":
            return f"{value:.1%}"
        return format_duration(round(value, 1))


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
        if not measure.consumer:
            if measure.stream not in {one.name for one in contract.streams}:
                raise _unknown(measure.kind, measure.stream, contract, (one.name for one in contract.streams))
            return self
        for one in contract.consumers:
            if one.name == measure.consumer and measure.stream in ("", one.stream):
                return msgspec.structs.replace(self, measure=msgspec.structs.replace(measure, stream=one.stream))
        raise _unknown(measure.kind, measure.consumer, contract, (one.name for one in contract.consumers))

    @property
    def label(self) -> str:
        kind = {"lag": "lag", "utilisation": "utilisation"}.get(self.measure.kind, "oldest")
        return f"{kind}-{self.measure.consumer or self.measure.stream}"

    def text(self, value: float, *, is_over: bool) -> str:
        """ "lag of executor-http-fetch is 12,345, above 10,000"."""
        measure = self.measure
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


def _unknown(kind: Kind, name: str, contract: Contract, known: Iterator[str]) -> OptionsError:
    names = ", ".join(known) or "none"
    return OptionsError(f"{_OPTIONS[kind]}={name!r}: is not declared in contract {contract.name!r}, which has {names}")


# ---- the conditions


def lag_above(consumer: str | ConsumerSpec[Any, Any], above: int, *, clear_below: int | None = None) -> Condition:
    """More than `above` messages are not yet acknowledged by `consumer` (its name, or its spec).

    Both those that wait and those that were delivered count. It clears below `clear_below` messages
    (None: three quarters of `above`). Raises `OptionsError`.
    """
    where = _consumer("lag_above", consumer)
    least = None if clear_below is None else float(positive_int("lag_above(clear_below)", clear_below))
    most = float(positive_int("lag_above(above)", above))
    return _threshold("lag_above", Measure(kind="lag", stream=where[0], consumer=where[1]), most, least)


def oldest_above(consumer: str | ConsumerSpec[Any, Any], above: Duration, *, clear_below: Duration | None = None) -> Condition:
    """The oldest message that `consumer` has not acknowledged was stored more than `above` seconds
    ago.

    It clears below `clear_below` seconds (None: three quarters of `above`), and once nothing is
    left to acknowledge. Raises `OptionsError`.
    """
    where = _consumer("oldest_above", consumer)
    least = None if clear_below is None else to_seconds("oldest_above(clear_below)", clear_below)
    measure = Measure(kind="age of the oldest message", stream=where[0], consumer=where[1])
    return _threshold("oldest_above", measure, to_seconds("oldest_above(above)", above), least)


def utilisation_above(stream: str | StreamSpec, above: float, *, clear_below: float | None = None) -> Condition:
    """`stream` (its name, or its spec) is filled beyond the share `above` of its limit, of messages
    or of bytes, whichever is nearer.

    It clears below the share `clear_below` (None: three quarters of `above`). Both are from 0 to 1.
    Raises `OptionsError`.
    """
    name = stream.name if isinstance(stream, StreamSpec) else _text("utilisation_above(stream)", stream)
    least = None if clear_below is None else share("utilisation_above(clear_below)", clear_below)
    most = share("utilisation_above(above)", above)
    if most == 1:
        raise OptionsError("utilisation_above(above)=1: must be below 1, which a stream does not exceed")
    return _threshold("utilisation_above", Measure(kind="utilisation", stream=name), most, least)


def _threshold(function: str, measure: Measure, above: float, clear_below: float | None) -> Condition:
    if clear_below is not None and clear_below > above:
        raise OptionsError(f"{function}(clear_below)={clear_below:g}: must be at most the threshold above={above:g}")
    return Threshold(measure=measure, above=above, clear_below=_CLEAR_SHARE * above if clear_below is None else clear_below)


def _consumer(function: str, consumer: str | ConsumerSpec[Any, Any]) -> tuple[str, str]:
    if isinstance(consumer, ConsumerSpec):
        return consumer.stream, consumer.name
    return "", _text(f"{function}(consumer)", consumer)


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionsError(f"{option}={value!r}: must be a name, or a spec of the contract")
    return value


# ---- over time


class RuleState:
    """Whether a rule holds.

    It begins with its condition, and ends with it, but not before it has lasted for `hold` seconds:
    so it begins at most once in that time, however its measures jump.
    """

    def __init__(self, when: Condition, hold: float) -> None:
        self.when = when
        self._hold = hold
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
        holds = self.when.holds(self._over)
        if holds and not self.active:
            self.begin(now)
        elif not holds and self.active and now - self._began >= self._hold:
            self.active = False
        return self.active

    def begin(self, now: float) -> None:
        """It holds from now on, by its own condition or because another process found so."""
        self.active, self._began = True, now

    def end(self) -> None:
        """It holds no more, whatever its measures are: it begins again above a threshold only."""
        self.active = False
        self._over = dict.fromkeys(self._over, False)

    @property
    def holds(self) -> bool:
        """Whether its condition does, by the last values."""
        return self.when.holds(self._over)

    @property
    def reason(self) -> str:
        """The values that decide, as text: "lag of executor-http-fetch is 12,345, above 10,000"."""
        decisive = [one for one, is_over in self._over.items() if is_over == self.holds and one in self._values]
        return " and ".join(one.text(self._values[one], is_over=self._over[one]) for one in decisive)
