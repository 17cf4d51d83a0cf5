# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.trace`."""

from __future__ import annotations

from ..aio.trace import (
    Trace,
    TraceStep,
)

__all__ = ["Trace", "TraceStep"]
