"""The head of a spec, tokens and subjects: strict structs, with a docstring for each key.

The JSON Schema of `subjects.toml` and the reference of the spec are made from these.
`message_spec.py` has payloads, `topology_spec.py` streams, consumers and how they are run.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from .message_spec import FieldDecl
from .topology_spec import Strict


class IgnoreDecl(Strict, frozen=True):
    """A change that `smith-codegen breaking` is not to report."""

    key: str
    """The key as `breaking` writes it, such as `messages.Batch.fields.litres`."""
    reason: str
    """Why it is safe: `breaking` prints it beside the change."""


class BreakingDecl(Strict, frozen=True):
    """`[spec.breaking]`: what `smith-codegen breaking` does with this spec as the new one."""

    ignore: tuple[IgnoreDecl, ...] = ()
    """Changes that do not count. One that does not occur is named, and can be removed."""


class SpecDecl(Strict, frozen=True):
    """`[spec]`: the names of the spec, and the specs that it builds on."""

    name: str
    """The name of the system, as in messages of the tools."""
    version: int
    """The version of the spec as a whole, from 1."""
    root: str | tuple[str, ...]
    """What every subject begins with: a token, or several with dots between them. An array of such
    if there are several. `$JS.EVENT.ADVISORY` and others that begin with `$` are the server's."""
    package: str
    """The import name of the package of the generated code, such as `acme_bus` or `acme.bus`."""
    extends: tuple[str, ...] = ()
    """Import names of packages whose specs this one builds on: their tokens, messages and streams
    can be used."""
    breaking: BreakingDecl | None = None
    """What `smith-codegen breaking` does with this spec. It has no effect on programs, nor on the
    hash of the spec."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Every root."""
        return (self.root,) if isinstance(self.root, str) else self.root


class TokenDecl(Strict, frozen=True):
    """One of `[tokens]`, the variable parts of subjects: open (`newtype`) or a closed set
    (`enum`)."""

    newtype: str | None = None
    """Of an open token: the name of its Python type, such as `IntentId`."""
    enum: tuple[str, ...] | None = None
    """Of a closed set: its values. All of them have the same number of dots."""
    base: Literal["str", "int"] = "str"
    """What an open token is in Python."""
    format: str | None = None
    """How an int is written: `d`, `03d` or `02x`. By default `d`."""
    min: int | None = None
    """The least value of an int."""
    max: int | None = None
    """The greatest value of an int."""
    exclude: tuple[str, ...] = ()
    """Values that an open token cannot have, because a literal of another pattern is there."""
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
    """Of a token that selects a payload: other tags that the payload's JSON may have, each with the
    value that it stands for. They are read, and never written."""


class ErrorDecl(Strict, frozen=True):
    """One of a subject's `errors`: what the error means, or a table with `doc` and `code`."""

    code: str | None = None
    """The code of the answer: 1 to 64 printable characters. By default the error's name."""


class SubjectDecl(Strict, frozen=True):
    """One of `[subjects]`: a name, dotted for namespaces, and the subjects that it stands for."""

    pattern: str
    """Literals and `{token}`s, with dots between them. A wire token may have text around a
    placeholder: `p{priority}`. The last token may be absent, `{device?}`, or be all tokens to the
    end, `{rest>}`, a `tuple[str, ...]` that needs no declaration in `[tokens]`."""
    message: str
    """The payload: a message or a family, or `bytes` for one without a schema."""
    stream: str | None = None
    """The stream that stores it. Without it the subject is core NATS: nothing is stored."""
    dead_letters: bool = False
    """Whether it is the subject of the dead letters: its last tokens are stream, consumer and
    sequence."""
    deprecated: str = ""
    """What to use instead of the subject. Type checkers and, where its class is used, a
    `DeprecationWarning` say it. Default: the subject is not deprecated."""
    reply: str | None = None
    """What a service answers with, which makes it a subject for requests: a message that is not a
    family, a union, or `bytes`. For subjects without a stream."""
    headers: str | dict[str, FieldDecl] | None = None
    """The headers of its messages: a table of their names and types, such as
    `{ Trace-Id = "str?" }`, which becomes a message called like the subject, with Headers at the
    end; or the name of a message whose fields are all scalar. Default: none are declared."""
    errors: dict[str, ErrorDecl] = msgspec.field(default_factory=dict)
    """The errors that a service may answer with instead: `NOT_FOUND = "There is no such order."`,
    or a table. Each becomes an exception class."""


SHARD: Final = "shard"
"""The placeholder of the number of a shard."""
SHARD_TYPE: Final = "Shard"
"""Its type, which is one of `smith_sdk.contract`."""
MOST_SHARDS: Final = 4096
"""Shards of one sharding, at most."""
SHARD_TOKEN: Final = TokenDecl(newtype=SHARD_TYPE, base="int", format="02x", min=0, max=MOST_SHARDS - 1)


class ShardedDecl(SubjectDecl, frozen=True):
    """A subject that a sharding declares. Its `{shard}` is not a token of the spec."""

    streams: tuple[str, ...] = ()
    """The streams that keep its shards: shard s is in number s modulo their number."""
