"""Checks of one stream, consumer or profile by itself: contradictory keys, impossible values.

Each was tried on nats-server 2.15. A spec is refused here, with the key and its line, if the server
refuses it, or accepts and then changes it: a plan would then never be empty.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any, Final

from . import domains, patterns, sharded_checks
from .errors import SpecError
from .locate import Path
from .placeholders import feeding
from .spec import Spec
from .topology_spec import ConsumerDecl, OriginDecl, OverrideDecl, ProfileDecl, StreamDecl
from .units import seconds, size

_STREAM_TOKEN: Final = re.compile(r"[A-Za-z0-9_$-]{1,256}")
_MAPPED: Final = re.compile(r"\{\{[^{}]*\}\}|\$\d+")
_GROUP: Final = re.compile(r"[A-Za-z0-9/_=-]{1,16}")
_SAMPLE: Final = re.compile(r"(100|\d{1,2})%?")
_PULL: Final = 30.0
"""Seconds that a pull of the SDK waits for messages."""
_SHORTEST: Final = 0.1
_FACTS: Final = 64 * 1024
"""Bytes that headers of a dead letter, or other fields of a record, take beside the message."""

_LEAST: Final = {"max_age": _SHORTEST, "duplicate_window": _SHORTEST, "subject_delete_marker_ttl": 1.0, "max_expires": _PULL}
"""Minimum durations in seconds: the server's; for `max_expires`, the SDK's own pulls."""
_COUNTS: Final = (
    "max_ack_pending",
    "max_batch",
    "max_bytes",
    "max_consumers",
    "max_msg_size",
    "max_msgs",
    "max_msgs_per_subject",
    "max_waiting",
    "first_seq",
    "opt_start_seq",
    "prefetch",
)
_NO_MIRROR: Final = (
    "first_seq",
    "allow_atomic",
    "allow_batched",
    "allow_msg_schedules",
    "allow_msg_counter",
    "subject_delete_marker_ttl",
)
_START: Final = {"by_start_sequence": "opt_start_seq", "by_start_time": "opt_start_time"}


def is_pattern(subject: str) -> bool:
    """Whether a stream can capture `subject`: tokens, '*' for any one, '>' at the end."""
    pieces = subject.split(".")
    ok = all(piece == "*" or _STREAM_TOKEN.fullmatch(piece) for piece in pieces[:-1])
    return ok and (pieces[-1] in ("*", ">") or _STREAM_TOKEN.fullmatch(pieces[-1]) is not None)


def references(spec: Spec, declare: Callable[[str, str, Iterable[str]], str]) -> Iterator[SpecError]:
    """Unknown names of streams; `declare` makes the fix for one."""
    for name, decl in spec.streams.items():
        for key, origin in _origins(("streams", name), decl):
            if origin.external is None and origin.name not in spec.streams:
                fix = f"{declare('streams', origin.name, spec.streams)}, or say how to reach it: external = {{ api = ... }}"
                yield spec.error((*key, "name"), f"unknown stream {origin.name!r}", fix)
    for name, profile in spec.profiles.items():
        for stream in profile.streams:
            if stream not in spec.streams:
                fix = declare("streams", stream, spec.streams)
                yield spec.error(("profiles", name, "streams", stream), f"unknown stream {stream!r}", fix)


def _limits(spec: Spec, key: Path, decl: Any) -> Iterator[SpecError]:
    """Counts, sizes and durations that are too small."""
    for which in _COUNTS:
        value = getattr(decl, which, None)
        if value is not None and size(value) < 1:
            needed = which in ("max_ack_pending", "prefetch") and isinstance(decl, ConsumerDecl)
            yield spec.error((*key, which), "is less than 1", "at least 1" if needed else "leave it out for no limit")
    for which in ("ack_wait", "inactive_threshold", "priority_timeout", *_LEAST):
        value = getattr(decl, which, None)
        if value is None:
            continue
        if seconds(value) <= 0:
            fix = "give the time that a handler may take" if which == "ack_wait" else "leave it out for the server's default"
            yield spec.error((*key, which), "is zero", fix)
        elif seconds(value) < _LEAST.get(which, 0):
            what = "the time that the SDK's pulls wait" if which == "max_expires" else "the server's minimum"
            yield spec.error((*key, which), f"is shorter than {_LEAST[which]:g} s, {what}", "lengthen it, or leave it out")


# ---- [streams]


def stream(spec: Spec, name: str, decl: StreamDecl) -> Iterator[SpecError]:
    """Errors in the keys of one stream."""
    key = ("streams", name)

    def wrong(which: str, problem: str, fix: str) -> SpecError:
        return spec.error((*key, *which.split(".")), problem, fix)

    if not decl.subjects and not decl.origins:
        yield wrong("subjects", "is empty", "list the subjects that the stream captures")
    for index, subject in enumerate(decl.subjects):
        if not is_pattern(subject):
            fix = "use tokens, '*' for any one, and '>' at the end for any more"
            yield wrong(f"subjects.{index}", f"{subject!r} is not a valid NATS pattern", fix)
    yield from _limits(spec, key, decl)
    yield from _retention(decl, wrong)
    yield from _counter(decl, wrong)
    yield from _purging(decl, wrong)
    yield from _placed(spec, key, decl)
    if decl.consumer_limits is not None:
        yield from _limits(spec, (*key, "consumer_limits"), decl.consumer_limits)
    yield from _metadata(spec, key, decl.metadata)
    yield from _republished(spec, key, decl)
    for which, transform in (("republish", decl.republish), ("subject_transform", decl.subject_transform)):
        if transform is not None and not is_pattern(transform.src):
            yield spec.error((*key, which, "src"), f"{transform.src!r} is not a valid NATS pattern", "use tokens, '*' and '>'")
    yield from _origin_checks(spec, name, decl)


_Wrong = Callable[[str, str, str], SpecError]


def _retention(decl: StreamDecl, wrong: _Wrong) -> Iterator[SpecError]:
    """Keys about how messages are kept that depend on each other."""
    if decl.max_age and decl.duplicate_window and seconds(decl.duplicate_window) > seconds(decl.max_age):
        yield wrong("duplicate_window", "is longer than max_age, which the server refuses", "shorten it")
    if decl.discard_new_per_subject and (decl.discard != "new" or decl.max_msgs_per_subject is None):
        fix = 'add discard = "new" and max_msgs_per_subject'
        yield wrong("discard_new_per_subject", 'requires discard = "new" and max_msgs_per_subject', fix)
    if decl.persist_mode == "async" and (decl.storage != "file" or decl.allow_atomic):
        fix = "remove it, or use file storage without allow_atomic"
        yield wrong("persist_mode", "async is allowed neither with memory storage nor with atomic batches", fix)


def _placed(spec: Spec, key: Path, decl: StreamDecl | OverrideDecl) -> Iterator[SpecError]:
    if decl.placement is not None and not (decl.placement.cluster or decl.placement.tags):
        yield spec.error((*key, "placement"), "names neither a cluster nor tags", "name one of them")


def _counter(decl: StreamDecl, wrong: _Wrong) -> Iterator[SpecError]:
    if not decl.allow_msg_counter:
        return
    against = {
        'discard = "new"': decl.discard == "new",
        "allow_msg_ttl": decl.allow_msg_ttl,
        "allow_msg_schedules": decl.allow_msg_schedules,
        f'retention = "{decl.retention}"': decl.retention != "limits",
    }
    for what, there in against.items():
        if there:
            yield wrong("allow_msg_counter", f"cannot be combined with {what}", "remove one of the two")


def _purging(decl: StreamDecl, wrong: _Wrong) -> Iterator[SpecError]:
    """Keys that need the right to purge: the server refuses them, or grants it by itself."""
    if decl.deny_purge and decl.allow_rollup_hdrs:
        yield wrong("allow_rollup_hdrs", "a roll-up purges, and deny_purge forbids it", "remove one of the two")
    for which in ("subject_delete_marker_ttl", "allow_msg_schedules"):
        if not getattr(decl, which):
            continue
        if decl.deny_purge:
            yield wrong(which, "the server drops deny_purge if this is set", "remove one of the two")
        if decl.allow_rollup_hdrs is False:
            yield wrong(which, "the server sets allow_rollup_hdrs if this is set", "remove allow_rollup_hdrs = false")
    if decl.subject_delete_marker_ttl and decl.allow_msg_ttl is False:
        yield wrong("subject_delete_marker_ttl", "the server sets allow_msg_ttl with it", "remove allow_msg_ttl = false")


def _republished(spec: Spec, key: Path, decl: StreamDecl) -> Iterator[SpecError]:
    if decl.republish is None:
        return
    dest = _MAPPED.sub("*", decl.republish.dest)
    where = (*key, "republish", "dest")
    if not is_pattern(dest):
        yield spec.error(where, f"{decl.republish.dest!r} is not a valid subject", "use tokens, '>' and {{wildcard(1)}}")
    elif patterns.any_overlap([patterns.positions(dest)], [patterns.positions(one) for one in decl.subjects if is_pattern(one)]):
        yield spec.error(where, "is captured by the same stream", "send it to subjects that the stream does not capture")


def _metadata(spec: Spec, key: Path, metadata: dict[str, str]) -> Iterator[SpecError]:
    for name in metadata:
        if name.startswith("_nats."):
            yield spec.error((*key, "metadata", name), "is reserved for the server", "choose another name")


def _origins(key: Path, decl: StreamDecl) -> Iterator[tuple[Path, OriginDecl]]:
    if decl.mirror is not None:
        yield (*key, "mirror"), decl.mirror
    for index, origin in enumerate(decl.sources):
        yield (*key, "sources", str(index)), origin


def _mirror(spec: Spec, key: Path, decl: StreamDecl) -> Iterator[SpecError]:
    if decl.mirror is None:
        return
    if decl.subjects:
        yield spec.error((*key, "subjects"), "a mirror has no subjects of its own (10034)", "remove them, or use sources")
    if decl.sources:
        yield spec.error((*key, "sources"), "a mirror has no other sources (10031)", "list it among the sources")
    for which in _NO_MIRROR:
        if getattr(decl, which):
            yield spec.error((*key, which), "is refused by the server for a mirror", "remove it")


def _origin(spec: Spec, where: Path, name: str, origin: OriginDecl) -> Iterator[SpecError]:
    """Errors in one mirror or source of the stream `name`."""
    if origin.external is None and name in feeding(spec, origin.name, transformed=True):
        yield spec.error((*where, "name"), "leads back to this stream", "a stream cannot feed itself")
    if origin.filter_subject is not None and origin.subject_transforms:
        fix = "give the filter as the src of a transform"
        yield spec.error((*where, "filter_subject"), "cannot be combined with subject_transforms (10144)", fix)
    if origin.opt_start_seq is not None and origin.opt_start_time is not None:
        yield spec.error((*where, "opt_start_seq"), "cannot be combined with opt_start_time", "remove one of the two")
    if origin.filter_subject is not None and not is_pattern(origin.filter_subject):
        yield spec.error(
            (*where, "filter_subject"), f"{origin.filter_subject!r} is not a valid NATS pattern", "use tokens, '*', '>'"
        )
    yield from _limits(spec, where, origin)


def _origin_checks(spec: Spec, name: str, decl: StreamDecl) -> Iterator[SpecError]:
    key = ("streams", name)
    yield from _mirror(spec, key, decl)
    if decl.sources and decl.allow_msg_schedules:
        fix = "schedule in the stream that is taken from"
        yield spec.error((*key, "allow_msg_schedules"), "cannot be combined with sources (10187)", fix)
    for where, origin in _origins(key, decl):
        yield from _origin(spec, where, name, origin)
    for (_, one), (index, other) in combinations(enumerate(decl.sources), 2):
        if one == other:
            yield spec.error((*key, "sources", str(index)), f"{other.name} is listed already (10140)", "keep one of them")


# ---- [consumers]


def consumer(spec: Spec, name: str, decl: ConsumerDecl) -> Iterator[SpecError]:
    """Errors in the keys of one consumer."""
    key = ("consumers", name)

    def wrong(which: str, problem: str, fix: str) -> SpecError:
        return spec.error((*key, *which.split(".")), problem, fix)

    yield from _limits(spec, key, decl)
    if decl.max_attempts != -1 and decl.max_attempts < 1:
        yield wrong("max_attempts", f"{decl.max_attempts} attempts", "at least 1, or -1 for no limit")
    if decl.max_batch is not None and 1 <= decl.max_batch < decl.prefetch:
        yield wrong("max_batch", f"is less than prefetch = {decl.prefetch}: the server refuses such a pull", "raise it")
    yield from _delivery(spec, decl, wrong)
    if decl.replicas is not None and not 1 <= decl.replicas <= 5:
        yield wrong("replicas", f"{decl.replicas} replicas", "the server accepts 1 to 5")
    if decl.sample_freq is not None and not _SAMPLE.fullmatch(decl.sample_freq):
        yield wrong("sample_freq", f"{decl.sample_freq!r} is not a valid percentage of acks (10095)", 'write "50%"')
    yield from _priority(decl, wrong)
    yield from _metadata(spec, key, decl.metadata)
    yield from _within_limits(spec, decl, wrong)


def _delivery(spec: Spec, decl: ConsumerDecl, wrong: _Wrong) -> Iterator[SpecError]:
    """Delivery policies that lack what they need, or do not suit the stream."""
    for policy, needed in _START.items():
        if (decl.deliver_policy == policy) != (getattr(decl, needed) is not None):
            yield wrong(needed, f'goes with deliver_policy = "{policy}", and the other way round (10094)', "add or remove it")
    if decl.deliver_policy == "last_per_subject" and not decl.chosen and not spec.streams[decl.stream].subjects:
        yield wrong("deliver_policy", "last_per_subject needs a filter (10094)", "add one")
    if decl.deliver_policy != "all" and spec.streams[decl.stream].retention == "workqueue":
        yield wrong("deliver_policy", "a work queue delivers all (10101)", "remove it")


def _within_limits(spec: Spec, decl: ConsumerDecl, wrong: _Wrong) -> Iterator[SpecError]:
    """Keys that exceed the stream's limits for its consumers."""
    limits = spec.streams[decl.stream].consumer_limits
    if limits is not None and limits.max_ack_pending is not None and decl.max_ack_pending > limits.max_ack_pending:
        yield wrong("max_ack_pending", f"is more than {decl.stream} allows, {limits.max_ack_pending} (10121)", "lower it")
    most = None if limits is None else limits.inactive_threshold
    if most is not None and decl.inactive_threshold is not None and seconds(decl.inactive_threshold) > seconds(most):
        yield wrong("inactive_threshold", f"is more than {decl.stream} allows, {most} (10153)", "lower it")


