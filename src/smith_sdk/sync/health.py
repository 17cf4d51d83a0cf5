# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.health`."""

from __future__ import annotations

from .._core.monitoring.health import Check, HealthReport

__all__ = ["Check", "HealthReport"]
