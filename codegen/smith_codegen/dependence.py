"""What in a spec depends on what: whether an error in one declaration makes checks of others
meaningless.

All errors of a spec are reported in one run. A check that comes later is made of the declarations
that neither have an error nor depend on one that has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from . import fieldtypes
from .errors import SpecError
from .message_spec import FieldDecl
from .placeholders import names_in
from .spec import SECTIONS, Spec

Declaration = tuple[str, ...]
"""Section and name."""

_ANY_TOKEN: Final = ("tokens", "")
"""In place of a token that could not be read, whose type is not known."""

_RELATED: Final = {
    "consumers": ("stream", "filter", "filters"),
    "messages": ("by", "params"),
    "streams": ("subjects", "mirror", "sources"),
    "subjects": ("pattern", "message", "stream"),
}
"""Keys that relate declarations of a section to others; of other sections, any."""


def in_doubt(spec: Spec, errors: Iterable[SpecError]) -> frozenset[Declaration]:
    """The declarations with an error, and those that depend on them."""
    found = {error.path[:2] for error in errors if error.own and len(error.path) > 1 and _matters(error.path)}
    return _with_dependents(spec, found)


def _with_dependents(spec: Spec, found: set[Declaration]) -> frozenset[Declaration]:
    needed_by: dict[Declaration, set[Declaration]] = {}
    for one, other in _needs(spec):
        needed_by.setdefault(other, set()).add(one)
    waiting = list(found)
    while waiting:
        new = needed_by.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return frozenset(found)


def left_of(spec: Spec, errors: Iterable[SpecError]) -> tuple[Spec, frozenset[Declaration]] | None:
    """What has been read of a spec in which something has the wrong form, without what depends on
    that, and the declarations whose errors may only follow from it; None if that cannot be told.
    """
    wrong = {error.path[:2] for error in errors}
    if any(len(path) < 2 or path[0] not in SECTIONS[1:] for path in wrong):
        return None
    if any(section == "tokens" for section, _ in wrong):
        wrong.add(_ANY_TOKEN)
    doubtful = _with_dependents(spec, wrong)
    # Subjects need to know of a payload only that there is one.
    return without(spec, frozenset(one for one in doubtful if one[0] != "messages")), doubtful


def _matters(path: tuple[str, ...]) -> bool:
    """Whether the key at `path` says how its declaration is related to others."""
    related = _RELATED.get(path[0])
    return related is None or len(path) == 2 or path[2] in related


def without(spec: Spec, doubtful: frozenset[Declaration]) -> Spec:
    """The spec without these declarations. `is_whole` is False, if there are any."""
    if not doubtful:
        return spec
    sections = {
        section: {name: decl for name, decl in declared.items() if (section, name) not in doubtful}
        for section in SECTIONS
        if isinstance(declared := getattr(spec, section), dict)
    }
    return msgspec.structs.replace(spec, is_whole=False, **sections)


def _needs(spec: Spec) -> Iterator[tuple[Declaration, Declaration]]:
    """Each declaration with another one that it refers to."""
    yield from _of_messages(spec)
    for name, subject in spec.subjects.items():
        key = ("subjects", name)
        message = spec.messages.get(subject.message)
        yield from ((key, ("tokens", token)) for token in names_in(subject.pattern))
        yield from ((key, ("streams", stream)) for stream in spec.streams_of(name))
        if message is None or message.by is not None:
            yield from ((key, (section, subject.message)) for section in ("messages", "unions"))
        if subject.reply is not None and subject.reply not in spec.messages and subject.reply not in spec.unions:
            yield from ((key, (section, subject.reply)) for section in ("messages", "unions"))
    for name, consumer in spec.consumers.items():
        key = ("consumers", name)
        yield key, ("streams", consumer.stream)
        yield from ((key, ("subjects", table.get("subject", ""))) for table in consumer.chosen)
    for name, stream in spec.streams.items():
        yield from ((("streams", name), ("streams", origin.name)) for origin in stream.origins)
    for name, group in spec.domains.items():
        yield from ((("domains", name), ("consumers", consumer)) for consumer in group.consumers)
    for name, profile in spec.profiles.items():
        yield from ((("profiles", name), ("streams", stream)) for stream in profile.streams)
    for name, bucket in spec.buckets.items():
        yield from ((("buckets", name), ("tokens", token)) for token in names_in(bucket.key or ""))
    for name, sharding in spec.sharding.items():
        yield ("sharding", name), ("subjects", sharding.subject)
        yield from ((("sharding", name), place) for place in (("streams", f"KV_{sharding.bucket}"), ("buckets", sharding.bucket)))
    for made, name in spec.derived.items():
        yield made, ("sharding", name)
        yield ("sharding", name), made
    for made, place in spec.written.items():
        if len(made) == 2:
            yield made, place[:2]


def _of_messages(spec: Spec) -> Iterator[tuple[Declaration, Declaration]]:
    types: dict[str, Declaration] = {spec.python.tokens[name]: ("tokens", name) for name in spec.tokens}
    types |= {name: (section, name) for section in ("enums", "messages", "unions") for name in getattr(spec, section)}
    for name, message in spec.messages.items():
        if message.by is not None:
            yield ("messages", name), ("tokens", message.by)
        for fields in (message.fields, *message.params.values()):
            for one in _types_of(fields.values()):
                if one in types:
                    yield ("messages", name), types[one]
                else:  # it may be one that could not be read
                    yield from ((("messages", name), (section, one)) for section in ("enums", "messages", "unions"))
                    yield ("messages", name), _ANY_TOKEN


def _types_of(fields: Iterable[FieldDecl]) -> Iterator[str]:
    for field in fields:
        try:
            yield from fieldtypes.parse(field.type).names()
        except ValueError:
            continue  # reported where it is declared