def _priority(decl: ConsumerDecl, wrong: _Wrong) -> Iterator[SpecError]:
    if decl.priority_policy is not None and not decl.priority_groups:
        yield wrong("priority_policy", "needs a group (10159)", 'add priority_groups = ["workers"]')
    if decl.priority_groups and decl.priority_policy is None:
        yield wrong(
            "priority_groups", "need a policy (10196)", 'add priority_policy = "overflow", "pinned_client" or "prioritized"'
        )
    for index, group in enumerate(decl.priority_groups):
        if not _GROUP.fullmatch(group):
            fix = "use 1 to 16 letters, digits, '-', '_', '/' and '='"
            yield wrong(f"priority_groups.{index}", f"{group!r} is not a valid group name (10162)", fix)
    if decl.priority_timeout is not None and decl.priority_policy != "pinned_client":
        yield wrong("priority_timeout", 'is for priority_policy = "pinned_client"', "remove it")


def crowded(spec: Spec) -> Iterator[SpecError]:
    """Streams that allow fewer consumers than the spec declares."""
    consumers = domains.expanded(spec).consumers.values()
    counts = Counter(one.stream for one in consumers)
    for name, decl in spec.streams.items():
        count = counts[name]
        if decl.max_consumers is not None and 1 <= decl.max_consumers < count:
            yield spec.error(("streams", name, "max_consumers"), f"{count} consumers are declared (10026)", f"at least {count}")
    yield from sharded_checks.crowded(spec, (one.stream for one in consumers))


