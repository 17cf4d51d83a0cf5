"""The former import path of `smith_sdk.aio.admission` and `smith_sdk.aio.execute`."""

from .admission import Admission, Allow, Decision, Deny, Quarantine, Transform
from .execute import result_of

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform", "result_of"]
