"""From an `err_code` to a typed error, for calls of the JetStream API and for publishes.

The numbers are nats-server's (server/errors.json). Classes and texts differ between its releases:
neither is looked at.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ...errors import (
    AlreadyExists,
    ChangeRefused,
    ConsumerNotFound,
    JetStreamDisabled,
    JetStreamError,
    MessageNotFound,
    NoInterest,
    NotEnoughRoom,
    PayloadTooLarge,
    PublishError,
    PublishUnconfirmed,
    QueueFull,
    SmithError,
    StreamNotFound,
    SubjectOverlap,
    TopologyRefused,
    WrongSequence,
    WrongStream,
)
from .publish_request import PublishRequest

APPLY: Final = "run `smith streams apply` to create what the contract declares"

_DISABLED: Final = frozenset({10039, 10076})
_STREAM_NOT_FOUND: Final = 10059
_NO_SUCH_CONSUMER: Final = frozenset({10014, 10149})
_MESSAGE_NOT_FOUND: Final = 10037
WRONG_LAST_SEQUENCE: Final = 10071
IN_PROCESS: Final = 10158
"""An earlier sending of the same id waits for the cluster's majority: not decided yet."""
NOT_YET: Final = frozenset({10126, 10049})
"""Refusals that end by themselves.

10126, more replicas than the stream has: a server of the cluster does not know yet that it has more
by now. 10049, no store: that of a stream of the same name, just deleted, is still being removed.
"""

_REFUSALS: Final[dict[type[TopologyRefused], dict[int, str]]] = {
    AlreadyExists: dict.fromkeys((10058, 10148), "`smith streams plan` shows the difference, `smith streams apply` updates it"),
    SubjectOverlap: {
        10065: "only one stream may capture a subject: narrow the subjects of one of the two, or delete the other stream",
        10099: "give each consumer of a work queue a filter; to share the work, run more workers on one consumer",
        10100: "give each consumer of a work queue a filter that overlaps no other",
        10138: "the filters of a consumer may not overlap: keep the wider one",
    },
    NotEnoughRoom: {
        10002: "lower the streams' sizes with a profile, or raise the account's limits",
        10005: "no servers match placement and replicas: change these, or start more servers",
        10023: "the servers lack the resources: lower the sizes with a profile, or add resources",
        10026: "the stream or the account has its maximum number of consumers: delete one, or raise the limit",
        10027: "the account has its maximum number of streams: delete one, or raise the limit",
        10028: "lower max_bytes of memory streams with a profile, or raise max_mem of the server or the account",
        10047: "lower max_bytes with a profile (`fit`), or raise max_file of the server or the account",
        10074: "a single server supports the dev profile (`smith streams apply --profile dev`)",
        10113: "the account requires a limit on every stream: declare max_bytes",
    },
    ChangeRefused: {
        10012: "declare a consumer of another name, and switch to it",
        10055: "a stream is a mirror from its creation on: declare a stream of another name",
        10204: (
            "a consumer cannot be reset to before its start, and to any sequence only with "
            'deliver_policy = "all": leave out the sequence'
        ),
        10110: "it is declared append-only (deny_purge), which cannot be undone: only its limits and max_age delete messages",
    },
}
_ADVICE: Final = {code: (kind, advice) for kind, codes in _REFUSALS.items() for code, advice in codes.items()}
_INVALID: Final = {
    10025: "this nats-server does not know one of its keys: upgrade the server, or remove the key from the spec",
    10052: "correct the declaration in the spec",
    10084: "a pull consumer of a work queue must acknowledge each message",
    10098: 'a work queue requires ack_policy = "explicit"',
    10101: 'a work queue requires deliver_policy = "all"',
    10116: "max_deliver must be -1, or above the number of backoff steps",
    10136: "use either filter_subject or filter_subjects",
}
_INVALID_CONFIG: Final = 10052
"""Also for an update that changes what cannot be changed."""
_FULL: Final = frozenset({10077, 10047, 10028, 10002, 10023})
_TOO_LARGE: Final = frozenset({10054})
_WRONG_STREAM: Final = frozenset({10060})
_WRONG_SEQUENCE: Final = frozenset({WRONG_LAST_SEQUENCE, 10070, 10164})


class ApiError(msgspec.Struct, frozen=True):
    """The `error` of a reply of the JetStream API."""

    code: int = 0
    err_code: int = 0
    description: str = ""


NO_QUORUM: Final = 10008
"""JetStream is not available: the servers, or those of a stream, have no majority or no leader."""
PURGE_DENIED: Final = ApiError(code=500, err_code=10110, description="stream purge not permitted")


def disabled(where: str) -> JetStreamDisabled:
    """For the server at `where`, which does not answer JetStream's requests."""
    return JetStreamDisabled(
        f"JetStream is not enabled on {where}, or for this account: start nats-server with -js, or enable it for the account",
        err_code=10039,
        code=503,
    )


