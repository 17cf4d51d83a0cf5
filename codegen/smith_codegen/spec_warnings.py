"""Warnings about a spec: valid, but likely not intended. They do not stop the generator."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from . import topology_checks
from .errors import SpecError
from .spec import Spec
from .topology_spec import ConsumerDecl
from .units import seconds

_SERVER_WINDOW = 120.0
"""Seconds for which a stream without `duplicate_window` remembers ids: nats-server's default."""


def find(spec: Spec) -> Iterator[SpecError]:
    """All warnings."""
    yield from topology_checks.too_small(spec)
    yield from _forgotten(spec)


def _forgotten(spec: Spec) -> Iterator[SpecError]:
    """Handlers that may publish the same message again after its stream has forgotten the id."""
    # Such a message would be stored twice: deduplication is by message id within the window.
    for name, decl in spec.consumers.items():
        if not spec.is_own(("consumers", name)):
            continue
        for index, subject in enumerate(decl.publishes):
            stream = spec.subjects[subject].stream
            if stream is None:
                continue
            declared = spec.streams[stream].duplicate_window
            window = _SERVER_WINDOW if declared is None else seconds(declared)
            if _span(decl) > window:
                again = "at any later time" if _span(decl) == inf else f"up to {_span(decl):g} s later (ack_wait x max_attempts)"
                yield spec.error(
                    ("consumers", name, "publishes", str(index)),
                    f"its handler may run again {again}, and {stream} forgets message ids after {window:g} s: "
                    f"what it publishes to {subject} could be stored twice",
                    f"raise streams.{stream}.duplicate_window, lower ack_wait or max_attempts, or let readers expect duplicates",
                )


def _span(decl: ConsumerDecl) -> float:
    """Seconds from the first attempt to the last, if each attempt but the last times out."""
    return inf if decl.max_attempts < 0 else seconds(decl.ack_wait) * decl.max_attempts
