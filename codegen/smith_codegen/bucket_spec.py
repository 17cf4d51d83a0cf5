"""Key-value buckets and object stores in a spec: strict structs, with a docstring for each key.

Each is a stream, which `buckets.py` writes out among the others.
"""

from __future__ import annotations

from typing import Literal

from .topology_spec import Strict


class BucketDecl(Strict, frozen=True):
    """`[buckets.x]`: the key-value bucket x, whose stream is `KV_x`."""

    message: str
    """The value of each key: a message that is not a family, a union, or `bytes`."""
    key: str | None = None
    """The pattern of the keys, such as `{region}.{user_id}`: literals and `{token}`s with dots
    between them. By default a key is any str."""
    history: int = 1
    """How many values of a key are kept, the newest included: 1 to 64."""
    ttl: str | None = None
    """How long each value is kept, such as `"1h"`. By default until it is replaced or deleted."""
    max_bytes: str | int | None = None
    """Bytes of the whole bucket, such as `"64MiB"`: a write beyond is refused. By default no
    limit."""
    max_value_size: str | int | None = None
    """Bytes of a value with its headers, such as `"64KiB"`. By default the server's limit for
    messages."""
    storage: Literal["file", "memory"] = "file"
    """Where the server keeps it."""
    limit_marker_ttl: str | None = None
    """How long a marker is kept that tells watchers that a key has expired, at least `"1s"`. With
    it, writes may give a key a time to live of its own, which the server raises to this one if
    `history` is more than 1. By default they may not."""
    compression: Literal["none", "s2"] | None = None
    """How the server compresses it. By default not at all."""


class ObjectsDecl(Strict, frozen=True):
    """`[objects.x]`: the object store x, whose stream is `OBJ_x`."""

    ttl: str | None = None
    """How long each object is kept, such as `"7d"`. By default until it is replaced or deleted."""
    max_bytes: str | int | None = None
    """Bytes of the whole store, such as `"10GiB"`: a write beyond is refused. By default no
    limit."""
    storage: Literal["file", "memory"] = "file"
    """Where the server keeps it."""
    compression: Literal["none", "s2"] | None = None
    """How the server compresses it. By default not at all."""
