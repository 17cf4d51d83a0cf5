"""Reading a durable consumer of a stream: fetch, continuous messages, pause, resume, reset."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Self

from .._core.connection.parser import RawMessage
from .._core.events import Source
from .._core.jetstream.api import NEVER, PAUSE_LEVEL, RESET_LEVEL, parse_time
from .._core.jetstream.consumer_state import is_full
from .._core.jetstream.interest import filters_of
from .._core.jetstream.priority_group import PriorityGroup
from .._core.jetstream.pull_absence import GRACE
from .._core.jetstream.pull_loop import PullLoop
from .._core.jetstream.pull_options import EXPIRES, HEARTBEAT, MAX_BYTES, PullOptions
from .._core.jetstream.pull_pacer import Refill
from .._core.jetstream.session import Session
from .._core.topology.config_keys import Json
from ..contract import ConsumerSpec, M_co, S_co
from ..display import Record, Rows
from ..errors import BusClosed, OptionsError, SmithError
from ..options import positive_int, to_seconds
from .message import Message

__all__ = ["Consumer", "ConsumerInfo", "Messages"]

_LONGEST_PULL: Final = 86_400.0
"""Seconds; a longer fetch is several pulls.

The server refuses more than an int64 of nanoseconds (292 years).
"""


def session_of(bus: Any) -> Session:
    """The session of a bus of this face.

    Raises `OptionsError` for anything else: both faces have the same names.
    """
    found: Session | None = getattr(bus, "_session", None)
    if found is None:
        raise OptionsError(
            f"a {type(bus).__name__} is not an AsyncSmithBus, which names imported from smith_sdk need; for a SmithBus, import them "
            f"from smith_sdk.sync"
        )
    return found


def require_spec(spec: Any) -> Any:
    """`spec` itself. Raises `OptionsError` unless it is a consumer of a contract: a name is not."""
    if not isinstance(spec, ConsumerSpec):
        raise OptionsError(f"{spec!r} is not a consumer as a contract declares it, such as consumers.executor_fs_read")
    return spec


class ConsumerInfo(Record, frozen=True, kw_only=True):
    """A consumer as the server sees it; its counts are messages.

    `num_pending`: not yet delivered. `num_ack_pending`: delivered, without a verdict; this includes
    those that wait for a delayed retry. `max_ack_pending`: with as many of them, nothing else is
    delivered; -1: without end. `is_full`: that is so, and messages are pending.
    `last_delivered`, `last_acked`: when it last delivered a message or received an ack (UTC); None
    if it never has, or not since a reset. `paused_until`: None unless it is paused. The server
    counts a new message some moments after it has acknowledged it to the publisher, so zeros right
    then do not mean idle.
    """

    name: str
    stream: str
    num_pending: int
    num_ack_pending: int
    max_ack_pending: int
    num_redelivered: int
    num_waiting: int
    filters: tuple[str, ...]
    last_delivered: datetime | None
    last_acked: datetime | None
    paused_until: datetime | None
    is_full: bool


def consumer_info(info: Json) -> ConsumerInfo:
    """A consumer from the server's JSON."""
    return ConsumerInfo(
        name=info["name"],
        stream=info["stream_name"],
        num_pending=info["num_pending"],
        num_ack_pending=info["num_ack_pending"],
        max_ack_pending=info["config"].get("max_ack_pending", -1),
        num_redelivered=info["num_redelivered"],
        num_waiting=info["num_waiting"],
        filters=filters_of(info["config"]),
        last_delivered=parse_time(info["delivered"].get("last_active", NEVER)),
        last_acked=parse_time(info["ack_floor"].get("last_active", NEVER)),
        paused_until=parse_time(info["config"].get("pause_until", NEVER)) if info.get("paused") else None,
        is_full=is_full(info),
    )


