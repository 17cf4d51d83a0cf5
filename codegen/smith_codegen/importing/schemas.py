"""JSON Schemas as messages, enums and unions of a spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from .. import names
from ..documents.message_schemas import FACTS, SCALARS
from ..fieldtypes import LARGEST_UINT64
from ..name_checks import is_class_name, is_name
from .document import References, Remote

_FORMATS: Final[Mapping[str, str]] = {"date-time": "datetime", "date": "date", "duration": "duration", "uuid": "uuid"}
_SAID: Final = frozenset(
    f"""$ref $schema $id $comment title description type format default examples example enum const properties required items
    additionalProperties anyOf oneOf allOf minimum maximum minLength maxLength minItems maxItems minProperties maxProperties
    pattern deprecated writeOnly readOnly contentEncoding discriminator nullable {FACTS}""".split()
)
"""Keywords that a spec can say, or that bind nothing."""
_SHAPES: Final[Mapping[str, tuple[type, ...]]] = {
    **dict.fromkeys(("title", "description", "pattern", "format"), (str,)),
    **dict.fromkeys(("properties", FACTS), (dict,)),
    **dict.fromkeys(("required", "enum", "oneOf", "anyOf", "allOf"), (list,)),
    **dict.fromkeys(("minimum", "maximum"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), (int,)),
    "additionalProperties": (bool, dict),
    "type": (str, list),
}
"""What the values of keywords are."""
_LIMITS: Final = {
    "str": (("minLength", "min_length"), ("maxLength", "max_length"), ("pattern", "pattern")),
    "list": (("minItems", "min_length"), ("maxItems", "max_length")),
    "map": (("minProperties", "min_length"), ("maxProperties", "max_length")),
    "int": (("minimum", "min"), ("maximum", "max")),
    "uint64": (("minimum", "min"), ("maximum", "max")),
    "float": (("minimum", "min"), ("maximum", "max")),
}
_RENAMES: Final = ("camel", "kebab", "pascal", "upper")

Table = dict[str, Any]


class Messages:
    """What is found in schemas: `messages`, `enums` and `unions`, by name."""

    def __init__(self, references: References, note: Callable[[str, str], None], *, is_ours: bool) -> None:
        self._references = references
        self._is_ours = is_ours
        self._note = note
        self._names: dict[int, str] = {}
        self._nodes: list[Any] = []  # kept, so that an id is that of one node only
        self._sounds: dict[int, Table] = {}
        self.messages: dict[str, Table] = {}
        self.enums: dict[str, Table] = {}
        self.unions: dict[str, Table] = {}
        self.imported: set[str] = set()
        """Names that packages of the document's own spec declare."""

    def payload(self, node: Any, name: str, at: str) -> str:
        """The message for the schema of a payload; "bytes" if there can be none."""
        try:
            schema, referred = self._references.follow(node)
        except Remote as remote:
            self._note(at, f"its schema is {remote}, which is not fetched: the payload is bytes")
            return "bytes"
        kind = self._type(node if referred else schema, referred or name, at)
        if kind in self.messages or kind in self.unions or kind in self.imported:
            return kind
        self._note(at, f"a payload of type {kind} is no object: the payload is bytes")
        return "bytes"

    def headers(self, schema: Table, at: str) -> Table:
        """The types of headers; those that are no scalars are left out."""
        found = {}
        schema = self._sound(schema, at)
        for name, one in schema.get("properties", {}).items():
            if name == "Nats-Msg-Id":  # which every message with an id has
                continue
            kind = self._field(one, names.camel(name), name in schema.get("required", []), f"{at}/{name}")["type"]
            if kind.removesuffix("?") in SCALARS and not kind.startswith("any"):
                found[name] = kind
            else:
                self._note(f"{at}/{name}", f"a header cannot be of type {kind}: it is left out")
        return found

    def declare_all(self, schemas: Table) -> None:
        """Declare what is not declared yet; families first, since they take their members along."""
        for name, schema in sorted(schemas.items(), key=lambda pair: "by" not in _facts(pair[1])):
            if id(schema) not in self._names:
                self._type({"$ref": f"#/components/schemas/{name}"}, name, f"components/schemas/{name}")

    def _sound(self, schema: Table, at: str) -> Table:
        """A schema without keywords whose values cannot be those of a schema."""
        odd = [key for key, kinds in _SHAPES.items() if key in schema and not isinstance(schema[key], kinds)]
        if not odd:
            return schema
        if id(schema) not in self._sounds:
            self._note(at, f"{', '.join(odd)} cannot have that value: left out")
            self._nodes.append(schema)
            self._sounds[id(schema)] = {key: value for key, value in schema.items() if key not in odd}
        return self._sounds[id(schema)]

    # ---- types

    def _type(self, node: Any, name: str, at: str) -> str:
        """The type of a field for a schema, without `?`; what it needs is declared."""
        try:
            schema, referred = self._references.follow(node)
        except Remote as remote:
            self._note(at, f"{remote} is not fetched: the type is any")
            return "any"
        if not isinstance(schema, dict):
            if schema is not True:
                self._note(at, f"{str(schema)[:40]} is no schema: the type is any")
            return "any"
        schema = self._sound(schema, at)
        for key in sorted(schema.keys() - _SAID):
            if not key.startswith("x-"):
                self._note(at, f"{key} has no word in a spec")
        if _facts(schema).get("package"):
            self.imported.add(referred)
            return referred
        return self._named(schema, referred or str(schema.get("title") or name), at, bool(referred))

    def _named(self, schema: Table, name: str, at: str, is_shared: bool) -> str:
        if id(schema) in self._names:
            return self._names[id(schema)]
        if "import" in _facts(schema):
            return self._declare(self.messages, schema, name, lambda _: {"import": schema[FACTS]["import"], **_doc(schema)})
        scalar = next((kind for kind, one in SCALARS.items() if kind in ("decimal", "uint64") and _has(schema, one)), None)
        if scalar is not None:
            return scalar
        values = schema.get("enum")
        if isinstance(values, list) or _facts(schema).get("open"):
            return self._enum(schema, values, name, at, is_shared)
        branches = schema.get("oneOf") or schema.get("anyOf")
        if isinstance(branches, list):
            return self._branches(schema, branches, name, at)
        if "allOf" in schema:
            return self._named(self._merged(schema, at), name, at, is_shared)
        kind = schema.get("type")
        if isinstance(kind, list):
            plain = [one for one in kind if one != "null"]
            kind = plain[0] if len(plain) == 1 else None
        return self._plain(schema, kind, name, at)

    def _plain(self, schema: Table, kind: Any, name: str, at: str) -> str:
        if kind == "string":
            encoded = schema.get("contentEncoding") == "base64"
            return "bytes" if encoded else _FORMATS.get(str(schema.get("format")), "str")
        if kind in ("integer", "number", "boolean"):
            return {"integer": "int", "number": "float", "boolean": "bool"}[kind]
        if kind == "array":
            return f"list[{self._inner(schema.get('items', {}), names.camel(name) + 'Item', f'{at}/items')}]"
        if kind == "object" or "properties" in schema:
            return self._object(schema, name, at)
        if kind is not None or "not" in schema or "if" in schema:
            self._note(at, f"type {kind} has no word in a spec: it is any")
        return "any"

    def _inner(self, node: Any, name: str, at: str) -> str:
        plain, optional = self._without_null(node)
        kind = self._type(plain, name, at)
        return f"{kind}?" if optional and kind != "any" else kind

    def _without_null(self, node: Any) -> tuple[Any, bool]:
        """A schema without null, and whether that was one of its values."""
        if not isinstance(node, dict):
            return node, False
        for key in ("anyOf", "oneOf"):
            found = node.get(key)
            if isinstance(found, list) and {"type": "null"} in found:
                rest = [one for one in found if one != {"type": "null"}]
                around = {other: value for other, value in node.items() if other != key}
                if len(rest) != 1 or not isinstance(rest[0], dict):
                    return {**around, key: rest}, True
                return (rest[0], True) if "$ref" in rest[0] else ({**around, **rest[0]}, True)
        kind = node.get("type")
        return node, bool(node.get("nullable")) or (isinstance(kind, list) and "null" in kind)

    def _object(self, schema: Table, name: str, at: str) -> str:
        extra = schema.get("additionalProperties")
        if not schema.get("properties") and extra is not False and "required" not in schema:
            if isinstance(extra, dict):
                return f"map[{self._inner(extra, name + 'Value', f'{at}/additionalProperties')}]"
            return "map[any]"
        if isinstance(extra, dict):
            self._note(f"{at}/additionalProperties", "a message has either named fields or is a map: they are left out")
        return self._declare(self.messages, schema, name, lambda chosen: self._message(schema, chosen, at))

    def _message(self, schema: Table, name: str, at: str) -> Table:
        facts = _facts(schema)
        found: Table = {
            **_doc(schema),
            **{key: facts[key] for key in ("id", "max_items", "max_depth", "deprecated") if key in facts},
        }
        if schema.get("additionalProperties") is False:
            found["forbid_unknown"] = True
        required = schema.get("required", [])
        properties = schema.get("properties", {})
        rename = facts.get("rename") if self._is_ours else _rename(properties)
        fields: Table = {}
        for key, one in properties.items():
            field = _facts(one).get("field") or _attribute(key, rename)
            while field in fields:
                field += "_"
            made = self._field(one, f"{name}{names.camel(field)}", key in required, f"{at}/properties/{key}")
            wire = {} if names.wire(field, None, rename) == key else {"name": key}
            made |= wire
            fields[field] = made["type"] if len(made) == 1 else made
        if facts.get("id") in properties:
            found["id"] = _attribute(facts["id"], rename)
        if schema.get("deprecated") is True and "deprecated" not in found:
            found["deprecated"] = "do not use it"
        return {**found, **({"rename": rename} if rename else {}), "fields": fields}

    def _field(self, node: Any, name: str, is_required: bool, at: str) -> Table:
        plain, nullable = self._without_null(node)
        schema = self._sound(node, at) if isinstance(node, dict) else {}
        facts = _facts(schema)
        if "const" in schema and isinstance(schema["const"], str | int):
            return {
                "type": "int" if type(schema["const"]) is int else "str",
                "const": schema["const"],
                **_doc(schema),
                **_marks(schema),
            }
        kind = facts.get("type") or self._type(plain, name, at)
        default = schema.get("default")
        if not facts.get("type") and (nullable or (not is_required and default is None)):
            kind = f"{kind}?"
        found: Table = {"type": kind, **_doc(schema), **_marks(schema)}
        if default is not None:
            if isinstance(default, dict | list) and default:
                self._note(at, "a default that is not empty has no word in a spec")
            else:
                found["default"] = default
        found |= self._limits(self._sound(plain, at) if isinstance(plain, dict) else {}, kind, at)
        return found | {key: facts[key] for key in facts if key not in ("type", "field", "values", "open")}

    def _limits(self, schema: Table, kind: str, at: str) -> Table:
        plain = kind.removesuffix("?").partition("[")[0]
        found = {}
        for keyword, key in _LIMITS.get(plain, ()):
            value = schema.get(keyword)
            if value is None or ("$ref" in schema):
                continue
            if keyword == "pattern":
                value = value.replace("$(?!\\n)", "$")
                if not (value.startswith("^") and value.endswith("$")):
                    self._note(at, f"the pattern {value!r} does not match whole texts: it is left out")
                    continue
            found[key] = value
        return {key: value for key, value in found.items() if plain != "uint64" or value not in (0, LARGEST_UINT64)}

    # ---- sets, unions and what is merged

    def _enum(self, schema: Table, values: Any, name: str, at: str, is_shared: bool) -> str:
        values = schema.get("examples", []) if values is None else values
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) != len([value for value in values if value is not None]) or not texts:
            self._note(at, "an enum of other values than texts has no word in a spec")
            return "int" if values and all(type(value) is int for value in values) else "any"
        facts = _facts(schema)
        texts = [value for value in texts if value not in facts.get("reads", {})]
        if is_shared or any("|" in value or not value for value in texts):
            docs = facts.get("values") or {}
            listed: Any = {value: docs.get(value, "") for value in texts} if docs else texts
            made = {**_doc(schema), "values": listed, **({"open": True} if facts.get("open") else {})}
            return self._declare(self.enums, schema, name, lambda _: made)
        return f"enum:{'|'.join(dict.fromkeys(texts))}"

    def _branches(self, schema: Table, branches: list[Any], name: str, at: str) -> str:
        """One of several: a union if a tag tells its members apart."""
        members, tag = [], ""
        for index, branch in enumerate(branches):
            try:
                one, _ = self._references.follow(branch)
            except Remote as remote:
                self._note(at, f"{remote} is not fetched: the type is any")
                return "any"
            found = _tag_of(self._sound(one, at) if isinstance(one, dict) else {}, schema)
            if found is None or (tag and found[0] != tag):
                self._note(at, "no tag tells the alternatives apart: the type is any")
                return "any"
            tag = found[0]
            members.append((found[1], branch, f"{at}/{index}"))
        if "by" in _facts(schema):
            return self._declare(self.messages, schema, name, lambda _: self._family(schema, tag, members))
        return self._declare(self.unions, schema, name, lambda _: self._union(schema, tag, members))

    def _union(self, schema: Table, tag: str, members: list[tuple[str, Any, str]]) -> Table:
        found = {}
        for value, branch, at in members:
            found[value] = self._type(branch, value, at)
            self.messages.get(found[value], {}).get("fields", {}).pop(_attribute(tag, None), None)
        plain = all(value == message for value, message in found.items())
        return {**_doc(schema), "tag": tag, "members": list(found) if plain else found}

    def _family(self, schema: Table, tag: str, members: list[tuple[str, Any, str]]) -> Table:
        """A family, whose members become one message again."""
        params, common = {}, {}
        for value, branch, at in members:
            kind = self._type(branch, value, at)
            made = self.messages.pop(kind)
            common = {key: inner for key, inner in made.items() if key != "doc"}
            fields = dict(common.pop("fields"))
            fields.pop(_attribute(tag, None), None)
            inner = self.messages.pop(fields.pop("params"))
            params[value] = inner.get("fields", {})
            common["fields"] = fields
        return {**_doc(schema), "by": tag, **common, "params": params}

    def _merged(self, schema: Table, at: str) -> Table:
        found: Table = {key: value for key, value in schema.items() if key != "allOf"}
        properties: Table = {}
        required: list[Any] = []
        for part in schema["allOf"]:
            try:
                one, _ = self._references.follow(part)
            except Remote as remote:
                self._note(f"{at}/allOf", f"{remote} is not fetched: it is left out")
                continue
            if isinstance(one, dict):
                one = self._sound(one, at)
                one = self._merged(one, at) if "allOf" in one else one
                properties |= one.get("properties", {})
                required += one.get("required", [])
                found = {**{key: value for key, value in one.items() if key not in ("title", "properties", "required")}, **found}
        merged = {
            **found,
            "properties": {**properties, **found.get("properties", {})},
            "required": [*required, *found.get("required", [])],
        }
        self._nodes.append(merged)
        return merged if merged["properties"] else {key: merged[key] for key in merged.keys() - {"properties", "required"}}

    def _declare(self, section: dict[str, Table], schema: Table, name: str, make: Callable[[str], Table]) -> str:
        """Declare what `make` gives, by a name that is free; a schema is declared once."""
        chosen = plain = _class_name(name)
        number = 2
        while any(chosen in one for one in (self.messages, self.enums, self.unions)):
            chosen, number = f"{plain}{number}", number + 1
        self._names[id(schema)] = chosen
        self._nodes.append(schema)
        section[chosen] = {}  # so that the name is taken while it is made
        section[chosen] = make(chosen)
        return chosen


