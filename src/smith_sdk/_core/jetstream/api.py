"""The JetStream API in raw JSON: what nats-py's own structs would lose (unknown fields, integer nanoseconds) stays as it is.

Errors are told apart by `err_code`, never by class or text: the numbers are nats-server's (server/errors.json).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ...errors import (
    AlreadyExists,
    ChangeRefused,
    ConsumerNotFound,
    DeadlineExceeded,
    JetStreamDisabled,
    JetStreamError,
    MessageNotFound,
    NotEnoughRoom,
    PayloadTooLarge,
    PublishError,
    QueueFull,
    StreamNotFound,
    SubjectOverlap,
    TopologyRefused,
    WrongSequence,
    WrongStream,
)
from ..connection.connection import RawMessage
from ..connection.headers import read as read_headers
from ..connection.request_reply import API_TIMEOUT, NoResponders, RequestReply

API: Final = "$JS.API"
NANOS: Final = 1_000_000_000
APPLY: Final = "run `smith streams apply` to create what the contract declares"

_RELEASES: Final = {0: "before 2.11", 1: "2.11", 2: "2.12", 4: "2.14", 5: "2.15"}
"""The first nats-server of an API level."""
NEVER: Final = "0001-01-01T00:00:00Z"
PAUSE_LEVEL: Final = 1
RESET_LEVEL: Final = 4

DISABLED: Final = frozenset({10039, 10076})
_STREAM_NOT_FOUND: Final = 10059
_MESSAGE_NOT_FOUND: Final = 10037
WRONG_LAST_SEQUENCE: Final = 10071
_ATTEMPTS: Final = 4
_SAFE_TO_REPEAT: Final = (
    "INFO",
    "STREAM.INFO.",
    "STREAM.LIST",
    "STREAM.MSG.GET.",
    "STREAM.CREATE.",
    "STREAM.UPDATE.",
    "CONSUMER.INFO.",
    "CONSUMER.LIST.",
    "CONSUMER.CREATE.",
    "CONSUMER.PAUSE.",
)
"""Calls that change nothing, or nothing more when they are made twice: a config is written as a whole."""

_REFUSALS: Final[dict[type[TopologyRefused], dict[int, str]]] = {
    AlreadyExists: dict.fromkeys((10058, 10148), "`smith streams plan` shows how the two differ, `smith streams apply` mends it"),
    SubjectOverlap: {
        10065: "one stream keeps a message: narrow the subjects of one of the two, or remove the other stream",
        10099: "on a work queue give each consumer a filter; to share the work, run more workers on one",
        10100: "on a work queue give each consumer a filter that no other meets",
        10138: "no two filters of a consumer may meet: keep the wider one",
    },
    NotEnoughRoom: {
        10002: "lower the streams' sizes with a profile, or raise the account's limits",
        10005: "no servers suit placement and replicas: change these, or start more servers",
        10023: "the servers have not the resources: lower the sizes with a profile, or give them more",
        10026: "the stream or the account has its greatest number of consumers: remove one, or raise the limit",
        10027: "the account has its greatest number of streams: remove one, or raise the limit",
        10028: "lower max_bytes of memory streams with a profile, or raise max_mem of the server or the account",
        10047: "lower max_bytes with a profile (`fit`), or raise max_file of the server or the account",
        10074: "a single server takes the dev profile (`smith streams apply --profile dev`)",
        10113: "the account wants a limit on every stream: declare max_bytes",
    },
    ChangeRefused: {
        10012: "declare a consumer of another name, and move over to it",
        10055: "a mirror is made with its stream: declare a stream of another name",
        10204: 'it goes back no further than it began, and to any sequence only with deliver_policy = "all": leave out the sequence',
        10110: "it is append-only by its declaration (deny_purge), which no server takes back: its limits and max_age thin it out",
    },
}
_ADVICE: Final = {code: (kind, advice) for kind, codes in _REFUSALS.items() for code, advice in codes.items()}
_INVALID: Final = {
    10025: "this nats-server does not know a key of it: upgrade the server, or take the key out of the spec",
    10052: "mend the declaration in the spec",
    10084: "a pull consumer of a work queue acknowledges each message",
    10098: "a work queue wants ack_policy explicit",
    10101: 'a work queue wants deliver_policy = "all"',
    10116: "let max_deliver be above the number of its backoff steps, or -1",
    10136: "give the filter in one form only",
}
_NOT_YET: Final = frozenset({10126, 10049})
"""More replicas than the stream: a server of the cluster that does not know yet that it has more by now. No store: that of a stream of the
same name, deleted a moment ago, is still being removed."""
_MOMENT: Final = 0.1
_STREAM_CHANGE: Final = 10052
_NO_SUCH_CONSUMER: Final = frozenset({10014, 10149})
_FULL: Final = frozenset({10077, 10047, 10028, 10002, 10023})
_TOO_LARGE: Final = frozenset({10054})
_WRONG_STREAM: Final = frozenset({10060})
_WRONG_SEQUENCE: Final = frozenset({WRONG_LAST_SEQUENCE, 10070, 10164})


class ApiError(msgspec.Struct, frozen=True):
    """The `error` of a JetStream reply."""

    code: int = 0
    err_code: int = 0
    description: str = ""


PURGE_DENIED: Final = ApiError(code=500, err_code=10110, description="stream purge not permitted")


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message read out of a stream by sequence or subject. `headers` as stored, `time` in RFC 3339."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    time: str


def release(level: int) -> str:
    """The nats-server of an API level, in words."""
    return f"nats-server {_RELEASES[level]}" if level in _RELEASES else "nats-server of another release"


def moment(text: str) -> datetime | None:
    """A time of the server's (RFC 3339) in UTC, to the microsecond; None for `NEVER`."""
    return None if text == NEVER else datetime.fromisoformat(text).astimezone(UTC)


