"""One run: a publisher, workers that come and go, faults by a seed, and what became of it all.

`python -m chaos.sharding_run --seed 7 --servers 3 --face async` (in `tests/`) does one and prints
it as a line of JSON; files of the run stay in `--directory`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import Error
from support import halt

from smith_sdk.embedded import EmbeddedServer

from .cluster import Cluster, Node
from .ledger import Ledger
from .sharding_check import Fault, Holding, Published, Quiet, Verdict, as_rows, by_cause, check, counted
from .sharding_plan import PROCESSES, Plan, Step
from .sharding_topology import System, system_of
from .sharding_wire import EFFECTS, ask, connect, make_effects, read_effects, read_results, shard_of
from .sharding_worker import Role

TESTS: Final = Path(__file__).parent.parent
ELECTION: Final = 7.0
"""Seconds without a leader after one was killed; measured: 5 to 6.5."""
STEP_DOWN: Final = 2.0
LEAVING: Final = 20.0
START: Final = 60.0
LONGEST: Final = 900.0
_SAMPLE: Final = 1.0
_POLL: Final = 0.1


@dataclass(frozen=True)
class Setting:
    """What a run is made of; the same settings make the same choices, not the same run."""

    seed: int
    face: str = "async"
    """"async", "blocking", "mixed", or "control": the pin alone."""
    servers: int = 1
    messages: int = 6_000
    keys: int = 100
    shards: int = 16
    processes: int = PROCESSES
    pin_timeout: float = 3.0
    rate: float = 150.0
    concurrency: int = 32
    work: float = 0.005
    """Most seconds that a handler takes besides writing its effect."""
    results: bool = False
    """Whether handlers return results, too."""
    settles: float = 0.0
    """Seconds that the workers have before anything is published."""
    spread: bool = True
    """Whether some take less."""

    @property
    def bound(self) -> float:
        """Seconds that a takeover may take."""
        return 2 * self.pin_timeout + 2.0


@dataclass
class Report:
    setting: Setting
    verdict: Verdict
    results: Verdict | None = None
    """Of what the SDK published for the handlers."""
    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    no_progress: dict[str, Any] = field(default_factory=dict)
    """The longest time that the server saw a shard with work and no progress, and its state."""
    load: list[float] = field(default_factory=list)
    """Of the machine over the last minute, at the start and at the end."""
    complaints: list[str] = field(default_factory=list)
    """What else is wrong: a process that ended badly, messages that were left."""

    @property
    def trouble(self) -> list[str]:
        return self.verdict.trouble + self.complaints

    @property
    def per_second(self) -> float:
        """Effects per second, from the first to the last."""
        return self.verdict.effects / max(self.verdict.lasted, 0.001)

    def row(self) -> dict[str, Any]:
        return {
            **asdict(self.setting),
            "seconds": round(self.seconds, 1),
            "per_second": round(self.per_second),
            **self.verdict.figures(),
            "faults": counted(self.faults),
            "by_cause": by_cause(self.verdict.takeovers),
            "no_progress": self.no_progress,
            "load": self.load,
            "trouble": self.trouble,
        }


class Worker:
    """One process."""

    def __init__(self, role: Role, command: list[str]) -> None:
        self.role = role
        self.halted = False
        self._log = Path(role.directory) / f"{role.process}.log"
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(role.line())
        self.process.stdin.flush()

    @property
    def name(self) -> str:
        return self.role.process

    @property
    def ready(self) -> bool:
        """SIGTERM has it leave; before, it would just end."""
        return self._log.with_suffix(".ready").exists()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def stop(self) -> None:
        halt(self.process.pid)
        self.halted = True

    def resume(self) -> None:
        self.halted = False
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process.stdin is not None
        self.process.kill()
        self.process.wait(LEAVING)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


class Run:
    """A run in an event loop of its own."""

    def __init__(
        self,
        setting: Setting,
        directory: Path,
        urls: list[str],
        cluster: Cluster | None = None,
        plan: Plan | None = None,
        system: System | None = None,
    ) -> None:
        self.setting = setting
        self._directory = directory
        self._urls = urls
        self._cluster = cluster
        self._system = system or system_of(setting.face)
        self._plan = plan or Plan(setting.seed, pin_timeout=setting.pin_timeout, servers=setting.servers)
        self._workers: dict[str, Worker] = {}
        self._started = 0
        self._later: set[asyncio.Task[None]] = set()
        self._faults: list[Fault] = []
        self._quiet: list[Quiet] = []
        self._complaints: list[str] = []
        self._still: dict[int, tuple[float, Any]] = {}
        self._no_progress: dict[str, Any] = {"seconds": 0.0}
        self._free_names: list[str] = [f"static-{number}" for number in range(0, setting.processes, 2)]

    async def go(self) -> Report:
        client = await connect(self._urls)
        began, busy = time.monotonic(), os.getloadavg()[0]
        sampling: asyncio.Task[None] | None = None
        try:
            await make_effects(client, self.setting.servers)
            await self._system.make(client, self.setting, self._urls)
            for _ in range(self.setting.processes):
                self._join()
            if self.setting.settles:
                workers = list(self._workers.values())
                await self._until(lambda: all(worker.ready for worker in workers), START, "everybody is ready")
                await asyncio.sleep(self.setting.settles)
            publisher = Worker(self._role("publisher", "publisher"), System().command())
            self._workers["publisher"] = publisher
            await self._until(lambda: (self._directory / "publisher.published").exists(), START, "the publisher has begun")
            sampling = asyncio.ensure_future(self._sample(client))
            while publisher.process.poll() is None:
                await self._fault(client, self._plan.next(len(self._running())))
                if time.monotonic() - began > LONGEST:
                    raise AssertionError(f"not published within {LONGEST:g} s")
            if publisher.process.returncode:
                self._complaints.append(f"the publisher ended with {publisher.process.returncode}: {publisher.log()}")
            publisher.kill()
            del self._workers["publisher"]
            await self._calm()
            await self._drained(client)
            took = time.monotonic() - began
            self._judge_progress()
            await self._end()
            effects = await read_effects(client)
            results = await read_results(client, self.setting.shards) if self.setting.results else []
        finally:
            if sampling is not None:
                sampling.cancel()
            for task in self._later:
                task.cancel()
            for worker in self._workers.values():
                worker.kill()
            await client.close()
        published = list(self._published())
        holdings = list(self._holdings())
        shards, bound = self.setting.shards, self.setting.bound
        verdict = check(effects, published, self._faults, self._quiet, holdings, shards=shards, bound=bound)
        with (self._directory / "effects").open("w") as file:
            file.writelines(f"{one.at:.3f} {' '.join(map(str, one[1:]))}\n" for one in effects)
        details = {"faults": [fault._asdict() for fault in self._faults], "takeovers": as_rows(verdict.takeovers)}
        (self._directory / "details.json").write_text(json.dumps(details, indent=1))
        of_results = check(results, published, shards=self.setting.shards) if self.setting.results else None
        load = [round(busy, 1) for busy in (busy, os.getloadavg()[0])]
        return Report(self.setting, verdict, of_results, took, self._faults, self._no_progress, load, self._complaints)

    def _published(self) -> Iterator[Published]:
        for _, (at, key, number) in Ledger(self._directory).lines("published"):
            yield Published(float(at), shard_of(key, self.setting.shards), key, int(number))

    def _holdings(self) -> Iterator[Holding]:
        for process, (at, *shards) in Ledger(self._directory).lines("shards"):
            phases = {int(shard): phase for shard, _, phase in (word.partition(":") for word in shards)}
            given_up = frozenset(shard for shard, phase in phases.items() if phase == "draining")
            yield Holding(float(at), process, frozenset(phases), given_up)

    # ---- processes

    def _role(self, kind: str, name: str, member: str | None = None) -> Role:
        setting = self.setting
        return Role(
            kind=kind,
            process=name,
            directory=str(self._directory),
            urls=self._urls,
            seed=setting.seed,
            messages=setting.messages,
            keys=setting.keys,
            rate=setting.rate,
            shards=setting.shards,
            concurrency=setting.concurrency,
            work=setting.work,
            pin_timeout=setting.pin_timeout,
            subjects=self._system.subjects,
            spread=setting.spread,
            results=setting.results,
            member=member,
        )

    def _join(self, member: str | None = None) -> None:
        """Start one: with the name of `member`, or a free one, or none."""
        number, self._started = self._started, self._started + 1
        if member is None and self._free_names:
            member = self._free_names.pop()
        kind = self.setting.face
        if kind == "mixed":
            kind = ("async", "blocking")[number % 2]
        name = f"p{number}"
        self._workers[name] = Worker(self._role(kind, name, member), self._system.command())
        self._note("join", name)

    def _running(self) -> list[str]:
        """Those at work: neither halted nor gone."""
        found = []
        for name, worker in list(self._workers.items()):
            if worker.process.poll() is not None and name != "publisher":
                self._complaints.append(f"{name} ended with {worker.process.returncode}: {worker.log()}")
                self._gone(worker)
                worker.kill()
            elif not worker.halted and name != "publisher":
                found.append(name)
        return found

    def _note(self, kind: str, process: str = "", allowance: float = 0.0) -> None:
        self._faults.append(Fault(time.time(), kind, process, allowance))

    def _do_later(self, seconds: float, action: Callable[[], object]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(action)

        task = asyncio.ensure_future(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    # ---- faults

    async def _fault(self, client: Client, step: Step) -> None:
        await asyncio.sleep(step.wait)
        if step.quiet:
            await self._settled()
        running = self._running()
        if step.kind == "join":
            self._join()
        elif step.kind == "stepdown":
            await self._step_down(client)
        elif step.kind == "server":
            await self._kill_server(step.seconds)
        elif step.kind != "none" and running:
            worker = self._workers[self._plan.pick(running)]
            if step.kind == "kill":
                self._note("kill", worker.name)
                self._gone(worker)
                await asyncio.to_thread(worker.kill)
                if step.seconds:
                    self._do_later(step.seconds, lambda: self._join(worker.role.member))
            elif step.kind == "leave":
                await self._until(lambda: worker.ready, START, f"{worker.name} is ready")
                self._note("leave", worker.name)
                self._gone(worker)
                worker.process.send_signal(signal.SIGTERM)
                self._do_later(0.0, lambda: self._left(worker))
            elif step.kind in ("stop", "blink"):
                self._note(step.kind, worker.name)
                await asyncio.to_thread(worker.stop)
                self._do_later(step.seconds, lambda: self._resume(worker))

    def _gone(self, worker: Worker) -> None:
        del self._workers[worker.name]

    def _left(self, worker: Worker) -> None:
        """Its name is free when it has ended."""
        try:
            status: int | None = worker.process.wait(LEAVING)
        except subprocess.TimeoutExpired:
            worker.process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
            status = None
        if status != 0:
            self._complaints.append(f"{worker.name} was told to leave and ended with {status}: {worker.log()}")
        worker.kill()
        if worker.role.member is not None:
            self._free_names.append(worker.role.member)

    def _resume(self, worker: Worker) -> None:
        self._note("resume", worker.name)
        worker.resume()

    async def _step_down(self, client: Client) -> None:
        """Of some shards, or of the stream."""
        self._note("stepdown", allowance=STEP_DOWN)
        chosen = self._plan.sample(self.setting.shards + 1, self.setting.shards)
        for number in chosen:
            with contextlib.suppress(Error, AssertionError):  # it has no leader to step down
                if number == self.setting.shards:
                    await ask(client, f"STREAM.LEADER.STEPDOWN.{self._system.stream}", timeout=0)
                else:
                    await ask(
                        client, f"CONSUMER.LEADER.STEPDOWN.{self._system.stream}.{self._system.consumer(number)}", timeout=0
                    )

    async def _kill_server(self, seconds: float) -> None:
        cluster = self._cluster
        assert cluster is not None
        if await asyncio.to_thread(cluster.trouble):
            return  # two at a time would leave no majority
        nodes = {node.name: node for node in cluster.nodes}
        node = nodes[self._plan.pick(list(nodes))]
        self._note("server", allowance=ELECTION)
        await asyncio.to_thread(cluster.kill, node)
        self._do_later(seconds, lambda: self._restart(cluster, node))

    def _restart(self, cluster: Cluster, node: Node) -> None:
        cluster.restart(node)
        self._note("restart")

    async def _settled(self) -> None:
        """Wait until nothing has happened for so long that every takeover is over; note that."""
        needed = self.setting.bound + max((fault.allowance for fault in self._faults[-3:]), default=0.0) + 1.5
        deadline = time.monotonic() + 3 * needed
        while time.monotonic() < deadline:
            last = max((fault.at for fault in self._faults), default=0.0)
            if not self._later and time.time() - last >= needed:
                self._quiet.append(Quiet(time.time(), len(self._running())))
                return
            await asyncio.sleep(_POLL)

    # ---- the end

    async def _calm(self) -> None:
        """No more faults: what was to follow one has followed, and somebody is at work."""
        await self._until(lambda: not self._later, 4 * self.setting.pin_timeout + LEAVING, "everything is back")
        if not self._running():
            self._join()

    async def _drained(self, client: Client) -> None:
        """Wait while there is progress: until every message has been handled and acknowledged."""
        patience = 3 * self.setting.pin_timeout + ELECTION + 5.0
        last, since = None, time.monotonic()
        while True:
            with contextlib.suppress(Error):
                infos = [await self._info(client, shard) for shard in range(self.setting.shards)]
                left = [info["num_pending"] + info["num_ack_pending"] for info in infos]
                if not any(left):
                    return
                written = (await ask(client, f"STREAM.INFO.{EFFECTS}"))["state"]["messages"]
                if (left, written) != last:
                    last, since = (left, written), time.monotonic()
                elif time.monotonic() - since > patience:
                    self._complaints.append(f"{sum(left)} messages are left, without progress for {patience:g} s: {left}")
                    for worker in self._workers.values():
                        worker.process.send_signal(signal.SIGUSR1)
                    await asyncio.sleep(0.5)
                    return
            await asyncio.sleep(_POLL)

    async def _end(self) -> None:
        leaving = list(self._workers.values())
        await self._until(lambda: all(worker.ready for worker in leaving), START, "everybody is ready")
        for worker in leaving:
            worker.process.send_signal(signal.SIGTERM)
        for worker in leaving:
            self._gone(worker)
            await asyncio.to_thread(self._left, worker)

    async def _until(self, is_so: Callable[[], object], timeout: float, what: str) -> None:
        deadline = time.monotonic() + timeout
        while not is_so():
            ended = any(worker.process.poll() is not None for worker in self._workers.values())
            if ended or time.monotonic() > deadline:
                logs = "\n".join(f"{worker.name}: {worker.log()}" for worker in self._workers.values())
                raise AssertionError(f"not so after {timeout:g} s: {what}\n{logs}")
            await asyncio.sleep(_POLL)

    # ---- the server's view, while it runs

    async def _info(self, client: Client, shard: int) -> dict[str, Any]:
        return await ask(client, f"CONSUMER.INFO.{self._system.stream}.{self._system.consumer(shard)}")

    async def _sample(self, client: Client) -> None:
        with (self._directory / "samples").open("w") as file:
            while True:
                for shard in range(self.setting.shards):
                    with contextlib.suppress(Error, AssertionError):
                        self._look(shard, await self._info(client, shard), file)
                await asyncio.sleep(_SAMPLE)

    def _judge_progress(self) -> None:
        allowed = 3 * self.setting.pin_timeout + max((fault.allowance for fault in self._faults), default=0.0)
        if self._no_progress["seconds"] > allowed:
            self._complaints.append(f"pending messages and no progress: {self._no_progress}")

    def _look(self, shard: int, info: dict[str, Any], file: Any) -> None:
        now = time.time()
        progress = (info["delivered"]["consumer_seq"], info["ack_floor"]["stream_seq"], info["num_ack_pending"])
        at, last = self._still.get(shard, (now, None))
        if progress != last or not (info["num_pending"] or info["num_ack_pending"]):
            self._still[shard] = now, progress
        elif now - at > self._no_progress["seconds"]:
            self._no_progress = {"seconds": round(now - at, 1), "shard": shard, **_short(info)}
        file.write(json.dumps({"at": round(now, 2), "shard": shard, **_short(info)}) + "\n")


def _short(info: dict[str, Any]) -> dict[str, Any]:
    group = (info.get("priority_groups") or [{}])[0]
    return {
        "pending": info["num_pending"],
        "ack_pending": info["num_ack_pending"],
        "redelivered": info["num_redelivered"],
        "waiting": info["num_waiting"],
        "delivered": info["delivered"]["consumer_seq"],
        "floor": info["ack_floor"]["stream_seq"],
        "pin": group.get("pinned_client_id", ""),
        "leader": (info.get("cluster") or {}).get("leader", ""),
    }


def run(setting: Setting, directory: Path, plan: Plan | None = None, system: System | None = None) -> Report:
    """Do it, on servers of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    if setting.servers == 1:
        with EmbeddedServer(directory / "store") as server:
            return asyncio.run(Run(setting, directory, [server.url], None, plan, system).go())
    with Cluster(directory, size=setting.servers) as cluster:
        return asyncio.run(Run(setting, directory, cluster.urls, cluster, plan, system).go())


def main() -> int:
    parser = argparse.ArgumentParser(description="One run of workers that share a sharded subject, with faults.")
    for name, value in asdict(Setting(0)).items():
        if not isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--out", type=Path, help="append the line to this file")
    options = vars(parser.parse_args())
    directory, out = options.pop("directory"), options.pop("out")
    report = run(Setting(**options), directory or Path(tempfile.mkdtemp(prefix="smith-sharding-")))
    line = json.dumps(report.row())
    print(line)
    if out is not None:
        with out.open("a") as file:
            file.write(line + "\n")
    return 1 if report.trouble else 0


if __name__ == "__main__":
    sys.exit(main())
