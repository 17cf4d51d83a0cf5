"""Whether the consumer of a pull loop exists; one that was deleted meanwhile is waited for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ...errors import SmithError
from ..log_records import ConsumerLog
from .consumer_state import ConsumerState
from .pin_keeper import PinKeeper
from .pull_absence import ABSENT, wait_for_return
from .pull_failures import PullCause
from .pull_options import PullOptions
from .pull_watch import PullWatch


class Reading(Protocol):
    """The pull loop, as it is known here."""

    stream: str
    consumer: str
    _where: str
    _log: ConsumerLog
    _options: PullOptions
    _state: ConsumerState | None
    _watch: PullWatch
    _keeper: PinKeeper | None
    _connected: bool

    def _fail(self, error: SmithError) -> None: ...

    def _drop_lost(self) -> None: ...

    def _spawn(self, work: Awaitable[None]) -> None: ...

    async def _renew(self, *, release: bool = False) -> None: ...


class Presence:
    """Ends `loop` if no server will ever answer its pulls, after a wait for a consumer that was
    there before. Part of `loop`."""

    def __init__(self, loop: Reading, cause: PullCause) -> None:
        self._loop = loop
        self._cause = cause
        self.was_seen = False
        """Whether a status has shown that the consumer exists."""
        self.is_absent = False
        """Whether it was deleted, and is waited for."""
        self._is_diagnosing = False
        self._drops_answers = False
        """Whether it was deleted, and it is not known yet what is in its place."""

    def deleted(self) -> None:
        """The server says that the consumer was deleted."""
        self.set_absent(True)
        self._diagnose(self._cause.of_deletion)

    def no_responders(self) -> None:
        """No server has the consumer, for a moment or for good."""
        self._diagnose(self._cause.find)

    def _diagnose(self, cause: Callable[[], Awaitable[SmithError | None]]) -> None:
        if not self._is_diagnosing:
            self._is_diagnosing = True
            self._loop._spawn(self._fail_for(cause))

    async def _fail_for(self, cause: Callable[[], Awaitable[SmithError | None]]) -> None:
        """Fail for `cause`, if there is one; first wait for a consumer that was there before."""
        loop = self._loop
        try:
            error = await cause()
            if self.was_seen and loop._options.grace and isinstance(error, ABSENT):
                self.is_absent = True
                self.set_absent(True)
                error = await wait_for_return(
                    self._cause.diagnose, error, loop._options.grace, lambda: loop._connected, loop._log, loop._where
                )
                self.is_absent = False
                if error is None:
                    await self._begin_anew()
        finally:
            self.set_absent(False)
            self._is_diagnosing = False
        if error is not None:
            loop._fail(error)

    def set_absent(self, absent: bool) -> None:
        """Whether answers to what was delivered could reach a message of another stream."""
        loop = self._loop
        if loop._state is not None and loop._state.replaced is not None and absent is not self._drops_answers:
            self._drops_answers = absent
            loop._state.replaced.set_absent(loop.stream, loop.consumer, absent)

    async def _begin_anew(self) -> None:
        """The consumer was deleted, and is there again: read it."""
        loop = self._loop
        if loop._options.group is not None:
            loop._options.group.refused()
        if loop._keeper is not None:
            loop._keeper.check_again()
        if loop._state is not None:
            loop._state.forget()
            await loop._watch.look_for_another()
        self.set_absent(False)
        loop._log.warning("%s: the consumer was created again, and is read on", loop._where)
        loop._drop_lost()
        await loop._renew()
