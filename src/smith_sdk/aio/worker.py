"""The worker: runs a handler for every message of a consumer.

`slots` has the machinery behind it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar, cast

from .._core.execution.stop_signals import stop_on_signals
from .._core.execution.stopping import Stopping
from .._core.jetstream.session import Session
from .._core.monitoring.breaker import CircuitBreaker
from ..contract import ConsumerSpec, MessageT
from ..errors import OptionsError
from ..options import Once, RateLimit, RetryPolicy, positive_int, to_seconds
from ..trust import Trust
from .answers import FailureAnswers
from .bus import AsyncSmithBus
from .consumer import require_spec, session_of
from .handlers import Handlers, KindT, ResultT
from .hooks import HookT
from .message import Message
from .message_keys import KeyedRunner, MessageKeys
from .middleware import Middleware
from .once_by_result import require_returns
from .process_runner import PresentDetached
from .registration import Kind
from .runners import Present
from .settle import WorkerStats
from .slots import DRAIN, Slots
from .verified_runner import VerifiedRunner, require_trust
from .worker_circuit import WorkerCircuit, require_breaker
from .worker_options import once_wrapper, require_ack, require_answers, require_concurrency, require_rate, require_retry

__all__ = ["Worker", "WorkerStats"]

SubjectT = TypeVar("SubjectT")


class Worker(Generic[MessageT, SubjectT]):
    """Runs a handler for the messages of `spec`, at most `concurrency` of them at once.

    A handler that returns acknowledges its message; an `IntentResult` or envelope that it returns
    is published before. If it raises (also by `sys.exit()`), the message is redelivered after
    `retry.backoff`, for up to `retry.max_attempts` attempts (default: the contract's for this
    consumer), and then dead-lettered. `Reject` dead-letters it at once, `RetryLater` has it
    redelivered after exactly that delay. A message that was delivered more often, without a
    verdict, has one isolated attempt, with no other handler beside it in the process, before it is
    dead-lettered.

    A plain function runs in a thread, or with `processes` in one of that many processes, for work
    that keeps a processor busy: there its message is for reading, and the verdict is what it
    returns or raises. `timeout` (seconds) limits each run: an async handler is cancelled, a process
    is killed. `middleware` runs around every handler. `ack="confirmed"` waits until the server has
    confirmed each ack. When the worker is stopped, its handlers have `drain_timeout` seconds to
    finish; the messages of those that have not are redelivered.

    If `spec` delivers intents, the caller of one that is dead-lettered is answered first: with an
    `IntentResult` whose `error` says why (`ResultCode`), unless the handler has published a result
    of that intent. So is the caller of one that its handler terminates, or acknowledges before it
    raises. `answer_failures=False` leaves its caller without one: for a worker beside the
    one that executes the intents.

    With `trust` the signature of each intent is verified, over the bytes as received, before its
    handler runs. One that is refused is dead-lettered, and its caller is answered with the code of
    the refusal. Replays are refused by admission, not here.

    With `once=True`, the handler of an intent that has a result is not run again: neither when it
    is redelivered, nor for a replay or a second publish, for as long as its stream keeps the result
    (48 hours). The handler has to return the `IntentResult`. With a `Once`, a message of any kind
    is not run again while it runs elsewhere and for a time after that, by its `idempotency_key`.

    `breaker` is a circuit breaker around what the handlers depend on, such as
    `CircuitBreaker(count=ConnectionError)`: each run is a call through it. While it is open, the
    worker pulls nothing, and releases what it has not started; when it is half-open, single
    messages run. A run that fails then uses up no attempt, and so does one that would be the last
    while the dependency has answered for no other message since: none is dead-lettered because a
    dependency was away. `Reject` and `RetryLater` are neither failures nor successes, nor is a run
    that `timeout` cut off, unless the breaker counts `TimeoutError`: do that if the dependency may
    leave calls without an answer. One breaker may be shared by several workers and by other code.

    `max_messages` is for handlers that leak memory: with `processes`, each process is replaced
    after that many messages, by one that was started before; without, the worker stops after them.

    With `rate_limit` handlers start no faster than it allows. With `concurrency_key`, such as
    `lambda message: message.payload.domain`, at most `per_key` (default 1) run at once for which it
    returns the same; None limits nothing. Both hold for this worker in this process. What has to
    wait stays in this process, kept from being redelivered: at most `concurrency` messages for the
    rate, and of busy keys up to 256 more, or a quarter of the consumer's `max_ack_pending` if that
    is less, so that messages of other keys are not held up by them. It costs no attempt, also when
    the worker stops. Messages of one key start in the order of their arrival; one that is
    redelivered comes after those that came before its redelivery, so they are not in order.
    `concurrency_key` is called in the event loop, once for each delivery, and must return at once;
    if it raises, the attempt has failed. It sees the payload that the handler gets, and must not
    change it.

    Raises `OptionsError` for options that do not fit together.
    """

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        spec: ConsumerSpec[MessageT, SubjectT],
        *,
        concurrency: int | None = None,
        processes: int | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        ack: Literal["sent", "confirmed"] = "sent",
        middleware: Sequence[Middleware] = (),
        drain_timeout: float | timedelta = DRAIN,
        answer_failures: bool | None = None,
        max_messages: int | None = None,
        trust: Trust | None = None,
        once: bool | Once = False,
        breaker: CircuitBreaker | None = None,
        rate_limit: RateLimit | None = None,
        concurrency_key: Callable[[Message[MessageT, SubjectT]], Hashable] | None = None,
        per_key: int | None = None,
    ) -> None:
        slots = require_concurrency("Worker", concurrency, processes)
        confirm = require_ack("Worker", ack)
        self._bus = bus
        session = session_of(bus)
        self.spec = require_spec(spec)
        policy = require_retry("Worker", retry, spec.max_attempts)
        self._concurrency = slots
        self._drain = to_seconds("Worker.drain_timeout", drain_timeout)
        self._handlers = Handlers(
            spec.name,
            session.contract,
            spec,
            slots=slots,
            processes=processes is not None,
            timeout=None if timeout is None else to_seconds("Worker.timeout", timeout),
            middleware=middleware,
            events=session.events,
        )
        answers = require_answers("Worker", session.contract, spec, answer_failures)
        self._processes = processes is not None
        self._trusts = False
        self._keys = _keys_of(session, spec, concurrency_key, per_key)
        circuit = None if breaker is None else WorkerCircuit(self._handlers, require_breaker(breaker), policy)
        self._slots = Slots(
            session,
            spec,
            circuit or self._handlers,
            policy,
            concurrency=slots,
            drain=self._drain,
            confirm=confirm,
            answers=FailureAnswers(session, spec.name) if answers else None,
            circuit=circuit,
            rate=require_rate("Worker", rate_limit),
            keys=self._keys,
        )
        if self._keys is not None:
            keys = self._keys
            self._slots.wrap_runner(lambda runner: KeyedRunner(runner, keys))
        self._once = once
        self._run_once()
        if trust is not None:  # around `once`: what is not trusted is not looked for either
            self._verify(trust)
        if max_messages is not None:
            self._limit(max_messages)

    def _run_once(self) -> None:
        wrap = once_wrapper("Worker", session_of(self._bus), self.spec, self._once)
        if wrap is not None:
            self._slots.wrap_runner(wrap(self._slots))

    def _limit(self, max_messages: int) -> None:
        """Set `max_messages`, unless it runs. For the command line."""
        limit = positive_int("Worker.max_messages", max_messages)
        if self._processes:
            self._handlers.limit(limit)
        else:
            self._slots.max_messages = limit

    def _verify(self, trust: Trust) -> None:
        """Set `trust`, unless it runs or has one. For the command line."""
        if self._trusts:
            raise OptionsError(f"the worker of {self.spec.name} has a trust of its own: leave out --keys, or its trust")
        self._trusts = True
        self._slots.wrap_runner(
            lambda runner: VerifiedRunner(runner, require_trust(session_of(self._bus).contract, self.spec, trust))
        )

    def _show_as(self, present: Present, detached: PresentDetached) -> None:
        """Have handlers get what `present`, in a process `detached`, makes of a message.

        For the blocking face: async handlers are refused. `detached` is pickled.
        """
        self._handlers.show_as(present, detached)
        if self._keys is not None:
            self._keys.show_as(present)

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles messages that no handler is registered for by their type.

        Raises `OptionsError` for a second one, and for one that does not fit the worker's options.
        """
        self._add(function, None)
        return function

    def _add(self, function: Callable[..., Any], kind: type | None) -> None:
        if self._once is True:
            require_returns(self.spec.name, function)
        self._handlers.add(function, kind)

    def handler_for(
        self, kind: Kind[MessageT, KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator, such as `@worker.handler_for(FsReadV1Intent)`, for messages with such a
        payload.

        A message that has no handler is dead-lettered. Raises `OptionsError` as `handler` does, and
        for a class of payloads that the consumer never delivers.
        """
        self._handlers.require_kind(kind)

        def add(function: Callable[[Message[KindT, SubjectT]], ResultT]) -> Callable[[Message[KindT, SubjectT]], ResultT]:
            self._add(function, cast("type", kind))
            return function

        return add

    def on_start(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` before it pulls the first message.

        It opens what the handlers need, and keeps that where they find it, such as in a global
        variable of its module. With `processes` each of them calls it as well, before its first
        message. Hooks run in the order of registration, plain functions in a thread. If one raises,
        so does `run()`, and nothing was pulled.

        Raises `OptionsError` for an async function on the blocking face or with `processes`, and
        for one that takes arguments.
        """
        self._handlers.add_hook(function, self._handlers.hooks.start)
        return function

    def on_stop(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` after the last handler has ended, and also after a
        failure, be it that of an `on_start` hook.

        With `processes` each of them calls it as well, unless it is killed. Hooks run in reverse
        order, for 5 seconds altogether. All of them run; an error is logged, and `run()` raises the
        first one unless it raises another error already. Raises `OptionsError` as `on_start` does.
        """
        self._handlers.add_hook(function, self._handlers.hooks.stop)
        return function

    @property
    def name(self) -> str:
        """A name for logs and reports: "worker executor-fs-read"."""
        return self._slots.name

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: the consumer, its concurrency and its `stats`."""
        return self._slots.describe()

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        return self._slots.stats

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()` or a signal; then finish what was started.

        The first signal drains the worker. A second one, at least half a second later, cancels the
        handlers and naks their messages at once; processes are killed, and a function in a thread
        is left behind, to end with the program.

        `signals` are those that do so. None: SIGTERM and SIGINT, each unless the program has
        a handler of its own for it, as a web server does, or ignores it; and none outside the main
        thread. `(signal.SIGTERM,)`: this one in any case; a handler of the program's own is called
        as well. `()`: none, so that the program calls `stop()`. When the worker ends, the handlers
        that it found are put back.

        A consumer or stream that is deleted meanwhile is waited for: if it is created again within
        10 seconds, the worker reads it from its start. Handlers that run for messages of the former
        stream finish, and settle nothing of the new one.

        Raises what ends the reading: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`,
        `BusClosed`; `PermissionDenied` for a pull, and for what the worker itself sends (acks, dead
        letters, attempt markers, answers, and what a handler returned): its message is redelivered
        then, after five seconds or its ack wait; what a hook raises; `OptionsError` without a
        handler, while it is running already, and for `signals` outside the main thread; with
        `processes` also `HandlerProcessDied` if they do not start, with plain handlers
        `RuntimeError` if the system has no more threads. If it is cancelled, it cancels its
        handlers and naks their messages at once.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    @contextlib.contextmanager
    def _until_stopped(self, signals: Collection[int] | None) -> Iterator[Stopping]:
        """What ends a run, within the thread that calls `run`: signals reach the main one only."""
        stopping = Stopping()
        with stop_on_signals(stopping, signals):
            yield stopping

    async def _run(self, stopping: Stopping) -> None:
        if not self._handlers:
            raise OptionsError(f"the worker of {self.spec.name} has no handler: decorate one with @worker.handler")
        await self._slots.run(stopping)

    async def stop(self, *, now: bool = False) -> None:
        """Pull no more, nak what was not started, and wait for the handlers that run.

        With `now`, cancel them instead and nak their messages at once, as a second signal does.
        Safe to repeat. If the worker is not running, its next `run` returns at once: that may be a
        task that has yet to start. A handler or hook that stops its own worker does not wait, since
        it would wait for itself.
        """
        await self._slots.stop(now=now)

    def _stop_closed(self) -> None:
        self._slots.stop_closed()

    def __repr__(self) -> str:
        return f"<Worker of {self.spec.name}, concurrency {self._concurrency}>"


def _keys_of(session: Session, spec: ConsumerSpec[Any, Any], function: Any, per_key: int | None) -> MessageKeys | None:
    if function is None:
        if per_key is not None:
            raise OptionsError("Worker.per_key: it goes with concurrency_key, which says what the key of a message is")
        return None
    return MessageKeys(session, spec, function, 1 if per_key is None else per_key)
