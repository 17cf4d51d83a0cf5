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
"""The payload `PlatformEvent`."""

from __future__ import annotations

from typing import Annotated as _Annotated, Any as _Any

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload, now_ns as _now_ns


class PlatformEvent(_Payload, frozen=True, kw_only=True):
    """Something that happened on the platform around Smith."""

    event: str
    timestamp_ns: _Annotated[int, _msgspec.Meta(ge=0)]
    """Nanoseconds since 1970 (UTC)."""
    data: _Any

    @classmethod
    def new(
        cls,
        *,
        event: str,
        timestamp_ns: int | None = None,
        data: _Any,
    ) -> PlatformEvent:
        """A new payload; fields that are not given are filled in."""
        return cls(
            event=event,
            timestamp_ns=_now_ns() if timestamp_ns is None else timestamp_ns,
            data=data,
        )
