"""JSON Schemas of payloads: they accept what the decoders of the generated classes accept.

What JSON Schema cannot express stays to the decoder: keys that occur twice, the limits of a whole
payload (`max_items`, `max_depth`), and that `1.0` is not an int.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .. import fieldtypes
from ..field_patterns import portable
from ..fieldtypes import LARGEST_UINT64, FieldType
from ..message_spec import FieldDecl
from ..model import Declared, Enum, Family, Field, Imported, Message, Model, Token, TokenField, Union

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FACTS: Final = "x-smith"
"""The key of what JSON Schema has no word for."""

_TOKEN: Final = r"^[^.*>\s\u0000-\u0020\u007f]{1,256}$"
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_DECIMAL: Final = r"^\s*[+-]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?\s*$"
_HOUR: Final = "([01][0-9]|2[0-3])"
_DATE: Final = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_DATETIME: Final = f"^{_DATE}[Tt ]{_HOUR}:[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]{_HOUR}:?[0-5][0-9])$"
_UNIT: Final = "[0-9]+(\\.[0-9]+)?"
_DURATION: Final = f"^[+-]?[Pp](?=[0-9Tt])({_UNIT}[Dd])?([Tt](?=[0-9])({_UNIT}[Hh])?({_UNIT}[Mm])?({_UNIT}[Ss])?)?$"
_UUID: Final = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"

SCALARS: Final[Mapping[str, dict[str, Any]]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "uint64": {"type": "integer", "minimum": 0, "maximum": LARGEST_UINT64},
    "float": {"type": "number"},
    "decimal": {"anyOf": [{"type": "string", "pattern": _DECIMAL}, {"type": "number"}]},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
    "datetime": {"type": "string", "format": "date-time", "pattern": _DATETIME},
    "date": {"type": "string", "format": "date", "pattern": f"^{_DATE}$"},
    "duration": {"type": "string", "format": "duration", "pattern": _DURATION},
    "uuid": {"type": "string", "format": "uuid", "pattern": _UUID},
    "any": {},
}
_LENGTHS: Final = {"str": "Length", "bytes": "Length", "list": "Items", "map": "Properties"}

Schema = dict[str, Any]


class MessageSchemas:
    """The schemas of all payloads of a model.

    `where` is what references begin with. `needs_tag`: whether a member of a family or union must
    have its tag, as publishers write it; the decoder of the class alone does without.
    """

    def __init__(self, model: Model, where: str = "#/$defs/", *, needs_tag: bool = False) -> None:
        self._where = where
        self._needs_tag = needs_tag
        self._renames = {name: decl.rename for name, decl in model.spec.messages.items()}
        self.tokens = {token.type_name: token for token in model.tokens}
        self.declared: dict[str, Declared] = {one.name: one for one in (*model.declared, *model.messages)}

    def whole(self, name: str) -> Schema:
        """The schema of a payload or family in a document of its own."""
        defs = {other: self.of(other) for other in self.reached(name) if other != name}
        own = self.of(name)
        if f'"{self._where}{name}"' in msgspec.json.encode([own, defs]).decode():  # it refers to itself
            defs, own = {**defs, name: own}, {"$ref": f"{self._where}{name}"}
        return {"$schema": DIALECT, **own, **({"$defs": dict(sorted(defs.items()))} if defs else {})}

    def reached(self, name: str) -> frozenset[str]:
        """The payloads that a payload is made of, itself included."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one in self.declared and one not in found:
                found.add(one)
                waiting += self._parts(self.declared[one])
        return frozenset(found)

    def of(self, name: str) -> Schema:
        """The schema of one payload; others are references."""
        decl = self.declared[name]
        if isinstance(decl, Message):
            return self._message(decl)
        made: Schema = {"title": decl.name, **_described(decl.doc)}
        if isinstance(decl, Imported):
            return {**made, FACTS: {"import": f"{decl.module}:{decl.cls}"}}
        if isinstance(decl, Enum):
            return {**made, **_enum(decl)}
        if isinstance(decl, Family | Union):
            members = [self._reference(member) for member in self.members(name)]
            tag = self.selector(decl)
            facts = {FACTS: {"by": tag}} if isinstance(decl, Family) else {}
            return {**made, "type": "object", "required": [tag], "oneOf": members, **facts}
        raise TypeError(f"{name} is a {type(decl).__name__}, for which no schema is known: add it here")

    def selector(self, decl: Family | Union) -> str:
        """The key of the tag in the JSON of the members."""
        if isinstance(decl, Family):
            return decl.by.name
        first = self.declared[decl.members[0]]
        assert isinstance(first, Message)
        assert first.union_tag is not None
        return first.union_tag[0]

    def members(self, name: str) -> tuple[str, ...]:
        """The payloads of a family or union; otherwise the payload itself."""
        decl = self.declared[name]
        if isinstance(decl, Family):
            return tuple(member.name for member in decl.members)
        return decl.members if isinstance(decl, Union) else (name,)

    def _parts(self, decl: Declared) -> list[str]:
        if isinstance(decl, Message):
            return [name for field in decl.fields for name in fieldtypes.parse(field.decl.type).names()]
        return [member for member in self.members(decl.name) if member != decl.name]

    def _reference(self, name: str) -> Schema:
        return {"$ref": f"{self._where}{name}"}

    def _message(self, message: Message) -> Schema:
        tokens = {field.name: field for field in message.tokens}
        properties: Schema = {field.wire: self.field(field, tokens.get(field.name)) for field in message.fields}
        required = [field.wire for field in message.fields if not field.default]
        facts: Schema = {key: value for key in ("id", "max_items", "max_depth") if (value := getattr(message, key)) is not None}
        made: Schema = {"title": message.name, **_described(message.doc), "type": "object"}
        tag = self.tag(message)
        if tag is not None:
            properties = {tag[0]: {"enum": [tag[1], *message.aliases]}, **properties}
            required = [*([tag[0]] if self._needs_tag else []), *required]
        made |= {"properties": properties, "required": required}
        if message.forbid_unknown:
            made["additionalProperties"] = False
        rename = self._renames.get(message.family or message.name)
        facts |= {"rename": rename} if rename else {}
        if message.deprecated:
            made["deprecated"] = True
            facts["deprecated"] = message.deprecated
        return made | ({FACTS: facts} if facts else {})

    def tag(self, message: Message) -> tuple[str, str] | None:
        """The key and the value of a payload's tag; None if it is in no family or union."""
        family = self.declared.get(message.family)
        return (family.by.name, message.tag) if isinstance(family, Family) else message.union_tag

    def field(self, field: Field, token: TokenField | None = None) -> Schema:
        """The schema of a field; `token` if it is one of a subject, too."""
        decl = field.decl
        kind = fieldtypes.parse(decl.type)
        if decl.const is not msgspec.UNSET:
            named: Schema = {FACTS: {"field": field.name}} if decl.name else {}
            return {"const": decl.const, **_described(field.doc), "default": decl.const, **_marks(decl), **named}
        made = self._plain(kind, decl) if token is None or token.is_upper else self._token(token.token, token.may_be_empty)
        made = {**made, **_limits(kind, decl)}
        if kind.optional and kind.kind != "any":
            made = {"anyOf": [made, {"type": "null"}]}
        default = {} if decl.default is msgspec.UNSET else {"default": decl.default}
        facts = {**({"field": field.name} if decl.name else {}), **self._facts(kind, decl)}
        return {**made, **_described(field.doc), **default, **_marks(decl), **({FACTS: facts} if facts else {})}

    def _plain(self, kind: FieldType, decl: FieldDecl) -> Schema:
        values = self.values(kind)
        if values and (decl.case or decl.reads):
            return {"enum": [*map(str.upper, values if decl.case else ()), *values, *decl.reads]}
        return self.type(kind)

    def values(self, kind: FieldType) -> tuple[str, ...]:
        """The values of a closed set; empty for other types."""
        named = self.declared.get(kind.name)
        if isinstance(named, Enum):
            return tuple(value for value, _ in named.values)
        return self.tokens[kind.name].values if kind.name in self.tokens else kind.values

    def type(self, kind: FieldType) -> Schema:
        """The schema of a type, without regard to whether it is optional at the top."""
        if kind.kind in SCALARS:
            return dict(SCALARS[kind.kind])
        if kind.kind == "enum":
            return {"enum": list(kind.values)}
        if kind.kind == "list":
            return {"type": "array", "items": self._inner(kind)}
        if kind.kind == "map":
            return {"type": "object", "additionalProperties": self._inner(kind)}
        if kind.name in self.tokens:
            token = self.tokens[kind.name]
            return {"enum": list(token.values)} if token.values else {"type": "integer" if token.kind == "int" else "string"}
        return self._reference(kind.name)

    def _inner(self, kind: FieldType) -> Schema:
        assert kind.item is not None
        made = self.type(kind.item)
        return {"anyOf": [made, {"type": "null"}]} if kind.item.optional and kind.item.kind != "any" else made

    def _token(self, token: Token, may_be_empty: bool) -> Schema:
        made = token_schema(token)
        return {"anyOf": [{"const": ""}, made]} if may_be_empty else made

    def _facts(self, kind: FieldType, decl: FieldDecl) -> Schema:
        """What a field's declaration says beyond its schema."""
        found: Schema = {"type": decl.type} if any(name in self.tokens for name in kind.names()) else {}
        bounds = (decl.min, decl.max)
        if (kind.kind == "int" and bounds == (0, LARGEST_UINT64)) or (kind.kind == "uint64" and bounds != (None, None)):
            found["type"] = decl.type  # which the bounds alone do not tell
        if decl.new is not msgspec.UNSET:
            found["new"] = decl.new
        for key in ("kinds", "case", "reads"):
            if value := getattr(decl, key):
                found[key] = list(value) if isinstance(value, tuple) else value
        kept = {"decimal": ("min", "max"), "bytes": ("min_length", "max_length")}.get(kind.kind, ())
        found |= {key: value for key in kept if (value := getattr(decl, key)) is not None}
        return found | ({"deprecated": decl.deprecated} if decl.deprecated else {})


