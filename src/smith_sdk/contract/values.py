"""What the fields of payloads hold beyond JSON's own types, and the checks of such values.

msgspec checks a field's type and limits when a payload is decoded. What it cannot check is in a
payload class's `CHECKS`, for which generated classes call `settle` whenever an instance is made.
Texts of errors have no values: these may be secret, or long.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Clamped, Context, Decimal, DecimalException, FloatOperation, Overflow, Rounded, Subnormal
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from ..errors import PayloadMismatch
from .payloads import Check as Check

if TYPE_CHECKING:
    from .payloads import Payload

_MOST_DIGITS: Final = 100
_LARGEST_UINT64: Final = 2**64 - 1
_exact: Final = Context(
    prec=_MOST_DIGITS, Emax=_MOST_DIGITS, Emin=-_MOST_DIGITS, traps=[Rounded, Overflow, Subnormal, Clamped, FloatOperation]
)


def settle(payload: Payload) -> None:
    """Check the fields of a `payload` that is being made, and put their values into normal form.

    Raises `PayloadMismatch`.
    """
    for field, check in payload.CHECKS.items():
        value = getattr(payload, field)
        if value is None:
            continue
        try:
            settled = check(value)
        except ValueError as error:
            raise PayloadMismatch(f"{type(payload).__name__}.{field} {error}", subject="", field=field) from None
        if settled is not value:
            msgspec.structs.force_setattr(payload, field, settled)


# ---- checks


def utc(value: object) -> datetime:
    """An aware datetime in UTC. Raises `ValueError` for a naive one."""
    if not isinstance(value, datetime):
        raise ValueError(f"is not a datetime but {type(value).__name__}")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise ValueError("has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def number(value: object) -> Decimal:
    """A finite decimal of at most 100 digits before and after its point. Raises `ValueError`.

    A longer one, or `1E+999999999`, would take its readers minutes and all of their memory.
    """
    if not isinstance(value, Decimal):
        raise ValueError(f"is not a Decimal but {type(value).__name__}")
    if not value.is_finite():
        raise ValueError("is not a finite number")
    try:
        _exact.plus(value)
    except DecimalException:
        raise ValueError(f"has more than {_MOST_DIGITS} digits, or is beyond 1E±{_MOST_DIGITS}") from None
    return value


def between(least: str | None, most: str | None) -> Check:
    """A check for a decimal from `least` to `most`."""
    low = None if least is None else Decimal(least)
    high = None if most is None else Decimal(most)

    def check(value: object) -> Decimal:
        found = number(value)
        if low is not None and found < low:
            raise ValueError(f"is less than {low}")
        if high is not None and found > high:
            raise ValueError(f"is more than {high}")
        return found

    return check


def uint64(value: object) -> object:
    """An int of at most 64 bits: msgspec checks only that it is one, and not negative."""
    if isinstance(value, int) and value > _LARGEST_UINT64:
        raise ValueError("is more than 2^64 - 1")
    return value


def items(check: Check) -> Check:
    """A check of each item of a list."""

    def each(value: object) -> object:
        return [None if one is None else check(one) for one in value] if isinstance(value, (list, tuple)) else value

    return each


def members(check: Check) -> Check:
    """A check of the value of each key of a map."""

    def each(value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: None if one is None else check(one) for key, one in value.items()}

    return each


# ---- values that a new payload is given


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def today() -> date:
    """The current date in UTC."""
    return datetime.now(UTC).date()


def uuid(text: str) -> UUID:
    """The UUID of its text."""
    return UUID(text)
