# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.middleware`."""

from __future__ import annotations

from ..aio.middleware import Middleware

__all__ = ["Middleware"]
