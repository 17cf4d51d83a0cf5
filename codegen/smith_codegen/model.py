"""The resolved model: the spec with every Python name decided. Templates use nothing else."""

from __future__ import annotations

from typing import Literal

import msgspec

from .names import snake
from .patterns import Open
from .spec import Spec
from .topology_spec import ConsumerDecl, DomainsDecl


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token and its Python type. A closed set that selects a family's payload is a `cap`.

    `home`, here and below, is the package that declares it, if inherited; "" for the spec's own.
    """

    name: str
    home: str
    kind: Literal["open", "int", "enum", "cap", "shard"]
    type_name: str
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

    @property
    def width(self) -> int:
        """How many wire tokens it spans."""
        return len(self.values[0].split(".")) if self.values else 1 + self.has_word

    @property
    def stars(self) -> str:
        return ".".join("*" * self.width)

    @property
    def constants(self) -> tuple[tuple[str, str], ...]:
        """Of a cap: each constant's name and value."""
        return tuple((snake(value), value) for value in self.values)

    def open(self) -> Open:
        return Open(exclude=frozenset(self.exclude))


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a payload, as Python source. `default` is "" where it is required.

    `reads` is the annotation with other spellings, which `spellings` turns into values; "" if there
    are none. `most` is a maximum that msgspec cannot check, being beyond 64 bits with a sign.
    """

    name: str
    annotation: str
    default: str
    kinds: tuple[str, ...]
    doc: str
    new_annotation: str
    new_default: str
    new_value: str
    reads: str = ""
    spellings: tuple[tuple[str, str], ...] = ()
    most: int | None = None


class TokenField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a payload that becomes a token of a subject with this pattern."""

    name: str
    token: Token
    pattern: str
    may_be_empty: bool
    is_upper: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A payload class. `tag` is the capability of a family's member, `cap` its constant; `tokens`
    are the fields that become tokens.
    """

    name: str
    home: str
    doc: str
    id: str | None
    fields: tuple[Field, ...]
    has_new: bool
    tokens: tuple[TokenField, ...] = ()
    tag: str = ""
    cap: str = ""
    family: str = ""
    aliases: tuple[str, ...] = ()
    max_items: int | None = None
    max_depth: int | None = None

    @property
    def respelled(self) -> tuple[Field, ...]:
        """Fields with other spellings of their values."""
        return tuple(field for field in self.fields if field.spellings)

    @property
    def checked(self) -> bool:
        """Whether an instance is checked, or respelled, when it is made."""
        return bool(self.tokens) or any(field.reads or field.most is not None for field in self.fields)

    @property
    def expires(self) -> bool:
        """Whether it has a time to live: the int fields `created_at_ns` and `ttl_ms`."""
        plain = {field.name for field in self.fields if field.annotation.removeprefix("Annotated[").split(",")[0] == "int"}
        return plain >= {"created_at_ns", "ttl_ms"} and all(field.name != "is_expired" for field in self.fields)


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Payloads of which a token selects one."""

    name: str
    home: str
    by: Token
    members: tuple[Message, ...]
    doc: str

    @property
    def typevar(self) -> str:
        return f"{self.name}T"


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A subject's class. `message` is a payload class, "bytes" or a family's name.

    `readable` are the tokens that are fields of the payload, `upper` the fields of it that are in
    upper case. `also` are the other classes that its widest filter receives.
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
    sharding: str = ""
    """The sharding that made it, if it is a sharded one that is published to."""
    read_only: bool = False

    @property
    def module(self) -> str:
        return f"_{self.namespace}" if self.namespace else "_root"

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(part for part in self.parts if isinstance(part, Token))

    @property
    def fixed_tokens(self) -> tuple[Token, ...]:
        """Tokens that cannot be read from the payload."""
        return tuple(token for token in self.tokens if token.name not in self.readable and not self.is_keyed(token))

    def is_keyed(self, token: Token) -> bool:
        """Whether a token follows from the key in the payload."""
        return token.kind == "shard" and bool(self.sharding)

    @property
    def places(self) -> dict[str, tuple[int, int]]:
        """The wire positions of each token: the first, and the one after the last."""
        found, at = {}, 0
        for part in self.parts:
            width = 1 if isinstance(part, str) else part.width
            if isinstance(part, Token):
                found[part.name] = (at, at + width)
            at += width
        return found

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


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a stream or a profile as Python source."""

    name: str
    keys: tuple[tuple[str, str], ...]


class Sharding(msgspec.Struct, frozen=True, kw_only=True):
    """A sharding with the types of what is delivered, and its keys as Python source."""

    name: str
    doc: str
    message_type: str
    subject_type: str
    keys: tuple[tuple[str, str], ...]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The whole spec. Inherited declarations are referred to, and not emitted again."""

    spec: Spec
    tokens: tuple[Token, ...]
    messages: tuple[Message, ...]
    families: tuple[Family, ...]
    subjects: tuple[Subject, ...]
    streams: tuple[Declared, ...]
    consumers: tuple[Consumer, ...]
    domains: tuple[tuple[str, DomainsDecl], ...]
    profiles: tuple[Declared, ...]
    shardings: tuple[Sharding, ...]
    dead_letters: str | None

    @property
    def homes(self) -> tuple[str, ...]:
        """The packages of all that is inherited."""
        return tuple(head.package for head in self.spec.inherited)

    @property
    def inherits_shardings(self) -> bool:
        return any(not self.spec.is_own(("sharding", name)) for name in self.spec.sharding)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those of its own subjects."""
        return tuple(sorted({subject.namespace for subject in self.subjects if subject.namespace and not subject.home}))

    def of(self, namespace: str) -> tuple[Subject, ...]:
        """Its own subjects in a namespace."""
        return tuple(subject for subject in self.subjects if subject.namespace == namespace and not subject.home)