def _has(schema: Table, scalar: Table) -> bool:
    if "anyOf" in scalar:
        found = schema.get("anyOf")
        return isinstance(found, list) and found[:1] == scalar["anyOf"][:1]
    return all(schema.get(key) == value for key, value in scalar.items())


def _tag_of(schema: Any, union: Table) -> tuple[str, str] | None:
    """The key and the value that tell a member of a union from the others."""
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    named = union.get("discriminator")
    named = named.get("propertyName") if isinstance(named, dict) else named
    for key in [named] if isinstance(named, str) else properties:
        one = properties.get(key)
        values = (
            [one["const"]] if isinstance(one, dict) and "const" in one else one.get("enum", []) if isinstance(one, dict) else []
        )
        if values and isinstance(values[0], str) and (len(values) == 1 or FACTS in union):
            return key, values[0]
    return None


def _class_name(text: str) -> str:
    made = names.camel(text) or "Payload"
    made = made[:1].upper() + made[1:]
    return made if is_class_name(made) else f"P{re.sub(r'[^A-Za-z0-9_]', '', made)}"


def _attribute(key: str, rename: str | None) -> str:
    """The name of the field for a key of JSON."""
    text = key.lower() if rename == "upper" else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)
    made = re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_") or "field"
    return made if is_name(made) or is_name(f"{made}_") else f"f_{made}"


def _rename(properties: Mapping[str, Any]) -> str | None:
    """The `rename` that writes most keys, if it writes more of them than none does."""

    def written(rename: str | None) -> int:
        return sum(names.wire(_attribute(key, rename), None, rename) == key for key in properties)

    return max((None, *_RENAMES), key=written)


def _facts(node: Any) -> Table:
    found = node.get(FACTS) if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def _doc(schema: Table) -> Table:
    text = schema.get("description") or schema.get("summary")
    return {"doc": text} if isinstance(text, str) and text else {}


def _marks(schema: Table) -> Table:
    found: Table = {"secret": True} if schema.get("writeOnly") is True else {}
    if schema.get("deprecated") is True and "deprecated" not in _facts(schema):
        found["deprecated"] = "do not use it"
    return found
