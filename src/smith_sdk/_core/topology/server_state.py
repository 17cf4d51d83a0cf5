"""What the server has: the configs and states of streams and consumers, as raw JSON. Only reads."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

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
    infos = dict(zip(names, await asyncio.gather(*(stream_or_none(api, name) for name in names)), strict=True))
    undeclared = await _undeclared_streams(api, contract.roots, names)
    existing = [name for name, info in infos.items() if info is not None]
    existing += [name for name, info in undeclared.items() if stamp_of(info["config"]).get(CONTRACT) in contract.family]
    consumers = dict(zip(existing, await asyncio.gather(*(_consumers(api, name) for name in existing)), strict=True))
    for spec in contract.consumers:
        # A cluster leaves consumers that have no leader out of a list.
        if spec.stream in consumers and spec.name not in consumers[spec.stream]:
            info = await consumer_or_none(api, spec.stream, spec.name)
            if info is not None:
                consumers[spec.stream][spec.name] = info
    return ServerState(account=account, streams=infos, consumers=consumers, undeclared=undeclared)


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


async def _consumers(api: JetStreamApi, stream: str) -> dict[str, Json]:
    listing = await api.list_consumers(stream)
    return {info["name"]: {**info, "config": with_filters(info["config"])} for info in listing.found}


async def _undeclared_streams(api: JetStreamApi, roots: tuple[str, ...], declared: Collection[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for root in roots:
        for subject in (root, f"{root}.>"):
            for info in await api.streams(subject):
                if info["config"]["name"] not in declared:
                    found[info["config"]["name"]] = info
    return found
