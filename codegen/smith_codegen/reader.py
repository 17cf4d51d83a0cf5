"""A spec read: TOML, or the canonical JSON of a generated package, into strict structs.

Only the form is checked here: unknown keys, wrong types, invalid durations, sizes and field types.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args, get_origin

import msgspec

from . import locate, names, units
from .bucket_spec import BucketDecl, ObjectsDecl
from .errors import SpecError, SpecErrors, dotted
from .locate import Path
from .message_spec import EnumDecl, FieldDecl, MessageDecl, MixinDecl, UnionDecl
from .spec import SECTIONS, Spec, SpecDecl, SubjectDecl, TokenDecl
from .subject_spec import ErrorDecl
from .topology_spec import ConsumerDecl, DomainsDecl, OverrideDecl, ProfileDecl, ShardingDecl, StreamDecl, Strict

T = TypeVar("T")
Raw = Mapping[str, Any]


def read(text: str, file: str = "subjects.toml") -> Spec:
    """Read a spec; raises `SpecErrors` with everything in it that has the wrong form."""
    try:
        raw = tomllib.loads(text)
        return _Reader(raw, file, locate.lines(text)).read()
    except RecursionError:
        raise SpecErrors([SpecError("is nested too deeply", fix="declare inline objects as messages", file=file)]) from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        raise SpecErrors(
            [SpecError(f"invalid TOML: {error}", fix="fix the syntax", line=int(at[1]) if at else 0, file=file)]
        ) from None


def read_canonical(text: str, file: str) -> Spec:
    """Read a canonical spec; raises `SpecErrors`."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise SpecErrors([SpecError(f"invalid JSON: {error}", fix="regenerate the package", file=file)]) from None
    if not isinstance(raw, dict):
        raise SpecErrors([SpecError("is not a canonical spec", fix="regenerate the package", file=file)])
    return _Reader({key: value for key, value in raw.items() if key != "//"}, file, {}).read()


NOTATIONS: Final = ("mixins",)
"""Sections that are written out when a spec is read, and are then gone."""


class _Around(NamedTuple):
    """The message around fields: the name of its class, and its declaration."""

    name: str
    decl: MessageDecl

    def inside(self, field: str) -> _Around:
        """The inline object that is one of the fields."""
        return _Around(self.name + names.camel(field), self.decl)


