# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.pipeline`."""

from __future__ import annotations

from .admission import Admission, Allow, Decision, Deny, Quarantine, Transform
from .execute import result_of

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform", "result_of"]
