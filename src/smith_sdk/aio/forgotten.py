"""Calls of a message whose `await` was forgotten: nothing was sent, and no error was raised."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .._core.log_records import sdk_logger
from ..errors import NotAcknowledgeable, Reject
from .log_fields import message_fields
from .message import Message

log: Final = sdk_logger("worker")

_HARMLESS: Final = {
    "ack": "returning acknowledges the message all the same",
    "ack_sync": "returning acknowledges the message all the same, but unconfirmed",
    "in_progress": "the worker keeps its messages in progress all the same",
}
"""Calls whose effect a handler that returns has anyway."""


class ForgottenCalls:
    """Finds the forgotten calls of one worker's handlers, after each has returned."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer
        self._logged: set[tuple[str, str]] = set()

    async def check(self, message: Message[Any, Any], handler: str) -> None:
        """Return if `handler` may acknowledge `message` by having returned; log what it forgot.

        Raises what the attempt failed with if an ack would lose something: `Reject` for a forgotten
        `term`, so that the message is neither run again nor lost, and `NotAcknowledgeable` for
        `nack` and `publish`.
        """
        await asyncio.sleep(0)  # a task that was made of the coroutine has started by now
        for call in message._unstarted:
            what = f"{handler} called message.{call}() without `await`, which does nothing"
            if call == "term":
                raise Reject(f"{what}: the message is dead-lettered instead")
            if call not in _HARMLESS:
                raise NotAcknowledgeable(f"{what}: write `await message.{call}(...)`")
            if (handler, call) not in self._logged:
                self._logged.add((handler, call))
                log.warning("%s: %s: %s", self._consumer, what, _HARMLESS[call], extra=message_fields(message))
