"""Workers that die at a named step: every intent has a result in the end, and what ran again is only what had no verdict."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.executor import CONCURRENCY, STEPS
from chaos.ledger import Ledger
from chaos.load import TESTS
from chaos.topology import CHAOS, EXECUTOR, FACES, new_intent, results_reader
from support import eventually

from smith_sdk import SmithBus, subjects
from smith_sdk.server import EmbeddedServer

INTENTS = 60
DEADLINE = 30.0


def executor(face: str, ledger: Ledger, step: str, number: int, url: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (ledger.directory / "executor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "chaos.executor", face, str(ledger.directory), step, str(number), url],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    process.stdin.close()
    try:
        return process.wait(DEADLINE)
    finally:
        process.kill()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(3, marks=[pytest.mark.chaos, pytest.mark.timeout(240)])], ids=["small", "full"]
)
def test_an_executor_is_killed_at_every_step(
    rounds: int, face: str, make_server: Callable[[], EmbeddedServer], tmp_path: Path, tell: Callable[[str], None]
) -> None:
    server = make_server()
    ledger = Ledger(tmp_path)
    intents = [new_intent("async", f"x-{number}") for number in range(INTENTS * rounds)]
    with SmithBus(server.url, contract=CHAOS) as bus:
        bus.streams.apply(profile="single")
        bus.publish_many(subjects.intents.vetted.of(one).envelope(one) for one in intents)
        deaths = 0
        for number in range(rounds):
            for step in STEPS:
                process = executor(face, ledger, step, 1 + number, server.url)
                try:
                    assert process.wait(DEADLINE) == -signal.SIGKILL, (ledger.directory / "executor.log").read_text()
                finally:
                    end(process)
                deaths += 1
        last = executor(face, ledger, "never", 0, server.url)
        try:
            eventually(lambda: not any(left(bus)), DEADLINE, interval=0.05)
        finally:
            status = end(last)
        assert status == 0, (ledger.directory / "executor.log").read_text()
        results: set[str] = set()
        for message in bus.consumer(results_reader(face)).fetch(len(intents), timeout=10):
            results.add(message.payload.intent_id)
        dead = list(bus.dead_letters.list())
    assert results == {intent.id for intent in intents}
    assert dead == []
    runs = Counter(words[0] for _, words in ledger.lines("ran"))
    again = runs.total() - len(runs)
    assert set(runs) == results
    assert again <= deaths * CONCURRENCY
    tell(
        f"{face} executor killed {deaths} times, {deaths // len(STEPS)} at each step: {len(results)} intents done, {again} run again"
    )


def left(bus: SmithBus) -> tuple[int, int]:
    info = bus.consumer(EXECUTOR).info()
    return info.num_pending, info.num_ack_pending
