"""The types of payload fields: `str`, `int?`, `list[map[T]]`, `enum:a|b`, `datetime`, a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec

SCALARS: Final = (
    "str",
    "int",
    "uint64",
    "float",
    "decimal",
    "bool",
    "bytes",
    "datetime",
    "date",
    "duration",
    "uuid",
    "any",
)
LARGEST_UINT64: Final = 2**64 - 1
DEEPEST: Final = 16
"""Lists and maps that may be inside each other in the type of one field."""

_PYTHON: Final = {
    "any": "_Any",
    "date": "_date",
    "datetime": "_datetime",
    "decimal": "_Decimal",
    "duration": "_timedelta",
    "uint64": "int",
    "uuid": "_UUID",
}
"""Classes that generated modules import under names that no field can have: `date: date` would be a
field whose type is the field."""

_READ: Final[dict[str, Any]] = {
    "date": date,
    "datetime": Annotated[datetime, msgspec.Meta(tz=True)],
    "duration": timedelta,
    "uuid": UUID,
}
_CHECKS: Final = {"datetime": "_values.utc", "decimal": "_values.number", "uint64": "_values.uint64"}
"""What msgspec does not check, or not enough."""


class FieldType(msgspec.Struct, frozen=True):
    """`kind` is a scalar, "list", "map", "enum" or "ref" (`name` says to what)."""

    kind: str
    optional: bool = False
    item: FieldType | None = None
    name: str = ""
    values: tuple[str, ...] = ()

    def names(self) -> Iterator[str]:
        """Every name that is referred to."""
        if self.kind == "ref":
            yield self.name
        if self.item is not None:
            yield from self.item.names()

    def python(self, meta: str = "") -> str:
        """As a Python annotation; `meta` are the arguments of a `msgspec.Meta`."""
        if self.kind == "list":
            plain = f"list[{self._inner()}]"
        elif self.kind == "map":
            plain = f"dict[str, {self._inner()}]"
        elif self.kind == "enum":
            plain = f"_Literal[{', '.join(map(repr, self.values))}]"
        else:
            plain = self.name if self.kind == "ref" else _PYTHON.get(self.kind, self.kind)
        if self.kind == "datetime":
            meta = f"tz=True{', ' * bool(meta)}{meta}"
        if self.kind == "uint64" and not meta:
            meta = f"ge=0, extra_json_schema={{'maximum': {LARGEST_UINT64}}}"
        if meta:
            plain = f"_Annotated[{plain}, _msgspec.Meta({meta})]"
        return f"{plain} | None" if self.optional and self.kind != "any" else plain

    def argument(self) -> str:
        """As the annotation of a parameter: without limits."""
        if self.kind in ("list", "map"):
            assert self.item is not None
            plain = f"{'list[' if self.kind == 'list' else 'dict[str, '}{self.item.argument()}]"
        else:
            plain = {"datetime": "_datetime", "uint64": "int"}.get(self.kind) or msgspec.structs.replace(
                self, optional=False
            ).python()
        return f"{plain} | None" if self.optional and self.kind != "any" else plain

    def _inner(self) -> str:
        assert self.item is not None
        return self.item.python()

    def check(self) -> str:
        """What checks a value beyond msgspec, as Python source; "" if nothing has to."""
        if self.item is None:
            return _CHECKS.get(self.kind, "")
        inner = self.item.check()
        return f"_values.{'items' if self.kind == 'list' else 'members'}({inner})" if inner else ""

    def accepts(self, value: Any, base_of: Callable[[str], str | None]) -> bool:
        """Whether `value`, from TOML, is valid for this type.

        `base_of` returns the scalar of a token's type, None for others.
        """
        kind = base_of(self.name) if self.kind == "ref" else self.kind
        if kind == "any":
            return True
        if kind in ("list", "map"):
            return type(value) is (list if kind == "list" else dict) and not value
        if kind == "enum":
            return value in self.values
        if kind == "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        if kind in _READ or kind == "decimal":
            return read(kind, value) is not None
        wanted = {"str": str, "int": int, "uint64": int, "bool": bool}.get(kind or "")
        return wanted is not None and type(value) is wanted


def read(kind: str, value: object) -> Any:
    """The value that a text of a spec stands for, such as a datetime; None if it is not valid."""
    if kind == "decimal":
        return _decimal(value)
    try:
        return msgspec.convert(value, _READ[kind]) if isinstance(value, str) else None
    except msgspec.ValidationError:
        return None


def _decimal(value: object) -> Decimal | None:
    if type(value) is not str and type(value) is not int:
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found.adjusted()) < 100 and len(str(found)) <= 100 else None


def source(kind: str, value: Any) -> str:
    """The value of a field as Python source."""
    if kind not in _READ and kind != "decimal":
        return repr(value)
    found = read(kind, value)
    if kind in ("date", "datetime"):
        return f"{_PYTHON[kind]}.fromisoformat({found.isoformat()!r})"
    if isinstance(found, timedelta):
        parts = (("days", found.days), ("seconds", found.seconds), ("microseconds", found.microseconds))
        return f"_timedelta({', '.join(f'{name}={number}' for name, number in parts if number)})"
    return f"{_PYTHON[kind]}({str(found)!r})"


def parse(text: str) -> FieldType:
    """Read a field type. Raises `ValueError`."""
    if text.count("[") > DEEPEST or "??" in text.replace(" ", ""):
        problem = f"has more than {DEEPEST} lists and maps inside each other" if "?" not in text else "has more than one '?'"
        raise ValueError(f"{text[:40]!r}{'...' * (len(text) > 40)} {problem}")
    return _parsed(text)


def _parsed(text: str) -> FieldType:
    text = text.strip()
    if text.endswith("?"):
        inner = _parsed(text[:-1])
        if inner.optional:
            raise ValueError(f"{text!r} has more than one '?'")
        return msgspec.structs.replace(inner, optional=True)
    if text.startswith("enum:"):
        values = tuple(text[5:].split("|"))
        if not all(values) or len(set(values)) != len(values):
            raise ValueError(f"{text!r} needs different values: enum:a|b")
        return FieldType("enum", values=values)
    outer = re.fullmatch(r"(list|map)\[(.*)\]", text)
    if outer:
        return FieldType(outer[1], item=_parsed(outer[2]))
    if text in SCALARS:
        return FieldType(text)
    if not re.fullmatch(r"[A-Za-z_]\w*", text):
        raise ValueError(
            f"{text!r} is not a field type: {', '.join(SCALARS)}, list[T], map[T], enum:a|b, a name; T? may be absent"
        )
    return FieldType("ref", name=text)