class Consumer(Generic[M_co, S_co]):
    """A durable consumer as the contract declares it, made by `bus.consumer(consumers.x)`.

    It does no I/O until it is read from.
    """

    def __init__(self, session: Session, spec: ConsumerSpec[M_co, S_co]) -> None:
        self._session = session
        self.spec = spec
        self._group = priority_group(spec)

    def messages(self, *, prefetch: int | None = None, max_bytes: int | None = None) -> Messages[M_co, S_co]:
        """Iterate continuously: `async for message in consumer.messages()`.

        Messages are requested ahead of need. `prefetch` (messages; default: the contract's) bounds
        what is requested and not yet handled; a message counts as handled when the next one is
        taken. `max_bytes` (bytes, headers included; default: 64 MiB) bounds what is requested and
        not yet handed out; a larger message is delivered all the same, alone. After a link has died
        in silence, the server goes on to answer what was requested there, so both may be exceeded
        by as much again for 30 seconds.

        Prefetched messages are nak'ed when the iterator closes: at the end of
        `async with consumer.messages() as messages`, by `await messages.stop()`, or, after a
        `break`, a moment after the last reference to the iterator is dropped. Raises
        `OptionsError`.
        """
        capacity = self.spec.prefetch if prefetch is None else positive_int("prefetch", prefetch)
        limit = MAX_BYTES if max_bytes is None else positive_int("max_bytes", max_bytes)
        return Messages(self._session, self.spec, capacity, limit, self._group)

    async def fetch(self, n: int, timeout: float | timedelta = 5.0) -> Rows[Message[M_co, S_co]]:
        """Up to `n` messages, within `timeout` seconds; perhaps none.

        It takes up to a second more if the server does not confirm the end of the pull; what it
        sent until then is returned, too.

        Raises `ConsumerNotFound`, `StreamNotFound` (also at once if it is deleted meanwhile),
        `JetStreamDisabled`, `PermissionDenied` (also for an ack since the last read: no reply tells
        of its refusal), `BusClosed`, and `OptionsError` for an `n` below 1 or an invalid `timeout`.
        """
        wait, began = to_seconds("fetch(timeout)", timeout), time.time_ns()
        loop = _fetch_loop(self._session, self.spec, positive_int("fetch(n)", n), wait, self._group)
        found = loop.ahead  # kept in progress until it is returned, nak'ed if it is not
        self._session.attach(loop)
        try:
            await loop.start()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    while len(found) < n and (raw := await loop.next()) is not None:
                        found.append(raw)
            await loop.withdraw()
            loop.raise_ack_refusal()
            if loop.is_over:
                raise BusClosed(f"the bus was closed during a fetch from {self!r}: what had arrived was nak'ed")
            while len(found) < n and (raw := loop.take()) is not None:
                found.append(raw)
            self._session.events.received(tuple(found), source_of(self.spec), began)
            messages: Rows[Message[M_co, S_co]] = Rows(Message(raw, self._session) for raw in found)
            found.clear()
        finally:
            self._session.detach(loop)
            await loop.stop()
        return messages

    async def info(self) -> ConsumerInfo:
        """Its state on the server. Raises `ConsumerNotFound`, `StreamNotFound`."""
        return consumer_info(await self._session.api.consumer_info(self.spec.stream, self.spec.name))

    async def pause(self, for_: float | timedelta) -> ConsumerInfo:
        """Have the server deliver nothing to any reader for `for_` seconds from now.

        Returns the state after that. It replaces an earlier pause. What was delivered before can be
        acknowledged meanwhile. Readers wait, and go on some seconds after the end of the pause. A
        pause is not drift, unless the contract declares `pause_until`. Raises `ConsumerNotFound`,
        `StreamNotFound`, `OptionsError`, and `ChangeRefused` if the server is older than
        nats-server 2.11.
        """
        wait = to_seconds("pause(for_)", for_)
        admin = self._session.api
        await admin.require_level(PAUSE_LEVEL, f"pausing consumer {self.spec.name} of stream {self.spec.stream}")
        info = await admin.consumer_info(self.spec.stream, self.spec.name)
        try:
            until = datetime.fromisoformat(info["ts"]).astimezone(UTC) + timedelta(seconds=wait)  # by the server's clock
        except OverflowError:
            raise OptionsError(f"pause(for_={for_!r}): there is no such date") from None
        return await self._paused(info, until.isoformat())

    async def resume(self) -> ConsumerInfo:
        """End a pause, if there is one; return the state after that. Raises as `pause` does."""
        admin = self._session.api
        await admin.require_level(PAUSE_LEVEL, f"resuming consumer {self.spec.name} of stream {self.spec.stream}")
        return await self._paused(await admin.consumer_info(self.spec.stream, self.spec.name), None)

    async def _paused(self, info: Json, until: str | None) -> ConsumerInfo:
        # From the answer: in a cluster, CONSUMER.INFO may have the former state for a moment.
        answer = await self._session.api.consumer_pause(self.spec.stream, self.spec.name, until)
        config = {**info["config"], "pause_until": answer["pause_until"]}
        return consumer_info({**info, "paused": answer["paused"], "config": config})

    async def reset(self, seq: int | None = None) -> ConsumerInfo:
        """Deliver everything from sequence `seq` on, as new; None: all without an ack.

        Readers go on meanwhile, and get some messages twice: those in flight are delivered again. A
        `seq` above what was delivered skips the messages below it. A work queue keeps those and
        delivers them to no reader until another reset.

        Raises `OptionsError` for a `seq` beyond the next message of the stream, `ConsumerNotFound`,
        `StreamNotFound`, and `ChangeRefused` if the server is older than nats-server 2.14, or if
        `seq` is below the start that the consumer's deliver policy sets.
        """
        stream, name, admin = self.spec.stream, self.spec.name, self._session.api
        if seq is not None:
            positive_int("reset(seq)", seq)
        await admin.require_level(RESET_LEVEL, f"resetting consumer {name} of stream {stream}")
        await admin.consumer_info(stream, name)  # the server never answers a reset of a consumer that does not exist
        if seq is not None and seq > (end := (await admin.stream_info(stream))["state"]["last_seq"] + 1):
            raise OptionsError(
                f"reset(seq={seq}): stream {stream} ends at {end - 1}: with more than {end}, new messages would be skipped"
            )
        return consumer_info(await admin.consumer_reset(stream, name, seq))

    def __repr__(self) -> str:
        return f"<Consumer {self.spec.name} of {self.spec.stream}>"


