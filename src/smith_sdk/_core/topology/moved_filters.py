"""What changed filters do to messages: a consumer has one position in its stream.

Messages of a filter that it gets anew, stored below that position, are never delivered to it. And
consumers of one stream that were derived from the same one both receive what both match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from ...contract import covers
from ...contract.domain_names import DERIVED_FROM
from ...errors import MessageNotFound
from ..jetstream.api import JetStreamApi
from .config_keys import Json
from .plan import Caution, Change, Difference, Risk
from .server_state import ServerState
from .work_queues import filters_of, overlap

NO_FILTER: Final = (
    "the server gives a consumer without filters every message, also those that other consumers of a work queue have: declare "
    "what it reads"
)
"""Why filters are not removed. nats-server accepts that (9.2 of docs/nats-facts.md)."""


def refused(difference: Difference) -> str:
    """Why a difference in the filters of a consumer that exists is not made; empty if it may be."""
    return NO_FILTER if difference.current and not difference.declared else ""


def added(step: Change) -> tuple[str, ...]:
    """The filters that a consumer which exists would get, and does not have."""
    if step.seen is None or step.kind not in ("update", "rename"):
        return ()
    having = filters_of(step.seen)
    return tuple(one for one in filters_of(step.declared) if not any(covers(there, one) for there in having))


def skipped(steps: Sequence[Change], state: ServerState) -> Iterator[Risk]:
    """Messages of work queues that a consumer with new filters would never be given."""
    for step in steps:
        if step.consumer is None or not (new := added(step)):
            continue
        position = _position(step, state)
        if position:
            why = f"{step.name} has read up to sequence {position:,}, and gets nothing below that on filters that it has not had"
            at = (step.stream, step.consumer)
            yield Risk(stream=step.stream, lost=new, consumer=step.consumer, upto=position, step=at, why=why)


def _position(step: Change, state: ServerState) -> int:
    info = state.consumer(step.stream, step.consumer or "") or {}
    return int(info.get("delivered", {}).get("stream_seq", 0))


async def count_skipped(api: JetStreamApi, risk: Risk) -> int:
    """The stored messages up to `risk.upto` that `risk` concerns, at most; 0 is exact."""
    found = 0
    for pattern in risk.lost:
        try:
            first = await api.next_message(risk.stream, 1, pattern)
        except MessageNotFound:
            continue
        if first.seq <= risk.upto:
            found += sum([number async for number in api.subject_counts(risk.stream, pattern)])
    return found


# ---- consumers of the same family


def twice(steps: Sequence[Change]) -> Iterator[Caution]:
    """Warnings about consumers that execute the same messages: one is derived from the other, or
    both from a third, and they are not declared to stand beside each other.

    On a work queue the server refuses such consumers.
    """
    queues = {step.stream for step in steps if (step.declared or step.seen or {}).get("retention") == "workqueue"}
    families: dict[tuple[str, str], list[Change]] = {}
    for step in steps:  # there may be thousands of consumers
        if step.consumer is not None and step.kind != "delete" and step.stream not in queues:
            families.setdefault((step.stream, _base(step, _config(step))), []).append(step)
    for family in families.values():
        for one, other in combinations(family, 2):
            if _is_undeclared(one) or _is_undeclared(other):
                both = _meet(filters_of(_config(one)), filters_of(_config(other)))
                if both:
                    yield _twice(one, other, both)


def _meet(some: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """The narrower pattern of each pair that overlaps."""
    return tuple(dict.fromkeys(a if covers(b, a) else b for a in some for b in others if overlap(a, b)))


def _twice(one: Change, other: Change, both: tuple[str, ...]) -> Caution:
    old = one if _is_undeclared(one) else other
    text = (
        f"consumers {one.consumer} and {other.consumer} of {one.stream} both receive {', '.join(both)}, and each such message is "
        f"executed twice: {old.consumer} is not declared. `smith domains move` puts one in place of the other without that"
    )
    return Caution(kind="twice", stream=old.stream, consumer=old.consumer, subjects=both, text=text)


def _is_undeclared(step: Change) -> bool:
    return step.kind == "unknown"


def _config(step: Change) -> Json:
    return (step.seen or {}) if _is_undeclared(step) else step.declared


def _base(step: Change, config: Json) -> str:
    return str((config.get("metadata") or {}).get(DERIVED_FROM) or step.consumer)
