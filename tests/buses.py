"""Both faces under one test body, and the payloads that tests send.

The test is written for the async face; on the blocking face every call runs in a thread of its own,
as a user's call would.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec.structs import replace

from smith_sdk import AsyncSmithBus, LagMonitor, ShardedWorker, Worker, aio, sharding, sync
from smith_sdk._core.blocking.faces import Blocking
from smith_sdk._core.connection.request_reply import NoResponders
from smith_sdk.contract import ConsumerSpec, Contract
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, HealthEvent, LogEntry
from smith_sdk.topology import CONTRACT

_AT_ONCE: Final = {
    "bulk",
    "consumer",
    "kv",
    "objects",
    "open",
    "watch",
    "subscribe",
    "read",
    "messages",
    "states",
    "handler",
    "handler_for",
    "endpoint",
    "on_start",
    "on_stop",
}


def bus_with(*urls: str, **options: Any) -> AsyncSmithBus:
    """A bus with options that a checker cannot tell apart, or would refuse."""
    return AsyncSmithBus(*urls, **options)


class Crossing:
    """An object of the blocking face that is awaited like its async twin."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return _across(found)
        if name in _AT_ONCE:
            return lambda *args, **options: _across(found(*args, **options))

        async def call(*args: Any, **options: Any) -> Any:
            return _across(await asyncio.to_thread(found, *args, **options))

        return call

    async def __aenter__(self) -> Crossing:
        await asyncio.to_thread(self.inner.__enter__)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await asyncio.to_thread(self.inner.__exit__, *exception)

    def __aiter__(self) -> Crossing:
        return self

    async def __anext__(self) -> Any:
        found = await asyncio.to_thread(next, self.inner, None)
        if found is None:
            raise StopAsyncIteration
        return _across(found)


def _across(found: Any) -> Any:
    if isinstance(found, Blocking):
        return Crossing(found)
    if isinstance(found, list):
        return [_across(one) for one in found]
    if isinstance(found, concurrent.futures.Future):
        return asyncio.wrap_future(found)
    return found


Call = Callable[[], Awaitable[object]]
"""A call of a bus that a test makes later."""


class Account:
    """The account that one test has to itself, on the server that all tests of a process share.

    It is created at its first use. What a test does to a whole server (kill, stop, reconfigure or
    fill it) needs `make_server` instead, which takes five times as long.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """Signs in to the account. `bus.url` does not: it is without the credentials."""
        return self._url()

    def applied(self, *, contract: Contract = CONTRACT) -> AsyncSmithBus:
        """A bus of the async face, not yet connected; connecting applies the streams, as
        `embedded()` does."""
        return AsyncSmithBus(self.url, contract=contract, manage="apply", profile=_profile(contract))


def declaring(*specs: ConsumerSpec[Any, Any]) -> Contract:
    """Smith's contract with these consumers in place of those that have their names."""
    named = {one.name: one for one in specs}
    return replace(CONTRACT, consumers=tuple(named.get(one.name, one) for one in CONTRACT.consumers))


def _profile(contract: Contract) -> str:
    """The profile of `embedded()`: "dev", or the contract's first where there is no "dev"."""
    profiles = [one.name for one in contract.profiles]
    return profiles[0] if profiles and "dev" not in profiles else "dev"


