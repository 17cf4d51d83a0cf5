# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.lag`."""

from __future__ import annotations

from .._core.monitoring.consumer_lag import ConsumerLag, Replica, StreamUsage

__all__ = ["ConsumerLag", "Replica", "StreamUsage"]
