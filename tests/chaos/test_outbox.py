"""`when_down="store"` under fire: servers are killed, and the publisher, too; then the count.

Everything that `publish` has returned for is in the stream, in order on each subject, and nothing
is there twice. The small size runs with the other tests, the full one with `nox -s chaos`.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from chaos.ledger import Ledger
from chaos.outbox_publisher import FLUSH
from msgspec.structs import replace
from support import eventually

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.topology import CONTRACT

TESTS: Final = Path(__file__).parent.parent
PROGRESS: Final = 60.0
"""Seconds that a publisher may take for its next messages, on a machine that has much to do."""


class Publisher:
    """Incarnations of one publisher: each goes on behind what the last has begun to publish."""

    def __init__(self, face: str, directory: Path, url: str, count: int, rate: float) -> None:
        self._face = face
        self._directory = directory
        self._url = url
        self._last = count - 1
        self._rate = rate
        self._log = directory / "publisher.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        first = max(self._numbers("sent"), default=-1) + 1
        arguments = [self._face, str(self._directory / "outbox.db"), str(self._directory), str(first), str(self._last)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.outbox_publisher", *arguments, str(self._rate), self._url],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])},
            )

    def _numbers(self, what: str) -> list[int]:
        return [int(words[0]) for _, words in Ledger(self._directory).lines(what) if words]

    def returned(self) -> dict[int, str]:
        """Number -> what publishing it returned."""
        return {int(words[0]): words[1] for _, words in Ledger(self._directory).lines("returned") if len(words) == 2}

    def has_returned(self, count: int) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended with {self._process.returncode}: {self.log()}"
        return len(self._numbers("returned")) >= count

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PROGRESS)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self) -> None:
        """Wait until it has published and flushed everything."""
        assert self._process is not None
        status = self._process.wait(FLUSH + PROGRESS)
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert status == 0, self.log()

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


async def stored(url: str) -> list[tuple[str, int, str | None]]:
    """What the stream has, in order: subject, number, and the mark of a possible duplicate."""
    async with AsyncSmithBus(url) as bus:
        return [
            (str(one.subject), (one.payload.detail or {})["n"], one.headers.get("Smith-Outbox"))
            async for one in bus.read(subjects.events.health.filter())
        ]


ROOMY: Final = replace(
    CONTRACT,
    streams=tuple(replace(one, max_msgs=None) for one in CONTRACT.streams if one.name == "SYSTEM_EVENTS"),
    consumers=(),
)
"""As declared, this stream drops the oldest of 10,000 messages, and beside all others it has to be
small."""


async def apply(url: str) -> None:
    async with AsyncSmithBus(url, contract=ROOMY, manage="apply", profile="dev"):
        pass


FULL: Final = [pytest.mark.chaos, pytest.mark.timeout(400)]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("face", ["async", "blocking"])
@pytest.mark.parametrize(
    ("count", "rate", "servers", "publishers"),
    [pytest.param(200, 800.0, 1, 0, id="small"), pytest.param(10_000, 500.0, 10, 5, id="full", marks=FULL)],
)
def test_what_publish_returned_for_is_stored_once_and_in_order(
    face: str, count: int, rate: float, servers: int, publishers: int, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    chance = random.Random(face)
    faults = ["server"] * servers + ["publisher"] * publishers
    chance.shuffle(faults)
    kills = 0
    with EmbeddedServer(tmp_path / "store") as server:
        asyncio.run(apply(server.url))
        publisher = Publisher(face, tmp_path, server.url, count, rate)
        try:
            for number, fault in enumerate(faults, 1):
                goal = number * count // (len(faults) + 1)
                eventually(lambda goal=goal: publisher.has_returned(goal), PROGRESS, interval=0.02)  # type: ignore[misc]
                if fault == "publisher":
                    publisher.kill()
                    publisher.start()
                else:
                    server.kill()
                    # Every second time the publisher is killed, too, over messages that are kept.
                    if number % 2:
                        kept = len(publisher.returned()) + 50
                        eventually(lambda kept=kept: publisher.has_returned(min(kept, count)), PROGRESS, interval=0.02)  # type: ignore[misc]
                        publisher.kill()
                        publisher.start()
                        kills += 1
                    time.sleep(chance.uniform(0, 0.5))
                    server.start()
            publisher.finish()
        finally:
            publisher.kill()
        returned = publisher.returned()
        found = asyncio.run(stored(server.url))
    numbers = [number for _, number, _ in found]
    lost = sorted(returned.keys() - set(numbers))
    assert lost == [], f"{len(lost)} are lost"
    assert len(numbers) == len(set(numbers)), "some are stored twice"
    assert {mark for _, _, mark in found} == {None}
    for subject in {one for one, _, _ in found}:
        ours = [number for one, number, _ in found if one == subject]
        assert ours == sorted(ours), subject
    outcomes = list(returned.values())
    assert "Stored" in outcomes
    tell(
        f"outbox, {face}: {servers} server kills and {publishers + kills} kills of the publisher: {len(returned)} returned, "
        f"{outcomes.count('Stored')} of them Stored; {len(found)} in the stream, 0 lost, 0 twice, in order"
    )
