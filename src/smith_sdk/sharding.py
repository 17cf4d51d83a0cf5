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
"""The shardings of the bus: which subjects are spread over shards, and by which key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final as _Final

from smith_sdk.contract import ShardingSpec as _ShardingSpec

from .subjects._sharding import episode as _sharding_episode

if TYPE_CHECKING:
    from .protocol._intent import Intent
    from .subjects.intents._vetted_crates import IntentsVettedCrates
    from .subjects.intents._vetted_sharded import IntentsVettedSharded

__all__ = [
    "episode",
]

episode: _Final[_ShardingSpec[Intent, IntentsVettedSharded[Intent] | IntentsVettedCrates[Intent]]] = _sharding_episode
"""Executes the intents of one episode in order."""
