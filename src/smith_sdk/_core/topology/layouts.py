"""The contract as it holds on a server where the number of shards was changed.

What the bucket says about a sharding takes the place of what the spec declares: the subjects that
its streams capture, and the consumers of its shards. So a plan does not undo a change of the number
of shards, and what was changed is no drift.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from ...contract import Contract, Layout, ShardingSpec, StreamSpec
from ..foreign_text import escape_control
from ..jetstream.api import JetStreamApi
from ..sharding.layouts import Layouts, read_layouts
from .config_keys import Json
from .plan import Caution, Change
from .server_state import stream_or_none


class InUse(msgspec.Struct, frozen=True):
    """A contract with the layouts of its shardings' buckets, and those that are not the spec's."""

    contract: Contract
    layouts: Mapping[str, Layouts]
    """By sharding."""

    def cautions(self, steps: Sequence[Change]) -> Iterator[Caution]:
        """Warnings about `steps` that come from a bucket, rather than from the contract."""
        for spec in self.contract.shardings:
            layouts = self.layouts.get(spec.name)
            if layouts is None:
                continue
            own = {(one.stream, one.name) for layout in layouts.made(spec) for one in spec.consumers_of(layout)}
            if any((step.stream, step.consumer) in own for step in steps if step.kind not in ("unchanged", "unknown")):
                text = (
                    f"sharding {spec.name} has {layouts.current.shards} shards of generation {layouts.current.generation} "
                    f"({layouts.state}), and its contract {spec.layout.shards}: that is what {layouts.by or 'an unknown program'} "
                    f"has written to bucket {spec.bucket} at {layouts.at or 'an unknown time'}"
                )
                yield Caution(kind="layout", stream=spec.stream, text=escape_control(text, keep_layout=False))


async def in_use(api: JetStreamApi, contract: Contract, *, is_new: bool = False) -> InUse:
    """`contract`, with the layouts that the buckets of its shardings have.

    `is_new`: the account has no stream. Raises `TopologyRefused` if a layout is not valid, and what
    a request raises.
    """
    if is_new or not contract.shardings:
        return InUse(contract, {})
    found = await asyncio.gather(*(_in_use(api, spec) for spec in contract.shardings))
    changed = {
        spec.name: (layouts, captured)
        for spec, (layouts, captured) in zip(contract.shardings, found, strict=True)
        if layouts.current != spec.layout or layouts.state != "settled"
    }
    if not changed:
        return InUse(contract, {})
    return InUse(_with_layouts(contract, changed), {name: layouts for name, (layouts, _) in changed.items()})


async def _in_use(api: JetStreamApi, spec: ShardingSpec[Any, Any]) -> tuple[Layouts, Mapping[str, Layout]]:
    """The layouts of a sharding, and by stream the one whose subjects it is to capture."""
    layouts, _ = await read_layouts(api, spec)
    found = dict.fromkeys(streams_of(spec, layouts.current), layouts.current)
    if layouts.next is not None:
        # The command that changes it is at work, or was killed: each stream is right as it is.
        names = streams_of(spec, layouts.current, layouts.next)
        for name, info in zip(names, await asyncio.gather(*(stream_or_none(api, name) for name in names)), strict=True):
            if info is not None and has_changed(spec, layouts.next, info["config"]):
                found[name] = layouts.next
    return layouts, found


def has_changed(spec: ShardingSpec[Any, Any], layout: Layout, config: Json) -> bool:
    """Whether a stream with this config captures the subjects of `layout`."""
    wanted = subjects_of(spec, layout, config["name"])
    return bool(wanted) and set(wanted) <= {*(config.get("subjects") or ())}


def streams_of(spec: ShardingSpec[Any, Any], *layouts: Layout) -> tuple[str, ...]:
    """The streams that keep the shards of `layouts`."""
    return tuple(dict.fromkeys(spec.stream_of(shard) for layout in layouts for shard in layout.all))


def subjects_of(spec: ShardingSpec[Any, Any], layout: Layout, stream: str) -> tuple[str, ...]:
    """The sharded subjects of `layout` that `stream` captures."""
    return spec.captured(layout).get(stream, ())


def exchanged(subjects: Sequence[str], old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """`subjects` with `new` in the place of `old`."""
    return (*(one for one in subjects if one not in old and one not in new), *new)


def _with_layouts(contract: Contract, changed: Mapping[str, tuple[Layouts, Mapping[str, Layout]]]) -> Contract:
    streams = {spec.name: spec for spec in contract.streams}
    consumers = list(contract.consumers)
    for spec in contract.shardings:
        if spec.name not in changed:
            continue
        layouts, captured = changed[spec.name]
        for name, layout in captured.items():
            if name in streams:
                streams[name] = _capturing(streams[name], spec, layout)
        own = {(one.stream, one.name) for one in spec.consumers}
        consumers = [one for one in consumers if (one.stream, one.name) not in own]
        consumers += [one for layout in layouts.made(spec) for one in spec.consumers_of(layout)]
    return replace(
        contract,
        streams=tuple(streams.values()),
        consumers=tuple(consumers),
        bases=tuple(_with_layouts(base, changed) for base in contract.bases),
    )


def _capturing(stream: StreamSpec, spec: ShardingSpec[Any, Any], layout: Layout) -> StreamSpec:
    old, new = (subjects_of(spec, one, stream.name) for one in (spec.layout, layout))
    return replace(stream, subjects=exchanged(stream.subjects, old, new))
