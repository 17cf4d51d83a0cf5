"""The isolated attempt of a message that was delivered more often than its policy has attempts.

Earlier deliveries ended without a verdict: perhaps this message kills its process, perhaps it only
stood beside one that does, or was nak'ed. It runs once more with no other handler beside it in the
process. An attempt marker in the stream of the dead letters says so before, and another message
behind it if the process survives: a message that is redelivered while its marker stands is
dead-lettered without running, and one that never had its isolated attempt is never given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .._core.dead_letters import attempt_marker
from .._core.dead_letters.store import DeadLetterStore
from .._core.execution.isolation import ISOLATION
from .._core.jetstream.session import Session
from .._core.log_records import sdk_logger
from ..errors import ConnectionLost, DeadlineExceeded, MessageNotFound, PermissionDenied, QueueFull, SmithError
from .log_fields import message_fields
from .message import Message
from .settle import Ack, DeadLetter, Release, Retry, Settler, Verdict

log: Final = sdk_logger("worker")

_END_PAUSE: Final = 0.1
"""Seconds between attempts to end a marker while the connection is down."""

Attempt = Callable[[Message[Any, Any], int, asyncio.Task[Any]], Awaitable[Verdict]]
"""Runs the handler for a message and its number of deliveries, in the task of a slot."""


class LastRun:
    """Runs isolated attempts for one worker, one at a time.

    `patience` is the consumer's ack wait.
    """

    def __init__(self, session: Session, consumer: str, patience: float, settler: Settler, attempt: Attempt) -> None:
        self._store = DeadLetterStore(session)
        self._consumer = consumer
        self._patience = patience
        self._settler = settler
        self._attempt = attempt
        self._marking: asyncio.Future[bool] | None = None
        """The writing of the marker, from then on until the marker is removed or left behind."""

    @property
    def is_marked(self) -> bool:
        """Whether an attempt marker of this worker is being written or stands."""
        return self._marking is not None

    async def run(self, message: Message[Any, Any], number: int, slot: asyncio.Task[Any]) -> None:
        """Run and settle the `number`-th delivery of `message` alone, in the task `slot`.

        Releases it if other handlers still run after `patience` seconds. Raises `SmithError` if it
        could not be settled.
        """
        if not await ISOLATION.begin_alone(self._patience):
            log.warning(
                "%s: %s has to run alone, but other handlers still run",
                self._consumer,
                message._raw.subject,
                extra=message_fields(message),
            )
            await self._settler.apply(message, Release(delay=self._patience))
            return
        try:
            await self._run_alone(message, number, slot)
        finally:
            self._marking = None
            ISOLATION.end_alone()

    async def _run_alone(self, message: Message[Any, Any], number: int, slot: asyncio.Task[Any]) -> None:
        try:
            self._marking = asyncio.ensure_future(attempt_marker.put(self._store, message.metadata))
            # A cancelled worker has to know whether the marker is stored: the writing goes on.
            if await asyncio.shield(self._marking):
                verdict = await self._attempt(message, number, slot)
            else:
                text = f"{number - 1} deliveries ended without a verdict, the last alone"
                verdict = DeadLetter("DeliveriesExhausted", text)
            if isinstance(verdict, Retry):
                await self._end_marker(message)  # before the redelivery, which would find it
            await self._settler.apply(message, verdict)
            if isinstance(verdict, Ack):  # it may have been delivered more than once meanwhile
                await self._end_marker(message)
        except (KeyboardInterrupt, GeneratorExit):  # these end the process, perhaps because of this message
            raise
        except BaseException as error:  # the message will be redelivered, and the process has survived it
            try:
                await self._end_marker(message)
            except PermissionDenied as denied:
                error.add_note(f"then the attempt marker was left standing: {denied}")
            raise

    async def _end_marker(self, message: Message[Any, Any]) -> None:
        """Store that the attempt is over, also behind a marker that was not confirmed.

        Gives up after `patience` seconds. A marker that is left behind counts for other processes,
        not for this one. Raises `PermissionDenied`.
        """
        marking, self._marking = self._marking, None
        if marking is None:
            return
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.wait({marking})
                while True:
                    try:
                        await attempt_marker.end(self._store, message.metadata)
                        return
                    except MessageNotFound:  # it was not stored
                        return
                    except (ConnectionLost, DeadlineExceeded, QueueFull):
                        await asyncio.sleep(_END_PAUSE)
        except PermissionDenied:
            raise
        except (SmithError, TimeoutError) as error:
            log.warning(
                "%s: the attempt marker of seq %d stands, so no other process would attempt that message again: %s",
                self._consumer,
                message.metadata.stream_seq,
                str(error) or type(error).__name__,
                extra=message_fields(message, error),
            )
