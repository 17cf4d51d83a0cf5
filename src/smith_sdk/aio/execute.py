"""Executing an intent: publish it, then wait for its result until the results stream has it.

Together with `admission`, `answers` and `diagnosis`, the only hand-written modules that know names
of Smith's contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

from .. import subjects
from .._core import codec
from .._core.connection.headers import MSG_ID
from .._core.connection.state import Listener
from .._core.events import Incoming, Source, begin, end
from .._core.jetstream.api import StoredMessage
from .._core.jetstream.publish_request import PubAck
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..contract import AnySubject, new_uuid7, now_ns
from ..errors import (
    BusClosed,
    PermissionDenied,
    ResultTimeout,
    SmithError,
)
from ..protocol import AuditRef, ExecutionError, Intent, IntentId, IntentResult, RunnerMetadata
from .diagnosis import diagnose
from .message import Message
from .registration import RETURNS, NotPublishable
from .stored_results import StoredResults, Strays, answered_message, words
from .subscription import Subscription

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["result_of"]

log: Final = sdk_logger("execute")

_FIRST_LOOK: Final = 0.0005
_LAST_LOOK: Final = 0.05
"""Seconds between two looks for a result that was received: it is stored a moment later."""
_SETTLED: Final = 1.0
"""Seconds after which a result that was received is not waited for any more: another one that is
stored stands in its place."""
_USE_KEPT: Final = 1_000_000
"""Nanoseconds for which a reading of processor time and memory counts: the contract's unit of the
first is a millisecond."""
_LARGEST: Final = 2**32 - 1
"""The contract's maximum of milliseconds of processor time, and of KiB: a long life has more."""


def result_of(
    intent: Intent,
    *,
    raw: bytes | None = None,
    status: Literal["ok", "error", "denied", "timeout", "killed"] = "ok",
    output: Any = None,
    error: ExecutionError | None = None,
    started_at_ns: int | None = None,
) -> IntentResult:
    """A result of `intent` that was executed in this process and has just finished.

    `output` is any value that JSON has. `started_at_ns` is nanoseconds since 1970 (None: now). Pid,
    processor time and peak memory are this process's own, by `getrusage` (on Windows, which has
    none, the peak is 0). `audit_ref.hash` is the SHA-256 of the intent's bytes as received: of
    `raw`, which is `message.raw`, or else of the intent's JSON, the same where this SDK has
    published it.
    """
    digest = hashlib.sha256(codec.encode(intent) if raw is None else raw).hexdigest()
    return result_for(intent.id, digest, status=status, output=output, error=error, started_at_ns=started_at_ns)


