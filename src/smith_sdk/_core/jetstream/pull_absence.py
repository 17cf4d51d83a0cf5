"""A consumer that does not answer its reader: silent, or deleted and perhaps created again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ...errors import ConnectionLost, ConsumerNotFound, DeadlineExceeded, PermissionDenied, SmithError, StreamNotFound
from ..connection.parser import RawMessage
from ..log_records import ConsumerLog
from .delivery import parse
from .pull_failures import Diagnose
from .pull_silence import Silence

GRACE: Final = 10.0
"""Seconds that a consumer is waited for which was deleted while it was read."""
ABSENT: Final = (ConsumerNotFound, StreamNotFound)
_PAUSE: Final = 0.25
"""Seconds between two looks whether it is there again."""
_MAX_DIGITS: Final = 20


async def are_pulls_lost(look: Callable[[], Awaitable[object]], silence: Silence, log: ConsumerLog, where: str) -> bool:
    """Whether a consumer that was silent for too long replies to `look`, and stays silent.

    As long as it does not reply, its pulls stand. A server that is only slow goes on with them, and
    would serve others beside them; the next leader ends them with a status.
    """
    since, now = silence.since, asyncio.get_running_loop().time()
    try:
        await look()
    except (ConnectionLost, DeadlineExceeded) as error:
        log.info("%s: no heartbeat for %.1f s, and no reply: %s", where, now - since, error)
        return False
    except SmithError as error:  # the next pull shows what to do about it
        log.debug("%s: %s", where, error)
    if silence.since != since or silence.news:
        return False
    log.warning("%s: no heartbeat for %.1f s; asking again", where, now - since)
    return True


async def wait_for_return(
    diagnose: Diagnose, missing: SmithError, grace: float, is_connected: Callable[[], bool], log: ConsumerLog, where: str
) -> SmithError | None:
    """Wait for a consumer that was deleted while it was read. None: it is there again.

    Otherwise why it is waited for no longer: `missing` after `grace` seconds with a connection.
    """
    log.warning("%s: waiting up to %g s for it to be created again: %s", where, grace, missing)
    loop = asyncio.get_running_loop()
    until = loop.time() + grace
    while loop.time() < until:
        await asyncio.sleep(_PAUSE)
        try:
            error = await diagnose()
        except PermissionDenied:  # it will never be known
            return missing
        except SmithError as unknown:
            log.debug("%s: %s", where, unknown)
            if not is_connected():
                until = loop.time() + grace
            continue
        if not isinstance(error, ABSENT):
            return error
        if type(error) is not type(missing):
            missing = error
    return missing


class DeliveryCount:
    """A consumer's own count of its deliveries, as its messages and heartbeats give it.

    It only goes up, by one at least from message to message. A lower one is that of another
    consumer with the same name, of one that was reset, or of one whose server has lost the end of
    its file.
    """

    __slots__ = ("_known", "_told", "arrived", "first", "latest")

    def __init__(self) -> None:
        self.first: RawMessage | None = None
        """The first message since the last `has_fallen`: not each is looked at."""
        self.latest: RawMessage | None = None
        """The latest since then."""
        self.arrived = 0
        """Messages since then."""
        self._told: int | None = None
        self._known = 0

    def heartbeat(self, headers: Mapping[str, str]) -> None:
        """A heartbeat has arrived."""
        text = headers.get("Nats-Last-Consumer", "")
        self._told = int(text) if len(text) <= _MAX_DIGITS and text.isascii() and text.isdecimal() else None

    def has_fallen(self) -> bool:
        """Whether it has become lower since the last call."""
        counts = [_count(message) for message in (self.first, self.latest) if message is not None]
        before, told = self._known, self._told
        # A heartbeat may have come before the first message or behind the last.
        has_fallen = told is not None and told < before
        if counts:
            has_fallen = has_fallen or counts[0] <= before or counts[1] < counts[0] + self.arrived - 1
            self._known = counts[1]
        elif told is not None:
            self._known = told
        self.first = self.latest = self._told = None
        self.arrived = 0
        return has_fallen


def _count(message: RawMessage) -> int:
    delivery = parse(message.reply)
    return 0 if delivery is None else delivery.consumer_seq
