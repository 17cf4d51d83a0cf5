"""What the SDK relies on in the answers of the JetStream API, by request.

An answer is kept as plain JSON, with the fields that this release does not know. Here it is checked
once, where it arrives, that the fields which are read are there and have their types: a hostile
server, or another client that may publish to an inbox, can answer anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

NEVER: Final = "0001-01-01T00:00:00Z"
"""A time that has not been (the zero value of Go's time.Time)."""

Json = dict[str, Any]
_Number = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Time:
    """A time of the server's, in RFC 3339."""

    __slots__ = ()


class _Error(msgspec.Struct):
    code: _Number = 0
    err_code: _Number = 0
    description: str = ""


class _Refused(msgspec.Struct):
    error: _Error


class _Peer(msgspec.Struct):
    name: str
    current: bool
    active: _Count
    offline: bool = False
    lag: _Count = 0


class _Cluster(msgspec.Struct):
    leader: str = ""
    replicas: list[_Peer] | None = None


class _State(msgspec.Struct):
    messages: _Count
    bytes: _Count
    first_seq: _Count
    last_seq: _Count
    consumer_count: _Count
    first_ts: _Time
    last_ts: _Time
    deleted: list[_Count] | None = None
    subjects: dict[str, _Count] | None = None


_CONFIG_TYPES: Final[Mapping[str, Any]] = {
    "name": str,
    "durable_name": str,
    "description": str,
    "subjects": list[str],
    "retention": str,
    "discard": str,
    "storage": str,
    "compression": str,
    "num_replicas": _Count,
    "max_age": _Number,
    "max_bytes": _Number,
    "max_msgs": _Number,
    "max_msgs_per_subject": _Number,
    "max_msg_size": _Number,
    "max_consumers": _Number,
    "duplicate_window": _Count,
    "subject_delete_marker_ttl": _Number,
    "placement": Json,
    "republish": Json,
    "subject_transform": Json,
    "mirror": Json,
    "sources": list[Json],
    "consumer_limits": Json,
    "metadata": dict[str, str],
    "deliver_policy": str,
    "deliver_subject": str,
    "ack_policy": str,
    "opt_start_seq": _Count,
    "opt_start_time": _Time,
    "pause_until": _Time,
    "ack_wait": _Number,
    "backoff": list[_Number],
    "filter_subject": str,
    "filter_subjects": list[str],
    "max_ack_pending": _Number,
    "max_deliver": _Number,
    "max_waiting": _Number,
    "max_batch": _Number,
    "max_expires": _Number,
    "inactive_threshold": _Number,
    "priority_groups": list[str],
    "priority_policy": str,
    "priority_timeout": _Number,
}
_Config = msgspec.defstruct("_Config", [(key, kind | None, None) for key, kind in _CONFIG_TYPES.items()])
_StreamConfig = msgspec.defstruct("_StreamConfig", [("name", str), ("num_replicas", _Count)], bases=(_Config,), kw_only=True)


class _Stream(msgspec.Struct):
    config: _StreamConfig  # type: ignore[valid-type]
    state: _State
    created: _Time
    ts: _Time
    cluster: _Cluster | None = None
    total: _Count = 0


class _Position(msgspec.Struct):
    consumer_seq: _Count
    stream_seq: _Count
    last_active: _Time | UnsetType = UNSET


class _Group(msgspec.Struct):
    group: str
    pinned_client_id: str = ""
    pinned_ts: _Time | UnsetType = UNSET


class _Consumer(msgspec.Struct):
    stream_name: str
    name: str
    created: _Time
    config: _Config  # type: ignore[valid-type]
    ts: _Time
    delivered: _Position
    ack_floor: _Position
    num_pending: _Count
    num_ack_pending: _Count
    num_redelivered: _Count
    num_waiting: _Count
    paused: bool = False
    cluster: _Cluster | None = None
    priority_groups: list[_Group] | None = None


class _StreamPage(msgspec.Struct):
    total: _Count
    streams: list[_Stream] | None = None
    limit: _Count = 0
    missing: list[str] | None = None
    offline: dict[str, str] | None = None


class _ConsumerPage(msgspec.Struct):
    total: _Count
    consumers: list[_Consumer] | None = None
    limit: _Count = 0
    missing: list[str] | None = None
    offline: dict[str, str] | None = None


class _Found(msgspec.Struct):
    subject: str
    seq: _Count
    time: _Time
    data: bytes | None = None  # base64
    hdrs: bytes | None = None


class _Message(msgspec.Struct):
    message: _Found


class _Purged(msgspec.Struct):
    purged: _Count


class _Paused(msgspec.Struct):
    pause_until: _Time
    paused: bool


class _Level(msgspec.Struct):
    level: _Count = 0


class _Limits(msgspec.Struct):
    max_memory: _Number = -1
    max_storage: _Number = -1
    max_streams: _Number = -1
    max_consumers: _Number = -1


class _Usage(msgspec.Struct):
    memory: _Count = 0
    storage: _Count = 0
    streams: _Count = 0
    consumers: _Count = 0
    limits: _Limits | UnsetType = UNSET


class _Account(_Usage):
    api: _Level | UnsetType = UNSET
    tiers: dict[str, _Usage] | None = None


_SHAPES: Final[tuple[tuple[str, Any], ...]] = (
    ("STREAM.INFO.", _Stream),
    ("STREAM.CREATE.", _Stream),
    ("STREAM.UPDATE.", _Stream),
    ("STREAM.LIST", _StreamPage),
    ("STREAM.MSG.GET.", _Message),
    ("STREAM.PURGE.", _Purged),
    ("CONSUMER.INFO.", _Consumer),
    ("CONSUMER.CREATE.", _Consumer),
    ("CONSUMER.RESET.", _Consumer),
    ("CONSUMER.LIST.", _ConsumerPage),
    ("CONSUMER.PAUSE.", _Paused),
    ("INFO", _Account),
)


def read_answer(verb: str, data: bytes) -> Json:
    """The JSON object of an answer to `verb`. Raises `ValueError` unless it is as expected."""
    try:
        answer: Json = msgspec.json.decode(data, type=Json)
        shape = _Refused if "error" in answer else next((one for prefix, one in _SHAPES if verb.startswith(prefix)), None)
        if shape is not None:
            msgspec.convert(answer, shape, dec_hook=_time)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    return answer  # DecodeError and UnicodeDecodeError are ValueErrors


def _time(kind: type[Any], value: Any) -> Any:
    """What `api.parse_time` can read."""
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError as error:
        if value != NEVER:
            raise ValueError(str(error)) from None
    return _Time()