def result_for(
    intent_id: str,
    digest: str,
    *,
    status: Literal["ok", "error", "denied", "timeout", "killed"],
    output: Any = None,
    error: ExecutionError | None = None,
    started_at_ns: int | None = None,
) -> IntentResult:
    """`result_of` for an intent of which the id and the SHA-256 (in hex) of its bytes are known."""
    now = now_ns()
    cpu_ms, peak_kib = _used(now)
    return IntentResult(
        intent_id=IntentId(intent_id),
        status=status,
        output=output,
        error=error,
        started_at_ns=now if started_at_ns is None else started_at_ns,
        finished_at_ns=now,
        runner_meta=RunnerMetadata(pid=os.getpid(), cpu_ms=min(cpu_ms, _LARGEST), max_rss_kb=min(peak_kib, _LARGEST)),
        audit_ref=AuditRef(id=new_uuid7(), timestamp=now // 1_000_000_000, hash=digest),
    )


_latest_use: tuple[int, tuple[int, int]] = 0, (0, 0)
"""When it was read last (nanoseconds), and what it was."""


def _used(now: int) -> tuple[int, int]:
    """Milliseconds of processor time, and KiB of memory at the peak, of less than 1 ms ago.

    To read them may take 10 us on a virtual machine, a tenth of an executed intent.
    """
    global _latest_use
    at, used = _latest_use
    if not 0 <= now - at < _USE_KEPT:
        used = _read_use()
        _latest_use = now, used
    return used


def _read_use() -> tuple[int, int]:
    if resource is None:
        return int(time.process_time() * 1000), 0
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss
    # macOS counts bytes, Linux KiB
    return int((used.ru_utime + used.ru_stime) * 1000), peak // 1024 if sys.platform == "darwin" else peak


def outcome_subject(outcome: object) -> subjects.results:
    """The subject of a payload that a handler returned.

    Raises `NotPublishable` unless it is an `IntentResult`.
    """
    if not isinstance(outcome, IntentResult):
        raise NotPublishable(f"the handler returned a {type(outcome).__name__}, which is not published: {RETURNS}")
    return subjects.results.of(outcome)


async def execute(session: Session, publish: Callable[[], Awaitable[PubAck]], intent: Intent, timeout: float) -> IntentResult:
    """Subscribe to the result of `intent`, `publish` the intent, and wait for the result.

    Raises `ResultTimeout` after `timeout` seconds, and the `diagnosis.BUDGET` that it takes to find
    out why; and what `publish` raises.
    """
    tracer = session.events.tracer
    if tracer is None:
        return await _execute(session, publish, intent, timeout)
    operation = begin(tracer.on_execute, str(subjects.intents.raw.of(intent)), str(intent.id))
    try:
        result = await _execute(session, publish, intent, timeout)
    except BaseException as error:
        end(operation, error)
        raise
    end(operation)
    return result


async def _execute(session: Session, publish: Callable[[], Awaitable[PubAck]], intent: Intent, timeout: float) -> IntentResult:
    subject = subjects.results(intent_id=intent.id)
    waiting = _Waiting(session, subject)
    ack: PubAck | None = None
    subscribed = False
    pump: asyncio.Task[None] | None = None
    try:
        # Only the caller's timeout ends this: a lost connection is replaced, and its subscription.
        async with asyncio.timeout(timeout), Subscription(session, subject, within=timeout, is_traced=False) as messages:
            subscribed = True
            session.connection.add_listener(waiting)
            pump = asyncio.ensure_future(waiting.take_all(messages))
            ack = waiting.ack = await publish()
            if ack.duplicate or waiting.unstored:  # its result may have been stored before
                waiting.look()
            since = time.time_ns()
            result = await waiting.result()
            if waiting.received is not None:
                session.events.received((waiting.received,), Source(str(subject), str(subject.STREAM)), since)
            return result
    except TimeoutError:
        pass
    finally:
        session.connection.remove_listener(waiting)
        if pump is not None:
            pump.cancel()
    head = f"no result on {subject} within {timeout:g} s"
    if not subscribed:
        raise ResultTimeout(
            f"{head}; the server has not answered, so the intent was not published",
            timeout=timeout,
            intent_id=intent.id,
            state="not_published",
        )
    found = await diagnose(session, intent, None if ack is None else ack.seq, waiting.stored)
    if found.result is not None:  # it came with the timeout
        return found.result
    state, why = found.state, found.words
    if state in ("finished", "unknown") and waiting.unstored:
        state, why = "not_stored", f"a result was sent, and {subject.STREAM} has not stored it; {why}"
    raise ResultTimeout(
        f"{head}; {why}{waiting.denied}{words(waiting.strays, waiting.stored.strays)}",
        timeout=timeout,
        intent_id=intent.id,
        state=state,
        attempt=found.attempt,
        dead_letter=found.dead_letter,
    )


class _Waiting(Listener):
    """The wait for one result: until the results stream has it.

    A message on the subject only says that it is time to look. It arrives over core NATS, so also
    if its stream refuses it (too large, an answer that may not follow a result, no quorum) or does
    not exist. Every result is looked up, not only suspicious ones: the reasons for a refusal are
    the server's, and the request costs a fraction of what publishing the intent has cost.
    """

    def __init__(self, session: Session, subject: subjects.results) -> None:
        self._session = session
        self._subject = subject
        self._news = asyncio.Event()
        self.stored: Final = StoredResults(session, subject, self._is_anothers)
        self.strays: Final = Strays(subject)
        """What was received on the subject and is no result of the intent."""
        self._live: Message[IntentResult, Any] | None = None
        """The newest result that was received and may not be stored yet."""
        self._result: IntentResult | None = None
        """Its payload."""
        self._since = 0.0
        """When it was received (monotonic clock)."""
        self._any = False
        """Whether any stored result will do."""
        self._error: BaseException | None = None
        self.denied = ""
        """For the error: why the stream could not be asked."""
        self.ack: PubAck | None = None
        """Where the intent is stored, once it is."""
        self.received: Incoming | None = None
        """The message that the result was read from."""

    @property
    def unstored(self) -> bool:
        """Whether a result was received that the stream does not have."""
        return self._live is not None

    def look(self) -> None:
        """The result may be stored without having been received."""
        self._any = True
        self._news.set()

    def on_reconnect(self) -> None:
        self.look()

    async def take_all(self, messages: Subscription[IntentResult, AnySubject]) -> None:
        try:
            async for message in messages:
                payload = self.strays.read(message.raw)
                if payload is None:
                    self._warn_once()
                    continue
                if self._is_anothers(message.headers):
                    continue
                self._live, self._result, self._since = message, payload, time.monotonic()
                self._news.set()
            raise BusClosed("the bus was closed before the result arrived; the intent may still be executed")
        except SmithError as error:
            self._error = error
            self._news.set()

    def _warn_once(self) -> None:
        if self.strays.count == 1:
            log.warning(
                "a message on the subject of the result of intent %s is no result of it: %s",
                self._subject.intent_id,
                self.strays.reason,
                extra=LogFields(stream=str(self._subject.STREAM), intent_id=self._subject.intent_id),
            )

    async def result(self) -> IntentResult:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._error is not None:
                raise self._error
            pause = _FIRST_LOOK
            while self._any or self._live is not None:
                found = await self._look_up()
                if found is not None:
                    return found
                self._any = False
                if self._live is None or self.denied:
                    break
                with contextlib.suppress(TimeoutError):  # a newer message is looked up at once
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                self._news.clear()
                if self._error is not None:
                    raise self._error
                pause = min(2 * pause, _LAST_LOOK)

    async def _look_up(self) -> IntentResult | None:
        if self._live is not None and self._is_anothers(self._live.headers):
            self._live = None
        live = self._live
        if live is None and not self._any:
            return None
        try:
            stored = await self.stored.newest()
        except PermissionDenied as error:
            self.denied = f"; {self._subject.STREAM}, which may have it, could not be asked: {error}"
            self.received = None if live is None else live._raw
            return None if live is None else self._unverified(live)
        if stored is None:
            return None
        late = live is not None and time.monotonic() - self._since > _SETTLED
        if self._any or late or (live is not None and _is_same(live, stored.message)):
            self.received = stored.message
            return stored.payload
        return None

    def _is_anothers(self, headers: Mapping[str, str]) -> bool:
        """Whether it answers another raw message with the same intent id.

        Whoever replays an intent that is being executed, or sends another one with its id, is
        denied: that is no answer to the caller of the first.
        """
        place = answered_message(headers)
        return self.ack is not None and place is not None and place[0] == self.ack.stream and place[1] != self.ack.seq

    def _unverified(self, live: Message[IntentResult, Any]) -> IntentResult | None:
        """The result as received, for a caller that may not look into the stream.

        None if it is so large that the stream has certainly refused it.
        """
        stream = str(self._subject.STREAM)
        if len(live.raw) > self._session.window.limits.of(stream):
            return None
        log.warning(
            "the result of intent %s is returned without a look whether it is stored: allow publishing to "
            "$JS.API.STREAM.MSG.GET.%s",
            self._subject.intent_id,
            stream,
            extra=LogFields(stream=stream, intent_id=self._subject.intent_id),
        )
        return self._result


def _is_same(live: Message[IntentResult, Any], stored: StoredMessage) -> bool:
    """Whether `stored` is the message that was received, or what the stream keeps in its place."""
    msg_id = live.headers.get(MSG_ID)
    return live.raw == stored.data if msg_id is None else msg_id == stored.headers.get(MSG_ID)
