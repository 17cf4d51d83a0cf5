"""Bulks: many messages for one stream, published in the way that the stream allows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sized
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self

from msgspec.structs import replace

from .._core.jetstream.atomic_batch import AtomicBatch
from .._core.jetstream.bulk_result import BulkMode, BulkResult, BulkWay, Told
from .._core.jetstream.bulk_support import Support
from .._core.jetstream.bulk_window import Submit, WindowBulk
from .._core.jetstream.fast_ingest import FastIngest, NoBatch, Stopped
from .._core.jetstream.publish_circuits import Probe, Tally
from .._core.jetstream.publish_request import PublishRequest
from .._core.jetstream.session import Session
from ..contract import Envelope, MessageT, PayloadOf, StreamSpec, StreamSubject, new_uuid7
from ..errors import (
    BulkError,
    ConnectionLost,
    DeadlineExceeded,
    JetStreamError,
    OptionsError,
    PermissionDenied,
    PublishError,
    PublishUnconfirmed,
    SmithError,
    SubjectMismatch,
)
from ..options import WhenDown, to_seconds
from .publisher import publish_request

__all__ = ["Bulk", "BulkResult"]

_MODES: Final = ("auto", "window", "atomic", "fast")
_FEW: Final = 500
"""Messages up to which a window is as fast: fast ingest begins and ends with a round trip."""
_YIELD_EVERY: Final = 128
"""Messages after which the loop may run: it sends what was written and reads replies. With 64, as
the window has, fast ingest with ids was a tenth slower; 256 would hold other tasks up for 3 ms."""
_UNUSED_ID: Final = "-"


class Bulk:
    """Many messages for one stream; see `bus.bulk`. Use it in an `async with` block.

    At the end of the block every message is stored, or it raises `BulkError`, which tells where to
    go on. If the block ends with an exception, an atomic batch stores nothing; in the other modes
    what was added may be stored.
    """

    def __init__(
        self, session: Session, submit: Submit, stream: str, mode: BulkMode, ids: bool, timeout: float | None, when_down: WhenDown
    ) -> None:
        self._session = session
        self._submit = submit
        self._stream = stream
        self._asked = mode
        self._ids = ids
        self._timeout = session.publish_timeout if timeout is None else timeout
        self._own_timeout = timeout
        """That of the requests. To convert one for each message took a twelfth of its time."""
        self._when_down: WhenDown = when_down
        self._reason = ""
        self._window: WindowBulk | None = None
        self._fast: FastIngest | None = None
        self._atomic: AtomicBatch | None = None
        self._skipped: dict[int, SmithError] = {}
        self._before: int | None = None
        """Last sequence of the stream before the bulk; None if it was not asked."""
        self._tally: Tally | None = None
        self._running: FastIngest | None = None
        """Fast ingest, once it has begun and until the window or the end takes its place."""
        self._may_drop = any(spec.name == stream and spec.retention == "interest" for spec in session.contract.streams)
        self._unyielded = 0
        """Messages since the event loop has run."""
        self._moving: asyncio.Task[None] | None = None
        """Sends by the window what fast ingest has left; a caller that gives up does not end it."""
        self._is_over = False
        self._result: BulkResult | None = None

    # ---- its life

    async def __aenter__(self) -> Self:
        self._session.require_open()
        if self._is_over or self._is_open:
            raise OptionsError("a bulk is used once: call bus.bulk() again")
        if self._when_down == "fail":
            self._session.connection.require_link(self._stream)
        await self._choose()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            await self._abandon(error)
        elif not self._is_over:
            await self.commit()

    async def add(
        self,
        subject: StreamSubject[MessageT],
        payload: PayloadOf[MessageT],
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a message, or keep it for the end of an atomic batch. `msg_id` and `headers` are as
        in `bus.publish`.

        Waits for room among the messages that are not acknowledged, never for one of its own. What
        is wrong with the message is raised here, and it is then not a part of the bulk:
        `SubjectMismatch` (also for a subject of another stream), `PayloadMismatch`,
        `PayloadTooLarge`, `NoInterest`, `PublishCircuitOpen`, `OptionsError`. Raises `BulkError`
        once an earlier message has ended the bulk.
        """
        if msg_id is None and not self._ids:
            msg_id = _UNUSED_ID
        elif msg_id is not None and not self._ids:
            raise OptionsError(f"msg_id={msg_id!r}: the messages of a bulk with ids=False carry none")
        request = publish_request(self._session, subject, payload, msg_id, headers, self._own_timeout)
        if (rest := self._put(request)) is not None:
            await rest

    async def add_many(self, envelopes: Iterable[Envelope]) -> None:
        """`add` for each: `subject.envelope(payload)` makes an envelope. Raises what it raises, and
        those after that are not added."""
        for envelope in envelopes:
            request = bulk_request(self._session, envelope, self._ids, self._own_timeout)
            if (rest := self._put(request)) is not None:
                await rest

    async def commit(self) -> BulkResult:
        """End the bulk before the end of the block; return what has become of it.

        Raises `BulkError` if some message is not stored.
        """
        if self._result is not None:
            return self._result
        self._require_open()
        self._is_over, self._running = True, None
        try:
            self._result = await self._commit()
        except BaseException as error:
            await self._abandon(error)
            raise
        self._end_tally(None)
        return self._result

    @property
    def result(self) -> BulkResult:
        """What has become of it, once it has ended well. Raises `OptionsError` before."""
        if self._result is None:
            raise OptionsError("the bulk has no result yet: its block has not ended, or ended with an error")
        return self._result

    @property
    def mode(self) -> BulkWay:
        """How it is published: "window", "atomic" or "fast"; `reason` tells why."""
        return "window" if self._window is not None else "atomic" if self._atomic is not None else "fast"

    @property
    def reason(self) -> str:
        """Why it is published in that way, as text."""
        return self._reason

    def __repr__(self) -> str:
        state = "over" if self._is_over else f"{self.mode}, {self._sent} messages" if self._is_open else "not begun"
        return f"<{type(self).__name__} into {self._stream}: {state}>"

    @property
    def _is_open(self) -> bool:
        return self._window is not None or self._fast is not None or self._atomic is not None

    @property
    def _sent(self) -> int:
        way = self._window or self._atomic or self._fast
        return 0 if way is None else way.sent

    def _require_open(self) -> None:
        if self._is_over:
            raise OptionsError(f"the bulk into {self._stream} is over: call bus.bulk() for another")
        if not self._is_open:
            raise OptionsError("a bulk is used in a `with` block, which begins it: async with bus.bulk(...) as bulk")

    # ---- choosing the way

    async def _choose(self) -> None:
        asked = self._asked
        if asked == "window":
            self._use_window('mode="window"')
            return
        if asked == "auto" and self._when_down == "store":
            self._use_window('when_down="store" keeps each message in the outbox until the stream has acknowledged it')
            return
        until = time.monotonic() + self._timeout
        while True:
            try:
                # for `last_seq`, by which duplicates show
                support = await self._session.bulk_support.of(self._stream, fresh=asked != "atomic" and self._ids)
                break
            except (PermissionDenied, DeadlineExceeded, ConnectionLost) as error:
                if asked != "atomic":
                    self._use_window(f"what stream {self._stream} allows is not known: {error}")
                    return
                if isinstance(error, PermissionDenied) or time.monotonic() >= until:
                    raise  # while the stream has no leader, it is asked again
        self._use(support)

    def _use(self, support: Support) -> None:
        session, stream = self._session, self._stream
        if self._asked == "atomic":
            self._reason = support.why(stream, "atomic")
            if "atomic" not in support.allowed:
                raise PublishError(f"no atomic batch for {stream}: {self._reason}", stream=stream)
            self._atomic = AtomicBatch(
                session,
                session.requests,
                stream,
                session.why_no_answer,
                timeout=self._timeout,
                max_bytes=session.window.max_bytes,
                ids=self._ids,
            )
        elif "fast" in support.allowed:
            self._reason, self._before = support.why(stream, "fast"), support.last_seq
            self._fast = FastIngest(
                session,
                stream,
                session.why_no_answer,
                timeout=self._timeout,
                max_bytes=session.window.max_bytes,
                ids=self._ids,
            )
        else:
            self._use_window(support.why(stream, "fast"))

    def _use_window(self, reason: str) -> WindowBulk:
        self._reason = reason
        self._running = None
        self._window = window = WindowBulk(self._submit, 0 if self._fast is None else self._fast.sent)
        return window

    # ---- messages

    def _put(self, request: PublishRequest) -> Coroutine[Any, Any, None] | None:
        """Send or keep a message; return what the caller has to await then, if anything."""
        # No coroutine of its own: most messages need none.
        if not self._put_now(request):
            return self._put_in_turn(request)
        self._unyielded = unyielded = (self._unyielded + 1) % _YIELD_EVERY
        return None if unyielded else asyncio.sleep(0)

    async def _put_in_turn(self, request: PublishRequest) -> None:
        if self._moving is not None:
            await self._moved(self._moving)
        self._require_open()
        if request.stream != self._stream:
            raise SubjectMismatch(
                f"{request.subject} is kept by stream {request.stream}, and this bulk is for {self._stream}: a bulk has one stream"
            )
        if self._window is not None:
            await self._window.add(self._with_id(request))
            return
        if self._session.may_be_dropped(request):
            await self._session.interest.require(request, self._timeout)
        if self._tally is None:
            self._tally = self._session.tally(request)
        if self._atomic is not None:
            self._atomic.add(request)
        elif self._fast is not None:
            await self._put_fast(self._fast, request)

    def _put_now(self, request: PublishRequest) -> bool:
        """`_put_in_turn` by fast ingest, where nothing has to be waited for, or checked."""
        fast = self._running
        if fast is None or request.stream != self._stream or (self._may_drop and self._session.may_be_dropped(request)):
            return False
        return fast.add_now(request)

    async def _put_fast(self, fast: FastIngest, request: PublishRequest) -> None:
        try:
            await fast.add(request)
            self._running = fast
            return
        except NoBatch as error:
            self._session.bulk_support.forget(self._stream)
            await self._switch(fast, str(error))
        except Stopped:
            if fast.cause is None and self._moving is None:  # `commit` has ended it meanwhile
                self._require_open()
            await self._stopped(fast)
        assert self._window is not None
        await self._window.add(self._with_id(request))

    async def _stopped(self, fast: FastIngest) -> None:
        """Go on with the window if the mode is "auto". Raises `BulkError` otherwise."""
        cause = fast.cause
        if self._moving is None and (self._asked != "auto" or not self._session.is_open):
            assert cause is not None
            await fast.finish()
            self._is_over, self._running = True, None
            self._end_tally(cause)
            raise self._error(fast.told, fast.unconfirmed[0].number if fast.unconfirmed else fast.sent, cause, fast.may_be_stored)
        await self._switch(fast, f"fast ingest stopped after {fast.told.stored} messages: {cause}")

    async def _switch(self, fast: FastIngest, reason: str) -> None:
        """From now on by the window: what is not confirmed once more, with its id, then others."""
        if self._moving is None:
            # A task of its own: every message has to be sent, also if the caller gives up.
            self._moving = asyncio.create_task(self._move(fast, reason))
        await self._moved(self._moving)

    async def _moved(self, moving: asyncio.Task[None]) -> None:
        if not moving.done():
            await asyncio.wait((moving,))
        if moving.cancelled():
            self._require_open()
        moving.result()

    async def _move(self, fast: FastIngest, reason: str) -> None:
        await fast.finish()
        self._end_tally(fast.cause)
        window = self._use_window(reason)
        until = time.monotonic() - self._session.resend_seconds(self._stream)
        for message in fast.unconfirmed:
            if fast.may_be_stored and message.sent_at < until:
                why = "it was sent by fast ingest and not confirmed, and the stream may have forgotten its id by now"
                window.failures[message.number] = PublishUnconfirmed(
                    f"{message.request.subject}: {why}; it may be stored",
                    may_be_stored=True,
                    subject=message.request.subject,
                    msg_id=message.request.msg_id,
                )
            else:
                await window.repeat(message.number, self._with_id(message.request))

    def _with_id(self, request: PublishRequest) -> PublishRequest:
        """The window sends an id with each message: it recognises by them what it sends again."""
        if self._ids:
            return request
        return replace(request, msg_id=f"{request.subject}:{new_uuid7()}")

    async def _stop_at(self, number: int, error: SmithError) -> BulkError:
        """End the bulk before message `number`, which cannot be sent; return the error for it."""
        await self.commit()
        return self._error(self._told(), number, error, may_be_stored=False)

    def _skip(self, error: SmithError) -> None:
        """Count a message that could not be sent."""
        way = self._window or self._fast
        assert way is not None
        self._skipped[way.sent] = error
        way.sent += 1

    # ---- the end

    async def _commit(self) -> BulkResult:
        atomic, fast = self._atomic, self._fast
        if atomic is not None:
            await atomic.finish()
            if atomic.cause is not None:
                raise self._error(atomic.told, 0, atomic.cause, atomic.may_be_stored)
            return self._made(atomic.told)
        if self._moving is not None:
            await self._moved(self._moving)
        elif fast is not None and self._window is None:
            await fast.finish()
            if fast.cause is not None:
                await self._stopped(fast)
        if self._window is not None:
            await self._window.finish()
        told = self._told()
        failures = {**self._skipped, **({} if self._window is None else self._window.failures)}
        if unknown := self._sent - told.stored - told.in_outbox - len(failures):
            text = f"{unknown:,} of {self._sent:,} messages for stream {self._stream} are unaccounted for; they may be stored"
            cause = PublishError(text, stream=self._stream)
            raise self._made_error(text, told, 0, failures, True, cause) from cause
        if failures:
            raise self._failed(told, failures)
        return self._made(told)

    def _told(self) -> Told:
        """What both ways together have told."""
        parts = [way.told for way in (self._fast, self._window) if way is not None]
        return Told(
            stored=sum(part.stored for part in parts),
            duplicates=sum(part.duplicates for part in parts),
            in_outbox=sum(part.in_outbox for part in parts),
            last_seq=max((part.last_seq for part in parts), default=0),
            is_exact=all(part.is_exact or not part.stored for part in parts),
        )

    def _made(self, told: Told) -> BulkResult:
        duplicates = told.duplicates
        if not told.is_exact and self._before is not None:
            # The stream has grown by all that anyone stored since: what is beyond that was not.
            grown = max(0, told.last_seq - self._before)
            duplicates = max(duplicates, told.stored - grown)
        return BulkResult(
            stream=self._stream,
            mode=self.mode,
            reason=self._reason,
            sent=self._sent,
            stored=told.stored - duplicates,
            duplicates=duplicates,
            is_exact=told.is_exact or duplicates == told.stored,
            last_seq=told.last_seq,
            in_outbox=told.in_outbox,
        )

    def _failed(self, told: Told, failures: dict[int, SmithError]) -> BulkError:
        first = min(failures)
        text = (
            f"{len(failures):,} of {self._sent:,} messages for stream {self._stream} failed, the others are stored; the first, "
            f"number {first:,}: {failures[first]}"
        )
        may_be_stored = any(isinstance(one, PublishUnconfirmed) and one.may_be_stored for one in failures.values())
        error = self._made_error(text, told, self._sent, dict(sorted(failures.items())), may_be_stored, failures[first])
        error.__cause__ = failures[first]
        return error

    def _error(self, told: Told, number: int, cause: SmithError, may_be_stored: bool) -> BulkError:
        """For a bulk that `cause` has ended before message `number`."""
        sent = self._sent
        if self._atomic is not None:
            text = f"the {sent:,} messages of the atomic batch for stream {self._stream} {self._atomic.outcome}: {cause}"
        else:
            seq = f", the last at sequence {told.last_seq:,}" if told.last_seq else ""
            others = "; later ones may be stored as well" if may_be_stored else "; no later one is"
            text = (
                f"fast ingest into stream {self._stream} stopped: its first {number:,} of {sent:,} messages are stored{seq}{others}. "
                f"Go on with message number {number:,}, counted from 0: {cause}"
            )
        error = self._made_error(text, told, number, {}, may_be_stored, cause)
        error.__cause__ = cause
        return error

    def _made_error(
        self, text: str, told: Told, number: int, failures: dict[int, SmithError], may_be_stored: bool, cause: SmithError
    ) -> BulkError:
        err_code, code = (cause.err_code, cause.code) if isinstance(cause, JetStreamError) else (0, 0)
        return BulkError(
            text,
            stream=self._stream,
            mode=self.mode,
            sent=self._sent,
            resume_from=number,
            failures=failures,
            may_be_stored=may_be_stored,
            seq=told.last_seq,
            err_code=err_code,
            code=code,
        )

    async def _abandon(self, error: BaseException | None) -> None:
        self._is_over, self._running = True, None
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait((self._moving,))
        if self._window is not None:
            self._window.abandon()
        if self._atomic is not None:
            self._atomic.abandon()
        if self._fast is not None:
            await self._fast.abandon()
        self._end_tally(error)

    def _end_tally(self, error: BaseException | None) -> None:
        """Tell the circuit of the stream how the bulk has ended, once."""
        tally, self._tally = self._tally, None
        if tally is None:
            return
        cause = error.__cause__ if isinstance(error, BulkError) else error
        if cause is None:
            tally.acked += 1
        elif isinstance(cause, SmithError):
            tally.failed(cause)
        if isinstance(tally, Probe):
            tally.ended()


