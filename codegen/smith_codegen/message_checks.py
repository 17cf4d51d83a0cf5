"""Checks of messages: their fields, and the types, limits and defaults of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from . import fieldtypes, names
from .errors import SpecError
from .locate import Path as Key
from .message_spec import FieldDecl, MessageDecl
from .name_checks import is_class_name, python_name, suggest
from .resolve import GENERATORS, LARGEST_INT
from .spec import Spec

_DEEPEST: Final = 127
"""Levels of JSON that the Rust crates read."""

_PAYLOAD_MEMBERS: Final = frozenset(
    (
        "bool",
        "bytes",
        "classmethod",
        "cls",
        "dict",
        "float",
        "int",
        "list",
        "msgspec",
        "new",
        "property",
        "self",
        "str",
        "to_dict",
    )
).union(GENERATORS.values())
"""Names that generated payload classes use: a field called `str` would hide the type, one called
`to_dict` the method."""


def check(spec: Spec, name: str, decl: MessageDecl) -> Iterator[SpecError]:
    key = ("messages", name)
    if decl.import_ is not None:
        return  # `shape_checks` has them
    if not is_class_name(name):
        yield spec.error(key, f"{name!r} is not a valid class name", "write it like IntentResult")
    yield from _message_limits(spec, key, decl)
    taken = frozenset((decl.by, "params")) if decl.by else frozenset()
    tagged = [field for field, inner in decl.fields.items() if inner.kinds]
    for field in tagged[0 if decl.by else 1 :]:
        problem = "a family" if decl.by else f"a message with the kinds of {tagged[0]}"
        yield spec.error((*key, "fields", field, "kinds"), f"cannot be used in {problem}", "remove it")
    taken |= frozenset(("kind", "kind_of")) if tagged else frozenset()
    yield from _fields(spec, (*key, "fields"), decl.fields, taken)
    if decl.id is not None and (decl.id not in decl.fields or not _is_str(spec, decl.fields[decl.id])):
        yield spec.error((*key, "id"), f"{decl.id!r} is not a field of type str", "name the field that identifies the message")
    if decl.by is None:
        if decl.params:
            yield spec.error((*key, "params"), "is for families", "add `by`, or move the fields to `fields`")
        return
    token = spec.tokens.get(decl.by)
    if token is None or token.enum is None:
        yield spec.error(
            (*key, "by"), f"{decl.by!r} is not a closed set", suggest(decl.by, spec.tokens, "name a token that has an enum")
        )
        return
    if spec.selectors[decl.by] != name:
        other = spec.selectors[decl.by]
        yield spec.error((*key, "by"), f"{decl.by} selects the payload of {other} already", "use a token of its own")
    for value in token.enum:
        if value not in decl.params:
            fix = f'add "{value}" = {{ ... }} with its fields, or "{value}" = {{}}'
            yield spec.error((*key, "params"), f"{value!r}, a value of {decl.by}, has no params", fix)
    for value, fields in decl.params.items():
        if value not in token.enum:
            yield spec.error((*key, "params", value), f"is not a value of {decl.by}", "remove it, or add the value to the token")
        yield from _fields(spec, (*key, "params", value), fields, frozenset())


def _message_limits(spec: Spec, key: Key, decl: MessageDecl) -> Iterator[SpecError]:
    if decl.max_items is not None and decl.max_items < 1:
        yield spec.error((*key, "max_items"), "is less than 1", "leave it out for 100,000")
    if decl.max_depth is not None and not 1 <= decl.max_depth <= _DEEPEST:
        yield spec.error((*key, "max_depth"), f"is not within 1 to {_DEEPEST}", f"leave it out for {_DEEPEST}")


def _fields(spec: Spec, key: Key, fields: dict[str, FieldDecl], taken: frozenset[str]) -> Iterator[SpecError]:
    known = {*spec.messages, *spec.unions, *(names.type_name(name, decl.newtype) for name, decl in spec.tokens.items())}
    selectors = {names.type_name(name, None) for name in spec.selectors}
    for name, decl in fields.items():
        where = (*key, name)
        yield from python_name(spec, where, name, _PAYLOAD_MEMBERS | taken)
        try:
            kind = fieldtypes.parse(decl.type)
        except ValueError as error:
            yield spec.error(where, str(error), "fix the type")
            continue
        bad = [ref for ref in kind.names() if ref not in known or ref in selectors]
        for ref in bad:
            if ref in selectors:
                yield spec.error(where, f"{ref} selects a payload and cannot be a field type", "use str")
            else:
                fix = suggest(ref, [*known, *fieldtypes.SCALARS], "declare it in [messages] or [tokens]")
                yield spec.error(where, f"unknown type {ref!r}", fix)
        if not bad:
            yield from _values(spec, where, kind, decl)


def _values(spec: Spec, key: Key, kind: fieldtypes.FieldType, decl: FieldDecl) -> Iterator[SpecError]:
    if decl.kinds and kind.kind != "any":
        yield spec.error((*key, "kinds"), "is for fields of type any", "remove it, or write enum:a|b")
    if len(set(decl.kinds)) != len(decl.kinds):
        yield spec.error((*key, "kinds"), "has a value twice", "name each kind once")
    for bound in ("min", "max"):
        if getattr(decl, bound) is not None and kind.kind != "int":
            yield spec.error((*key, bound), "is for fields of type int", "remove it")
    if decl.min is not None and abs(decl.min) > LARGEST_INT:
        yield spec.error((*key, "min"), "is beyond 64 bits", "leave it out")
    yield from _spellings(spec, key, kind, decl)
    for which in ("default", "new"):
        value: Any = getattr(decl, which)
        if value is msgspec.UNSET or (
            which == "new" and isinstance(value, str) and value in GENERATORS and _makes(spec, kind, value)
        ):
            continue
        if which == "new" and value == {} and _may_be_empty(spec, kind):
            continue
        if not kind.accepts(value, lambda ref: _base(spec, ref)):
            fix = f"write {_example(spec, kind)}"
            fix += f", or have it made: {', '.join(map(repr, GENERATORS))}" if which == "new" else ""
            yield spec.error((*key, which), f"{value!r} is not a valid {decl.type}", fix)


def _spellings(spec: Spec, key: Key, kind: fieldtypes.FieldType, decl: FieldDecl) -> Iterator[SpecError]:
    token = next((one for name, one in spec.tokens.items() if names.type_name(name, one.newtype) == kind.name), None)
    values = kind.values if token is None else token.enum or ()
    if decl.case is not None and (kind.kind != "ref" or not values):
        yield spec.error((*key, "case"), "is for fields of the type of a token with an enum", "remove it")
    elif decl.case is not None and (len({value.upper() for value in values} | set(values)) < 2 * len(values) or decl.reads):
        problem = "needs values in lower case that stay different, and no reads"
        yield spec.error((*key, "case"), problem, "remove it")
    if decl.reads and (not values or decl.default is not msgspec.UNSET):
        yield spec.error((*key, "reads"), "is for fields of a closed set without a default", "remove it, or write enum:a|b")
        return
    for other, value in decl.reads.items():
        if other in values:
            yield spec.error((*key, "reads", other), "is a value of the field itself", "remove it")
        elif value not in values:
            yield spec.error((*key, "reads", other), f"{value!r} is not a value", f"write one of {', '.join(values)}")


def _may_be_empty(spec: Spec, kind: fieldtypes.FieldType) -> bool:
    """Whether it is a message without a required field."""
    message = spec.messages.get(kind.name)
    return (
        message is not None
        and message.by is None
        and all(one.type.endswith("?") or one.default is not msgspec.UNSET for one in message.fields.values())
    )


def _example(spec: Spec, kind: fieldtypes.FieldType) -> str:
    """An example of a value of this type in TOML."""
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    if base == "enum":
        return f"one of {', '.join(kind.values)}"
    examples = {"str": 'text in quotes, such as "x"', "int": "a whole number, such as 5", "float": "a number, such as 0.5"}
    examples |= {"bool": "true or false", "list": "[], the only default of a list", "map": "{}, the only default of a map"}
    return examples.get(base or "", "nothing: this type has no default")


def _makes(spec: Spec, kind: fieldtypes.FieldType, generator: str) -> bool:
    base = _base(spec, kind.name) if kind.kind == "ref" else kind.kind
    return base == ("int" if generator == "now_ns" else "str")


def _base(spec: Spec, ref: str) -> str | None:
    """The scalar under the type of an open token."""
    return next((decl.base for decl in spec.tokens.values() if decl.newtype == ref), None)


def _is_str(spec: Spec, decl: FieldDecl) -> bool:
    return decl.type == "str" or _base(spec, decl.type) == "str"
