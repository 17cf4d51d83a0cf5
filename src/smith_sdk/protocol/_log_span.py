# generated from subjects.toml by smith-codegen; do not edit
"""The payload `LogSpan`."""

from __future__ import annotations

from typing import Any

from smith_sdk.contract import Payload


class LogSpan(Payload, frozen=True, kw_only=True):
    """The span of a log entry."""

    id: str
    parent_id: str | None = None
    name: str
    fields: dict[str, Any]
