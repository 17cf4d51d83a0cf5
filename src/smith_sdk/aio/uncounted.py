"""Deliveries that do not count as attempts, as one worker knows them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Final

from .._core.dead_letters import unrun
from .._core.dead_letters.store import DeadLetterStore
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from ..errors import BusClosed, PermissionDenied, SmithError, StreamNotFound
from ..options import RetryPolicy
from .message import Message

log: Final = sdk_logger("worker")

_TIMEOUT: Final = 5.0
"""Seconds for a record to be stored: the nak waits for it."""
_SOON: Final = 1.0
_MOST: Final = 10_000
"""Messages whose records could not be stored and are remembered."""


class Uncounted:
    """Which deliveries of one consumer's messages its retry policy does not count.

    Where none can be kept from counting, because no attempt is the last or the contract has no dead
    letters, nothing is stored.
    """

    def __init__(self, session: Session, consumer: str, policy: RetryPolicy) -> None:
        self._store = DeadLetterStore(session)
        self._consumer = consumer
        self._most = policy.max_attempts if session.contract.dead_letters is not None else -1
        self._unstored: dict[tuple[int, int], int] = {}
        """Deliveries whose records could not be stored, or were not asked for, by their message."""
        self._is_failing = False

    async def attempt(self, message: Message[Any, Any], number: int) -> int:
        """Which attempt the `number`-th delivery of `message` is, from 1.

        The server is asked only if it might be the last. Raises what reading raises.
        """
        if number <= 1 or not 0 < self._most <= number:
            return number
        place = message.metadata
        try:
            found = await unrun.count(self._store, place)
        except PermissionDenied as error:
            self._log(error)
            found = 0
        except StreamNotFound:
            found = 0
        except SmithError:
            self._remember(message)  # it is released without a run
            raise
        found = min(found + self._unstored.get(_key(message), 0), number - 1)
        message._uncount(found)
        return number - found

    async def add(self, message: Message[Any, Any]) -> None:
        """The delivery of `message` does not count: store that, before the nak.

        If that fails, this process remembers it; the message itself is in no danger.
        """
        if self._most <= 0:
            return
        try:
            async with asyncio.timeout(_TIMEOUT):
                await unrun.add(self._store, message.metadata, 1 + self._unstored.get(_key(message), 0))
        except (SmithError, TimeoutError) as error:
            self._remember(message)
            if not isinstance(error, BusClosed):
                self._log(error)
        else:
            self._unstored.pop(_key(message), None)
            self._is_failing = False

    async def give_back(self, messages: Sequence[Message[Any, Any]]) -> None:
        """Nak `messages`, which were not started, within a second, as a worker waits for it that
        stops. Those whose records are not stored by then count.
        """
        try:
            if self._store.session.connection.is_up:
                async with asyncio.timeout(_SOON):
                    await asyncio.gather(*map(self.add, messages))
        except TimeoutError:
            pass
        finally:
            for message in messages:
                with contextlib.suppress(SmithError):  # redelivered after its ack wait
                    await message.nack()

    def _remember(self, message: Message[Any, Any]) -> None:
        key = _key(message)
        if key not in self._unstored and len(self._unstored) >= _MOST:
            self._unstored.pop(next(iter(self._unstored)))
        self._unstored[key] = self._unstored.get(key, 0) + 1

    def _log(self, error: Exception) -> None:
        """Log a failure: once, until a record could be stored again."""
        if self._is_failing:
            return
        self._is_failing = True
        log.warning(
            "%s: deliveries without a run count as attempts for other processes, since the dead letters do not take the record: %s",
            self._consumer,
            str(error) or type(error).__name__,
            extra=LogFields(consumer=self._consumer, error_type=type(error).__name__),
        )


def _key(message: Message[Any, Any]) -> tuple[int, int]:
    place = message.metadata
    return place.stream_seq, place.timestamp
