"""The resolved model: the spec with every Python name decided. Templates use nothing else."""

from __future__ import annotations

from keyword import iskeyword
from typing import Literal

import msgspec

from .message_spec import FieldDecl
from .names import token, values
from .patterns import Number, Open
from .spec import Spec
from .topology_spec import ConsumerDecl, DomainsDecl


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token and its Python type. A closed set that selects a family's payload is a `cap`.

    `home`, here and below, is the package that declares it, if inherited; "" for the spec's own.
    """

    name: str
    home: str
    kind: Literal["open", "int", "enum", "cap", "shard", "tail"]
    type_name: str
    constant: str = ""
    """Of an enum: the set of its values in Python."""
    constants: tuple[tuple[str, str], ...] = ()
    """Of a cap: each constant's name and value."""
    values: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min: int | None = None
    max: int | None = None
    format: str | None = None
    family: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    doc: str = ""
    has_word: bool = False
    """Of a shard: whether the token before its number is part of it."""
    prefix: str = ""
    suffix: str = ""
    """In a subject: the text before and after its value in the same wire token."""
    is_optional: bool = False
    """In a subject: whether it may be absent."""

    @property
    def width(self) -> int:
        """How many wire tokens it spans."""
        return len(self.values[0].split(".")) if self.values else 1 + self.has_word

    @property
    def attr(self) -> str:
        """Its attribute in Python."""
        return token(self.name)

    @property
    def facade(self) -> str:
        """Of a cap: the module of its constants in `subjects`."""
        return f"{self.name}_" if iskeyword(self.name) else self.name

    @property
    def stars(self) -> str:
        return ".".join("*" * self.width)

    @property
    def is_part(self) -> bool:
        """Whether the wire token has text around its value."""
        return bool(self.prefix or self.suffix)

    @property
    def annotation(self) -> str:
        """The type of its value in a subject."""
        return f"{self.type_name} | None" if self.is_optional else self.type_name

    @property
    def wildcard(self) -> str:
        """What receives all its values."""
        return ">" if self.kind == "tail" else self.stars

    @property
    def ends(self) -> bool:
        """Whether the number of wire tokens of its subject varies with it."""
        return self.kind == "tail" or self.is_optional

    @property
    def wire_values(self) -> tuple[str, ...]:
        """The values of a closed set with the text around them."""
        return tuple(f"{self.prefix}{value}{self.suffix}" for value in self.values)

    def open(self) -> Open:
        """What it can be on the wire; not for closed sets and tails."""
        number = Number(self.format or "d", self.min, self.max) if self.kind == "int" else None
        return Open(
            frozenset(f"{self.prefix}{value}{self.suffix}" for value in self.exclude), None, self.prefix, self.suffix, number
        )


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a payload, as Python source. `default` is "" where it is required.

    `reads` is the annotation with other spellings, which `spellings` turns into values; "" if there
    are none. `most` is a maximum that msgspec cannot check, being beyond 64 bits with a sign.
    """

    name: str
    decl: FieldDecl
    annotation: str
    default: str
    kinds: tuple[str, ...]
    doc: str
    new_annotation: str
    new_default: str
    new_value: str
    wire: str
    """The key in JSON."""
    reads: str = ""
    spellings: tuple[tuple[str, str], ...] = ()
    most: int | None = None
    check: str = ""
    """What checks the value beyond msgspec, as Python source."""
    secret: bool = False
    ref: str = ""
    """The declared type that it always has; "" for a list of it, or if it may be None."""
    refers: tuple[str, ...] = ()
    """The names of the types that its annotation refers to."""


class TokenField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a payload that becomes a token of a subject with this pattern."""

    name: str
    token: Token
    pattern: str
    may_be_empty: bool
    is_upper: bool = False


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What a module of `protocol` declares: a class, or several that belong together.

    A new kind of declaration is a subclass of this, and has a template in `render.TEMPLATES`.
    """

    name: str
    home: str
    doc: str

    @property
    def exports(self) -> tuple[str, ...]:
        """Its names for users."""
        return (self.name,)

    @property
    def internals(self) -> tuple[str, ...]:
        """Its names for other generated modules."""
        return ()

    @property
    def refers(self) -> frozenset[str]:
        """The names of the types that it refers to; its module imports them at run time."""
        return frozenset()


class Message(Declared, frozen=True, kw_only=True):
    """A payload class. `tag` is the capability of a family's member, `cap` its constant; `tokens`
    are the fields that become tokens.
    """

    id: str | None
    fields: tuple[Field, ...]
    has_new: bool
    tokens: tuple[TokenField, ...] = ()
    tag: str = ""
    cap: str = ""
    family: str = ""
    aliases: tuple[str, ...] = ()
    deprecated: str = ""
    max_items: int | None = None
    max_depth: int | None = None
    union_tag: tuple[str, str] | None = None
    """The key and the value of the tag, if it is in a union."""
    forbid_unknown: bool = False

    @property
    def refers(self) -> frozenset[str]:
        return frozenset(name for field in self.fields for name in field.refers)

    @property
    def respelled(self) -> tuple[Field, ...]:
        """Fields with other spellings of their values."""
        return tuple(field for field in self.fields if field.spellings)

    @property
    def renamed(self) -> tuple[Field, ...]:
        """Fields that have another name in JSON."""
        return tuple(field for field in self.fields if field.wire != field.name)

    @property
    def settled(self) -> tuple[Field, ...]:
        """Fields that are checked, beyond what msgspec checks, when an instance is made."""
        return tuple(field for field in self.fields if field.check)

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields if field.secret)

    @property
    def checked(self) -> bool:
        """Whether an instance is checked, or respelled, when it is made."""
        return bool(self.tokens) or any(field.reads or field.most is not None or field.check for field in self.fields)

    @property
    def expires(self) -> bool:
        """Whether it has a time to live: the int fields `created_at_ns` and `ttl_ms`."""
        plain = {field.name for field in self.fields if field.annotation.removeprefix("_Annotated[").split(",")[0] == "int"}
        return plain >= {"created_at_ns", "ttl_ms"} and all(field.name != "is_expired" for field in self.fields)


class Family(Declared, frozen=True, kw_only=True):
    """Payloads of which a token selects one. `messages` are the members, and their params."""

    by: Token
    messages: tuple[Message, ...]
    typevar: str
    base: str
    """The class that all members inherit, which type variables are bound to."""

    @property
    def members(self) -> tuple[Message, ...]:
        return tuple(message for message in self.messages if message.family)

    @property
    def each(self) -> str:
        """The type variable that is one member, and never a union of several."""
        return f"Each{self.typevar}"

    @property
    def common(self) -> tuple[Field, ...]:
        """The fields that all members have."""
        first, *others = self.members
        types = [{field.name: field.annotation for field in member.fields} for member in others]
        return tuple(field for field in first.fields if all(one.get(field.name) == field.annotation for one in types))

    @property
    def expires(self) -> bool:
        """Whether all members have a time to live."""
        return all(member.expires for member in self.members)

    @property
    def is_several(self) -> bool:
        """Whether it has more than one member."""
        return len(self.members) > 1

    @property
    def classes(self) -> str:
        """The dict of its members by tag."""
        return f"{self.name.upper()}_CLASSES"

    @property
    def exports(self) -> tuple[str, ...]:
        return (*(message.name for message in self.messages), self.name, self.base, self.by.type_name)

    @property
    def internals(self) -> tuple[str, ...]:
        return (self.typevar, f"One{self.typevar}", self.each, self.classes)

    @property
    def refers(self) -> frozenset[str]:
        return frozenset().union(*(message.refers for message in self.messages))


class Union(Declared, frozen=True, kw_only=True):
    """One of several messages, which a tag selects."""

    members: tuple[str, ...]

    @property
    def refers(self) -> frozenset[str]:
        return frozenset(self.members)


class Imported(Declared, frozen=True, kw_only=True):
    """A payload class of the user's own: `cls` of `module`."""

    module: str
    cls: str


