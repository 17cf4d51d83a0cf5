# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.admission`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from .._core.blocking.faces import Blocking, unwrap
from ..aio import admission as _async
from ..aio.admission import (
    Allow,
    Decision,
    Deny,
    Quarantine,
    Transform,
)
from ..aio.settle import WorkerStats
from ..protocol import Intent
from .bus import SmithBus

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform"]


class Admission(Blocking):
    """Consumes raw intents and vets, denies or quarantines each, with an audit event.


    `policy` is called with the decoded intent and returns a `Decision`; a plain function runs in a
    thread. The raw message is acknowledged last, so a crash before that repeats the decision, and
    the repeated publishes are deduplicated by their ids.
    """

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus,
        *,
        policy: Callable[[Intent], Decision | Awaitable[Decision]],
        executor_id: str,
        concurrency: int = 64,
    ) -> None:
        aio = _async.Admission(unwrap(bus), policy=policy, executor_id=executor_id, concurrency=concurrency)
        self._adopt(bus._portal, aio)

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        found: WorkerStats = self._aio.stats
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()`, or one of `signals`; see `Worker.run`.

        Raises what `Worker.run` raises.
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self, *, now: bool = False) -> None:
        """Pull no more and wait for the decisions in flight; with `now` cancel them instead.

        See `Worker.stop`. Safe to repeat.
        """
        self._portal.call(self._aio.stop, now=now)
