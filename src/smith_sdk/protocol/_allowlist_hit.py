# generated from subjects.toml by smith-codegen; do not edit
"""The payload `AllowlistHit`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from smith_sdk.contract import Payload


class AllowlistHit(Payload, frozen=True, kw_only=True):
    """One use of a resource that an allowlist permits."""

    resource_type: str
    resource_id: str
    operation: str
    timestamp_ns: Annotated[int, msgspec.Meta(ge=0)]
