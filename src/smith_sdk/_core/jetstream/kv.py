"""Keys of a key-value bucket: created once by one of several writers, replaced, renewed, deleted.

The layout is that of NATS: bucket X is the stream KV_X, which keeps the last message of each
subject `$KV.X.<key>`. The stream is declared in the spec like any other. `kv_watch` follows keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import msgspec

from ...errors import MessageNotFound, TopologyRefused
from .api import StoredMessage
from .api_errors import APPLY
from .claim import Taken, compare_and_set
from .session import Session

TTL: Final = "Nats-TTL"
_MARKER: Final = "Nats-Marker-Reason"
OPERATION: Final = "KV-Operation"
_REMOVED: Final = ("DEL", "PURGE")
_MARKER_LIFE: Final = 3600.0
"""Seconds for which the bucket remembers that a key was deleted."""
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A key that has a value."""

    key: str
    value: bytes
    revision: int
    """The sequence of its message."""
    ttl: float | None
    """Seconds for which the bucket keeps it from when it was stored; None: until it is deleted."""
    time: str
    """When it was stored, in RFC 3339, by the server's clock."""


class Bucket:
    """The bucket `name` on `session`. Each call raises what publishing or the JetStream API raises.

    After `PublishUnconfirmed` a write may be stored: the bucket's leader may have died behind it.
    """

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def require(self) -> None:
        """Raise `StreamNotFound` unless the bucket exists, `TopologyRefused` unless it keeps each
        key for the key's own time, and what a call of the JetStream API raises."""
        config = (await self.session.api.stream_info(self.stream))["config"]
        problems = {
            "its keys do not expire (allow_msg_ttl)": not config.get("allow_msg_ttl"),
            "it deletes keys when it is full (discard)": config.get("discard") != "new",
            "it deletes every key after some time (max_age)": bool(config.get("max_age")),
        }
        if any(problems.values()):
            found = ", ".join(problem for problem, is_there in problems.items() if is_there)
            raise TopologyRefused(
                f"stream {self.stream} is not as the contract declares it: {found}; {APPLY}", stream=self.stream
            )

    def subject(self, key: str) -> str:
        """The subject of `key`, or of a pattern of keys."""
        return f"{self._prefix}{key}"

    # ---- writing

    async def create(self, key: str, value: bytes, *, ttl: float | None = None) -> StoredMessage | None:
        """Store `value` for `ttl` seconds (rounded up, at least 1), unless `key` has a value.

        Returns None if it is stored, and otherwise the message that has the key. Of several writers
        one succeeds. Raises what publishing raises: `QueueFull` if the bucket is full.
        """
        done = await self.claim(key, value, ttl=ttl)
        return None if isinstance(done, int) else done

    async def claim(self, key: str, value: bytes, *, ttl: float | None = None) -> int | StoredMessage:
        """`create`, for a key that its writer goes on with: returns the revision if it is
        stored."""
        expected = 0
        while True:
            done = await self._set(key, value, expected, ttl_headers(ttl))
            if not isinstance(done, Taken):
                return done
            if done.message is None:  # it has expired since
                expected = 0
            elif is_removed(done.message.headers):
                expected = done.message.seq
            else:
                return done.message

    async def put(self, key: str, value: bytes, *, ttl: float | None = None) -> int:
        """Store `value` for `ttl` seconds, whatever is there. Returns its revision."""
        where = self.session.api.publish_subject(self.subject(key))
        ack = await self.session.publish(where, value, stream=self.stream, msg_id=uuid4().hex, headers=ttl_headers(ttl))
        return ack.seq

    async def replace(self, key: str, value: bytes, *, revision: int, ttl: float | None = None) -> int | None:
        """Store `value` for `ttl` seconds if `key` still has that revision: to renew it, too.

        Returns the new revision; None if it does not: it was replaced, was deleted or has expired.
        If the value is there already, an earlier call stored it whose acknowledgement got lost: a
        value should name its writer.
        """
        done = await self._set(key, value, revision, ttl_headers(ttl))
        if not isinstance(done, Taken):
            return done
        there = done.message
        return there.seq if there is not None and there.data == value and not is_removed(there.headers) else None

    async def delete(self, key: str, *, revision: int | None = None) -> bool:
        """Delete `key`, with `revision` only if it still has that. Whether it had a value."""
        while True:
            found = await self.get(key)
            if found is None or (revision is not None and found.revision != revision):
                return False
            done = await self._set(key, b"", found.revision, {OPERATION: "DEL", **ttl_headers(_MARKER_LIFE)})
            if not isinstance(done, Taken):
                return True

    async def _set(self, key: str, value: bytes, expected: int, headers: Mapping[str, str]) -> int | Taken:
        return await compare_and_set(self.session, self.stream, self.subject(key), value, expected=expected, headers=headers)

    # ---- reading

    async def get(self, key: str) -> Entry | None:
        """What `key` has, if it has a value."""
        try:
            found = await self.session.api.last_message(self.stream, self.subject(key))
        except MessageNotFound:
            return None
        return self.entry(found.subject, found.data, found.seq, found.headers, found.time)

    async def was_deleted(self, key: str) -> bool:
        """Whether `key` has no value because it was deleted, rather than because it has expired."""
        try:
            found = await self.session.api.last_message(self.stream, self.subject(key))
        except MessageNotFound:
            return False
        return found.headers.get(OPERATION) in _REMOVED

    async def list(self, pattern: str = ">") -> list[Entry]:
        """The keys on `pattern` that have a value, the one that was written last at the end.

        One request for each: for buckets with few keys.
        """
        entries: dict[str, Entry] = {}
        seq = 0
        while True:
            try:
                found = await self.session.api.next_message(self.stream, seq + 1, self.subject(pattern))
            except MessageNotFound:
                return list(entries.values())
            seq = found.seq
            entry = self.entry(found.subject, found.data, found.seq, found.headers, found.time)
            entries.pop(self.key_of(found.subject), None)  # it may have been written again meanwhile
            if entry is not None:
                entries[entry.key] = entry

    def key_of(self, subject: str) -> str:
        return subject.removeprefix(self._prefix)

    def entry(self, subject: str, value: bytes, revision: int, headers: Mapping[str, str], time: str) -> Entry | None:
        """The entry that a message is; None if it says that its key has no value any more."""
        if is_removed(headers):
            return None
        return Entry(key=self.key_of(subject), value=value, revision=revision, ttl=_seconds(headers.get(TTL, "")), time=time)


def is_removed(headers: Mapping[str, str]) -> bool:
    """Whether the last message of a key says that the key has no value any more."""
    return _MARKER in headers or headers.get(OPERATION) in _REMOVED


def ttl_headers(ttl: float | None) -> dict[str, str]:
    return {} if ttl is None else {TTL: str(max(1, math.ceil(ttl)))}


def _seconds(text: str) -> float | None:
    """A `Nats-TTL` in seconds: a whole number, or a duration of Go's; None for "never"."""
    if text.isascii() and text.isdecimal():
        return float(text)
    parts = _DURATION.findall(text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None
