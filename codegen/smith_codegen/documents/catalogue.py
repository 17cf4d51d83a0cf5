"""The catalogue: one HTML page that needs nothing else, neither a server nor a network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from .. import fieldtypes, placeholders, units
from ..fieldtypes import FieldType
from ..model import Declared, Enum, Family, Field, Imported, Message, Model, Subject, Token, Union
from ..spec import SECTIONS, fields_of
from ..topology_spec import ConsumerDecl, ShardingDecl, Strict
from . import flow, samples, usage
from .message_schemas import MessageSchemas

_HIDDEN: Final = frozenset(("doc", "subjects", "publishes", "filter", "filters", "stream", "subject", "external"))
"""Keys that stand elsewhere than in the list of settings."""

_SIZES: Final = {"str": "characters", "bytes": "bytes", "map": "keys"}
_KINDS: Final[dict[type[Declared], str]] = {
    Message: "payload",
    Family: "family",
    Union: "union",
    Imported: "class of yours",
    Enum: "enum",
}

Row = dict[str, Any]


class Piece(msgspec.Struct, frozen=True):
    """A piece of a text that may be a link: `kind` is how it looks."""

    text: str
    kind: str = ""
    target: str = ""
    note: str = ""


def render(model: Model, examples: samples.Samples) -> str:
    """The whole page."""
    import jinja2
    import markupsafe

    jinja = jinja2.Environment(
        loader=jinja2.PackageLoader("smith_codegen"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    anchors = _Anchors()
    jinja.filters["anchor"] = anchors.of
    jinja.filters["words"] = _words
    style = _source(jinja, "catalogue.css")
    script = _source(jinja, "catalogue.js")
    page = _Page(model, examples)
    return jinja.get_template("catalogue.html.j2").render(
        page=page,
        style=markupsafe.Markup(style),
        script=markupsafe.Markup(script),
        policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'; form-action 'none'",
        index=markupsafe.Markup(_embedded([[kind, name, text, anchors.of(f"{kind}:{name}")] for kind, name, text in page.index])),
    )


def _source(jinja: Any, name: str) -> str:
    assert jinja.loader is not None
    text: str = jinja.loader.get_source(jinja, name)[0]
    return text


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(value: object) -> str:
    """JSON that can stand inside a script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _words(text: str) -> list[Piece]:
    """A doc text with what stands between backticks as code."""
    return [Piece(part, "code" if index % 2 else "") for index, part in enumerate(text.split("`"))]


