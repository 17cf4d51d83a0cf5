"""Admission: the gate between raw and vetted intents."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from .. import subjects
from .._core.execution.stop_signals import stop_on_signals
from .._core.execution.stopping import Stopping
from .._core.result_codes import ResultCode
from ..errors import OptionsError
from ..options import RetryPolicy, positive_int, to_seconds
from ..protocol import Intent
from ..topology import consumers
from ..trust import Trust
from .admission_gate import Gate, refuse_undecodable
from .admission_outputs import Outputs
from .answers import FailureAnswers
from .bus import AsyncSmithBus
from .consumer import session_of
from .control_watch import ControlWatch
from .decision_records import Records
from .decisions import Allow, Decision, Deny, Quarantine, Transform
from .executor_check import ExecutorCheck, NoExecutor, require_choice
from .inline_policy import inline as inline
from .message import Message
from .patience import Patience
from .policy_calls import PolicyCalls, Present
from .refused_messages import Refused
from .settle import WorkerStats
from .shard_placement import VettedPlaces
from .slots import Slots

__all__ = ["Admission", "Allow", "Decision", "Deny", "Quarantine", "Transform", "inline"]


class Admission:
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

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        *,
        policy: Callable[[Intent], Decision | Awaitable[Decision]]
        | Callable[[Intent, Message[Intent, subjects.intents.raw[Any]]], Decision | Awaitable[Decision]],
        executor_id: str,
        concurrency: int = 64,
        timeout: float | timedelta = 5.0,
        trust: Trust | None = None,
        no_executor: NoExecutor = "deny",
    ) -> None:
        self._bus = bus
        session, spec = session_of(bus), consumers.admission
        if trust is not None and not isinstance(trust, Trust):
            raise OptionsError(f"Admission.trust={trust!r}: a Trust is needed, such as Trust(keys=[public_key])")
        slots = positive_int("Admission.concurrency", concurrency)
        self._policy = PolicyCalls(policy, slots, to_seconds("Admission.timeout", timeout))
        patience, records = Patience(self._is_stopping), Records(session, executor_id)
        outputs = Outputs(session, records, patience)
        control = ControlWatch(session, self._is_stopping)
        places = VettedPlaces(session)
        self._executors = ExecutorCheck(session, patience, control, places, require_choice(no_executor))
        answers = FailureAnswers(session, spec.name, ResultCode.ADMISSION_FAILED)
        refused = Refused(session, executor_id, outputs, answers, patience)
        self._worker = Slots(
            session,
            spec,
            Gate(session, trust, self._policy, records, outputs, refused, patience, control, self._executors, places),
            RetryPolicy(max_attempts=spec.max_attempts),
            concurrency=slots,
            undecodable=partial(refuse_undecodable, refused),
            answers=answers,
        )

    def _show_as(self, present: Present, detached: object) -> None:
        """Have the policy get what `present` makes of a message. For the blocking face."""
        self._policy.show_as(present)

    def _is_stopping(self) -> bool:
        return self._worker.is_stopping

    @property
    def stats(self) -> WorkerStats:
        """Its deliveries so far, by their verdict."""
        return self._worker.stats

    @property
    def unserved(self) -> Mapping[str, int]:
        """How many intents had no executor, by domain. At most some 50 domains are counted by
        themselves, beside those that the contract names; the rest is under "(others)".
        """
        return self._executors.unserved.counts

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()`, or one of `signals`; see `Worker.run`.

        Raises what `Worker.run` raises, and `PermissionDenied` as soon as the server forbids it to
        publish what it decided.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    @contextlib.contextmanager
    def _until_stopped(self, signals: Collection[int] | None) -> Iterator[Stopping]:
        stopping = Stopping()
        with stop_on_signals(stopping, signals):
            yield stopping

    async def _run(self, stopping: Stopping) -> None:
        await self._worker.run(stopping)

    async def stop(self, *, now: bool = False) -> None:
        """Pull no more and wait for the decisions in flight; with `now` cancel them instead.

        See `Worker.stop`. Safe to repeat.
        """
        await self._worker.stop(now=now)

    def _stop_closed(self) -> None:
        self._worker.stop_closed()
