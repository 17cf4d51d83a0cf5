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


def publishers(model: Model) -> dict[str, tuple[str, ...]]:
    """The consumers and shardings whose handlers publish to each subject, by name."""
    spec = model.spec
    found: dict[str, list[str]] = {}
    for name, decl in spec.consumers.items():
        for subject in decl.publishes if ("consumers", name) not in spec.derived else ():
            found.setdefault(subject, []).append(name)
    for name, sharding in spec.sharding.items():
        for subject in sharding.publishes:
            found.setdefault(subject, []).append(f"sharding {name}")
    return {subject: tuple(names) for subject, names in found.items()}


def routes(model: Model) -> dict[str, tuple[Subject, ...]]:
    """The subjects that each consumer receives messages of."""
    spec = model.spec
    stored: dict[str, list[Subject]] = {}
    for subject in model.subjects:
        for stream in spec.streams_of(subject.name):
            stored.setdefault(stream, []).append(subject)
    paths = {subject.name: paths_of(spec, spec.subjects[subject.name]) for subject in model.subjects}
    return {name: _received(spec, decl, stored.get(decl.stream, []), paths) for name, decl in spec.consumers.items()}


def _received(
    spec: Spec, decl: ConsumerDecl, subjects: list[Subject], paths: dict[str, list[patterns.Positions]]
) -> tuple[Subject, ...]:
    if not decl.chosen:
        return tuple(subjects)
    wanted = [patterns.positions(one) for one in taken(spec, decl)]
    return tuple(subject for subject in subjects if patterns.any_overlap(wanted, paths[subject.name]))


def receivers(model: Model, found: dict[str, tuple[Subject, ...]]) -> dict[str, tuple[str, ...]]:
    """The consumers that receive each subject, by name; of shards, their sharding. `found` are the
    routes."""
    made: dict[str, dict[str, None]] = {}
    for name, subjects in found.items():
        sharding = model.spec.derived.get(("consumers", name))
        for subject in subjects:
            made.setdefault(subject.name, {}).setdefault(name if sharding is None else f"sharding {sharding}")
    return {subject: tuple(names) for subject, names in made.items()}


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
