"""smith-sdk: the typed Python SDK for the Smith bus.

`SmithBus` and what `smith_sdk.sync` holds is the blocking face; `AsyncSmithBus` and the other classes here are the async one.
"""

from . import subjects
from ._core.window import PubAck
from .aio import (
    Admission,
    Allow,
    AsyncSmithBus,
    Consumer,
    DeadLetter,
    Decision,
    Deny,
    Message,
    Quarantine,
    Transform,
    Worker,
    result_of,
)
from .contract import Envelope
from .errors import Reject, RetryLater, SmithError
from .options import Auth, Backoff, RetryPolicy
from .sync import SmithBus
from .topology import consumers

__all__ = [
    "Admission",
    "Allow",
    "AsyncSmithBus",
    "Auth",
    "Backoff",
    "Consumer",
    "DeadLetter",
    "Decision",
    "Deny",
    "Envelope",
    "Message",
    "PubAck",
    "Quarantine",
    "Reject",
    "RetryLater",
    "RetryPolicy",
    "SmithBus",
    "SmithError",
    "Transform",
    "Worker",
    "consumers",
    "result_of",
    "subjects",
]
