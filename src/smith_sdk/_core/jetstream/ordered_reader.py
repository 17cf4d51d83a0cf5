"""Reading a stream through consumers without acknowledgements that live only while they are read.

A gap in the consumer's own count of deliveries, a lost connection, a missing heartbeat, a deleted
consumer: each time another consumer is created that begins behind the last message that arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from copy import copy
from typing import Any, Final
from uuid import uuid4

import msgspec

from ...errors import ConnectionLost, MessageNotFound, PermissionDenied, SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..connection.state import Listener
from .api import NANOS
from .delivery import ack_subjects, sequences
from .pull_silence import Silence
from .pull_status import StatusKind, classify
from .reading import CAPACITY_BYTES, Interrupted, Reading, refusal
from .stream_reader import Stored

_PULL_BYTES: Final = CAPACITY_BYTES // 2
"""Bytes of one pull, below what a client buffers for a subscription. A larger message is requested
alone."""
_EXPIRES: Final = 30.0
_HEARTBEAT: Final = 1.5
_LOOK: Final = 0.5
"""Seconds between two looks whether the consumer is silent."""
_LIFE: Final = 60 * NANOS
"""The server deletes a consumer that is not pulled from for that long."""
_MAX_SKIPPED: Final = 1000
"""Messages before the last N that may be read and dropped, to save round trips."""
_LOOKS: Final = 50
"""How often a server is looked for that has what the stream's leader has."""
_WIDER: Final = 8
"""How much further back each look for the last N messages goes."""
_LOST: Final = (
    StatusKind.CONSUMER_DELETED,
    StatusKind.INTERRUPTED,
    StatusKind.NO_RESPONDERS,
    StatusKind.TOO_MANY_PULLS,
)


