# generated from subjects.toml by smith-codegen; do not edit
"""The payload `ExecutionError`."""

from __future__ import annotations

from smith_sdk.contract import Payload


class ExecutionError(Payload, frozen=True, kw_only=True):
    """Why an intent was not executed, or failed. A denial has the code POLICY_DENIED."""

    code: str
    message: str
