# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.service`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._core.blocking.faces import Blocking, unwrap
from ..aio import service as _async
from ..aio.service import (
    _CONCURRENCY,
    QUEUE,
    EndpointCounts,
)
from ..aio.slots import DRAIN
from ..contract import Filter, MessageT, ReplyT, RequestSubject, S_co
from ..display import Rows
from .bus import SmithBus
from .message import Message

__all__ = ["EndpointCounts", "MicroService"]


class MicroService(Blocking):
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

    Run it by `run()`, or enter it by `with` beside other work. Raises `OptionsError` for an
    invalid option.
    """

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
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
        aio = _async.MicroService(
            unwrap(bus),
            name=name,
            version=version,
            description=description,
            metadata=metadata,
            queue_group=queue_group,
            concurrency=concurrency,
            timeout=timeout,
            drain_timeout=drain_timeout,
        )
        self._adopt(bus._portal, aio)
        self._aio._show_as(lambda message: Message._wrap(self._portal, message), Message._detached)

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
        found: Callable[
            [Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]]],
            Callable[[Message[MessageT, S_co]], ReplyT | Awaitable[ReplyT]],
        ] = self._aio.endpoint(requests, name=name, metadata=metadata)
        return found

    @property
    def name(self) -> str:
        """A name for logs and reports: "service orders"."""
        found: str = self._aio.name
        return found

    @property
    def id(self) -> str:
        """That of this instance alone, as `nats micro` shows it."""
        found: str = self._aio.id
        return found

    @property
    def counts(self) -> Rows[EndpointCounts]:
        """What each endpoint has done, in the order of their registration."""
        found: Rows[EndpointCounts] = self._aio.counts
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Answer requests until `stop()` or one of `signals`, as `Worker.run` has them.

        The first signal drains the service: it receives no more requests, and answers those that it
        has. A second one cancels the handlers at once.

        Raises `PermissionDenied` if the server's permissions forbid to receive the requests,
        `BusClosed`, `RuntimeError` if the system has no more threads, and `OptionsError` without an
        endpoint, while it is running already, and for `signals` outside the main thread.
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self, *, now: bool = False) -> None:
        """Receive no more requests, and wait until those that it has are answered.

        With `now`, cancel the handlers instead, and answer their requests with "503". Safe to
        repeat. If it is not running, its next `run` returns at once. A handler that stops its own
        service does not wait, since it would wait for itself.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop, now=now)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