class OrderedReader(Reading):
    """A read through ephemeral consumers, for a stream that keeps what its limits allow."""

    _skip = 0
    """Messages to drop before the last N."""
    _left: int | None = None
    """Messages to read of the last N; None for all."""
    _newest = 0
    """The newest message at the start, in a cluster; else 0."""
    _has_snapshot = False
    """Whether the last message of each subject has arrived."""

    async def _read(self, state: Mapping[str, Any]) -> None:
        last = None if self._has_begun else self._start.last
        config = self._config()
        if last is not None:
            config["opt_start_seq"] = await self._seq_of_last(last, state)
        if self._is_replicated and (not self._has_begun or config["deliver_policy"] == "last_per_subject"):
            made = await self._create_current(config)
        else:
            made = await self._create(config)
        pending: int = made["num_pending"]
        if last is not None:
            self._after, self._skip = config["opt_start_seq"] - 1, max(0, pending - last)
            self._left = None if self._follow else pending - self._skip
        if not pending:  # there is nothing on the patterns up to where this consumer begins
            self._after, self._has_snapshot = max(self._after, made["delivered"]["stream_seq"]), True
            self._newest = self._newest if self._has_begun else 0
        self._has_begun = True
        self._opened.set()
        if pending or self._follow:
            await self._read_consumer(made["name"], pending)
        else:
            await self._delete(made["name"])
        await self._require_all()

    def _config(self) -> dict[str, Any]:
        start = self._start
        if start.last_per_subject and not self._has_snapshot:
            return {"deliver_policy": "last_per_subject"}
        if not self._after and start.since is not None:
            return {"deliver_policy": "by_start_time", "opt_start_time": start.since.isoformat()}
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": max(self._after + 1, start.seq or 1)}

    async def _create(self, config: dict[str, Any]) -> dict[str, Any]:
        """Create a consumer. Returns its INFO."""
        name = f"read-{uuid4().hex}"
        one = {"filter_subject": self.patterns[0]}
        config = {
            "name": name,
            "ack_policy": "none",
            "inactive_threshold": _LIFE,
            "mem_storage": True,
            "num_replicas": 1,
            **(one if len(self.patterns) == 1 else {"filter_subjects": list(self.patterns)}),
            **config,
        }
        body = {"stream_name": self.stream, "config": config, "action": "create"}
        verb = f"CONSUMER.CREATE.{self.stream}.{name}"
        return await self._session.api.call(verb, body, stream=self.stream, consumer=name)

    def next_subject(self, consumer: str) -> str:
        """Where to pull from `consumer` of the stream."""
        return self._session.api.subject(f"CONSUMER.MSG.NEXT.{self.stream}.{consumer}")

    async def _delete(self, name: str) -> None:
        """Not waited for: the server deletes it anyway once it is not used."""
        if self._session.connection.is_up:
            with contextlib.suppress(SmithError):
                await self._session.connection.publish(self._session.api.subject(f"CONSUMER.DELETE.{self.stream}.{name}"), b"")

    # ---- the last N

    async def _seq_of_last(self, count: int, state: Mapping[str, Any]) -> int:
        """A sequence from which on there are `count` messages on the patterns, and few more.

        No consumer can begin at the last N messages, but a new one says how many it has before it.
        """
        first: int = max(1, state["first_seq"])
        end: int = state["last_seq"] + 1
        low = high = end
        found, span = 0, 2 * count
        while found < count and low > first:
            high, low = low, max(first, end - span)
            found = await self._count_from(low)
            span *= _WIDER
        while found - count > max(count, _MAX_SKIPPED) and high - low > 1:
            middle = (low + high) // 2
            counted = await self._count_from(middle)
            if counted >= count:
                low, found = middle, counted
            else:
                high = middle
        return low

    async def _count_from(self, seq: int) -> int:
        made = await self._create({"deliver_policy": "by_start_sequence", "opt_start_seq": seq})
        await self._delete(made["name"])
        pending: int = made["num_pending"]
        return pending

    # ---- in a cluster

    # A consumer goes by the copy of the stream on its own server, which may not have yet what the
    # stream's leader has acknowledged to a publisher.

    async def _create_current(self, config: dict[str, Any]) -> dict[str, Any]:
        """Create a consumer on a server that has what the leader has. Returns its INFO.

        The server that gets a consumer is chosen by chance. One is known to be current once another
        consumer has found the newest message there.
        """
        self._newest = await self._find_newest()
        if self._until is not None:
            self._until = max(self._until, self._newest)
        current: set[str] = set()
        for _ in range(_LOOKS):
            if self._newest:
                probe = await self._create({"deliver_policy": "by_start_sequence", "opt_start_seq": self._newest})
                await self._delete(probe["name"])
                if probe["num_pending"]:
                    current.add(probe["cluster"]["leader"])
            made = await self._create(config)
            if not self._newest or made["cluster"]["leader"] in current:
                return made
            await self._delete(made["name"])
        raise Interrupted(f"no server that has stream {self.stream} is up to its sequence {self._newest}")

    async def _find_newest(self) -> int:
        """The sequence of the newest message on the patterns, as the leader has it; 0 if none."""
        newest = 0
        for pattern in self.patterns:
            with contextlib.suppress(MessageNotFound):
                newest = max(newest, (await self._session.api.last_message(self.stream, pattern)).seq)
        return newest

    async def _require_all(self) -> None:
        """Raise `Interrupted` if the read ended early, because its consumer's server was behind."""
        if self._after < self._newest and not self._start.last_per_subject:
            with contextlib.suppress(MessageNotFound):
                await self._session.api.message(self.stream, self._newest)
                raise Interrupted(f"the consumer's server is not up to sequence {self._newest} yet")

    # ---- one consumer

    async def _read_consumer(self, name: str, pending: int) -> None:
        snapshot = pending if self._start.last_per_subject and not self._has_snapshot else None
        consumer = _Consumer(self, self._session.connection, name, snapshot)
        self._session.connection.add_listener(consumer)
        subscription = None
        try:
            subscription = await self._session.connection.subscribe(consumer.inbox, consumer.take, consumer.end)
            alone = False
            while not consumer.is_read:
                room = await self._wait_for_room()
                before = self._after
                status = await consumer.pull(1 if alone else room, None if alone else _PULL_BYTES, follow=self._follow)
                if status is StatusKind.ENDED and not self._follow:
                    return
                alone = status is StatusKind.BYTES_FULL and self._after == before
        finally:
            self._session.connection.remove_listener(consumer)
            if subscription is not None:
                await subscription.unsubscribe()
            await self._delete(name)

    def arrived(self, message: Stored) -> bool:
        """A message came from the consumer. Whether it is known that all is read now."""
        if self._is_beyond(message.seq):
            return True
        if message.seq <= self._after:  # of a repeated snapshot
            return False
        if self._skip:
            self._skip -= 1
            self._after = message.seq
            return False
        self._put(message)
        if self._left is not None:
            self._left -= 1
        # Not by the consumer's own count of what is left: the end of a pull is what is certain.
        return not self._follow and (self._left == 0 or message.seq == self._until)

    def has_snapshot(self) -> bool:
        """The last message of each subject has arrived. Whether all is read now."""
        self._has_snapshot = True
        return not self._follow


