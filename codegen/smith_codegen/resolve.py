"""From the spec to the model. The spec is one that `checks.py` found nothing wrong with."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from . import domains, modules, names, patterns, sharded, units
from .bucket_spec import BucketDecl
from .message_spec import EnumDecl, FieldDecl, MessageDecl
from .model import (
    Bucket,
    Consumer,
    Declared,
    Enum,
    Family,
    Imported,
    Keys,
    Message,
    Model,
    Objects,
    ServiceError,
    Sharding,
    Subject,
    Token,
    TokenField,
    Union,
)
from .overlaps import Index
from .placeholders import Piece, feeding, filtered, is_servers, paths_of, pieces, split, taken, widest, wildcards
from .resolve_fields import Resolver
from .spec import SHARD, SHARD_TOKEN, ShardedDecl, Spec, SubjectDecl, TokenDecl, fields_of
from .topology_spec import (
    ConsumerDecl,
    ConsumerLimitsDecl,
    ExternalDecl,
    OriginDecl,
    PlacementDecl,
    RepublishDecl,
    Strict,
    TransformDecl,
)

_CLASSES: Final[dict[type[Strict], str]] = {
    ConsumerLimitsDecl: "_ConsumerLimits",
    ExternalDecl: "_External",
    OriginDecl: "_Origin",
    PlacementDecl: "_Placement",
    RepublishDecl: "_Republish",
    TransformDecl: "_SubjectTransform",
}
"""Tables inside streams and profiles, and the classes of smith_sdk.contract for them."""


def build(spec: Spec) -> Model:
    """Resolve every name."""
    caps = spec.selectors
    tokens = tuple(_token(spec, name, decl, caps) for name, decl in sorted(spec.tokens.items()))
    by_name = {token.name: token for token in tokens}
    fields = Resolver(by_name, spec.enums)
    declared: list[Declared] = [_enum(spec, name, decl) for name, decl in spec.enums.items()]
    declared += [_declaration(spec, name, decl, fields, by_name) for name, decl in spec.messages.items()]
    declared += (
        Union(home=_home(spec, "unions", name), name=name, doc=decl.doc, members=tuple(decl.tags.values()))
        for name, decl in spec.unions.items()
    )
    index = Index((name, paths_of(spec, decl)) for name, decl in spec.subjects.items())
    subjects = _subjects(spec, by_name, index, {one.name: one for one in declared if isinstance(one, Family)})
    carriers = _Carriers(subjects)
    received = _Received(spec, subjects, index)
    declared = [_with_tokens(one, carriers) for one in declared]
    dead = [split(decl.pattern) for decl in spec.subjects.values() if decl.dead_letters]
    return Model(
        spec=spec,
        tokens=tokens,
        modules=modules.split(declared, tokens),
        subjects=subjects,
        streams=tuple(_stream(spec, name) for name in _declared_here(spec, "streams", made=True)),
        consumers=tuple(_consumer(spec, name, received) for name in _declared_here(spec, "consumers")),
        domains=tuple((name, decl) for name, decl in spec.domains.items() if spec.is_own(("domains", name))),
        profiles=tuple(_profile(spec, name) for name in spec.profiles if spec.is_own(("profiles", name))),
        shardings=tuple(_sharding(spec, name, subjects) for name in spec.sharding if spec.is_own(("sharding", name))),
        dead_letters=".".join(dead[0][:-3]) if dead else None,
        buckets=tuple(_bucket(name, decl, by_name) for name, decl in spec.buckets.items() if spec.is_own(("buckets", name))),
        objects=tuple(
            Objects(name=name, attr=names.snake(name), doc=decl.doc)
            for name, decl in spec.objects.items()
            if spec.is_own(("objects", name))
        ),
    )


def _home(spec: Spec, section: str, name: str) -> str:
    return "" if spec.is_own((section, name)) else spec.home((section, name))


def _declared_here(spec: Spec, section: str, *, made: bool = False) -> Iterator[str]:
    """The spec's own names in a section; with `made` also those that its shardings made."""
    for name in getattr(spec, section):
        if spec.is_own((section, name)) and (made or (section, name) not in spec.derived):
            yield name


