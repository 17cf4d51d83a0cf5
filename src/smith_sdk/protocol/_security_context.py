# generated from subjects.toml by smith-codegen; do not edit
"""The payload `SecurityContext`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from smith_sdk.contract import Payload

from ._allowlist_hit import AllowlistHit


class SecurityContext(Payload, frozen=True, kw_only=True):
    """What an intent was confined by."""

    sandbox_mode: Literal["full", "demo", "unsafe"] | None = None
    user_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    mount_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    pid_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    net_ns: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] | None = None
    cgroup_path: str | None = None
    landlock_enabled: bool
    seccomp_enabled: bool
    allowlist_hits: list[AllowlistHit] | None = None
