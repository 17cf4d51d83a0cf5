# generated from subjects.toml by smith-codegen; do not edit
"""The payload `PlatformEvent`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from smith_sdk.contract import Payload, now_ns


class PlatformEvent(Payload, frozen=True, kw_only=True):
    """Something that happened on the platform around Smith."""

    event: str
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    data: Any

    @classmethod
    def new(
        cls,
        *,
        event: str,
        timestamp_ns: int | None = None,
        data: Any,
    ) -> PlatformEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event=event,
            timestamp_ns=now_ns() if timestamp_ns is None else timestamp_ns,
            data=data,
        )
