"""Checks across the spec: patterns that overlap, streams that capture too little or too much,
consumers that receive each other's messages.

The server would refuse some of these much later, and silently accept the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from . import names, patterns, sharded, topology_checks
from .errors import SpecError
from .overlaps import Index
from .patterns import LITERAL, TAIL, Number, Open, Positions
from .placeholders import (
    Piece,
    feeding,
    filtered,
    is_literal,
    names_in,
    paths_of,
    pieces,
    placeholders,
    received_by,
    split,
    taken,
    widest,
    wildcards,
)
from .spec import SHARD_TOKEN, Spec, SubjectDecl, TokenDecl
from .topology_spec import ConsumerDecl

K = TypeVar("K")

_MOST_TOKENS: Final = 64
"""Wire tokens of one pattern, at most."""


def forms(spec: Spec) -> Iterator[SpecError]:
    """Errors in patterns and streams by themselves; the names in `spec` are known to be valid."""
    yield from _patterns(spec)
    yield from _streams(spec)


def check(spec: Spec) -> Iterator[SpecError]:
    """Errors between declarations; `forms` found none in them."""
    every = {name: paths_of(spec, decl) for name, decl in spec.subjects.items()}
    streams = {name: [patterns.positions(one) for one in decl.subjects] for name, decl in spec.streams.items()}
    yield from _ambiguous(spec, every)
    yield from _captured(spec, every, streams)
    yield from _stream_overlaps(spec, streams)
    yield from _consumers(spec, every)
    yield from topology_checks.crowded(spec)
    for name, profile in spec.profiles.items():
        yield from topology_checks.profile(spec, name, profile)


# ---- patterns


def _patterns(spec: Spec) -> Iterator[SpecError]:
    dead: list[str] = []
    roots = [split(root) for root in spec.roots]
    for name, decl in spec.subjects.items():
        key = ("subjects", name, "pattern")
        words = split(decl.pattern)
        if len(words) > _MOST_TOKENS:
            yield spec.error(
                key, f"has {len(words)} tokens", f"write {_MOST_TOKENS} at most: each costs the server and readers time"
            )
            continue
        malformed = list(_pieces(spec, key, decl))
        if malformed:
            yield from malformed
            continue
        seen = names_in(decl.pattern)
        if not any(words[: len(root)] == root for root in roots):
            yield spec.error(key, f"does not begin with {' or '.join(spec.roots)}", "every subject begins with [spec].root")
        family = spec.messages.get(decl.message)
        if family is not None and family.by is not None and family.by not in seen:
            fix = f"add {{{family.by}}} to the pattern"
            yield spec.error(key, f"carries the family {decl.message} without the token that selects its payload", fix)
        if decl.dead_letters:
            if words[-3:] != ["{stream}", "{consumer}", "{seq}"] or len(seen) != 3 or decl.stream is None:
                yield spec.error(
                    key, "is not a valid dead-letter pattern", "end it with {stream}.{consumer}.{seq}, and give it a stream"
                )
            if dead:
                yield spec.error((*key[:2], "dead_letters"), f"{dead[0]} is the dead-letter subject already", "declare only one")
            dead.append(name)


def _pieces(spec: Spec, key: tuple[str, ...], decl: SubjectDecl) -> Iterator[SpecError]:
    found = pieces(decl.pattern)
    for index, piece in enumerate(found):
        if piece.name:
            if piece.name in (other.name for other in found[:index]):
                yield spec.error(key, f"{{{piece.name}}} occurs twice", "use two tokens with different names")
            elif names.token(piece.name) in (names.token(other.name) for other in found[:index] if other.name):
                problem = f"{{{piece.name}}} would be {names.token(piece.name)} in Python, as another token of it"
                yield spec.error(key, problem, "rename one of the two")
            yield from _placeholder(spec, key, decl, piece, index == len(found) - 1)
        elif "{" in piece.text or "}" in piece.text:
            fix = "a wire token has one placeholder at most, as in p{priority}; a last token that may be absent is {name?}"
            yield spec.error(key, f"{piece.text!r} is not a valid part of a pattern", fix)
        elif piece.text in ("*", ">"):
            fix = "write a placeholder, such as {intent_id}, for the token that varies, and declare it in [tokens]"
            if piece.text == ">":
                fix = "write {rest>} for all tokens to the end"
            yield spec.error(key, f"{piece.text!r} is a wildcard, which a subject cannot contain", fix)
        elif not is_literal(piece.text, index):
            yield spec.error(key, f"{piece.text!r} is not a valid token", "between two dots, use letters, digits, '_' and '-'")


def _placeholder(spec: Spec, key: tuple[str, ...], decl: SubjectDecl, piece: Piece, is_last: bool) -> Iterator[SpecError]:
    what = "may be absent" if piece.is_optional else "is all tokens to the end"
    if piece.mark and not is_last:
        yield spec.error(key, f"{piece.text} {what}, and is not last", "move it to the end, or declare two subjects")
    if piece.mark and piece.is_part:
        yield spec.error(key, f"{piece.text} {what}, and has text around it", f"write {{{piece.name}{piece.mark}}}")
    if piece.is_tail:
        return
    token = spec.token(decl, piece.name)
    wide = token.enum is not None and len(split(token.enum[0])) > 1
    if piece.is_part and wide:
        yield spec.error(key, f"{piece.text} has text around {piece.name}, which spans several tokens", "write it alone")
    if piece.is_part and token is SHARD_TOKEN:
        yield spec.error(key, f"{piece.text} has text around the number of a shard", f"write {{{piece.name}}}")
    if piece.is_optional and (piece.name in spec.selectors and spec.selectors[piece.name] == decl.message):
        yield spec.error(key, f"{{{piece.name}}} selects the payload, and may be absent", f"write {{{piece.name}}}")


def _pairs(every: Mapping[K, list[Positions]], index: Index[K]) -> Iterator[tuple[K, K]]:
    """The pairs of `every`, which `index` has in the same order, that overlap."""
    order = {key: at for at, key in enumerate(every)}
    for one, paths in every.items():
        yield from ((one, other) for other in index.overlapping(paths) if order[other] > order[one])


def _ambiguous(spec: Spec, every: dict[str, list[Positions]]) -> Iterator[SpecError]:
    # The token before the number of a shard is another one in each layout.
    every = {
        name: [(*path[:-2], Open(), path[-1]) for path in paths] if sharded.is_sharded(spec, name) else paths
        for name, paths in every.items()
    }
    index = Index(every.items())
    for one, other in _pairs(every, index):
        both = next(patterns.meet(a, b) for a in every[one] for b in every[other] if patterns.overlap(a, b))
        problem = f"a message on {patterns.text(both)} could be this subject or {one}"
        fix = "make a literal token differ, or exclude that literal from the token's values: exclude = [...]"
        yield spec.error(("subjects", other, "pattern"), problem, fix)
    for name, decl in spec.subjects.items():
        # What a part of a token lets in is typed: `Subject.also`.
        for other in index.overlapping(received_by(spec, decl)):
            message = spec.subjects[other].message
            if other != name and message != decl.message:
                problem = f"its widest filter, {' and '.join(wildcards(spec, decl))}, also receives {message} of {other}"
                yield spec.error(
                    ("subjects", name, "pattern"), problem, f"begin it with literal tokens that {other} does not have"
                )


# ---- streams


def _streams(spec: Spec) -> Iterator[SpecError]:
    for name, decl in spec.streams.items():
        key = ("streams", name)
        if not LITERAL.fullmatch(name):
            yield spec.error(key, f"{name!r} is not a valid stream name", "use letters, digits, '_' and '-'")
        yield from topology_checks.stream(spec, name, decl)


def _captured(spec: Spec, every: dict[str, list[Positions]], streams: dict[str, list[Positions]]) -> Iterator[SpecError]:
    capturing: set[str] = set()
    index = Index(streams.items())
    order = {stream: at for at, stream in enumerate(streams)}
    for name, decl in spec.subjects.items():
        kept = spec.streams_of(name)
        overlapping = set(index.overlapping(every[name]))
        for stream in sorted(overlapping.union(kept), key=order.__getitem__):
            if len(kept) > 1 and stream in kept:
                capturing.add(stream)  # its subjects are made of the shards
            elif stream in overlapping:
                capturing.add(stream)
                missed = [path for path in every[name] if stream not in index.covering(path)]
                yield from _captured_by(spec, name, decl, stream, missed)
            else:
                problem = f"{_with_subjects(spec, stream)} captures none of {decl.pattern}"
                yield spec.error(("subjects", name, "stream"), problem, _write(spec, decl))
    named = {stream for name in spec.subjects for stream in spec.streams_of(name)}
    for stream, declared in spec.streams.items():
        alone = not declared.subjects and declared.origins  # a mirror, or a stream that only has sources
        if stream not in capturing and stream not in named and not declared.external and not alone and spec.is_whole:
            fix = "remove it, give it a subject, or set external = true if its subjects belong to other specs"
            yield spec.error(("streams", stream), "captures no subject of this spec", fix)
        elif stream in capturing and declared.external:
            yield spec.error(("streams", stream, "external"), "captures subjects of this spec", "remove external")


def _captured_by(spec: Spec, name: str, decl: SubjectDecl, stream: str, missed: list[Positions]) -> Iterator[SpecError]:
    """Errors of a subject that `stream` captures, but for the `missed` part of its pattern."""
    key = ("subjects", name, "stream" if decl.stream else "pattern")
    if decl.stream is None:
        fix = f'add stream = "{stream}", or narrow streams.{stream}.subjects'
        yield spec.error(key, f"has no stream, but {_with_subjects(spec, stream)} captures it", fix)
    elif stream != decl.stream:
        fix = f'one stream keeps a message: narrow streams.{stream}.subjects, or write stream = "{stream}" here'
        yield spec.error(key, f"{_with_subjects(spec, stream)} also captures {decl.pattern}", fix)
    elif missed:
        problem = f"captures only part of {decl.pattern}, not {patterns.text(missed[0])}"
        yield spec.error(key, f"{_with_subjects(spec, stream)} {problem}", _write(spec, decl))


def _with_subjects(spec: Spec, stream: str) -> str:
    return f"{stream} ({', '.join(spec.streams[stream].subjects)})"


def _write(spec: Spec, decl: SubjectDecl) -> str:
    needed = " and ".join(wildcards(spec, decl))
    return f"write {needed} in streams.{decl.stream}.subjects: '*' is exactly one token, '>' any more to the end"


def _stream_overlaps(spec: Spec, streams: dict[str, list[Positions]]) -> Iterator[SpecError]:
    streams = {name: _paths(spec, name, paths) for name, paths in streams.items()}
    for one, other in _pairs(streams, Index(streams.items())):
        made = spec.derived.get(("streams", one))
        if made is not None and made == spec.derived.get(("streams", other)):
            continue  # of one sharding: each shard is in one of them
        both = next(patterns.meet(a, b) for a in streams[one] for b in streams[other] if patterns.overlap(a, b))
        problem = f"{patterns.text(both)} is also captured by {one}, which the server refuses (10065)"
        yield spec.error(("streams", other, "subjects"), problem, "one stream keeps a message: narrow one of the two")
    for name, paths in streams.items():
        each = {at: [path] for at, path in enumerate(paths)}
        for first, second in _pairs(each, Index(each.items())):
            key = ("streams", name, "subjects", str(second))
            both = patterns.meet(paths[first], paths[second])
            problem = f"{patterns.text(both)} is also captured by another subject of the same stream"
            yield spec.error(key, problem, "keep the wider one")


def _paths(spec: Spec, stream: str, paths: list[Positions]) -> list[Positions]:
    """What a stream captures; of one with shards of its own, all shards, which are thousands."""
    name = spec.derived.get(("streams", stream))
    if name is None:
        return paths
    made = (spec.sharding[name].sharded, *spec.sharding[name].reads)
    return [patterns.positions(widest(spec, spec.subjects[one])) for one in made]


# ---- consumers


def _consumers(spec: Spec, every: dict[str, list[Positions]]) -> Iterator[SpecError]:
    usable: dict[str, list[Positions]] = {}
    in_doubt: set[str] = set()
    keeping = {stream for name in spec.subjects for stream in spec.streams_of(name)}
    for name, decl in spec.consumers.items():
        key = ("consumers", name)
        errors = [*topology_checks.consumer(spec, name, decl), *_filters(spec, name, decl)]
        yield from errors
        if not LITERAL.fullmatch(name):
            yield spec.error(key, f"{name!r} is not a valid consumer name", "use letters, digits, '_' and '-'")
        if spec.streams[decl.stream].external:
            yield spec.error(
                (*key, "stream"), f"{decl.stream} is external: its messages have no type", "consume a stream of this spec"
            )
        elif feeding(spec, decl.stream).isdisjoint(keeping) and spec.is_whole:
            problem = f"no subject of this spec reaches {decl.stream}: its messages have no type"
            yield spec.error(
                (*key, "stream"), problem, "consume a stream whose messages keep the subjects that they were published to"
            )
        elif errors:
            in_doubt.add(decl.stream)
        else:
            usable[name] = [patterns.positions(one) for one in taken(spec, decl)]
    yield from _competing(spec, usable)
    received: dict[str, Index[str]] = {
        stream: Index() for stream, decl in spec.streams.items() if decl.retention == "interest" and stream not in in_doubt
    }
    for name, paths in usable.items():
        if (index := received.get(spec.consumers[name].stream)) is not None:
            index.add(name, paths)
    stored: dict[str, list[str]] = {}
    for name, subject in spec.subjects.items():
        if subject.stream in received and ("subjects", name) not in spec.derived:  # each shard has a consumer
            stored.setdefault(subject.stream, []).append(name)
    for stream, index in received.items() if spec.is_whole else ():
        yield from _unreceived(spec, stream, index, {name: every[name] for name in stored.get(stream, ())})


def _competing(spec: Spec, usable: dict[str, list[Positions]]) -> Iterator[SpecError]:
    """Consumers of a work queue whose filters overlap."""
    queues: dict[str, dict[str, list[Positions]]] = {}
    for name, paths in usable.items():
        stream = spec.consumers[name].stream
        if spec.streams[stream].retention == "workqueue":
            # Without a filter it competes with every other one, whatever the stream captures.
            queues.setdefault(stream, {})[name] = paths if spec.consumers[name].chosen else [(TAIL,)]
    for one, other in (pair for queue in queues.values() for pair in _pairs(queue, Index(queue.items()))):
        made = spec.derived.get(("consumers", one))
        if made is None or made != spec.derived.get(("consumers", other)):  # shards of one have each their own
            stream = spec.consumers[one].stream
            problem = f"its filter overlaps that of {one} on {stream}, which the server refuses on a work queue (10099, 10100)"
            fix = "give each a filter that does not overlap the other; to share the work, run more workers on one consumer"
            yield spec.error(("consumers", other), problem, fix)


def _unreceived(spec: Spec, stream: str, received: Index[str], stored: dict[str, list[Positions]]) -> Iterator[SpecError]:
    """An interest stream acknowledges, and drops, messages that no consumer receives."""
    dropped = {patterns.text(path): name for name, paths in stored.items() for path in paths if not received.covering(path)}
    if dropped:
        key = ("streams", stream, "retention")
        problem = f"interest retention drops messages that no consumer receives, and none receives {', '.join(dropped)}"
        fix = 'declare consumers for these, or write retention = "limits"'
        own = spec.is_own(key)
        yield spec.error(key if own else ("subjects", next(iter(dropped.values())), "stream"), problem, fix)


def _filters(spec: Spec, name: str, decl: ConsumerDecl) -> Iterator[SpecError]:
    wrong = [
        error
        for at, table in zip(decl.filter_keys, decl.chosen, strict=True)
        for error in _filter(spec, ("consumers", name, *at), decl, table)
    ]
    yield from wrong
    if decl.filter is not None and decl.filters:
        yield spec.error(("consumers", name, "filters"), "is given together with filter", "move that one into filters")
    elif not wrong:
        each = {at: list(map(patterns.positions, filtered(spec, table))) for at, table in enumerate(decl.filters)}
        for first, second in _pairs(each, Index(each.items())):
            problem = f"overlaps filter {first}, which the server refuses (10138)"
            yield spec.error(("consumers", name, "filters", str(second)), problem, "keep the wider one")


def _filter(spec: Spec, key: tuple[str, ...], decl: ConsumerDecl, table: dict[str, str]) -> Iterator[SpecError]:
    subject = spec.subjects[table["subject"]]
    if not feeding(spec, decl.stream).intersection(spec.streams_of(table["subject"])):
        problem = f"{table['subject']} is stored in {subject.stream or 'no stream'}, not in {decl.stream}"
        yield spec.error((*key, "subject"), problem, f"consume {subject.stream}" if subject.stream else "choose another subject")
    has = {piece.name: piece for piece in placeholders(subject.pattern)}
    for token, value in table.items():
        if token == "subject":
            continue
        if token not in has:
            yield spec.error((*key, token), f"is not a token of {subject.pattern}", f"it has {', '.join(has) or 'none'}")
            continue
        if has[token].is_tail:
            if not all(map(LITERAL.fullmatch, split(value))):
                yield spec.error((*key, token), f"{value!r} cannot be {token}", "give tokens, joined by dots")
            continue
        declared = spec.token(subject, token)
        values = declared.enum
        if values is not None and value not in values:
            yield spec.error((*key, token), f"{value!r} is not a value of {token}", f"write one of {', '.join(values)}")
        elif values is None and not _admits(declared, value):
            yield spec.error((*key, token), f"{value!r} cannot be {token}", "give one token that it allows")


def _admits(decl: TokenDecl, value: str) -> bool:
    """Whether an open token can have this value."""
    if decl.base == "int":
        return Number(decl.format or "d", decl.min, decl.max).read(value) is not None
    return LITERAL.fullmatch(value) is not None and value not in decl.exclude
