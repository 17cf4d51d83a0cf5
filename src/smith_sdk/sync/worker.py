# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.worker`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Literal, cast

from .._core.blocking.faces import Blocking, unwrap
from .._core.monitoring.breaker import CircuitBreaker
from ..aio import worker as _async
from ..aio.handlers import KindT, ResultT
from ..aio.hooks import HookT
from ..aio.registration import Kind
from ..aio.settle import WorkerStats
from ..aio.slots import DRAIN
from ..aio.worker import SubjectT
from ..contract import ConsumerSpec, MessageT
from ..options import Once, RateLimit, RetryPolicy
from ..trust import Trust
from .bus import SmithBus
from .message import Message
from .middleware import Middleware

__all__ = ["Worker", "WorkerStats"]


class Worker(Blocking, Generic[MessageT, SubjectT]):
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

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
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
        aio = _async.Worker(
            unwrap(bus),
            spec,
            concurrency=concurrency,
            processes=processes,
            retry=retry,
            timeout=timeout,
            ack=ack,
            middleware=middleware,
            drain_timeout=drain_timeout,
            answer_failures=answer_failures,
            max_messages=max_messages,
            trust=trust,
            once=once,
            breaker=breaker,
            rate_limit=rate_limit,
            concurrency_key=cast("Any", concurrency_key),
            per_key=per_key,
        )
        self._adopt(bus._portal, aio)
        self._aio._show_as(lambda message: Message._wrap(self._portal, message), Message._detached)

    @property
    def spec(self) -> ConsumerSpec[MessageT, SubjectT]:
        found: ConsumerSpec[MessageT, SubjectT] = self._aio.spec
        return found

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles messages that no handler is registered for by their type.

        Raises `OptionsError` for a second one, and for one that does not fit the worker's options.
        """
        found: Callable[[Message[MessageT, SubjectT]], ResultT] = self._aio.handler(function)
        return found

    def handler_for(
        self, kind: Kind[MessageT, KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator, such as `@worker.handler_for(FsReadV1Intent)`, for messages with such a
        payload.

        A message that has no handler is dead-lettered. Raises `OptionsError` as `handler` does, and
        for a class of payloads that the consumer never delivers.
        """
        found: Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]] = (
            self._aio.handler_for(kind)
        )
        return found

    def on_start(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` before it pulls the first message.

        It opens what the handlers need, and keeps that where they find it, such as in a global
        variable of its module. With `processes` each of them calls it as well, before its first
        message. Hooks run in the order of registration, plain functions in a thread. If one raises,
        so does `run()`, and nothing was pulled.

        Raises `OptionsError` for an async function on the blocking face or with `processes`, and
        for one that takes arguments.
        """
        found: HookT = self._aio.on_start(function)
        return found

    def on_stop(self, function: HookT) -> HookT:
        """Decorator: `run()` calls `function()` after the last handler has ended, and also after a
        failure, be it that of an `on_start` hook.

        With `processes` each of them calls it as well, unless it is killed. Hooks run in reverse
        order, for 5 seconds altogether. All of them run; an error is logged, and `run()` raises the
        first one unless it raises another error already. Raises `OptionsError` as `on_start` does.
        """
        found: HookT = self._aio.on_stop(function)
        return found

    @property
    def name(self) -> str:
        """A name for logs and reports: "worker executor-fs-read"."""
        found: str = self._aio.name
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: the consumer, its concurrency and its `stats`."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        found: WorkerStats = self._aio.stats
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
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
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self, *, now: bool = False) -> None:
        """Pull no more, nak what was not started, and wait for the handlers that run.

        With `now`, cancel them instead and nak their messages at once, as a second signal does.
        Safe to repeat. If the worker is not running, its next `run` returns at once: that may be a
        task that has yet to start. A handler or hook that stops its own worker does not wait, since
        it would wait for itself.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop, now=now)
