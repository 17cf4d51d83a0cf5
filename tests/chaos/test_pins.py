"""Owners of a pinned consumer, each a process, that are killed, stopped, or lose their leader: the
next one takes over in time, and a stopped one does nothing under a lease that has expired."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from chaos.cluster import Cluster
from chaos.pin_owner import CONSUMER, STREAM, TIMEOUT, consumer_config
from support import eventually_async

from smith_sdk import AsyncSmithBus, SmithError
from smith_sdk._core.jetstream.pin import boot_time
from smith_sdk.embedded import EmbeddedServer

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

TAKEOVER: Final = 2 * TIMEOUT + 2
"""Seconds within which the next owner is at work."""
ELECTION: Final = 8.0
"""Seconds more where a leader was killed."""
LONG: Final = 60.0


class Line(NamedTuple):
    time: float
    name: str
    what: str
    words: tuple[str, ...]


class Crew:
    """Owners, each a process, and what they have written."""

    def __init__(self, file: Path, *urls: str) -> None:
        self._file = file
        self._urls = urls
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        argv = [sys.executable, "-m", "chaos.pin_owner", name, str(self._file), *self._urls]
        self.processes[name] = subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=Path(__file__).parent.parent)

    def signal(self, name: str, number: int) -> None:
        os.kill(self.processes[name].pid, number)

    def lines(self, what: str = "", since: float = 0.0) -> list[Line]:
        found = []
        for text in self._file.read_text().splitlines() if self._file.exists() else ():
            moment, name, kind, *words = text.split()
            if what in ("", kind) and float(moment) > since:
                found.append(Line(float(moment), name, kind, tuple(words)))
        return found

    def owner(self, since: float = 0.0) -> str:
        """The owner that has run the latest message since then; empty if none has."""
        ran = self.lines("ran", since)
        return ran[-1].name if ran else ""

    def stop(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


@contextmanager
def crew(file: Path, *urls: str, count: int = 3) -> Iterator[Crew]:
    found = Crew(file, *urls)
    try:
        for number in range(count):
            found.start(f"p{number}")
        yield found
    finally:
        found.stop()


@asynccontextmanager
async def publishing(bus: AsyncSmithBus) -> AsyncIterator[Callable[[], int]]:
    """A message every 10 ms, as long as it can be stored; how many have been."""
    count = 0

    async def publish() -> None:
        nonlocal count
        while True:
            with contextlib.suppress(SmithError):
                await bus._session.publish(f"{STREAM}.m", b"", stream=None, msg_id=f"m{count}", timeout=20)
                count += 1
            await asyncio.sleep(0.01)

    task = asyncio.ensure_future(publish())
    try:
        yield lambda: count
    finally:
        task.cancel()
        await asyncio.wait({task})


async def at_work(owners: Crew, since: float, within: float) -> float:
    """Seconds from `since` until some owner has run a message of an epoch that began after it."""

    async def began() -> float | None:
        epochs = {(line.name, line.words[0]) for line in owners.lines("epoch", since)}
        ran = [line.time for line in owners.lines("ran", since) if (line.name, line.words[1]) in epochs]
        return ran[0] - since if ran else None

    taken = await eventually_async(began, within, interval=0.05)
    assert taken is not None
    return taken


async def at_work_since(owners: Crew, since: float) -> str:
    """The owner that has run a message since then, as soon as one has."""
    return await eventually_async(lambda: owners.owner(since), LONG)


async def all_ran(bus: AsyncSmithBus, owners: Crew) -> None:
    """What was stored is run in the end, whoever has held it."""

    async def is_done() -> bool:
        with contextlib.suppress(SmithError):
            info = await bus._session.api.consumer_info(STREAM, CONSUMER)
            return bool(info["num_pending"] == 0 == info["num_ack_pending"])
        return False

    await eventually_async(is_done, LONG, interval=0.2)
    last = (await bus._session.api.stream_info(STREAM))["state"]["last_seq"]
    assert {int(line.words[0]) for line in owners.lines("ran")} == set(range(1, last + 1))


def overlaps(lines: list[Line]) -> list[Line]:
    """Messages that an owner has run after another one had begun to."""
    found: list[Line] = []
    newest: tuple[str, str] | None = None
    over: set[tuple[str, str]] = set()
    for line in sorted(line for line in lines if line.what == "ran"):
        epoch = (line.name, line.words[1])
        if epoch in over:
            found.append(line)
        elif epoch != newest:
            if newest is not None:
                over.add(newest)
            newest = epoch
    return found


async def test_owners_that_are_killed_or_stopped_are_followed_in_time(tmp_path: Path, tell: Callable[[str], None]) -> None:
    taken: dict[str, list[float]] = {}
    with EmbeddedServer() as server, crew(tmp_path / "lines", server.url) as owners:
        async with AsyncSmithBus(server.url) as bus:
            await bus._session.api.stream_create({"name": STREAM, "subjects": [f"{STREAM}.>"]})
            await bus._session.api.consumer_write(STREAM, consumer_config(), "create")
            async with publishing(bus):
                await eventually_async(lambda: owners.owner(), LONG)
                for number, fault in enumerate(("kill", "stop", "leave", "stop", "kill", "pause")):
                    since = boot_time()
                    name = await at_work_since(owners, since)
                    since = boot_time()
                    if fault == "leave":
                        stdin = owners.processes[name].stdin
                        assert stdin is not None
                        stdin.close()
                    else:
                        owners.signal(name, signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
                    if fault == "pause":  # shorter than the lease: it goes on
                        await asyncio.sleep(TIMEOUT / 3)
                        owners.signal(name, signal.SIGCONT)
                        await at_work_since(owners, since + TIMEOUT / 3)
                        continue
                    taken.setdefault(fault, []).append(await at_work(owners, since, TAKEOVER))
                    if fault == "stop":
                        owners.signal(name, signal.SIGCONT)
                    else:
                        owners.processes[name].wait(20)
                        owners.start(f"{name}-{number}")
            await all_ran(bus, owners)
        assert overlaps(owners.lines()) == []
    tell(
        f"pins: takeovers in s with T = {TIMEOUT:g}: "
        + str({fault: [round(one, 2) for one in times] for fault, times in taken.items()})
    )
    assert max(taken["leave"]) < TIMEOUT


async def test_an_owner_is_found_again_after_each_change_of_the_leader(tmp_path: Path, tell: Callable[[str], None]) -> None:
    times: list[float] = []
    with Cluster(tmp_path / "cluster") as cluster, crew(tmp_path / "lines", *cluster.urls) as owners:
        async with AsyncSmithBus(cluster.urls) as bus:
            api = bus._session.api
            await api.stream_create({"name": STREAM, "subjects": [f"{STREAM}.>"], "num_replicas": 3})
            await api.consumer_write(STREAM, consumer_config(), "create")
            async with publishing(bus):
                await eventually_async(lambda: owners.owner(), LONG)
                for fault in ("step-down", "step-down", "kill", "step-down", "step-down"):
                    info = await api.consumer_info(STREAM, CONSUMER)
                    since = boot_time()
                    node = next(one for one in cluster.nodes if one.name == info["cluster"]["leader"])
                    if fault == "kill":
                        await asyncio.to_thread(cluster.kill, node)
                    else:
                        await api.call(f"CONSUMER.LEADER.STEPDOWN.{STREAM}.{CONSUMER}")
                    times.append(await at_work(owners, since, TAKEOVER + (ELECTION if fault == "kill" else 0)))
                    if fault == "kill":
                        await asyncio.to_thread(cluster.restart, node)
                        await asyncio.to_thread(cluster.wait_healthy)
            await all_ran(bus, owners)
    tell(f"pins: takeovers at leader changes in s with T = {TIMEOUT:g}: {[round(one, 2) for one in times]}")
