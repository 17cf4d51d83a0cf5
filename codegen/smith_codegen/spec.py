"""The spec as written: its declarations, and the form that is the same for every way to write it.

`reader.py` reads it. `checks.py` checks what the names refer to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any, Final

import msgspec

from . import locate, units
from .bucket_spec import BucketDecl, ObjectsDecl
from .errors import SpecError
from .locate import Path
from .message_spec import EnumDecl, FieldDecl, MessageDecl, UnionDecl
from .naming import Names
from .subject_spec import MOST_SHARDS as MOST_SHARDS
from .subject_spec import SHARD as SHARD
from .subject_spec import SHARD_TOKEN as SHARD_TOKEN
from .subject_spec import SHARD_TYPE as SHARD_TYPE
from .subject_spec import IgnoreDecl
from .subject_spec import ShardedDecl as ShardedDecl
from .subject_spec import SpecDecl as SpecDecl
from .subject_spec import SubjectDecl as SubjectDecl
from .subject_spec import TokenDecl as TokenDecl
from .topology_spec import ConsumerDecl, DomainsDecl, ProfileDecl, ShardingDecl, StreamDecl, Strict


class Spec(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A spec, merged with those it extends.

    `homes` is the package of each inherited declaration, by section and name; a declaration that is
    not in it is the spec's own. `inherited` are the `[spec]` tables of those packages. `derived`
    has the sharding of each declaration that was made from one, by section and name. `written` has
    the place in the text of what was written out elsewhere: inline objects, and fields of mixins.
    """

    spec: SpecDecl
    tokens: dict[str, TokenDecl]
    enums: dict[str, EnumDecl]
    messages: dict[str, MessageDecl]
    subjects: dict[str, SubjectDecl]
    streams: dict[str, StreamDecl]
    consumers: dict[str, ConsumerDecl]
    domains: dict[str, DomainsDecl]
    profiles: dict[str, ProfileDecl]
    sharding: dict[str, ShardingDecl]
    unions: dict[str, UnionDecl]
    buckets: dict[str, BucketDecl]
    objects: dict[str, ObjectsDecl]
    file: str
    lines: Mapping[Path, int]
    homes: Mapping[Path, str] = {}
    inherited: tuple[SpecDecl, ...] = ()
    derived: Mapping[Path, str] = {}
    written: Mapping[Path, Path] = {}
    is_whole: bool = True
    """Whether no declaration is left out, because of an error in it or in what it depends on."""

    def error(self, path: Path, problem: str, fix: str) -> SpecError:
        """The `SpecError` for a path of keys, with its line."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.written:
                path = (*self.written[path[:length]], *path[length:])
                break
        if path[:2] in self.derived:
            path = ("sharding", self.derived[path[:2]], *_keys_of_sharding(path[2:3]))
        if not self.is_own(path):
            return SpecError(problem, fix=fix, path=path, file=self.home(path), own=False)
        return SpecError(problem, fix=fix, path=path, line=locate.line_of(self.lines, path), file=self.file)

    def streams_of(self, subject: str) -> tuple[str, ...]:
        """The streams that store a subject: none of core NATS, several if its shards are spread."""
        decl = self.subjects[subject]
        if isinstance(decl, ShardedDecl):
            return decl.streams
        return () if decl.stream is None else (decl.stream,)

    def token(self, subject: SubjectDecl, name: str) -> TokenDecl:
        """The token that a placeholder in the pattern of `subject` is for."""
        return SHARD_TOKEN if name == SHARD and isinstance(subject, ShardedDecl) else self.tokens[name]

    def tag_of(self, message: str) -> tuple[str, str] | None:
        """The key and the value of the tag of a message that is in a union."""
        return self._tags.get(message)

    @cached_property
    def _tags(self) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for union in self.unions.values():
            for tag, name in union.tags.items():
                found.setdefault(name, (union.tag, tag))
        return found

    def is_made(self, path: Path) -> bool:
        """Whether the declaration at `path` is not written in the spec, but made by a sharding, or
        for a bucket or an object store."""
        return path in self.derived or (path[0] == "streams" and path in self.written)

    def is_own(self, path: Path) -> bool:
        """Whether the declaration at or around `path` is the spec's own, not inherited."""
        return path[:2] not in self.homes

    def home(self, path: Path) -> str:
        """The package of the declaration at or around `path`."""
        return self.homes.get(path[:2], self.spec.package)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """Every root: its own, then the inherited ones."""
        return tuple(dict.fromkeys((*self.spec.roots, *(root for head in self.inherited for root in head.roots))))

    @property
    def ignored(self) -> tuple[IgnoreDecl, ...]:
        """The changes that `breaking` is not to report."""
        return () if self.spec.breaking is None else self.spec.breaking.ignore

    @cached_property
    def token_types(self) -> dict[str, TokenDecl]:
        """The tokens by the names of their types in Python."""
        return {self.python.tokens[name]: decl for name, decl in reversed(self.tokens.items())}

    @cached_property
    def python(self) -> Names:
        """The names in Python of what it declares."""
        declared: Any = self  # pyright takes no cached property for one of a protocol
        return Names(declared)

    @cached_property
    def types(self) -> frozenset[str]:
        """The names of all types that a field may have."""
        return frozenset((*self.messages, *self.enums, *self.unions, *self.token_types))

    @cached_property
    def selectors(self) -> dict[str, str]:
        """Tokens that select a payload, each with its family's name."""
        return {decl.by: name for name, decl in self.messages.items() if decl.by}

    @cached_property
    def canonical(self) -> str:
        """The spec's own declarations as JSON, which `read_canonical` reads.

        Specs with the same meaning have the same canonical form: docs and defaults are left out,
        keys sorted, durations in seconds, sizes in bytes.
        """
        found: dict[str, Any] = {"//": "generated from subjects.toml by smith-codegen; do not edit"}
        for section in SECTIONS:
            decls = getattr(self, section)
            if isinstance(decls, dict):
                own = (name for name in decls if self.is_own((section, name)) and not self.is_made((section, name)))
                decls = {name: decls[name] for name in own}
                if not decls and section in _newer:
                    continue
            found[section] = _plain(decls)
        return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


