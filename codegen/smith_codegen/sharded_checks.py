"""Checks of `[sharding]`: its subject, the key in the payload, numbers and names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

from . import fieldtypes, names, units
from .errors import SpecError
from .fieldtypes import FieldType
from .locate import Path
from .message_spec import MessageDecl
from .placeholders import names_in, pieces, placeholders
from .sharded import durable, streams_of
from .spec import MOST_SHARDS, SHARD, SHARD_TYPE, Spec
from .topology_spec import ReadDecl, ShardingDecl

_MOST_PATHS: Final = 2
_LEAST_PIN: Final = 1.0
"""Seconds: keys of a bucket cannot expire sooner."""
_MOST_CONSUMERS: Final = 1_000
"""Consumers that the server lets a stream have that declares no `max_consumers`."""
_TEXT: Final = ("str", "any", "enum")


def check(spec: Spec) -> Iterator[SpecError]:
    """Errors in names, references and numbers."""
    of: dict[str, str] = {}
    for name, decl in spec.sharding.items():
        if not spec.is_own(("sharding", name)):
            of.setdefault(decl.subject, name)
            continue
        yield from _subject(spec, name, decl)
        yield from _numbers(spec, name, decl)
        yield from _references(spec, name, decl)
        other = of.setdefault(decl.subject, name)
        if other != name:
            yield spec.error(
                ("sharding", name, "subject"), f"{decl.subject} is sharded by {other} already", "keep one of the two"
            )
    if any(spec.is_own(("sharding", name)) for name in spec.sharding):
        yield from _reserved(spec)


def crowded(spec: Spec, consumers: Iterable[str]) -> Iterator[SpecError]:
    """Streams with more consumers than the server allows where none is declared; `consumers` are
    the streams of all of them.
    """
    every = list(consumers)
    for name, decl in spec.streams.items():
        count = every.count(name)
        if decl.max_consumers is None and count > _MOST_CONSUMERS:
            problem = f"{count} consumers are declared, and without max_consumers the server refuses the 1,001st (10026)"
            yield spec.error(("streams", name), problem, f"add max_consumers = {count} or more")


def _subject(spec: Spec, name: str, decl: ShardingDecl) -> Iterator[SpecError]:
    key = ("sharding", name)
    subject = spec.subjects.get(decl.subject)
    if subject is None or ("subjects", decl.subject) in spec.derived:
        close = difflib.get_close_matches(decl.subject, spec.subjects, n=1)
        fix = f"did you mean {close[0]}?" if close and subject is None else "name a subject of [subjects]"
        problem = f"unknown subject {decl.subject!r}" if subject is None else f"{decl.subject} is sharded already"
        yield spec.error((*key, "subject"), problem, fix)
        return
    if subject.stream is None:
        yield spec.error((*key, "subject"), f"{decl.subject} is stored in no stream", "only what a stream keeps has shards")
    elif subject.stream in spec.streams and spec.streams[subject.stream].origins:
        problem = f"{subject.stream} takes messages of other streams, which know nothing of shards"
        yield spec.error((*key, "subject"), problem, "shard the subject where it is published to")
    if SHARD in names_in(subject.pattern):
        yield spec.error((*key, "subject"), f"{subject.pattern} has a token {{{SHARD}}} already", "name that one otherwise")
    if any(piece.mark for piece in placeholders(subject.pattern)):
        problem = f"{subject.pattern} does not always have the same number of tokens, and a shard comes last"
        yield spec.error((*key, "subject"), problem, "shard a subject without a tail and without a token that may be absent")
    if subject.dead_letters:
        yield spec.error((*key, "subject"), "dead letters have no shards", "shard the subject that they come from")
    if subject.message == "bytes":
        yield spec.error((*key, "subject"), f"{decl.subject} carries bytes, which have no key", "shard a subject with a payload")
    elif subject.message in spec.messages:
        yield from _key(spec, (*key, "key"), decl, subject.message)


def _key(spec: Spec, key: Path, decl: ShardingDecl, message: str) -> Iterator[SpecError]:
    if not 1 <= len(decl.paths) <= _MOST_PATHS:
        yield spec.error(key, f"has {len(decl.paths)} paths", "write the path of the key, or that of a project before it")
    if len(set(decl.paths)) != len(decl.paths):
        yield spec.error(key, "has a path twice", "name each path once")
    for path in decl.paths:
        for problem in dict.fromkeys(_problems(spec, spec.messages[message], path)):
            yield spec.error(key, f"{'.'.join(path)}: {problem}", "name a field of type str, or a key of a map")


def _problems(spec: Spec, message: MessageDecl, path: Path) -> Iterator[str]:
    """What is wrong with a path in a payload, in each variant of a family."""
    name, *rest = path
    if message.by is not None and name == "params" and rest:
        for value, fields in message.params.items():
            if rest[0] not in fields:
                yield f"{value} has no field {rest[0]}"
            else:
                yield from _of_type(spec, fields[rest[0]].type, rest)
    elif name not in message.fields:
        yield f"there is no field {name}"
    elif names.attribute(name) != name or message.fields[name].secret:
        yield f"{name} is {'secret' if message.fields[name].secret else 'a word of Python'}, and cannot be part of a key"
    else:
        yield from _of_type(spec, message.fields[name].type, list(path))


def _of_type(spec: Spec, text: str, path: list[str]) -> Iterator[str]:
    try:
        kind = fieldtypes.parse(text)
    except ValueError:
        return  # reported where it is declared
    name, *rest = path
    if not rest:
        if not _is_text(spec, kind):
            yield f"{name} is {text}, not a str"
    elif kind.kind == "map" and kind.item is not None:
        if len(rest) == 1 and not _is_text(spec, kind.item):
            yield f"{name} is {text}, whose values are not str"
        elif len(rest) > 1 and kind.item.kind != "any":
            yield f"{name} is {text}, which has no {'.'.join(rest[1:])}"
    elif kind.kind == "ref" and kind.name in spec.messages and spec.messages[kind.name].by is None:
        yield from _problems(spec, spec.messages[kind.name], tuple(rest))
    elif kind.kind != "any":
        yield f"{name} is {text}, which has no field {rest[0]}"


def _is_text(spec: Spec, kind: FieldType) -> bool:
    if kind.kind != "ref":
        return kind.kind in _TEXT
    if kind.name in spec.enums:
        return True
    token = spec.token_types.get(kind.name)
    return token is not None and token.base == "str"


def _numbers(spec: Spec, name: str, decl: ShardingDecl) -> Iterator[SpecError]:
    key = ("sharding", name)
    for which, most in (("shards", MOST_SHARDS), ("generation", 0xFFFF)):
        value = getattr(decl, which)
        if not 1 <= value <= most:
            yield spec.error((*key, which), f"{value} is not within 1 to {most:,}", "change it")
    if not 1 <= decl.streams <= max(decl.shards, 1):
        yield spec.error((*key, "streams"), f"{decl.streams} streams for {decl.shards} shards", "at most one for each shard")
    if units.seconds(decl.pin_timeout) < _LEAST_PIN:
        yield spec.error(
            (*key, "pin_timeout"), f"{decl.pin_timeout} is less than 1s", "keys of the bucket last at least that long"
        )


def _references(spec: Spec, name: str, decl: ShardingDecl) -> Iterator[SpecError]:
    key = ("sharding", name)
    bucket = spec.streams.get(f"KV_{decl.bucket}")
    if bucket is None:
        known = [one.removeprefix("KV_") for one in spec.streams if one.startswith("KV_")]
        fix = f"name one of {', '.join(known)}" if known else f"declare [streams.KV_{decl.bucket}]"
        yield spec.error((*key, "bucket"), f"unknown bucket {decl.bucket!r}, which is stream KV_{decl.bucket}", fix)
    elif not bucket.allow_msg_ttl and bucket.subject_delete_marker_ttl is None:
        fix = f"add allow_msg_ttl = true to [streams.KV_{decl.bucket}]"
        yield spec.error((*key, "bucket"), f"keys of {decl.bucket} cannot expire, as those of members must", fix)
    elif bucket.discard != "new" or bucket.max_age is not None:
        fix = f'write discard = "new", and no max_age, in [streams.KV_{decl.bucket}]'
        yield spec.error((*key, "bucket"), f"{decl.bucket} deletes keys that are in use", fix)
    elif bucket.subject_delete_marker_ttl is None:
        fix = f'add subject_delete_marker_ttl = "10m", and allow_rollup_hdrs = true, to [streams.KV_{decl.bucket}]'
        yield spec.error((*key, "bucket"), f"workers would not see that a key of {decl.bucket} expires", fix)
    for index, published in enumerate(decl.publishes):
        if published not in spec.subjects:
            close = difflib.get_close_matches(published, spec.subjects, n=1)
            fix = f"did you mean {close[0]}?" if close else "declare it in [subjects]"
            yield spec.error((*key, "publishes", str(index)), f"unknown subject {published!r}", fix)
    for other, read in decl.reads.items():
        yield from _read(spec, (*key, "reads", other), read)
    subject = spec.subjects.get(decl.subject)
    stream = None if subject is None else subject.stream
    wanted = [("subjects", one) for one in (decl.sharded, *decl.reads)]
    wanted += [("consumers", durable(name, decl, number)) for number in range(min(max(decl.shards, 0), MOST_SHARDS))]
    if stream is not None and 1 < decl.streams <= decl.shards:
        wanted += [("streams", one) for one in streams_of(stream, decl)]
    for section, one in wanted:
        if one in getattr(spec, section) and spec.derived.get((section, one)) != name:
            yield spec.error(key, f"declares {section}.{one}, which exists already", "rename one of the two")


def _read(spec: Spec, key: Path, read: ReadDecl) -> Iterator[SpecError]:
    if not 1 <= read.shards <= MOST_SHARDS:
        yield spec.error((*key, "shards"), f"{read.shards} is not within 1 to {MOST_SHARDS:,}", "change it")
    found = pieces(read.pattern)
    if found[-1].text != f"{{{SHARD}}}" or names_in(read.pattern).count(SHARD) != 1:
        yield spec.error((*key, "pattern"), f"{read.pattern} does not end with {{{SHARD}}}", "the number of the shard comes last")
    for piece in found:
        if piece.mark:
            yield spec.error((*key, "pattern"), f"{piece.text!r} is not one token", "write every token of the subject")
        elif piece.name and piece.name != SHARD and piece.name not in spec.tokens:
            yield spec.error((*key, "pattern"), f"unknown token {piece.name!r}", "declare it in [tokens]")


def _reserved(spec: Spec) -> Iterator[SpecError]:
    for name, token in spec.tokens.items():
        if token.newtype in (SHARD_TYPE, f"{SHARD_TYPE}Key") and spec.is_own(("tokens", name)):
            problem = f"{token.newtype} is a type of the SDK, which subjects with shards use"
            yield spec.error(("tokens", name, "newtype"), problem, "choose another")
    for name in spec.messages:
        if name in (SHARD_TYPE, f"{SHARD_TYPE}Key") and spec.is_own(("messages", name)):
            yield spec.error(("messages", name), "is a type of the SDK, which subjects with shards use", "choose another")
