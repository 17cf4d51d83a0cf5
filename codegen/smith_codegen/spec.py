"""The spec as written: TOML read into strict structs.

Only the form is checked here: unknown keys, wrong types, invalid durations, sizes and field types.
`checks.py` checks what the names refer to.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from . import locate, units
from .errors import SpecError, SpecErrors, dotted
from .locate import Path
from .message_spec import FieldDecl, MessageDecl
from .subject_spec import MOST_SHARDS as MOST_SHARDS
from .subject_spec import SHARD as SHARD
from .subject_spec import SHARD_TOKEN as SHARD_TOKEN
from .subject_spec import SHARD_TYPE as SHARD_TYPE
from .subject_spec import ShardedDecl as ShardedDecl
from .subject_spec import SpecDecl as SpecDecl
from .subject_spec import SubjectDecl as SubjectDecl
from .subject_spec import TokenDecl as TokenDecl
from .topology_spec import ConsumerDecl, DomainsDecl, OverrideDecl, ProfileDecl, ShardingDecl, StreamDecl, Strict

T = TypeVar("T")
Raw = Mapping[str, Any]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A spec, merged with those it extends.

    `homes` is the package of each inherited declaration, by section and name; a declaration that is
    not in it is the spec's own. `inherited` are the `[spec]` tables of those packages. `derived`
    has the sharding of each declaration that was made from one, by section and name.
    """

    spec: SpecDecl
    tokens: dict[str, TokenDecl]
    messages: dict[str, MessageDecl]
    subjects: dict[str, SubjectDecl]
    streams: dict[str, StreamDecl]
    consumers: dict[str, ConsumerDecl]
    domains: dict[str, DomainsDecl]
    profiles: dict[str, ProfileDecl]
    sharding: dict[str, ShardingDecl]
    file: str
    lines: Mapping[Path, int]
    homes: Mapping[Path, str] = {}
    inherited: tuple[SpecDecl, ...] = ()
    derived: Mapping[Path, str] = {}

    def error(self, path: Path, problem: str, fix: str) -> SpecError:
        """The `SpecError` for a path of keys, with its line."""
        if path[:2] in self.derived:
            path = ("sharding", self.derived[path[:2]], *_keys_of_sharding(path[2:3]))
        if not self.is_own(path):
            return SpecError(problem, fix=fix, key=dotted(path), file=self.home(path), own=False)
        return SpecError(problem, fix=fix, key=dotted(path), line=locate.line_of(self.lines, path), file=self.file)

    def streams_of(self, subject: str) -> tuple[str, ...]:
        """The streams that store a subject: none of core NATS, several if its shards are spread."""
        decl = self.subjects[subject]
        if isinstance(decl, ShardedDecl):
            return decl.streams
        return () if decl.stream is None else (decl.stream,)

    def token(self, subject: SubjectDecl, name: str) -> TokenDecl:
        """The token that a placeholder in the pattern of `subject` is for."""
        return SHARD_TOKEN if name == SHARD and isinstance(subject, ShardedDecl) else self.tokens[name]

    def is_own(self, path: Path) -> bool:
        """Whether the declaration at or around `path` is the spec's own, not inherited."""
        return path[:2] not in self.homes

    def home(self, path: Path) -> str:
        """The package of the declaration at or around `path`."""
        return self.homes.get(path[:2], self.spec.package)

    @property
    def roots(self) -> tuple[str, ...]:
        """Every root: its own, then the inherited ones."""
        return tuple(dict.fromkeys((self.spec.root, *(head.root for head in self.inherited))))

    @property
    def selectors(self) -> dict[str, str]:
        """Tokens that select a payload, each with its family's name."""
        return {decl.by: name for name, decl in self.messages.items() if decl.by}

    @property
    def canonical(self) -> str:
        """The spec's own declarations as JSON, which `read_canonical` reads.

        Specs with the same meaning have the same canonical form: docs and defaults are left out,
        keys sorted, durations in seconds, sizes in bytes.
        """
        found: dict[str, Any] = {"//": "generated from subjects.toml by smith-codegen; do not edit"}
        for section in _sections:
            decls = getattr(self, section)
            if isinstance(decls, dict):
                own = (name for name in decls if self.is_own((section, name)) and (section, name) not in self.derived)
                decls = {name: decls[name] for name in own}
                if not decls and section in _newer:
                    continue
            found[section] = _plain(decls)
        return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


