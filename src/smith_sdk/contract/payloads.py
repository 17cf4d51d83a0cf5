"""The base class of generated payloads, and the values that a new payload is given."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, NewType, NoReturn, Self, TypeAlias, TypeVar

import msgspec

from ..display import Record
from ..errors import PayloadMismatch
from .pydantic_schema import DATACLASS_PARAMS, DataclassFields, core_schema, json_schema
from .secrets import HIDDEN

if TYPE_CHECKING:
    from pydantic_core.core_schema import CoreSchema

T = TypeVar("T")

Check: TypeAlias = Callable[[Any], Any]
"""Takes a value that is not None, and returns it in its normal form. Raises `ValueError`."""

UnknownMember = NewType("UnknownMember", str)
"""A value of an open enum that this contract does not know: kept, and written back unchanged."""


class Payload(Record, frozen=True, kw_only=True):
    """Base of every generated payload.

    `ID_FIELD` names the field whose value identifies a payload for deduplication; None if it has
    no such field. `MAX_ITEMS` is how many elements and members all arrays and objects of its JSON
    may have together, `MAX_DEPTH` how many of these may be inside each other: `publish` and readers
    refuse more.
    """

    ID_FIELD: ClassVar[str | None] = None
    ALIASES: ClassVar[tuple[str, ...]] = ()
    """Other tags that its JSON may have. They are read, and never written."""
    MAX_ITEMS: ClassVar[int] = 100_000
    MAX_DEPTH: ClassVar[int] = 127  # what the Rust crates read
    SPELLINGS: ClassVar[dict[str, dict[str, str]]] = {}
    """Other spellings of values, by field. They are read, and never written."""
    CHECKS: ClassVar[dict[str, Check]] = {}
    """What `values.settle` checks, by field, because msgspec cannot."""
    SECRETS: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not shown: they are in the JSON, and nowhere else."""

    if not TYPE_CHECKING:  # type checkers would take the class for a dataclass, with its rules
        __dataclass_fields__: ClassVar = DataclassFields()
        __dataclass_params__: ClassVar = DATACLASS_PARAMS

    if TYPE_CHECKING:  # by which `handler_for` knows whether a consumer delivers such payloads

        @classmethod
        def _as_message(cls) -> Self: ...

        @classmethod
        def _as_itself(cls) -> Self: ...

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Its JSON's keys and values, for `dict(payload)`, as pydantic's models do it.

        FastAPI turns what it has no model for into a dict in this way.
        """
        return iter(self.to_dict().items())

    def __repr__(self) -> str:
        if not self.SECRETS:
            return msgspec.Struct.__repr__(self)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._shown().items())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(self._shown().items())

    def _shown(self) -> dict[str, Any]:
        shown = msgspec.structs.asdict(self)
        return shown | {name: _Hidden() for name in self.SECRETS if shown[name] is not None}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        return core_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: object) -> dict[str, Any]:
        return json_schema(cls)


def require_struct(cls: object, name: str) -> None:
    """Raise `PayloadMismatch` unless `cls`, which a spec imports as `name`, can be a payload."""
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        raise PayloadMismatch(f"{name}, which the spec imports as a payload, is not a msgspec Struct", subject="")
    field = getattr(cls, "ID_FIELD", None)
    if field is not None and field not in cls.__struct_fields__:
        raise PayloadMismatch(f"{name}.ID_FIELD is {field!r}, which is not one of its fields", subject="")


class _Hidden:
    def __repr__(self) -> str:
        return HIDDEN


def kind_of(value: object, kinds: tuple[T, ...]) -> T | None:
    """The tag of an externally tagged value, `{tag: content}` or `tag`; None if not of `kinds`."""
    tag: object = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else value
    return next((kind for kind in kinds if kind == tag), None)


def respell(payload: Payload) -> None:
    """Give the fields of a `payload` that is being made the values that their spellings mean."""
    for field, spellings in payload.SPELLINGS.items():
        value = getattr(payload, field)
        if isinstance(value, str) and value in spellings:
            msgspec.structs.force_setattr(payload, field, spellings[value])


def refuse_int(payload: str, field: str, value: int, most: int) -> NoReturn:
    """Raise the `PayloadMismatch` for a `value` above `most`."""
    shown = str(value) if value < 1 << 256 else f"of {value.bit_length()} bits"
    raise PayloadMismatch(f"{payload}.{field} cannot be {shown}: at most {most}", subject="", field=field)


# ---- values that a new payload is given


def new_uuid7() -> str:
    """A new UUIDv7 (RFC 9562): 48 bits of milliseconds since 1970, then random bits.

    Ids of a later millisecond sort after earlier ones.
    """
    try:
        digits = _random.pop()
    except IndexError:
        _random.extend(_random_digits())
        digits = _random.pop()
    return _uuid(7, f"{time.time_ns() // 1_000_000:012x}{digits}")


_random: Final[list[str]] = []
"""Random digits for the next ids: a call of the system for each would be a third of its time."""
_IDS_AT_ONCE: Final = 256


def _random_digits() -> list[str]:
    digits = os.urandom(10 * _IDS_AT_ONCE).hex()
    return [digits[at : at + 20] for at in range(0, len(digits), 20)]


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_random.clear)  # or parent and child would make the same ids


def new_uuid4() -> str:
    """A new random UUID."""
    return _uuid(4, os.urandom(16).hex())


_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""A digit with the variant of RFC 9562 in its two upper bits."""


def _uuid(version: int, digits: str) -> str:
    """128 bits, as 32 hexadecimal digits, as the text of a UUID of that version."""
    # `str(uuid.UUID(...))` takes four times as long.
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def now_ns() -> int:
    """Nanoseconds since 1970 (UTC)."""
    return time.time_ns()


def now_rfc3339() -> str:
    """The current time in UTC as RFC 3339 with microseconds: `2025-01-31T12:00:00.000000Z`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
