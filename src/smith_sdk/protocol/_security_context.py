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
"""The payload `SecurityContext`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Literal as _Literal

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload

from ._allowlist_hit import AllowlistHit


class SecurityContext(_Payload, frozen=True, kw_only=True):
    """What an intent was confined by."""

    sandbox_mode: _Literal["full", "demo", "unsafe"] | None = None
    user_ns: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    mount_ns: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    pid_ns: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    net_ns: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)] | None = None
    cgroup_path: str | None = None
    landlock_enabled: bool
    seccomp_enabled: bool
    allowlist_hits: list[AllowlistHit] | None = None
