"""The types of payload fields: `str`, `int?`, `list[map[T]]`, `enum:a|b`, tokens, messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

SCALARS: Final = ("str", "int", "float", "bool", "bytes", "any")


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
        """As a Python annotation; `meta` is the `_msgspec.Meta(...)` of a bounded int."""
        if self.kind == "list":
            plain = f"list[{self._inner()}]"
        elif self.kind == "map":
            plain = f"dict[str, {self._inner()}]"
        elif self.kind == "enum":
            plain = f"_Literal[{', '.join(map(repr, self.values))}]"
        else:
            plain = {"ref": self.name, "any": "_Any"}.get(self.kind, self.kind)
        if meta:
            plain = f"_Annotated[{plain}, {meta}]"
        return f"{plain} | None" if self.optional and self.kind != "any" else plain

    def _inner(self) -> str:
        assert self.item is not None
        return self.item.python()

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
        wanted = {"str": str, "int": int, "bool": bool}.get(kind or "")
        return wanted is not None and type(value) is wanted


def parse(text: str) -> FieldType:
    """Read a field type. Raises `ValueError`."""
    text = text.strip()
    if text.endswith("?"):
        inner = parse(text[:-1])
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
        return FieldType(outer[1], item=parse(outer[2]))
    if text in SCALARS:
        return FieldType(text)
    if not re.fullmatch(r"[A-Za-z_]\w*", text):
        raise ValueError(
            f"{text!r} is not a field type: {', '.join(SCALARS)}, list[T], map[T], enum:a|b, a name; T? may be absent"
        )
    return FieldType("ref", name=text)
