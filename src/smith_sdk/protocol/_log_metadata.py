# generated from subjects.toml by smith-codegen; do not edit
"""The payload `LogMetadata`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from smith_sdk.contract import Payload


class LogMetadata(Payload, frozen=True, kw_only=True):
    """Where a log entry comes from."""

    file: str | None = None
    line: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    module_path: str | None = None
    thread_id: str | None = None
    performance_category: Any = None
