"""A publisher or a consumer, a process of its own on one of the faces: `python -m chaos.role ROLE
FACE NAME LEDGER RATE URL...`.

It ends when its standard input does, so it never outlives the test, however that ended. Every wait
has a deadline, after which it ends with the reason; SIGUSR1 has it say where each of its threads
stands.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import faulthandler
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from smith_sdk import AsyncSmithBus, SmithBus, result_of, subjects
from smith_sdk.errors import SmithError

from .ledger import Ledger
from .topology import CHAOS, new_intent, raw_reader, results_reader

PUBLISH_TIMEOUT: Final = 10.0
BURST: Final = 0.02
GRACE: Final = 5.0
BIG: Final = 32 * 1024
BIG_EVERY: Final = 4
"""So many intents are big that seconds of silence fill every buffer on the way."""


class Role:
    """What publishers and consumers of both faces have in common."""

    def __init__(self, face: str, name: str, ledger: Ledger, rate: float, urls: list[str]) -> None:
        self.face = face
        self.name = name
        self.ledger = ledger
        self.rate = rate
        self.urls = urls
        self.halt = threading.Event()
        self.on_halt: Callable[[], object] = lambda: None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.read(0, 1024):
            pass
        self.halt.set()
        self.on_halt()


class Publisher(Role):
    """Sends a result and an intent in turn, pipelined, about `rate` messages a second, faster
    where it has to catch up."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sent, self._confirmed, self._failed = (
            self.ledger.page(self.name, what) for what in ("sent", "confirmed", "failed")
        )
        self._under_way: set[Any] = set()

    def _bursts(self) -> Iterator[list[tuple[str, Any, Any]]]:
        """The messages of each burst: (key, subject, payload)."""
        numbers = itertools.count()
        size = max(1, round(self.rate * BURST / 2))
        while not self.halt.is_set():
            burst: list[tuple[str, Any, Any]] = []
            for number in itertools.islice(numbers, size):
                intent = new_intent(self.face, f"{self.name}-{number}", padding=0 if number % BIG_EVERY else BIG)
                result = result_of(intent)
                burst.append((f"results:{intent.id}", subjects.results.of(result), result))
                burst.append((f"raw:{intent.id}", subjects.intents.raw.of(intent), intent))
            yield burst

    def _submitted(self, key: str, future: Any) -> None:
        self._under_way.add(future)
        future.add_done_callback(partial(self._ended, key))

    def _ended(self, key: str, future: Any) -> None:
        error = future.exception()
        if error is None:
            self._confirmed.write(key, future.result().seq)
        else:
            self._refused(key, error)
        self._under_way.discard(future)

    def _refused(self, key: str, error: BaseException) -> None:
        self._failed.write(key, type(error).__name__, error)

    def run_blocking(self) -> None:
        with SmithBus(self.urls, contract=CHAOS, publish_timeout=PUBLISH_TIMEOUT) as bus:
            for burst in self._bursts():
                for key, subject, payload in burst:
                    self._sent.write(key)
                    try:
                        self._submitted(key, bus.submit(subject, payload))
                    except SmithError as error:
                        self._refused(key, error)
                self.halt.wait(BURST)
            _, late = concurrent.futures.wait(tuple(self._under_way), PUBLISH_TIMEOUT + GRACE)
            self._end(len(late))

    async def run_async(self) -> None:
        async with AsyncSmithBus(self.urls, contract=CHAOS, publish_timeout=PUBLISH_TIMEOUT) as bus:
            for burst in self._bursts():
                for key, subject, payload in burst:
                    self._sent.write(key)
                    try:
                        self._submitted(key, await bus.submit(subject, payload))
                    except SmithError as error:
                        self._refused(key, error)
                await asyncio.sleep(BURST)
            late: set[Any] = set()
            if self._under_way:
                _, late = await asyncio.wait(tuple(self._under_way), timeout=PUBLISH_TIMEOUT + GRACE)
            self._end(len(late))

    def _end(self, late: int) -> None:
        if late:
            raise AssertionError(f"{late} publishes did not end within {PUBLISH_TIMEOUT:g} s and {GRACE:g} s more")


class Consumer(Role):
    """Reads all results, and the raw intents of its face; writes each down and acks it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._readers = [
            (f"{kind}-{self.face}", kind, spec)
            for kind, spec in (("results", results_reader(self.face)), ("raw", raw_reader(self.face)))
        ]

    def _write(self, page: Any, kind: str, message: Any) -> None:
        id = message.payload.id if kind == "raw" else message.payload.intent_id
        if kind == "results" and str(message.subject) != f"smith.results.{id}":
            id = f"{id}-on-{message.subject}"  # nobody sent that
        metadata = message.metadata
        page.write(f"{kind}:{id}", metadata.stream_seq, metadata.num_delivered)

    def run_blocking(self) -> None:
        with SmithBus(self.urls, contract=CHAOS) as bus:
            readings = []

            def read(name: str, kind: str, messages: Any) -> None:
                page = self.ledger.page(name, "consumed")
                for message in messages:
                    self._write(page, kind, message)
                    message.ack()

            with concurrent.futures.ThreadPoolExecutor(2) as threads:
                iterators = []
                for name, kind, spec in self._readers:
                    iterators.append(bus.consumer(spec).messages())
                    readings.append(threads.submit(read, name, kind, iterators[-1]))
                try:
                    while not self.halt.wait(0.1) and not any(reading.done() for reading in readings):
                        pass
                finally:
                    for messages in iterators:
                        messages.stop()
                for reading in readings:
                    reading.result(GRACE)

    async def run_async(self) -> None:
        async with AsyncSmithBus(self.urls, contract=CHAOS) as bus:

            async def read(name: str, kind: str, messages: Any) -> None:
                page = self.ledger.page(name, "consumed")
                async for message in messages:
                    self._write(page, kind, message)
                    await message.ack()

            halt = asyncio.Event()
            loop = asyncio.get_running_loop()
            self.on_halt = lambda: loop.call_soon_threadsafe(halt.set)
            if self.halt.is_set():
                return
            iterators = [bus.consumer(spec).messages() for _, _, spec in self._readers]
            readings = [
                asyncio.ensure_future(read(name, kind, messages))
                for (name, kind, _), messages in zip(self._readers, iterators, strict=True)
            ]
            halting = asyncio.ensure_future(halt.wait())
            await asyncio.wait({halting, *readings}, return_when=asyncio.FIRST_COMPLETED)
            halting.cancel()
            for messages in iterators:
                await messages.stop()
            async with asyncio.timeout(GRACE):
                await asyncio.gather(*readings)


def main(role: str, face: str, name: str, directory: str, rate: str, *urls: str) -> None:
    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("smith_sdk").setLevel(logging.INFO)
    kind: type[Publisher | Consumer] = Publisher if role == "publisher" else Consumer
    made = kind(face, name, Ledger(Path(directory)), float(rate), list(urls))
    if face == "async":
        asyncio.run(made.run_async())
    else:
        made.run_blocking()


if __name__ == "__main__":
    began = time.monotonic()
    main(*sys.argv[1:])
    print(f"ended well after {time.monotonic() - began:.1f} s", file=sys.stderr)
