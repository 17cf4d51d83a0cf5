"""Checks of unions of messages, and of messages that are classes of the user's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from . import names
from .errors import SpecError
from .locate import Path as Key
from .message_spec import MessageDecl, UnionDecl
from .name_checks import is_class_name, is_name, suggest
from .spec import Spec, fields_of

_CLASS: Final = re.compile(r"[\w.]+:\w+")
_TAG: Final = re.compile(r"[A-Za-z_$@][\w$@-]*")


def check(spec: Spec) -> Iterator[SpecError]:
    for name, union in spec.unions.items():
        if spec.is_own(("unions", name)):
            yield from _union(spec, ("unions", name), name, union)
    yield from _tags(spec)
    for name, decl in spec.messages.items():
        if decl.import_ is not None:
            yield from _imported(spec, ("messages", name), decl)


def _union(spec: Spec, key: Key, name: str, union: UnionDecl) -> Iterator[SpecError]:
    if not is_class_name(name):
        yield spec.error(key, f"{name!r} is not a valid class name", "write it like Shape")
    if not _TAG.fullmatch(union.tag):
        yield spec.error((*key, "tag"), f"{union.tag!r} is not a valid key", "write letters and digits, such as type or @type")
    if not union.members:
        yield spec.error((*key, "members"), "is empty", "name messages")
    if len(union.members) != len(union.tags):
        yield spec.error((*key, "members"), "has a message twice", "name each message once")
    for index, (tag, member) in enumerate(union.tags.items()):
        where = (*key, "members", tag if isinstance(union.members, dict) else str(index))
        decl = spec.messages.get(member)
        if not tag:
            yield spec.error(where, "an empty tag", "give it a value")
        if decl is None:
            yield spec.error(where, f"unknown message {member!r}", suggest(member, spec.messages, "declare it in [messages]"))
        elif decl.by is not None or decl.import_ is not None:
            what = "a family, which has a tag of its own" if decl.by else "a class of yours, whose tag is its own"
            yield spec.error(where, f"{member} is {what}", "name messages with fields")
        elif not spec.is_own(("messages", member)):
            yield spec.error(where, f"{member} is a class of {spec.home(('messages', member))}", "name messages of this spec")
        elif union.tag in {names.wire(field, one.name, decl.rename) for field, one in decl.fields.items()}:
            yield spec.error(where, f"{member} has a field {union.tag}", "call the tag, or the field, otherwise")


def _tags(spec: Spec) -> Iterator[SpecError]:
    """Messages that would need two tags."""
    found: dict[str, tuple[str, str]] = {}
    for name, union in spec.unions.items():
        for tag, member in union.tags.items():
            first = found.setdefault(member, (union.tag, tag))
            if first != (union.tag, tag):
                problem = f"{member} would have the tag {union.tag}={tag!r}, and has {first[0]}={first[1]!r} already"
                yield spec.error(("unions", name, "members"), problem, "give it one tag in all its unions")


def _imported(spec: Spec, key: Key, decl: MessageDecl) -> Iterator[SpecError]:
    assert decl.import_ is not None
    module, _, cls = decl.import_.partition(":")
    if not _CLASS.fullmatch(decl.import_) or not all(map(is_name, (*module.split("."), cls))):
        yield spec.error((*key, "import"), f"{decl.import_!r} is not a class", 'write "package.module:Class"')
    for field in fields_of(type(decl)):
        if field.name not in ("import_", "doc") and getattr(decl, field.name) != _default(field):
            fix = "give the class `ID_FIELD: ClassVar[str]`" if field.name == "id" else "remove it: the class says it"
            yield spec.error((*key, field.encode_name), "does not go with import", fix)


def _default(field: msgspec.structs.FieldInfo) -> object:
    """What a field has if it is not given."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
