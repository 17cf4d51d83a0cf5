"""What a pull loop does about a status of one of its pulls."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from ...errors import SmithError
from ..log_records import ConsumerLog
from .priority_group import PriorityGroup
from .pull_failures import refusal
from .pull_limits import PullLimits
from .pull_pacer import PullPacer
from .pull_presence import Presence
from .pull_requests import PullRequests
from .pull_status import PullStatus, StatusKind


class Asking(Protocol):
    """The pull loop, as it is known here."""

    stream: str
    consumer: str
    _where: str
    _log: ConsumerLog
    _group: PriorityGroup | None
    _limits: PullLimits
    _requests: PullRequests
    _pacer: PullPacer
    _presence: Presence
    _requested: int
    _failures: int

    def _refill_if_low(self) -> None: ...

    def _ask_later(self) -> None: ...

    def _fail(self, error: SmithError) -> None: ...

    def _spawn(self, work: Awaitable[None]) -> None: ...

    async def _renew(self, *, release: bool = False) -> None: ...


class PullAnswers:
    """Acts on what the server answers to the pulls of `loop`, beside messages. Part of `loop`."""

    def __init__(self, loop: Asking) -> None:
        self._loop = loop

    def act(self, status: PullStatus) -> None:
        loop = self._loop
        if status.unfilled:
            loop._pacer.forget()
            loop._requested = max(0, loop._requested - status.unfilled)
        presence = loop._presence
        presence.was_seen = presence.was_seen or status.kind is not StatusKind.NO_RESPONDERS
        match status.kind:
            case StatusKind.HEARTBEAT:
                pass
            case StatusKind.ENDED | StatusKind.COMPLETED:
                loop._failures = 0
                loop._refill_if_low()
            case StatusKind.BYTES_FULL:
                if (most := loop._requests.refused(status.unfilled)) is not None:
                    loop._log.info("%s: a message is larger than max_bytes=%s: requested alone", loop._where, most)
                loop._refill_if_low()
            case StatusKind.CONSUMER_DELETED:
                loop._requested = 0
                presence.deleted()
            case StatusKind.WRONG_PIN if loop._group is not None:
                loop._log.info("%s: the server has pinned another reader; waiting for a turn", loop._where)
                loop._group.refused()
                loop._ask_later()
            case StatusKind.NO_RESPONDERS:
                loop._ask_later()
                presence.no_responders()
            case StatusKind.INTERRUPTED:
                loop._log.info("%s: %s; asking again", loop._where, status.description)
                loop._ask_later()
            case StatusKind.TOO_MANY_PULLS:
                loop._log.warning("%s has too many pulls waiting (max_waiting); asking again later", loop._where)
                loop._ask_later()
            case _:
                if not self._adapt(status):
                    loop._fail(refusal(loop.stream, loop.consumer, status))

    def _adapt(self, status: PullStatus) -> bool:
        """Pull within the limit that the server has just told. Whether it was one."""
        loop = self._loop
        is_new = loop._limits.learn(status.description)
        if is_new:
            loop._log.warning(
                "%s: the server's consumer limits a pull to less than was requested (%s): requesting no more than that",
                loop._where,
                loop._limits.describe(),
            )
            loop._pacer.keep_asking()
            loop._spawn(loop._renew())  # what was requested before has another size
        return is_new is not None