_sections = ("spec", "tokens", "messages", "subjects", "streams", "consumers", "domains", "profiles", "sharding")
_newer = ("domains", "sharding")
"""Sections that a canonical form has only if the spec declares something in them: the hash of a
spec without them is the one that it had before."""


def _keys_of_sharding(path: Path) -> Path:
    """The key of `[sharding.x]` that a key of what it declares comes from; none if it has none."""
    known = {*ShardingDecl.__struct_fields__} - {"stream"}
    found = tuple("pin_timeout" if key in ("ack_wait", "priority_timeout") else key for key in path)
    return found if known.issuperset(found) else ()


def _plain(value: Any) -> Any:
    """What JSON can hold, each thing written in one way."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not isinstance(value, Strict):
        return value
    found = {}
    for field in msgspec.structs.fields(value):
        item = getattr(value, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if field.name == "doc" or item == default:
            continue
        unit = None if isinstance(value, FieldDecl) else units.reader(field.name)
        found[field.name] = _plain(item) if unit is None else _written(unit[0](item))
    return found["type"] if isinstance(value, FieldDecl) and len(found) == 1 else found


def _written(value: Any) -> Any:
    """A value that has been read from its unit: durations in seconds, everything else as it is."""
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s" if isinstance(value, float) else value


def read(text: str, file: str = "subjects.toml") -> Spec:
    """Read a spec; raises `SpecErrors` with everything in it that has the wrong form."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise SpecErrors(
            [SpecError(f"invalid TOML: {error}", fix="fix the syntax", line=int(at[1]) if at else 0, file=file)]
        ) from None
    return _Reader(raw, file, locate.lines(text)).read()