def bulk_request(session: Session, envelope: Envelope, ids: bool, timeout: float | None) -> PublishRequest:
    """The request for an envelope. Raises what `publish_request` raises."""
    if not isinstance(envelope, Envelope):
        raise SubjectMismatch(f"a bulk takes what subject.envelope(payload) returns, not {type(envelope).__name__}")
    return publish_request(session, envelope.subject, envelope.payload, None if ids else _UNUSED_ID, None, timeout)


def make_bulk(
    session: Session, submit: Submit, stream: Any, mode: Any, ids: Any, timeout: float | timedelta | None, when_down: WhenDown
) -> Bulk:
    """`bus.bulk`. Raises `OptionsError`."""
    name = stream.name if isinstance(stream, StreamSpec) else stream
    declared = [spec.name for spec in session.contract.streams]
    if name not in declared:
        raise OptionsError(f"stream {name!r} is not declared in contract {session.contract.name!r}: it has {', '.join(declared)}")
    require_options(mode, ids, when_down)
    seconds = None if timeout is None else to_seconds("bulk(timeout)", timeout)
    return Bulk(session, submit, name, mode, ids, seconds, when_down)


def require_options(mode: Any, ids: Any, when_down: WhenDown) -> None:
    """Raise `OptionsError` for options of a bulk that are invalid, or do not go together."""
    if mode not in _MODES:
        raise OptionsError(f'mode={mode!r}: must be "auto", "window", "atomic" or "fast"')
    if not isinstance(ids, bool):
        raise OptionsError(f"ids={ids!r}: must be True or False")
    if mode in ("auto", "window") and not ids:
        raise OptionsError(f'ids=False: mode="{mode}" sends messages again by their ids; leave it out, or use mode="fast"')
    if mode in ("atomic", "fast") and when_down == "store":
        raise OptionsError(f'when_down="store": mode="{mode}" does not go through the outbox; use mode="auto"')


