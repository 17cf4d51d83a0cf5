"""Payloads in a spec: messages, what their fields may be, and enums."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .topology_spec import Strict


class FieldDecl(Strict, frozen=True):
    """A field of a payload: `"T"`, or a table with that as `type`."""

    type: str
    """`str`, `int`, `uint64`, `float`, `decimal`, `bool`, `bytes`, `datetime`, `date`, `duration`,
    `uuid`, `any`, `list[T]`, `map[T]`, `enum:a|b`, the type of a token, an enum, or a message. `T?`
    may be null or absent. With `fields`, `object` stands for the inline object, as in
    `list[object]?`; it may be left out for `object`."""
    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """The fields of an inline object. It becomes a message that is called like the message and the
    field together, such as OrderAddress, and has the `rename` and `forbid_unknown` of that one."""
    kinds: tuple[str, ...] = ()
    """Of type any: the known tags of a value that is externally tagged, as serde writes enums:
    `{"RunStart": {...}}`. They type the payload's `kind`, and do not bind the wire."""
    default: Any = msgspec.UNSET
    """What the field is if it is absent from the JSON, or not passed to the class. Without: the
    field is required."""
    new: Any = msgspec.UNSET
    """What `.new()` fills in: a value, or how to make one: "uuid7", "uuid4", "now", "now_ns",
    "now_rfc3339"."""
    min: int | float | str | None = None
    """The smallest valid value of an int, float or decimal (in quotes). Default: no limit."""
    max: int | float | str | None = None
    """The largest valid value of an int, float or decimal (in quotes). Default: no limit."""
    min_length: int | None = None
    """The least number of characters, bytes, items of a list, or keys of a map. Default: 0."""
    max_length: int | None = None
    """The largest number of characters, bytes, items of a list, or keys of a map. Default: no
    limit."""
    pattern: str | None = None
    """The regular expression that a str matches as a whole: it begins with ^ and ends with $.
    Default: any text."""
    name: str | None = None
    """The key of the field in JSON. Default: the field's own name, as the message's `rename` writes
    it."""
    const: Any = msgspec.UNSET
    """The only value that a str, int or enum ever has. It is always written, and may be absent when
    read."""
    secret: bool = False
    """Whether the value stays out of representations, logs, errors and the output of commands.
    Default: false."""
    deprecated: str = ""
    """What to use instead of the field. Default: the field is not deprecated."""
    case: Literal["upper"] | None = None
    """Of a token with an enum: "upper" if the JSON has its values in upper case. The token's own
    are read, too."""
    reads: dict[str, str] = msgspec.field(default_factory=dict)
    """Of a closed set: other spellings of its values, each with its value. They are read, and never
    written."""

    @property
    def is_required(self) -> bool:
        """Whether it can be left out neither of the JSON nor of a call of the class."""
        return not self.type.endswith("?") and self.default is msgspec.UNSET and self.const is msgspec.UNSET


class EnumDecl(Strict, frozen=True):
    """`[enums.X]`: a set of str that fields of several messages have as their type, by its name."""

    values: tuple[str, ...] | dict[str, str]
    """The values: a list, or a table of each value and what it is for."""
    open: bool = False
    """Whether a value that this contract does not know is read and kept, as an `UnknownMember`.
    Default: false."""

    @property
    def docs(self) -> dict[str, str]:
        """Each value with what it is for, "" if that is not known."""
        return dict(self.values) if isinstance(self.values, dict) else dict.fromkeys(self.values, "")


class MixinDecl(Strict, frozen=True):
    """`[mixins.X]`: fields that several messages have. They are written out in each of them."""

    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """Its fields by name."""


class MessageDecl(Strict, frozen=True):
    """`[messages.X]`: a payload, or with `by` a family with one payload per value of a token."""

    id: str | None = None
    """The field whose value identifies a payload for deduplication. Default: none."""
    by: str | None = None
    """The token that selects one of a family's payloads. Default: the message is no family."""
    max_items: int | None = None
    """How many elements and members all arrays and objects of its JSON have together. Default:
    100,000."""
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
    rename: Literal["camel", "kebab", "pascal", "upper"] | None = None
    """How its fields are written in JSON: orderId, order-id, OrderId, ORDER_ID. Default: as in the
    spec."""
    deprecated: str = ""
    """What to use instead of the message. Type checkers and, where its class is used, a
    `DeprecationWarning` say it. Default: the message is not deprecated."""
    examples: tuple[dict[str, Any], ...] = ()
    """Examples for the documents, as JSON has them: each is checked against the message. By default
    one is made."""
    fields: dict[str, FieldDecl] = msgspec.field(default_factory=dict)
    """The fields, in the order of the JSON."""
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