def read_canonical(text: str, file: str) -> Spec:
    """Read a canonical spec; raises `SpecErrors`."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise SpecErrors([SpecError(f"invalid JSON: {error}", fix="regenerate the package", file=file)]) from None
    if not isinstance(raw, dict):
        raise SpecErrors([SpecError("is not a canonical spec", fix="regenerate the package", file=file)])
    return _Reader({key: value for key, value in raw.items() if key != "//"}, file, {}).read()


class _Reader:
    def __init__(self, raw: Raw, file: str, lines: Mapping[Path, int]) -> None:
        self.raw = raw
        self.file = file
        self.lines = lines
        self.errors: list[SpecError] = []

    def read(self) -> Spec:
        for key in self.raw:
            if key not in _sections:
                self.wrong((key,), "unknown key", _known(key, _sections))
        spec = self.convert((), {"spec": self.raw.get("spec", {})}, _Head)
        tokens = self.each("tokens", TokenDecl)
        messages = self.messages()
        subjects = self.each("subjects", SubjectDecl)
        streams = self.each("streams", StreamDecl)
        consumers = self.each("consumers", ConsumerDecl)
        domains = self.each("domains", DomainsDecl)
        profiles = self.profiles()
        sharding = self.each("sharding", ShardingDecl)
        if self.errors or spec is None:
            raise SpecErrors(self.errors)
        found = Spec(
            spec=spec.spec,
            tokens=tokens,
            messages=messages,
            subjects=subjects,
            streams=streams,
            consumers=consumers,
            domains=domains,
            profiles=profiles,
            sharding=sharding,
            file=self.file,
            lines=self.lines,
        )
        _check_units(found, self.errors)
        if self.errors:
            raise SpecErrors(self.errors)
        return found

    def wrong(self, path: Path, problem: str, fix: str) -> None:
        self.errors.append(SpecError(problem, fix=fix, key=dotted(path), line=locate.line_of(self.lines, path), file=self.file))

    def table(self, path: Path, value: Any) -> Raw:
        if isinstance(value, dict):
            return value
        self.wrong(path, f"expected a table, got {type(value).__name__}", "write a table")
        return {}

    def each(self, section: str, kind: type[T]) -> dict[str, T]:
        found = {}
        for name, value in self.table((section,), self.raw.get(section, {})).items():
            decl = self.convert((section, name), value, kind)
            if decl is not None:
                found[name] = decl
        return found

    def messages(self) -> dict[str, MessageDecl]:
        found = {}
        for name, value in self.table(("messages",), self.raw.get("messages", {})).items():
            path = ("messages", name)
            plain = dict(self.table(path, value))
            fields = self.fields((*path, "fields"), plain.pop("fields", {}))
            params = {
                value_of: self.fields((*path, "params", value_of), inner)
                for value_of, inner in self.table((*path, "params"), plain.pop("params", {})).items()
            }
            decl = self.convert(path, plain, MessageDecl)
            if decl is not None:
                found[name] = msgspec.structs.replace(decl, fields=fields, params=params)
        return found

    def profiles(self) -> dict[str, ProfileDecl]:
        found = {}
        for name, value in self.table(("profiles",), self.raw.get("profiles", {})).items():
            path = ("profiles", name)
            plain = dict(self.table(path, value))
            streams = self.table((*path, "streams"), plain.pop("streams", {}))
            overrides = {
                stream: self.convert((*path, "streams", stream), inner, OverrideDecl) for stream, inner in streams.items()
            }
            decl = self.convert(path, plain, ProfileDecl)
            if decl is not None:
                given = {stream: override for stream, override in overrides.items() if override is not None}
                found[name] = msgspec.structs.replace(decl, streams=given)
        return found

    def fields(self, path: Path, value: Any) -> dict[str, FieldDecl]:
        found = {}
        for name, inner in self.table(path, value).items():
            decl = self.convert((*path, name), {"type": inner} if isinstance(inner, str) else inner, FieldDecl)
            if decl is not None:
                found[name] = decl
        return found

    def convert(self, path: Path, value: Any, kind: type[T]) -> T | None:
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            problem, _, where = str(error).partition(" - at `$")
            inner = tuple(part for part in re.split(r"[.\[\]`]+", where) if part)
            unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem)
            if unknown:
                names = _fields_at(kind, inner)
                self.wrong((*path, *inner, unknown[1]), "unknown key", _known(unknown[1], names))
                return None
            missing = re.fullmatch(r"Object missing required field `(.*)`", problem)
            if missing:
                self.wrong((*path, *inner), f"`{missing[1]}` is missing", f"add `{missing[1]} = ...`")
                return None
            full = (*path, *(part for part in inner if part != "..."))
            choices = _choices(_type_at(kind, inner))
            fix = f"one of {', '.join(choices)}" if problem.startswith("Invalid enum value") else "give a value of that type"
            self.wrong(full, problem[:1].lower() + problem[1:].replace("`", ""), fix)
            return None


class _Head(msgspec.Struct, frozen=True):
    spec: SpecDecl


def _fields_at(kind: Any, path: Path) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(_struct_in(_type_at(kind, path))))


def _type_at(kind: Any, path: Path) -> Any:
    for part in path:
        struct = _struct_in(kind)
        fields = {} if struct is None else {field.name: field.type for field in msgspec.structs.fields(struct)}
        kind = fields.get(part, kind)  # else it is a place in a list, or a key of a map
    return kind


def _struct_in(kind: Any) -> Any:
    """The struct that a type is, may be, or contains; None if there is none."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for inner in get_args(kind) if (found := _struct_in(inner)) is not None), None)


def _choices(kind: Any) -> tuple[str, ...]:
    """The values of a `Literal`, also of one that may be left out."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((found for inner in get_args(kind) if (found := _choices(inner))), ())


def _known(key: str, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(sorted(names))}"


def _check_units(spec: Spec, errors: list[SpecError]) -> None:
    def walk(path: Path, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk((*path, name), inner)
        elif isinstance(value, tuple):
            for index, inner in enumerate(value):
                walk((*path, str(index)), inner)
        elif isinstance(value, Strict):
            for name, inner in msgspec.structs.asdict(value).items():
                unit = None if inner is None else units.reader(name)
                if unit is None:
                    walk((*path, name), inner)
                    continue
                try:
                    unit[0](inner)
                except ValueError as error:
                    errors.append(spec.error((*path, name), str(error), unit[1]))

    for section in ("streams", "consumers", "profiles", "sharding"):
        walk((section,), getattr(spec, section))