class _Anchors:
    """An id for each thing, made of its kind and name; no two are the same."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}
        self._taken: set[str] = set()

    def of(self, name: str) -> str:
        if name not in self._found:
            plain = made = re.sub(r"[^A-Za-z0-9_.]+", "-", name)
            number = 2
            while made in self._taken:
                made, number = f"{plain}-{number}", number + 1
            self._taken.add(made)
            self._found[name] = made
        return self._found[name]


class _Page:
    """What the template shows."""

    def __init__(self, model: Model, examples: samples.Samples) -> None:
        self._model = model
        self._examples = examples
        self._spec = model.spec
        self._schemas = MessageSchemas(model)
        self.head = model.spec.spec
        self.hash = model.spec.hash[:12]
        self._headers = {subject.headers for subject in model.subjects}
        self._publishers = usage.publishers(model)
        self._routes = usage.routes(model)
        self._receivers = usage.receivers(model, self._routes)
        self._subjects_of: dict[str, list[Subject]] = {}
        for subject in usage.own_subjects(model):
            for token in subject.tokens:
                self._subjects_of.setdefault(token.name, []).append(subject)
        self._parts_of = self._refers()
        self._declared_in = {section: frozenset(usage.declared(self._spec, section)) for section in SECTIONS[1:]}
        self.picture = flow.picture(model)
        self.subjects = [self._subject(subject) for subject in usage.own_subjects(model)]
        self.streams = [self._stream(name) for name in self._own("streams")]
        self.consumers = [self._consumer(name) for name in self._own("consumers")]
        self.shardings = [self._sharding(name) for name in self._own("sharding")]
        self.buckets = [self._bucket(name) for name in self._own("buckets")]
        self.objects = [self._objects(name) for name in self._own("objects")]
        self.messages = [self._declared(one) for one in self._shown_messages()]
        self.tokens = [self._token(token) for token in model.tokens if not token.home]
        self.profiles = [
            (name, self._spec.profiles[name], _settings(self._spec.profiles[name])) for name in self._own("profiles")
        ]
        self.domains = [(name, self._spec.domains[name]) for name in self._own("domains")]

    @property
    def namespaces(self) -> list[tuple[str, list[Row]]]:
        """The subjects by namespace, those without one first."""
        found: dict[str, list[Row]] = {}
        for subject in self.subjects:
            found.setdefault(subject["name"].rpartition(".")[0], []).append(subject)
        return sorted(found.items())

    @property
    def index(self) -> Iterator[tuple[str, str, str]]:
        """What can be searched for: kind, name, and more text."""
        for one in self.subjects:
            yield "subject", one["name"], f"{one['pattern']} {one['doc']}"
        sections = (("stream", self.streams), ("consumer", self.consumers), ("sharding", self.shardings))
        for kind, rows in (*sections, ("bucket", self.buckets), ("objects", self.objects)):
            for one in rows:
                yield kind, one["name"], one["doc"]
        for one in self.messages:
            yield "message", one["name"], " ".join((one["doc"], *(field["name"] for field in one["fields"])))
        for one in self.tokens:
            yield "token", one["name"], " ".join((one["doc"], *one["choices"]))

    def _own(self, section: str) -> tuple[str, ...]:
        return usage.declared(self._spec, section)

    # ---- subjects

    def _subject(self, subject: Subject) -> Row:
        spec = self._spec
        streams = [(name, self._target("streams", name)) for name in spec.streams_of(subject.name)]
        decl = spec.subjects[subject.name]
        return {
            "name": subject.name,
            "doc": subject.doc,
            "pattern": subject.pattern,
            "pieces": list(self._pieces(subject)),
            "example": self._example_subject(subject),
            "python": f"{self.head.package}.subjects.{subject.access}",
            "message": subject.message,
            "message_target": self._message_target(subject.message),
            "streams": streams,
            "deprecated": decl.deprecated,
            "headers": subject.headers,
            "headers_target": "" if subject.headers is None else self._message_target(subject.headers),
            "reply": subject.reply,
            "reply_target": "" if subject.reply is None else self._message_target(subject.reply),
            "errors": subject.errors,
            "publishers": [self._user(name) for name in self._publishers.get(subject.name, ())],
            "receivers": [self._user(name) for name in self._receivers.get(subject.name, ())],
            "tokens": [self._token(token) for token in subject.tokens],
            "sharding": spec.derived.get(("subjects", subject.name), ""),
            "dead_letters": decl.dead_letters,
        }

    def _pieces(self, subject: Subject) -> Iterator[Piece]:
        by_name = {token.name: token for token in subject.tokens}
        for index, piece in enumerate(placeholders.pieces(subject.pattern)):
            yield Piece(f"{'.' * bool(index)}{piece.prefix if piece.name else piece.text}")
            if piece.name:
                token = by_name[piece.name]
                target = f"token:{token.name}" if token.kind not in ("shard", "tail") and not token.home else ""
                yield Piece(f"{{{piece.name}{piece.mark}}}", "token", target, _values(token))
                yield Piece(piece.suffix)

    def _example_subject(self, subject: Subject) -> str:
        return ".".join(part if isinstance(part, str) else samples.token(part) for part in subject.parts)

    def _user(self, name: str) -> tuple[str, str]:
        kind, _, sharding = name.partition(" ") if name.startswith("sharding ") else ("consumers", "", name)
        return name, self._target(kind, sharding)

    def _target(self, section: str, name: str) -> str:
        """The anchor of a declaration; "" if it is not on the page."""
        kind = section.removesuffix("s")
        derived = self._spec.derived.get((section, name))
        if derived is not None:
            return f"sharding:{derived}"
        return f"{kind}:{name}" if name in self._declared_in[section] else ""

    # ---- streams and what reads them

    def _stream(self, name: str) -> Row:
        decl = self._spec.streams[name]
        kept = [one["name"] for one in self.subjects if any(stream == name for stream, _ in one["streams"])]
        readers = [other for other in self._own("consumers") if self._spec.consumers[other].stream == name]
        shards = [other for other in self._own("sharding") if name in self._spec.streams_of(self._spec.sharding[other].sharded)]
        return {
            "name": name,
            "doc": decl.doc,
            "patterns": decl.subjects,
            "external": decl.external,
            "settings": _settings(decl),
            "subjects": kept,
            "consumers": [self._user(one) for one in (*readers, *(f"sharding {one}" for one in shards))],
        }

    def _consumer(self, name: str) -> Row:
        decl = self._spec.consumers[name]
        return {
            "name": name,
            "doc": decl.doc,
            "stream": (decl.stream, self._target("streams", decl.stream)),
            "filters": [self._filter(table) for table in decl.chosen],
            "receives": self._links(self._routes[name]),
            "publishes": self._published(decl),
            "settings": _settings(decl),
            "domains": [group for group, one in self._spec.domains.items() if name in one.consumers],
        }

    def _filter(self, table: dict[str, str]) -> str:
        values = ", ".join(f"{key} = {value}" for key, value in table.items() if key != "subject")
        return f"{table['subject']} with {values}" if values else table["subject"]

    def _links(self, subjects: Sequence[Subject]) -> list[tuple[str, str]]:
        return [(one.name, "" if one.home else f"subject:{one.name}") for one in subjects]

    def _published(self, decl: ConsumerDecl | ShardingDecl) -> list[tuple[str, str]]:
        return [(name, self._target("subjects", name)) for name in decl.publishes]

    def _sharding(self, name: str) -> Row:
        decl = self._spec.sharding[name]
        return {
            "name": name,
            "doc": decl.doc,
            "subject": (decl.subject, self._target("subjects", decl.subject)),
            "key": " or ".join(".".join(path) for path in decl.paths),
            "publishes": self._published(decl),
            "reads": [(one, self._target("subjects", one)) for one in decl.reads],
            "settings": [(key, value) for key, value in _settings(decl) if key not in ("key", "reads")],
        }

    def _bucket(self, name: str) -> Row:
        decl = self._spec.buckets[name]
        return {
            "name": name,
            "doc": decl.doc,
            "key": decl.key or "any text",
            "message": decl.message,
            "message_target": self._message_target(decl.message),
            "settings": [(key, value) for key, value in _settings(decl) if key not in ("key", "message")],
        }

    def _objects(self, name: str) -> Row:
        decl = self._spec.objects[name]
        return {"name": name, "doc": decl.doc, "settings": _settings(decl)}

    # ---- payloads and tokens

    def _shown_messages(self) -> Iterator[Declared]:
        """The payloads of the spec itself; members and parameters stand with their family."""
        inner = {message.name for family in self._model.families for message in family.messages}
        for name, one in self._schemas.declared.items():
            if not one.home and name not in inner:
                yield one

    def _declared(self, one: Declared) -> Row:
        first = one.members[0] if isinstance(one, Family) else one
        fields = list(first.fields) if isinstance(first, Message) else []
        if isinstance(one, Family):
            fields = [field for field in fields if field.name != "params"]
        limits = [(key, value) for key in ("max_items", "max_depth") if (value := getattr(first, key, None)) is not None]
        return {
            "name": one.name,
            "kind": "headers" if one.name in self._headers else _KINDS[type(one)],
            "deprecated": getattr(one, "deprecated", ""),
            "doc": one.doc,
            "by": self._schemas.selector(one) if isinstance(one, Family | Union) else "",
            "tag": self._schemas.tag(one) if isinstance(one, Message) else None,
            "union": self._tagged(one) if isinstance(one, Union) else [],
            "imported": f"{one.module}:{one.cls}" if isinstance(one, Imported) else "",
            "choices": list(one.values) if isinstance(one, Enum) else [],
            "is_open": isinstance(one, Enum) and one.is_open,
            "is_strict": getattr(one, "forbid_unknown", False),
            "fields": [self._field(first, field) for field in fields if isinstance(first, Message)],
            "members": [self._member(member) for member in one.members] if isinstance(one, Family) else [],
            "limits": limits,
            "examples": [list(_json(example)) for example in self._examples.of(one.name)],
            "used": self._links(
                [
                    subject
                    for subject in usage.own_subjects(self._model)
                    if one.name in (subject.message, subject.reply, subject.headers)
                ]
            ),
            "inside": self._inside(one.name),
            "buckets": [
                (other, f"bucket:{other}") for other in self._own("buckets") if self._spec.buckets[other].message == one.name
            ],
        }

    def _tagged(self, union: Union) -> list[tuple[str, str, str]]:
        """The tag, the name and the anchor of each member."""
        found = []
        for name in union.members:
            one = self._schemas.declared[name]
            tag = self._schemas.tag(one) if isinstance(one, Message) else None
            found.append((tag[1] if tag else name, name, self._message_target(name)))
        return found

    def _refers(self) -> dict[str, dict[str, None]]:
        """For each payload, those that it is a part or a member of."""
        around = {message.name: family.name for family in self._model.families for message in family.messages}
        found: dict[str, dict[str, None]] = {}
        for message in self._model.messages:
            for name in () if message.home else message.refers:
                found.setdefault(name, {}).setdefault(around.get(message.name, message.name))
        for union in self._schemas.declared.values():
            for name in union.members if isinstance(union, Union) else ():
                found.setdefault(name, {}).setdefault(union.name)
        return found

    def _inside(self, name: str) -> list[tuple[str, str]]:
        return [(other, f"message:{other}") for other in sorted(self._parts_of.get(name, ())) if other != name]

    def _member(self, member: Message) -> Row:
        params = next((field for field in member.fields if field.name == "params"), None)
        inner = None if params is None else self._schemas.declared.get(params.decl.type)
        fields = [self._field(inner, field) for field in inner.fields] if isinstance(inner, Message) else []
        examples = [list(_json(example)) for example in self._examples.of(member.name)]
        return {"name": member.name, "tag": member.tag, "aliases": member.aliases, "fields": fields, "examples": examples}

    def _field(self, message: Message, field: Field) -> Row:
        decl = field.decl
        kind = fieldtypes.parse(decl.type)
        facts = list(self._facts(kind, field))
        return {
            "name": field.wire,
            "type": list(self._type(kind)),
            "required": not field.default,
            "is_id": field.name == message.id,
            "facts": facts,
            "doc": field.doc,
        }

    def _type(self, kind: FieldType) -> Iterator[Piece]:
        if kind.kind in ("list", "map"):
            assert kind.item is not None
            yield Piece(f"{kind.kind}[")
            yield from self._type(kind.item)
            yield Piece("]")
        elif kind.kind == "enum":
            yield Piece("enum")
        elif kind.kind == "ref":
            yield Piece(kind.name, "type", self._type_target(kind.name))
        else:
            yield Piece(kind.kind)
        if kind.optional:
            yield Piece("?", "optional", "", "may be null or absent")

    def _type_target(self, name: str) -> str:
        token = self._schemas.tokens.get(name)
        if token is not None:
            return "" if token.home else f"token:{token.name}"
        return self._message_target(name)

    def _message_target(self, name: str) -> str:
        one = self._schemas.declared.get(name)
        if one is None or one.home:
            return ""
        family = next((family.name for family in self._model.families if one in family.messages), name)
        return f"message:{family}"

    def _facts(self, kind: FieldType, field: Field) -> Iterator[str]:
        decl = field.decl
        values = kind.values or next((one.values for one in _inner(kind) if one.values), ())
        if values:
            yield " | ".join(values)
        for word, limit in (("from", decl.min), ("to", decl.max)):
            if limit is not None:
                yield f"{word} {limit}"
        for word, size in (("at least", decl.min_length), ("at most", decl.max_length)):
            if size is not None:
                yield f"{word} {size} {_SIZES.get(kind.kind, 'items')}"
        if decl.pattern is not None:
            yield decl.pattern
        if decl.const is not msgspec.UNSET:
            yield f"always {json.dumps(decl.const, ensure_ascii=False)}"
        if field.name != field.wire:
            yield f"in Python {field.name}"
        if decl.secret:
            yield "secret"
        if decl.deprecated:
            yield f"deprecated: {decl.deprecated}"
        if decl.default is not msgspec.UNSET:
            yield f"default {json.dumps(decl.default, ensure_ascii=False)}"
        if decl.new is not msgspec.UNSET:
            yield f"new() gives {decl.new if isinstance(decl.new, str) else json.dumps(decl.new, ensure_ascii=False)}"
        if decl.kinds:
            yield f"kinds {' | '.join(decl.kinds)}"
        if decl.reads:
            yield "also read: " + ", ".join(f"{other} as {value}" for other, value in decl.reads.items())
        if decl.case:
            yield f"in {decl.case} case"

    def _token(self, token: Token) -> Row:
        shown = "" if token.home or token.kind in ("shard", "tail") else f"token:{token.name}"
        return {
            "name": token.name,
            "type": token.type_name,
            "doc": token.doc,
            "choices": token.values,
            "summary": _values(token),
            "target": shown,
            "subjects": self._links(self._subjects_of.get(token.name, [])),
        }


def _inner(kind: FieldType) -> Iterator[FieldType]:
    while kind.item is not None:
        kind = kind.item
        yield kind


def _values(token: Token) -> str:
    """What a token may be, in words."""
    if token.values:
        return " | ".join(token.values)
    if token.kind == "tail":
        return "one or more tokens, to the end"
    if token.kind in ("int", "shard"):
        bounds = [f"{word} {bound}" for word, bound in (("from", token.min), ("to", token.max)) if bound is not None]
        written = f", written {token.format}" if token.format not in (None, "d") else ""
        return " ".join(["a whole number", *bounds]) + written
    return f"any token but {', '.join(token.exclude)}" if token.exclude else "any token"


def _settings(decl: Strict) -> list[tuple[str, str]]:
    """The keys that a table sets, and those that always matter, each with its value in words."""
    found = []
    for field in fields_of(type(decl)):
        value = getattr(decl, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        always = field.name in ("retention", "discard", "storage")
        if field.name not in _HIDDEN and (always or value != default):
            found.append((field.name, _shown(field.name, value)))
    return found


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key not in units.SIZES:
        return "without end" if value == -1 else f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown('', inner)}" for name, inner in value.items())
    if isinstance(value, tuple):
        return ", ".join(_shown("", inner) for inner in value)
    if isinstance(value, Strict):
        return ", ".join(f"{name} {inner}" for name, inner in _settings(value))
    return str(value)


def _json(value: Any, indent: int = 0) -> Iterator[Piece]:
    """A JSON value, laid out on lines, as pieces that say what they are."""
    inside, outside = "\n" + "  " * (indent + 1), "\n" + "  " * indent
    if isinstance(value, dict) and value:
        yield Piece("{")
        for index, (key, inner) in enumerate(value.items()):
            yield Piece(("," if index else "") + inside)
            yield Piece(json.dumps(key, ensure_ascii=False), "key")
            yield Piece(": ")
            yield from _json(inner, indent + 1)
        yield Piece(outside + "}")
    elif isinstance(value, list | tuple) and value:
        yield Piece("[")
        for index, inner in enumerate(value):
            yield Piece(("," if index else "") + inside)
            yield from _json(inner, indent + 1)
        yield Piece(outside + "]")
    else:
        kind = "string" if isinstance(value, str) else "number" if isinstance(value, int | float) else ""
        yield Piece(json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False), kind)
