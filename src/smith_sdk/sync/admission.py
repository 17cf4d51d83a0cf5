# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.admission`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, cast

from .. import subjects
from .._core.blocking.faces import Blocking, unwrap
from ..aio import admission as _async
from ..aio.decisions import Allow, Decision, Deny, Quarantine, Transform
from ..aio.executor_check import NoExecutor
from ..aio.inline_policy import inline as inline
from ..aio.settle import WorkerStats
from ..protocol import Intent
from ..trust import Trust
from .bus import SmithBus
from .message import Message

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform", "inline"]


class Admission(Blocking):
    """Consumes raw intents and vets, denies or quarantines each, with an audit event.

    `policy` is called with the decoded intent, or with the intent and its message if it takes two
    arguments, and returns a `Decision`; a plain function runs in a thread, or with `inline` in the
    event loop. `timeout` (seconds) is how long it may take: after that the attempt has failed.

    With `trust`, the signature of each intent is verified over the bytes as received before the
    policy is called, and each intent is let through once. Expired intents, and those from further
    in the future than clocks may differ (30 s, or what `trust` says), are always denied.

    While back pressure is on, new intents are quarantined without a call of the policy; what was
    released from the quarantine (`bus.quarantine`) passes.

    What no consumer is declared for, by its capability and domain, is denied with the code
    `NO_EXECUTOR`, or quarantined with `no_executor="quarantine"`; `unserved` counts it by domain.
    Where one is declared, and is not on the server, or is being moved, intents wait.

    The audit event is stored before anything comes of a decision, and is its record: after a crash
    the redelivered message leads to the same decision. The raw message is acknowledged last. While
    the audit trail or another stream cannot be written, intents are held, not lost.
    """

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
        *,
        policy: Callable[[Intent], Decision | Awaitable[Decision]]
        | Callable[[Intent, Message[Intent, subjects.intents.raw[Any]]], Decision | Awaitable[Decision]],
        executor_id: str,
        concurrency: int = 64,
        timeout: float | timedelta = 5.0,
        trust: Trust | None = None,
        no_executor: NoExecutor = "deny",
    ) -> None:
        aio = _async.Admission(
            unwrap(bus),
            policy=cast("Any", policy),
            executor_id=executor_id,
            concurrency=concurrency,
            timeout=timeout,
            trust=trust,
            no_executor=no_executor,
        )
        self._adopt(bus._portal, aio)
        self._aio._show_as(lambda message: Message._wrap(self._portal, message), Message._detached)

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        found: WorkerStats = self._aio.stats
        return found

    @property
    def unserved(self) -> Mapping[str, int]:
        """How many intents had no executor, by domain. At most some 50 domains are counted by
        themselves, beside those that the contract names; the rest is under "(others)".
        """
        found: Mapping[str, int] = self._aio.unserved
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()`, or one of `signals`; see `Worker.run`.

        Raises what `Worker.run` raises, and `PermissionDenied` as soon as the server forbids it to
        publish what it decided.
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self, *, now: bool = False) -> None:
        """Pull no more and wait for the decisions in flight; with `now` cancel them instead.

        See `Worker.stop`. Safe to repeat.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop, now=now)