def source_of(spec: ConsumerSpec[Any, Any]) -> Source:
    """Where readers of `spec` receive from, for tracers."""
    return Source(" | ".join(spec.filters), spec.stream, spec.name)


def priority_group(spec: ConsumerSpec[Any, Any]) -> PriorityGroup | None:
    """A place in the priority group of `spec`, if it has one.

    The server accepts several groups and serves them as one.
    """
    return PriorityGroup(spec.priority_groups[0]) if spec.priority_groups else None


def pull_loop(
    session: Session,
    spec: ConsumerSpec[Any, Any],
    capacity: int,
    *,
    expires: float = EXPIRES,
    max_bytes: int | None = None,
    max_pull_bytes: int | None = None,
    lookahead: int = 0,
    refill: Refill = "half",
    refill_dry: Refill | None = None,
    group: PriorityGroup | None = None,
    waits: bool = True,
) -> PullLoop:
    """A pull loop on `spec`, within the limits that the consumer has for one pull.

    `waits`: for a consumer that is deleted meanwhile, for a while.
    """
    session.require_open()
    expires = min(expires, spec.max_expires or _LONGEST_PULL)
    if spec.max_bytes is not None and max_bytes is not None:
        max_bytes = min(max_bytes, spec.max_bytes)

    async def diagnose() -> SmithError | None:
        return await session.why_no_messages(spec.stream, spec.name)

    options = PullOptions(
        capacity=capacity,
        max_bytes=max_bytes,
        max_pull_bytes=max_pull_bytes,
        lookahead=lookahead,
        refill=refill,
        refill_dry=refill_dry,
        ack_wait=spec.ack_wait,
        expires=expires,
        heartbeat=min(HEARTBEAT, expires / 2),  # more, the server refuses
        max_batch=spec.max_batch,
        group=priority_group(spec) if group is None else group,
        grace=GRACE if waits else 0.0,
    )
    state = session.consumer_state(spec.stream, spec.name)
    state.raise_ack_refusal()
    return PullLoop(session.connection, session.api, spec.stream, spec.name, diagnose, options, state)


