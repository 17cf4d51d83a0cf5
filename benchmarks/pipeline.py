"""The whole pipeline: an intent is published, admitted, executed, and its result is read; each step
in a process of its own, on one embedded server.

Once with nothing verified, and once with `Trust`: the publisher signs, admission and the executor
verify, and admission refuses replays. Every id that was published has to arrive at the reader.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nats
from harness import Server, used_by
from msgspec.structs import replace
from tables import Flat, Rows, note, table

from smith_sdk import AsyncSmithBus
from smith_sdk.topology import CONTRACT

ROLES = ("publisher", "admission", "executor", "reader")
KINDS = {"": "without", "trusted.": "with"}
WARM_UP = 2_000
RAW, VETTED, RESULTS = "SDLC_RAW", "ATOMS_VETTED", "ATOMS_RESULTS"
# With the sizes of `dev`, the raw stream would be full before admission has begun.
_ROOMY = replace(CONTRACT, profiles=(replace(CONTRACT.profiles[0], fit=7 * 1024**3), *CONTRACT.profiles[1:]))
_LINE = 64 * 1024**2  # bytes of the longest report
_LONGEST = 300.0  # seconds that an answer may take


async def costs(count: int) -> dict[str, float]:
    """Figures by their names in the JSON: intents per second, microseconds, intents."""
    found: dict[str, float] = {}
    for kind in KINDS:
        async with started(trusted=kind != "") as pipeline:
            await pipeline.flood(min(count, WARM_UP))
            found |= {f"pipeline.{kind}{name}": value for name, value in (await pipeline.flood(count)).items()}
    return found


class Paced(NamedTuple):
    """Seconds from the scheduled time of each intent, in the order of the schedule."""

    late: list[float]
    """To the publisher's call."""
    handler: list[float]
    """To the first line of the executor's handler."""
    result: list[float]
    """To its result at the reader."""


class Pipeline:
    """The four processes, and the server's."""

    def __init__(self, server: Server, pid: int) -> None:
        self.server = server
        self._pid = pid
        self._processes: dict[str, Process] = {}

    async def add(self, role: str, trusted: bool) -> None:
        script = Path(__file__).with_name("pipeline_role.py")
        command = (sys.executable, str(script), role, "trusted" if trusted else "plain")
        # The url holds the password, which other users could read in the arguments.
        env = {**os.environ, "SMITH_NATS_URL": self.server.url}
        self._processes[role] = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=_LINE, env=env)

    async def answer(self, role: str) -> dict[str, Any]:
        """What the process says next. Raises `RuntimeError` if it has ended."""
        stdout = self._processes[role].stdout
        assert stdout is not None
        async with asyncio.timeout(_LONGEST):
            line = await stdout.readline()
        if not line:
            raise RuntimeError(f"the {role} ended with status {await self._processes[role].wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def ask(self, role: str, do: str, **arguments: float) -> dict[str, Any]:
        stdin = self._processes[role].stdin
        assert stdin is not None
        stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        return await self.answer(role)

    async def ask_all(self, do: str) -> dict[str, dict[str, Any]]:
        return {role: await self.ask(role, do) for role in ROLES}

    async def flood(self, count: int) -> dict[str, float]:
        """`count` intents, published as fast as it goes; the clock stops with the last result."""
        await self._empty()
        used = used_by(self._pid)
        began = (await self.ask("publisher", "flood", count=count))["began"]
        await self.ask("reader", "until", count=count)
        await self.settled()
        used = used_by(self._pid) - used
        reports = await self.ask_all("report")
        sent = {one[0] for one in reports["publisher"]["records"]}
        read = Counter(one[0] for one in reports["reader"]["records"])
        ended = max((one[1] for one in reports["reader"]["records"]), default=began)
        cpu = {role: reports[role]["cpu_s"] / count * 1e6 for role in ROLES}
        return {
            "intents": count,
            "intents_per_s": len(read) / (ended - began),
            **{f"cpu_us.{role}": value for role, value in cpu.items()},
            "cpu_us.server": used / count * 1e6,
            "one_core_each_per_s": 1e6 / max(cpu.values()),
            "lost": len(sent - read.keys()),
            "duplicates": read.total() - len(read),
        }

    async def pace(self, rate: float, seconds: float, seed: int) -> Paced:
        """Intents at so many a second, at times that wait for nothing."""
        await self._empty()
        count = (await self.ask("publisher", "pace", rate=rate, seconds=seconds, seed=seed))["count"]
        await self.ask("reader", "until", count=count)
        await self.settled()
        reports = await self.ask_all("report")
        sent = reports["publisher"]["records"]
        handled, read = (_first(reports[role]["records"]) for role in ("executor", "reader"))
        if missing := [key for key, _, _ in sent if key not in handled or key not in read]:
            raise RuntimeError(f"{len(missing)} of {count} intents reached no handler, or have no result")
        return Paced(
            late=[called - scheduled for _, scheduled, called in sent],
            handler=[handled[key] - scheduled for key, scheduled, _ in sent],
            result=[read[key] - scheduled for key, scheduled, _ in sent],
        )

    async def settled(self) -> None:
        """Return once every message is acknowledged, at each step."""
        for stream in (RAW, VETTED):
            await self.server.emptied(stream)
        await self.server.all_acked()

    async def _empty(self) -> None:
        await self.server.purge(RESULTS)
        await self.ask_all("mark")

    async def stop(self) -> None:
        for process in self._processes.values():
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes.values():
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


@asynccontextmanager
async def started(*, trusted: bool) -> AsyncIterator[Pipeline]:
    """A fresh server, and processes that are connected and at work."""
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(AsyncSmithBus.embedded(contract=_ROOMY))
        client = await nats.connect(owner.url)
        stack.push_async_callback(client.close)
        pid = owner._server.pid if owner._server is not None else None
        assert pid is not None
        pipeline = Pipeline(Server(owner.url, client), pid)
        stack.push_async_callback(pipeline.stop)
        for role in ROLES:
            await pipeline.add(role, trusted)
        for role in ROLES:
            await pipeline.answer(role)
        yield pipeline


def _first(records: list[tuple[str, float]]) -> dict[str, float]:
    """The first time of each id: a redelivery does not count."""
    found: dict[str, float] = {}
    for key, at in records:
        found.setdefault(key, at)
    return found


def show(flat: Flat) -> None:
    rows: Rows = []
    for kind, title in KINDS.items():
        key = f"pipeline.{kind}"
        rows.append(
            (
                title,
                f"{flat[f'{key}intents_per_s']:,.0f}",
                *(f"{flat[f'{key}cpu_us.{process}']:.0f}" for process in (*ROLES, "server")),
                f"{flat[f'{key}one_core_each_per_s']:,.0f}",
                f"{flat[f'{key}lost']:,.0f}",
                f"{flat[f'{key}duplicates']:,.0f}",
            )
        )
    table(
        f"The whole pipeline, {flat['pipeline.intents']:,.0f} intents, each process on its own; CPU us of each for an intent",
        (
            "Trust",
            "intents/s",
            "publisher",
            "admission",
            "executor",
            "reader",
            "server",
            "intents/s, a core each",
            "lost",
            "twice",
        ),
        rows,
    )
    cores = " and ".join(
        f"{flat[f'pipeline.{kind}cpu_us.server'] * flat[f'pipeline.{kind}one_core_each_per_s'] / 1e6:.1f}" for kind in KINDS
    )
    note(
        "Intents/s with a core each are derived, not measured: by the processor time of the busiest of the four.\n"
        f"The server would then use {cores} cores."
    )
