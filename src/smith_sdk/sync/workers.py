# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.workers`."""

from __future__ import annotations

from ..aio.workers import WorkerReport

__all__ = ["WorkerReport"]
