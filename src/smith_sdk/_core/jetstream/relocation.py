"""Messages of a shard that no stream takes any more: their subject in the layout that holds now.

The number of shards may be changed while publishers go on. Each learns of it by a refusal.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ...contract import Layout, ShardingSpec
from ...errors import SmithError
from ..log_records import LogFields, sdk_logger
from .publish_request import PublishRequest

log = sdk_logger("publish")


class LayoutSource(Protocol):
    """Which layout of a sharding to publish with."""

    def publishing(self, spec: ShardingSpec[Any, Any]) -> Layout:
        """As far as it is known: no request is made."""
        ...

    def is_changed(self, spec: ShardingSpec[Any, Any]) -> bool:
        """Whether the server is known to have another layout than the declared one, or had one."""
        ...

    async def refresh(self, spec: ShardingSpec[Any, Any], refused: int) -> Layout | None:
        """The layout to publish with, since no stream takes the subjects of generation `refused`.

        None if it is to be that one. Raises what a request raises.
        """
        ...


class DeclaredLayouts:
    """The layouts of the contract, whatever the server has."""

    def publishing(self, spec: ShardingSpec[Any, Any]) -> Layout:
        return spec.layout

    def is_changed(self, spec: ShardingSpec[Any, Any]) -> bool:
        return False

    async def refresh(self, spec: ShardingSpec[Any, Any], refused: int) -> Layout | None:
        return None


async def relocated(layouts: LayoutSource, request: PublishRequest) -> PublishRequest | None:
    """`request`, which no stream has taken, with another subject; None if there is no other one."""
    placed = request.shard
    if placed is None:
        return None
    word = request.subject.rpartition(".")[0].rpartition(".")[2]
    try:
        layout = await layouts.refresh(placed.spec, int(word.removeprefix("shard") or 1))
    except SmithError as error:
        fields = LogFields(stream=request.stream or "")
        log.warning("the layout of sharding %s is not known: %s", placed.spec.name, error, extra=fields)
        return None
    if layout is None:
        return None
    subject, stream = placed.under(layout)
    return msgspec.structs.replace(request, subject=subject, stream=stream)