async def publish_all(
    session: Session,
    bulk_for: Callable[[str, BulkMode], Bulk],
    envelopes: Iterable[Envelope],
    mode: BulkMode,
    *,
    ids: bool,
    timeout: float | None,
) -> BulkResult:
    """`publish_many` as a bulk: `bulk_for(stream, mode)` makes it, once the stream is known."""
    reason = ""
    if mode == "auto" and isinstance(envelopes, Sized) and len(envelopes) < _FEW:
        mode, reason = "window", f"fewer than {_FEW} messages, for which the window is as fast"
    async with contextlib.AsyncExitStack() as stack:
        bulk: Bulk | None = None
        early: list[SmithError] = []
        for number, envelope in enumerate(envelopes):
            try:
                request = bulk_request(session, envelope, ids, timeout)
                if bulk is None:
                    bulk = await stack.enter_async_context(bulk_for(str(request.stream), mode))
                    bulk._reason = reason or bulk._reason
                    for error in early:
                        bulk._skip(error)
                if (rest := bulk._put(request)) is not None:
                    await rest
            except BulkError:
                raise
            except SmithError as error:
                if mode == "atomic" or (mode == "fast" and (bulk is None or not bulk._sent)):
                    raise
                if mode == "fast" and bulk is not None:
                    raise await bulk._stop_at(number, error) from error
                if bulk is None:
                    early.append(error)
                else:
                    bulk._skip(error)
        if bulk is not None:
            return await bulk.commit()
    if early:
        raise early[0]
    return BulkResult(stream="", mode="window", reason="no messages", sent=0, stored=0, duplicates=0, is_exact=True, last_seq=0)
