"""From the fields of a spec to those of the model, with their Python source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from . import fieldtypes, names
from .field_patterns import portable
from .fieldtypes import LARGEST_UINT64, FieldType
from .message_spec import EnumDecl, FieldDecl
from .model import Field, Token

LARGEST_INT: Final = 2**63 - 1
"""The largest bound of an int that msgspec can check."""

MADE: Final[Mapping[str, Mapping[str, str]]] = {
    "str": {"uuid7": "_new_uuid7()", "uuid4": "_new_uuid4()", "now_rfc3339": "_now_rfc3339()"},
    "int": {"now_ns": "_now_ns()"},
    "uint64": {"now_ns": "_now_ns()"},
    "datetime": {"now": "_values.now()"},
    "date": {"today": "_values.today()"},
    "uuid": {"uuid7": "_UUID(_new_uuid7())", "uuid4": "_UUID(_new_uuid4())"},
}
"""Values that a field's `new` may name, by the type of the field, and their Python source."""


class Resolver:
    """What the fields of all messages are resolved with: tokens by their types, and enums."""

    def __init__(self, tokens: Mapping[str, Token], enums: Mapping[str, EnumDecl]) -> None:
        self.tokens = {token.type_name: token for token in tokens.values()}
        self.enums = enums

    def field(self, name: str, decl: FieldDecl, rename: str | None = None) -> Field:
        kind = fieldtypes.parse(decl.type)
        values = self.values(kind)
        spellings = tuple(decl.reads.items())
        if decl.case is not None:
            spellings += tuple((value, value.upper()) for value in values)
            kind = FieldType("enum", optional=kind.optional, values=tuple(value.upper() for value in values))
        wide = FieldType("enum", optional=kind.optional, values=(*(kind.values or values), *(other for other, _ in spellings)))
        if decl.const is not msgspec.UNSET:
            kind = FieldType("enum", values=(decl.const,))
        meta = _meta(kind, decl)
        attribute = names.attribute(name)
        annotation, new_default, new_value = self.for_new(attribute, wide if decl.case else kind, decl)
        return Field(
            name=attribute,
            decl=decl,
            wire=names.wire(name, decl.name, rename),
            annotation=kind.python(meta),
            default=self.default(kind, decl),
            kinds=decl.kinds,
            doc=_doc(decl),
            new_annotation=annotation,
            new_default=new_default,
            new_value=f"{attribute}_" if decl.case else new_value,
            reads=wide.python() if spellings else "",
            spellings=spellings,
            most=_beyond(kind, decl),
            check=_check(kind, decl),
            secret=decl.secret,
            ref="" if kind.optional else kind.name,
            refers=tuple(kind.names()),
        )

    def values(self, kind: FieldType) -> tuple[str, ...]:
        """The values of a closed set; none of anything else."""
        if kind.name in self.tokens:
            return self.tokens[kind.name].values
        return tuple(self.enums[kind.name].docs) if kind.name in self.enums else kind.values

    def default(self, kind: FieldType, decl: FieldDecl) -> str:
        if decl.const is not msgspec.UNSET:
            return repr(decl.const)
        if decl.default is msgspec.UNSET:
            return "None" if kind.optional else ""
        if isinstance(decl.default, dict | list):
            return f"_msgspec.field(default_factory={type(decl.default).__name__})"
        return self.typed(kind, fieldtypes.source(kind.kind, decl.default))

    def typed(self, kind: FieldType, source: str) -> str:
        """`source` as a value of the type: of a NewType as a call."""
        return f"{kind.name}({source})" if self.is_open(kind) else source

    def is_open(self, kind: FieldType) -> bool:
        """Whether it is the NewType of an open token."""
        return kind.kind == "ref" and kind.name in self.tokens and self.tokens[kind.name].kind in ("open", "int")

    def for_new(self, name: str, kind: FieldType, decl: FieldDecl) -> tuple[str, str, str]:
        """Annotation, default and value of a parameter of `.new()`; a NewType is given as its
        base."""
        plain, is_open = kind, self.is_open(kind)
        if is_open:
            plain = FieldType("int" if self.tokens[kind.name].kind == "int" else "str", optional=kind.optional)
        annotation = plain.argument()
        value: Any = decl.new if decl.new is not msgspec.UNSET else decl.default
        value = decl.const if decl.const is not msgspec.UNSET else value
        made = MADE.get(plain.kind, {}).get(value) if isinstance(value, str) and decl.new is value else None
        if made is not None:
            return _may_be_none(annotation), "None", self.typed(kind, f"{made} if {name} is None else {name}")
        if isinstance(value, dict | list):
            empty = f"{kind.name}()" if kind.kind == "ref" else repr(value)
            return _may_be_none(annotation), "None", f"{empty} if {name} is None else {name}"
        if value is not msgspec.UNSET:
            return annotation, fieldtypes.source(kind.kind, value), self.typed(kind, name)
        if kind.optional:
            return annotation, "None", f"None if {name} is None else {self.typed(kind, name)}" if is_open else name
        return annotation, "", self.typed(kind, name)


def _may_be_none(annotation: str) -> str:
    return annotation if annotation.endswith(" | None") else f"{annotation} | None"


def _doc(decl: FieldDecl) -> str:
    if not decl.deprecated:
        return decl.doc
    return f"{decl.doc}{' ' * bool(decl.doc)}Deprecated: {decl.deprecated.removesuffix('.')}."


def _beyond(kind: FieldType, decl: FieldDecl) -> int | None:
    """The maximum of an int, if msgspec cannot check it."""
    if kind.kind == "uint64" and decl.max is None:
        return LARGEST_UINT64
    return decl.max if kind.kind in ("int", "uint64") and isinstance(decl.max, int) and decl.max > LARGEST_INT else None


def _check(kind: FieldType, decl: FieldDecl) -> str:
    if kind.kind == "decimal" and (decl.min is not None or decl.max is not None):
        low, high = (None if limit is None else str(limit) for limit in (decl.min, decl.max))
        return f"_values.between({low!r}, {high!r})"
    return "" if kind.kind == "uint64" else kind.check()  # of a field itself it is `most`


def _meta(kind: FieldType, decl: FieldDecl) -> str:
    """The arguments of the field's `msgspec.Meta`."""
    beyond = _beyond(kind, decl)
    low = 0 if kind.kind == "uint64" and decl.min is None else decl.min
    limits: list[tuple[str, Any]] = [("min_length", decl.min_length), ("max_length", decl.max_length)]
    if kind.kind != "decimal":
        limits = [("ge", low), ("le", None if beyond else decl.max), *limits]
    if decl.pattern is not None:
        limits.append(("pattern", portable(decl.pattern)))
    extra: dict[str, Any] = {} if beyond is None else {"maximum": beyond}
    extra |= {"writeOnly": True} if decl.secret else {}
    extra |= {"deprecated": True} if decl.deprecated else {}
    limits.append(("extra_json_schema", extra or None))
    return ", ".join(f"{key}={value!r}" for key, value in limits if value is not None)