class Enum(Declared, frozen=True, kw_only=True):
    """A set of str with a name: each value with what it is for."""

    values: tuple[tuple[str, str], ...]
    is_open: bool

    @property
    def constant(self) -> str:
        """The name of the set of its values."""
        return values(self.name)

    @property
    def exports(self) -> tuple[str, ...]:
        return (self.name, self.constant)

    @property
    def text(self) -> str:
        """What it is for, and what each of its values is for."""
        if not any(doc for _, doc in self.values):
            return self.doc
        lines = [f"- {value!r}: {doc}" if doc else f"- {value!r}" for value, doc in self.values]
        return "\n".join([self.doc or f"The values of {self.name}.", "", *lines])


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """A module of `protocol`: one declaration, or several that refer to each other in a circle."""

    name: str
    home: str
    declared: tuple[Declared, ...]


class ServiceError(msgspec.Struct, frozen=True, kw_only=True):
    """An error that a service answers with."""

    name: str
    code: str
    doc: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject's class. `message` is a payload class, "bytes" or a family's name.

    `namespace` and `attr` are where it is in `subjects`; they differ from `name` where that would
    clash. `readable` are the tokens that are fields of the payload, `upper` the fields of it that
    are in upper case. `also` are the other classes that its widest filter receives.
    """

    name: str
    home: str
    namespace: str
    attr: str
    cls: str
    pattern: str
    parts: tuple[str | Token, ...]
    message: str
    family: Family | None
    stream: str | None
    doc: str
    readable: tuple[str, ...]
    upper: tuple[str, ...]
    also: tuple[str, ...]
    also_messages: tuple[str, ...] = ()
    """The payloads of these that are other ones than its own."""
    deprecated: str = ""
    """What to use instead."""
    sharding: str = ""
    """The sharding that made it, if it is a sharded one that is published to."""
    read_only: bool = False
    reply: str | None = None
    headers: str | None = None
    """The class of the headers that it declares."""
    needs_headers: bool = False
    """Whether one of these is required, so that it is not published to without them."""
    """The payload class of replies, or "bytes"; None if it has none."""
    errors: tuple[ServiceError, ...] = ()
    is_union: bool = False
    """Whether its payload is one of several messages."""

    @property
    def module(self) -> str:
        """Its module within `subjects`, such as `intents._raw`."""
        return f"{self.namespace}._{self.attr}".lstrip(".")

    @property
    def access(self) -> str:
        """Its class within `subjects`, such as `intents.raw`."""
        return f"{self.namespace}.{self.attr}".lstrip(".")

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(part for part in self.parts if isinstance(part, Token))

    @property
    def fixed_tokens(self) -> tuple[Token, ...]:
        """Tokens that cannot be read from the payload."""
        return tuple(token for token in self.tokens if token.name not in self.readable and not self.is_keyed(token))

    def is_selector(self, token: Token) -> bool:
        """Whether a token selects the payload."""
        return self.family is not None and token.name == self.family.by.name

    def is_keyed(self, token: Token) -> bool:
        """Whether a token follows from the key in the payload."""
        return token.kind == "shard" and bool(self.sharding)

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """The wire positions of each token: the first, and the one after the last."""
        return places_of(self.parts)

    def generic(self, argument: str) -> str:
        """The class as a type, of a family with `argument` in brackets."""
        return f"{self.cls}[{argument}]" if self.family else self.cls


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer with the types of what it receives, and its other keys as Python source."""

    name: str
    attr: str
    decl: ConsumerDecl
    filters: tuple[str, ...]
    message_type: str
    subject_type: str
    keys: tuple[tuple[str, str], ...]


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a stream or a profile as Python source."""

    name: str
    keys: tuple[tuple[str, str], ...]


def places_of(parts: tuple[str | Token, ...]) -> dict[str, tuple[int, int]]:
    """The positions of each token among `parts`: the first, and the one after the last."""
    found, at = {}, 0
    for part in parts:
        width = 1 if isinstance(part, str) else part.width
        if isinstance(part, Token):
            found[part.name] = (at, at + width)
        at += width
    return found


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A key-value bucket. `parts` are those of its keys' pattern, whose class is `cls`; none if a
    key is any str. `key_ttl`: whether keys may have a time to live of their own.
    """

    name: str
    attr: str
    cls: str
    pattern: str
    parts: tuple[str | Token, ...]
    message: str
    key_ttl: bool
    doc: str

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(part for part in self.parts if isinstance(part, Token))

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """The positions of each token in a key: the first, and the one after the last."""
        return places_of(self.parts)

    @property
    def shape(self) -> tuple[str, ...]:
        """The literals of a key, "" in place of each token."""
        return tuple(text for part in self.parts for text in ((part,) if isinstance(part, str) else ("",) * part.width))


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """An object store."""

    name: str
    attr: str
    doc: str