def _token(spec: Spec, name: str, decl: TokenDecl, caps: dict[str, str]) -> Token:
    closed: Literal["cap", "enum"] = "cap" if name in caps else "enum"
    return Token(
        home=_home(spec, "tokens", name),
        name=name,
        kind=_kind(decl, closed),
        type_name=spec.python.tokens[name],
        constant=spec.python.sets[name],
        constants=tuple((spec.python.constants[name, value], value) for value in decl.enum or () if name in caps),
        values=decl.enum or (),
        exclude=decl.exclude,
        min=decl.min,
        max=decl.max,
        format=decl.format,
        family=caps.get(name, ""),
        aliases=tuple(sorted(decl.aliases.items())),
        doc=decl.doc,
    )


def _kind(decl: TokenDecl, closed: Literal["cap", "enum"]) -> Literal["open", "int", "enum", "cap", "shard"]:
    if decl.enum is not None:
        return closed
    return "int" if decl.base == "int" else "open"


def _enum(spec: Spec, name: str, decl: EnumDecl) -> Enum:
    return Enum(home=_home(spec, "enums", name), name=name, values=tuple(decl.docs.items()), is_open=decl.open, doc=decl.doc)


def _declaration(spec: Spec, name: str, decl: MessageDecl, fields: Resolver, tokens: dict[str, Token]) -> Declared:
    home = _home(spec, "messages", name)
    if decl.by:
        return _family(spec, name, decl, fields, tokens[decl.by])
    if decl.import_ is not None:
        module, _, cls = decl.import_.partition(":")
        return Imported(home=home, name=name, doc=decl.doc, module=module, cls=cls)
    message = _identified(_message(home, name, decl.doc, decl, decl.fields, fields), decl)
    return msgspec.structs.replace(message, union_tag=spec.tag_of(name))


def _family(spec: Spec, name: str, decl: MessageDecl, fields: Resolver, by: Token) -> Family:
    home = _home(spec, "messages", name)
    messages: list[Message] = []
    for constant, value in by.constants:
        params = _message(home, spec.python.params[name, value], f"The parameters of {value}.", decl, decl.params[value], fields)
        own = {**decl.fields, "params": FieldDecl(type=params.name, name="params")}
        doc = f"{decl.doc.removesuffix('.')}: {value}."
        member = msgspec.structs.replace(
            _message(home, spec.python.members[name, value], doc, decl, own, fields),
            tag=value,
            cap=constant,
            family=name,
            aliases=tuple(alias for alias, of in by.aliases if of == value),
        )
        messages += (params, _identified(member, decl))
    return Family(
        home=home,
        name=name,
        by=by,
        messages=tuple(messages),
        doc=decl.doc,
        typevar=spec.python.typevars[name],
        base=spec.python.bases[name],
    )


def _identified(message: Message, decl: MessageDecl) -> Message:
    return msgspec.structs.replace(
        message,
        id=None if decl.id is None else names.attribute(decl.id),
        max_items=decl.max_items,
        max_depth=decl.max_depth,
        forbid_unknown=decl.forbid_unknown,
    )


def _message(home: str, name: str, doc: str, decl: MessageDecl, own: dict[str, FieldDecl], fields: Resolver) -> Message:
    return Message(
        home=home,
        name=name,
        doc=doc,
        id=None,
        deprecated=decl.deprecated,
        fields=tuple(fields.field(field, one, decl.rename) for field, one in own.items()),
        has_new=any(one.new is not msgspec.UNSET for one in own.values()),
    )


