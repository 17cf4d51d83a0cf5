# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.worker`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, Literal

from .._core.blocking.faces import Blocking, unwrap
from ..aio import worker as _async
from ..aio.handlers import KindT, ResultT
from ..aio.settle import WorkerStats
from ..aio.slots import DRAIN
from ..aio.worker import SubjectT
from ..contract import ConsumerSpec, MessageT
from ..options import RetryPolicy
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
    of that intent. `answer_failures=False` leaves its caller without one.

    Raises `OptionsError` for options that do not fit together.
    """

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus,
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
        self, kind: type[KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator, such as `@worker.handler_for(FsReadV1Intent)`, for messages with such a
        payload.

        A message that has no handler is dead-lettered. Raises `OptionsError` as `handler` does.
        """
        found: Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]] = (
            self._aio.handler_for(kind)
        )
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

    def run(self) -> None:
        """Work until `stop()`, or SIGTERM or SIGINT in the main thread; then finish what was
        started.

        Raises what ends the reading: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`,
        `PermissionDenied`, `BusClosed`; `OptionsError` without a handler and while it is running
        already; with `processes` also `HandlerProcessDied` if they do not start, with plain
        handlers `RuntimeError` if the system has no more threads. If it is cancelled, it cancels
        its handlers and naks their messages at once.
        """
        self._portal.run(self._aio.run, self._aio.stop)

    def stop(self) -> None:
        """Pull no more, nak what was not started, and wait for the handlers that run.

        Safe to repeat. If the worker is not running, its next `run` returns at once: that may be a
        task that has yet to start. A handler that stops its own worker does not wait, since it
        would wait for itself.
        """
        self._portal.call(self._aio.stop)
