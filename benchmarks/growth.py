"""How costs grow: with processes, messages in a call, streams, payloads, consumers and backlog.

Usage: `python benchmarks/growth.py [--quick] [--axis AXIS] [--json FILE]`, or the part "growth" of
run.py.

Each axis changes one number and keeps the others: one process, calls of `publish_many` with 1,000
messages, one stream (file storage, message ids), 1 KiB, one consumer, nothing waiting. A figure is
processor time for each message: of the client processes (all threads) and of the server (its own
process), which add up on any machine; messages/s are there as well and say what two shared cores
bear. The processor time that the same work takes depends on what else the machine does; so the same
reference is measured on a second server right before each round, which counts in shares of what the
reference cost, times the median of that in the run. A read takes a message through a pull consumer
with 500 requested ahead, decodes it and acknowledges it; the processor time of the server is
counted until it has every ack, messages/s are by the clock of the slowest client. Points of an axis
take turns, and each is the median of its rounds.

- processes: clients with a connection each, on the same stream and the same consumer.
- batch: messages in one call of `publish_many`, which waits for all of them before the next; and
  messages requested ahead, reading.
- streams: one process publishes to them in turn.
- payload: the size of the JSON.
- narrow: consumers of one stream with a subject each, which share the messages. They are made off
  the clock; a read goes through all of them, one process with a pull for each.
- wide: consumers of one stream that each get every message and are not read.
- waiting: messages in the stream that the consumer has not delivered. As many are read as are
  published, so that the backlog stays; a message has 256 bytes. "look" is one CONSUMER.INFO,
  "create" makes a consumer whose filter leaves one of 2,000 messages, which the server has to
  count.

`cost_model.py` is fitted on a few of these points and predicts the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import cost_model
import machine
import nats
from cost_model import KIB, Point
from growth_client import BUS, KEYS
from harness import LONGEST, until
from nats.aio.client import Client
from tables import Flat, Rows, table

from smith_codegen.compile import compile_spec
from smith_codegen.publish import publish
from smith_sdk.embedded import EmbeddedServer

STREAMS: Final = 64
AHEAD: Final = 500
SMALL: Final = 256
"""Bytes of a message of which a million wait."""


def axes(quick: bool) -> dict[str, dict[int, Point]]:
    """The points of each axis, by the number that changes."""
    count = 1_000 if quick else 10_000
    sizes = (KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 2048 * KIB)
    full: dict[str, dict[int, Point]] = {
        "processes": {n: Point(processes=n, count=max(1, n // 2) * count) for n in (1, 2, 4, 8)},
        "batch": {n: Point(batch=n, count=count // (5 if n < 10 else 1)) for n in (1, 3, 10, 30, 100, 300, 1_000)},
        "streams": {n: Point(streams=n, count=count) for n in (1, 2, 4, 8, 16, 32, 64)},
        "payload": {n: Point(payload=n, count=min(count, max(count // 100, 64 * count // (n // 64)))) for n in sizes},
        "narrow": {n: Point(narrow=n, count=2 * count // 5) for n in (10, 100, 500, 1_000, 2_000)},
        "wide": {n: Point(wide=n, count=count // 2) for n in (10, 100, 500, 1_000, 2_000)},
        "waiting": {n: Point(waiting=n, payload=SMALL, count=count) for n in (1, 100, 10_000, 100_000, 1_000_000)},
    }
    if not quick:
        return full
    return {axis: {n: points[n] for n in (min(points), sorted(points)[1])} for axis, points in full.items()}


def consumers_of(point: Point) -> list[str]:
    """Those that are read from."""
    return [f"narrow{number}" for number in range(point.narrow)] or ["c0"]


def generate(folder: Path) -> None:
    """The package `growth_bus`, with as many streams as an axis has."""
    lines = ["[spec]", 'name = "growth"', "version = 1", 'root = "growth"', f'package = "{BUS}"']
    lines += ["[tokens]", 'place = { newtype = "Place" }', "[messages.Note]", 'id = "id"']
    lines += ["[messages.Note.fields]", 'id = "str"', 'body = "str"', "[profiles.dev]", "[subjects]"]
    for number in range(STREAMS):
        pattern = f"growth.s{number}.{{place}}"
        lines.append(f'"growth.s{number}" = {{ pattern = "{pattern}", message = "Note", stream = "S{number}" }}')
    lines += [
        "[consumers.c0]",
        'stream = "S0"',
        'ack_wait = "30s"',
        "max_attempts = 5",
        "max_ack_pending = 8000",
        "prefetch = 500",
    ]
    for number in range(STREAMS):
        # Without a number of its own, a stream refuses the 1,001st consumer.
        lines += [f"[streams.S{number}]", f'subjects = ["growth.s{number}.*"]', "max_consumers = 2_100"]
    publish(compile_spec("\n".join(lines)), folder / BUS)


class Server:
    """The server of a run, and what it has used."""

    def __init__(self, embedded: EmbeddedServer, client: Client) -> None:
        self._embedded = embedded
        self.client = client

    def cpu(self) -> float:
        """Seconds of processor time since it started."""
        # In nanoseconds, of each thread; /proc/PID/stat counts in 10 ms, which is too coarse here.
        threads = Path(f"/proc/{self._embedded.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def mib(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self._embedded.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / KIB

    async def api(self, subject: str, request: object = None) -> dict[str, Any]:
        body = b"" if request is None else json.dumps(request).encode()
        answer: dict[str, Any] = json.loads((await self.client.request(f"$JS.API.{subject}", body, timeout=30)).data)
        if "error" in answer:
            raise RuntimeError(f"{subject}: {answer['error']}")
        return answer

    async def create_stream(self, number: int) -> None:
        config = {
            "name": f"S{number}",
            "subjects": [f"growth.s{number}.*"],
            "storage": "file",
            "max_consumers": 2_100,
            "duplicate_window": int(60e9),
        }
        await self.api(f"STREAM.CREATE.S{number}", config)

    async def create_consumer(self, name: str, key: str) -> None:
        config = {
            "durable_name": name,
            "filter_subject": f"growth.s0.{key}",
            "ack_policy": "explicit",
            "ack_wait": int(30e9),
            "max_deliver": -1,
            "max_ack_pending": 8_000,
        }
        await self.api(f"CONSUMER.CREATE.S0.{name}.growth.s0.{key}", {"stream_name": "S0", "config": config, "action": "create"})

    async def fill(self, count: int) -> None:
        """Bring the stream S0 to `count` small messages."""

        async def stored() -> int:
            return int((await self.api("STREAM.INFO.S0"))["state"]["messages"])

        async def has_all() -> bool:
            return await stored() == there

        there = await stored()
        body = b'{"id":"","body":"%s"}' % (b"x" * (SMALL - len('{"id":"","body":""}')))
        while there < count:
            # In parts: the server drops what it has no room to queue, if it is not acknowledged.
            part = min(20_000, count - there)
            for number in range(part):
                await self.client.publish(f"growth.s0.k{number % KEYS}", body)
            there += part
            await until(has_all)

    async def all_acked(self, names: Sequence[str], waiting: int) -> None:
        """Return once each of these has `waiting` messages to deliver, and no ack outstanding."""

        async def settled(name: str) -> bool:
            info = await self.api(f"CONSUMER.INFO.S0.{name}")
            return not info["num_ack_pending"] and info["num_pending"] == waiting

        for name in names:
            await until(partial(settled, name))


class Clients:
    """Client processes, started as they are needed."""

    def __init__(self, folder: Path, url: str) -> None:
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._env = {**os.environ, "SMITH_NATS_URL": url, "PYTHONPATH": path}
        self._running: list[Process] = []

    async def run(self, server: Server, processes: int, task: dict[str, Any], settled: Callable[[], Any]) -> dict[str, float]:
        """The task in each of `processes`, all begun at once: microseconds for each message, and
        messages/s."""
        while len(self._running) < processes:
            script = Path(__file__).with_name("growth_client.py")
            # A line is a task, and may name thousands of consumers.
            made = await asyncio.create_subprocess_exec(sys.executable, str(script), env=self._env, stdin=PIPE, stdout=PIPE)
            self._running.append(made)
        chosen = self._running[:processes]
        for process in chosen:
            _tell(process, json.dumps({**task, "count": task["count"] // processes}))
        for process in chosen:
            await _line(process)
        before = server.cpu()
        for process in chosen:
            _tell(process, "go")
        answers = [json.loads(await _line(process)) for process in chosen]
        await settled()
        count = task["count"]
        return {
            "client_us": sum(one["cpu_seconds"] for one in answers) / count * 1e6,
            "server_us": (server.cpu() - before) / count * 1e6,
            "msgs_per_s": count / max(one["seconds"] for one in answers),
        }

    async def stop(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
            await process.wait()
        self._running.clear()


def _tell(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(LONGEST):
        if not (line := await process.stdout.readline()):
            raise RuntimeError(f"a client process ended with status {await process.wait()}")
    return line


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Server, Clients]]:
    """A fresh server with the streams and the consumer c0, and client processes for it."""
    with tempfile.TemporaryDirectory(prefix="smith-bench-") as scratch:
        generate(Path(scratch))
        embedded = EmbeddedServer(Path(scratch) / "store")
        await asyncio.to_thread(embedded.start)
        clients = Clients(Path(scratch), embedded.url)
        try:
            connection = await nats.connect(embedded.url)
            server = Server(embedded, connection)
            for number in range(STREAMS):
                await server.create_stream(number)
            await server.create_consumer("c0", "*")
            try:
                yield server, clients
            finally:
                await connection.close()
        finally:
            await clients.stop()
            await asyncio.to_thread(embedded.stop)


async def measure(server: Server, clients: Clients, point: Point) -> dict[str, float]:
    """One round of a point: publish, then read."""
    backlog = point.waiting
    if not backlog:
        for number in range(point.streams):
            await server.api(f"STREAM.PURGE.S{number}")
    publishing = {
        "do": "publish",
        "streams": point.streams,
        "count": point.count,
        "size": point.payload,
        "batch": point.batch,
        "keys": point.narrow or KEYS,
    }

    async def stored() -> None:
        await server.client.flush()

    found = {f"publish.{name}": value for name, value in (await clients.run(server, point.processes, publishing, stored)).items()}
    if point.streams > 1 or point.wide:
        return found
    reading = {"do": "read", "count": point.count, "consumers": consumers_of(point), "prefetch": min(AHEAD, point.batch)}

    async def acked() -> None:
        await server.all_acked(consumers_of(point), backlog)

    read = await clients.run(server, point.processes, reading, acked)
    return found | {f"read.{name}": value for name, value in read.items()}


Samples = dict[str, list[float]]


class Rounds:
    """What was measured, and what the reference cost right before."""

    def __init__(self) -> None:
        self._points: dict[str, Samples] = {}
        self._reference: Samples = {}

    def add(self, point: str, measured: Mapping[str, float], reference: Mapping[str, float]) -> None:
        """Processor time counts in shares of what the reference cost."""
        _append(self._reference, reference)
        shares = {what: value / (reference[what] if _is_scaled(what) else 1) for what, value in measured.items()}
        _append(self._points.setdefault(point, {}), shares)

    def figures(self) -> dict[str, float]:
        """The medians; processor time as it would be if the reference always cost the same."""
        usual = {what: median(values) for what, values in self._reference.items()}
        found = {f"growth.reference.{what}": value for what, value in usual.items()}
        for point, samples in self._points.items():
            for what, values in samples.items():
                found[f"growth.{point}.{what}"] = median(values) * (usual[what] if _is_scaled(what) else 1)
        return found


def _is_scaled(what: str) -> bool:
    return what.endswith("_us")


def _append(samples: Samples, values: Mapping[str, float]) -> None:
    for what, value in values.items():
        samples.setdefault(what, []).append(value)


async def axis(name: str, points: dict[int, Point], rounds: int, found: Rounds) -> dict[str, float]:
    """All points of an axis, on a server of its own, beside the reference on another. Axes that
    fill the server go up once, others take turns. Returns what is no cost of a message."""
    figures: dict[str, float] = {}
    growing = name in ("narrow", "wide", "waiting")
    async with running() as (server, clients), running() as (other, its_clients):
        reference = Point(count=4_000)

        async def measured(number: int) -> None:
            usual = await measure(other, its_clients, reference)
            found.add(f"{name}.{number}", await measure(server, clients, points[number]), usual)

        for warmed in ((server, clients), (other, its_clients)):
            await measure(*warmed, reference)
        if growing:
            made = 0
            for number, point in points.items():
                figures |= {f"growth.{name}.{number}.{what}": value for what, value in (await grow(server, point, made)).items()}
                made = number
                for _ in range(rounds):
                    await measured(number)
        else:
            for _ in range(rounds):
                for number in points:
                    await measured(number)
    return figures


async def grow(server: Server, point: Point, made: int) -> dict[str, float]:
    """Bring the server to the point: more consumers than the `made` ones, or more messages."""
    if point.waiting:
        await server.api("STREAM.PURGE.S0")
        await server.fill(point.waiting)
        return {"server_mib": server.mib(), **await looks(server)}
    if point.narrow and not made:
        await server.api("CONSUMER.DELETE.S0.c0")
    await server.api("STREAM.PURGE.S0")
    count = point.narrow or point.wide
    started = time.perf_counter()
    for number in range(made, count):
        await server.create_consumer(
            f"narrow{number}" if point.narrow else f"wide{number}", f"k{number}" if point.narrow else "*"
        )
    took = time.perf_counter() - started
    return {"create_ms": took / (count - made) * 1e3}


async def looks(server: Server) -> dict[str, float]:
    """Milliseconds that the server takes to answer about a backlog."""
    took: dict[str, list[float]] = {"look_ms": [], "create_ms": []}
    for _ in range(5):
        started = time.perf_counter()
        await server.api("CONSUMER.INFO.S0.c0")
        took["look_ms"].append(time.perf_counter() - started)
        started = time.perf_counter()
        await server.create_consumer("other", "k7")
        took["create_ms"].append(time.perf_counter() - started)
        await server.api("CONSUMER.DELETE.S0.other")
    return {name: median(values) * 1e3 for name, values in took.items()}


async def costs(quick: bool, chosen: Sequence[str] | None = None) -> dict[str, float]:
    """Figures by their names in the JSON, the model's among them if all of it was measured."""
    figures: dict[str, float] = {}
    found = Rounds()
    for name, points in axes(quick).items():
        if chosen and name not in chosen:
            continue
        print(f"... growth: {name}", file=sys.stderr, flush=True)
        figures |= await axis(name, points, 1 if quick else 7, found)
    figures |= found.figures()
    return figures if quick or chosen else figures | model(figures)


