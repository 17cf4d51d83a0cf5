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
"""The payload `LogSpan`."""

from __future__ import annotations

from typing import Any as _Any

from smith_sdk.contract import Payload as _Payload


class LogSpan(_Payload, frozen=True, kw_only=True):
    """The span of a log entry."""

    id: str
    parent_id: str | None = None
    name: str
    fields: dict[str, _Any]
