"""A bus whose server is hostile: every call ends, with its value or one of the SDK's errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from fuzzing.paths import Run, attempt, read_all
from fuzzing.peer import HostileServer, Mode
from fuzzing.samples import SPEC, audit_event, contract, intent
from support import eventually_async

from smith_sdk import AlertMonitor, AsyncSmithBus, Message, SmithError, Worker, result_of, subjects
from smith_sdk.protocol import IntentResult

_CALLERS: Final = 8
_LONGEST: Final = 60.0
"""Seconds that a call may take: several requests of 5 s each may go without a valid answer, and a
read begins again after each lost link, of which there are several a second."""


def _calls(bus: AsyncSmithBus, number: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    one = intent(number)
    raw, vetted = subjects.intents.raw.of(one), subjects.intents.vetted.of(one)

    async def fetch() -> None:
        for message in await bus.consumer(SPEC).fetch(10, timeout=0.5):
            with contextlib.suppress(Exception):
                await message.ack_sync()

    async def read() -> None:
        async with bus.read(subjects.audit.policy.filter()) as messages:
            async for message in messages:
                repr(message)

    async def watch() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(bus.dead_letters.watch()), 1)

    async def alerts() -> None:
        monitor = AlertMonitor(bus, notify=(), interval=0.05, drift_every=0.05)
        running = asyncio.ensure_future(monitor.run())
        await asyncio.wait({running}, timeout=0.5)
        await monitor.stop()
        await running

    async def health() -> None:
        try:
            await bus.health()
        except SmithError as error:
            raise AssertionError("a bad state is in the report, and no exception") from error

    return {
        "alerts": alerts,
        "health": health,
        "lag": lambda: bus.lag(),
        "publish": lambda: bus.publish(raw, one, timeout=2),
        "publish vetted": lambda: bus.publish(vetted, one, timeout=2),
        "publish audit": lambda: bus.publish(subjects.audit.policy(intent_id=one.id), audit_event(one), timeout=2),
        "publish_many": lambda: bus.publish_many([raw.envelope(one)] * 5, timeout=2),
        "fetch": fetch,
        "info": lambda: bus.consumer(SPEC).info(),
        "read": read,
        "list": lambda: bus.dead_letters.list(),
        "count": lambda: bus.dead_letters.count(),
        "get": lambda: bus.dead_letters.get("ATOMS_VETTED.executor-fs-read.1"),
        "audit": lambda: bus.dead_letters.audit(repair=True),
        "replay": lambda: bus.dead_letters.replay(until=datetime.now(UTC), dry_run=bool(number % 2)),
        "discard": lambda: bus.dead_letters.discard(until=datetime.now(UTC), dry_run=True),
        "watch": watch,
        "execute": lambda: bus.execute(one, timeout=1),
        "trace": lambda: bus.trace(one.id),
        "plan": lambda: bus.streams.plan(),
        "verify": lambda: bus.streams.verify(),
        "streams info": lambda: bus.streams.info(),
        "apply": lambda: bus.streams.apply(),
        "pause": lambda: bus.consumer(SPEC).pause(0.01),
        "resume": lambda: bus.consumer(SPEC).resume(),
    }


async def _against(run: Run, mode: Mode, share: float) -> None:
    async with run.bus() as bus:  # applies the streams, and puts something into each
        for number in range(20):
            one = intent(number)
            await bus.publish(subjects.audit.policy(intent_id=one.id), audit_event(one))
            await bus.publish(subjects.intents.vetted.of(one), one)
    async with HostileServer(run.url, run.seed, mode=mode, share=share) as server:
        bus = AsyncSmithBus(server.url, contract=contract(), profile="dev", ping_interval=2)
        async with bus:
            worker = Worker(bus, SPEC, concurrency=4)

            @worker.handler
            async def handle(message: Message[Any, Any]) -> IntentResult:
                read_all(run, message)
                return result_of(message.payload)

            server.is_hostile = True
            working = asyncio.ensure_future(worker.run())
            callers = [asyncio.ensure_future(_call(run, bus, server, number)) for number in range(_CALLERS)]
            await asyncio.gather(*callers)
            if working.done():
                await attempt(run, "worker", lambda: working)
            server.is_hostile = False
            await attempt(run, "stop", lambda: worker.stop(now=True))
            await asyncio.gather(working, return_exceptions=True)

            async def is_sound() -> bool:
                """Calls that still wait for what was changed on this link may fail once more."""
                one = intent(3_000_000)
                try:
                    await bus.publish(subjects.intents.raw.of(one), one, timeout=5)
                    return len(await bus.streams.info()) > 5
                except SmithError:
                    return False

            await eventually_async(is_sound, 30, interval=0.1)
        run.arrived = server.changed


async def _call(run: Run, bus: AsyncSmithBus, server: HostileServer, number: int) -> None:
    turn = number
    while server.is_hostile and server.changed < run.count:
        turn += _CALLERS
        calls = list(_calls(bus, turn).items())
        what, call = calls[turn // _CALLERS % len(calls)] if turn % 3 else calls[turn % len(calls)]
        try:
            await asyncio.wait_for(attempt(run, what, call), _LONGEST)
        except TimeoutError:
            server.is_hostile = False  # the other callers would go on for ever, on a bus that is closed
            raise AssertionError(f"{what} has not ended within {_LONGEST:g} s") from None


async def answers(run: Run) -> None:
    """PubAcks, API answers, pull statuses and deliveries, as a hostile server would send them."""
    await _against(run, "answers", 0.3)


async def wire(run: Run) -> None:
    """Bytes that are not the protocol: each ends the connection at most."""
    await _against(run, "wire", 0.02)
