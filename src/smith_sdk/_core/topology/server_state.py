"""What the server has: the configs and states of streams and consumers, as raw JSON. Only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from ...contract import Contract
from ...errors import ConsumerNotFound, StreamNotFound
from ..jetstream.api import JetStreamApi
from .config_keys import Json, with_filters
from .stamps import CONTRACT, stamp_of


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """The infos that a plan is made from, by name.

    `streams` has every declared stream (None: it does not exist), `consumers` the consumers of
    those that exist, by stream and name, `undeclared` the other streams that capture subjects of
    the contract; the consumers of those that were applied from this contract are there too.
    """

    account: Json
    streams: dict[str, Json | None]
    consumers: dict[str, dict[str, Json]]
    undeclared: dict[str, Json]

    def consumer(self, stream: str, name: str) -> Json | None:
        return self.consumers.get(stream, {}).get(name)


async def read_state(api: JetStreamApi, contract: Contract, account: Json, names: Collection[str]) -> ServerState:
    """The state of the streams `names`, and of what else the contract is about."""
    if account.get("streams") == 0:  # the account's JSON comes from the server that makes streams
        return ServerState(account=account, streams=dict.fromkeys(names), consumers={}, undeclared={})
    infos = dict(zip(names, await asyncio.gather(*(stream_or_none(api, name) for name in names)), strict=True))
    undeclared = await _undeclared_streams(api, contract.roots, names)
    existing = [name for name, info in infos.items() if info is not None]
    existing += [name for name, info in undeclared.items() if stamp_of(info["config"]).get(CONTRACT) in contract.family]
    consumers = await _consumers(api, existing, {(spec.stream, spec.name) for spec in contract.consumers})
    return ServerState(account=account, streams=infos, consumers=consumers, undeclared=undeclared)


async def read_configs(api: JetStreamApi, wanted: Collection[tuple[str, str | None]]) -> dict[tuple[str, str | None], Json]:
    """The configs of the streams (name and None) and consumers `wanted` that exist."""
    streams = dict.fromkeys(stream for stream, _ in wanted)
    infos = dict(zip(streams, await asyncio.gather(*(stream_or_none(api, name) for name in streams)), strict=True))
    existing = [name for name, info in infos.items() if info is not None and any(one[0] == name and one[1] for one in wanted)]
    consumers = await _consumers(api, existing, {(stream, name) for stream, name in wanted if name is not None})
    return {
        **{(name, None): dict(info["config"]) for name, info in infos.items() if info is not None},
        **{(stream, name): dict(info["config"]) for stream, ones in consumers.items() for name, info in ones.items()},
    }


async def stream_or_none(api: JetStreamApi, name: str) -> Json | None:
    try:
        return await api.stream_info(name)
    except StreamNotFound:
        return None


async def consumer_or_none(api: JetStreamApi, stream: str, name: str) -> Json | None:
    try:
        info = await api.consumer_info(stream, name)
    except (StreamNotFound, ConsumerNotFound):
        return None
    return {**info, "config": with_filters(info["config"])}


async def _consumers(
    api: JetStreamApi, streams: Sequence[str], wanted: Collection[tuple[str, str]]
) -> dict[str, dict[str, Json]]:
    """The consumers of `streams`, by stream and name; `wanted` ones also if they are not listed."""
    listings = await asyncio.gather(*(api.list_consumers(name) for name in streams))
    found = {
        stream: {info["name"]: {**info, "config": with_filters(info["config"])} for info in listing.found}
        for stream, listing in zip(streams, listings, strict=True)
    }
    # A cluster leaves consumers that have no leader out of a list.
    missing = [
        (stream, name)
        for stream, listing in zip(streams, listings, strict=True)
        for name in listing.missing
        if (stream, name) in wanted
    ]
    infos = await asyncio.gather(*(consumer_or_none(api, *one) for one in missing))
    for (stream, name), info in zip(missing, infos, strict=True):
        if info is not None:
            found[stream][name] = info
    return found


async def _undeclared_streams(api: JetStreamApi, roots: tuple[str, ...], declared: Collection[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for root in roots:
        for subject in (root, f"{root}.>"):
            for info in await api.streams(subject):
                if info["config"]["name"] not in declared:
                    found[info["config"]["name"]] = info
    return found
