"""Checks of a spec against those it extends, whose types are generated and in use already."""

from __future__ import annotations

from collections.abc import Iterator

from . import patterns
from .errors import SpecError
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
    for name, stream in spec.streams.items():
        captured = [patterns.positions(one) for one in stream.subjects]
        for other, paths in others.items() if spec.is_own(("streams", name)) else ():
            if patterns.any_overlap(captured, paths):
                problem = f"captures {other} of {spec.home(('subjects', other))}"
                yield spec.error(("streams", name, "subjects"), problem, "narrow it to subjects of this spec")
    for name, paths in own.items():
        key = ("subjects", name, "pattern")
        for other in others:
            filtered = wildcards(spec, spec.subjects[other])
            if patterns.any_overlap(map(patterns.positions, filtered), paths):
                home = spec.home(("subjects", other))
                problem = f"{' and '.join(filtered)}, the filter of {other}, would receive it, and {home} does not know it"
                yield spec.error(key, problem, "make a literal differ")
        for consumer, decl in spec.consumers.items():
            home = spec.home(("consumers", consumer))
            received = [patterns.positions(one) for one in taken(spec, decl)]
            if not spec.is_own(("consumers", consumer)) and patterns.any_overlap(received, paths):
                problem = f"consumer {consumer} of {home} would receive it, and does not know its payload"
                yield spec.error(key, problem, "make a literal differ, or give it a stream of its own")
