"""The functions that make conditions, for rules of back pressure and for alerts."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from ...contract import ConsumerSpec, Contract, StreamSpec
from ...errors import OptionsError
from ...options import Duration, positive_int, share, to_seconds
from .rules import Condition, Kind, Measure, Threshold

_CLEAR_SHARE: Final = 0.75
"""The share of its threshold below which a value clears, unless told otherwise."""
_ONE: Final = 1.0
"""The least value above none of a count."""
_PRESSURE: Final = frozenset[Kind](
    ("lag", "age of the oldest message", "ack pending", "redelivery rate", "utilisation", "replica lag")
)
"""What one look at the server shows. The others take two, or a comparison with the contract."""


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


def ack_pending_above(consumer: str | ConsumerSpec[Any, Any], above: int, *, clear_below: int | None = None) -> Condition:
    """More than `above` messages of `consumer` (its name, or its spec) are delivered and not
    acknowledged.

    It clears below `clear_below` messages (None: three quarters of `above`). At the consumer's
    `max_ack_pending` the server delivers nothing more. Raises `OptionsError`.
    """
    where = _consumer("ack_pending_above", consumer)
    least = None if clear_below is None else float(positive_int("ack_pending_above(clear_below)", clear_below))
    most = float(positive_int("ack_pending_above(above)", above))
    return _threshold("ack_pending_above", Measure(kind="ack pending", stream=where[0], consumer=where[1]), most, least)


def redelivery_rate_above(consumer: str | ConsumerSpec[Any, Any], above: float, *, clear_below: float | None = None) -> Condition:
    """More than the share `above` of what `consumer` (its name, or its spec) has in flight was
    delivered before: handlers fail, or die.

    It clears below the share `clear_below` (None: three quarters of `above`), and once nothing is
    in flight. Both are from 0 to 1. One message alone is a share of 1: join it with
    `ack_pending_above` to have several count. Raises `OptionsError`.
    """
    where = _consumer("redelivery_rate_above", consumer)
    least, most = _shares("redelivery_rate_above", above, clear_below, "which no share exceeds")
    return _threshold("redelivery_rate_above", Measure(kind="redelivery rate", stream=where[0], consumer=where[1]), most, least)


def stalled(consumer: str | ConsumerSpec[Any, Any]) -> Condition:
    """Messages wait for `consumer` (its name, or its spec), it is not paused, and it has
    acknowledged none for some time: no worker runs, or all of them hang.

    For alerts. Raises `OptionsError`.
    """
    where = _consumer("stalled", consumer)
    return Threshold(measure=Measure(kind="stalled", stream=where[0], consumer=where[1]), above=0, clear_below=_ONE / 2)


def utilisation_above(stream: str | StreamSpec, above: float, *, clear_below: float | None = None) -> Condition:
    """`stream` (its name, or its spec) is filled beyond the share `above` of its limit, of messages
    or of bytes, whichever is nearer.

    It clears below the share `clear_below` (None: three quarters of `above`). Both are from 0 to 1.
    Raises `OptionsError`.
    """
    name = _stream("utilisation_above", stream)
    least, most = _shares("utilisation_above", above, clear_below, "which a stream does not exceed")
    return _threshold("utilisation_above", Measure(kind="utilisation", stream=name), most, least)


def replica_lag_above(stream: str | StreamSpec, above: int, *, clear_below: int | None = None) -> Condition:
    """A replica of `stream` (its name, or its spec) is more than `above` operations behind the
    leader, or offline.

    It clears below `clear_below` operations (None: three quarters of `above`). A stream with one
    replica has no lag. Raises `OptionsError`.
    """
    name = _stream("replica_lag_above", stream)
    least = None if clear_below is None else float(positive_int("replica_lag_above(clear_below)", clear_below))
    most = float(positive_int("replica_lag_above(above)", above))
    return _threshold("replica_lag_above", Measure(kind="replica lag", stream=name), most, least)


def dead_letters_above(per_minute: float, *, clear_below: float | None = None) -> Condition:
    """More than `per_minute` messages became dead letters within the last minute.

    It clears below `clear_below` (None: three quarters of `per_minute`). Letters that are removed
    within the minute may not count. For alerts. Raises `OptionsError`.
    """
    least = None if clear_below is None else _number("dead_letters_above(clear_below)", clear_below)
    most = _number("dead_letters_above(per_minute)", per_minute)
    return _threshold("dead_letters_above", Measure(kind="dead letters per minute"), most, least)


def drifted() -> Condition:
    """A stream or a consumer is on the server not as the contract declares it, or not at all.

    For alerts.
    """
    return Threshold(measure=Measure(kind="drift"), above=0, clear_below=_ONE / 2)


def require_pressure(rule: str, when: Condition) -> None:
    """Raise `OptionsError` if `rule` has a measure that back pressure does not take."""
    for one in when.thresholds():
        if one.measure.kind not in _PRESSURE:
            raise OptionsError(f"rule {rule}: {one.measure.function}: is for alerts: back pressure does not measure it")


def on_contract(rule: str, when: Condition, contract: Contract) -> Condition:
    """The condition of `rule` on the streams of `contract`.

    Raises `OptionsError` for what the contract does not declare, and for a limit that it does not.
    """
    try:
        found = when.resolved(contract)
    except OptionsError as error:
        raise OptionsError(f"rule {rule}: {error}") from None
    limited = {one.name for one in contract.streams if one.max_msgs is not None or one.max_bytes is not None}
    for one in found.thresholds():
        if one.measure.kind == "utilisation" and one.measure.stream not in limited:
            raise OptionsError(
                f"rule {rule}: utilisation_above(stream)={one.measure.stream!r}: the contract declares no limit for it"
            )
    return found


def _threshold(function: str, measure: Measure, above: float, clear_below: float | None) -> Condition:
    if clear_below is not None and clear_below > above:
        raise OptionsError(f"{function}(clear_below)={clear_below:g}: must be at most the threshold above={above:g}")
    return Threshold(measure=measure, above=above, clear_below=_CLEAR_SHARE * above if clear_below is None else clear_below)


def _consumer(function: str, consumer: str | ConsumerSpec[Any, Any]) -> tuple[str, str]:
    if isinstance(consumer, ConsumerSpec):
        return consumer.stream, consumer.name
    return "", _text(f"{function}(consumer)", consumer)


def _stream(function: str, stream: str | StreamSpec) -> str:
    return stream.name if isinstance(stream, StreamSpec) else _text(f"{function}(stream)", stream)


def _shares(function: str, above: float, clear_below: float | None, why: str) -> tuple[float | None, float]:
    """`clear_below` and `above` as shares, the second below 1."""
    most = share(f"{function}(above)", above)
    if most == 1:
        raise OptionsError(f"{function}(above)=1: must be below 1, {why}")
    return (None if clear_below is None else share(f"{function}(clear_below)", clear_below)), most


def _number(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
        raise OptionsError(f"{option}={value!r}: must be a number above 0")
    return float(value)


def _text(option: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OptionsError(f"{option}={value!r}: must be a name, or a spec of the contract")
    return value