class Face:
    """One of the two faces: makes its buses, workers and admissions.

    What it makes is `Any`: an object of the async face, or a `Crossing` around one of the blocking
    face.
    """

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self.is_async = name == "async"
        self._account = account

    @property
    def url(self) -> str:
        """That of the test's account."""
        return self._account.url

    def applied(self, *, contract: Contract = CONTRACT) -> Any:
        """A bus on the test's account; connecting applies the streams."""
        if self.is_async:
            return self._account.applied(contract=contract)
        return Crossing(sync.SmithBus(self.url, contract=contract, manage="apply", profile=_profile(contract)))

    def embedded(self, *args: Any, **options: Any) -> Any:
        if self.is_async:
            return AsyncSmithBus.embedded(*args, **options)
        return Crossing(sync.SmithBus.embedded(*args, **options))

    def bus(self, *args: Any, **options: Any) -> Any:
        return AsyncSmithBus(*args, **options) if self.is_async else Crossing(sync.SmithBus(*args, **options))

    def worker(self, bus: Any, *args: Any, **options: Any) -> Any:
        return Worker(bus, *args, **options) if self.is_async else Crossing(sync.Worker(bus.inner, *args, **options))

    def service(self, bus: Any, **options: Any) -> Any:
        return aio.MicroService(bus, **options) if self.is_async else Crossing(sync.MicroService(bus.inner, **options))

    def sharded_worker(self, bus: Any, *args: Any, **options: Any) -> Any:
        if self.is_async:
            return ShardedWorker(bus, *args, **options)
        return Crossing(sync.ShardedWorker(bus.inner, *args, **options))

    def lag_monitor(self, bus: Any, **options: Any) -> Any:
        """`interval` is short unless told otherwise."""
        options = {"interval": 0.05, **options}
        return LagMonitor(bus, **options) if self.is_async else Crossing(sync.LagMonitor(bus.inner, **options))

    def back_pressure(self, bus: Any, rules: Any, **options: Any) -> Any:
        """`interval` is short unless told otherwise."""
        options = {"interval": 0.05, **options}
        if self.is_async:
            return aio.BackPressure(bus, rules, **options)
        return Crossing(sync.BackPressure(bus.inner, rules, **options))

    def alert_monitor(self, bus: Any, rules: Any, **options: Any) -> Any:
        """`interval` is short unless told otherwise."""
        options = {"interval": 0.05, **options}
        if self.is_async:
            return aio.AlertMonitor(bus, rules, **options)
        return Crossing(sync.AlertMonitor(bus.inner, rules, **options))

    def active_rules(self, bus: Any) -> Any:
        return aio.ActiveRules(bus) if self.is_async else Crossing(sync.ActiveRules(bus.inner))

    def admission(self, bus: Any, **options: Any) -> Any:
        return aio.Admission(bus, **options) if self.is_async else Crossing(sync.Admission(bus.inner, **options))


def read_intent(path: str = "/x", **fields: Any) -> FsReadV1Intent:
    return FsReadV1Intent.new(**{"domain": "default", **fields}, params=FsReadV1Params(path=path))


def episode_intent(episode: str, path: str = "/x") -> FsReadV1Intent:
    """An intent of a sharded subject, whose key is `episode`."""
    return read_intent(path, metadata={"episode_id": episode})


def short_pins(timeout: float = 2.0) -> Contract:
    """Smith's contract with shards that are taken over after `timeout` seconds."""
    spec = replace(sharding.episode, pin_timeout=timeout)
    shards = {one.name: one for one in spec.consumers}
    consumers = tuple(shards.get(one.name, one) for one in CONTRACT.consumers)
    return replace(CONTRACT, consumers=consumers, shardings=(spec,))


def health(service: str = "web") -> HealthEvent:
    return HealthEvent.new(service=service, healthy=True)


def log_entry(message: str = "hello", service: str = "web") -> LogEntry:
    return LogEntry.new(level="info", service=service, target="t", message=message, fields={}, correlation_id="c", node_id="n")


def state(bus: Any) -> str:
    """Where the connection of a bus of either face stands."""
    return str((bus if isinstance(bus, AsyncSmithBus) else bus.inner).state)


async def request(bus: AsyncSmithBus) -> None:
    """A round trip through the server."""
    await bus._session.connection.barrier(timeout=20)


async def has_subscriber(bus: AsyncSmithBus, subject: str) -> bool:
    """Whether `subject` has a subscriber, found out by an empty message to it.

    That it has none, the server says before it confirms what was sent after the message.
    """
    asking = asyncio.ensure_future(bus._session.requests.request(subject, timeout=60))
    await asyncio.sleep(0)  # it is sent
    await request(bus)
    for _ in range(20):  # turns of the loop, and no time: the reply is there, and its task is to end
        await asyncio.sleep(0)
    if not asking.done():
        asking.cancel()
        return True
    with contextlib.suppress(NoResponders):
        asking.result()
        return True
    return False
