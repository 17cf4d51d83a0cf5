# generated from subjects.toml by smith-codegen; do not edit
"""The shardings of the subjects. Their types are in the module `sharding` of this package."""

from __future__ import annotations

from typing import Any, Final

from smith_sdk.contract import Layout, ReadShards, ShardingSpec

episode: Final[ShardingSpec[Any, Any]] = ShardingSpec(
    name="episode",
    subject="intents.vetted",
    sharded="intents.vetted_sharded",
    key=(("metadata", "project"), ("metadata", "episode_id")),
    layout=Layout(shards=16, generation=1),
    prefix="smith.intents.vetted.*.*.*.*",
    stream="ATOMS_VETTED",
    description="Executes the intents of one episode in order.",
    reads=(ReadShards(prefix="smith.intents.vetted.*.*.*.shard", shards=16),),
)
