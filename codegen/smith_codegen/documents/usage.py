"""Who publishes and who receives what, as a spec declares it."""

from __future__ import annotations

from typing import Any, Final

from .. import patterns
from ..model import Model, Subject
from ..placeholders import paths_of, taken
from ..spec import Spec
from ..topology_spec import ConsumerDecl

SECTIONS: Final = ("tokens", "streams", "consumers", "domains", "profiles", "sharding", "buckets", "objects")
"""Sections that documents list as they are declared; the others have a form of their own."""


def declared(spec: Spec, section: str) -> tuple[str, ...]:
    """The names that the spec itself declares in a section: not those of another package, of a
    sharding, or of a bucket's stream."""
    return tuple(
        name
        for name in getattr(spec, section)
        if spec.is_own((section, name))
        and (section, name) not in spec.derived
        and spec.written.get((section, name), ("",))[0] not in ("buckets", "objects")
    )


def own_subjects(model: Model) -> tuple[Subject, ...]:
    """The spec's own subjects, with those that its shardings made."""
    return tuple(subject for subject in model.subjects if not subject.home)


def publishers(model: Model, subject: str) -> tuple[str, ...]:
    """The consumers and shardings whose handlers publish to a subject, by name."""
    spec = model.spec
    found = [
        name for name, decl in spec.consumers.items() if subject in decl.publishes and ("consumers", name) not in spec.derived
    ]
    found += [f"sharding {name}" for name, decl in spec.sharding.items() if subject in decl.publishes]
    return tuple(found)


def received(model: Model, decl: ConsumerDecl) -> tuple[Subject, ...]:
    """The subjects that a consumer receives messages of."""
    spec = model.spec
    wanted = [patterns.positions(one) for one in taken(spec, decl)]
    return tuple(
        subject
        for subject in model.subjects
        if decl.stream in spec.streams_of(subject.name)
        and patterns.any_overlap(wanted, paths_of(spec, spec.subjects[subject.name]))
    )


def receivers(model: Model, subject: Subject) -> tuple[str, ...]:
    """The consumers that receive a subject, by name; of shards, their sharding."""
    spec = model.spec
    found: dict[str, None] = {}
    for name, decl in spec.consumers.items():
        if decl.stream in spec.streams_of(subject.name) and subject in received(model, decl):
            sharding = spec.derived.get(("consumers", name))
            found.setdefault(name if sharding is None else f"sharding {sharding}")
    return tuple(found)


def flags(model: Model, subject: Subject) -> dict[str, Any]:
    """What else a subject's declaration says."""
    found: dict[str, Any] = {}
    decl = model.spec.subjects[subject.name]
    if decl.dead_letters:
        found["dead_letters"] = True
    if subject.headers:
        found["headers"] = subject.headers
    if decl.deprecated:
        found["deprecated"] = decl.deprecated
    sharding = model.spec.derived.get(("subjects", subject.name))
    if sharding is not None:
        found["sharding"] = sharding
    return found


def is_read_shard(model: Model, subject: Subject) -> bool:
    """Whether a subject is a sharded one: what publishes to it follows from the plain subject."""
    return ("subjects", subject.name) in model.spec.derived
