"""One message of a consumer: from its delivery through its handler to a verdict that was applied.

The server's own count of deliveries is read *before* a handler runs, so a process that dies at any
point loses nothing: a delivery beyond the last attempt is an isolated attempt (`last_run`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import perf_counter_ns
from types import FrameType
from typing import Any

from .._core.connection.parser import RawMessage
from .._core.events import Tracer, begin, end
from .._core.execution.isolation import ISOLATION
from .._core.execution.stopping import Stopping
from .._core.jetstream.delivery import ACK_PREFIX, num_delivered
from .._core.jetstream.session import Session
from ..contract import ConsumerSpec
from ..errors import ContractError, PermissionDenied, SmithError
from ..options import RetryPolicy
from .blocked import report_blocked
from .forgotten import ForgottenCalls
from .last_run import LastRun
from .message import Guard, Message
from .message_runner import MessageRunner
from .middleware import Outcome
from .runners import CannotRun
from .settle import ACK, DeadLetter, Release, Retry, Settler, Verdict, decide, decide_undecodable, release
from .worker_circuit import WorkerCircuit

Undecodable = Callable[[Message[Any, Any], ContractError, DeadLetter], Awaitable[Verdict]]
"""The verdict on a message whose payload or subject is invalid, given the one of any worker."""


class Attempts:
    """Runs `runner` for the messages of one consumer, and settles them.

    `undecodable` None: such a message is a dead letter. `circuit`: what the runs are calls through,
    if they are.
    """

    def __init__(
        self,
        session: Session,
        spec: ConsumerSpec[Any, Any],
        runner: MessageRunner,
        policy: RetryPolicy,
        settler: Settler,
        *,
        undecodable: Undecodable | None,
        circuit: WorkerCircuit | None,
    ) -> None:
        self._session = session
        self._spec = spec
        self.runner = runner
        self._policy = policy
        self._settler = settler
        self._undecodable = undecodable
        self._circuit = circuit
        self._first_success = decide(None, 1, policy)
        self._first_delivery = f"{ACK_PREFIX}{spec.stream}.{spec.name}.1."
        """What most ack subjects begin with: cheaper to look for than the number is to read."""
        self._forgotten = ForgottenCalls(spec.name)
        self.last_run = LastRun(session, spec.name, spec.ack_wait, settler, self._attempt)
        self.busy = 0
        """Nanoseconds that handlers have run, altogether."""
        self.stopping: Stopping | None = None
        """None while nothing runs."""
        self.owner: asyncio.Task[None] | None = None
        """The task of the run: None once it cancels its slots, and while nothing runs."""
        self.guard: Guard | None = None
        """What is asked before a handler starts, and before anything is sent for its message."""
        self.failure: BaseException | None = None
        """What has ended the run."""

    @property
    def is_stopping(self) -> bool:
        """Whether no further message will be started."""
        return self.stopping is not None and self.stopping.draining

    @property
    def _may_nak(self) -> bool:
        """Whether a message is nak'ed although its handler may go on in a thread."""
        return self.runner.cancellable or (self.stopping is not None and self.stopping.at_once)

    async def traced(self, tracer: Tracer, raw: RawMessage, slot: asyncio.Task[Any]) -> None:
        """`process`, as an operation of `tracer`."""
        operation = begin(tracer.on_process, raw)
        try:
            await self.process(raw, slot)
        except BaseException as error:
            end(operation, error)
            raise
        end(operation)

    async def process(self, raw: RawMessage, slot: asyncio.Task[Any]) -> None:
        """Run and settle one message, in the task `slot`. Raises what has to end the slot."""
        message: Message[Any, Any] = Message(raw, self._session)
        message._retry, message._stopping = self._policy, self.stopping
        if self.guard is not None:
            message._guard, message._fence = self.guard, self.guard.fence
        self._settler.begin(message)
        try:
            if self._settler.owed and await self._settler.apply_owed(message):
                return
            try:
                message.payload  # noqa: B018 -- decodes, and remembers
            except ContractError as error:
                await self._settler.apply(message, await self._reject(message, error))
                return
            number = 1 if raw.reply.startswith(self._first_delivery) else num_delivered(raw.reply)
            if 0 < self._policy.max_attempts <= number:
                number = await self._settler.uncounted.attempt(message, number)
            if 0 < self._policy.max_attempts < number:
                await self.last_run.run(message, number, slot)
                return
            if not ISOLATION.begin():
                await ISOLATION.wait()
            try:
                verdict = await self._attempt(message, number, slot)
                if verdict is not ACK or not self._settler.ack_now(message):
                    await self._settler.apply(message, verdict)
            finally:
                ISOLATION.end()
        except BaseException as error:
            is_final = self._end_if_final(error)
            await self._settler.apply(message, release(error, cancellable=self._may_nak))
            if not is_final and not isinstance(error, SmithError):
                raise

    def _end_if_final(self, error: BaseException) -> bool:
        """End the run if no attempt can succeed after `error`; whether that is so.

        A `PermissionDenied` here is for an output of the worker: its handler's own errors end in a
        verdict.
        """
        cause = error.__cause__ if isinstance(error, CannotRun) else error
        if cause is error and not isinstance(error, PermissionDenied):
            return False
        self.failure = self.failure or cause
        if self.stopping is not None:
            self.stopping.request()
        return True

    async def _reject(self, message: Message[Any, Any], error: ContractError) -> Verdict:
        number = await self._settler.uncounted.attempt(message, num_delivered(message._raw.reply))
        contract, delay = self._session.contract, message.metadata.next_delay or 0.0
        verdict = decide_undecodable(error, number, self._policy, contract, delay=delay)
        if isinstance(verdict, Retry) or self._undecodable is None:
            return verdict
        return await self._undecodable(message, error, verdict)

    async def _attempt(self, message: Message[Any, Any], number: int, slot: asyncio.Task[Any]) -> Verdict:
        """Run the handler and publish what it returns.

        Raises what ends the slot: no message may, also not by `SystemExit`.
        """
        began = perf_counter_ns()
        try:
            if message._guard is not None:
                message._require_shard()
            outcome = await self.runner.run(message)
            if slot.cancelling():
                await asyncio.sleep(0)  # a handler that cancelled itself and has not waited since is cancelled here
            if outcome is not None or message._unstarted:
                await self.conclude(message, outcome)
        except BaseException as error:
            if isinstance(error, CannotRun):
                self._end_if_final(error)
            verdict = decide(
                error,
                number,
                self._policy,
                delay=message.metadata.next_delay or 0.0,
                cancelled=await self._is_cancelled(slot),
                cancellable=self._may_nak,
                stopping=self.is_stopping,
            )
            if self._circuit is not None:
                verdict = self._circuit.judge(message, error, verdict)
            if isinstance(verdict, Release):
                raise
            return verdict
        finally:
            self.busy += perf_counter_ns() - began
        return self._first_success if number == 1 else decide(None, number, self._policy)

    async def conclude(self, message: Message[Any, Any], outcome: Outcome) -> None:
        """Publish what the handler of `message` has returned. Raises if it forgot an `await`."""
        if message._unstarted:
            await self._forgotten.check(message, self.runner.name_of(message))
        if outcome is not None:
            try:
                request = self._settler.request_of(outcome, message)
                # Not at once: results of messages that run beside it are written with it.
                await self._session.publish_request(request, at_once=False)
            except PermissionDenied as error:  # no attempt can succeed without it
                raise CannotRun from error

    def report_blocked(self, seconds: float, frame: FrameType) -> str | None:
        """Log a handler that blocks the loop, if one does. Called in a thread."""
        return report_blocked(self, Attempts._attempt.__code__, self.runner.name_of, self._spec.ack_wait, seconds, frame)

    async def _is_cancelled(self, task: asyncio.Task[Any]) -> bool:
        """Whether the worker cancels this slot.

        If its handler did, the slot goes on as if it had not.
        """
        while task.cancelling():
            if self.owner is None or self.owner.cancelling():
                return True
            while task.uncancel():
                pass
            with contextlib.suppress(asyncio.CancelledError):  # Python 3.11 and 3.12 would raise it later
                await asyncio.sleep(0)
        return False
