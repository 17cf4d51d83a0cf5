"""Executors that kill themselves: `python -m chaos.executor FACE RETENTION PROCESSES LEDGER ROUNDS URL`.

Each life is a forked process that runs a `Worker` and dies by SIGKILL at a named step, every step once a round; the last lives have no
step and go on until standard input ends. The steps: `received` (a message is in the process), `before_handler`, `in_handler` (its work
is done, nothing is said), `after_handler` (its result is about to be published), `before_copy` (a dead letter is about to be), `after_copy`
(it is stored, the original is about to be terminated), `before_ack` (the result is stored), `after_ack` (the ack had the time to reach
the server).

Messages of the kind "raises" raise whenever they are run, those of the kind "kills" kill the process that their handler is in: a life
that is not to die there dies of them, unless handlers have processes of their own. The ledger has a line `died LIFE CAUSE` for each life,
and `begins` and `ends` for each run, with the life and the number of the delivery.

A life at work on a last run is spared until that is over: the worker could not tell the fate of the process from the message's doing.
Nothing but the end of the life says what the zygote, which forks it, has to know: it imports all that a life needs, and never connects.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, SmithBus, Worker, result_of, sync
from smith_sdk._core.turns import TURNS
from smith_sdk.contract import Contract

from .ledger import Ledger, Page
from .topology import EXECUTOR, with_executor_on

STEPS: Final = (
    "received",
    "before_handler",
    "in_handler",
    "after_handler",
    "before_copy",
    "after_copy",
    "before_ack",
    "after_ack",
)
KILLER: Final = "killer"
CONCURRENCY: Final = 8
ATTEMPTS: Final = 2
RETRY: Final = RetryPolicy(max_attempts=ATTEMPTS, backoff=Backoff(initial=0.02, max=0.02))
WORK: Final = 0.004
"""Seconds that a handler takes: all places are taken while there is work."""
ACK_ARRIVES: Final = 0.1
_DEEPEST: Final = 3
"""A life dies of the first that gets to its step, the second or the third, in turn."""

_ACK: Final = b"\r\n+ACK\r\n"
_RESULT: Final = b"PUB smith.results."
_TRIAL: Final = re.compile(rb"PUB smith\.dlq\.\S+\.(\d+)\.trial ")
_COPY: Final = re.compile(rb"PUB smith\.dlq\.\S+\.(\d+) ")
_TERM: Final = re.compile(rb"PUB \$JS\.ACK\.[^. ]+\.[^. ]+\.\d+\.(\d+)\.\S+ +\d+\r\n\+TERM")


class Death:
    """Counts who gets to the step, and strikes `victim` at the right one."""

    def __init__(self, step: str, number: int, victim: int, page: Page) -> None:
        self._step = step
        self._number = number
        self._count = itertools.count(1)
        self._page = page
        self.victim = victim
        self._tried: set[bytes] = set()
        """The sequences of those that were put on trial here."""

    def at(self, step: str, *, spared: bool, pause: float = 0.0) -> None:
        if step == self._step and not spared and next(self._count) == self._number:
            time.sleep(pause)  # the whole process stands still: it does nothing more
            self._page.write(self.victim, step)
            os.kill(self.victim, signal.SIGKILL)

    def watch_the_wire(self) -> None:
        """The steps that no handler sees are seen where the bytes come and go, whoever sends them there."""
        feed_data, write, writelines = asyncio.StreamReader.feed_data, asyncio.StreamWriter.write, asyncio.StreamWriter.writelines

        def received(reader: asyncio.StreamReader, data: bytes) -> None:
            if b" $JS.ACK." in data:
                self.at("received", spared=TURNS._alone)
            feed_data(reader, data)

        def written(writer: asyncio.StreamWriter, data: Any) -> None:
            self._before_writing(data)
            write(writer, data)
            self._after_writing(data)

        def lines_written(writer: asyncio.StreamWriter, lines: Iterable[Any]) -> None:
            lines = list(lines)
            self._before_writing(b"".join(lines))
            writelines(writer, lines)
            self._after_writing(b"".join(lines))

        asyncio.StreamReader.feed_data = received  # type: ignore[method-assign, assignment]
        asyncio.StreamWriter.write = written  # type: ignore[method-assign, assignment]
        asyncio.StreamWriter.writelines = lines_written  # type: ignore[method-assign, assignment]

    def _before_writing(self, data: bytes) -> None:
        """Who was alone until its last run ended badly is not spared on its way to the dead letters: it has nothing left to lose."""
        alone = TURNS._alone
        self._tried.update(_TRIAL.findall(data))
        for seq in _COPY.findall(data):
            self.at("before_copy", spared=alone and seq not in self._tried)
        for seq in _TERM.findall(data):
            self.at("after_copy", spared=alone and seq not in self._tried)
        if _RESULT in data:
            self.at("after_handler", spared=alone)
        if _ACK in data:
            self.at("before_ack", spared=alone)

    def _after_writing(self, data: bytes) -> None:
        if _ACK in data:
            self.at("after_ack", spared=TURNS._alone, pause=ACK_ARRIVES)


# ---- what a handler does


class Work:
    """A run of the handler, in two halves: other handlers run between them."""

    def __init__(self, directory: str, name: str, step: str, number: int, life: int) -> None:
        ledger = Ledger(Path(directory))
        self._begins, self._ends = ledger.page(name, "begins"), ledger.page(name, "ends")
        self.death = Death(step, number, life, ledger.page(name, "died"))

    def begin(self, message: Any) -> None:
        last_run = message.metadata.num_delivered > ATTEMPTS
        self.death.at("before_handler", spared=last_run)
        self._begins.write(message.payload.id, self.death.victim, message.metadata.num_delivered)

    def end(self, message: Any) -> Any:
        id, last_run = message.payload.id, message.metadata.num_delivered > ATTEMPTS
        if id.startswith("kills"):
            if os.getpid() == self.death.victim:
                self.death._page.write(self.death.victim, KILLER)
            os.kill(os.getpid(), signal.SIGKILL)
        if not id.startswith("raises"):
            self.death.at("in_handler", spared=last_run)
        self._ends.write(id, self.death.victim, message.metadata.num_delivered)
        if id.startswith("raises"):
            raise ValueError("as ever")
        return result_of(message.payload)


_in_this_process: Work | None = None


def handle_in_a_process(message: Any) -> Any:
    """The handler of lives with processes. What it kills at its step is the worker."""
    global _in_this_process
    if _in_this_process is None:
        directory, name, step, number = os.environ["SMITH_CHAOS_LIFE"].split(os.pathsep)
        _in_this_process = Work(directory, name, step, int(number), os.getppid())
    _in_this_process.begin(message)
    time.sleep(WORK)
    return _in_this_process.end(message)


# ---- lives


def live(face: str, contract: Contract, processes: int, url: str, work: Work) -> None:
    """A worker's life, to its end."""
    work.death.watch_the_wire()
    threading.Thread(target=die_with_stdin, daemon=True).start()
    options: dict[str, Any] = {"retry": RETRY, **({"processes": processes} if processes else {"concurrency": CONCURRENCY})}
    if face == "async":
        asyncio.run(live_async(contract, url, work, options))
        return
    with SmithBus(url, contract=contract) as bus:
        worker = sync.Worker(bus, EXECUTOR, **options)

        def handle(message: Any) -> Any:
            work.begin(message)
            time.sleep(WORK)
            return work.end(message)

        worker.handler(handle_in_a_process if processes else handle)
        worker.run()


