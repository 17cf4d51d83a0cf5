"""The base of generated code: subjects, payloads, declared streams and consumers, the contract.

Imports `errors` and `_lazy_names` only. Nothing here knows a Smith name, a server or an event loop.
Generated packages import from this package, and from nothing else of the SDK.
"""

from .._lazy_names import lazy_names
from .payloads import Payload, kind_of, new_uuid4, new_uuid7, now_ns, now_rfc3339, refuse_int, respell
from .received import Metadata, Received
from .registry import RUNTIME_ABI, Contract, Leaf, unique
from .subjects import (
    AnySubject,
    Cap,
    CoreSubject,
    Envelope,
    Filter,
    M_co,
    MessageT,
    S_co,
    StreamSubject,
    Subject,
    Subscribable,
    covers,
    is_int_token,
    is_token,
    read_int_token,
    refuse_message,
    refuse_token,
)
from .topology_spec import (
    ConsumerLimits,
    ConsumerSpec,
    DomainGroup,
    External,
    Origin,
    Placement,
    Profile,
    Republish,
    StreamOverride,
    StreamSpec,
    SubjectTransform,
)

__all__ = [
    "RUNTIME_ABI",
    "AnySubject",
    "Cap",
    "ConsumerLimits",
    "ConsumerSpec",
    "Contract",
    "CoreSubject",
    "DomainGroup",
    "Envelope",
    "External",
    "Filter",
    "Leaf",
    "M_co",
    "MessageT",
    "Metadata",
    "Origin",
    "Payload",
    "Placement",
    "Profile",
    "Received",
    "Republish",
    "S_co",
    "StreamOverride",
    "StreamSpec",
    "StreamSubject",
    "Subject",
    "SubjectTransform",
    "Subscribable",
    "covers",
    "is_int_token",
    "is_token",
    "kind_of",
    "lazy_names",
    "new_uuid4",
    "new_uuid7",
    "now_ns",
    "now_rfc3339",
    "read_int_token",
    "refuse_int",
    "refuse_message",
    "refuse_token",
    "respell",
    "unique",
]
