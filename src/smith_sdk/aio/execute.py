"""Executing an intent: publish it, then wait for its result, live or from the results stream.

Together with `admission`, the only hand-written modules that know names of Smith's contract.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from .. import subjects
from .._core import codec
from .._core.connection.state import Listener
from .._core.jetstream.session import Session
from ..contract import AnySubject, Envelope, Payload, new_uuid7, now_ns
from ..errors import (
    BusClosed,
    BusError,
    DeadlineExceeded,
    MessageNotFound,
    PayloadMismatch,
    PermissionDenied,
    ResultTimeout,
)
from ..protocol import AuditRef, ExecutionError, Intent, IntentResult, RunnerMetadata
from .subscription import Subscription

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = ["result_of"]


def result_of(
    intent: Intent,
    *,
    status: Literal["ok", "error", "denied", "timeout", "killed"] = "ok",
    output: Any = None,
    error: ExecutionError | None = None,
    started_at_ns: int | None = None,
) -> IntentResult:
    """A result of `intent` that was executed in this process and has just finished.

    `output` is any value that JSON has. `started_at_ns` is nanoseconds since 1970 (None: now). Pid,
    processor time and peak memory are this process's own, by `getrusage` (on Windows, which has
    none, the peak is 0). `audit_ref.hash` is the SHA-256 of the intent's JSON.
    """
    now = now_ns()
    return IntentResult(
        intent_id=intent.id,
        status=status,
        output=output,
        error=error,
        started_at_ns=now if started_at_ns is None else started_at_ns,
        finished_at_ns=now,
        runner_meta=RunnerMetadata(pid=os.getpid(), cpu_ms=int(time.process_time() * 1000), max_rss_kb=_peak_kib()),
        audit_ref=AuditRef(id=new_uuid7(), timestamp=now, hash=hashlib.sha256(codec.encode(intent)).hexdigest()),
    )


def _peak_kib() -> int:
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak  # macOS counts bytes, Linux KiB


def outcome_envelope(outcome: Payload) -> Envelope:
    """A payload that a handler returned, with its subject.

    Raises `PayloadMismatch` unless it is an `IntentResult`.
    """
    if not isinstance(outcome, IntentResult):
        raise PayloadMismatch(
            f"a handler returned a {type(outcome).__name__}: return an IntentResult, subject.envelope(payload), or nothing",
            subject="",
        )
    return subjects.results.of(outcome).envelope(outcome)


async def execute(session: Session, publish: Callable[[], Awaitable[Any]], intent: Intent, timeout: float) -> IntentResult:
    """Subscribe to the result of `intent`, `publish` the intent, and wait for the result.

    After a reconnect, and if the publish was a duplicate, the results stream is asked as well: the
    result may have been published while no subscription stood. Raises `ResultTimeout` after
    `timeout` seconds, and what `publish` raises.
    """
    subject = subjects.results(intent_id=intent.id)
    reconnected = _Reconnects()
    answer: asyncio.Future[IntentResult] | None = None
    fate, denied = "the server has not answered, so the intent was not published", ""
    try:
        # Only the caller's timeout ends this: a lost connection is replaced, and its subscription.
        async with asyncio.timeout(timeout), Subscription(session, subject, within=timeout) as messages:
            session.connection.add_listener(reconnected)
            answer = asyncio.ensure_future(_first(messages))
            fate = f"the intent may still be executed: is an executor for {intent.capability} running?"
            ack = await publish()
            if ack.duplicate:
                reconnected.happened.set()
            answer.add_done_callback(lambda _: reconnected.happened.set())
            while True:
                await reconnected.happened.wait()
                if answer.done():
                    return answer.result()
                reconnected.happened.clear()
                try:
                    stored = await _stored_result(session, subject)
                except PermissionDenied as error:  # it may still arrive on the subscription
                    denied = f"; {subject.STREAM}, which may have it, could not be asked: {error}"
                    continue
                if stored is not None:
                    return stored
    except TimeoutError:
        raise ResultTimeout(
            f"no result on {subject} within {timeout:g} s; {fate}{denied}",
            timeout=timeout,
            intent_id=intent.id,
        ) from None
    finally:
        session.connection.remove_listener(reconnected)
        if answer is not None:
            answer.cancel()


async def _first(messages: Subscription[IntentResult, AnySubject]) -> IntentResult:
    async for message in messages:
        return message.payload
    raise BusClosed("the bus was closed before the result arrived; the intent may still be executed")


async def _stored_result(session: Session, subject: subjects.results) -> IntentResult | None:
    try:
        stored = await session.api.last_message(str(subject.STREAM), str(subject))
    except MessageNotFound:
        return None
    except PermissionDenied:
        raise
    except (BusError, DeadlineExceeded):
        return None  # the connection was lost again: the next reconnect asks again
    found: IntentResult = codec.decode(IntentResult, stored.data, stored.subject)
    return found


class _Reconnects(Listener):
    """Sets `happened` when the connection is back."""

    def __init__(self) -> None:
        self.happened = asyncio.Event()

    def on_reconnect(self) -> None:
        self.happened.set()
