"""A session: one connection and what shares it, opened and closed in the right order.

Replies, the JetStream API, the ack window, what is known of interest streams, observers, and the
parts that run on the bus. It moves bytes to subjects that are plain strings; types are the faces'.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Coroutine, Mapping
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from ...contract import AnySubject, Contract, HeadedSubject, Placed, ReadOnlySubject, ShardingSpec, covers
from ...errors import (
    BusClosed,
    ConsumerNotFound,
    JetStreamDisabled,
    NoInterest,
    PublishCircuitOpen,
    SmithError,
    StreamNotFound,
    SubjectMismatch,
)
from ..connection.connection import Connection
from ..connection.request_reply import RequestReply
from ..connection.state import Listener, State, wrong_loop_error
from ..events import Events
from ..execution.prompt_future import PromptFuture
from ..log_records import LogFields, consumer_log, sdk_logger
from ..monitoring.breaker import CircuitBreaker
from ..services.responder import Responder
from .ack_window import AckWindow
from .api import API, JetStreamApi
from .api_errors import APPLY
from .bulk_support import BulkSupport
from .consumer_state import ConsumerState
from .delivery import consumer_of
from .interest import InterestCache
from .publish_circuits import Probe, PublishCircuits, Tally
from .publish_events import observed
from .publish_request import AckFuture, PubAck, PublishRequest
from .pull_failures import may_not_ack
from .relocation import DeclaredLayouts, LayoutSource, relocated
from .replaced_streams import MissingStreams, ReplacedStreams

log: Final = sdk_logger("publish")

_DUPLICATE_WINDOW: Final = 120.0
"""Seconds for which a stream remembers message ids by default: nats-server's `duplicate_window`."""
_RETRY_SHARE: Final = 0.75
"""The share of that window in which a message may be sent again. The rest is a margin: the server
counts from when the first copy arrived, the window here from when it was sent."""
_NO_LIMIT: Final = 2**63
_MIN_CLOSE: Final = 0.1
"""Seconds that each step of closing has at least."""
_MAX_PARSED: Final = 1024
"""Parsed subjects that a session remembers."""
_DEFINITE: Final = (JetStreamDisabled, StreamNotFound, ConsumerNotFound)
"""Replies of the server that waiting does not change. Other errors leave that open."""


class Part(Protocol):
    """What runs on a bus until it is stopped: a worker, a reader, a subscription."""

    @property
    def name(self) -> str:
        """What it is, for people: "worker executor-fs-read"."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Its current state as values that JSON can represent, for health reports. Does no I/O."""
        ...

    async def stop(self) -> None:
        """End it. Safe to repeat."""
        ...


