"""Checks of messages: their fields, and the types, limits and defaults of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from . import field_checks, fieldtypes, names
from .errors import SpecError
from .field_checks import is_id
from .locate import Path as Key
from .message_spec import EnumDecl, FieldDecl, MessageDecl
from .name_checks import is_class_name, python_name, suggest
from .spec import Spec

_DEEPEST: Final = 127
"""Levels of JSON that the Rust crates read."""


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
    yield from _keys(spec, (*key, "fields"), decl, decl.fields, decl.by)
    if decl.id is not None and (decl.id not in decl.fields or not is_id(spec, decl.fields[decl.id])):
        yield spec.error(
            (*key, "id"), f"{decl.id!r} is not a field of type str or uuid", "name the field that identifies the message"
        )
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
        yield from _keys(spec, (*key, "params", value), decl, fields, None)


def _message_limits(spec: Spec, key: Key, decl: MessageDecl) -> Iterator[SpecError]:
    if decl.max_items is not None and decl.max_items < 1:
        yield spec.error((*key, "max_items"), "is less than 1", "leave it out for 100,000")
    if decl.max_depth is not None and not 1 <= decl.max_depth <= _DEEPEST:
        yield spec.error((*key, "max_depth"), f"is not within 1 to {_DEEPEST}", f"leave it out for {_DEEPEST}")


def _fields(spec: Spec, key: Key, fields: dict[str, FieldDecl], taken: frozenset[str]) -> Iterator[SpecError]:
    known = spec.types
    selectors = {spec.python.tokens[name] for name in spec.selectors if name in spec.tokens}
    attributes = {name for name in fields if names.attribute(name) == name}
    for name, decl in fields.items():
        where = (*key, name)
        attribute = names.attribute(name)
        yield from python_name(spec, where, attribute, taken)
        if attribute != name and attribute in attributes:
            yield spec.error(where, f"is {attribute} in Python, which is another field", "rename one of them")
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
                fix = suggest(ref, [*known, *fieldtypes.SCALARS], "declare it in [messages], [enums] or [tokens]")
                yield spec.error(where, f"unknown type {ref!r}", fix)
        if not bad:
            yield from field_checks.check(spec, where, decl, kind)
        if decl.secret and name in spec.tokens:
            yield spec.error(
                (*where, "secret"), "is for fields that become no token of a subject", "remove it, or rename the field"
            )


def _keys(spec: Spec, key: Key, decl: MessageDecl, fields: dict[str, FieldDecl], tag: str | None) -> Iterator[SpecError]:
    """Two fields with the same key in JSON."""
    found = {} if tag is None else {tag: "the tag"}
    for name, field in fields.items():
        wire = names.wire(name, field.name, decl.rename)
        if wire in found:
            yield spec.error(
                (*key, name), f"its key in JSON would be {wire!r}, which is that of {found[wire]}", "give it a name of its own"
            )
        found.setdefault(wire, name)


def check_enum(spec: Spec, name: str, decl: EnumDecl) -> Iterator[SpecError]:
    """What is wrong with one of `[enums]`."""
    key = ("enums", name)
    if not is_class_name(name):
        yield spec.error(key, f"{name!r} is not a valid class name", "write it like Color")
    if not decl.values:
        yield spec.error((*key, "values"), "has no value", "name the values")
    values = [*decl.values]
    for index, value in enumerate(values):
        if not value or not value.isprintable():
            yield spec.error((*key, "values"), f"{value!r} is not a valid value", "write printable text")
        if values.index(value) != index:
            yield spec.error((*key, "values"), f"{value!r} occurs twice", "name each value once")
