"""A service: runs a handler for every request on a subject, and answers with what it returns."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from .._core.connection.connection import Connection
from .._core.connection.subscription import Subscription
from .._core.execution.stopping import Stopping
from .._core.log_records import sdk_logger
from .._core.services.format import EndpointInfo, is_name, is_semver, name_of
from .._core.services.responder import Service as Description
from ..contract import Filter, MessageT, ReplyT, RequestSubject, S_co
from ..display import Record, Rows
from ..errors import OptionsError, SmithError
from ..options import positive_int, subject_prefix, to_seconds
from .bus import AsyncSmithBus
from .consumer import session_of
from .message import Message
from .middleware import MiddlewareChain
from .part_life import PartLife
from .runners import InlineRunner, Present, Runner, ThreadRunner
from .service_calls import Calls, Endpoint, inside
from .slots import DRAIN
from .worker_service import joined

__all__ = ["EndpointCounts", "MicroService"]

log: Final = sdk_logger("service")

QUEUE: Final = "q"
"""The queue group of endpoints by default, as in every other SDK of NATS."""
_CONCURRENCY: Final = 16
_CONFIRM: Final = 2.0
"""Seconds for the server to confirm that endpoints receive requests, or no more."""


class EndpointCounts(Record, frozen=True, kw_only=True):
    """What an endpoint has done since its service was made. `average_time` is in seconds."""

    name: str
    subject: str
    requests: int
    errors: int
    """Of the requests, those answered with an error."""
    last_error: str
    average_time: float


class MicroService:
    """Answers requests: runs a handler for each, at most `concurrency` of them at once.

    Every process that runs a service of this name takes its share of the requests. A handler is a
    function of a `Message`, async or plain, and returns the payload of the reply; a plain one runs
    in a thread. If it raises an error that its subject declares, such as `orders.get.NOT_FOUND`,
    the caller gets that error. Whatever else it raises is logged, and answered with "500" and none
    of its text. A request that is not valid is answered with "400", and no handler runs.

    It is a micro-service of NATS: `nats micro ls`, `info` and `stats` show it, and `nats req` can
    ask it.

    - `name`: the kind of service (letters, digits, "-" and "_"). `version`: of its own, in semantic
      versioning. `description`: for people. `metadata`: str to str, shown by `nats micro info`.
    - `queue_group`: services of one group share the requests; None: each gets all of them.
    - `timeout`: until an async handler is cancelled, and its request is answered with "504"; None:
      no limit.
    - `drain_timeout`: when the service is stopped, it receives no more requests, and its handlers
      have so long to answer those that it has. The others are answered with "503".

    More than 1,024 requests, or 64 MiB of them, that wait for a free slot are answered with "503".
    A message without a reply subject is dropped.

    Run it by `run()`, or enter it by `async with` beside other work. Raises `OptionsError` for an
    invalid option.
    """

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        *,
        name: str,
        version: str,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        queue_group: str | None = QUEUE,
        concurrency: int = _CONCURRENCY,
        timeout: float | timedelta | None = None,
        drain_timeout: float | timedelta = DRAIN,
    ) -> None:
        self._session = session_of(bus)
        self._name = _require("name", name, is_name(name), 'letters, digits, "-" and "_"')
        self._version = _require("version", version, is_semver(version), 'semantic versioning, such as "1.0.0"')
        self._description = _require("description", description, isinstance(description, str), "a str")
        self._metadata = _require_metadata(metadata)
        self._queue = _queue_of(queue_group)
        self._drain = to_seconds("MicroService.drain_timeout", drain_timeout)
        self._timeout = None if timeout is None else to_seconds("MicroService.timeout", timeout)
        slots = positive_int("MicroService.concurrency", concurrency)
        chain = MiddlewareChain(name)
        self._inline = InlineRunner(chain, self._timeout)
        self._threads = ThreadRunner(name, slots)
        self._runners: list[Runner] = []
        self._is_blocking = False
        self._endpoints: list[Endpoint] = []
        self._calls = Calls(self._session, self.name, slots)
        self._id = secrets.token_hex(11)
        self._subscriptions: list[Subscription] = []
        self._life = PartLife(self._session, self, self._work, self._undo, log)

    def _show_as(self, present: Present, detached: object) -> None:
        """Have handlers get what `present` makes of a message. For the blocking face: async
        handlers are refused."""
        self._is_blocking = True
        self._threads.show_as(present)

    def endpoint(
        self,
        requests: type[RequestSubject[MessageT, ReplyT, S_co]] | Filter[MessageT, RequestSubject[MessageT, ReplyT, S_co]],
        *,
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Callable[
        [Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]]],
        Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]],
    ]:
        """Decorator: the function answers `requests`, such as `@service.endpoint(orders.get)`.

        `requests` is the class of a subject, or a filter of it for some of its subjects. `name` is
        that of the endpoint (letters, digits, "-" and "_"): None for the subject's own, and needed
        for a filter. `metadata` is shown by `nats micro info`.

        Raises `OptionsError` for a second endpoint of that name, for what is not one kind of
        request of the bus's contract, and for a handler that does not fit the service's options.
        """
        patterns = self._patterns(requests)
        chosen = _endpoint_name(requests, name)
        if any(one.info.name == chosen for one in self._endpoints):
            raise OptionsError(f"service {self._name} has an endpoint {chosen} already: give this one another name")
        info = EndpointInfo(name=chosen, subject=joined(patterns), queue_group=self._queue, metadata=_require_metadata(metadata))

        def add(
            function: Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]],
        ) -> Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]]:
            runner = self._runner(function)
            if runner not in self._runners:
                self._runners.append(runner)
            handler = getattr(function, "__qualname__", None) or repr(function)
            self._endpoints.append(Endpoint(info, patterns, runner.bind(function), f"handler {handler}"))
            return function

        return add

    def _patterns(self, requests: Any) -> tuple[str, ...]:
        """The subjects of an endpoint, with wildcards; none has a subject in common with another,
        or services of one queue group would handle a request twice."""
        if isinstance(requests, Filter):
            pairs = itertools.combinations(requests.patterns, 2)
            if both := next((f"{one} and {other}" for one, other in pairs if _overlap(one, other)), ""):
                raise OptionsError(f"service {self._name}: {both} have subjects in common: add an endpoint for each filter")
            return requests.patterns
        if not (isinstance(requests, type) and issubclass(requests, RequestSubject)):
            raise OptionsError(
                f"service {self._name}: endpoint({requests!r}): the class of a subject with a reply is needed, or a filter of it"
            )
        self._session.contract.require_class(requests)
        every: Any = requests
        found: tuple[str, ...] = every.filter().patterns if hasattr(requests, "filter") else (str(every()),)
        return found

    def _runner(self, function: Callable[..., Any]) -> Runner:
        if not callable(function):
            raise OptionsError(f"service {self._name}: {function!r} is not a handler, which is a function of a message")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
            if self._is_blocking:
                raise OptionsError(f"service {self._name} is on the blocking face: its handler is a plain function")
            return self._inline
        if self._timeout is not None:
            raise OptionsError(
                f"service {self._name} has a timeout, and its handler is a plain function, which nothing can stop in a thread: "
                f"make it async, or leave the timeout out"
            )
        return self._threads

    # ---- what it is and does

    @property
    def name(self) -> str:
        """A name for logs and reports: "service orders"."""
        return f"service {self._name}"

    @property
    def id(self) -> str:
        """That of this instance alone, as `nats micro` shows it."""
        return self._id

    @property
    def counts(self) -> Rows[EndpointCounts]:
        """What each endpoint has done, in the order of their registration."""
        return Rows(_counts(one) for one in self._endpoints)

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has."""
        return {
            "service": self._name,
            "id": self._id,
            "version": self._version,
            "running": self._calls.running,
            "waiting": self._calls.waiting,
            "endpoints": {one.info.name: one.info.subject for one in self._endpoints},
        }

    # ---- running

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Answer requests until `stop()` or one of `signals`, as `Worker.run` has them.

        The first signal drains the service: it receives no more requests, and answers those that it
        has. A second one cancels the handlers at once.

        Raises `PermissionDenied` if the server's permissions forbid to receive the requests,
        `BusClosed`, `RuntimeError` if the system has no more threads, and `OptionsError` without an
        endpoint, while it is running already, and for `signals` outside the main thread.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    def _until_stopped(self, signals: Collection[int] | None) -> AbstractContextManager[Stopping]:
        return self._life.until_stopped(signals)

    async def _run(self, stopping: Stopping) -> None:
        if not self._endpoints:
            raise OptionsError(f"service {self._name} has no endpoint: decorate a handler with @service.endpoint(...)")
        await self._life.run(stopping)

    async def stop(self, *, now: bool = False) -> None:
        """Receive no more requests, and wait until those that it has are answered.

        With `now`, cancel the handlers instead, and answer their requests with "503". Safe to
        repeat. If it is not running, its next `run` returns at once. A handler that stops its own
        service does not wait, since it would wait for itself.
        """
        if inside.get() is self._calls:
            if self._calls.stopping is not None:
                self._calls.stopping.request(at_once=now)
            return
        await self._life.stop(at_once=now)

    def _stop_closed(self) -> None:
        self._life.stop_closed()

    async def __aenter__(self) -> Self:
        """Returns once it receives requests. Raises what `run` raises."""
        if not self._endpoints:
            raise OptionsError(f"service {self._name} has no endpoint: decorate a handler with @service.endpoint(...)")
        await self._life.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._life.leave()

    async def _work(self, stopping: Stopping) -> None:
        connection, calls = self._session.connection, self._calls
        calls.stopping = stopping
        forbidden: asyncio.Future[SmithError] = asyncio.get_running_loop().create_future()

        def refused(error: SmithError) -> None:
            if not forbidden.done():
                forbidden.set_result(error)

        for runner in self._runners:
            await runner.open()
        for one in self._endpoints:
            take = calls.receiver(one)
            for pattern in one.patterns:
                self._subscriptions.append(await connection.subscribe(pattern, take, refused, queue=one.info.queue_group))
        await _confirm(connection)
        answering = asyncio.ensure_future(self._session.services.serve(self._described()))
        waiting = asyncio.ensure_future(stopping.wait())
        try:
            if not forbidden.done():
                self._life.ready()
            await asyncio.wait((waiting, forbidden), return_when=asyncio.FIRST_COMPLETED)
            for subscription in self._subscriptions:
                await subscription.withdraw()
            await _confirm(connection)  # until then requests arrive that the server had sent before
            await calls.drain(self._drain)
        finally:
            for task in (answering, waiting):
                task.cancel()
            await asyncio.wait((answering, waiting))
        if forbidden.done():
            raise forbidden.result()

    async def _undo(self) -> None:
        while self._subscriptions:
            await self._subscriptions.pop().unsubscribe()
        await self._calls.end()
        self._calls.stopping = None
        for runner in self._runners:
            runner.close()

    def _described(self) -> Description:
        return Description(
            name=self._name,
            id=self._id,
            version=self._version,
            description=self._description,
            metadata=self._metadata,
            started=datetime.now(UTC),
            endpoints=tuple(one.info for one in self._endpoints),
            stats=lambda: tuple(one.stats() for one in self._endpoints),
        )

    def __repr__(self) -> str:
        return f"<MicroService {self._name} {self._version}, {len(self._endpoints)} endpoints>"


