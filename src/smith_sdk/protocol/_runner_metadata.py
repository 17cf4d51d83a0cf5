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
"""The payload `RunnerMetadata`."""

from __future__ import annotations

from typing import Annotated as _Annotated

import msgspec as _msgspec

from smith_sdk.contract import Payload as _Payload


class RunnerMetadata(_Payload, frozen=True, kw_only=True):
    """The process that executed an intent, and what it used."""

    pid: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    cpu_ms: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Milliseconds of processor time."""
    max_rss_kb: _Annotated[int, _msgspec.Meta(ge=0, le=4294967295)]
    """Largest resident set, in KiB."""
    capability_digest: str | None = None