def model(flat: Flat) -> dict[str, float]:
    """The cost model's coefficients, predictions and worst errors, from the points of all axes."""
    figures: dict[str, float] = {}
    errors: list[float] = []
    for work in cost_model.TERMS:
        for side in cost_model.SIDES:
            measured = cost_model.gather(axes(quick=False), flat, work, side)
            coefficients, predictions = cost_model.predict(work, measured)
            name = f"growth.model.{work}.{side}"
            figures |= {f"{name}.{term}_us": value for term, value in coefficients.items()}
            figures |= {f"{name}.{one.name}.predicted_us": one.predicted for one in predictions}
            predicted = [abs(one.error) for one in predictions if not one.fitted]
            figures[f"{name}.worst_error"] = max(predicted)
            errors += predicted
    figures["growth.model.worst_error"] = max(errors)
    figures["growth.model.median_error"] = median(errors)
    figures["growth.model.within_25_percent"] = sum(error <= 0.25 for error in errors) / len(errors)
    return figures


COLUMNS: Final = {
    "publish.client_us": "publish: client us",
    "publish.server_us": "server us",
    "publish.msgs_per_s": "messages/s",
    "read.client_us": "read: client us",
    "read.server_us": "server us",
    "read.msgs_per_s": "messages/s",
    "create_ms": "create (ms)",
    "look_ms": "look (ms)",
    "server_mib": "server MiB",
}
TITLES: Final = {
    "processes": "Client processes",
    "batch": "Messages in a call, and requested ahead",
    "streams": "Streams",
    "payload": "Bytes of a payload",
    "narrow": "Consumers of one stream that share its messages",
    "wide": "Consumers of one stream that each get every message",
    "waiting": "Messages waiting",
}
KINDS: Final = [(work, side) for work in cost_model.TERMS for side in cost_model.SIDES]


