# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.answers`."""

from __future__ import annotations

from .._core.result_codes import ResultCode as ResultCode

__all__ = ["ResultCode"]
