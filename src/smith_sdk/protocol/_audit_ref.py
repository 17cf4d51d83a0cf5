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
"""The payload `AuditRef`."""

from __future__ import annotations

from typing import Annotated as _Annotated

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, refuse_int as _refuse_int


class AuditRef(_Payload, frozen=True, kw_only=True):
    """Where the audit trail speaks of this result."""

    id: str
    timestamp: _Annotated[int, _msgspec.Meta(ge=0, extra_json_schema={"maximum": 18446744073709551615})]
    """Seconds since 1970 (UTC)."""
    hash: str
    """SHA-256 of the intent's bytes as they were received, in hexadecimal."""

    def __post_init__(self) -> None:
        if type(self.timestamp) is int and self.timestamp > 18446744073709551615:
            _refuse_int("AuditRef", "timestamp", self.timestamp, 18446744073709551615)
