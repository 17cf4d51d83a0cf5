# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `intents`: `quarantine`, `raw`, `vetted`, `vetted_crates`, `vetted_sharded`."""

from ._intents import IntentsQuarantine as quarantine
from ._intents import IntentsQuarantineMsg as QuarantineMsg
from ._intents import IntentsRaw as raw
from ._intents import IntentsRawMsg as RawMsg
from ._intents import IntentsVetted as vetted
from ._intents import IntentsVettedCrates as vetted_crates
from ._intents import IntentsVettedCratesMsg as VettedCratesMsg
from ._intents import IntentsVettedMsg as VettedMsg
from ._intents import IntentsVettedSharded as vetted_sharded
from ._intents import IntentsVettedShardedMsg as VettedShardedMsg

__all__ = [
    "QuarantineMsg",
    "RawMsg",
    "VettedCratesMsg",
    "VettedMsg",
    "VettedShardedMsg",
    "quarantine",
    "raw",
    "vetted",
    "vetted_crates",
    "vetted_sharded",
]
