# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""The shardings of the subjects. Their types are in the module `sharding` of this package."""

from __future__ import annotations

from typing import Any as _Any, Final as _Final

from smith_sdk.contract import Layout as _Layout, ReadShards as _ReadShards, ShardingSpec as _ShardingSpec

episode: _Final[_ShardingSpec[_Any, _Any]] = _ShardingSpec(
    name="episode",
    subject="intents.vetted",
    sharded="intents.vetted_sharded",
    key=(("metadata", "project"), ("metadata", "episode_id")),
    layout=_Layout(shards=16, generation=1),
    prefix="smith.intents.vetted.*.*.*.*",
    stream="ATOMS_VETTED",
    description="Executes the intents of one episode in order.",
    reads=(_ReadShards(prefix="smith.intents.vetted.*.*.*.shard", shards=16),),
)
