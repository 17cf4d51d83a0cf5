"""The requests to a service: from their arrival, through its handlers, to their answers."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any, Final

from .._core.connection import headers as header_block
from .._core.connection.parser import RawMessage
from .._core.execution.stopping import Stopping
from .._core.foreign_text import one_line
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.services.format import EndpointInfo, EndpointStats
from ..contract import RequestSubject
from ..errors import ContractError, HandlerTimeout, OptionsError, PayloadMismatch, SmithError
from .message import Message
from .publisher import encoded
from .requests import CODE, ERROR
from .runners import Run

log: Final = sdk_logger("service")

INVALID: Final = "400"
FAILED: Final = "500"
UNAVAILABLE: Final = "503"
TOO_LONG: Final = "504"
_MOST_WAITING: Final = 1024
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Requests, and bytes of them, that wait for a free slot. More are refused."""
_MOST_REFUSING: Final = 256
"""Refusals in flight; beyond that requests are dropped, and their callers time out."""

inside: Final[contextvars.ContextVar[Calls | None]] = contextvars.ContextVar("smith_sdk.service", default=None)
"""The calls of the service that runs the current handler, also in the handler's thread."""


class Endpoint:
    """A handler, the requests that it is for, and its counts."""

    def __init__(self, info: EndpointInfo, patterns: tuple[str, ...], run: Run, handler: str) -> None:
        self.info = info
        self.patterns = patterns
        self.run = run
        self.handler = handler
        """Its name, for logs."""
        self._requests = 0
        self._errors = 0
        self._last_error = ""
        self._busy = 0

    def count(self, error: str, nanoseconds: int) -> None:
        """A request was answered, with `error` unless that is ""."""
        self._requests += 1
        self._busy += nanoseconds
        if error:
            self._errors += 1
            self._last_error = one_line(error)

    def stats(self) -> EndpointStats:
        return EndpointStats(
            name=self.info.name,
            subject=self.info.subject,
            queue_group=self.info.queue_group,
            num_requests=self._requests,
            num_errors=self._errors,
            last_error=self._last_error,
            processing_time=self._busy,
            average_processing_time=self._busy // self._requests if self._requests else 0,
        )


class Refusal(Exception):
    """The answer to a request is an error with this code and description."""

    def __init__(self, code: str, description: str, data: bytes = b"", *, reason: str = "") -> None:
        super().__init__(f"{code}: {reason or description}")
        self.code = code
        self.description = description
        self.data = data


class _Call:
    """One request that is not answered yet."""

    __slots__ = ("endpoint", "is_answered", "raw")

    def __init__(self, endpoint: Endpoint, raw: RawMessage) -> None:
        self.endpoint = endpoint
        self.raw = raw
        self.is_answered = False


