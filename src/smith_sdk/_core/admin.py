"""The JetStream API in raw JSON: what nats-py's own structs would lose (unknown fields, integer nanoseconds) stays as it is.

Errors are told apart by `err_code`, never by class or text: the numbers are nats-server's (server/errors.json).
"""

from __future__ import annotations

import base64
from typing import Any, Final

import msgspec

from ..errors import (
    ConsumerNotFound,
    JetStreamDisabled,
    JetStreamError,
    MessageNotFound,
    PayloadTooLarge,
    PublishError,
    QueueFull,
    StreamNotFound,
    TopologyRefused,
    WrongSequence,
    WrongStream,
)
from .replies import API_TIMEOUT, NoResponders, Replies

API: Final = "$JS.API"
NANOS: Final = 1_000_000_000
APPLY: Final = "run `smith streams apply` to create what the contract declares"

_NO_CLUSTER: Final = 10074
DISABLED: Final = frozenset({10039, 10076})
_STREAM_NOT_FOUND: Final = 10059
_CONSUMER_NOT_FOUND: Final = 10014
_MESSAGE_NOT_FOUND: Final = 10037
WRONG_LAST_SEQUENCE: Final = 10071
_FULL: Final = frozenset({10077, 10047, 10028, 10002, 10023})
_TOO_LARGE: Final = frozenset({10054})
_WRONG_STREAM: Final = frozenset({10060})
_WRONG_SEQUENCE: Final = frozenset({WRONG_LAST_SEQUENCE, 10070, 10164})


class ApiError(msgspec.Struct, frozen=True):
    """The `error` of a JetStream reply."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message read out of a stream by sequence or subject. `headers` as stored, `time` in RFC 3339."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    time: str


def disabled(where: str) -> JetStreamDisabled:
    return JetStreamDisabled(
        f"JetStream is off on {where}, or for this account: start nats-server with -js, or enable it for the account",
        err_code=10039,
        code=503,
    )


def api_error(
    error: ApiError, *, stream: str | None = None, consumer: str | None = None, where: str = "the server"
) -> JetStreamError:
    """The typed error for what the API answered about `stream` or `consumer`."""
    facts: dict[str, Any] = {"err_code": error.err_code, "code": error.code, "stream": stream, "consumer": consumer}
    said = f"{error.description} (err_code {error.err_code})"
    if error.err_code in DISABLED or (error.code == 503 and error.err_code == 0):
        return disabled(where)
    if error.err_code == _STREAM_NOT_FOUND:
        return StreamNotFound(f"stream {stream} is not on {where}: {APPLY}", **facts)
    if error.err_code == _CONSUMER_NOT_FOUND:
        return ConsumerNotFound(f"consumer {consumer} is not on stream {stream}: {APPLY}", **facts)
    if error.err_code == _MESSAGE_NOT_FOUND:
        return MessageNotFound(f"stream {stream} has no such message: {said}", **facts)
    if error.err_code == _NO_CLUSTER:
        said += "; a single server takes the dev profile (`smith streams apply --profile dev`)"
    name = f"consumer {consumer} of stream {stream}" if consumer else f"stream {stream}"
    return TopologyRefused(f"the server refused {name}: {said}", **facts)


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


class Admin:
    """Calls of the JetStream API. Durations in its JSON are integer nanoseconds. Every call takes at most `API_TIMEOUT` seconds."""

    def __init__(self, replies: Replies, where: str = "the server") -> None:
        self._replies = replies
        self.where = where

    async def call(
        self, verb: str, body: object = None, *, stream: str | None = None, consumer: str | None = None
    ) -> dict[str, Any]:
        """Send `body` (an object, None for none) to `$JS.API.<verb>`; return the JSON object it answers.

        Raises `JetStreamDisabled`, `StreamNotFound`, `ConsumerNotFound`, `MessageNotFound`, `TopologyRefused`, `DeadlineExceeded`.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            reply = await self._replies.request(f"{API}.{verb}", data, timeout=API_TIMEOUT)
        except NoResponders:
            raise disabled(self.where) from None
        answer = msgspec.json.decode(reply.data, type=dict[str, Any])
        if "error" in answer:
            raise api_error(msgspec.convert(answer["error"], ApiError), stream=stream, consumer=consumer, where=self.where)
        return answer

    async def account(self) -> dict[str, Any]:
        """Limits, usage and API level of the account."""
        return await self.call("INFO")

    async def stream_info(self, stream: str) -> dict[str, Any]:
        return await self.call(f"STREAM.INFO.{stream}", stream=stream)

    async def stream_create(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.CREATE.{config['name']}", config, stream=config["name"])

    async def stream_update(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.UPDATE.{config['name']}", config, stream=config["name"])

    async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any]:
        return await self.call(f"CONSUMER.INFO.{stream}.{consumer}", stream=stream, consumer=consumer)

    async def consumer_write(self, stream: str, config: dict[str, Any], action: str) -> dict[str, Any]:
        """`action` is "create" or "update": without one the server would silently do either."""
        name = config["durable_name"]
        body = {"stream_name": stream, "config": config, "action": action}
        return await self.call(f"CONSUMER.CREATE.{stream}.{name}", body, stream=stream, consumer=name)

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

    async def message(self, stream: str, seq: int) -> StoredMessage:
        """The message at `seq`; raises `MessageNotFound`."""
        return await self._get(stream, {"seq": seq})

    async def _get(self, stream: str, query: dict[str, Any]) -> StoredMessage:
        found = (await self.call(f"STREAM.MSG.GET.{stream}", query, stream=stream))["message"]
        return StoredMessage(
            subject=found["subject"],
            seq=found["seq"],
            data=base64.b64decode(found.get("data") or ""),
            headers=_headers(base64.b64decode(found.get("hdrs") or "")),
            time=found["time"],
        )


def _headers(block: bytes) -> dict[str, str]:
    """A stored header block ("NATS/1.0" and one `Name: value` a line) as a dict."""
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