def _subjects(spec: Spec, tokens: dict[str, Token], index: Index[str], families: dict[str, Family]) -> tuple[Subject, ...]:
    found = []
    bounds = {"min": SHARD_TOKEN.min, "max": SHARD_TOKEN.max, "format": SHARD_TOKEN.format}
    shard = Token(home="", name=SHARD, kind="shard", type_name="_Shard", **bounds)  # type: ignore[arg-type]
    for name, decl in spec.subjects.items():
        namespace, attr, cls = spec.python.subjects[name]
        own_tokens = {**tokens, SHARD: shard} if isinstance(decl, ShardedDecl) else tokens
        parts = tuple(_part(piece, own_tokens) for piece in pieces(decl.pattern))
        is_made = ("subjects", name) in spec.derived
        is_sharded = sharded.is_sharded(spec, name)
        if is_sharded:  # the token before the number differs between layouts
            parts = (*parts[:-2], msgspec.structs.replace(shard, has_word=True))
        family = families.get(decl.message)
        also = [other for other in index.overlapping(map(patterns.positions, wildcards(spec, decl))) if other != name]
        found.append(
            Subject(
                home=_home(spec, "subjects", name),
                name=name,
                namespace=namespace,
                attr=attr,
                cls=cls,
                pattern=decl.pattern,
                parts=parts,
                message=decl.message,
                family=family,
                stream=decl.stream,
                doc=decl.doc,
                deprecated=decl.deprecated,
                upper=_upper(spec, decl),
                readable=_readable(spec, decl, (part for part in parts if isinstance(part, Token))),
                also=tuple(spec.python.subjects[other][2] for other in also),
                also_messages=tuple(
                    dict.fromkeys(one for other in also if (one := spec.subjects[other].message) != decl.message)
                ),
                sharding=spec.derived[("subjects", name)] if is_sharded else "",
                read_only=(is_made and not is_sharded) or is_servers(decl.pattern),
                reply=decl.reply,
                headers=decl.headers if isinstance(decl.headers, str) else None,
                needs_headers=_needs_headers(spec, decl),
                errors=tuple(ServiceError(name=error, code=one.code or error, doc=one.doc) for error, one in decl.errors.items()),
                is_union=decl.message in spec.unions,
            )
        )
    return tuple(found)


def _bucket(name: str, decl: BucketDecl, tokens: dict[str, Token]) -> Bucket:
    return Bucket(
        name=name,
        attr=names.snake(name),
        cls=f"{names.camel(name)}Key",
        pattern=decl.key or "",
        parts=() if decl.key is None else tuple(_part(piece, tokens) for piece in pieces(decl.key)),
        message=decl.message,
        key_ttl=decl.limit_marker_ttl is not None,
        doc=decl.doc,
    )


class _Carriers:
    """Subjects, in order, by the payload that they carry, and the first with a token of a type."""

    def __init__(self, subjects: tuple[Subject, ...]) -> None:
        self.subjects = subjects
        self.by_message: dict[str, list[int]] = {}
        self.by_type: dict[str, int] = {}
        for number, subject in enumerate(subjects):
            self.by_message.setdefault(subject.message, []).append(number)
            for token in subject.tokens:
                if token.kind != "cap":
                    self.by_type.setdefault(token.type_name, number)

    def carrying(self, message: Message) -> list[int]:
        return sorted({number for name in (message.name, message.family) for number in self.by_message.get(name, ())})

    def naming(self, message: Message) -> set[int]:
        """That which has the id of the payload as a token."""
        types = (field.ref for field in message.fields if field.name == message.id)
        return {self.by_type[one] for one in types if one in self.by_type}


def _needs_headers(spec: Spec, decl: SubjectDecl) -> bool:
    if not isinstance(decl.headers, str):
        return False
    return any(field.is_required for field in spec.messages[decl.headers].fields.values())


def _with_tokens(one: Declared, carriers: _Carriers) -> Declared:
    if isinstance(one, Family):
        found = tuple(msgspec.structs.replace(message, tokens=_tokens_of(message, carriers)) for message in one.messages)
        return msgspec.structs.replace(one, messages=found)
    return msgspec.structs.replace(one, tokens=_tokens_of(one, carriers)) if isinstance(one, Message) else one


