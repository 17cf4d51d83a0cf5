"""One process of the pipeline: `python pipeline_role.py ROLE TRUSTED`, ROLE being publisher,
admission, executor or reader, and the server's URL in SMITH_NATS_URL.

It reads commands from stdin, one JSON object a line, and answers each with a line on stdout. "mark"
starts a measurement: what was recorded before is forgotten. "report" answers with the processor
time since then and with what was recorded. Times are those of CLOCK_MONOTONIC, in seconds, which is
the same clock in every process of a machine. The end of stdin ends the process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import selectors
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from batch import new_intent
from harness import AHEAD, WINDOW

from smith_sdk import Admission, Allow, AsyncSmithBus, Message, Trust, Worker, consumers, inline, result_of, signing, subjects
from smith_sdk.protocol import FsReadV1Intent, Intent, IntentResult

Command = Callable[..., Awaitable[dict[str, Any]]]

SLOTS = 64
SEED = bytes(range(32))
STALLED = 20.0  # seconds without anything new, after which the reader gives up


class Role:
    """What is the same in every process: the processor time and the records of a measurement."""

    def __init__(self, bus: AsyncSmithBus, trusted: bool) -> None:
        self.bus = bus
        self.trust = Trust(keys={signing.public_key(SEED)}) if trusted else None
        self.trusted = trusted
        self.records: list[tuple[Any, ...]] = []
        self._used = 0.0
        self.commands: dict[str, Command] = {"mark": self.mark, "report": self.report}

    async def mark(self) -> dict[str, Any]:
        self.records.clear()
        gc.collect()
        self._used = time.process_time()
        return {}

    async def report(self) -> dict[str, Any]:
        return {"cpu_s": time.process_time() - self._used, "records": self.records}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The work that goes on until the process is to end."""
        yield


class Publisher(Role):
    """Records (id, when it was to be published, when it was) of each intent."""

    def __init__(self, bus: AsyncSmithBus, trusted: bool) -> None:
        super().__init__(bus, trusted)
        self.commands |= {"flood": self.flood, "pace": self.pace}

    def intent(self) -> FsReadV1Intent:
        return signing.sign(new_intent(), SEED) if self.trusted else new_intent()

    async def flood(self, count: int) -> dict[str, Any]:
        """As fast as it goes; making and signing the intents is part of the work."""
        began = time.monotonic()

        def made() -> FsReadV1Intent:
            intent = self.intent()
            self.records.append((intent.id, began, began))
            return intent

        await self.bus.publish_many(subjects.intents.raw.of(intent).envelope(intent) for intent in (made() for _ in range(count)))
        return {"began": began}

    async def pace(self, rate: float, seconds: float, seed: int) -> dict[str, Any]:
        """At times that are fixed beforehand and do not wait for anything: an open loop. The gaps
        are exponentially distributed, as those of independent callers are."""
        chance = random.Random(seed)
        due, times = 0.0, []
        while (due := due + chance.expovariate(rate)) < seconds:
            times.append(due)
        intents = [self.intent() for _ in times]
        gc.collect()
        began = time.monotonic() + 0.1
        acks = []
        for intent, offset in zip(intents, times, strict=True):
            scheduled = began + offset
            if (ahead := scheduled - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            called = time.monotonic()
            acks.append(await self.bus.submit(subjects.intents.raw.of(intent), intent))
            self.records.append((intent.id, scheduled, called))
        await asyncio.gather(*acks)
        return {"count": len(times)}


class Gate(Role):
    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        gate = Admission(self.bus, policy=inline(_allow), executor_id="bench", concurrency=SLOTS, trust=self.trust)
        async with _until_closed(gate):
            yield


def _allow(intent: Intent) -> Allow:
    return Allow()


class Executor(Role):
    """Records (id, when the handler began) of each intent."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        worker = Worker(self.bus, consumers.executor_fs_read, concurrency=SLOTS, trust=self.trust)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> IntentResult:
            now = time.monotonic()
            self.records.append((message.payload.id, now))
            return result_of(message.payload, raw=message.raw, output="text")

        async with _until_closed(worker):
            yield


class Reader(Role):
    """Records (id, when it was read) of each result."""

    def __init__(self, bus: AsyncSmithBus, trusted: bool) -> None:
        super().__init__(bus, trusted)
        self.commands["until"] = self.until
        self._seen: set[str] = set()
        self._news = asyncio.Event()

    async def mark(self) -> dict[str, Any]:
        self._seen.clear()
        return await super().mark()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:  # an error of the task ends the process
            reading = group.create_task(self._read())
            yield
            reading.cancel()

    async def _read(self) -> None:
        async with self.bus.consumer(consumers.http_results).messages(prefetch=AHEAD) as messages:
            async for message in messages:
                found = message.payload.intent_id
                self.records.append((found, time.monotonic()))
                self._seen.add(found)
                self._news.set()
                await message.ack()

    async def until(self, count: int) -> dict[str, Any]:
        """Answer once the results of `count` intents are there, or nothing has come for long."""
        while len(self._seen) < count:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), STALLED)
            except TimeoutError:
                break
        return {}


@asynccontextmanager
async def _until_closed(part: Admission | Worker[Any, Any]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:  # an error of the task ends the process
        group.create_task(part.run())
        yield
        await part.stop()


ROLES: dict[str, type[Role]] = {"publisher": Publisher, "admission": Gate, "executor": Executor, "reader": Reader}


async def main(role: str, trusted: str) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with AsyncSmithBus(max_pending_messages=WINDOW) as bus:
        process = ROLES[role](bus, trusted == "trusted")
        async with process.running():
            print("{}", flush=True)
            async for line in commands:
                request = json.loads(line)
                answer = await process.commands[request.pop("do")](**request)
                print(json.dumps(answer), flush=True)


def exact_timers() -> asyncio.AbstractEventLoop:
    """A loop whose timers are as exact as the system's: epoll takes whole milliseconds, by which a
    publisher would be late."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=exact_timers if sys.argv[1] == "publisher" else None) as runner:
        runner.run(main(*sys.argv[1:]))
