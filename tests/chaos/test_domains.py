"""Moves of domains that are killed over and over, under traffic: none is lost, none runs twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, read_intent
from msgspec.structs import replace
from pressure import admitting
from support import eventually_async

from smith_sdk import AsyncSmithBus, Worker, consumers, subjects
from smith_sdk.contract import ConsumerSpec, Profile
from smith_sdk.errors import ConsumerNotFound, SmithError
from smith_sdk.topology import CONTRACT

from .cluster import Cluster

READ: Final = consumers.executor_fs_read
DOMAINS: Final = ("eu", "uk", "us")
TOGETHER: Final = CONTRACT.with_domains(READ.for_domains(*DOMAINS))
APART: Final = CONTRACT.with_domains(*(READ.for_domains(domain) for domain in DOMAINS))
SPECS: Final = {
    spec.name: spec for contract in (TOGETHER, APART) for spec in contract.consumers if spec.name.startswith(READ.name)
}
ROUNDS: Final = 6
_MOVE: Final = """
import sys
from smith_sdk._core.domains import mover
from smith_sdk.cli.app import run
mover.HOLD_TTL, mover.RENEWAL = 4.0, 1.0
sys.exit(run(sys.argv[1:]))
"""
_CONTRACTS: Final = """
from smith_sdk import consumers
from smith_sdk.topology import CONTRACT
READ, DOMAINS = consumers.executor_fs_read, ("eu", "uk", "us")
TOGETHER = CONTRACT.with_domains(READ.for_domains(*DOMAINS))
APART = CONTRACT.with_domains(*(READ.for_domains(domain) for domain in DOMAINS))
"""


class Executors:
    """Workers of all consumers for reading files that the server has, now and later."""

    def __init__(self, bus: AsyncSmithBus) -> None:
        self._bus = bus
        self.ran: dict[str, list[str]] = defaultdict(list)
        """The consumers that delivered each intent to a handler."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(self._work(spec)) for spec in SPECS.values()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _work(self, spec: ConsumerSpec[Any, Any]) -> None:
        while True:
            worker = Worker(self._bus, spec, concurrency=4)

            @worker.handler
            async def read(message: Any) -> None:
                self.ran[message.payload.id].append(message.metadata.consumer)
                await asyncio.sleep(0.005)

            with contextlib.suppress(ConsumerNotFound):
                await worker.run()
            await asyncio.sleep(0.2)


async def _publish(bus: AsyncSmithBus, sent: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        for domain in DOMAINS:
            intent = read_intent(domain=domain, ttl_ms=3_600_000)
            await bus.publish(subjects.intents.raw.of(intent), intent, timeout=60)
            sent.append(intent.id)
        await asyncio.sleep(0.02)


async def _move(url: str, directory: Path, to: str, kill_after: float | None) -> int:
    """The exit status of `smith domains move`; it is killed after that many seconds."""
    command = [
        sys.executable,
        "-c",
        _MOVE,
        "domains",
        "move",
        "eu",
        "--contract",
        f"chaos_domains:{to}",
        "--yes",
        "--timeout",
        "2m",
    ]
    env = {**os.environ, "SMITH_NATS_URL": url, "SMITH_PROFILE": "dev", "PYTHONPATH": str(directory)}
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.DEVNULL)
    try:
        return await asyncio.wait_for(process.wait(), kill_after or 180)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it has ended just now
            process.kill()
        return await process.wait()


async def _scenario(
    url: str, bus: AsyncSmithBus, directory: Path, seed: int, disturb: Callable[[], Any] | None = None
) -> tuple[Executors, int, int]:
    (directory / "chaos_domains.py").write_text(_CONTRACTS)
    chance = random.Random(seed)
    executors, sent, stop, kills = Executors(bus), list[str](), asyncio.Event(), 0
    async with admitting(bus), admitting(bus), executors.running():
        publishing = asyncio.ensure_future(_publish(bus, sent, stop))
        for number in range(ROUNDS):
            to = "TOGETHER" if number % 2 else "APART"
            while True:
                status = await _move(url, directory, to, chance.uniform(0.6, 3.0) if chance.random() < 0.7 else None)
                if status == 0:
                    break
                kills += 1
                if disturb is not None:
                    with contextlib.suppress(SmithError):
                        await disturb()
        stop.set()
        await publishing
        await eventually_async(lambda: len(executors.ran) == len(sent), 240, interval=0.5)
        await asyncio.sleep(2)  # what would run twice has the time to do so
    assert set(executors.ran) == set(sent)
    several = {intent: names for intent, names in executors.ran.items() if len(set(names)) > 1}
    assert several == {}, "executed by two consumers"
    return executors, len(sent), kills


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
async def test_moves_that_are_killed_lose_nothing_and_repeat_nothing(
    account: Account, tmp_path: Path, tell: Callable[[str], None], seed: int
) -> None:
    async with account.applied(contract=TOGETHER) as bus:
        executors, sent, kills = await _scenario(account.url, bus, tmp_path, seed)
    repeats = sum(len(names) - 1 for names in executors.ran.values())
    tell(f"domains: {ROUNDS} moves with {kills} kills, {sent:,} intents, {repeats} repeats, none lost (seed {seed})")
    assert repeats == 0


@pytest.mark.chaos
@pytest.mark.timeout(900)
async def test_moves_on_a_cluster_whose_leaders_change(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """A redelivery may repeat an intent there, at the same consumer: an ack was lost."""
    with Cluster(tmp_path / "nodes") as cluster:
        url = ",".join(cluster.urls)
        three = replace(TOGETHER, profiles=(Profile(name="three", replicas=3, fit=2**28),))
        async with AsyncSmithBus(cluster.urls, contract=three, profile="three") as bus:
            await bus.streams.apply()

            async def step_down() -> None:
                await bus._session.api.call("STREAM.LEADER.STEPDOWN.ATOMS_VETTED", stream="ATOMS_VETTED")

            executors, sent, kills = await _scenario(url, bus, tmp_path, 4, step_down)
    repeats = sum(len(names) - 1 for names in executors.ran.values())
    tell(f"domains on a cluster: {ROUNDS} moves with {kills} kills, {sent:,} intents, {repeats} repeats, none lost")
