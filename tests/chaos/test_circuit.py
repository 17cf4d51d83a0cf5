"""A worker whose dependency, a TCP server, is away for 20 s while 2,000 messages wait."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from chaos.dependency import dial, dial_plainly
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, RetryPolicy, consumers, subjects
from smith_sdk.contract import ConsumerSpec

vetted = subjects.intents.vetted
SPEC: Final[ConsumerSpec[Any, Any]] = msgspec.structs.replace(consumers.executor_fs_read, ack_wait=30.0)
HERE: Final = declaring(SPEC)
COUNT: Final = 2_000
AWAY: Final = 20.0
"""Seconds: a dozen openings."""
SLOTS, PROBES = 8, 3
LONGEST: Final = 2.0
"""Seconds that the circuit stays open at most: how late the worker learns that it may go on."""


class Server:
    """What the handlers call. Its port is its own also while nothing listens there."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_server(lambda _, writer: writer.close(), sock=self._socket, backlog=1024)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()


async def put(bus: AsyncSmithBus, port: int) -> None:
    intents = [read_intent(f"{number}:{port}") for number in range(COUNT)]
    await bus.publish_many([vetted.of(intent).envelope(intent) for intent in intents])


async def settled(bus: AsyncSmithBus) -> bool:
    left = (await bus.streams.get("ATOMS_VETTED")).messages
    assert not left, f"{left} are left"
    return True


CASES: Final[dict[str, tuple[str, Callable[[Any], Any], dict[str, Any]]]] = {
    "async": ("async", dial, {"concurrency": SLOTS}),
    "threads of the blocking face": ("blocking", dial_plainly, {"concurrency": SLOTS}),
    "processes": ("async", dial_plainly, {"processes": SLOTS}),
}


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
async def test_a_dependency_that_is_away_costs_no_message(case: str, account: Account, tell: Callable[[str], None]) -> None:
    name, handler, options = CASES[case]
    face, server = Face(name, account), Server()
    circuit = CircuitBreaker(
        name="server",
        count=ConnectionError,
        minimum=PROBES,
        probes=PROBES,
        open_for=Backoff(initial=0.5, max=LONGEST, jitter=0.2),
    )
    openings: list[str] = []
    circuit.on_change(lambda event: openings.append(event.reason) if event.new == "open" else None)
    async with account.applied(contract=HERE) as owner, face.bus(account.url, contract=HERE) as bus:
        await put(owner, server.port)
        worker = face.worker(bus, SPEC, breaker=circuit, retry=RetryPolicy(max_attempts=3), **options)
        seen = worker if face.is_async else worker.inner
        seen.handler(handler)
        running = asyncio.ensure_future(worker.run())
        try:
            await eventually_async(lambda: circuit.state == "open", 60)
            await asyncio.sleep(AWAY)  # the time that the fault lasts
            at_once = seen.stats
            opened = len(openings)
            await server.listen()
            began = time.monotonic()
            await eventually_async(lambda: settled(owner), 120, interval=0.05)
            took = time.monotonic() - began
            stats = seen.stats
            await put(owner, server.port)  # the same work, and nothing wrong
            began = time.monotonic()
            await eventually_async(lambda: settled(owner), 120, interval=0.05)
            usual = time.monotonic() - began
        finally:
            await worker.stop()
            await server.close()
            await running
        assert await owner.dead_letters.list() == ()
    tell(
        f"dependency away for {AWAY:g} s, {case}: {at_once.retried} failed runs in {opened} openings; "
        f"{COUNT} messages {took:.1f} s after its return, {usual:.1f} s without a fault"
    )
    assert stats.succeeded == COUNT
    assert stats.dead_lettered == 0
    assert at_once.succeeded == 0
    # Until it first opens `minimum` have failed, beside those that ran; later on each probe may.
    assert at_once.retried <= SLOTS + PROBES * opened
    assert took < max(5.0, LONGEST + 2 * usual)
