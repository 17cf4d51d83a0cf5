"""The JetStream API: requests and replies as plain JSON objects."""

# nats-py's structs would lose fields that they do not know, and truncate nanoseconds.

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ...errors import ChangeRefused, DeadlineExceeded, JetStreamError, TopologyRefused
from ..connection.credentials import API_PREFIX
from ..connection.headers import read as read_headers
from ..connection.request_reply import API_TIMEOUT, NoResponders, RequestReply
from .api_errors import NOT_YET, ApiError, api_error, disabled, no_api
from .api_shapes import NEVER as NEVER
from .api_shapes import read_answer

API: Final = API_PREFIX
NANOS: Final = 1_000_000_000
"""In a second: durations in the API's JSON are integer nanoseconds."""
_KEYS: Final = "$KV."
_DOMAIN: Final = re.compile(r"\$JS\.[^.]+\.API")
_MAX_WHY: Final = 300
"""Characters of a decoder's reason in an error message."""

_RELEASES: Final = {0: "before 2.11", 1: "2.11", 2: "2.12", 4: "2.14", 5: "2.15"}
"""The first release of nats-server with an API level; there is no release with level 3."""
PAUSE_LEVEL: Final = 1
"""The API level from which consumers can be paused."""
PIN_LEVEL: Final = 1
"""The API level from which a consumer can pin one of its readers."""
RESET_LEVEL: Final = 4
"""The API level from which consumers can be reset."""

_ATTEMPTS: Final = 4
"""How often a request is sent, within `API_TIMEOUT`, if it may be repeated: in a cluster, one that
arrives during an election is never answered."""
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
"""Requests that change nothing, or nothing more if repeated: a config is written as a whole."""

_BEYOND: Final = 2**40

_LEADERS_WAIT: Final = 4.0
"""Seconds after which nats-server lists without the streams or consumers whose leaders have not
answered it (server/jetstream_cluster.go)."""
_NO_LEADER: Final = f"it has no leader that has answered within {_LEADERS_WAIT:g} s"
_ALL_OFFLINE: Final = "all of its servers are offline"
_NAMED: Final = 5
"""Streams or consumers that an error names."""

_NOT_YET_PAUSE: Final = 0.1
"""Seconds before a request is repeated that was refused with one of `NOT_YET`."""


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was read from a stream by sequence or subject."""

    subject: str
    seq: int
    data: bytes
    headers: dict[str, str]
    """As stored."""
    time: str
    """When it was stored, in RFC 3339."""


class Listing(msgspec.Struct, frozen=True):
    """The streams of an account, or the consumers of a stream, as the server lists them."""

    found: list[dict[str, Any]]
    """The INFO of each whose leader has answered."""
    missing: dict[str, str]
    """The names of the others, and why there is no INFO of each."""
    offline: list[dict[str, Any]]
    """Of those in `missing` whose servers are all offline, what the cluster knows: the config, and
    a state of zeros."""


def not_listed(kind: str, missing: dict[str, str], *, stream: str = "") -> DeadlineExceeded:
    """The error for `missing` streams or consumers (`kind`) of a listing."""
    named = [f"{name}: {why}" for name, why in sorted(missing.items())[:_NAMED]]
    more = f"; and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    where = f" of {stream}" if stream else ""
    return DeadlineExceeded(f"the server has not listed {kind} {'; '.join(named)}{more}{where}", timeout=_LEADERS_WAIT)


def _require_all(kind: str, missing: dict[str, str], *, stream: str = "") -> None:
    if missing:
        raise not_listed(kind, missing, stream=stream)


def _name(info: dict[str, Any]) -> str:
    """The name of a listed stream or consumer; that of an offline one is only in its config."""
    config = info["config"]
    return str(info.get("name") or config.get("name") or config.get("durable_name", ""))


def release_name(level: int) -> str:
    """The release of nats-server with this API level, as text."""
    return f"nats-server {_RELEASES[level]}" if level in _RELEASES else "nats-server of another release"


def parse_time(text: str) -> datetime | None:
    """A time of the server's (RFC 3339) as a datetime in UTC, in microseconds; None for `NEVER`."""
    return None if text == NEVER else datetime.fromisoformat(text).astimezone(UTC)


def to_nanos(text: str) -> int:
    """A time as the server writes it, in nanoseconds since 1970, without rounding.

    One with another zone than Z, which the server does not write, is truncated to microseconds.
    """
    moment, _, fraction = text.removesuffix("Z").partition(".")
    if not text.endswith("Z"):
        return (datetime.fromisoformat(text).astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000
    return int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) * NANOS + int(fraction[:9].ljust(9, "0"))


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LATEST: Final = 253_402_300_800 * NANOS - 1
"""The last nanosecond of the year 9999, since 1970."""


def from_nanos(nanos: int) -> datetime:
    """That many nanoseconds since 1970 as a datetime in UTC, truncated to microseconds.

    A later time than a datetime can be, which payloads of others may have, is the latest.
    """
    whole, rest = divmod(min(nanos, _LATEST), NANOS)
    return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1000)


