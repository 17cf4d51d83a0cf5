"""Executors killed at every step, beside poison messages of every kind: nothing is lost, left over,
or dead-lettered without reason.

Each scenario is one face on one kind of stream, with a server of its own; all of them run side by
side. The good messages among them have a result each and no letter, the poison has one letter each
and no result. Whatever the process died of, nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from chaos.executor import ATTEMPTS, CONCURRENCY, KILLER, STEPS
from chaos.ledger import Ledger
from chaos.load import TESTS
from chaos.topology import EXECUTOR, FACES, new_intent, with_executor_on
from letters import held
from support import eventually_async

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.protocol import IntentResult

STOCK = 100
"""Messages for each round of deaths: more than the lives of a round get through."""
POISONED = 12
"""One in so many raises, one in so many cannot be decoded."""
DEADLINE = 200.0
END = 30.0

Retention = Literal["workqueue", "interest", "limits"]
RETENTIONS: tuple[Retention, ...] = ("workqueue", "interest", "limits")


@dataclass
class Scenario:
    """One face on one kind of stream: `rounds` deaths at every step; with `processes`, handlers
    have so many of their own."""

    face: str
    retention: Retention
    rounds: int
    processes: int
    directory: Path
    url: str

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.ledger = Ledger(self.directory)
        self.contract = with_executor_on(self.retention)
        self.killers = 2 + self.rounds // 5

    def __str__(self) -> str:
        return f"{self.face} executor{' with processes' if self.processes else ''}, {self.retention} stream"

    async def run(self) -> str:
        """All of it; what it came to, in words."""
        began = time.monotonic()
        async with AsyncSmithBus(self.url, contract=self.contract) as bus:
            await bus.streams.apply(profile="single")
            ids = await self.put(bus)
            process = self.start()
            try:
                await self.until(process, lambda: self.all_have_died(), DEADLINE)
                await self.until(process, lambda: self.is_settled(bus, len(ids)), END)
                assert process.stdin is not None
                process.stdin.close()
                assert await asyncio.to_thread(process.wait, END) == 0, self.log()
            finally:
                self.kill(process)
            return f"{self}: {await self.check(bus, ids)} in {time.monotonic() - began:.0f} s"

    async def put(self, bus: AsyncSmithBus) -> set[str]:
        """The stock, with its poison in it: an id begins with the kind of the message."""
        count = STOCK * self.rounds
        kinds = ["good"] * count
        kinds[3::POISONED] = ["raises"] * len(kinds[3::POISONED])
        kinds[9::POISONED] = ["undecodable"] * len(kinds[9::POISONED])
        for number in range(self.killers):
            kinds[number * count // self.killers + 4] = "kills"
        ids = [f"{kind}-{number}" for number, kind in enumerate(kinds)]
        acks = []
        for id in ids:
            subject = subjects.intents.vetted.of(intent := new_intent("async", id))
            if id.startswith("undecodable"):
                acks.append(await bus._session.submit(PublishRequest(str(subject), id.encode(), EXECUTOR.stream, id)))
            else:
                acks.append(await bus.submit(subject, intent))
        await asyncio.gather(*acks)
        return set(ids)

    def start(self) -> subprocess.Popen[bytes]:
        words = [self.face, self.retention, str(self.processes), str(self.directory), str(self.rounds), self.url]
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "chaos.executor", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """It and all that it has started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(END)
        assert process.stdin is not None
        process.stdin.close()

    def log(self) -> str:
        return f"{self}: {self.deaths()}\n{(self.directory / 'log').read_text(errors='replace')[-6000:]}"

    async def until(self, process: subprocess.Popen[bytes], condition: Callable[[], Any], deadline: float) -> None:
        def alive() -> Any:
            assert process.poll() is None
            return condition()

        try:
            await eventually_async(alive, deadline, interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    # ---- what it came to

    def deaths(self) -> Counter[str]:
        """How many lives each cause has ended: of two that struck at once, the first."""
        return Counter({words[0]: words[1] for _, words in reversed(list(self.ledger.lines("died")))}.values())

    def all_have_died(self) -> bool:
        deaths = self.deaths()
        return all(deaths[step] >= self.rounds for step in STEPS)

    async def is_settled(self, bus: AsyncSmithBus, count: int) -> bool:
        """Nothing pending, nothing unanswered, nothing stored that nobody will get."""
        info = await bus._session.api.consumer_info(EXECUTOR.stream, EXECUTOR.name)
        stored = (await bus.streams.get(EXECUTOR.stream)).messages
        return (
            info["num_pending"] == info["num_ack_pending"] == 0
            and info["ack_floor"]["stream_seq"] == count
            and stored == (count if self.retention == "limits" else 0)
        )

    async def check(self, bus: AsyncSmithBus, ids: set[str]) -> str:
        good = {id for id in ids if id.startswith("good")}
        stored = [msgspec.json.decode(one.data, type=IntentResult) for one in await held(bus, "ATOMS_RESULTS")]
        results = Counter(str(one.intent_id) for one in stored if one.status == "ok")
        answers = Counter(str(one.intent_id) for one in stored if one.status != "ok")
        letters = await bus.dead_letters.list(limit=len(ids))
        buried = Counter(_id_in(letter.payload) for letter in letters)
        assert results == Counter(good), f"{self}: lost {good - set(results)}, not wanted {results - Counter(good)}"
        failed = Counter(id for id in ids - good if not id.startswith("undecodable"))
        assert answers == failed, f"{self}: callers not answered {failed - answers}, answered twice {answers - failed}"
        assert buried == Counter(ids - good), (
            f"{self}: not buried {ids - good - set(buried)}, not wanted {buried - Counter(ids - good)}"
        )
        causes = {(id.partition("-")[0], letter.error_type) for letter in letters for id in [_id_in(letter.payload)]}
        killed = {"HandlerProcessDied", "DeliveriesExhausted"} if self.processes else {"DeliveriesExhausted"}
        assert causes <= {
            ("undecodable", "PayloadDecodeError"),
            ("raises", "ValueError"),
            ("raises", "DeliveriesExhausted"),  # killed after its last run, with nothing said of that
            *(("kills", kind) for kind in killed),
        }
        left = {(finding.kind, finding.seq) for finding in await bus.dead_letters.audit()}
        assert left <= {("trial", letter.seq) for letter in letters}
        return self.check_runs(good)

    def check_runs(self, good: set[str]) -> str:
        """Only messages that a death left without a verdict ran again, and each poison message's
        last run was isolated."""
        begun = [words for _, words in self.ledger.lines("begins")]
        ended = {tuple(words) for _, words in self.ledger.lines("ends")}
        runs = Counter(id for id, _, _ in begun)
        deaths = self.deaths()
        again = sum(runs[id] - 1 for id in good)
        assert again <= deaths.total() * CONCURRENCY
        last_runs = Counter(id for id, _, delivery in begun if int(delivery) > ATTEMPTS)
        assert max(last_runs.values(), default=0) <= 1, last_runs.most_common(3)
        lives = {words[0] for _, words in self.ledger.lines("died")}
        assert {id for id, life, delivery in begun if life not in lives and (id, life, delivery) not in ended} <= {
            id for id in runs if id.startswith("kills")
        }, "a killer took another with it"
        if not self.processes:
            assert deaths[KILLER] >= self.killers
            for killer in (id for id in runs if id.startswith("kills")):
                place = max(number for number, run in enumerate(begun) if run[0] == killer)
                assert last_runs[killer] == 1, f"{killer} had no last run"
                beside = [tuple(run) for run in begun if run[1] == begun[place][1] and run[0] != killer]
                assert set(beside) <= ended, f"{killer} was not alone when it was given up"
        steps = sum(deaths[step] for step in STEPS)
        by_messages = sum(runs[id] for id in runs if id.startswith("kills"))
        return (
            f"killed {steps} times, {self.rounds} at each step, and {by_messages}{' of its processes' if self.processes else ''} by "
            f"{self.killers} messages: "
            f"{len(good)} done, {again} run again, {last_runs.total()} of all alone"
        )


def _id_in(payload: bytes) -> str:
    return str(msgspec.json.decode(payload)["id"]) if payload.startswith(b"{") else payload.decode()


@pytest.mark.parametrize(
    ("rounds", "rounds_with_processes"),
    [(1, 0), pytest.param(6, 1, marks=[pytest.mark.chaos, pytest.mark.timeout(300)])],
    ids=["small", "full"],
)
async def test_executors_are_killed_at_every_step(
    rounds: int,
    rounds_with_processes: int,
    make_server: Callable[[], EmbeddedServer],
    tmp_path: Path,
    tell: Callable[[str], None],
) -> None:
    plans: list[tuple[str, Retention, int, int]] = [
        *((face, retention, rounds, 0) for retention in RETENTIONS for face in FACES),
        *((face, "workqueue", rounds_with_processes, 2) for face in FACES if rounds_with_processes),
    ]
    scenarios = [Scenario(*plan, directory=tmp_path / str(number), url=make_server().url) for number, plan in enumerate(plans)]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one.run()) for one in scenarios]
    for one in running:
        tell(one.result())