def _enum(decl: Enum) -> Schema:
    values = [value for value, _ in decl.values]
    facts: Schema = {"values": {value: doc for value, doc in decl.values if doc}}
    if decl.is_open:
        facts["open"] = True
    made: Schema = {"type": "string", "examples": values} if decl.is_open else {"enum": values}
    return {**made, FACTS: facts}


def _limits(kind: FieldType, decl: FieldDecl) -> Schema:
    bounds = (("minimum", decl.min), ("maximum", decl.max))
    found: Schema = {key: value for key, value in bounds if value is not None}
    if kind.kind == "uint64":
        found = {"minimum": 0, "maximum": LARGEST_UINT64, **found}
    if kind.kind == "decimal":  # whose texts have no order in JSON Schema
        text, number = SCALARS["decimal"]["anyOf"]
        found = {"anyOf": [text, {**number, **{key: float(value) for key, value in found.items()}}]}
    if kind.kind in _LENGTHS:
        for key, value in (("min", decl.min_length), ("max", decl.max_length)):
            if value is not None:
                found[f"{key}{_LENGTHS[kind.kind]}"] = (value + 2) // 3 * 4 if kind.kind == "bytes" else value
    if decl.pattern is not None:
        found["pattern"] = portable(decl.pattern)
    return found


def _marks(decl: FieldDecl) -> Schema:
    return {**({"writeOnly": True} if decl.secret else {}), **({"deprecated": True} if decl.deprecated else {})}


def token_schema(token: Token) -> Schema:
    """The values that a token may have in a subject."""
    if token.values:
        return {"enum": list(token.values)}
    if token.kind in ("int", "shard"):
        bounds = (("minimum", token.min), ("maximum", token.max))
        return {"type": "integer", **{key: bound for key, bound in bounds if bound is not None}}
    return {"type": "string", "pattern": _TOKEN, **({"not": {"enum": list(token.exclude)}} if token.exclude else {})}


def _described(doc: str) -> Schema:
    return {"description": doc} if doc else {}
