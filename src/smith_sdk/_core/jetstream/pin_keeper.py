"""Keeps the pin of a pull loop: checks the consumer, and renews."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final, Protocol

import msgspec

from ...errors import BusClosed, ChangeRefused, ConnectionLost, JetStreamDisabled, JetStreamError, PermissionDenied, SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..log_records import ConsumerLog
from .api import NANOS, PIN_LEVEL, JetStreamApi
from .api_errors import APPLY
from .pin import DEFAULT_TIMEOUT, Pin
from .pull_absence import ABSENT
from .pull_inbox import PullInbox
from .pull_limits import PullLimits
from .pull_status import PullStatus, StatusKind

_RENEWAL: Final = {"batch": 1, "max_bytes": 1, "expires": 20_000_000}
"""A pull that carries the id, and that no message fits: it renews the pin, delivers nothing, and is
answered at once. 409 Message Size Exceeds MaxBytes: the id is pinned, and a message waits for
another pull. 408 after these 20 ms: nothing is to be delivered now; whether the id is pinned is not
told. 423: it is not."""
_ANSWERS: Final = (
    StatusKind.HEARTBEAT,
    StatusKind.ENDED,
    StatusKind.COMPLETED,
    StatusKind.BYTES_FULL,
    StatusKind.TOO_MANY_PULLS,  # it was renewed first
)
_CLEARED: Final = (StatusKind.INTERRUPTED, StatusKind.NO_RESPONDERS, StatusKind.CONSUMER_DELETED)
"""What tells that the pin, which lives in the memory of the consumer's leader, may not be there."""
_DEFINITE: Final = (*ABSENT, JetStreamDisabled, PermissionDenied, BusClosed)
_PAUSE: Final = 0.5
"""Seconds between two looks at a consumer that has no leader."""


class Pinned(Protocol):
    """The pull loop, as the keeper of its pin knows it."""

    stream: str
    consumer: str
    _where: str
    _log: ConsumerLog
    _limits: PullLimits
    _connection: Connection
    _inbox: PullInbox
    _next_subject: str
    _connected: bool
    _error: SmithError | None

    def take_all(self) -> list[RawMessage]: ...

    def _void(self) -> None: ...

    def _refill(self) -> None: ...

    def _ask_later(self) -> None: ...

    def _fail(self, error: SmithError) -> None: ...

    def _spawn(self, work: Awaitable[None]) -> None: ...