class Sharding(msgspec.Struct, frozen=True, kw_only=True):
    """A sharding with the types of what is delivered, and its keys as Python source."""

    name: str
    doc: str
    message_type: str
    subject_type: str
    keys: tuple[tuple[str, str], ...]


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace of subjects, such as `a.b`, with the last names of the namespaces in it."""

    name: str
    subjects: tuple[Subject, ...]
    namespaces: tuple[str, ...]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The whole spec. Inherited declarations are referred to, and not emitted again."""

    spec: Spec
    tokens: tuple[Token, ...]
    modules: tuple[Module, ...]
    subjects: tuple[Subject, ...]
    streams: tuple[Keys, ...]
    consumers: tuple[Consumer, ...]
    domains: tuple[tuple[str, DomainsDecl], ...]
    profiles: tuple[Keys, ...]
    shardings: tuple[Sharding, ...]
    dead_letters: str | None
    buckets: tuple[Bucket, ...] = ()
    objects: tuple[Objects, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Keys that the JSON of its own payloads has for secret fields."""
        return tuple(sorted({field.wire for one in self.messages if not one.home for field in one.fields if field.secret}))

    @property
    def has_deprecated(self) -> bool:
        """Whether a message or a subject is deprecated, which generated code itself refers to."""
        return any(one.deprecated for one in self.messages) or any(one.deprecated for one in self.subjects)

    @property
    def homes(self) -> tuple[str, ...]:
        """The packages of all that is inherited."""
        return tuple(head.package for head in self.spec.inherited)

    @property
    def inherits_shardings(self) -> bool:
        return any(not self.spec.is_own(("sharding", name)) for name in self.spec.sharding)

    @property
    def declared(self) -> tuple[Declared, ...]:
        """Everything that `protocol` declares, inherited or not."""
        return tuple(one for module in self.modules for one in module.declared)

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(one for one in self.declared if isinstance(one, Family))

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every payload class."""
        found: list[Message] = []
        for one in self.declared:
            found += [one] if isinstance(one, Message) else one.messages if isinstance(one, Family) else ()
        return tuple(found)

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        """Those of its own subjects, outer ones first; the first is `subjects` itself."""
        inside: dict[str, list[Subject]] = {"": []}
        for subject in self.subjects:
            if not subject.home:
                inside.setdefault(subject.namespace, []).append(subject)
        for name in tuple(inside):
            while name:
                name = name.rpartition(".")[0]
                inside.setdefault(name, [])
        below: dict[str, list[str]] = {name: [] for name in inside}
        for name in sorted(filter(None, inside)):
            outer, _, last = name.rpartition(".")
            below[outer].append(last)
        return tuple(Namespace(name=name, subjects=tuple(inside[name]), namespaces=tuple(below[name])) for name in sorted(inside))