def no_api(where: str, prefix: str) -> JetStreamDisabled:
    """For the server at `where`, on which nothing answers below another `prefix` than its own."""
    return JetStreamDisabled(
        f"no JetStream API answers at {prefix} on {where}: check js_domain or api_prefix (jetstream_domain or "
        f"jetstream_api_prefix of a context), the leaf node's remote, and the account's imports",
        err_code=10039,
        code=503,
    )


def api_error(
    error: ApiError, *, stream: str | None = None, consumer: str | None = None, where: str = "the server", verb: str = ""
) -> JetStreamError:
    """The typed error for a reply to `verb` about `stream` or its `consumer`."""
    facts: dict[str, Any] = {"err_code": error.err_code, "code": error.code, "stream": stream, "consumer": consumer}
    said = f"{error.description} (err_code {error.err_code})"
    if error.err_code in _DISABLED or (error.code == 503 and error.err_code == 0):
        return disabled(where)
    if error.err_code == _STREAM_NOT_FOUND:
        return StreamNotFound(f"stream {stream} does not exist on {where}: {APPLY}", **facts)
    if error.err_code in _NO_SUCH_CONSUMER:
        return ConsumerNotFound(f"consumer {consumer} does not exist on stream {stream}: {APPLY}", **facts)
    if error.err_code == _MESSAGE_NOT_FOUND:
        return MessageNotFound(f"stream {stream} has no such message: {said}", **facts)
    kind, advice = _ADVICE.get(error.err_code, (TopologyRefused, _INVALID.get(error.err_code, "")))
    if error.err_code == _INVALID_CONFIG and verb.startswith("STREAM.UPDATE"):
        kind, advice = (
            ChangeRefused,
            "correct what contradicts itself, or declare a stream of another name for what cannot be changed",
        )
    name = f"consumer {consumer} of stream {stream}" if consumer else f"stream {stream}" if stream else "the request"
    return kind(f"the server refused {name}: {said}{'; ' if advice else ''}{advice}", **facts)


# ---- errors of one publish


def publish_error(error: ApiError, request: PublishRequest) -> PublishError:
    """The typed error for a `request` that the stream refused: the message is not stored."""
    subject, stream = request.subject, request.stream
    facts: dict[str, Any] = {
        "err_code": error.err_code,
        "code": error.code,
        "stream": stream,
        "subject": subject,
        "msg_id": request.msg_id,
    }
    said = f"{error.description} (err_code {error.err_code})"
    if error.err_code in _FULL:
        return QueueFull(f"stream {stream} is full and refused {subject}: {said}; publish again when there is room", **facts)
    if error.err_code in _TOO_LARGE:
        return PayloadTooLarge(f"the payload for {subject} is over the limit of stream {stream}: {said}", **facts)
    if error.err_code in _WRONG_STREAM:
        return WrongStream(f"{subject} belongs to another stream than {stream} on this server: {said}; {APPLY}", **facts)
    if error.err_code in _WRONG_SEQUENCE:
        return WrongSequence(f"{subject} is not at the expected sequence or id: {said}", **facts)
    return PublishError(f"stream {stream} refused {subject}: {said}", **facts)


def payload_too_large(request: PublishRequest, size: int, limit: int) -> PayloadTooLarge:
    """For a `request` of `size` bytes, headers included, over the connected server's `limit`."""
    return _too_large(request, size, limit, f"the connected server accepts {limit}: raise its max_payload, or publish less")


def over_stream_limit(request: PublishRequest, size: int, limit: int) -> PayloadTooLarge:
    """For a `request` of `size` bytes, headers included, over the `limit` that its stream has."""
    return _too_large(
        request,
        size,
        limit,
        f"stream {request.stream} accepts {limit} (max_msg_size in the bus's profile): publish less, or raise it in the spec",
    )


def _too_large(request: PublishRequest, size: int, limit: int, why: str) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the message for {request.subject} has {size} bytes, {size - len(request.data)} of them headers; {why}",
        stream=request.stream,
        subject=request.subject,
        msg_id=request.msg_id,
        size=size,
        limit=limit,
    )


def wrong_stream(request: PublishRequest, stream: str) -> WrongStream:
    """For a `request` that `stream` acknowledged, although the caller expects another."""
    return WrongStream(
        f"{request.subject} was stored by stream {stream} instead of {request.stream}: {APPLY}",
        stream=stream,
        subject=request.subject,
        msg_id=request.msg_id,
    )


def unconfirmed(request: PublishRequest, why: str, *, may_be_stored: bool) -> PublishUnconfirmed:
    """For a `request` that ends without an acknowledgement."""
    stored = "it may be stored" if may_be_stored else "it was not stored"
    return PublishUnconfirmed(
        f"no acknowledgement for {request.subject}: {why}; {stored}; publishing again with the same id is safe",
        may_be_stored=may_be_stored,
        subject=request.subject,
        msg_id=request.msg_id,
    )


def error_for(request: PublishRequest, error: SmithError) -> SmithError:
    """A copy of `error` for one of the messages that it ends: each future needs its own."""
    if isinstance(error, (StreamNotFound, NoInterest, JetStreamDisabled)):
        return type(error)(str(error), err_code=error.err_code, code=error.code, stream=error.stream, subject=request.subject)
    return type(error)(*error.args)
