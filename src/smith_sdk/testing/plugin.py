"""The fixtures of the pytest plugin.

PYTEST_DONT_REWRITE: no assertions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .accounts import NatsServer, Servers, bus_on, delete_streams
from .run_once import Retry, end_delays, instant

if TYPE_CHECKING:
    from ..aio import AsyncSmithBus
    from ..contract import Contract
    from ..sync import SmithBus


@pytest.fixture(scope="session")
def _smith_servers() -> Iterator[Servers]:
    servers = Servers()
    yield servers
    servers.stop()


@pytest.fixture
def nats_server(_smith_servers: Servers) -> Iterator[NatsServer]:
    """A real nats-server with JetStream, on an account that only this test uses.

    `smith_bus` and `async_smith_bus` create the streams.
    """
    server = NatsServer(_smith_servers.account())
    yield server
    if _smith_servers.running:  # otherwise the test has killed it
        from ..sync import SmithBus

        with bus_on(SmithBus, server.url) as bus:
            bus._portal.call(delete_streams, bus._aio._session)


@pytest.fixture
def smith_contract() -> Contract:
    """The contract of `smith_bus` and `async_smith_bus`: Smith's, unless overridden."""
    from ..topology import CONTRACT

    return CONTRACT


@pytest.fixture
def smith_profile(smith_contract: Contract) -> str:
    """The profile of the streams: "dev", or the contract's first if it has no "dev"."""
    profiles = [one.name for one in smith_contract.profiles]
    return profiles[0] if profiles and "dev" not in profiles else "dev"


@pytest.fixture
def smith_bus(nats_server: NatsServer, smith_contract: Contract, smith_profile: str) -> Iterator[SmithBus]:
    """A connected bus of the blocking face; all streams of the contract exist and are empty."""
    from ..sync import SmithBus

    with bus_on(SmithBus, nats_server.url, contract=smith_contract, manage="apply", profile=smith_profile) as bus:
        yield bus


@pytest.fixture
def async_smith_bus(nats_server: NatsServer, smith_contract: Contract, smith_profile: str) -> AsyncSmithBus:
    """A bus of the async face, not yet connected: `async with async_smith_bus as bus`.

    It connects in the loop that runs the test, so any plugin may run `async def` tests, and a plain
    test may call `asyncio.run`. Without such a plugin pytest fails them and names what to install.
    """
    from ..aio import AsyncSmithBus

    return bus_on(AsyncSmithBus, nats_server.url, contract=smith_contract, manage="apply", profile=smith_profile)


@pytest.fixture
def instant_retries(nats_server: NatsServer) -> Iterator[list[Retry]]:
    """Every retry of this test comes within 0.25 s, whatever delay was requested; the list records
    each.

    Workers and server are not changed: a second nak ends a longer delay early. So it works for
    workers in other processes too, and for any code that calls `nack(delay)`.
    """
    from ..sync import SmithBus

    retries: list[Retry] = []
    with bus_on(SmithBus, nats_server.url) as bus:
        bus._portal.call(end_delays, bus._aio._session, retries)
        instant.add(nats_server)
        yield retries
        instant.discard(nats_server)
