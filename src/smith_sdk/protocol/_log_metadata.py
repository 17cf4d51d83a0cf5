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
"""The payload `LogMetadata`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload


class LogMetadata(_Payload, frozen=True, kw_only=True):
    """Where a log entry comes from."""

    file: str | None = None
    line: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    module_path: str | None = None
    thread_id: str | None = None
    performance_category: _Any = None
