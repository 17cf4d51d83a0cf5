"""Answers requests to micro-services: `$SRV.PING|INFO|STATS`, of all, by name, or by id.

Anybody who may publish to `$SRV` asks, as often as they like, and chooses where the answer goes. So
answers are bounded in number, and are sent to no subject that messages are published to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

import msgspec

from ...errors import SmithError
from ..connection.connection import Connection
from ..connection.parser import RawMessage
from ..execution.rate import TokenBucket
from ..log_records import LogFields, sdk_logger
from .format import PREFIX, EndpointInfo, EndpointStats, Info, Ping, Response, Stats, encode, requested

log: Final = sdk_logger("services")

_PER_SECOND: Final = 50.0
_BURST: Final = 100
"""Requests that a service answers on each of its subjects. Screens ask every second or less
often."""
_DEAF: Final = 1.0
"""Seconds for which a service that is asked more often on a subject receives none there, so that it
need not even read them. It answers on its other subjects meanwhile."""


class Service(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One service, as it describes itself."""

    name: str
    id: str
    """Of this instance alone."""
    version: str
    description: str
    metadata: dict[str, str]
    started: datetime
    endpoints: tuple[EndpointInfo, ...]
    stats: Callable[[], tuple[EndpointStats, ...]]
    """What the endpoints have done until now. Called in the event loop; must return at once."""

    def respond(self, verb: str) -> Response:
        """The response to a request."""
        name, id, version, metadata = self.name, self.id, self.version, self.metadata
        if verb == "PING":
            return Ping(name=name, id=id, version=version, metadata=metadata)
        if verb == "INFO":
            return Info(
                name=name, id=id, version=version, metadata=metadata, description=self.description, endpoints=self.endpoints
            )
        return Stats(name=name, id=id, version=version, metadata=metadata, started=self.started, endpoints=self.stats())


class Responder:
    """Answers for the services of one connection.

    `roots`: first tokens of the subjects that messages are published to, where no answer may go.
    """

    def __init__(self, connection: Connection, roots: Collection[str]) -> None:
        self._connection = connection
        self._roots = frozenset(roots)
        """First tokens that no answer may have."""
        self._logged: set[str] = set()

    async def serve(self, service: Service) -> None:
        """Answer for `service` until this is cancelled, also on later links.

        Raises nothing: without permission, or on a closed connection, it answers nothing.
        """
        subjects = (f"{PREFIX}.*", f"{PREFIX}.*.{service.name}", f"{PREFIX}.*.{service.name}.{service.id}")
        listening = [asyncio.ensure_future(self._serve_on(service, subject)) for subject in subjects]
        try:
            await asyncio.gather(*listening)
        except SmithError as error:
            log.debug("%s answers no requests: %s", service.name, error, extra=LogFields(error_type=type(error).__name__))
        finally:
            for one in listening:
                one.cancel()
            await asyncio.gather(*listening, return_exceptions=True)

    async def _serve_on(self, service: Service, subject: str) -> None:
        bucket = TokenBucket(_PER_SECOND, _BURST)
        while True:
            await self._listen(service, subject, bucket)
            self._log_once(
                "%s is asked for its state more than %g times a second on one subject, and answers there again in %g s",
                service.name,
                _PER_SECOND,
                _DEAF,
            )
            await asyncio.sleep(_DEAF)

    async def _listen(self, service: Service, subject: str, bucket: TokenBucket) -> None:
        """Answer until there are too many requests."""
        asked = _Asked(self.may_answer, bucket)
        subscription = await self._connection.subscribe(subject, asked.receive, self._on_refused, is_optional=True)
        try:
            while (request := await asked.next()) is not None:
                await self._answer(service, *request)
        finally:
            await subscription.unsubscribe()

    async def _answer(self, service: Service, verb: str, reply: str) -> None:
        if not self._connection.is_up:
            return  # an answer that waits for a link would be out of date
        try:
            await self._connection.answer(reply, encode(service.respond(verb)))
        except SmithError as error:
            log.debug("%s cannot answer: %s", service.name, error, extra=LogFields(error_type=type(error).__name__))

    def may_answer(self, reply: str) -> bool:
        """Whether an answer may be sent to a reply subject."""
        # The reply subject is the asker's choice, and is published to with this program's rights.
        root = reply.partition(".")[0]
        return bool(root) and not root.startswith("$") and root not in self._roots

    def _on_refused(self, error: SmithError) -> None:
        self._log_once("workers do not show up in `nats micro`: %s", error)

    def _log_once(self, text: str, *args: object) -> None:
        if text not in self._logged:
            self._logged.add(text)
            log.info(text, *args)


class _Asked:
    """The requests to a service that wait for their answers, until there are too many."""

    def __init__(self, may_answer: Callable[[str], bool], bucket: TokenBucket) -> None:
        self._may_answer = may_answer
        self._waiting: deque[tuple[str, str]] = deque()
        self._bucket = bucket
        self._is_flooded = False
        self._changed = asyncio.Event()

    def receive(self, message: RawMessage) -> None:
        if self._is_flooded:
            return
        found = requested(message.subject)
        if found is None or not self._may_answer(message.reply):
            return
        if self._bucket.wait():
            self._is_flooded = True
        else:
            self._bucket.take()
            self._waiting.append((found[0], message.reply))
        self._changed.set()

    async def next(self) -> tuple[str, str] | None:
        """The verb and the reply subject of the next request; None after too many."""
        while not self._waiting and not self._is_flooded:
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft() if self._waiting else None
