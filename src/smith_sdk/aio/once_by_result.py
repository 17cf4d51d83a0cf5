"""Running the handler of an intent once: `Worker(once=True)`.

The result is the record that the handler has run: it is looked for before a run, and stored after
it on the condition that none has been stored meanwhile. Nothing else is written.

A result counts if a handler has made it, whatever its status: one that returns an error has
finished as well. What does not end a run does not count: answers to callers of intents that were
given up, and denials.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from .. import subjects
from .._core.connection import headers as wire_headers
from .._core.connection.headers import MSG_ID
from .._core.execution.turns import Turns
from .._core.jetstream.claim import EXPECTED, Taken, compare_and_set
from .._core.jetstream.delivery import ACK
from .._core.jetstream.publish_request import PublishRequest
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..contract import ConsumerSpec, Contract, Envelope
from ..errors import OptionsError, Reject
from ..protocol import IntentResult
from .answers import has_intents
from .log_fields import message_fields
from .message import Message
from .message_runner import MessageRunner, RunnerWrapper
from .middleware import Outcome
from .patience import Patience
from .publisher import publish_request
from .stored_results import ANSWER_FOR, StoredResult, StoredResults

log: Final = sdk_logger("worker")

Conclude = Callable[[Message[Any, Any], Outcome], Awaitable[None]]
"""What the slots do after a handler has returned: look for forgotten calls, publish the outcome."""


class OnceByResult(RunnerWrapper):
    """`inner`, for intents that have no result yet. Stores the result of the others itself."""

    def __init__(
        self, inner: MessageRunner, session: Session, consumer: str, conclude: Conclude, is_stopping: Callable[[], bool]
    ) -> None:
        super().__init__(inner)
        self._session = session
        self._consumer = consumer
        self._conclude = conclude
        self._patience = Patience(is_stopping, name=f"worker {consumer}", consumer=consumer, log=log)
        self._turns = Turns()
        """Redelivered while it still runs here, or published twice: the second waits and looks."""

    async def run(self, message: Message[Any, Any]) -> Outcome:
        intent_id = message.payload.id
        async with self._turns.of(intent_id):
            results = StoredResults(self._session, subjects.results(intent_id=intent_id), _is_answer, _ends_a_run)
            there = await self._patience.before_run(results.look_up)
            if there is not None:
                await self._repeat(message, there)
                return None
            outcome = await self._inner.run(message)
            await self._conclude(message, None)
            request = self._checked(message, outcome)
            if request is not None:
                await self._store(message, request, results)
            elif not message._answered or message._verdict_sent == ACK:
                await self._require_own(message, results)
        return None

    # ---- before

    async def _repeat(self, message: Message[Any, Any], there: StoredResult) -> None:
        """Have callers look for the result that is there: one that publishes again waits for it."""
        log.info(
            "%s: intent %s has its result, so it is not run again",
            self._consumer,
            message.payload.id,
            extra=message_fields(message) | LogFields(intent_id=message.payload.id),
        )
        stored = there.message
        # Over core NATS alone: the stream refuses it, having a message on the subject.
        block = wire_headers.write(stored.headers.get(MSG_ID) or message.idempotency_key, {EXPECTED: "0"})
        with contextlib.suppress(Exception):  # a caller that does not receive it looks when its time is up
            await self._session.connection.send(stored.subject, stored.data, "", block)

    # ---- after

    def _checked(self, message: Message[Any, Any], outcome: Outcome) -> PublishRequest | None:
        """The result as it is published; None if the handler has returned nothing.

        Raises `Reject` for anything else: the handler has run, and would be run again.
        """
        intent_id = message.payload.id
        subject = subjects.results(intent_id=intent_id)
        if isinstance(outcome, Envelope) and outcome.subject == subject:
            outcome = outcome.payload
        if outcome is None:
            return None
        if not isinstance(outcome, IntentResult) or outcome.intent_id != intent_id:
            what = "another intent's result" if isinstance(outcome, IntentResult) else f"a {type(outcome).__name__}"
            raise Reject(f"{self._inner.name_of(message)} returned {what}: {_NEEDED}")
        return publish_request(self._session, subject, outcome)

    async def _store(self, message: Message[Any, Any], request: PublishRequest, results: StoredResults) -> None:
        """Store the result, unless another run of the intent has stored one meanwhile."""
        assert request.stream is not None
        while True:
            put = partial(
                compare_and_set,
                self._session,
                request.stream,
                request.subject,
                request.data,
                expected=results.read_up_to,
                msg_id=request.msg_id,
            )
            if not isinstance(await self._patience.until_done(put), Taken):
                return
            if await self._patience.until_done(results.look_up) is not None:
                log.warning(
                    "%s: another worker has run intent %s meanwhile, and its result stands: this was the second run",
                    self._consumer,
                    message.payload.id,
                    extra=message_fields(message) | LogFields(intent_id=message.payload.id),
                )
                return

    async def _require_own(self, message: Message[Any, Any], results: StoredResults) -> None:
        """Raise `Reject` unless the handler has published the result itself."""
        if await self._patience.until_done(results.look_up) is None:
            raise Reject(f"{self._inner.name_of(message)} returned no result: {_NEEDED}")


_NEEDED: Final = "with once=True its result is the record that it has run, so it returns result_of(message.payload, ...)"


def _is_answer(headers: Mapping[str, str]) -> bool:
    return ANSWER_FOR in headers


def _ends_a_run(result: IntentResult) -> bool:
    return result.status != "denied"  # by an admission that marks its answers with no header


# ---- options


def require_results(contract: Contract, spec: ConsumerSpec[Any, Any]) -> None:
    """Raise `OptionsError` unless the result of what `spec` delivers is kept in a stream."""
    if not has_intents(contract, spec):
        raise OptionsError(
            f"Worker.once=True: consumer {spec.name} does not deliver intents, so no result tells what has run; pass "
            f"once=Once(bucket=..., ttl=...)"
        )
    stream = str(subjects.results.STREAM)
    if not any(one.name == stream for one in contract.streams):
        raise OptionsError(f"Worker.once=True: contract {contract.name} declares no stream {stream}, which keeps the results")


def require_returns(name: str, function: Callable[..., Any]) -> None:
    """Raise `OptionsError` if `function` is annotated to return None."""
    found = getattr(function, "__annotations__", {})
    if "return" in found and found["return"] in (None, type(None), "None"):
        raise OptionsError(f"the worker of {name}: its handler is annotated to return None; {_NEEDED}")