def _part(piece: Piece, tokens: dict[str, Token]) -> str | Token:
    if not piece.name:
        return piece.text
    if piece.is_tail:
        return Token(home="", name=piece.name, kind="tail", type_name="tuple[str, ...]")
    around = {"prefix": piece.prefix, "suffix": piece.suffix, "is_optional": piece.is_optional}
    return msgspec.structs.replace(tokens[piece.name], **around)


def _tokens_of(message: Message, carriers: _Carriers) -> tuple[TokenField, ...]:
    """The fields of a payload that become tokens: those that a subject's `of` reads, and an id of a
    token's type, as that of an intent, which is a token of its result.

    Where a payload has subjects that do not take the field, it may be empty; but each member of a
    family goes through all of the family's subjects. A field with a default may be absent.
    """
    numbers = carriers.carrying(message)
    carrying = [carriers.subjects[number] for number in numbers]
    required = [field for field in message.fields if not field.default]
    found: dict[str, TokenField] = {}
    for number in sorted(carriers.naming(message).union(numbers)):
        subject = carriers.subjects[number]
        for token, field in itertools.product(subject.tokens, required):
            is_read = (
                subject.message in (message.name, message.family)
                and field.name == names.attribute(token.name)
                and token.name in subject.readable
            )
            is_id = field.name == message.id and field.ref == token.type_name
            if field.name in found or token.kind == "cap" or not (is_read or is_id):
                continue
            partly = not (is_id or message.family or all(field.name in map(names.attribute, one.readable) for one in carrying))
            may_be_empty = partly and token.kind == "open"
            found[field.name] = TokenField(
                name=field.name,
                token=token,
                pattern=subject.pattern,
                may_be_empty=may_be_empty,
                is_upper=token.name in subject.upper,
            )
    return tuple(found.values())


def _readable(spec: Spec, decl: SubjectDecl, tokens: Iterable[Token]) -> tuple[str, ...]:
    """Tokens that the payload has too, by name and type; a family's selector is its tag."""
    message = spec.messages.get(decl.message)
    if message is None:
        return ()
    found = []
    for token in tokens:
        field = message.fields.get(token.name)
        types = {token.type_name, "str", *((f"{token.type_name}?", "str?") if token.is_optional else ())}
        is_same = field is not None and field.type in types
        if token.name == message.by or (is_same and token.kind != "tail"):
            found.append(token.name)
    return tuple(found)


def _upper(spec: Spec, decl: SubjectDecl) -> tuple[str, ...]:
    """Fields of the payload that are in upper case in its JSON."""
    message = spec.messages.get(decl.message)
    return () if message is None else tuple(name for name, field in message.fields.items() if field.case is not None)


def _stream(spec: Spec, name: str) -> Keys:
    decl = spec.streams[name]
    always = ("subjects", "retention", "discard", "storage")
    keys = [*((key, _source(key, getattr(decl, key))) for key in always), *_declared(decl, (*always, "external"))]
    if decl.doc:
        keys.append(("description", repr(decl.doc)))
    return Keys(name=name, keys=(("name", repr(name)), *keys))


def _profile(spec: Spec, name: str) -> Keys:
    decl = spec.profiles[name]
    keys = [("name", repr(name)), ("replicas", repr(decl.replicas)), *_declared(decl, ("replicas", "streams"))]
    if decl.streams:
        overrides = [
            _call("_StreamOverride", [("stream", repr(stream)), *_declared(one)]) for stream, one in decl.streams.items()
        ]
        keys.append(("streams", _tuple(overrides)))
    return Keys(name=name, keys=tuple(keys))


