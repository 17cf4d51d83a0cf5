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
"""The payload `ExecutionError`."""

from __future__ import annotations

from smith_sdk.contract import Payload as _Payload


class ExecutionError(_Payload, frozen=True, kw_only=True):
    """Why an intent was not executed, or failed. A denial has the code POLICY_DENIED."""

    code: str
    message: str
