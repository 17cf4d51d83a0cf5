# generated from subjects.toml by smith-codegen; do not edit
"""The payload `LogTrace`."""

from __future__ import annotations

from typing import Any

from smith_sdk.contract import Payload


class LogTrace(Payload, frozen=True, kw_only=True):
    """The trace of a log entry."""

    id: str
    context: dict[str, Any]