SECTIONS: Final = (
    "spec",
    "tokens",
    "enums",
    "messages",
    "subjects",
    "streams",
    "consumers",
    "domains",
    "profiles",
    "sharding",
    "unions",
    "buckets",
    "objects",
)
_newer = ("enums", "domains", "sharding", "unions", "buckets", "objects")
"""Sections that a canonical form has only if the spec declares something in them: the hash of a
spec without them is the one that it had before."""


_UNSAID: Final = frozenset(("breaking", "doc", "examples"))
"""Keys that mean nothing to programs, and are left out of the canonical form."""


def _keys_of_sharding(path: Path) -> Path:
    """The key of `[sharding.x]` that a key of what it declares comes from; none if it has none."""
    known = {*ShardingDecl.__struct_fields__} - {"stream"}
    found = tuple("pin_timeout" if key in ("ack_wait", "priority_timeout") else key for key in path)
    return found if known.issuperset(found) else ()


@cache
def fields_of(kind: type[Strict]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The keys of a table; msgspec reads the annotations anew each time."""
    return msgspec.structs.fields(kind)


def _plain(value: Any) -> Any:
    """What JSON can hold, each thing written in one way."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, Strict):
        return value
    if isinstance(value, EnumDecl):
        value = msgspec.structs.replace(value, values=tuple(value.docs))
    found = {}
    kind: type[Strict] = type(value)
    for field in fields_of(kind):
        item = getattr(value, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if field.name in _UNSAID or item == default:
            continue
        unit = None if isinstance(value, FieldDecl) else units.reader(field.name)
        found[field.encode_name] = _plain(item) if unit is None else _written(unit[0](item))
    return found["type"] if isinstance(value, FieldDecl) and len(found) == 1 else found


def _written(value: Any) -> Any:
    """A value that has been read from its unit: durations in seconds, everything else as it is."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s" if isinstance(value, float) else value
