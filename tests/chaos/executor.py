"""Executors that kill themselves: `python -m chaos.executor FACE RETENTION PROCESSES LEDGER ROUNDS
URL`.

Each life is a forked process that runs a `Worker` and dies by SIGKILL at a named step, every step
once a round; the last lives have no step and go on until standard input ends. What was sent before
the step has time to reach the server. The steps:

- `received`: a message is in the process
- `before_handler`; `in_handler`: its work is done and nothing is published; `after_handler`: its
  result is about to be published
- `before_copy`: a dead letter is about to be; `after_copy`: it is stored, and the original is about
  to be terminated
- `before_ack`: the result is stored; `after_ack`

Messages of the kind "raises" raise whenever they are run, those of the kind "kills" kill the
process that their handler is in: a life that is not to die at a step dies of them, unless handlers
run in processes of their own. The ledger has a line `died LIFE CAUSE` for each life, and `begins`
and `ends` for each run, with the life and the number of the delivery.

A life is spared while a message has its last run, alone: nobody could tell the fate of the process
from that message's doing. The process that forks the lives has imported all that they need, so a
life is short; it never connects, and has no threads.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, SmithBus, Worker, result_of, sync
from smith_sdk._core.execution.isolation import ISOLATION
from smith_sdk.contract import Contract

from .ledger import Ledger, Page
from .topology import EXECUTOR, with_executor_on
from .wire import watch_reads, watch_writes

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
ARRIVES: Final = 0.05
_DEEPEST: Final = 3
"""A life dies of the first that gets to its step, the second or the third, in turn."""

_TRIAL: Final = re.compile(rb"PUB smith\.dlq\.\S+\.(\d+)\.trial ")
_ACK: Final = re.compile(rb"PUB \$JS\.ACK\.[^\r]+\r\n\+ACK\r\n")
_ON_THE_WIRE: Final = {
    "after_handler": re.compile(rb"H?PUB smith\.results\."),
    "before_copy": re.compile(rb"H?PUB smith\.dlq\.\S+\.(\d+) "),
    "after_copy": re.compile(rb"PUB \$JS\.ACK\.[^. ]+\.[^. ]+\.\d+\.(\d+)\.\S+ +\d+\r\n\+TERM"),
    "before_ack": _ACK,
    "after_ack": _ACK,
}


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

    def at(self, step: str, *, spared: bool, first: Callable[[], object] | None = None) -> None:
        """Strike, if it is time: after `first`, which is to reach the server."""
        if step == self._step and not spared and next(self._count) == self._number:
            if first is not None:
                first()
                time.sleep(ARRIVES)  # the whole process stands still: it does nothing more
            self._page.write(self.victim, step)
            os.kill(self.victim, signal.SIGKILL)

    def watch_the_wire(self) -> None:
        """The steps that no handler sees are recognized where bytes are sent and received."""

        def received(data: bytes) -> None:
            if b" $JS.ACK." in data:
                self.at("received", spared=ISOLATION._alone)

        watch_reads(received)
        watch_writes(self._on_writing)

    def _on_writing(self, data: bytes, write: Callable[[bytes], object]) -> None:
        """What stands before the step in the same `data` reaches the server, nothing behind it
        does.

        A process whose isolated attempt has failed is no longer spared: the message is on its way
        to the dead letters.
        """
        alone = ISOLATION._alone
        self._tried.update(_TRIAL.findall(data))
        for step, pattern in _ON_THE_WIRE.items():
            for match in pattern.finditer(data):
                buried = step in ("before_copy", "after_copy") and match[1] in self._tried
                before = match.end() if step == "after_ack" else match.start()
                self.at(step, spared=alone and not buried, first=partial(write, data[:before]))


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
