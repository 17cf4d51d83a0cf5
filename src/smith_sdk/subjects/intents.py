# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `intents`: `quarantine`, `raw`, `vetted`."""

from ._intents import IntentsQuarantine as quarantine
from ._intents import IntentsQuarantineMsg as QuarantineMsg
from ._intents import IntentsRaw as raw
from ._intents import IntentsRawMsg as RawMsg
from ._intents import IntentsVetted as vetted
from ._intents import IntentsVettedMsg as VettedMsg

__all__ = [
    "QuarantineMsg",
    "RawMsg",
    "VettedMsg",
    "quarantine",
    "raw",
    "vetted",
]
