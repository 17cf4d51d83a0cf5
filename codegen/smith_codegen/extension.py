"""Checks of a spec against those it extends, whose types are generated and in use already."""

from __future__ import annotations

from collections.abc import Iterator

from . import patterns
from .errors import SpecError
from .overlaps import Index
from .placeholders import paths_of, taken, wildcards
from .spec import Spec


def check(spec: Spec) -> Iterator[SpecError]:
    """Own subjects that inherited filters or consumers would receive; own streams that capture
    inherited subjects.
    """
    if not spec.homes:
        return
    every = {name: paths_of(spec, decl) for name, decl in spec.subjects.items()}
    own = {name: paths for name, paths in every.items() if spec.is_own(("subjects", name))}
    others = {name: paths for name, paths in every.items() if name not in own}
    inherited = Index(others.items())
    for name, stream in spec.streams.items():
        if spec.is_own(("streams", name)):
            for other in inherited.overlapping(map(patterns.positions, stream.subjects)):
                problem = f"captures {other} of {spec.home(('subjects', other))}"
                yield spec.error(("streams", name, "subjects"), problem, "narrow it to subjects of this spec")
    filters = Index((name, map(patterns.positions, wildcards(spec, spec.subjects[name]))) for name in others)
    consumers = Index(
        (name, map(patterns.positions, taken(spec, decl)))
        for name, decl in spec.consumers.items()
        if not spec.is_own(("consumers", name))
    )
    for name, paths in own.items():
        key = ("subjects", name, "pattern")
        for other in filters.overlapping(paths):
            home = spec.home(("subjects", other))
            filtered = " and ".join(wildcards(spec, spec.subjects[other]))
            problem = f"{filtered}, the filter of {other}, would receive it, and {home} does not know it"
            yield spec.error(key, problem, "make a literal differ")
        for consumer in consumers.overlapping(paths):
            home = spec.home(("consumers", consumer))
            problem = f"consumer {consumer} of {home} would receive it, and does not know its payload"
            yield spec.error(key, problem, "make a literal differ, or give it a stream of its own")
