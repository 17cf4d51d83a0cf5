"""Payloads in a spec: messages, and what their fields may be."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .topology_spec import Strict


class FieldDecl(Strict, frozen=True):
    """A field of a payload: `"T"`, or a table with `type = "T"` and more."""

    type: str
    """`str`, `int`, `float`, `bool`, `bytes`, `any`, `list[T]`, `map[T]`, `enum:a|b`, the type of a
    token, or a message. `T?` may be null or absent. With `fields`, `object` stands for the inline
    object, as in `list[object]?`; it may be left out for `object`."""
    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """The fields of an inline object. It becomes a message that is called like the message and the
    field together, such as OrderAddress, and has the `rename` and `forbid_unknown` of that one."""
    kinds: tuple[str, ...] = ()
    """Of a field of type `any` that is externally tagged, as serde writes enums (`{"RunStart":
    {...}}`): the known tags. They type the payload's `kind`, and do not bind the wire."""
    default: Any = msgspec.UNSET
    """The value of a field that is absent, on the wire and in the constructor. Without it, and
    without `?`, the field is required."""
    new: Any = msgspec.UNSET
    """The value that `.new()` gives it: a literal, or one that is made: `uuid7`, `uuid4`, `now_ns`,
    `now_rfc3339`."""
    min: int | None = None
    """The least value of an int."""
    max: int | None = None
    """The greatest value of an int."""
    case: Literal["upper"] | None = None
    """Of a field of the type of a closed token: the JSON has its values in upper case. The token's
    own spelling is read, too."""
    reads: dict[str, str] = msgspec.field(default_factory=dict)
    """Of a closed set: other spellings, each with the value that it stands for. They are read, and
    never written."""


class MixinDecl(Strict, frozen=True):
    """`[mixins.X]`: fields that several messages have. They are written out in each of them."""

    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """Its fields by name."""


class MessageDecl(Strict, frozen=True):
    """`[messages.X]`: a payload, or with `by` a family with one payload per value of a token."""

    id: str | None = None
    """The field whose value identifies a message: streams deduplicate by it."""
    by: str | None = None
    """The closed token whose value selects the payload. The JSON has it as a field of this name."""
    max_items: int | None = None
    """The most elements and members that all arrays and objects in its JSON have together. 100000
    if it is not given."""
    max_depth: int | None = None
    """How many arrays and objects of its JSON may be inside each other. 127 if it is not given."""
    import_: str | None = msgspec.field(name="import", default=None)
    """A class of yours that is the payload, as `package.module:Class`: a msgspec Struct. It says
    everything itself, `ID_FIELD: ClassVar[str]` included, and only `doc` goes with it."""
    mixins: tuple[str, ...] = ()
    """Those of `[mixins]` whose fields it has before its own."""
    forbid_unknown: bool = False
    """Whether readers refuse a JSON that has other fields than these. By default they ignore them,
    so that a newer publisher may add fields."""
    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """Its fields by name. Of a family: the fields that all its payloads have."""
    params: dict[str, dict[str, FieldDecl]] = msgspec.field(default_factory=dict)
    """Of a family: the fields of `params`, for each value of the token."""


class UnionDecl(Strict, frozen=True):
    """`[unions.X]`: one of several messages, which a tag in the JSON selects. It is a type for
    fields and the payload of subjects.
    """

    members: tuple[str, ...] | dict[str, str]
    """Its messages: names, whose tags are the names, or a table of tags, each with a name. A
    message has one tag in all its unions."""
    tag: str = "type"
    """The key of the tag in the JSON. No member has a field of this name on the wire."""

    @property
    def tags(self) -> dict[str, str]:
        """The message of each tag."""
        return self.members if isinstance(self.members, dict) else {name: name for name in self.members}
