"""Messages that a plan would leave without a reader.

What may be stranded is found without asking the server; a `Risk` is counted when the plan is made,
and again when it is applied, since publishers go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from ...contract import covers
from ...errors import StreamNotFound
from ..jetstream.api import JetStreamApi
from .config_keys import Json
from .moved_filters import count_skipped
from .plan import Caution, Change, Risk
from .server_state import ServerState, consumer_or_none
from .stamps import CONTRACT, stamp_of
from .work_queues import all_covered, any_overlap, filters_of, overlap

_PAGE: Final = 100_000
"""How many subjects the server lists in one reply."""
_PAGES: Final = 10
"""How many such replies are read at most to count messages on some subjects."""


class _Before:
    """What the steps and the server say together, by stream."""

    def __init__(self, steps: Sequence[Change], state: ServerState, family: Collection[str]) -> None:
        self.state = state
        self.family = family
        self.streams = {step.stream: step for step in steps if step.consumer is None}
        self.consumers = [step for step in steps if step.consumer is not None]

    def is_ours(self, step: Change) -> bool:
        """Whether what is not declared was applied from this contract, or one that it extends."""
        return step.kind == "unknown" and stamp_of(step.seen).get(CONTRACT) in self.family

    def is_queue(self, stream: str) -> bool:
        seen = self.streams[stream].seen
        return seen is not None and seen.get("retention") == "workqueue"

    def readers(self, stream: str) -> tuple[str, ...]:
        """The filters of all consumers of `stream` once the plan is carried out."""
        found: list[str] = []
        for step in self.consumers:
            if step.stream == stream and step.kind != "delete" and not self.is_ours(step):
                found += filters_of(step.seen if step.kind == "unknown" else step.declared)
        return tuple(dict.fromkeys(found))


def risks(steps: Sequence[Change], state: ServerState, family: Collection[str]) -> tuple[Risk, ...]:
    """What `steps` may leave without a reader. `family`: the names of the contracts of the plan."""
    before = _Before(steps, state, family)
    found: list[Risk] = []
    for step in before.consumers:
        if step.kind in ("update", "rename"):
            found += _moved(step, before)
        elif before.is_ours(step):
            found += _abandoned(step, before)
    for step in before.streams.values():
        if step.kind == "update" and before.is_queue(step.stream):
            found += _unread_subjects(step, before)
        elif before.is_ours(step):
            found += _renamed_stream(step, before)
    return tuple(found)


def _moved(step: Change, before: _Before) -> Iterator[Risk]:
    """Consumers that get other filters, or are replaced by one with other filters."""
    olds: dict[str, tuple[str, ...]] = {
        name: filters_of(before.state.consumers[step.stream][name]["config"]) for name in step.replaces
    }
    if step.seen is not None and step.consumer is not None:
        olds[step.consumer] = filters_of(step.seen)
    queue, new = before.is_queue(step.stream), filters_of(step.declared)
    kept = before.readers(step.stream) if queue else new
    for name, lost in olds.items():
        if all_covered(lost, kept):
            continue
        what = "it would read" if name == step.consumer else f"{step.consumer}, which takes over from it, reads"
        why = f"consumer {name} of {step.stream} reads them, and {what} {', '.join(new)}"
        yield _risk(step, lost, kept, name, not queue, why)


def _abandoned(step: Change, before: _Before) -> Iterator[Risk]:
    """A consumer that is declared no more, if this plan puts another one in its place, or takes the
    subjects that it reads out of the stream.
    """
    lost, queue = filters_of(step.seen), before.is_queue(step.stream)
    heir = heir_of(step, before.consumers)
    stream = before.streams[step.stream]
    if heir is not None:
        starts = heir.declared.get("deliver_policy", "all")
        kept = filters_of(heir.declared) if starts == "all" else ()
        if not all_covered(lost, kept):
            how = f'starts with deliver_policy = "{starts}"' if starts != "all" else f"reads {', '.join(kept)}"
            why = f"consumer {step.consumer} of {step.stream} reads them and is not declared any more, and {heir.consumer} {how}"
            yield _risk(heir, lost, kept, step.consumer, True, why)
    elif stream.kind == "update" and not any_overlap(lost, stream.declared.get("subjects") or ()):
        why = f"consumer {step.consumer} of {step.stream} reads them, and is not declared any more"
        yield _risk(stream, lost, before.readers(step.stream) if queue else (), step.consumer, not queue, why)


def heir_of(step: Change, consumers: Sequence[Change]) -> Change | None:
    """The consumer that is created in the place of an undeclared one, as far as filters tell."""
    for other in consumers:
        if (
            other.kind == "create"
            and other.stream == step.stream
            and any_overlap(filters_of(step.seen), filters_of(other.declared))
        ):
            return other
    return None


def _unread_subjects(step: Change, before: _Before) -> Iterator[Risk]:
    """Subjects that a work queue loses, and that have no consumer to begin with."""
    seen, declared = step.seen or {}, step.declared.get("subjects") or ()
    having = [filter for info in before.state.consumers.get(step.stream, {}).values() for filter in filters_of(info["config"])]
    lost = [one for one in seen.get("subjects") or () if not all_covered([one], declared) and not any_overlap([one], having)]
    kept = before.readers(step.stream)
    if lost and not all_covered(lost, kept):
        yield _risk(step, tuple(lost), kept, None, False, f"stream {step.stream} would capture {', '.join(declared)} instead")


def _renamed_stream(step: Change, before: _Before) -> Iterator[Risk]:
    """A stream that is declared no more, while this plan creates one."""
    created = next((one for one in before.streams.values() if one.kind == "create"), None)
    if created is None or step.seen is None:
        return
    why = f"stream {step.stream} is not declared any more, and {created.name} is created"
    if step.seen.get("retention", "limits") != "limits":
        yield Risk(stream=step.stream, lost=(">",), step=(created.stream, None), why=why)
        return
    for name, info in before.state.consumers.get(step.stream, {}).items():
        if info["config"].get("durable_name"):
            lost = filters_of(info["config"])
            yield Risk(stream=step.stream, lost=lost, step=(created.stream, None), why=why, consumer=name, pending=True)


def _risk(step: Change, lost: tuple[str, ...], kept: tuple[str, ...], consumer: str | None, pending: bool, why: str) -> Risk:
    near = tuple(one for one in kept if any_overlap([one], lost))
    at = (step.stream, step.consumer)
    return Risk(stream=step.stream, lost=lost, kept=near, consumer=consumer, pending=pending, step=at, why=why)


# ---- counting


async def count(api: JetStreamApi, risk: Risk) -> Caution | None:
    """The warning about the messages that `risk` concerns now; None if there are none."""
    try:
        found, roughly = await _count(api, risk)
        subjects = risk.lost
        if risk.lost == (">",):
            subjects = tuple((await api.stream_info(risk.stream))["config"].get("subjects") or risk.lost) if found else subjects
    except StreamNotFound:
        return None
    if not found:
        return None
    where = ", ".join(subjects) + (f" outside {', '.join(risk.kept)}" if risk.kept else "")
    messages = f"{found:,} message{'' if found == 1 else 's'}"
    return Caution(
        kind="stranded",
        stream=risk.stream,
        consumer=risk.consumer,
        messages=found,
        subjects=subjects,
        text=f"{roughly}{messages} on {where} would have no reader: {risk.why}",
    )


async def _count(api: JetStreamApi, risk: Risk) -> tuple[int, str]:
    """The number, and how sure it is: "" or "up to "."""
    if risk.upto:
        return await count_skipped(api, risk), "up to "
    if risk.consumer is None:
        stored = await _stored(api, risk)
        return (int((await api.stream_info(risk.stream))["state"]["messages"]), "up to ") if stored is None else (stored, "")
    if not risk.pending and not await _has_many_subjects(api, risk):
        stored = await _stored(api, risk)
        if stored is not None:
            return stored, ""
    info = await consumer_or_none(api, risk.stream, risk.consumer)
    pending: int = 0 if info is None else info["num_pending"] + info["num_ack_pending"]
    if not pending or not risk.kept:
        return pending, ""
    stored = await _stored(api, risk) if risk.pending else None
    return (pending if stored is None else min(pending, stored)), "up to "


async def _has_many_subjects(api: JetStreamApi, risk: Risk) -> bool:
    """Whether a work queue has too many subjects to list them, and its consumer loses all of its
    own: then the consumer's count is the number, though a moment late.
    """
    return not risk.kept and (await api.stream_info(risk.stream))["state"].get("num_subjects", 0) > _PAGE


async def _stored(api: JetStreamApi, risk: Risk) -> int | None:
    """The stored messages that `risk` concerns; None if they are on too many subjects to count."""
    if risk.lost == (">",) and not risk.kept:
        return int((await api.stream_info(risk.stream))["state"]["messages"])
    found = pages = 0
    for lost in risk.lost:
        near = [one for one in risk.kept if overlap(one, lost)]
        async for counts in api.subject_pages(risk.stream, lost):
            pages += 1
            if pages > _PAGES:
                return None
            found += _unmatched(counts, near)
    return found


def _unmatched(counts: Mapping[str, int], kept: Sequence[str]) -> int:
    return sum(count for subject, count in counts.items() if not any(covers(one, subject) for one in kept))


# ---- what the plan does not change


def unread(steps: Sequence[Change], state: ServerState, family: Collection[str]) -> Iterator[Caution]:
    """Warnings about what was applied from this contract, is declared no more, and holds messages;
    and about consumers that take over, and deliver some messages again.
    """
    before = _Before(steps, state, family)
    for step in before.consumers:
        for name in step.replaces:
            yield _taken_over(step, name, state.consumers[step.stream][name])
        if before.is_ours(step) and step.consumer is not None:
            yield from _left(step, heir_of(step, before.consumers), before)
    if any(step.kind == "create" for step in before.streams.values()):
        return  # these are stranded
    for step in before.streams.values():
        held = state.undeclared[step.stream]["state"]["messages"] if before.is_ours(step) else 0
        if held and step.seen is not None and step.seen.get("retention", "limits") != "limits":
            text = f"{step.name} is not declared any more, and holds {held:,} messages"
            yield Caution(kind="unread", stream=step.stream, messages=held, text=text)


def _taken_over(step: Change, old: str, info: Json) -> Caution:
    flying = info["num_ack_pending"]
    text = (
        f"{step.name} takes over from {old}, which is deleted: no message is lost, {flying:,} in flight are delivered again, "
        f"deliveries are counted from 1 again, and workers of {old} end with ConsumerNotFound"
    )
    return Caution(kind="renamed", stream=step.stream, consumer=old, messages=flying, text=text)


def _left(step: Change, heir: Change | None, before: _Before) -> Iterator[Caution]:
    info = before.state.consumers[step.stream][step.consumer or ""]
    if heir is not None and info["delivered"]["stream_seq"] and heir.declared.get("deliver_policy", "all") == "all":
        text = (
            f"{heir.name} starts at the first stored message, so it delivers again what {step.consumer}, which is not declared "
            f"any more, has acknowledged and the stream still holds"
        )
        yield Caution(kind="renamed", stream=step.stream, consumer=step.consumer, text=text)
    pending = info["num_pending"] + info["num_ack_pending"]
    if pending and heir is None:
        text = f"{step.name} is not declared any more, and has {pending:,} messages pending"
        yield Caution(kind="unread", stream=step.stream, consumer=step.consumer, messages=pending, text=text)
