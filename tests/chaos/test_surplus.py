"""Three times the load that an executor bears, for a minute, with back pressure on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from chaos.ledger import Ledger
from chaos.load import TESTS
from chaos.surplus import CAPACITY, EXECUTOR, LOAD, SECONDS
from support import eventually

from smith_sdk import SmithBus, consumers, subjects, sync
from smith_sdk.embedded import EmbeddedServer

QUARANTINE: Final = "SDLC_QUARANTINE_BACKPRESSURE"
GROWTH: Final = 48
"""MiB by which a process may grow from the first third of the load to its end."""
MOST: Final = 256
"""MiB that a process may have."""
DRAINING: Final = 180.0
"""Seconds until everything is processed: on a busy machine many times what it takes."""
END: Final = 30.0


class Program:
    """One of the programs, and its memory."""

    def __init__(self, role: str, face: str, ledger: Ledger, url: str) -> None:
        self.role = role
        self.sizes: list[tuple[float, float]] = []
        """When, and how many MiB it had."""
        self._log = ledger.directory / f"{role}.log"
        path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chaos.surplus", role, face, str(ledger.directory), url],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path},
            )

    def measure(self) -> None:
        """Also checks that it runs: nobody has told it to end."""
        status = self.process.poll()
        assert status is None or (status == 0 and self.role == "publisher"), f"{self.role} ended with {status}: {self.log()}"
        if status is None:
            self.sizes.append((time.monotonic(), resident(self.process.pid)))

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def end(self) -> None:
        self._tell()
        assert self.process.wait(END) == 0, f"{self.role}: {self.log()}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(END)
        self._tell()

    def _tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def grown(self, began: float) -> float:
        """MiB from the first third of the load to the end of the process."""
        early = max((size for at, size in self.sizes if at - began < SECONDS / 3), default=0.0)
        return max(0.0, self.most - early)

    @property
    def most(self) -> float:
        return max((size for _, size in self.sizes), default=0.0)


def resident(pid: int) -> float:
    """MiB of a process."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@contextlib.contextmanager
def running(face: str, ledger: Ledger, url: str, *roles: str) -> Iterator[list[Program]]:
    programs: list[Program] = []
    try:
        for role in roles:
            programs.append(Program(role, face, ledger, url))
        yield programs
        for program in programs:
            program.end()
    finally:
        for program in programs:
            program.kill()


def enlarge(bus: SmithBus) -> None:
    """Give the quarantine the size that it has in production: the one of dev holds 1,900 intents,
    and the others would wait in the raw stream."""
    declared = next(one for one in bus._aio._contract.streams if one.name == QUARANTINE)
    api = bus._aio._session.api
    config = bus._portal.call(api.stream_info, QUARANTINE)["config"]
    bus._portal.call(api.stream_update, {**config, "max_bytes": declared.max_bytes})


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("face", ["async", "blocking"])
def test_the_surplus_is_quarantined_and_released_and_nothing_is_lost(
    face: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    ledger = Ledger(tmp_path)
    with EmbeddedServer() as server, SmithBus(server.url, manage="apply", profile="dev") as bus:
        enlarge(bus)
        with running(face, ledger, server.url, "executor", "admission", "pressure") as programs:
            began = time.monotonic()
            publisher = Program("publisher", face, ledger, server.url)
            lag, store = 0, 0.0
            try:
                while publisher.process.poll() is None:
                    for program in (publisher, *programs):
                        program.measure()
                    info = bus.consumer(EXECUTOR).info()
                    lag = max(lag, info.num_pending + info.num_ack_pending)
                    store = max(store, resident(server.pid or 0))
                    time.sleep(0.5)
                assert publisher.process.returncode == 0, publisher.log()
            finally:
                publisher.kill()
            took = time.monotonic() - began
            eventually(lambda: in_stream(bus, "SDLC_RAW") == 0, DRAINING, interval=0.2)
            eventually(lambda: not sync.ActiveRules(bus).list(), DRAINING, interval=0.2)
            kept = bus.quarantine.count()
            while_loaded = len({words[0] for _, words in ledger.lines("processed")})
            with running(face, ledger, server.url, "helper"):
                released = release_all(bus)
                eventually(lambda: in_stream(bus, "SDLC_RAW") == in_stream(bus, EXECUTOR.stream) == 0, DRAINING, interval=0.2)
            for program in programs:
                program.measure()
        confirmed = {words[0] for _, words in ledger.lines("confirmed")}
        processed = {words[0] for _, words in ledger.lines("processed")}
        last = {one.payload.intent_id: one.payload.status for one in bus.read(subjects.results.filter(), last_per_subject=True)}
        figures = ", ".join(f"{one.role} {one.most:.0f} MiB (+{one.grown(began):.0f})" for one in (publisher, *programs))
        tell(
            f"{face}: {len(confirmed):,} intents at {LOAD:.0f}/s in {took:.0f} s, capacity {CAPACITY:.0f}/s: largest lag {lag:,}, "
            f"{while_loaded:,} processed under load, {kept:,} quarantined, {released:,} released, "
            f"{len(processed):,} processed in the end, {len(confirmed - processed)} lost; {figures}, nats-server {store:.0f} MiB"
        )
        assert len(confirmed) == round(LOAD * SECONDS)
        assert confirmed - processed == set()
        assert {status for id, status in last.items() if id in confirmed} == {"ok"}
        assert last.keys() >= confirmed
        assert bus.quarantine.count() == 0
        assert bus.dead_letters.count() == 0
        # The surplus is two thirds; the executor has worked on while it was kept back.
        assert len(confirmed) / 3 < kept == released < len(confirmed) * 0.8
        assert lag < 300 + LOAD * 10  # beyond the threshold: what came until every admission knew
        assert bus.consumer(consumers.admission).info().num_pending == 0
        assert store < MOST
        for program in (publisher, *programs):
            assert program.most < MOST, figures
            assert program.grown(began) < GROWTH, figures


def release_all(bus: SmithBus) -> int:
    """Release the quarantine. A release stops where it raises the load too far: then later."""
    released = 0

    def is_empty() -> bool:
        nonlocal released
        report = bus.quarantine.release(until=datetime.now(UTC))
        assert (report.failed, report.refused) == ((), ())
        released += report.released
        return not bus.quarantine.count()

    eventually(is_empty, DRAINING, interval=0.2)
    return released


def in_stream(bus: SmithBus, stream: str) -> int:
    return bus.streams.get(stream).messages