def too_small(spec: Spec) -> Iterator[SpecError]:
    """Own consumers whose letters, or outputs that hold a message, may be larger than the stream
    that is to keep them takes. As warnings: few messages are as large as their stream allows.
    """
    letters = next((decl.stream for decl in spec.subjects.values() if decl.dead_letters), None)
    for name, decl in spec.consumers.items():
        if not spec.is_own(("consumers", name)):
            continue
        if letters is not None:
            yield from _outgrown(spec, ("consumers", name, "stream"), decl.stream, letters, "a dead letter of it", 1.0)
        for index, subject in enumerate(decl.publishes):
            kept = spec.subjects[subject]
            if kept.stream is not None and _holds_bytes(spec, kept.message):
                key = ("consumers", name, "publishes", str(index))
                yield from _outgrown(spec, key, decl.stream, kept.stream, f"a {kept.message} that holds it in base64", 4 / 3)


def _holds_bytes(spec: Spec, message: str) -> bool:
    decl = spec.messages.get(message)
    return decl is not None and any(field.type in ("bytes", "bytes?") for field in decl.fields.values())


def _outgrown(spec: Spec, key: Path, source: str, keeper: str, what: str, factor: float) -> Iterator[SpecError]:
    """A warning if `what`, `factor` times a message of `source`, may not fit into `keeper`."""
    most, largest = spec.streams[keeper].max_msg_size, spec.streams[source].max_msg_size
    if most is None or largest is None:  # without a limit of its own the server's max_payload is one
        return
    needed = int(size(largest) * factor) + _FACTS
    if size(most) < needed:
        yield spec.error(
            key,
            f"{source} takes messages of {largest}, and {keeper}, which is to keep {what}, takes {most}",
            f"raise streams.{keeper}.max_msg_size to {needed}, or lower streams.{source}.max_msg_size",
        )


