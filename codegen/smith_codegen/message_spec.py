"""Payloads in a spec: messages, and what their fields may be."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .topology_spec import Strict


class FieldDecl(Strict, frozen=True):
    """A field of a payload: `"T"` or a table. `default` is for wire and constructor, `new` for
    `.new()`.

    `kinds` are the known tags of a field of type any that is externally tagged, as serde writes
    enums: `{"RunStart": {...}}`. They type the payload's `kind`, and do not bind the wire.

    `reads` are other spellings of the values of a closed set, each with its value: they are read,
    and never written. `case` of a token's closed set: the JSON has its values in upper case, the
    token's own are read, too.
    """

    type: str
    kinds: tuple[str, ...] = ()
    default: Any = msgspec.UNSET
    new: Any = msgspec.UNSET
    min: int | None = None
    max: int | None = None
    case: Literal["upper"] | None = None
    reads: dict[str, str] = msgspec.field(default_factory=dict)


class MessageDecl(Strict, frozen=True):
    """`[messages.X]`: a payload, or with `by` a family with one payload per value of a token.

    `max_items` and `max_depth` limit its JSON: how many elements and members all its arrays and
    objects have together, and how many of these are inside each other.
    """

    id: str | None = None
    by: str | None = None
    max_items: int | None = None
    max_depth: int | None = None
    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    params: dict[str, dict[str, FieldDecl]] = msgspec.field(default_factory=dict)
