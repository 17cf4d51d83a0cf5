"""Messages that need a value of themselves: no value of these can ever be made, nor be read."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from . import fieldtypes
from .errors import SpecError
from .locate import Path as Key
from .message_spec import FieldDecl
from .spec import Spec


def check(spec: Spec) -> Iterator[SpecError]:
    """Every message without a finite value."""
    finite: set[str] = set()
    while more := {name for name in (*spec.messages, *spec.unions) if name not in finite and _is_finite(spec, name, finite)}:
        finite |= more
    for name in spec.messages:
        if name not in finite and spec.is_own(("messages", name)):
            path, inside = next(_endless(spec, name, finite))
            what = "itself" if inside == name else f"a {inside}, which requires a {name}, or itself, in turn"
            yield spec.error(path, f"requires {what}: no value can be made", "let the field be absent (?), or make it a list")


def _is_finite(spec: Spec, name: str, finite: set[str]) -> bool:
    if name in spec.unions:
        return any(member in finite for member in spec.unions[name].tags.values())
    decl = spec.messages[name]
    if not _all_finite(spec, decl.fields, finite):
        return False
    return not decl.params or any(_all_finite(spec, fields, finite) for fields in decl.params.values())


def _all_finite(spec: Spec, fields: dict[str, FieldDecl], finite: set[str]) -> bool:
    return all(_required(spec, field) in (None, *finite) for field in fields.values())


def _required(spec: Spec, field: FieldDecl) -> str | None:
    """The message or union of which a field needs a value; None if of none."""
    try:
        kind = fieldtypes.parse(field.type)
    except ValueError:
        return None  # reported as such
    is_needed = kind.kind == "ref" and not kind.optional and field.default is msgspec.UNSET
    return kind.name if is_needed and (kind.name in spec.messages or kind.name in spec.unions) else None


def _endless(spec: Spec, name: str, finite: set[str]) -> Iterator[tuple[Key, str]]:
    """The fields for which a message has no finite value."""
    decl = spec.messages[name]
    groups: list[tuple[Key, dict[str, FieldDecl]]] = [(("fields",), decl.fields)]
    groups += [(("params", value), fields) for value, fields in decl.params.items()]
    for where, fields in groups:
        for field, one in fields.items():
            inside = _required(spec, one)
            if inside is not None and inside not in finite:
                yield ("messages", name, *where, field), inside