async def _confirm(connection: Connection) -> None:
    """Wait until the server has processed what was sent, if there is a connection."""
    with contextlib.suppress(SmithError):  # a later link renews the subscriptions
        await connection.barrier(timeout=_CONFIRM)


def _overlap(one: str, other: str) -> bool:
    """Whether two patterns have a subject in common."""
    for mine, its in itertools.zip_longest(one.split("."), other.split(".")):
        if mine is None or its is None:
            return False
        if ">" in (mine, its):
            return True
        if mine != its and "*" not in (mine, its):
            return False
    return True


def _counts(endpoint: Endpoint) -> EndpointCounts:
    found = endpoint.stats()
    return EndpointCounts(
        name=found.name,
        subject=found.subject,
        requests=found.num_requests,
        errors=found.num_errors,
        last_error=found.last_error,
        average_time=found.average_processing_time / 1e9,
    )


def _endpoint_name(requests: Any, name: str | None) -> str:
    if name is not None:
        return _require("endpoint(name)", name, is_name(name), 'letters, digits, "-" and "_"')
    if isinstance(requests, Filter):
        raise OptionsError(f"endpoint({requests}): an endpoint for a filter needs a name: name=...")
    return name_of(requests.NAME)


def _require(what: str, value: str, is_valid: bool, needed: str) -> str:
    if not is_valid:
        raise OptionsError(f"MicroService.{what}={value!r}: {needed} is needed")
    return value


def _queue_of(group: str | None) -> str:
    return "" if group is None else subject_prefix("MicroService.queue_group", group)


def _require_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    found: Any = {} if metadata is None else metadata
    if not isinstance(found, Mapping) or not all(isinstance(one, str) for pair in found.items() for one in pair):
        raise OptionsError(f"MicroService.metadata={metadata!r}: a mapping of str to str is needed")
    return dict(found)
