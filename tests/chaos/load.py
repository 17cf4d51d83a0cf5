"""Load on both faces: a publisher and a consumer of each, in processes of their own, on one ledger.

The test makes faults meanwhile, and has `recovered` wait until every role works again: a message
that was sent after the fault has been confirmed, and consumed by its readers. `settle` ends the
load and counts; it reports what is lost, and where it stands.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from support import eventually

from smith_sdk import SmithBus
from smith_sdk.contract import ConsumerSpec
from smith_sdk.errors import NotEnoughRoom

from .ledger import Count, Ledger
from .topology import CHAOS, FACES, raw_reader, results_reader

TESTS: Final = Path(__file__).parent.parent
RECOVERY: Final = 60.0
"""Seconds that all roles may take to be at work again once the fault is over: many times what it
takes, for a busy machine."""
DRAINING: Final = 45.0
"""Seconds until all that was published is consumed and acked: a few ack waits, and what had
piled up."""
END: Final = 30.0
POLL: Final = 0.02
SHOWN: Final = 10
EXPLAINED: Final = frozenset({"PublishUnconfirmed", "PublishCircuitOpen", "QueueFull"})
"""Errors that a publish may end with when there are faults; any other is one too many. A circuit
opens where a link is dead for longer than a publish may take."""
_STREAMS: Final = {"results": "ATOMS_RESULTS", "raw": "SDLC_RAW"}


class Process:
    """One publisher or consumer."""

    def __init__(self, role: str, face: str, name: str, ledger: Ledger, rate: float, urls: Sequence[str]) -> None:
        self.role = role
        self.face = face
        self.name = name
        self._log = ledger.directory / f"{role}-{name}.log"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.role", role, face, name, str(ledger.directory), str(rate), *urls],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Fail if it has ended: it was not told to."""
        if self._process.poll() is not None:
            raise AssertionError(f"{self} ended with status {self._process.returncode}; its log: {self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(END)
        assert self._process.stdin is not None
        self._process.stdin.close()

    def halt(self) -> None:
        """Tell it to end; `end` waits for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        self.halt()
        try:
            status = self._process.wait(END)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGUSR1)  # it says where it hangs
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            self.kill()
            raise AssertionError(f"{self} did not end within {END:g} s; its log: {self.log()}") from None
        if status:
            raise AssertionError(f"{self} ended with status {status}; its log: {self.log()}")

    def __str__(self) -> str:
        return f"the {self.face} {self.role} {self.name}"


class Load:
    """`with Load(tmp_path, urls=proxy.url, direct=server.url) as load:` runs on both
    faces when the block begins."""

    def __init__(
        self, directory: Path, *, urls: Sequence[str], direct: Sequence[str], profile: str = "single", rate: float = 1000.0
    ) -> None:
        self.ledger = Ledger(directory / "ledger")
        self.ledger.directory.mkdir(parents=True)
        self._urls = urls
        self._direct = direct
        self._profile = profile
        self._rate = rate
        self._incarnation = 0
        self.publishers: dict[str, Process] = {}
        self.consumers: dict[str, Process] = {}
        self.recoveries: list[float] = []
        """Seconds that each took."""

    def __enter__(self) -> Self:
        with self._control() as bus:
            eventually(lambda: self._applied(bus), RECOVERY, interval=0.2)
        try:
            for face in FACES:
                self.consumers[face] = self._start("consumer", face)
                self.publishers[face] = self._start("publisher", face)
            self.recovered()
        except BaseException:
            self._kill_all()
            raise
        self.recoveries.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._kill_all()

    def _control(self) -> SmithBus:
        return SmithBus(self._direct, contract=CHAOS, connect_timeout=10.0)

    def _applied(self, bus: SmithBus) -> bool:
        with contextlib.suppress(NotEnoughRoom):  # a node that is slow to start counts as offline
            bus.streams.apply(profile=self._profile)
            return True
        return False

    def _start(self, role: str, face: str) -> Process:
        name = f"{face}{self._incarnation}"
        return Process(role, face, name, self.ledger, self._rate, self._urls)

    @property
    def processes(self) -> list[Process]:
        return [*self.publishers.values(), *self.consumers.values()]

    def _kill_all(self) -> None:
        for process in self.processes:
            process.kill()

    def restart(self, role: str, face: str) -> None:
        """SIGKILL a publisher or a consumer, and start another in its place."""
        self._incarnation += 1
        group = self.publishers if role == "publisher" else self.consumers
        group[face].check()
        group[face].kill()
        group[face] = self._start(role, face)

    # ---- under way

    def _standing(self) -> dict[tuple[str, str, str], int]:
        """How far each reader got with each publisher's messages: (name of the page, kind of the
        page, publisher) -> number."""
        found = {}
        for face, process in self.publishers.items():
            found[process.name, "confirmed", process.name] = self.ledger.last(process.name, "confirmed", process.name)
            for reader in (*(f"results-{other}" for other in FACES), f"raw-{face}"):
                found[reader, "consumed", process.name] = self.ledger.last(reader, "consumed", process.name)
        return found

    def recovered(self, timeout: float = RECOVERY) -> float:
        """Wait until what is sent from now on is confirmed and consumed by all its readers.
        Returns the seconds it took."""
        began = time.monotonic()
        sent = {process.name: self.ledger.last(process.name, "sent", process.name) for process in self.publishers.values()}
        behind: list[str] = []

        def all_passed() -> bool:
            for process in self.processes:
                process.check()
            standing = self._standing()
            behind[:] = [
                f"{page}.{what} stands at {publisher}-{number}, and {publisher}-{sent[publisher]} had been sent"
                for (page, what, publisher), number in standing.items()
                if number <= sent[publisher]
            ]
            return not behind

        while not all_passed():
            if time.monotonic() - began > timeout:
                logs = "".join(f"\n---- {process}\n{process.log()}" for process in self.processes)
                raise AssertionError(f"not at work again {timeout:g} s after the fault: {'; '.join(behind)}{logs}")
            time.sleep(POLL)
        took = time.monotonic() - began
        self.recoveries.append(took)
        return took

    # ---- the end

    def settle(self, *, restarted: bool = False) -> Count:
        """End the load, wait until all is consumed and acked, and count. Raises AssertionError
        unless the count is clean.

        `restarted`: servers were, and remember no ids of what the work queue has removed.
        """
        for process in self.publishers.values():
            process.halt()
        for process in self.publishers.values():
            process.end()
        with self._control() as bus:
            left = self._drain(bus)
            for process in self.consumers.values():
                process.end()
            readers = [f"{kind}-{face}" for face in FACES for kind in ("results", "raw")]
            count = self.ledger.check(_expects, readers, lambda key: restarted and key.startswith("raw:"))
            if left or not count.is_clean or count.failed.keys() - EXPLAINED:
                raise AssertionError(f"{count}\n{left}{self._explain(bus, count)}")
        if not count.confirmed:
            raise AssertionError(f"nothing was confirmed: {count}")
        return count

    def _drain(self, bus: SmithBus) -> str:
        """Wait until every consumer has nothing left; what is left after all, in words."""
        infos: list[Any] = []

        def drained() -> bool:
            infos[:] = [bus.consumer(spec).info() for spec in _readers()]
            return not any(info.num_pending or info.num_ack_pending for info in infos)

        try:
            eventually(drained, DRAINING, interval=0.1)
        except AssertionError:
            return f"not drained after {DRAINING:g} s: " + "; ".join(map(str, infos)) + "\n"
        return ""

    def _explain(self, bus: SmithBus, count: Count) -> str:
        """Where each lost message stands: stored or not, acked or not; and the pages of what is
        stored twice or invented."""
        lines = []
        for reader, keys in count.lost.items():
            kind, face = reader.split("-")
            stream = _STREAMS[kind]
            spec = raw_reader(face) if kind == "raw" else results_reader(face)
            floor = bus._portal.call(bus._aio._session.api.consumer_info, stream, spec.name)["ack_floor"]["stream_seq"]
            for key in keys[:SHOWN]:
                seq = count.confirmed_at[key]
                acked = "acked" if seq <= floor else f"not acked (all up to {floor} are)"
                lines.append(
                    f"{reader} lost {key}: confirmed at {seq} of {stream}, {self._stored(bus, stream, seq, key)}, {acked}"
                )
            lines += [f"... and {len(keys) - SHOWN} more"] * (len(keys) > SHOWN)
        lines += [f"{reader} invented {keys[:SHOWN]}" for reader, keys in count.invented.items() if keys]
        odd = [words for words in self.ledger.lines("failed") if words[1][1] not in EXPLAINED]
        lines += [f"{name}.failed: {' '.join(words)}" for name, words in odd[:SHOWN]]
        wanted = set(count.stored_twice[:SHOWN])
        for what in ("sent", "confirmed", "failed", "consumed"):
            lines += [f"{name}.{what}: {' '.join(words)}" for name, words in self.ledger.lines(what) if words[0] in wanted]
        return "\n".join(lines)

    def _stored(self, bus: SmithBus, stream: str, seq: int, key: str) -> str:
        request = f'{{"seq": {seq}}}'.encode()
        reply = bus._portal.call(
            lambda: bus._aio._session.requests.request(f"$JS.API.STREAM.MSG.GET.{stream}", request, timeout=5.0)
        )
        return f"the stream says {reply.data[:200].decode(errors='replace')}"


def _readers() -> list[ConsumerSpec[Any, Any]]:
    return [reader(face) for face in FACES for reader in (results_reader, raw_reader)]


def _expects(reader: str, key: str) -> bool:
    """Every face reads all results, and the raw intents of the publishers on the same face."""
    kind, face = reader.split("-")
    return key.startswith("results:") if kind == "results" else key.startswith(f"raw:{face}")
