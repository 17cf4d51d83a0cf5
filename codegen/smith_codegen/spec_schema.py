"""The JSON Schema of `subjects.toml`, made from the declarations that read it.

Draft 7, which the editors' TOML plug-ins know. It accepts what the reader accepts by form; what
names refer to is checked by the generator only.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from . import key_docs, topology_spec, units
from .message_spec import FieldDecl, MixinDecl
from .reader import NOTATIONS
from .spec import Spec, SpecDecl
from .subject_spec import ErrorDecl

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
_SCALARS: Final[Mapping[Any, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_UNITS: Final = (
    (units.DURATIONS, r"^\d+(\.\d+)?(ms|s|m|h|d)$", "90s"),
    (units.SIZES, r"^\d+(B|KiB|MiB|GiB|TiB)$", "500MiB"),
    (units.TIMES, r"^\d{4}-?\d\d-?\d\d.\d\d.*([Zz]|[+-]\d\d(:?\d\d)?.*)$", "2030-01-31T12:00:00Z"),
)
"""Keys with a unit: their pattern as text, and an example."""
_WRITTEN_OUT: Final[Mapping[str, type[msgspec.Struct]]] = {"mixins": MixinDecl}
"""What the sections declare that a read spec no longer has."""
_SHORT: Final[Mapping[type[msgspec.Struct], str]] = {FieldDecl: "Its type.", ErrorDecl: "What it means."}
"""What may be a string instead of a table, and what that string is."""

Schema = dict[str, Any]


def build() -> Schema:
    """The whole schema."""
    defs: dict[str, Schema] = {}
    properties = {name: _section(name, kind, defs) for name, kind in sections().items()}
    return {
        "$schema": DIALECT,
        "title": "A spec of subjects",
        "description": "What `smith-codegen` generates typed Python from.",
        "type": "object",
        "properties": properties,
        "required": ["spec"],
        "additionalProperties": False,
        "definitions": dict(sorted(defs.items())),
    }


def sections() -> dict[str, type[msgspec.Struct]]:
    """The sections of a spec, each with the struct of what it declares."""
    found: dict[str, type[msgspec.Struct]] = {"spec": SpecDecl}
    for name, hint in get_type_hints(Spec).items():
        inner = get_args(hint)[-1] if get_origin(hint) is dict else None
        if isinstance(inner, type) and issubclass(inner, topology_spec.Strict):
            found[name] = inner
    return found | {name: _WRITTEN_OUT[name] for name in NOTATIONS}


def _section(name: str, kind: type[msgspec.Struct], defs: dict[str, Schema]) -> Schema:
    one = _struct(kind, defs)
    if kind is SpecDecl:
        return {"description": key_docs.summary(kind), **one}
    return {"description": key_docs.summary(kind), "type": "object", "additionalProperties": one}


def _struct(kind: type[msgspec.Struct], defs: dict[str, Schema]) -> Schema:
    """A reference to the schema of a struct, which is added to `defs`."""
    name = kind.__name__.removesuffix("Decl")
    if name not in defs:
        defs[name] = {}  # in case it contains itself
        hints = get_type_hints(kind)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        made: Schema = {
            "description": key_docs.summary(kind),
            "type": "object",
            "properties": {key: _key(kind, field, hints[key], defs) for key, field in fields.items()},
            "required": [key for key, field in fields.items() if field.required],
            "additionalProperties": False,
        }
        if kind is FieldDecl:  # an inline object needs no type
            made |= {"required": [], "anyOf": [{"required": ["type"]}, {"required": ["fields"]}]}
        if kind in _SHORT:
            made = {"anyOf": [{"type": "string", "description": _SHORT[kind]}, made]}
        defs[name] |= made
    return {"allOf": [{"$ref": f"#/definitions/{name}"}]}


def _key(kind: type[msgspec.Struct], field: msgspec.structs.FieldInfo, hint: Any, defs: dict[str, Schema]) -> Schema:
    made = _type(hint, defs)
    if kind is not FieldDecl:
        made = _with_unit(field.name, made)
    text = key_docs.of(kind).get(field.name, "")
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    shown = {} if default in (None, msgspec.NODEFAULT, msgspec.UNSET, "", (), {}) else {"default": default}
    return {"description": text, **made, **shown}


def _with_unit(key: str, made: Schema) -> Schema:
    for keys, pattern, example in _UNITS:
        if key in keys:
            text = {"type": "string", "pattern": pattern, "examples": [example]}
            return {"anyOf": [text, {"type": "integer"}]} if "anyOf" in made else text
    return made


def _type(hint: Any, defs: dict[str, Schema]) -> Schema:
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(inner[1], defs)}
    if origin in (tuple, list):
        return {"type": "array", "items": _type(inner[0], defs)}
    if origin in (Union, types.UnionType):
        kinds = [one for one in inner if one is not type(None) and one is not msgspec.UnsetType]
        return _type(kinds[0], defs) if len(kinds) == 1 else {"anyOf": [_type(one, defs) for one in kinds]}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _struct(hint, defs)
    if hint is Any:
        return {}
    raise TypeError(f"a key of a declaration has type {hint}, for which no schema is known: add it here")
