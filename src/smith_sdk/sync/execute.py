# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.execute`."""

from __future__ import annotations

from ..aio.execute import (
    result_of,
)

__all__ = ["result_of"]
