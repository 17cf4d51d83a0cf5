"""A publisher with an outbox, a process of its own: `python -m chaos.outbox_publisher FACE OUTBOX
LEDGER FIRST LAST RATE URL`.

It publishes the events FIRST to LAST, in bursts that are pipelined, and writes each number into the
ledger before it publishes it, and again once that has returned. At the end it flushes the outbox.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from smith_sdk import AsyncSmithBus, OutboxFile, PubAck, SmithBus, subjects
from smith_sdk.protocol import HealthEvent, Service

from .ledger import Ledger

SUBJECTS: Final = 4
BURST: Final = 20
FLUSH: Final = 90.0
LEFT: Final = 2
"""The exit status if the outbox could not be flushed."""


class Publisher:
    """What both faces share."""

    def __init__(self, face: str, outbox: str, ledger: str, first: str, last: str, rate: str, url: str) -> None:
        self._sent, self._returned = (Ledger(Path(ledger)).page(face, what) for what in ("sent", "returned"))
        self._numbers = range(int(first), int(last) + 1)
        self._rate = float(rate)
        self._url = url
        self._options: dict[str, Any] = {"connect_mode": "wait", "outbox": OutboxFile(outbox, max_bytes=1 << 30)}

    def _bursts(self) -> Iterator[tuple[range, float]]:
        """The numbers of each burst, and seconds until it is due."""
        began = time.monotonic()
        for at in range(0, len(self._numbers), BURST):
            yield self._numbers[at : at + BURST], max(0.0, began + at / self._rate - time.monotonic())

    def _message(self, number: int) -> tuple[Any, HealthEvent]:
        self._sent.write(number)
        service = f"s{number % SUBJECTS}"
        return subjects.events.health(service=Service(service)), HealthEvent.new(
            service=service, healthy=True, detail={"n": number}
        )

    def _note(self, number: int, outcome: object) -> None:
        self._returned.write(number, "PubAck" if isinstance(outcome, PubAck) else "Stored")

    async def run_async(self) -> None:
        async with AsyncSmithBus(self._url, when_down="store", **self._options) as bus:
            for numbers, pause in self._bursts():
                await asyncio.sleep(pause)
                futures = [await bus.submit(*self._message(number)) for number in numbers]
                for number, future in zip(numbers, futures, strict=True):
                    self._note(number, await future)
            await bus.outbox.flush(FLUSH)

    def run_blocking(self) -> None:
        with SmithBus(self._url, when_down="store", **self._options) as bus:
            for numbers, pause in self._bursts():
                time.sleep(pause)
                futures = [bus.submit(*self._message(number)) for number in numbers]
                for number, future in zip(numbers, futures, strict=True):
                    self._note(number, future.result(FLUSH))
            bus.outbox.flush(FLUSH)


def _end_with_standard_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(LEFT)


def main(face: str, *arguments: str) -> None:
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.INFO)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    publisher = Publisher(face, *arguments)
    if face == "async":
        asyncio.run(publisher.run_async())
    else:
        publisher.run_blocking()


if __name__ == "__main__":
    main(*sys.argv[1:])
