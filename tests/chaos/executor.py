"""An executor that kills itself: `python -m chaos.executor FACE LEDGER STEP NUMBER URL`.

It runs a `Worker` and dies by SIGKILL at STEP of the NUMBER-th message that gets there; STEP "never" has it live until its standard
input ends. The steps: `received` (the message is in the process), `before_handler`, `in_handler` (its work is done, nothing is said),
`after_handler` (its result is about to be published), `before_ack` (the result is stored), `after_ack` (the ack had the time
to reach the server).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, SmithBus, Worker, result_of, sync

from .ledger import Ledger
from .topology import CHAOS, EXECUTOR

STEPS: Final = ("received", "before_handler", "in_handler", "after_handler", "before_ack", "after_ack")
CONCURRENCY: Final = 4
ACK: Final = b"\r\n+ACK\r\n"
ACK_ARRIVES: Final = 0.1
RETRY: Final = RetryPolicy(max_attempts=-1, backoff=Backoff(initial=0.05, max=0.5))
"""Without end: a message that saw several deaths by chance is no poison."""


class Death:
    """Counts who gets to the step, and strikes at the right one."""

    def __init__(self, step: str, number: int) -> None:
        self._step = step
        self._number = number
        self._count = itertools.count(1)
        if step in ("received", "after_handler", "before_ack", "after_ack"):
            self._watch_the_wire()

    def at(self, step: str, pause: float = 0.0) -> None:
        if step == self._step and next(self._count) == self._number:
            time.sleep(pause)  # the whole process stands still: it does nothing more
            os.kill(os.getpid(), signal.SIGKILL)

    def _watch_the_wire(self) -> None:
        """The steps that no handler sees are seen where the bytes come and go, whoever sends them there."""
        feed_data, write, writelines = asyncio.StreamReader.feed_data, asyncio.StreamWriter.write, asyncio.StreamWriter.writelines

        def received(reader: asyncio.StreamReader, data: bytes) -> None:
            if b" $JS.ACK." in data:
                self.at("received")
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
        if b"PUB smith.results." in data:
            self.at("after_handler")
        if ACK in data:
            self.at("before_ack")

    def _after_writing(self, data: bytes) -> None:
        if ACK in data:
            self.at("after_ack", ACK_ARRIVES)


def main(face: str, directory: str, step: str, number: str, url: str) -> None:
    death = Death(step, int(number))
    page = Ledger(Path(directory)).page(f"executor-{face}", "ran")

    def work(message: Any) -> Any:
        death.at("before_handler")
        page.write(message.payload.id, message.metadata.num_delivered)
        death.at("in_handler")
        return result_of(message.payload)

    def die_with_stdin() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=die_with_stdin, daemon=True).start()
    if face == "async":
        asyncio.run(run_async(url, work))
    else:
        with SmithBus(url, contract=CHAOS) as bus:
            worker = sync.Worker(bus, EXECUTOR, concurrency=CONCURRENCY, retry=RETRY)
            worker.handler(work)
            worker.run()


async def run_async(url: str, work: Any) -> None:
    async with AsyncSmithBus(url, contract=CHAOS) as bus:
        worker: Worker[Any, Any] = Worker(bus, EXECUTOR, concurrency=CONCURRENCY, retry=RETRY)

        @worker.handler
        async def handle(message: Any) -> Any:
            return work(message)

        await worker.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
