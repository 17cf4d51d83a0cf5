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
"""The payload `AllowlistHit`."""

from __future__ import annotations

from typing import Annotated as _Annotated

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload


class AllowlistHit(_Payload, frozen=True, kw_only=True):
    """One use of a resource that an allowlist permits."""

    resource_type: str
    resource_id: str
    operation: str
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