class _Consumer(Listener):
    """What arrives from one consumer."""

    def __init__(self, reader: OrderedReader, connection: Connection, name: str, snapshot: int | None) -> None:
        self._reader = reader
        self._connection = connection
        self._name = name
        self._snapshot = snapshot
        """Deliveries that make up the last message of each subject."""
        self._next_subject = reader.next_subject(name)
        self._is_delivery = ack_subjects(reader.stream, name).fullmatch
        self.inbox = connection.new_inbox()
        self.is_read = False
        self._count = 0
        """Deliveries so far, as the consumer counts them itself."""
        self._wanted = 0
        self._status: StatusKind | None = None
        self._error: Exception | None = None
        self._silence = Silence(_HEARTBEAT)
        self._ended = asyncio.Event()

    async def pull(self, count: int, max_bytes: int | None, *, follow: bool) -> StatusKind | None:
        """Request up to `count` messages, and wait for the end of the pull. Returns its status;
        None if all have arrived."""
        request: dict[str, Any] = {"batch": count}
        if follow:
            request |= {"expires": int(_EXPIRES * NANOS), "idle_heartbeat": int(_HEARTBEAT * NANOS)}
        else:
            request["no_wait"] = True
        if max_bytes is not None:
            request["max_bytes"] = max_bytes
        self._wanted, self._status = count, None
        self._ended.clear()
        await self._connection.publish(self._next_subject, msgspec.json.encode(request), self.inbox)
        loop, silence = asyncio.get_running_loop(), self._silence
        silence.begin(loop.time())
        while self._error is None and self._wanted and self._status is None and not self.is_read:
            due = loop.time() + _LOOK
            try:
                async with asyncio.timeout_at(due):
                    await self._ended.wait()
            except TimeoutError:
                now = loop.time()
                if (silent := silence.check(now, now - due)) > silence.limit:
                    raise Interrupted(f"consumer {self._name} was silent for {silent:.1f} s") from None
        if self._error is not None:
            raise copy(self._error)
        return self._status

    def take(self, raw: RawMessage) -> None:
        self._silence.news = True
        if not raw.reply:
            self._on_status(raw)
            return
        if self._error is not None or self.is_read or not self._is_delivery(raw.reply):
            return
        stream_seq, consumer_seq, time = sequences(raw.reply)
        self._count += 1
        if consumer_seq != self._count:
            self.end(Interrupted(f"delivery {self._count} of consumer {self._name} is missing"))
            return
        self._wanted -= 1
        self.is_read = self._reader.arrived(Stored(raw, stream_seq, time))
        if self._count == self._snapshot:
            self.is_read = self._reader.has_snapshot()
        if not self._wanted or self.is_read:
            self._ended.set()

    def _on_status(self, raw: RawMessage) -> None:
        status = classify(raw.headers or {})
        if status.kind in (StatusKind.HEARTBEAT, StatusKind.COMPLETED):
            return
        if status.kind in (StatusKind.ENDED, StatusKind.BYTES_FULL):
            self._status = status.kind
            self._ended.set()
        elif status.kind in _LOST:
            self.end(Interrupted(f"consumer {self._name}: {status.description or 'deleted'}"))
        else:
            self.end(refusal(self._reader.stream, status.code, status.description))

    def end(self, error: Exception) -> None:
        self._error = self._error or error
        self._ended.set()

    def on_disconnect(self) -> None:
        self.end(ConnectionLost(f"the connection was lost while {self._next_subject} was answered"))

    def on_refused(self, subject: str) -> None:
        if subject == self._next_subject:
            self.end(
                PermissionDenied(f"the server's permissions forbid pulling from {self._next_subject}", subject=self._next_subject)
            )

    def on_close(self, error: SmithError) -> None:
        self.end(error)