class Calls:
    """The requests to one service, of which `concurrency` are handled at once."""

    def __init__(self, session: Session, name: str, concurrency: int) -> None:
        self.stopping: Stopping | None = None
        """The end of the run."""
        self._session = session
        self._name = name
        self._concurrency = concurrency
        self._waiting: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._running: set[_Call] = set()
        self._used = 0
        """Slots that are in use."""
        self._slots: set[asyncio.Task[None]] = set()
        self._refusing: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Requests that wait for a free slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that handlers run for."""
        return len(self._running)

    def receiver(self, endpoint: Endpoint) -> Callable[[RawMessage], None]:
        """What takes the requests of an endpoint as they arrive."""

        def receive(raw: RawMessage) -> None:
            if not raw.reply:
                log.debug(
                    "%s: a message on %s wants no reply, and is dropped",
                    self._name,
                    raw.subject,
                    extra=LogFields(subject=raw.subject),
                )
                return
            if not self._session.services.may_answer(raw.reply):
                self._log_reply(raw)
                return
            call = _Call(endpoint, raw)
            if self._used < self._concurrency:
                self._used += 1
                self._running.add(call)
                self._start(self._slots, self._slot(call))
            elif len(self._waiting) >= _MOST_WAITING or self._waiting_bytes + len(raw.data) > _MOST_BYTES:
                self._refuse(call, "the service has too many requests")
            else:
                self._waiting.append(call)
                self._waiting_bytes += len(raw.data)

        return receive

    def _log_reply(self, raw: RawMessage) -> None:
        log.warning(
            "%s: a request on %s wants its reply on %s, where messages are published: it is dropped",
            self._name,
            raw.subject,
            raw.reply,
            extra=LogFields(subject=raw.subject),
        )

    def _start(self, tasks: set[asyncio.Task[None]], work: Any) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _refuse(self, call: _Call, why: str) -> None:
        if len(self._refusing) < _MOST_REFUSING:
            self._start(self._refusing, self._answer(call, Refusal(UNAVAILABLE, why), 0))
        else:
            call.endpoint.count(why, 0)

    async def drain(self, seconds: float) -> None:
        """Wait until every request is answered, at most for `seconds`."""
        tasks = (*self._slots, *self._refusing)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def end(self) -> None:
        """Cancel the handlers that run, and answer what is not answered."""
        left = [*self._running, *self._waiting]
        self._waiting.clear()
        self._waiting_bytes = 0
        slots = tuple(self._slots)
        for task in slots:
            task.cancel()
        if slots:
            await asyncio.wait(slots)
        for call in left:
            if not call.is_answered:
                await self._answer(call, Refusal(UNAVAILABLE, "the service was stopped"), 0)
        self._used = 0  # a slot that was cancelled before its first step has not said so
        self._running.clear()

    # ---- one request

    async def _slot(self, call: _Call) -> None:
        """Handle requests, `call` first, until none waits."""
        try:
            while True:
                await self._handle(call)
                self._running.discard(call)
                if not self._waiting:
                    return
                call = self._waiting.popleft()
                self._waiting_bytes -= len(call.raw.data)
                self._running.add(call)
        finally:
            self._running.discard(call)
            # In the turn of the loop in which nothing waited: the next request starts a slot.
            self._used -= 1

    async def _handle(self, call: _Call) -> None:
        began = perf_counter_ns()
        try:
            outcome: bytes | Refusal = await self._outcome(call)
        except Refusal as refusal:
            outcome = refusal
        await self._answer(call, outcome, perf_counter_ns() - began)

    async def _outcome(self, call: _Call) -> bytes:
        """The bytes of the reply. Raises `Refusal`."""
        message: Message[Any, Any] = Message(call.raw, self._session)
        message._stopping = self.stopping
        subject = _read(message)
        token = inside.set(self)
        try:
            reply = await call.endpoint.run(message)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            raise self._refusal(call, subject, error) from None
        finally:
            inside.reset(token)
        try:
            return encoded(self._session, call.raw.subject, subject.reply_type, reply)
        except PayloadMismatch as error:
            raise self._failed(call, error) from None

    def _refusal(self, call: _Call, subject: RequestSubject[Any, Any], error: BaseException) -> Refusal:
        """How a request is answered whose handler has raised `error`."""
        if isinstance(error, subject.ERRORS):
            return Refusal(error.code, error.description, error.data)
        if isinstance(error, HandlerTimeout):
            log.warning("%s: %s: %s", self._name, call.endpoint.handler, error, extra=LogFields(subject=call.raw.subject))
            return Refusal(TOO_LONG, "the handler took too long")
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            raise error
        return self._failed(call, error)

    def _failed(self, call: _Call, error: BaseException) -> Refusal:
        """The text of the error is for the service alone: it is in its log."""
        log.error(
            "%s: %s failed: %s",
            self._name,
            call.endpoint.handler,
            error,
            exc_info=error,
            extra=LogFields(subject=call.raw.subject, error_type=type(error).__name__),
        )
        # Of an error, anybody who may ask for the counts learns the kind alone.
        return Refusal(FAILED, "the service failed", reason=type(error).__name__)

    async def _answer(self, call: _Call, outcome: bytes | Refusal, nanoseconds: int) -> None:
        call.is_answered = True
        try:
            await self._send(call, outcome)
        except SmithError as error:
            call.endpoint.count(str(error), nanoseconds)
            log.warning("%s: a request could not be answered: %s", self._name, error, extra=LogFields(subject=call.raw.subject))
            return
        call.endpoint.count(str(outcome) if isinstance(outcome, Refusal) else "", nanoseconds)

    async def _send(self, call: _Call, outcome: bytes | Refusal) -> None:
        connection, reply = self._session.connection, call.raw.reply
        if isinstance(outcome, bytes) and len(outcome) > connection.max_payload:
            outcome = self._failed(call, PayloadMismatch(f"a reply of {len(outcome)} bytes is too large", subject=reply))
        if isinstance(outcome, bytes):
            await connection.answer(reply, outcome)
            return
        try:
            block = header_block.block_of({ERROR: one_line(outcome.description), CODE: outcome.code})
        except OptionsError:  # text that UTF-8 cannot encode
            block = header_block.block_of({ERROR: "the service failed", CODE: FAILED})
        await connection.answer(reply, outcome.data, block)


def _read(message: Message[Any, Any]) -> RequestSubject[Any, Any]:
    """The subject of a request, whose payload is decoded. Raises `Refusal`."""
    try:
        subject, _ = message.subject, message.payload
    except ContractError as error:
        raise Refusal(INVALID, str(error)) from None
    if not isinstance(subject, RequestSubject):
        raise Refusal(INVALID, f"{subject} is not a subject for requests")
    return subject