class PinKeeper:
    """Renews the pin of `loop` three times in its timeout, whether or not there is room for
    messages. Part of `loop`."""

    def __init__(self, loop: Pinned, pin: Pin, api: JetStreamApi) -> None:
        self._loop = loop
        self.pin = pin
        pin.keeper = self
        self._api = api
        self.is_ready = False
        """Whether the consumer is known to pin its readers: before that, nothing is requested."""
        self._is_unknown = False
        """Whether it was logged that this is not known."""
        self._is_confirming = False
        self._is_over = False
        self._due = asyncio.Event()

    # ---- the consumer

    async def run(self) -> None:
        """Renew until the loop has failed, or the pin was given up."""
        loop, pin = self._loop, self.pin
        while loop._error is None and not self._is_over:
            if not self.is_ready and not await self._check():
                await asyncio.sleep(_PAUSE)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pin.pause):
                    await self._due.wait()
            self._due.clear()
            pin.expire()
            if pin.id and loop._connected and loop._inbox.is_open and not self._is_over:
                await self._renew()
            loop._refill()  # whatever has been missed, an owner that has room asks for more

    def check_again(self) -> None:
        """The consumer may be another one: look at it before anything is requested."""
        self.is_ready = False
        self._due.set()

    async def _check(self) -> bool:
        """Learn the pin's timeout from the server. Whether it is known now."""
        loop = self._loop
        try:
            info = await self._api.consumer_info(loop.stream, loop.consumer)
            refusal = await self._learn(info["config"])
        except _DEFINITE as error:
            refusal = error
        except SmithError as error:  # while a leader is elected, among others
            if not self._is_unknown:
                loop._log.info("%s: not known yet whether it pins its readers: %s", loop._where, error)
            self._is_unknown = True
            return False
        if refusal is not None:
            loop._fail(refusal)
            return False
        self.is_ready, self._is_unknown = not self._is_over, False
        loop._refill()
        return True

    async def _learn(self, config: dict[str, Any]) -> SmithError | None:
        """Take over the pin's timeout. Returns why the consumer pins no reader, if it does not."""
        loop, pin = self._loop, self.pin
        if config.get("priority_policy") != "pinned_client" or pin.group not in (config.get("priority_groups") or ()):
            try:
                await self._api.require_level(PIN_LEVEL, f"pinning one reader of consumer {loop.consumer}")
            except ChangeRefused as error:
                return error
            return JetStreamError(
                f"consumer {loop.consumer} of stream {loop.stream} does not pin one reader of the group {pin.group!r} "
                f"(priority_policy={config.get('priority_policy')!r}): {APPLY}",
                stream=loop.stream,
                consumer=loop.consumer,
            )
        timeout = config.get("priority_timeout") or 0
        pin.set_timeout(timeout / NANOS if timeout > 0 else DEFAULT_TIMEOUT)
        limits = loop._limits
        limits.expires = pin.pause if limits.expires is None else min(limits.expires, pin.pause)
        return None

    # ---- renewals

    def renew_soon(self) -> None:
        """Renew now rather than at the next third of the timeout."""
        self._due.set()

    def confirm_soon(self) -> None:
        if not self._is_confirming:
            self._is_confirming = True
            self._loop._spawn(self._confirm())

    async def _confirm(self) -> None:
        loop, epoch = self._loop, self.pin.epoch
        try:
            info = await self._api.consumer_info(loop.stream, loop.consumer)
        except SmithError as error:  # the next renewal tries again
            loop._log.debug("%s: not known yet whether it is pinned: %s", loop._where, error)
            return
        finally:
            self._is_confirming = False
        if self.pin.epoch == epoch and self.confirm(info):
            self.pin.confirm()

    def dropped(self) -> None:
        self._loop.take_all()
        self._loop._refill()  # of pulls that were fulfilled no status is to come, which would

    def replaced(self) -> None:
        self._loop._void()

    async def _renew(self) -> None:
        loop, pin = self._loop, self.pin
        reply = loop._inbox.next_reply()
        pin.renewing(loop._inbox.pulls)
        try:
            await loop._connection.publish(loop._next_subject, msgspec.json.encode(_RENEWAL | pin.request()), reply)
        except BusClosed as error:
            loop._fail(error)
        except ConnectionLost:
            return  # the next link renews

    def takes(self, number: int, status: PullStatus) -> bool:
        """A status has arrived for the pull `number`. Whether nothing is left to do about it."""
        pin = self.pin
        if status.kind is StatusKind.WRONG_PIN:  # not void: the pull has carried the present id
            self._loop._log.info("%s: %s; waiting for a turn", self._loop._where, status.description)
            pin.refused()
            self._loop._ask_later()
            return True
        if pin.is_renewal(number) and status.kind in _ANSWERS:
            pin.renewed(number, is_proof=status.kind is StatusKind.BYTES_FULL)
            return True
        if status.kind in _CLEARED:
            pin.lose(status.description or "the consumer has no leader")
        return False

    def confirm(self, info: dict[str, Any]) -> bool:
        """See `PullLoop.confirm_pin`."""
        if self.pin.is_pinned_in(info):
            return True
        if self.pin.is_held:
            self.pin.refused()
            self._loop._ask_later()
        return False

    # ---- giving it up

    async def unpin(self) -> bool:
        """Have the server pin the next reader at once. Whether it has."""
        loop, pin = self._loop, self.pin
        self.is_ready, self._is_over = False, True
        self._due.set()
        if not pin.id:
            return False
        try:
            if not pin.is_pinned_in(await self._api.consumer_info(loop.stream, loop.consumer)):
                return False
            await self._api.consumer_unpin(loop.stream, loop.consumer, pin.group)
        except SmithError as error:
            loop._log.info("%s: its pin is kept until it times out (%g s): %s", loop._where, pin.timeout, error)
            return False
        finally:
            pin.released()
        return True
