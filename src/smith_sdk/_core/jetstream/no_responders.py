"""Messages for which no server answers: why that is, or another place for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final

from ...errors import SmithError
from ..log_records import LogFields, sdk_logger
from .api_errors import error_for
from .in_flight import InFlight
from .publish_request import PublishRequest

log: Final = sdk_logger("publish")

Diagnose = Callable[[str], Awaitable[SmithError | None]]
"""Called if no server answers for a stream. Returns the reason, or None if waiting may help."""
Relocate = Callable[[PublishRequest], Awaitable[PublishRequest | None]]
"""Called before that for what has a shard. Returns it with another subject, None without any."""
Resend = Callable[[Sequence[int]], Awaitable[None]]
"""Sends the messages of these tokens again, in order."""


class Diagnosis:
    """Asks, once at a time for all messages to a stream, whether waiting helps; if not, it ends
    them."""

    def __init__(self, in_flight: InFlight, diagnose: Diagnose, relocate: Relocate, resend: Resend) -> None:
        self._in_flight = in_flight
        self._diagnose = diagnose
        self._relocate = relocate
        self._resend = resend
        self.running: set[str] = set()
        """What is being asked about."""

    async def run(self, question: str) -> None:
        """About the stream, or the subject, that messages in flight have as their `question`."""
        try:
            await self._relocate_refused(question)
            error = await self._diagnose(question)
        except SmithError as failure:
            fields = LogFields(stream=question)
            log.info("could not find out why no server answers for stream %s: %s", question, failure, extra=fields)
            error = None
        finally:
            self.running.discard(question)
        for token, entry in tuple(self._in_flight.entries.items()):
            if entry.question == question:
                if error is not None:
                    self._in_flight.fail(token, error_for(entry.request, error))
                elif entry.resend_at == inf and not entry.may_be_stored:
                    self._in_flight.unconfirmed(token, f"no server answers for stream {question} at the moment")

    async def _relocate_refused(self, question: str) -> None:
        """Send those again, in order, for which another layout of their sharding has a place."""
        moved: list[int] = []
        for token, entry in tuple(self._in_flight.entries.items()):
            if entry.refused and entry.request.shard is not None and entry.question == question:
                request = await self._relocate(entry.request)
                if request is not None and entry.refused:
                    entry.request, entry.resend_at = request, 0.0
                    entry.attempts = entry.attempts if entry.may_be_stored else 0
                    moved.append(token)
        if moved:
            await self._resend(moved)
