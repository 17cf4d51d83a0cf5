"""Whether an interest stream keeps a message: its consumers' filters, cached for some seconds.

An interest stream acknowledges and drops a message that matches no consumer. So such a publish is
refused here, before it is sent.
"""

from __future__ import annotations

import asyncio
import time
from copy import copy
from math import inf
from typing import Any, Final

from ...contract import covers
from ...errors import ConnectionLost, DeadlineExceeded, NoInterest, PublishUnconfirmed
from ..log_records import LogFields, sdk_logger
from .api import JetStreamApi
from .api_errors import APPLY
from .publish_request import PublishRequest

log: Final = sdk_logger("publish")

_FRESH: Final = 5.0
"""Seconds for which known filters may allow a publish."""
_STALE: Final = 0.25
"""Seconds for which they may refuse one: a consumer may just have been created."""
_MAX_KNOWN: Final = 10_000
"""Subjects of a stream for which the match is remembered."""
_RETRY_PAUSE: Final = 0.1
"""Seconds until the consumers are requested again, after a request without a reply."""


class InterestCache:
    """The filters of the consumers of each interest stream."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self._streams: dict[str, _StreamInterest] = {}

    def forget(self, stream: str | None = None) -> None:
        """Drop what is known of `stream`, of all streams if None: consumers were created or
        changed, or the stream is another one, or the connection is new."""
        if stream is None:
            self._streams.clear()
        else:
            self._streams.pop(stream, None)

    def knows(self, stream: str, subject: str) -> bool:
        """Whether a consumer of `stream` is known to match `subject`. False may mean unknown."""
        interest = self._streams.get(stream)
        return interest is not None and interest.age <= _FRESH and subject in interest.known

    async def require(self, request: PublishRequest, timeout: float) -> float:
        """Return what is left of `timeout` (seconds) once a consumer is known to match the subject.

        Raises `NoInterest` if there is none, `PublishUnconfirmed` (not stored) if the server did
        not answer within `timeout`, and other errors of the JetStream API, such as
        `StreamNotFound`.
        """
        deadline = time.monotonic() + timeout
        try:
            async with asyncio.timeout(timeout):
                await self._check(request)
        except TimeoutError:
            raise PublishUnconfirmed(
                f"{request.subject} was not sent: the server did not list the consumers of interest stream {request.stream} "
                f"within {timeout:g} s",
                may_be_stored=False,
                subject=request.subject,
                msg_id=request.msg_id,
            ) from None
        return max(0.0, deadline - time.monotonic())

    async def _check(self, request: PublishRequest) -> None:
        stream, subject = str(request.stream), request.subject
        interest = self._streams.setdefault(stream, _StreamInterest())
        for oldest in (_FRESH, _STALE):
            if interest.age > oldest:
                await self._refresh(stream, interest)
            if subject in interest.known or any(covers(pattern, subject) for pattern in interest.filters):
                if len(interest.known) < _MAX_KNOWN:
                    interest.known.add(subject)
                return
        raise NoInterest(
            f"no consumer of interest stream {stream} matches {subject}: it would acknowledge the message and drop it; {APPLY}",
            stream=stream,
            subject=subject,
            msg_id=request.msg_id,
        )

    async def _refresh(self, stream: str, interest: _StreamInterest) -> None:
        """Wait for the filters of `stream`. One request at a time, shared by all waiters."""
        # Each waiter has a future of its own: to leave a lock or a shared future takes time linear
        # in the number of waiters, and thousands may be cancelled at once.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        interest.waiting.add(waiter)
        if interest.request is None:
            interest.request = asyncio.ensure_future(self._fetch(stream, interest))
        try:
            await waiter
        finally:
            interest.waiting.discard(waiter)

    async def _fetch(self, stream: str, interest: _StreamInterest) -> None:
        try:
            while interest.waiting:  # each until its own deadline
                try:
                    found = await self._api.consumers(stream)
                except (ConnectionLost, DeadlineExceeded) as error:
                    log.info(
                        "the filters of the consumers of stream %s are not known yet: %s",
                        stream,
                        str(error),
                        extra=LogFields(stream=stream, error_type=type(error).__name__),
                    )
                    await asyncio.sleep(_RETRY_PAUSE)
                else:
                    interest.learn(tuple(one for consumer in found for one in filters_of(consumer["config"])))
                    break
        except Exception as error:
            interest.fail(error)
        finally:
            interest.request = None


class _StreamInterest:
    """The consumers' filters of one interest stream, as last received."""

    __slots__ = ("_at", "filters", "known", "request", "waiting")

    def __init__(self) -> None:
        self.filters: tuple[str, ...] = ()
        self.known: set[str] = set()
        """Subjects that match one of `filters`."""
        self.request: asyncio.Task[None] | None = None
        """Outstanding, for the `waiting`."""
        self.waiting: set[asyncio.Future[None]] = set()
        self._at = -inf

    def learn(self, filters: tuple[str, ...]) -> None:
        self.filters = filters
        self.known.clear()
        self._at = time.monotonic()
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        for waiter in self.waiting:
            if not waiter.done():
                waiter.set_exception(copy(error))

    @property
    def age(self) -> float:
        """Seconds since the filters were received."""
        return time.monotonic() - self._at


def filters_of(config: dict[str, Any]) -> tuple[str, ...]:
    """The filters in a consumer's config as the server writes it; `(">",)` if it has none."""
    many = config.get("filter_subjects")
    if many:
        return tuple(many)
    return (config.get("filter_subject") or ">",)
