"""How workers share a consumer, each in a process of its own: equal ones, a slow one, one that
joins, one that is killed.

`python fairness.py FILE SECONDS` is one worker of the server in SMITH_NATS_URL, whose handler takes
so long. It writes a line into the file once it is ready, and one for every message that it starts
on: when, which, and the number of the delivery. What it writes is there however it ends, and the
clock is the machine's own, the same for every process.

Every round has a fresh server. Those that are ready wait until the stream is full and the file "go"
is there, so all begin together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from harness import fresh_server, until
from tables import Flat, Rows, table

from smith_sdk import AsyncSmithBus, Envelope, Message, Worker, consumers, subjects
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, Intent

SPEC = consumers.admission  # of a work queue, and with a short ack wait
SLOTS = 8
WORK = 0.010  # seconds that a handler takes
SLOWER = 10


class Start(NamedTuple):
    at: float
    seq: int
    delivery: int


async def costs(quick: bool) -> dict[str, float]:
    """Figures by their names in the JSON: shares of 1, seconds, messages."""
    seconds = 0.5 if quick else 5.0
    return {
        **await equals("equal", WORK, round(seconds * 2_000)),
        **await equals("quick", 0.0, round(seconds * 4_000)),
        **await slow(seconds),
        **await joining(seconds),
    }


async def equals(name: str, work: float, count: int) -> dict[str, float]:
    """Four equal workers. "Unanswered" counts the deliveries of all four without an ack, as the
    server has it."""
    async with crew([work] * 4) as workers:
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(workers.count_unanswered())
            await workers.feed(count)
            await workers.settled()
            counting.cancel()
        handled = [len(starts) for starts in workers.starts()]
    if not workers.most_unanswered:
        raise RuntimeError("no delivery without an ack was ever seen")
    return {
        **shares(name, handled),
        f"fairness.{name}.jain": jain(handled),
        f"fairness.{name}.spread": (max(handled) - min(handled)) / (sum(handled) / len(handled)),
        f"fairness.{name}.unanswered_of_bound": workers.most_unanswered / (4 * SLOTS + SPEC.prefetch),
    }


async def slow(seconds: float) -> dict[str, float]:
    """Three equal workers, and one that takes ten times as long and is killed in the end: the
    messages that it held are redelivered."""
    async with crew([WORK, WORK, WORK, SLOWER * WORK]) as workers:
        began = await workers.feed(round(seconds * 3_000))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        killed = time.monotonic()
        workers.processes[3].kill()
        await workers.settled()
        starts = workers.starts()
    handled = [sum(start.at < killed for start in some) for some in starts]
    back = [start.at - killed for some in starts for start in some if start.delivery > 1]
    if {start.seq for some in starts for start in some} != set(range(1, round(seconds * 3_000) + 1)) or not back:
        raise RuntimeError(f"of {round(seconds * 3_000)} messages some were lost, or none was redelivered: {len(back)}")
    return {
        **shares("slow", handled),
        "fairness.slow.jain_of_equals": jain(handled[:3]),
        "fairness.slow.equals_busy": sum(handled[:3]) * WORK / (3 * SLOTS * (killed - began)),
        "fairness.slow.held": len(back),
        "fairness.slow.held_of_slots": len(back) / SLOTS,
        "fairness.killed.back_s": max(back),
        "fairness.killed.back_of_ack_wait": max(back) / SPEC.ack_wait,
    }


async def joining(seconds: float) -> dict[str, float]:
    """Two workers with a backlog, and a third that joins: how long until its slots are all used."""
    async with crew([WORK] * 2) as workers:
        await workers.feed(round((seconds + 2) * 2_000))
        await workers.add(WORK)
        await until(lambda: len(workers.starts()[2]) >= SLOTS)
        ready = float(workers.lines(2)[0])
        return {"fairness.joined.busy_s": workers.starts()[2][SLOTS - 1].at - ready}


def shares(name: str, handled: Sequence[int]) -> dict[str, float]:
    return {f"fairness.{name}.share_{place}": one / sum(handled) for place, one in enumerate(handled, 1)}


def jain(handled: Sequence[int]) -> float:
    """Jain's fairness index: 1 if all have the same, 1 / n if one of n has all."""
    return sum(handled) ** 2 / (len(handled) * sum(one**2 for one in handled))


# ---- the workers, from outside


