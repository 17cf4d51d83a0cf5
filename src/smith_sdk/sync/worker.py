# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.worker`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, Literal

from .._core.blocking.faces import Blocking, unwrap
from ..aio import worker as _async
from ..aio.handlers import KindT, ResultT
from ..aio.worker import (
    _DRAIN,
    SubjectT,
    WorkerStats,
)
from ..contract import ConsumerSpec, MessageT
from ..options import RetryPolicy
from .bus import SmithBus
from .message import Message
from .middleware import Middleware

__all__ = ["Worker", "WorkerStats"]


class Worker(Blocking, Generic[MessageT, SubjectT]):
    """Runs a handler for the messages of `spec`, up to `concurrency` at a time, until it is
    stopped.

    Returning acknowledges; a returned `IntentResult` (or envelope) is published before that.
    Raising, `sys.exit()` included, has the message delivered again after `retry.backoff`, up to
    `retry.max_attempts` runs (default: the contract's for this consumer), then it is a dead letter.
    What was delivered more often without a verdict runs once more, alone in its process, before it
    is one. `Reject` makes it one at once, `RetryLater` has it come again after exactly that long.

    A plain function runs in a thread, or with `processes` in one of so many processes, for what
    keeps a processor busy; its message is for reading there, the verdict is what it returns or
    raises. `timeout` (seconds) is for each run: an async handler is cancelled, a process is killed.
    `middleware` goes around every run. `ack="confirmed"` waits until the server has confirmed each
    acknowledgement. When it is stopped, handlers have `drain_timeout` seconds to finish; what they
    have not finished then comes again.
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
        drain_timeout: float | timedelta = _DRAIN,
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
        )
        self._adopt(bus._portal, aio)
        self._aio._show_as(lambda message: Message._wrap(self._portal, message))

    @property
    def spec(self) -> ConsumerSpec[MessageT, SubjectT]:
        found: ConsumerSpec[MessageT, SubjectT] = self._aio.spec
        return found

    def handler(
        self, function: Callable[[Message[MessageT, SubjectT]], ResultT]
    ) -> Callable[[Message[MessageT, SubjectT]], ResultT]:
        """Decorator: `function` handles the messages of this worker, those excepted that have a
        handler of their own.

        Raises `OptionsError` for a second one, and for one that is not as the worker's options want
        it.
        """
        found: Callable[[Message[MessageT, SubjectT]], ResultT] = self._aio.handler(function)
        return found

    def handler_for(
        self, kind: type[KindT]
    ) -> Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]]:
        """Decorator: the function handles those messages of this worker that carry a `kind`:
        `@worker.handler_for(FsReadV1Intent)`.

        What no handler is for is a dead letter. Raises `OptionsError` as `handler` does.
        """
        found: Callable[[Callable[[Message[KindT, SubjectT]], ResultT]], Callable[[Message[KindT, SubjectT]], ResultT]] = (
            self._aio.handler_for(kind)
        )
        return found

    @property
    def name(self) -> str:
        """What it is, for people: "worker executor-fs-read"."""
        found: str = self._aio.name
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, as JSON can say it: the consumer, its concurrency and what it has done."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    @property
    def stats(self) -> WorkerStats:
        """What it has done so far."""
        found: WorkerStats = self._aio.stats
        return found

    def run(self) -> None:
        """Work until `stop()`, or until SIGTERM or SIGINT where this is the main thread; then
        finish what was started and return.

        Raises what ends the reading: `ConsumerNotFound`, `StreamNotFound`, `JetStreamDisabled`,
        `PermissionDenied`, `BusClosed`; with `processes` also `HandlerProcessDied` where they do
        not come up, with plain handlers `RuntimeError` where the system has no more threads.
        Cancelled, it gives back what it holds at once.
        """
        self._portal.run(self._aio.run, self._aio.stop)

    def stop(self) -> None:
        """Pull nothing more, give back what was not started, and wait for the handlers that run.
        Safe to repeat.

        Where no `run` is under way, the next one returns at once: it may be a task that has yet to
        begin. A handler that stops its own worker does not wait, since it would wait for itself.
        """
        self._portal.call(self._aio.stop)
