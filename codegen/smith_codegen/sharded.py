"""What `[sharding]` declares, written out: subjects, streams and a consumer per shard.

Everything that looks at a spec finds these among the others; `Spec.derived` has their origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from .locate import Path
from .placeholders import split, widest
from .spec import MOST_SHARDS, SHARD, ShardedDecl, Spec, SubjectDecl
from .topology_spec import ConsumerDecl, ShardingDecl

GROUP: Final = "owner"
"""The priority group of a shard's consumer."""


def expand(spec: Spec) -> Spec:
    """`spec` with what its own shardings declare. One that is not valid is left out: `checks.py`
    finds why.
    """
    made: dict[str, dict[str, msgspec.Struct]] = {section: {} for section in ("subjects", "streams", "consumers")}
    derived = dict(spec.derived)
    for name, decl in spec.sharding.items():
        if not spec.is_own(("sharding", name)) or not is_sound(spec, decl):
            continue
        for (section, one), declared in _derived(spec, name, decl):
            if one not in getattr(spec, section) and one not in made[section]:
                made[section][one] = declared
                derived[section, one] = name
    sections = {section: {**getattr(spec, section), **found} for section, found in made.items()}
    return msgspec.structs.replace(spec, derived=derived, **sections)


def is_sound(spec: Spec, decl: ShardingDecl) -> bool:
    """Whether it can be written out: subject and stream exist, numbers are within bounds."""
    subject = spec.subjects.get(decl.subject)
    return (
        subject is not None
        and subject.stream in spec.streams
        and 1 <= decl.shards <= MOST_SHARDS
        and 1 <= decl.generation <= 0xFFFF
        and 1 <= decl.streams <= decl.shards
        and all(1 <= one.shards <= MOST_SHARDS for one in decl.reads.values())
    )


def _derived(spec: Spec, name: str, decl: ShardingDecl) -> Iterator[tuple[Path, msgspec.Struct]]:
    plain = spec.subjects[decl.subject]
    assert plain.stream is not None
    doc = plain.doc.removesuffix(".")
    streams = streams_of(plain.stream, decl)
    made = {
        decl.sharded: ShardedDecl(
            pattern=f"{plain.pattern}.{decl.word}.{{{SHARD}}}",
            message=plain.message,
            stream=streams[0],
            streams=streams,
            headers=plain.headers,
            doc=f"{doc}, by shard of {' and '.join('.'.join(path) for path in decl.paths)}.",
        )
    }
    for other, read in decl.reads.items():
        text = read.doc or f"{doc}, as others shard it."
        made[other] = ShardedDecl(
            pattern=read.pattern, message=plain.message, stream=streams[0], streams=streams, headers=plain.headers, doc=text
        )
    for one, subject in made.items():
        yield ("subjects", one), subject
    consumers = [_consumer(decl, number, streams[number % decl.streams]) for number in range(decl.shards)]
    for number, consumer in enumerate(consumers):
        yield ("consumers", durable(name, decl, number)), consumer
    for stream in streams if decl.streams > 1 else ():
        captured = [_filtered(spec, made, table) for one in consumers if one.stream == stream for table in one.chosen]
        kept = msgspec.structs.replace(spec.streams[plain.stream], subjects=tuple(captured), doc=f"Shards of {name}.")
        yield ("streams", stream), kept


def _filtered(spec: Spec, made: dict[str, ShardedDecl], table: dict[str, str]) -> str:
    try:
        return widest(spec, made[table["subject"]], {SHARD: table[SHARD]})
    except KeyError:  # a token that does not exist, which `checks.py` reports
        return made[table["subject"]].pattern


def streams_of(stream: str, decl: ShardingDecl) -> tuple[str, ...]:
    """The names of the streams that keep the shards, in the order of `s % streams`."""
    return (stream,) if decl.streams == 1 else tuple(f"{stream}_S{index}" for index in range(decl.streams))


def durable(name: str, decl: ShardingDecl, number: int) -> str:
    """The name of the consumer of a shard."""
    return f"{name}-{number:02x}" if decl.generation == 1 else f"{name}-g{decl.generation}-{number:02x}"


def _consumer(decl: ShardingDecl, number: int, stream: str) -> ConsumerDecl:
    filters = [{"subject": decl.sharded, SHARD: f"{number:02x}"}]
    for other, read in decl.reads.items():
        filters += [{"subject": other, SHARD: f"{one:02x}"} for one in range(number, read.shards, decl.shards)]
    return ConsumerDecl(
        stream=stream,
        ack_wait=decl.pin_timeout,
        max_attempts=decl.max_attempts,
        max_ack_pending=decl.max_ack_pending,
        prefetch=decl.prefetch,
        filters=tuple(filters),
        publishes=decl.publishes,
        priority_policy="pinned_client",
        priority_groups=(GROUP,),
        priority_timeout=decl.pin_timeout,
        doc=decl.doc,
    )


def prefix(spec: Spec, pattern: str, kept: int) -> str:
    """A pattern without its last `kept` tokens, as NATS writes it."""
    pieces = split(pattern)[:-kept]
    return widest(spec, SubjectDecl(pattern=".".join(pieces), message="bytes"))


def is_sharded(spec: Spec, subject: str) -> bool:
    """Whether a subject is one that a sharding made for its own publishers."""
    name = spec.derived.get(("subjects", subject))
    return name is not None and spec.sharding[name].sharded == subject


def of_subject(spec: Spec, subject: str) -> ShardingDecl | None:
    """The sharding whose sharded subject that is."""
    return spec.sharding[spec.derived[("subjects", subject)]] if is_sharded(spec, subject) else None


def made_of(spec: Spec, subject: str) -> tuple[str, ...]:
    """The sharded subject of a plain one; none if it is not sharded."""
    return tuple(decl.sharded for decl in spec.sharding.values() if decl.subject == subject)


def without(spec: Spec) -> Spec:
    """`spec` without what its shardings declare."""
    sections = {
        section: {name: decl for name, decl in getattr(spec, section).items() if (section, name) not in spec.derived}
        for section in ("subjects", "streams", "consumers")
    }
    return msgspec.structs.replace(spec, derived={}, **sections)