def _declared(decl: Strict, apart: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """The keys of a table that differ from their default, as Python source, without those
    `apart`.
    """
    for field in fields_of(type(decl)):
        value = getattr(decl, field.name)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if field.name not in ("doc", *apart) and value != default:
            yield field.name, _source(field.name, value)


def _source(key: str, value: Any) -> str:
    """The value of a key as Python source: units converted, tables as classes."""
    unit = units.reader(key)
    if unit is not None:
        return repr(unit[0](value))
    if isinstance(value, Strict):
        return _call(_CLASSES[type(value)], _declared(value))
    if isinstance(value, dict):
        return repr(tuple(sorted(value.items())))
    return _tuple([_source("", one) for one in value]) if isinstance(value, tuple) else repr(value)


def _call(name: str, keys: Iterable[tuple[str, str]]) -> str:
    return f"{name}({', '.join(f'{key}={value}' for key, value in keys)})"


def _tuple(items: list[str]) -> str:
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _sharding(spec: Spec, name: str, subjects: tuple[Subject, ...]) -> Sharding:
    decl = spec.sharding[name]
    plain = spec.subjects[decl.subject]
    made = [subject for subject in subjects if subject.name in (decl.sharded, *decl.reads)]
    keys = {
        "name": repr(name),
        "subject": repr(decl.subject),
        "sharded": repr(decl.sharded),
        "key": repr(decl.paths),
        "layout": _call("_Layout", [("shards", repr(decl.shards)), ("generation", repr(decl.generation))]),
        "prefix": repr(widest(spec, plain)),
        "stream": repr(plain.stream),
        "description": repr(decl.doc),
    }
    reads = [(sharded.prefix(spec, read.pattern, 1), read.shards) for read in decl.reads.values()]
    if reads:
        keys["reads"] = _tuple([_call("_ReadShards", [("prefix", repr(one)), ("shards", repr(count))]) for one, count in reads])
    keys |= dict(_declared(decl, ("subject", "shards", "key", "generation", "reads", "publishes")))
    return Sharding(
        name=name,
        doc=decl.doc,
        message_type=plain.message,
        subject_type=" | ".join(subject.generic(plain.message) for subject in made),
        keys=tuple(keys.items()),
    )


class _Received:
    """The subjects that consumers receive: those of a stream, or those that a filter lets in."""

    def __init__(self, spec: Spec, subjects: tuple[Subject, ...], index: Index[str]) -> None:
        self.spec = spec
        self.index = index
        self.subjects = {subject.name: subject for subject in subjects}
        self.order = {name: number for number, name in enumerate(self.subjects)}
        self.by_stream: dict[str, list[str]] = {}
        for name in self.subjects:
            for stream in spec.streams_of(name):
                self.by_stream.setdefault(stream, []).append(name)

    def by(self, decl: ConsumerDecl) -> Iterator[tuple[Subject, dict[str, str]]]:
        """Each with the table of the filter; {} without one."""
        if not decl.chosen:
            streams = feeding(self.spec, decl.stream)
            yield from ((one, {}) for one in self._sorted(name for stream in streams for name in self.by_stream.get(stream, ())))
        for table in decl.chosen:
            own = map(patterns.positions, filtered(self.spec, table))
            yield from ((one, table) for one in self._sorted((table["subject"], *self.index.overlapping(own))))

    def _sorted(self, found: Iterable[str]) -> Iterator[Subject]:
        return map(self.subjects.__getitem__, sorted(set(found), key=self.order.__getitem__))


def _consumer(spec: Spec, name: str, received: _Received) -> Consumer:
    decl = spec.consumers[name]
    messages: list[str] = []
    types: list[str] = []
    for subject, given in received.by(decl):
        message = subject.message
        if subject.family and subject.family.by.name in given:
            message = spec.python.members[subject.family.name, given[subject.family.by.name]]
        messages.append(message)
        types.append(subject.generic(message))
    return Consumer(
        name=name,
        attr=spec.python.consumers[name],
        decl=decl,
        filters=taken(spec, decl),
        message_type=" | ".join(dict.fromkeys(messages)),
        subject_type=" | ".join(dict.fromkeys(types)),
        keys=(
            *_declared(decl, ("stream", "filter", "filters", "publishes")),
            *((("domain_filters", repr(open_filters)),) if (open_filters := domains.filters(spec, decl)) else ()),
        ),
    )
