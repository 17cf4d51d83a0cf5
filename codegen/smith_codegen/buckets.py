"""The streams of key-value buckets and object stores, written out as NATS lays them out, so that
plans, checks and profiles find them among the others. `Spec.written` has their origin.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .bucket_spec import BucketDecl, ObjectsDecl
from .locate import Path
from .spec import Spec
from .topology_spec import StreamDecl

KEYS: Final = {
    "allow_msg_ttl": "limit_marker_ttl",
    "max_age": "ttl",
    "max_msg_size": "max_value_size",
    "max_msgs_per_subject": "history",
    "subject_delete_marker_ttl": "limit_marker_ttl",
}
"""Keys of streams, and those of buckets that they are made of."""


def bucket_stream(name: str) -> str:
    return f"KV_{name}"


def object_stream(name: str) -> str:
    return f"OBJ_{name}"


def expand(spec: Spec) -> Spec:
    """`spec` with the streams of its own buckets and object stores."""
    streams, written = dict(spec.streams), dict(spec.written)
    made = [(bucket_stream(name), ("buckets", name), _of_bucket(name, decl)) for name, decl in spec.buckets.items()]
    made += [(object_stream(name), ("objects", name), _of_objects(name, decl)) for name, decl in spec.objects.items()]
    for stream, origin, decl in made:
        if stream not in streams and spec.is_own(origin):  # else `bucket_checks.py` says so
            streams[stream] = decl
            written |= _origins(("streams", stream), origin)
    return msgspec.structs.replace(spec, streams=streams, written=written)


def _origins(stream: Path, origin: Path) -> dict[Path, Path]:
    return {stream: origin, **{(*stream, key): (*origin, own) for key, own in KEYS.items()}}


def _of_bucket(name: str, decl: BucketDecl) -> StreamDecl:
    return StreamDecl(
        doc=decl.doc,
        subjects=(f"$KV.{name}.>",),
        external=True,
        discard="new",
        storage=decl.storage,
        max_age=decl.ttl,
        max_bytes=decl.max_bytes,
        max_msg_size=decl.max_value_size,
        max_msgs_per_subject=decl.history,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_msg_ttl=None if decl.limit_marker_ttl is None else True,
        subject_delete_marker_ttl=decl.limit_marker_ttl,
        compression=decl.compression,
    )


def _of_objects(name: str, decl: ObjectsDecl) -> StreamDecl:
    return StreamDecl(
        doc=decl.doc,
        subjects=(f"$O.{name}.C.>", f"$O.{name}.M.>"),
        external=True,
        discard="new",
        storage=decl.storage,
        max_age=decl.ttl,
        max_bytes=decl.max_bytes,
        allow_direct=True,
        allow_rollup_hdrs=True,
        compression=decl.compression,
    )