def show(flat: Flat, shown: Callable[[str, tuple[str, ...], Rows], None] = table) -> None:
    """A table for each axis, a predicted figure beside its measured one, and one of the model."""
    predicted = "growth.model.worst_error" in flat
    for name, title in TITLES.items():
        numbers = sorted({int(key.split(".")[2]) for key in flat if key.startswith(f"growth.{name}.")})
        if numbers:
            columns = [what for what in COLUMNS if f"growth.{name}.{numbers[-1]}.{what}" in flat]
            rows: Rows = [(f"{number:,}", *(_cell(flat, name, number, what) for what in columns)) for number in numbers]
            shown(f"{title}{' (us: measured / predicted)' * predicted}", (name, *(COLUMNS[what] for what in columns)), rows)
    if predicted:
        show_model(flat, shown)


def _cell(flat: Flat, axis: str, number: int, what: str) -> str:
    value = flat.get(f"growth.{axis}.{number}.{what}")
    if value is None:
        return ""
    work, _, rest = what.partition(".")
    predicted = flat.get(f"growth.model.{work}.{rest.removesuffix('_us')}.{axis}.{number}.predicted_us")
    fitted = "*" if number in cost_model.FITTED.get(axis, ()) else ""
    return _number(value) if predicted is None else f"{_number(value)} / {_number(predicted)}{fitted}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def show_model(flat: Flat, shown: Callable[[str, tuple[str, ...], Rows], None]) -> None:
    terms = list(dict.fromkeys(term for some in cost_model.TERMS.values() for term in some))
    rows: Rows = []
    for work, side in KINDS:
        costs_of = (flat.get(f"growth.model.{work}.{side}.{term}_us") for term in terms)
        cells = ("" if one is None else f"{one:.2f}" for one in costs_of)
        rows.append((f"{work}, {side}", *cells, f"{flat[f'growth.model.{work}.{side}.worst_error'] * 100:.0f} %"))
    shown("The cost model: us for each (* fitted, not predicted)", ("work", *terms, "worst error"), rows)


def markdown(title: str, heads: tuple[str, ...], rows: Rows) -> None:
    """Print a table as docs/benchmarks.md has it."""
    print(f"\n{title}\n")
    for row in (heads, ("---",) * len(heads), *rows):
        print(f"| {' | '.join(row).replace(' us', ' µs').replace('*', chr(92) + '*')} |")


def main() -> int:
    parser = argparse.ArgumentParser(description="How the costs of a message grow.")
    parser.add_argument("--axis", choices=TITLES, action="append", help="only this axis; may be repeated")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as one flat JSON object, too")
    parser.add_argument("--markdown", action="store_true", help="print the tables as docs/benchmarks.md has them")
    parser.add_argument("--quick", action="store_true", help="smaller: to see that it runs, not to compare")
    options = parser.parse_args()
    figures = asyncio.run(costs(options.quick, options.axis))
    show(figures, markdown if options.markdown else table)
    facts = machine.facts()
    print()
    print("  ".join(f"{name.replace('_', '-')}: {value}" for name, value in facts.items()))
    if options.json is not None:
        flat = {**figures, **{f"machine.{name}": value for name, value in facts.items()}, "quick": options.quick}
        options.json.write_text(json.dumps(flat, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
