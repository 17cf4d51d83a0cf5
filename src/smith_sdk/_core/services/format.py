"""The requests and responses of micro-services, as ADR-32 of NATS has them. No I/O.

The limits are those of the published schemas (`io.nats.micro.v1.*`), and ours for the length of
texts: any client of the account may answer.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

PREFIX: Final = "$SRV"
Verb = Literal["PING", "INFO", "STATS"]

_MAX_LIST: Final = 256
_LONGEST: Final = 256
"""Characters of a name or a version."""
_SEMVER: Final = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?\Z"
)
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9_-]")
_RELEASE: Final = re.compile(r"(?:\d+!)?(\d+)(?:\.(\d+))?(?:\.(\d+))?(.*)", re.DOTALL)

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]+\Z", max_length=256)]
Text = Annotated[str, Meta(max_length=8192)]
Labels = Annotated[dict[str, str], Meta(max_length=_MAX_LIST)]
Count = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]


class EndpointInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a service answers requests on: of a worker, the subjects of its consumer."""

    name: Name
    subject: Text
    queue_group: Text = ""
    metadata: Labels | None = None


class EndpointStats(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint has done. Times are nanoseconds."""

    name: Name
    subject: Text
    queue_group: Text = ""
    num_requests: Count
    num_errors: Count
    last_error: Text
    processing_time: Count
    average_processing_time: Count
    data: msgspec.Raw = msgspec.Raw(b"{}")
    """A JSON object of the service's own."""


class Identity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every response begins with."""

    name: Name
    """The kind of service: its instances share it."""
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    version: Annotated[str, Meta(pattern=_SEMVER, max_length=256)]
    metadata: Labels | None = None


class Ping(Identity, frozen=True, kw_only=True, tag="io.nats.micro.v1.ping_response"):
    """The response to PING."""


class Info(Identity, frozen=True, kw_only=True, tag="io.nats.micro.v1.info_response"):
    """The response to INFO."""

    description: Text
    endpoints: Annotated[tuple[EndpointInfo, ...], Meta(max_length=_MAX_LIST)] = ()


class Stats(Identity, frozen=True, kw_only=True, tag="io.nats.micro.v1.stats_response"):
    """The response to STATS."""

    started: Annotated[datetime, Meta(tz=True)]
    endpoints: Annotated[tuple[EndpointStats, ...], Meta(max_length=_MAX_LIST)]


Response = Ping | Info | Stats
ResponseT = TypeVar("ResponseT", Ping, Info, Stats)
KINDS: Final[dict[type[Any], Verb]] = {Ping: "PING", Info: "INFO", Stats: "STATS"}
"""The request that each kind of response answers."""

_encode: Final = msgspec.json.Encoder().encode
_decoders: Final = {kind: msgspec.json.Decoder(kind) for kind in KINDS}


def encode(response: Response) -> bytes:
    return _encode(response)


def decode(kind: type[ResponseT], data: bytes) -> ResponseT | None:
    """`data` as a response of that kind; None if it is not one."""
    try:
        found = _decoders[kind].decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):  # ValueError: text that is not UTF-8
        return None
    assert isinstance(found, kind)
    return found


def name_of(text: str) -> str:
    """`text` as the name of a service: letters, digits, "-" and "_"."""
    return _NOT_IN_NAMES.sub("_", text) or "_"


def is_name(text: object) -> bool:
    """Whether `text` can be the name of a service or of an endpoint."""
    return isinstance(text, str) and bool(text) and len(text) <= _LONGEST and name_of(text) == text


def is_semver(text: object) -> bool:
    """Whether `text` is a version as semantic versioning writes it."""
    return isinstance(text, str) and len(text) <= _LONGEST and re.fullmatch(_SEMVER, text) is not None


def semver(version: str) -> str:
    """A version of a Python package as semantic versioning writes it: "1.0rc1" is "1.0.0-rc1"."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        return "0.0.0"
    release = ".".join(str(int(part or 0)) for part in found.groups()[:3])
    rest = ".".join(part for part in re.split(r"[^0-9a-zA-Z-]+", found[4]) if part)
    made = f"{release}-{rest}" if rest else release
    return made if re.fullmatch(_SEMVER, made) else release


def requested(subject: str) -> tuple[str, str, str] | None:
    """The verb of a request, and the name and id that it asks for ("" for any); None if it is not
    one."""
    prefix, *tokens = subject.split(".")
    if prefix != PREFIX or not 1 <= len(tokens) <= 3 or tokens[0] not in KINDS.values():
        return None
    verb, name, id = (*tokens, "", "")[:3]
    return verb, name, id
