# generated from subjects.toml by smith-codegen; do not edit
"""The payload `RunnerMetadata`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from smith_sdk.contract import Payload


class RunnerMetadata(Payload, frozen=True, kw_only=True):
    """The process that executed an intent, and what it used."""

    pid: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    cpu_ms: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds of processor time."""
    max_rss_kb: Annotated[int, msgspec.Meta(ge=0, le=4294967295)]
    """Largest resident set, in KiB."""
    capability_digest: str | None = None