class Crew:
    """Workers of one consumer, their records, and the harness's own bus."""

    def __init__(self, bus: AsyncSmithBus, url: str, directory: Path) -> None:
        self._bus, self._url = bus, url
        self._directory = directory
        self.processes: list[Process] = []
        self.most_unanswered = 0

    async def add(self, work: float) -> None:
        arguments = (str(self._file(len(self.processes))), str(work))
        env = {**os.environ, "SMITH_NATS_URL": self._url}
        self.processes.append(await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, env=env))

    def _file(self, place: int) -> Path:
        return self._directory / str(place)

    def lines(self, place: int) -> list[str]:
        """The complete lines that it has written."""
        file = self._file(place)
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def starts(self) -> list[list[Start]]:
        rows = [[line.split() for line in self.lines(place)[1:]] for place in range(len(self.processes))]
        return [[Start(float(at), int(seq), int(delivery)) for at, seq, delivery in row] for row in rows]

    async def feed(self, count: int) -> float:
        """Publish that many messages for all at the same moment, and return that moment."""
        await self._bus.publish_many([_envelope(number) for number in range(count)])
        await until(lambda: all(self.lines(place) for place in range(len(self.processes))))
        (self._directory / "go").touch()
        return time.monotonic()

    async def count_unanswered(self) -> None:
        while True:
            self.most_unanswered = max(self.most_unanswered, (await self._bus.consumer(SPEC).info()).num_ack_pending)
            await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Return once every message has been acknowledged: a work queue then keeps none."""

        async def is_empty() -> bool:
            return not (await self._bus.streams.get(SPEC.stream)).messages

        await until(is_empty)


@asynccontextmanager
async def crew(work: Sequence[float]) -> AsyncIterator[Crew]:
    with tempfile.TemporaryDirectory(prefix="smith-bench-") as scratch:
        async with fresh_server() as server, AsyncSmithBus(server.url) as bus:
            workers = Crew(bus, server.url, Path(scratch))
            try:
                for one in work:
                    await workers.add(one)
                yield workers
            finally:
                for process in workers.processes:
                    if process.returncode is None:
                        process.kill()
                    await process.wait()


def _envelope(number: int) -> Envelope:
    intent = FsReadV1Intent.new(domain="bench", params=FsReadV1Params(path=str(number)))
    return subjects.intents.raw.of(intent).envelope(intent)


# ---- a worker


async def work_at(file: str, seconds: float) -> None:
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with AsyncSmithBus() as bus:
        worker = Worker(bus, SPEC, concurrency=SLOTS)

        @worker.handler
        async def handle(message: Message[Intent]) -> None:
            about = message.metadata
            os.write(log, f"{time.monotonic()} {about.stream_seq} {about.num_delivered}\n".encode())
            if seconds:
                await asyncio.sleep(seconds)

        os.write(log, f"{time.monotonic()}\n".encode())
        await until(Path(file).with_name("go").exists)
        await worker.run()


def show(flat: Flat) -> None:
    rows: Rows = []
    for name, title in (
        ("equal", "4 equal, 10 ms each"),
        ("quick", "4 equal, no work"),
        ("slow", "3 equal, the last 10 times slower"),
    ):
        shares = [f"{flat[f'fairness.{name}.share_{place}'] * 100:.1f} %" for place in range(1, 5)]
        index = flat[f"fairness.{name}.jain" if name != "slow" else "fairness.slow.jain_of_equals"]
        spread = f"{flat[f'fairness.{name}.spread']:.3f}" if name != "slow" else ""
        rows.append((title, *shares, f"{index:.4f}", spread))
    table("Shares of the workers of one consumer", ("workers", "1", "2", "3", "4", "Jain's index", "spread"), rows)
    table(
        "Workers that are slow, killed or new",
        ("what", "figure"),
        [
            ("messages that the slow one held when it was killed (it has 8 slots)", f"{flat['fairness.slow.held']:.0f}"),
            ("slots of the other three in use beside it", f"{flat['fairness.slow.equals_busy'] * 100:.0f} %"),
            ("what it held was redelivered, after (s; the ack wait is 5)", f"{flat['fairness.killed.back_s']:.2f}"),
            ("one that joins has all its slots in use, after (s)", f"{flat['fairness.joined.busy_s']:.3f}"),
            ("most unanswered messages, of slots and prefetch", f"{flat['fairness.equal.unanswered_of_bound']:.2f}"),
            ("the same with handlers that do nothing", f"{flat['fairness.quick.unanswered_of_bound']:.2f}"),
        ],
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(work_at(sys.argv[1], float(sys.argv[2])))
