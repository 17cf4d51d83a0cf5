"""The rules of `[buckets]` and `[objects]`. Their streams are compared as streams are, so the keys
that these are made of have the effects of the streams' keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .rule import ANY, BESIDE, Effect, Rule, code, nothing
from .topology_rules import TOPOLOGY


def _as(key: str) -> Rule:
    """The rule of a key that becomes the stream's `key`."""
    return code(*TOPOLOGY[key].effects)


_MADE: Final[Mapping[str, Rule]] = {
    "": _as("StreamDecl"),
    ".ttl": _as("StreamDecl.max_age"),
    ".max_bytes": _as("StreamDecl.max_bytes"),
    ".storage": _as("StreamDecl.storage"),
    ".compression": nothing("the server's own matter: programs read the same"),
}

BUCKETS: Final[Mapping[str, Rule]] = {
    **{f"BucketDecl{key}": rule for key, rule in _MADE.items()},
    "BucketDecl.message": code(
        Effect("changed", "wire", BESIDE, "programs of the two versions do not read each other's values"),
        Effect("another name of the same payload", "source", ANY, "the same on the wire"),
    ),
    "BucketDecl.key": code(
        Effect("changed", "wire", BESIDE, "programs of the two versions do not find each other's keys"),
        Effect("given, or left out", "source", ANY, "a key is of another type"),
        Effect("a token renamed", "source", ANY, "the same on the wire"),
    ),
    "BucketDecl.history": _as("StreamDecl.max_msgs_per_subject"),
    "BucketDecl.max_value_size": _as("StreamDecl.max_msg_size"),
    "BucketDecl.limit_marker_ttl": _as("StreamDecl.allow_msg_ttl"),
    **{f"ObjectsDecl{key}": rule for key, rule in _MADE.items()},
}
