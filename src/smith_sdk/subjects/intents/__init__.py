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
"""The subjects `intents`: `quarantine`, `raw`, `vetted`, `vetted_crates`, `vetted_sharded`."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ._quarantine import IntentsQuarantine as quarantine
    from ._quarantine import IntentsQuarantineMsg as QuarantineMsg
    from ._raw import IntentsRaw as raw
    from ._raw import IntentsRawMsg as RawMsg
    from ._vetted import IntentsVetted as vetted
    from ._vetted import IntentsVettedMsg as VettedMsg
    from ._vetted_crates import IntentsVettedCrates as vetted_crates
    from ._vetted_crates import IntentsVettedCratesMsg as VettedCratesMsg
    from ._vetted_sharded import IntentsVettedSharded as vetted_sharded
    from ._vetted_sharded import IntentsVettedShardedMsg as VettedShardedMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "quarantine": "._quarantine:IntentsQuarantine",
            "QuarantineMsg": "._quarantine:IntentsQuarantineMsg",
            "raw": "._raw:IntentsRaw",
            "RawMsg": "._raw:IntentsRawMsg",
            "vetted": "._vetted:IntentsVetted",
            "VettedMsg": "._vetted:IntentsVettedMsg",
            "vetted_crates": "._vetted_crates:IntentsVettedCrates",
            "VettedCratesMsg": "._vetted_crates:IntentsVettedCratesMsg",
            "vetted_sharded": "._vetted_sharded:IntentsVettedSharded",
            "VettedShardedMsg": "._vetted_sharded:IntentsVettedShardedMsg",
        },
    )
