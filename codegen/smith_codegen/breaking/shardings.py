"""Rules for breaking changes of `[sharding]`. Everything that a sharding declares goes with it."""

from __future__ import annotations

from collections.abc import Iterator

from ..locate import Path
from ..spec import Spec
from ..topology_spec import ShardingDecl
from .rules import Deploy

Found = tuple[Path, str, Deploy]


def changes(old: Spec, new: Spec) -> Iterator[Found]:
    """What breaks on the wire where shardings are added, changed or removed."""
    subjects = {decl.subject: name for name, decl in old.sharding.items()}
    for name, decl in new.sharding.items():
        if name not in old.sharding and decl.subject in old.subjects:
            former = subjects.get(decl.subject)
            if former is not None:
                yield (
                    ("sharding", former),
                    f"is now called {name}: its durables and its keys in the bucket are others",
                    "side by side",
                )
                continue
            problem = (
                f"is new on {decl.subject}: newer publishers send what has a key to its shard, which older programs do not read"
            )
            yield ("sharding", name), problem, "readers first"
    for name, decl in old.sharding.items():
        if name in new.sharding:
            yield from _changed(("sharding", name), decl, new.sharding[name])
        elif decl.subject not in {one.subject for one in new.sharding.values()}:
            problem = "removed: what has a key goes to the plain subject, whose consumers do not keep the order of its messages"
            yield ("sharding", name), problem, "publishers first"


def _changed(path: Path, old: ShardingDecl, new: ShardingDecl) -> Iterator[Found]:
    if old.subject != new.subject:
        yield (*path, "subject"), f"is {new.subject} instead of {old.subject}", "side by side"
        return
    if old.paths != new.paths:
        now, was = (" and ".join(map(".".join, decl.paths)) for decl in (new, old))
        yield (
            (*path, "key"),
            f"is {now} instead of {was}: publishers put the messages of one key into different shards",
            "side by side",
        )
    if old.shards != new.shards and old.generation == new.generation:
        problem = (
            f"is {new.shards} instead of {old.shards} in the same generation: publishers put the messages of one key into "
            "different shards; `smith shards reshard` changes the number on a running server"
        )
        yield (*path, "shards"), problem, "side by side"
    elif old.generation != new.generation:
        problem = (
            f"is {new.generation} instead of {old.generation}, with other subjects and durables: "
            f"run `smith shards reshard --to {new.shards}`, and let the former shards drain, before it is deployed"
        )
        yield (*path, "generation"), problem, "side by side"
    for which in ("streams", "bucket"):
        now, was = getattr(new, which), getattr(old, which)
        if now != was:
            why = "shards move to other streams" if which == "streams" else "workers of both do not see each other"
            yield (*path, which), f"is {now} instead of {was}: {why}", "side by side"
    for other, read in old.reads.items():
        if other not in new.reads or (new.reads[other].pattern, new.reads[other].shards) != (read.pattern, read.shards):
            yield (*path, "reads", other), "removed, or changed: what others publish there is not read", "publishers first"