async def live_async(contract: Contract, url: str, work: Work, options: Any) -> None:
    async with AsyncSmithBus(url, contract=contract) as bus:
        worker: Worker[Any, Any] = Worker(bus, EXECUTOR, **options)

        async def handle(message: Any) -> Any:
            work.begin(message)
            await asyncio.sleep(WORK)
            return work.end(message)

        worker.handler(handle_in_a_process if "processes" in options else handle)
        await worker.run()


def die_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(face: str, retention: Any, processes: str, directory: str, rounds: str, url: str) -> None:
    logging.getLogger("smith_sdk").setLevel(logging.CRITICAL)
    contract, ledger = with_executor_on(retention), Ledger(Path(directory))

    def one_life(step: str, number: int) -> str:
        """What it died of; nothing: standard input has ended."""
        pid = os.fork()
        if not pid:
            os.environ["SMITH_CHAOS_LIFE"] = os.pathsep.join([directory, face, step, str(number)])
            live(face, contract, int(processes), url, Work(directory, face, step, number, os.getpid()))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            return ""
        causes = [words[1] for _, words in ledger.lines("died") if words[0] == str(pid)]
        if status != -signal.SIGKILL or not causes:
            sys.exit(f"a life to end at {step} ended with status {status}, and the ledger has {causes} as its causes")
        return causes[0]

    gc.freeze()  # what every life shares is not touched, and not copied, by its collector
    for number in range(int(rounds)):
        for step in STEPS:
            while (cause := one_life(step, 1 + number % _DEEPEST)) != step:
                if not cause:
                    return
    while one_life("none", 0):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