def disabled(where: str) -> JetStreamDisabled:
    return JetStreamDisabled(
        f"JetStream is off on {where}, or for this account: start nats-server with -js, or enable it for the account",
        err_code=10039,
        code=503,
    )


def api_error(
    error: ApiError, *, stream: str | None = None, consumer: str | None = None, where: str = "the server", verb: str = ""
) -> JetStreamError:
    """The typed error for what the API answered to `verb` about `stream` or `consumer`."""
    facts: dict[str, Any] = {"err_code": error.err_code, "code": error.code, "stream": stream, "consumer": consumer}
    said = f"{error.description} (err_code {error.err_code})"
    if error.err_code in DISABLED or (error.code == 503 and error.err_code == 0):
        return disabled(where)
    if error.err_code == _STREAM_NOT_FOUND:
        return StreamNotFound(f"stream {stream} is not on {where}: {APPLY}", **facts)
    if error.err_code in _NO_SUCH_CONSUMER:
        return ConsumerNotFound(f"consumer {consumer} is not on stream {stream}: {APPLY}", **facts)
    if error.err_code == _MESSAGE_NOT_FOUND:
        return MessageNotFound(f"stream {stream} has no such message: {said}", **facts)
    kind, advice = _ADVICE.get(error.err_code, (TopologyRefused, _INVALID.get(error.err_code, "")))
    if error.err_code == _STREAM_CHANGE and verb.startswith("STREAM.UPDATE"):
        kind, advice = ChangeRefused, "mend what contradicts itself, or declare a stream of another name for what cannot change"
    name = f"consumer {consumer} of stream {stream}" if consumer else f"stream {stream}"
    return kind(f"the server refused {name}: {said}{'; ' if advice else ''}{advice}", **facts)