class _Reader:
    def __init__(self, raw: Raw, file: str, lines: Mapping[Path, int]) -> None:
        self.raw = raw
        self.file = file
        self.lines = lines
        self.errors: list[SpecError] = []
        self.inline: dict[str, MessageDecl] = {}
        """The messages that inline objects become."""
        self.written: dict[Path, Path] = {}
        """Where that is written in the text which a notation has put elsewhere."""

    def read(self) -> Spec:
        for key in self.raw:
            if key not in (*SECTIONS, *NOTATIONS):
                self.wrong((key,), "unknown key", _known(key, (*SECTIONS, *NOTATIONS)))
        spec = self.convert((), {"spec": self.raw.get("spec", {})}, _Head)
        tokens = self.each("tokens", TokenDecl)
        enums = self.each("enums", EnumDecl)
        subjects = self.subjects()
        messages = self.messages()
        streams = self.each("streams", StreamDecl)
        consumers = self.each("consumers", ConsumerDecl)
        domains = self.each("domains", DomainsDecl)
        profiles = self.profiles()
        sharding = self.each("sharding", ShardingDecl)
        unions = self.each("unions", UnionDecl)
        buckets = self.each("buckets", BucketDecl)
        objects = self.each("objects", ObjectsDecl)
        found = Spec(
            spec=SpecDecl(name="", version=1, root="", package="") if spec is None else spec.spec,
            tokens=tokens,
            enums=enums,
            messages=messages,
            subjects=subjects,
            streams=streams,
            consumers=consumers,
            domains=domains,
            profiles=profiles,
            sharding=sharding,
            unions=unions,
            buckets=buckets,
            objects=objects,
            file=self.file,
            lines=self.lines,
            written=self.written,
        )
        _check_units(found, self.errors)
        if self.errors:
            raise SpecErrors(self.errors, None if spec is None else found)
        return found

    def wrong(self, path: Path, problem: str, fix: str) -> None:
        longest = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self.written), None)
        path = path if longest is None else (*self.written[longest], *path[len(longest) :])
        self.errors.append(SpecError(problem, fix=fix, path=path, line=locate.line_of(self.lines, path), file=self.file))

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

    def subjects(self) -> dict[str, SubjectDecl]:
        found = {}
        for name, value in self.table(("subjects",), self.raw.get("subjects", {})).items():
            path = ("subjects", name)
            plain = dict(self.table(path, value))
            errors = {
                error: self.convert((*path, "errors", error), {"doc": inner} if isinstance(inner, str) else inner, ErrorDecl)
                for error, inner in self.table((*path, "errors"), plain.pop("errors", {})).items()
            }
            if isinstance(plain.get("headers"), dict):
                plain["headers"] = self.headers((*path, "headers"), f"{names.camel(name)}Headers", plain["headers"])
            decl = self.convert(path, plain, SubjectDecl)
            if decl is not None:
                given = {error: inner for error, inner in errors.items() if inner is not None}
                found[name] = msgspec.structs.replace(decl, errors=given)
        return found

    def headers(self, path: Path, cls: str, value: Raw) -> str:
        """The headers of a subject as a message, whose name is `cls`."""
        named: dict[str, Any] = {}
        for header, inner in value.items():
            field = names.snake(header).strip("_").lower()
            if field in named:
                self.wrong((*path, header), f"is {field} in Python, as another header is", "rename one of them")
            plain = {"type": inner} if isinstance(inner, str) else inner
            named[field] = {**plain, "name": header} if isinstance(plain, dict) and field != header else plain
            self.written["messages", cls, "fields", field] = (*path, header)
        self.written["messages", cls] = self.written["messages", cls, "fields"] = path
        self.inline[cls] = MessageDecl(fields=self.fields(("messages", cls, "fields"), named, _Around(cls, MessageDecl())))
        return cls

    def messages(self) -> dict[str, MessageDecl]:
        mixins = {name: self.mixin(name, value) for name, value in self.table(("mixins",), self.raw.get("mixins", {})).items()}
        found: dict[str, MessageDecl] = {}
        for name, value in self.table(("messages",), self.raw.get("messages", {})).items():
            path = ("messages", name)
            plain = dict(self.table(path, value))
            own, params = plain.pop("fields", {}), self.table((*path, "params"), plain.pop("params", {}))
            decl = self.convert(path, plain, MessageDecl)
            if decl is None:
                decl = MessageDecl()  # its fields may be wrong as well
            fields = self.fields((*path, "fields"), own, _Around(name, decl))
            found[name] = msgspec.structs.replace(
                decl,
                mixins=(),
                fields={**self.mixed_in(path, decl, mixins, fields), **fields},
                params={
                    value_of: self.fields((*path, "params", value_of), inner, _Around(names.params(value_of), decl))
                    for value_of, inner in params.items()
                },
            )
        for name, decl in self.inline.items():
            if name in found:
                problem, fix = f"its class would be {name}, which is declared already", f"rename the field, or messages.{name}"
                self.wrong(self.written["messages", name], problem, fix)
            found[name] = decl
        return found

    def mixin(self, name: str, value: Any) -> dict[str, FieldDecl]:
        path = ("mixins", name)
        plain = dict(self.table(path, value))
        fields = plain.pop("fields", {})
        self.convert(path, plain, MixinDecl)
        return self.fields((*path, "fields"), fields, _Around(name, MessageDecl()))

    def mixed_in(
        self, path: Path, decl: MessageDecl, mixins: dict[str, dict[str, FieldDecl]], own: dict[str, FieldDecl]
    ) -> dict[str, FieldDecl]:
        """The fields that a message has from its mixins."""
        found: dict[str, FieldDecl] = {}
        for index, mixin in enumerate(decl.mixins):
            where = (*path, "mixins", str(index))
            if mixin not in mixins:
                self.wrong(where, f"{mixin!r} is not one of [mixins]", _known(mixin, tuple(mixins), "mixins"))
            for field, declared in mixins.get(mixin, {}).items():
                if field in own or field in found:
                    self.wrong(where, f"{mixin} has the field {field}, which the message has already", "remove one of them")
                found.setdefault(field, declared)
                self.written.setdefault((*path, "fields", field), ("mixins", mixin, "fields", field))
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

    def fields(self, path: Path, value: Any, around: _Around) -> dict[str, FieldDecl]:
        found = {}
        for name, inner in self.table(path, value).items():
            where = (*path, name)
            plain = {"type": inner} if isinstance(inner, str) else inner
            if isinstance(plain, dict) and "fields" in plain:
                plain = self.lifted(where, plain, around.inside(name))
            if isinstance(plain, dict):  # a date of TOML as its text
                plain = {key: one.isoformat() if isinstance(one, date) else one for key, one in plain.items()}
            decl = self.convert(where, plain, FieldDecl)
            if decl is not None:
                found[name] = decl
        return found

    def lifted(self, path: Path, value: Raw, inline: _Around) -> Raw:
        """A field with an inline object as a field whose type is a message of its own."""
        plain = {"type": "object", **value}
        fields = self.fields((*path, "fields"), plain.pop("fields"), inline)
        if inline.name in self.inline:
            problem = f"its class would be {inline.name}, as that of {dotted(self.written['messages', inline.name])}"
            self.wrong(path, problem, "rename one of the fields")
        self.written["messages", inline.name] = path
        doc = plain.get("doc", "")
        self.inline[inline.name] = MessageDecl(
            doc=doc if isinstance(doc, str) else "", fields=fields, forbid_unknown=inline.decl.forbid_unknown
        )
        if isinstance(plain["type"], str):
            plain["type"], count = re.subn(r"\bobject\b", inline.name, plain["type"])
            if not count:
                self.wrong((*path, "type"), "does not have the word object", 'write "object", "object?", "list[object]" or so')
        return plain

    def convert(self, path: Path, value: Any, kind: type[T]) -> T | None:
        try:
            return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            problem, _, where = str(error).partition(" - at `$")
            inner = tuple(part for part in re.split(r"[.\[\]`]+", where) if part)
            unknown = re.fullmatch(r"Object contains unknown field `(.*)`", problem)
            if unknown:
                self.wrong((*path, *inner, unknown[1]), "unknown key", _known(unknown[1], _fields_at(kind, inner)))
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
    return tuple(field.encode_name for field in msgspec.structs.fields(_struct_in(_type_at(kind, path))))


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


def _known(key: str, known: tuple[str, ...], what: str = "keys") -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known {what}: {', '.join(sorted(known)) or 'none'}"


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

    for section in ("streams", "consumers", "profiles", "sharding", "buckets", "objects"):
        walk((section,), getattr(spec, section))