def _fetch_loop(
    session: Session, spec: ConsumerSpec[Any, Any], count: int, timeout: float, group: PriorityGroup | None
) -> PullLoop:
    """A pull loop for `count` messages: one pull that expires at `timeout`, or more if the consumer
    limits a pull."""
    limits = session.consumer_state(spec.stream, spec.name).limits
    longest, most = limits.expires_within(spec.max_expires or _LONGEST_PULL), limits.batch_within(spec.max_batch) or count
    is_one = timeout <= longest and count <= most
    return pull_loop(session, spec, count, expires=timeout, refill="never" if is_one else "each", group=group, waits=False)


class Messages(Generic[M_co, S_co]):
    """A continuous read of one consumer.

    Ends when it is stopped or the bus closes. Raises `ConsumerNotFound` or `StreamNotFound` if the
    consumer does not exist, or is deleted and not created again within 10 seconds, and
    `JetStreamDisabled`, `PermissionDenied` or `BusClosed`.

    If its stream is created again, it is read from its start. A message of the former stream that
    is still at hand can be read; an answer to it is dropped, since the server would take it for one
    to the message that has its sequence now, and `ack_sync` raises `StreamNotFound`.
    """

    def __init__(
        self, session: Session, spec: ConsumerSpec[M_co, S_co], capacity: int, max_bytes: int, group: PriorityGroup | None
    ) -> None:
        self._session = session
        self._events = session.events
        self._source = source_of(spec)
        self._spec = spec
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._group = group
        self._loop: PullLoop | None = None
        self._stopped = False
        self._out = 0
        self._here: deque[RawMessage] = deque()

    async def _start(self) -> PullLoop:
        if self._loop is None:
            self._loop = pull_loop(self._session, self._spec, self._capacity, max_bytes=self._max_bytes, group=self._group)
            self._loop.ahead = self._here
            self._session.attach(self._loop)
            await self._loop.start()
        return self._loop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[M_co, S_co]:
        loop, raw = self._loop, None
        if loop is not None:
            out, self._out = self._out, 0
            raw = loop.take(out)
        if raw is None:
            raw = await self._next()
            if raw is None:
                raise StopAsyncIteration
        self._out += 1  # not `= 1`: several tasks may read one iteration
        return self._made(raw)

    async def _next(self) -> RawMessage | None:
        loop = self._loop
        if loop is None:
            if self._stopped:
                return None
            loop = await self._start()
        out, self._out = self._out, 0
        return loop.take(out) or await loop.next()

    @property
    def _over(self) -> bool:
        return self._stopped or (self._loop is not None and self._loop.is_over)

    async def _batch(self, limit: int) -> None:
        """Put what is buffered into `_here`: at least one message, none at the end.

        For the blocking face.
        """
        raw = await self._next()
        loop = self._loop
        if raw is None or loop is None:
            return
        batch = [raw]
        while len(batch) < limit and (raw := loop.take()) is not None:
            batch.append(raw)
        self._out = len(batch)
        self._here.extend(batch)

    def _made(self, raw: RawMessage) -> Message[M_co, S_co]:
        if self._events.tracer is not None:
            self._events.received((raw,), self._source, time.time_ns())
        return Message(raw, self._session)

    async def stop(self) -> None:
        """Request no more, nak what was not handed out, and end the iteration. Safe to repeat."""
        self._stopped = True
        loop, self._loop = self._loop, None
        if loop is not None:
            self._session.detach(loop)
            await loop.stop()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __del__(self) -> None:
        if self._loop is not None:
            self._session.abandon(self._loop)
