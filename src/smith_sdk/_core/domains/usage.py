"""Which domains there are, which consumers serve them, and what of each is left to do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from ...contract import ConsumerSpec, Contract, covers
from ...contract.domain_names import PLACEHOLDER
from ...display import Record
from ..foreign_text import shortened
from ..topology.config_keys import Json
from ..topology.work_queues import filters_of
from .moves import family_of

Spec = ConsumerSpec[Any, Any]
DomainState = Literal["served", "paused", "held", "missing", "undeclared", "unserved"]

ANY: Final = "*"
OTHERS: Final = "(others)"
_MOST: Final = 100
"""Domains of a family that are listed by themselves, beside those that consumers name."""
_SHOWN: Final = 64


class DomainUsage(Record, frozen=True, kw_only=True):
    """A domain and a consumer that serves it.

    - `domain`: "*" is any domain, "(others)" those beyond the first 100 that publishers chose
    - `consumer`: its name, empty if no consumer serves the domain; `stream`: where it reads
    - `lag`: messages for the domain that are stored and not acknowledged, None if the stream keeps
      acknowledged ones, too; of "*" all that the consumer has left
    - `rate`: messages that the consumer completes per second, for all its domains together, since
      the look before; None at the first
    - `state`: "served"; "held" at admission while a move is carried out; "paused"; "missing":
      declared, and not on the server; "undeclared": on the server, and not declared; "unserved"
    """

    domain: str
    consumer: str
    stream: str
    lag: int | None
    rate: float | None
    state: DomainState


class Figures(msgspec.Struct, frozen=True):
    """A consumer on the server."""

    info: Json
    lag: int
    rate: float | None


class StreamFigures(msgspec.Struct, frozen=True):
    """A stream on the server: its consumers by name, and its stored messages by subject."""

    keeps: bool
    """Whether it keeps what was acknowledged."""
    consumers: Mapping[str, Figures]
    counts: Mapping[str, int]


def usage(contract: Contract, streams: Mapping[str, StreamFigures], held: Collection[str]) -> Iterator[DomainUsage]:
    """The rows, by family and domain. `held`: patterns that admission holds."""
    for template in contract.templates:
        figures = streams.get(template.stream)
        if figures is not None:
            yield from _family(contract, template, figures, held)


def _family(contract: Contract, template: Spec, stream: StreamFigures, held: Collection[str]) -> Iterator[DomainUsage]:
    specs = [
        spec for spec in contract.consumers if spec.stream == template.stream and template.name in (spec.name, spec.derived_from)
    ]
    declared = {spec.name: spec for spec in specs}
    there = {name: one for name, one in stream.consumers.items() if family_of(one.info) == template.name or name in declared}
    counts = dict(_counts(template.domain_filters, stream.counts))
    serving: dict[str, set[str]] = {}
    anywhere: list[str] = []
    for name in sorted({*declared, *there}):
        domains = declared[name].domains if name in declared else _domains(template, filters_of(there[name].info["config"]))
        for domain in domains:
            serving.setdefault(domain, set()).add(name)
        if not domains:
            anywhere.append(name)

    def row(domain: str, name: str, lag: int | None) -> DomainUsage:
        found = there.get(name)
        is_held = any(
            covers(pattern, filter.replace(PLACEHOLDER, ANY if domain == OTHERS else domain))
            for pattern in held
            for filter in template.domain_filters
        )
        state: DomainState = "served" if found is not None else "missing"
        if not name:
            state = "unserved"
        elif found is not None and found.info.get("paused"):
            state = "paused"
        elif found is not None and is_held:
            state = "held"
        elif found is not None and name not in declared:
            state = "undeclared"
        return DomainUsage(
            domain=shortened(domain, _SHOWN),
            consumer=shortened(name, 256),
            stream=template.stream,
            lag=lag,
            rate=None if found is None else found.rate,
            state=state,
        )

    for name in anywhere:
        found = there.get(name)
        yield row(ANY, name, None if found is None else found.lag)
    for domain in _listed(counts, serving):
        for name in (*sorted(serving.get(domain, ())), *anywhere) or ("",):
            yield row(domain, name, None if stream.keeps else counts.get(domain, 0))


def _listed(counts: dict[str, int], serving: Collection[str]) -> list[str]:
    """The domains to list; `counts` then has the others together."""
    strangers = sorted((one for one in counts if one not in serving), key=lambda one: (-counts[one], one))
    rest = strangers[_MOST:]
    if rest:
        counts[OTHERS] = sum(counts.pop(one) for one in rest)
    return sorted({*serving, *strangers[:_MOST]}) + [OTHERS] * bool(rest)


def _domains(template: Spec, filters: Iterable[str]) -> tuple[str, ...]:
    """The domains in the filters of an undeclared consumer; empty if it receives any."""
    found = dict(_counts(template.domain_filters, dict.fromkeys(filters, 1)))
    return () if ANY in found else tuple(sorted(found))


def _counts(templates: Sequence[str], counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The messages for each domain, from those on each subject."""
    found: dict[str, int] = {}
    for template in templates:
        at = template.split(".").index(PLACEHOLDER)
        pattern = template.replace(PLACEHOLDER, "*")
        head = ".".join(template.split(".")[:at]).partition("*")[0]
        for subject, count in counts.items():
            if subject.startswith(head) and covers(pattern, subject):
                domain = subject.split(".")[at]
                found[domain] = found.get(domain, 0) + count
    yield from found.items()