def publish_error(error: ApiError, *, subject: str, stream: str | None, msg_id: str | None) -> PublishError:
    """The typed error for a publish that the stream answered with `error`; the message is not stored."""
    facts: dict[str, Any] = {
        "err_code": error.err_code,
        "code": error.code,
        "stream": stream,
        "subject": subject,
        "msg_id": msg_id,
    }
    said = f"{error.description} (err_code {error.err_code})"
    if error.err_code in _FULL:
        return QueueFull(f"stream {stream} is full and refused {subject}: {said}; publish again when there is room", **facts)
    if error.err_code in _TOO_LARGE:
        return PayloadTooLarge(f"the payload for {subject} is over the limit of stream {stream}: {said}", **facts)
    if error.err_code in _WRONG_STREAM:
        return WrongStream(f"{subject} belongs to another stream than {stream} on this server: {said}; {APPLY}", **facts)
    if error.err_code in _WRONG_SEQUENCE:
        return WrongSequence(f"{subject} has moved on: {said}", **facts)
    return PublishError(f"stream {stream} refused {subject}: {said}", **facts)


class JetStreamApi:
    """Calls of the JetStream API. Durations in its JSON are integer nanoseconds. Every call takes at most `API_TIMEOUT` seconds."""

    def __init__(self, replies: RequestReply, where: str = "the server") -> None:
        self._requests = replies
        self.where = where

    async def call(
        self, verb: str, body: object = None, *, stream: str | None = None, consumer: str | None = None
    ) -> dict[str, Any]:
        """Send `body` (an object, None for none) to `$JS.API.<verb>`; return the JSON object it answers.

        Raises `JetStreamDisabled`, `StreamNotFound`, `ConsumerNotFound`, `MessageNotFound`, `TopologyRefused`, `DeadlineExceeded`.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            reply = await self._ask(f"{API}.{verb}", data, again=verb.startswith(_SAFE_TO_REPEAT))
        except NoResponders:
            raise disabled(self.where) from None
        answer = msgspec.json.decode(reply.data, type=dict[str, Any])
        if "error" in answer:
            raise api_error(
                msgspec.convert(answer["error"], ApiError), stream=stream, consumer=consumer, where=self.where, verb=verb
            )
        return answer

    async def _ask(self, subject: str, data: bytes, *, again: bool) -> RawMessage:
        """In a cluster, what is asked while a stream elects its leader is never answered: ask again, what may be asked twice."""
        share = API_TIMEOUT / (_ATTEMPTS if again else 1)
        until = time.monotonic() + API_TIMEOUT - share / 2
        while True:
            try:
                return await self._requests.request(subject, data, timeout=share)
            except DeadlineExceeded:
                if time.monotonic() >= until:
                    raise DeadlineExceeded(f"no reply on {subject} within {API_TIMEOUT:g} s", timeout=API_TIMEOUT) from None

    async def _write(self, verb: str, body: object, *, stream: str, consumer: str | None = None) -> dict[str, Any]:
        """`call`, again while the server is about to get ready for it."""
        until = time.monotonic() + API_TIMEOUT
        while True:
            try:
                return await self.call(verb, body, stream=stream, consumer=consumer)
            except TopologyRefused as error:
                if error.err_code not in _NOT_YET or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_MOMENT)

    async def account(self) -> dict[str, Any]:
        """Limits, usage and API level of the account."""
        return await self.call("INFO")

    async def stream_info(self, stream: str) -> dict[str, Any]:
        return await self.call(f"STREAM.INFO.{stream}", stream=stream)

    async def stream_create(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self._write(f"STREAM.CREATE.{config['name']}", config, stream=config["name"])

    async def stream_update(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.UPDATE.{config['name']}", config, stream=config["name"])

    async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any]:
        return await self.call(f"CONSUMER.INFO.{stream}.{consumer}", stream=stream, consumer=consumer)

    async def consumer_write(self, stream: str, config: dict[str, Any], action: str) -> dict[str, Any]:
        """`action` is "create" or "update": without one the server would silently do either."""
        name = config["durable_name"]
        body = {"stream_name": stream, "config": config, "action": action}
        return await self._write(f"CONSUMER.CREATE.{stream}.{name}", body, stream=stream, consumer=name)

    async def stream_delete(self, stream: str) -> None:
        await self.call(f"STREAM.DELETE.{stream}", stream=stream)

    async def consumer_delete(self, stream: str, consumer: str) -> None:
        await self.call(f"CONSUMER.DELETE.{stream}.{consumer}", stream=stream, consumer=consumer)

    async def consumer_pause(self, stream: str, consumer: str, until: str | None) -> dict[str, Any]:
        """Deliver nothing until then (RFC 3339); None, or a time that is over, ends a pause."""
        body = {} if until is None else {"pause_until": until}
        return await self.call(f"CONSUMER.PAUSE.{stream}.{consumer}", body, stream=stream, consumer=consumer)

    async def consumer_reset(self, stream: str, consumer: str, seq: int | None) -> dict[str, Any]:
        """Deliver again from `seq` on, None for what is not acknowledged. The server never answers about a consumer that is not there."""
        body = {} if seq is None else {"seq": seq}
        return await self.call(f"CONSUMER.RESET.{stream}.{consumer}", body, stream=stream, consumer=consumer)

    async def stream_purge(self, stream: str, request: dict[str, Any]) -> int:
        """Remove what `request` says (filter, seq, keep); return how many messages that were."""
        removed: int = (await self.call(f"STREAM.PURGE.{stream}", request, stream=stream))["purged"]
        return removed

    async def require_level(self, level: int, what: str) -> None:
        """Raise `ChangeRefused` where the server is too old for `what`: some do not answer what they do not know."""
        has = (await self.account()).get("api", {}).get("level", 0)
        if has < level:
            raise ChangeRefused(
                f"{what} needs API level {level} ({release(level)}), and {self.where} has {has} ({release(has)}): upgrade the server"
            )

    async def streams(self, subject: str) -> list[dict[str, Any]]:
        """Every stream that captures something of what `subject` (wildcards allowed) matches, page after page."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.call("STREAM.LIST", {"offset": len(found), "subject": subject})
            found += page.get("streams") or []
            if len(found) >= page["total"] or not page.get("streams"):
                return found

    async def gaps(self, stream: str) -> tuple[int, list[int]]:
        """The first sequence of `stream`, and those after it that it no longer holds."""
        state = (await self.call(f"STREAM.INFO.{stream}", {"deleted_details": True}, stream=stream))["state"]
        return max(1, state["first_seq"]), state.get("deleted") or []

    async def subject_counts(self, stream: str, subject: str = ">") -> AsyncIterator[int]:
        """How many messages each subject of `stream` that `subject` (wildcards allowed) matches holds, page after page."""
        seen = 0
        while True:
            page = await self.call(f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": seen}, stream=stream)
            counts = page["state"].get("subjects") or {}
            for count in counts.values():
                yield count
            seen += len(counts)
            if not counts or seen >= page.get("total", 0):
                return

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """Every consumer of `stream`, page after page."""
        found: list[dict[str, Any]] = []
        while True:
            page = await self.call(f"CONSUMER.LIST.{stream}", {"offset": len(found)}, stream=stream)
            found += page.get("consumers") or []
            if len(found) >= page["total"] or not page.get("consumers"):
                return found

    async def last_message(self, stream: str, subject: str) -> StoredMessage:
        """The newest message on `subject`; raises `MessageNotFound`."""
        return await self._get(stream, {"last_by_subj": subject})

    async def next_message(self, stream: str, seq: int, subject: str) -> StoredMessage:
        """The first message on `subject` (wildcards allowed) at or after sequence `seq`; raises `MessageNotFound`."""
        return await self._get(stream, {"seq": seq, "next_by_subj": subject})

    async def message_since(self, stream: str, time: str) -> StoredMessage:
        """The first message stored at that time (RFC 3339) or later; raises `MessageNotFound`."""
        return await self._get(stream, {"start_time": time})

    async def message(self, stream: str, seq: int) -> StoredMessage:
        """The message at `seq`; raises `MessageNotFound`."""
        return await self._get(stream, {"seq": seq})

    async def _get(self, stream: str, query: dict[str, Any]) -> StoredMessage:
        found = (await self.call(f"STREAM.MSG.GET.{stream}", query, stream=stream))["message"]
        return StoredMessage(
            subject=found["subject"],
            seq=found["seq"],
            data=base64.b64decode(found.get("data") or ""),
            headers=read_headers(base64.b64decode(found.get("hdrs") or "")),
            time=found["time"],
        )