class _StateEvents(Listener):
    """Passes changes of the connection's state on to the observers of the bus."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def on_state(self, state: State, reason: str) -> None:
        self._events.state(state, reason)


class _RefusedAcks(Listener):
    """Keeps for the next reader of a consumer that an ack was forbidden: no call waits for one."""

    def __init__(self, consumers: Mapping[tuple[str, str], ConsumerState]) -> None:
        self._consumers = consumers

    def on_refused(self, subject: str) -> None:
        place = consumer_of(subject)
        state = None if place is None else self._consumers.get(place)
        if state is not None and state.ack_refusal is None:
            state.ack_refusal = may_not_ack(state.stream, state.consumer)
            consumer_log(state.stream, state.consumer).error("%s", str(state.ack_refusal))


class _MappedRefusals(Listener):
    """Translates refusals by a server of the domain whose API is asked.

    Such a server maps `$JS.<domain>.API.X` to `$JS.API.X` first, and names that in its refusal.
    """

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix

    def on_refused(self, subject: str) -> None:
        if self._prefix != API and subject.startswith(f"{API}."):
            self._connection.notify_refused(f"{self._prefix}.{subject.removeprefix(f'{API}.')}")


class Session:
    """What every part of a bus shares. Created closed; may be opened again after `close`."""

    def __init__(
        self,
        connection: Connection,
        contract: Contract,
        *,
        profile: str,
        publish_timeout: float,
        max_messages: int,
        max_bytes: int,
        validate: bool = True,
        api_prefix: str = API,
        publish_breaker: CircuitBreaker | None = None,
    ) -> None:
        self.connection = connection
        self.contract = contract
        self.validate = validate
        """Whether what is published is checked to be decodable."""
        self.publish_timeout = publish_timeout
        self.requests = RequestReply(connection)
        self.api = JetStreamApi(self.requests, prefix=api_prefix)
        self.services = Responder(connection, contract.roots)
        """Answers for the workers that run on the session."""
        self.events = Events()
        self._state_events = _StateEvents(self.events)
        self._parsed: dict[str, AnySubject] = {}
        """Subjects that were parsed last, by their text."""
        self.known_subjects: set[type] = set()
        """Classes of subjects that have been looked up in the contract."""
        self.sharded_subjects: dict[type, ShardingSpec[Any, Any]] = {}
        """Those of them that belong to a sharding: plain or sharded; None for those of others."""
        self.layouts: LayoutSource = DeclaredLayouts()
        """Which layouts of shardings are in use."""
        self.interest = InterestCache(self.api)
        self.bulk_support = BulkSupport(self.api)
        self._consumers: dict[tuple[str, str], ConsumerState] = {}
        self.replaced: Final = ReplacedStreams(self.api, self._on_replaced)
        self._missing: Final = MissingStreams()
        self._refusals = (_RefusedAcks(self._consumers), _MappedRefusals(connection, api_prefix))
        self._interest_streams = {spec.name for spec in contract.streams if spec.retention == "interest"}
        self.circuits = None if publish_breaker is None else PublishCircuits(publish_breaker, self.events)
        """The circuits around the publishes of callers; None if nothing is refused."""
        self._resend_seconds: dict[str | None, float] = {
            spec.name: _RETRY_SHARE * (_DUPLICATE_WINDOW if spec.duplicate_window is None else spec.duplicate_window)
            for spec in contract.streams
        }
        self.window = AckWindow(
            connection,
            self._why_no_ack,
            self._relocate,
            publish_timeout=publish_timeout,
            retry_seconds=self._resend_seconds,
            max_sizes=_max_sizes(contract, profile),
            max_messages=max_messages,
            max_bytes=max_bytes,
            circuits=self.circuits,
        )
        self._parts: set[Part] = set()
        self._stopping: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_open = False

    async def open(self) -> None:
        """Connect, and subscribe the inboxes. Raises `ConnectError`, `AuthenticationError`."""
        self._loop = asyncio.get_running_loop()
        self.interest.forget()
        self.bulk_support.forget()
        listeners: list[Listener] = [self._state_events, *self._refusals]
        if self.circuits is not None:
            self.circuits.forget()
            listeners.append(self.circuits)
        for listener in listeners:
            self.connection.remove_listener(listener)  # of an earlier attempt
            self.connection.add_listener(listener)
        await self.connection.connect()
        self.api.where = self.connection.url
        await self.requests.start()
        await self.window.start()
        await self.connection.confirm()
        self.is_open = True

    def require_open(self) -> None:
        """Raise `BusClosed` unless the session is open."""
        if not self.is_open:
            raise BusClosed("the bus is not connected: call connect(), or use it in a `with` block")
        if asyncio.get_running_loop() is not self._loop:
            raise wrong_loop_error()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it was opened in last; None before."""
        return self._loop

    def attach(self, part: Part) -> None:
        """Have `part` stopped when the session closes, unless it is `detach`ed before."""
        self._parts.add(part)

    def detach(self, part: Part) -> None:
        self._parts.discard(part)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that run on this session now."""
        return tuple(self._parts)

    def abandon(self, part: Part) -> None:
        """Have an attached `part` stopped soon, since its user no longer holds it.

        For `__del__`: may be called in any thread, at any time.
        """
        if self._loop is not None and part in self._parts:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._stop_abandoned, part)

    def _stop_abandoned(self, part: Part) -> None:
        if part in self._parts and self.connection.is_kept:
            self.detach(part)
            stopping = asyncio.ensure_future(part.stop())
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    async def close(self, timeout: float) -> None:
        """Stop the parts, flush publishes, close the connection.

        Takes `timeout` seconds in all, at worst one second more.
        """
        if not self.is_open:
            await self.connection.close(timeout)
            return
        if asyncio.get_running_loop() is not self._loop:
            if self._loop is None or not self._loop.is_closed():
                raise wrong_loop_error()
            self._loop_ended()
            return
        self.is_open = False
        if not self.connection.is_kept:
            # asyncio.run has cancelled all tasks, the link's own among them: nothing would arrive.
            timeout = min(timeout, _MIN_CLOSE)
        if self.circuits is not None:
            self.circuits.forget()  # what is not acknowledged by now says nothing about its stream
        deadline = time.monotonic() + timeout

        def left() -> float:
            return max(_MIN_CLOSE, deadline - time.monotonic())

        parts = [*self._stopping, *(asyncio.ensure_future(part.stop()) for part in tuple(self._parts))]
        self._parts.clear()
        try:
            if parts:
                await asyncio.wait(parts, timeout=left())
            await self.window.drain(left())
        except asyncio.CancelledError:
            await self.connection.close(_MIN_CLOSE)  # an open link would be in the way of the next connect
            raise
        await self.connection.close(left())

    def _loop_ended(self) -> None:
        """Event loop teardown: no caller waits any more, and nothing can be awaited to close."""
        if self.window:
            log.warning("an event loop ended with %d unacknowledged messages", len(self.window))
        self.is_open = False
        self._parts.clear()
        self._stopping.clear()
        self.requests.loop_ended()
        self.window.loop_ended()
        self.connection.loop_ended()

    # ---- subjects

    def parse(self, subject: str) -> AnySubject:
        """`contract.parse`, for every message: where many have the same subject, each is parsed
        once.
        """
        found = self._parsed.get(subject)
        if found is None:
            found = self.contract.parse(subject)
            if len(self._parsed) >= _MAX_PARSED:
                self._parsed.clear()
            self._parsed[subject] = found
        return found

    def require_subject(self, subject: object, has_headers: bool = False) -> None:
        """Raise `SubjectMismatch` unless `subject` is one of the contract to publish to.

        `has_headers`: those that its class declares are there.
        """
        self.contract.require(subject)
        cls: Any = type(subject)
        if issubclass(cls, ReadOnlySubject):
            raise SubjectMismatch(f"{subject} is a subject of other publishers: it can be read, and not published to")
        if (sharding := self.contract.sharding_of(cls.NAME)) is not None:
            self.sharded_subjects[cls] = sharding
        if not issubclass(cls, HeadedSubject):
            self.known_subjects.add(cls)
        elif not has_headers:
            headers: Any = vars(cls)["HEADERS"]
            raise SubjectMismatch(f"{subject} needs its headers: publish to subject.with_headers({headers.__name__}(...))")

    # ---- publishing bytes

    def submit(self, request: PublishRequest, *, guarded: bool = False) -> Coroutine[Any, Any, asyncio.Future[PubAck]]:
        """Put `request` into the ack window: see `AckWindow.submit`.

        `guarded`: through the circuit of its stream, which refuses it with `PublishCircuitOpen`
        while it is open. That is for publishes of callers. The SDK's own (results, dead letters,
        audit, ...) wait for their stream: if they failed at once, work would only be repeated.

        A publish that an interest stream would drop raises `NoInterest`.
        """
        # A plain function that returns the window's coroutine: another around it costs every
        # message.
        is_guarded = guarded and self.circuits is not None
        if self.events.observers:
            return observed(self.events, request, self.window, self._submit_guarded if is_guarded else self._submit)
        return self._submit_guarded(request) if is_guarded else self._submit(request)

    def submit_guarded(self, request: PublishRequest) -> Coroutine[Any, Any, asyncio.Future[PubAck]]:
        """`submit` with `guarded`, as fast as it can be."""
        if self.circuits is None or self.events.observers:
            return self.submit(request, guarded=True)
        return self._submit_guarded(request)

    def submit_now(self, request: PublishRequest, *, guarded: bool = False) -> asyncio.Future[PubAck] | None:
        """`submit` without a coroutine; None, and nothing is sent, where it would have to wait or
        ask, or has observers. See `AckWindow.submit_now`."""
        future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        return future if self.submit_for(future, request, guarded=guarded) else None

    def submit_guarded_now(self, request: PublishRequest) -> asyncio.Future[PubAck] | None:
        """`submit_now` with `guarded`."""
        return self.submit_now(request, guarded=True)

    def send_here(self, future: AckFuture, request: PublishRequest) -> bool:
        """`submit_for`, guarded, in a thread that is not the loop's: see `AckWindow.send_here`."""
        return self.submit_for(future, request, guarded=True, here=True)

    def submit_for(
        self, future: AckFuture, request: PublishRequest, *, guarded: bool = False, here: bool = False, at_once: bool = True
    ) -> bool:
        """`submit_now` with a future of the caller's own; whether it will be ended.

        `here`: in a thread that is not the loop's.
        """
        stream, tally = request.stream, None
        if self.events.observers or stream in self._missing.streams:
            return False
        if guarded and self.circuits is not None and (tally := self.circuits.closed.get(stream)) is None:
            return False
        if stream is not None and stream in self._interest_streams and not self.interest.knows(stream, request.subject):
            return False
        if here:
            return self.window.send_here(future, request, tally)
        return self.window.submit_for(future, request, tally, at_once)

    def _submit(self, request: PublishRequest, tally: Tally | None = None) -> Coroutine[Any, Any, asyncio.Future[PubAck]]:
        stream = request.stream
        if stream is not None and stream in self._interest_streams and not self.interest.knows(stream, request.subject):
            submitted = self._submit_checked(request, tally)
        else:
            submitted = self.window.submit(request, tally)
        return self._missing.noticing_return(stream, submitted) if stream in self._missing.streams else submitted

    async def _submit_checked(self, request: PublishRequest, tally: Tally | None) -> asyncio.Future[PubAck]:
        timeout = self.publish_timeout if request.timeout is None else request.timeout
        try:
            try:
                left = await self.interest.require(request, timeout)
            except NoInterest:  # the consumers of a former layout are deleted in the end
                moved = await self._relocate(request)
                if moved is None:
                    raise
                request, left = moved, await self.interest.require(moved, timeout)
        except SmithError as error:
            self._missing.notice(error)
            if tally is not None:
                tally.failed(error)
            raise
        return await self.window.submit(msgspec.structs.replace(request, timeout=left), tally)

    def _submit_guarded(self, request: PublishRequest) -> Coroutine[Any, Any, asyncio.Future[PubAck]]:
        circuits = self.circuits
        assert circuits is not None
        tally = circuits.closed.get(request.stream)
        return self._submit(request, tally) if tally is not None else self._ask_circuit(circuits, request)

    async def _ask_circuit(self, circuits: PublishCircuits, request: PublishRequest) -> asyncio.Future[PubAck]:
        """Publish to a stream whose circuit is not known to be closed."""
        try:
            tally = circuits.acquire(request)
        except PublishCircuitOpen:
            if circuits.should_yield:
                await asyncio.sleep(0)
            raise
        if not isinstance(tally, Probe):
            return await self._submit(request, tally)
        try:
            future = await self._submit(request, tally)
        except BaseException:
            tally.ended()
            raise
        future.add_done_callback(tally.ended)
        return future

    # ---- publishing many at once: see `aio.bulk`

    def tally(self, request: PublishRequest) -> Tally | None:
        """Ask the circuit of its stream for a bulk that begins with `request`.

        The tally learns how the bulk ends; it may be a `Probe`, whose `ended` has to be called.
        Raises `PublishCircuitOpen`.
        """
        circuits = self.circuits
        if circuits is None:
            return None
        tally = circuits.closed.get(request.stream)
        return circuits.acquire(request) if tally is None else tally

    def may_be_dropped(self, request: PublishRequest) -> bool:
        """Whether its stream keeps only what a consumer wants, and none is known to want this."""
        stream = request.stream
        return stream in self._interest_streams and not self.interest.knows(stream, request.subject)

    async def why_no_answer(self, stream: str) -> SmithError | None:
        """Why no server answers for `stream`; None if waiting may help."""
        try:
            return await self._why_no_ack(stream)
        except SmithError as error:
            log.info("could not find out why no server answers for stream %s: %s", stream, error, extra=LogFields(stream=stream))
            return None

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        stream: str | None,
        msg_id: str,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        shard: Placed | None = None,
    ) -> PubAck:
        """Publish bytes. The arguments are the fields of `PublishRequest`."""
        return await self.publish_request(PublishRequest(subject, data, stream, msg_id, headers, timeout, shard=shard))

    def publish_request(self, request: PublishRequest, *, at_once: bool = True) -> Awaitable[PubAck]:
        """Put `request` into the ack window as `submit` does. Await its acknowledgement at once.

        Without `at_once` it is written together with all of this turn of the event loop.
        """
        # A plain function: a coroutine around the future costs 1 % of an admitted intent.
        prompt: PromptFuture[PubAck] = PromptFuture()
        return prompt if self.submit_for(prompt, request, at_once=at_once) else self._submit_and_wait(request)

    async def _submit_and_wait(self, request: PublishRequest) -> PubAck:
        return await (await self.submit(request))

    def resend_seconds(self, stream: str) -> float:
        """How long after its first sending `stream` is sure to remember a message's id."""
        return self._resend_seconds.get(stream, 0.0)

    def drops_oldest(self, stream: str) -> bool:
        """Whether a full `stream` makes room for a message, instead of refusing it."""
        return any(spec.name == stream and spec.discard == "old" for spec in self.contract.streams)

    def consumer_state(self, stream: str, consumer: str) -> ConsumerState:
        """What this bus knows of `consumer`, shared by its readers."""
        found = self._consumers.get((stream, consumer))
        if found is None:
            found = ConsumerState(stream, consumer, partial(self.api.consumer_info, stream, consumer), self.replaced)
            self._consumers[stream, consumer] = found
        return found

    def forget_interest(self) -> None:
        """Consumers were created or changed: what is known of their filters is out of date."""
        self.interest.forget()

    def _on_replaced(self, stream: str) -> None:
        """`stream` was created again: what is known of it is about the former one."""
        self.interest.forget(stream)
        self.bulk_support.forget(stream)
        for state in self._consumers.values():
            if state.stream == stream:
                state.forget()

    # ---- no responders

    async def _relocate(self, request: PublishRequest) -> PublishRequest | None:
        spec = None if request.shard is None else request.shard.spec
        before = None if spec is None else self.layouts.publishing(spec)
        found = await relocated(self.layouts, request)
        if spec is not None and self.layouts.publishing(spec) != before:
            self.interest.forget()  # the consumers of the other layout may have been created just now
        return found

    async def _why_no_ack(self, stream: str) -> SmithError | None:
        try:
            info = await self.api.stream_info(stream)
        except _DEFINITE as error:
            self.interest.forget(stream)
            self._missing.notice(error)
            return error
        declared = next((spec.subjects for spec in self.contract.streams if spec.name == stream), ())
        for spec in filter(self.layouts.is_changed, self.contract.shardings):
            declared = tuple(one for one in declared if not one.startswith(f"{spec.prefix}.shard."))
        captured = info["config"].get("subjects") or []
        missing = [subject for subject in declared if not any(covers(pattern, subject) for pattern in captured)]
        if missing:
            return StreamNotFound(
                f"stream {stream} on {self.api.where} does not capture {', '.join(missing)} as the contract declares: {APPLY}",
                stream=stream,
            )
        return None

    async def why_no_messages(self, stream: str, consumer: str) -> SmithError | None:
        """Why no server answers a pull; None if pulling again may help, as between two leaders."""
        try:
            await self.api.consumer_info(stream, consumer)
        except _DEFINITE as error:
            return error
        return None


def _max_sizes(contract: Contract, profile: str) -> dict[str | None, int]:
    """The largest message (bytes, headers included) of each stream that has a limit in `profile`.

    A contract without such a profile: the largest in any of its profiles, which the server may
    still refuse.
    """
    chosen = [one for one in contract.profiles if one.name == profile] or contract.profiles
    found: dict[str | None, int] = {}
    for specs in [contract.profile(one.name) for one in chosen] or [contract.streams]:
        for spec in specs:
            limit = spec.max_msg_size if spec.max_msg_size is not None and spec.max_msg_size > 0 else _NO_LIMIT
            found[spec.name] = max(found.get(spec.name, 0), limit)
    return {name: size for name, size in found.items() if size < _NO_LIMIT}
