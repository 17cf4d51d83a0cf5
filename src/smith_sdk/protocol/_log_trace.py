# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
"""The payload `LogTrace`."""

from __future__ import annotations

from typing import Any as _Any

from smith_sdk.contract import Payload as _Payload


class LogTrace(_Payload, frozen=True, kw_only=True):
    """The trace of a log entry."""

    id: str
    context: dict[str, _Any]
