"""Checks of the headers that subjects declare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from . import fieldtypes, names
from .errors import SpecError
from .locate import Path as Key
from .message_spec import FieldDecl
from .name_checks import suggest
from .spec import Spec

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_RESERVED: Final = ("nats-", "smith-", "status", "description")
"""Beginnings, in lower case, of headers that the server, the SDK or the protocol writes."""


def check(spec: Spec) -> Iterator[SpecError]:
    """All checks of `headers`."""
    checked: set[str] = set()
    for name, decl in spec.subjects.items():
        if decl.headers is None or ("subjects", name) in spec.derived:
            continue
        assert isinstance(decl.headers, str)
        key = ("subjects", name, "headers")
        if decl.reply is not None:
            yield spec.error(key, "are for subjects without a reply", "remove them, or the reply")
        message = spec.messages.get(decl.headers)
        if message is None:
            fix = suggest(decl.headers, spec.messages, "declare it in [messages], or write a table of headers")
            yield spec.error(key, f"unknown message {decl.headers!r}", fix)
        elif message.by is not None or message.import_ is not None or not message.fields:
            what = "an imported class" if message.import_ is not None else "a family" if message.by else "without a field"
            yield spec.error(key, f"{decl.headers} is {what}, which headers cannot be", "name a message with scalar fields")
        elif decl.headers not in checked:
            checked.add(decl.headers)
            for field, inner in message.fields.items():
                where = ("messages", decl.headers, "fields", field)
                yield from _header(spec, where, names.wire(field, inner.name, message.rename), inner)


def _header(spec: Spec, key: Key, name: str, decl: FieldDecl) -> Iterator[SpecError]:
    if not _NAME.fullmatch(name):
        yield spec.error(key, f"{name!r} is not a valid name of a header", "write letters, digits, '-', '_' and '.'")
    elif name.lower().startswith(_RESERVED):
        yield spec.error(key, f"{name} is a header that the server or the SDK writes", "choose another name")
    try:
        kind = fieldtypes.parse(decl.type)
    except ValueError:
        return  # reported with the message
    is_scalar = kind.kind in fieldtypes.SCALARS or kind.kind in ("enum", "ref")
    if not is_scalar or kind.kind in ("any", "bytes") or kind.name in (*spec.messages, *spec.unions):
        yield spec.error(key, f"{decl.type} is not a type of a header", "write a scalar, an enum, or the type of a token")