class JetStreamApi:
    """Calls of the JetStream API. Each takes at most `API_TIMEOUT` seconds.

    Each raises `JetStreamDisabled`, `StreamNotFound`, `ConsumerNotFound`, `MessageNotFound`,
    `TopologyRefused` or another `JetStreamError`; `DeadlineExceeded`, `ConnectionLost`,
    `PermissionDenied`, `BusClosed`.
    """

    def __init__(self, requests: RequestReply, where: str = "the server", *, prefix: str = API) -> None:
        self._requests = requests
        self.prefix = prefix
        """What its subjects begin with: `API`, that of a domain, or that of an import."""
        self.where = where
        """The server's URL, for error messages."""

    def subject(self, verb: str) -> str:
        """The subject of `verb`."""
        return f"{self.prefix}.{verb}"

    def publish_subject(self, subject: str) -> str:
        """Where to publish a message that the stream is to store on `subject`.

        A leaf node does not pass on the keys of another domain (`$KV.<bucket>.<key>`): that domain
        takes them below its API, as it does from nats.go.
        """
        is_key = subject.startswith(_KEYS) and _DOMAIN.fullmatch(self.prefix) is not None
        return self.subject(subject) if is_key else subject

    async def call(
        self, verb: str, body: object = None, *, stream: str | None = None, consumer: str | None = None
    ) -> dict[str, Any]:
        """Send `body` (None for none) as a request; return the JSON object of the reply.

        `stream` and `consumer` are what the request is about, for the error that it may raise.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            attempts = _ATTEMPTS if verb.startswith(_SAFE_TO_REPEAT) else 1
            reply = await self._requests.request(self.subject(verb), data, timeout=API_TIMEOUT, attempts=attempts)
        except NoResponders:
            raise disabled(self.where) if self.prefix == API else no_api(self.where, self.prefix) from None
        try:
            answer = read_answer(verb, reply.data)
        except ValueError as error:
            raise JetStreamError(
                f"the reply of {self.where} to {self.subject(verb)} is not one of the JetStream API: {str(error)[:_MAX_WHY]}",
                stream=stream,
                consumer=consumer,
            ) from None
        if "error" in answer:
            raise api_error(
                msgspec.convert(answer["error"], ApiError), stream=stream, consumer=consumer, where=self.where, verb=verb
            )
        return answer

    async def _write(self, verb: str, body: object, *, stream: str, consumer: str | None = None) -> dict[str, Any]:
        """`call`, repeated while the server is not ready for it: see `NOT_YET`."""
        until = time.monotonic() + API_TIMEOUT
        while True:
            try:
                return await self.call(verb, body, stream=stream, consumer=consumer)
            except TopologyRefused as error:
                if error.err_code not in NOT_YET or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_NOT_YET_PAUSE)

    async def account(self) -> dict[str, Any]:
        """The account's limits, usage and API level."""
        return await self.call("INFO")

    async def stream_info(self, stream: str, *, count: str | None = None) -> dict[str, Any]:
        """With a filter to `count`, `total` is how many subjects of its messages that matches."""
        # Behind the end of the list of these subjects: the server counts them and names none.
        body = None if count is None else {"subjects_filter": count, "offset": _BEYOND}
        return await self.call(f"STREAM.INFO.{stream}", body, stream=stream)

    async def stream_create(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self._write(f"STREAM.CREATE.{config['name']}", config, stream=config["name"])

    async def stream_update(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"STREAM.UPDATE.{config['name']}", config, stream=config["name"])

    async def consumer_info(self, stream: str, consumer: str) -> dict[str, Any]:
        return await self.call(f"CONSUMER.INFO.{stream}.{consumer}", stream=stream, consumer=consumer)

    async def consumer_write(self, stream: str, config: dict[str, Any], action: str) -> dict[str, Any]:
        """`action` is "create" or "update": without one the server silently does either."""
        name = config["durable_name"]
        body = {"stream_name": stream, "config": config, "action": action}
        return await self._write(f"CONSUMER.CREATE.{stream}.{name}", body, stream=stream, consumer=name)

    async def stream_delete(self, stream: str) -> None:
        await self.call(f"STREAM.DELETE.{stream}", stream=stream)

    async def consumer_delete(self, stream: str, consumer: str) -> None:
        await self.call(f"CONSUMER.DELETE.{stream}.{consumer}", stream=stream, consumer=consumer)

    async def consumer_pause(self, stream: str, consumer: str, until: str | None) -> dict[str, Any]:
        """Pause deliveries until that time (RFC 3339); None, or a time in the past, resumes."""
        body = {} if until is None else {"pause_until": until}
        return await self.call(f"CONSUMER.PAUSE.{stream}.{consumer}", body, stream=stream, consumer=consumer)

    async def consumer_reset(self, stream: str, consumer: str, seq: int | None) -> dict[str, Any]:
        """Redeliver from sequence `seq` on; None for what is not acknowledged.

        Times out if the consumer does not exist: the server never answers then.
        """
        body = {} if seq is None else {"seq": seq}
        return await self.call(f"CONSUMER.RESET.{stream}.{consumer}", body, stream=stream, consumer=consumer)

    async def consumer_unpin(self, stream: str, consumer: str, group: str) -> None:
        """Take the pin from the reader that has it; the next one that pulls gets it."""
        await self.call(f"CONSUMER.UNPIN.{stream}.{consumer}", {"group": group}, stream=stream, consumer=consumer)

    async def stream_purge(self, stream: str, request: dict[str, Any]) -> int:
        """Delete the messages that `request` (filter, seq, keep) selects; return how many."""
        purged: int = (await self.call(f"STREAM.PURGE.{stream}", request, stream=stream))["purged"]
        return purged

    async def require_level(self, level: int, what: str) -> None:
        """Raise `ChangeRefused` if the server is too old for `what`: it may not even answer."""
        has = (await self.account()).get("api", {}).get("level", 0)
        if has < level:
            raise ChangeRefused(
                f"{what} needs API level {level} ({release_name(level)}), and {self.where} has {has} ({release_name(has)}): "
                f"upgrade the server"
            )

    async def streams(self, subject: str | None = None) -> list[dict[str, Any]]:
        """The INFO of every stream; with `subject`, of those whose subjects overlap it (wildcards
        allowed).

        Those whose servers are all offline have a state of zeros. Raises `DeadlineExceeded` if some
        other has no leader, after 4 s.
        """
        listing = await self.list_streams(subject)
        known = {info["config"]["name"] for info in listing.offline}
        _require_all("stream", {name: why for name, why in listing.missing.items() if name not in known})
        return listing.found + listing.offline

    async def list_streams(self, subject: str | None = None) -> Listing:
        """The same, and which streams are missing; while some has no leader it takes 4 s."""
        return await self._list("STREAM.LIST", "streams", {} if subject is None else {"subject": subject})

    async def gaps(self, stream: str) -> tuple[int, list[int]]:
        """The first sequence of `stream`, and the sequences after it that are deleted."""
        state = (await self.call(f"STREAM.INFO.{stream}", {"deleted_details": True}, stream=stream))["state"]
        return max(1, state["first_seq"]), state.get("deleted") or []

    async def subject_counts(self, stream: str, subject: str = ">") -> AsyncIterator[int]:
        """The number of messages on each subject of `stream` that `subject` (a pattern) matches."""
        async for counts in self.subject_pages(stream, subject):
            for count in counts.values():
                yield count

    async def subject_pages(self, stream: str, subject: str = ">") -> AsyncIterator[dict[str, int]]:
        """The same by subject, in pages: one request for up to 100,000 subjects."""
        seen = 0
        while True:
            page = await self.call(f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": seen}, stream=stream)
            counts = page["state"].get("subjects") or {}
            if counts:
                yield counts
            seen += len(counts)
            if not counts or seen >= page.get("total", 0):
                return

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """The INFO of every consumer of `stream`.

        Raises `DeadlineExceeded` if some consumer has no leader, after 4 s.
        """
        listing = await self.list_consumers(stream)
        _require_all("consumer", listing.missing, stream=stream)
        return listing.found

    async def list_consumers(self, stream: str) -> Listing:
        """The same, and which consumers are missing; while some has no leader it takes 4 s."""
        return await self._list(f"CONSUMER.LIST.{stream}", "consumers", {}, stream)

    async def _list(self, verb: str, items: str, body: dict[str, Any], stream: str | None = None) -> Listing:
        """All of `items`, which the server lists in pages."""
        listing = Listing([], {}, [])
        offset = 0
        while True:
            page = await self.call(verb, {**body, "offset": offset}, stream=stream)
            found = page.get(items) or []
            unsupported = page.get("offline") or {}
            missing = {**dict.fromkeys(page.get("missing") or (), _NO_LEADER), **unsupported}
            listing.missing.update(missing)
            for info in found:
                if missing and (name := _name(info)) in missing:
                    listing.missing[name] = _ALL_OFFLINE
                    listing.offline.append(info)
                else:
                    listing.found.append(info)
            # Not by what was found: where a leader has not answered, its stream or consumer is left
            # out of the page.
            offset += page.get("limit") or len(found)
            if offset >= page["total"] or not (found or missing):
                return listing

    async def last_message(self, stream: str, subject: str) -> StoredMessage:
        """The newest message on `subject`; raises `MessageNotFound`."""
        return await self._get(stream, {"last_by_subj": subject})

    async def next_message(self, stream: str, seq: int, subject: str) -> StoredMessage:
        """The first message on `subject` (a pattern) from `seq` on; raises `MessageNotFound`."""
        return await self._get(stream, {"seq": seq, "next_by_subj": subject})

    async def message_since(self, stream: str, time: str) -> StoredMessage:
        """The first message stored at `time` (RFC 3339) or later; raises `MessageNotFound`."""
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
