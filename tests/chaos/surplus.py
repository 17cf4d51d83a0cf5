"""Programs under more load than they can bear: `python -m chaos.surplus ROLE FACE DIRECTORY URL`.

- `publisher`: raw intents, three times as many as the executor bears, for `SECONDS`; then it ends
- `admission`: lets everything through
- `executor`: `SLOTS` handlers at once, each of which takes `WORK` seconds; as `helper` with eight
  times as many, for what has piled up
- `pressure`: back pressure, which has the surplus quarantined

Each writes to the ledger what it has done, and ends when standard input does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from smith_sdk import Admission, Allow, AsyncSmithBus, BackPressure, Rule, SmithBus, Worker, consumers, result_of, subjects, sync
from smith_sdk.backpressure import lag_above, quarantine_new_intents
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

from .ledger import Ledger, Page

EXECUTOR: Final = consumers.executor_fs_read
SLOTS: Final = 6
WORK: Final = 0.1
CAPACITY: Final = SLOTS / WORK
LOAD: Final = 3 * CAPACITY
SECONDS: Final = float(os.environ.get("SMITH_CHAOS_SURPLUS_SECONDS", "40"))
BATCH: Final = 0.05
"""Seconds between two batches of the publisher."""
PADDING: Final = 2_000
"""Characters of an intent that are of no use: what is kept in memory shows."""
RULE: Final = Rule(name="overload", when=lag_above(EXECUTOR, 300, clear_below=60), do=[quarantine_new_intents()], hold=2)


async def publish(ledger: Ledger, url: str) -> None:
    sent, confirmed = ledger.page("publisher", "sent"), ledger.page("publisher", "confirmed")
    async with AsyncSmithBus(url) as bus:
        began, number, total = time.monotonic(), 0, round(LOAD * SECONDS)
        while number < total:
            due = min(total, round(LOAD * (time.monotonic() - began)))
            intents = [_intent() for _ in range(number, due)]
            number = max(number, due)
            for intent in intents:
                sent.write(intent.id)
            for ack, intent in zip(
                await bus.publish_many([subjects.intents.raw.of(one).envelope(one) for one in intents]), intents, strict=True
            ):
                confirmed.write(intent.id, ack.seq)
            await asyncio.sleep(BATCH)


def _intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="chaos", metadata={"padding": "x" * PADDING}, params=FsReadV1Params(path="/x"))


class Work:
    def __init__(self, page: Page) -> None:
        self._page = page

    async def wait(self, message: Any) -> Any:
        await asyncio.sleep(WORK)
        return self.done(message)

    def block(self, message: Any) -> Any:
        time.sleep(WORK)
        return self.done(message)

    def done(self, message: Any) -> Any:
        self._page.write(message.payload.id, message.metadata.num_delivered)
        return result_of(message.payload, output={})


def allow(_: Any) -> Allow:
    return Allow()


async def run_async(role: str, page: Page, url: str) -> None:
    async with AsyncSmithBus(url) as bus:
        runs: Any
        if role == "admission":
            runs = Admission(bus, policy=allow, executor_id="gate")
        elif role == "pressure":
            runs = BackPressure(bus, [RULE], interval=0.5)
        else:
            runs = Worker(bus, EXECUTOR, concurrency=slots_of(role))
            runs.handler(Work(page).wait)
        await runs.run()


def run_blocking(role: str, page: Page, url: str) -> None:
    with SmithBus(url) as bus:
        runs: Any
        if role == "admission":
            runs = sync.Admission(bus, policy=allow, executor_id="gate")
        elif role == "pressure":
            runs = sync.BackPressure(bus, [RULE], interval=0.5)
        else:
            runs = sync.Worker(bus, EXECUTOR, concurrency=slots_of(role))
            runs.handler(Work(page).block)
        runs.run()


def slots_of(role: str) -> int:
    return 8 * SLOTS if role == "helper" else SLOTS


def end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(role: str, face: str, directory: str, url: str) -> None:
    ledger = Ledger(Path(directory))
    if role == "publisher":
        asyncio.run(publish(ledger, url))
        return
    threading.Thread(target=end_with_stdin, daemon=True).start()
    page = ledger.page(role, "processed")
    if face == "async":
        asyncio.run(run_async(role, page, url))
    else:
        run_blocking(role, page, url)


if __name__ == "__main__":
    main(*sys.argv[1:])