# ---- [profiles]


def profile(spec: Spec, name: str, decl: ProfileDecl) -> Iterator[SpecError]:
    """Errors in one profile."""
    key = ("profiles", name)
    if decl.fit is not None and size(decl.fit) < 1:
        yield spec.error((*key, "fit"), "is less than 1", "leave it out to keep the sizes")
    if not 1 <= decl.replicas <= 5:
        yield spec.error((*key, "replicas"), f"{decl.replicas} replicas", "the server accepts 1 to 5")
    if not 0 < decl.ages < float("inf"):
        yield spec.error((*key, "ages"), f"{decl.ages:g} is not a valid factor", "write 0.1 for a tenth of every max_age")
    given = 0
    for stream_name, override in decl.streams.items():
        yield from _override(spec, (*key, "streams", stream_name), override, spec.streams[stream_name])
        given += 0 if override.max_bytes is None else size(override.max_bytes)
    if decl.fit is not None and given >= size(decl.fit) >= 1:
        problem = f"is used up by the overrides of single streams, {given} bytes"
        yield spec.error((*key, "fit"), problem, "raise it, or lower these")


def _override(spec: Spec, key: Path, decl: OverrideDecl, of: StreamDecl) -> Iterator[SpecError]:
    yield from _limits(spec, key, decl)
    if decl.replicas is not None and not 1 <= decl.replicas <= 5:
        yield spec.error((*key, "replicas"), f"{decl.replicas} replicas", "the server accepts 1 to 5")
    if decl.storage == "memory" and of.persist_mode == "async":
        yield spec.error((*key, "storage"), 'memory cannot be combined with persist_mode = "async"', "leave it on file")
    yield from _placed(spec, key, decl)
