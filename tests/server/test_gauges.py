"""Gauges: what a process knows of its bus without asking the server."""

from __future__ import annotations

import asyncio
from typing import Any

from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, RetryPolicy, Worker, consumers, subjects
from smith_sdk._core.jetstream.session import Session
from smith_sdk._core.monitoring.gauges import BusGauges, WorkerGauges, gauges

spec = consumers.executor_fs_read
vetted = subjects.intents.vetted


async def put(bus: Any, path: str) -> None:
    intent = read_intent(path)
    await bus.publish(vetted.of(intent), intent)


def only_worker(bus: AsyncSmithBus) -> WorkerGauges:
    (found,) = gauges(bus._session).workers
    return found


async def test_a_worker_shows_what_it_runs_and_how_much_there_is_left(account: Account) -> None:
    async with account.applied() as bus:
        for number in range(5):
            await put(bus, f"/{number}")
        going = asyncio.Event()
        worker = Worker(bus, spec, concurrency=2)

        @worker.handler
        async def handle(message: Any) -> None:
            await going.wait()

        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: bool(gauges(bus._session).workers) and only_worker(bus).running == 2)
        now = only_worker(bus)
        assert (now.name, now.stream, now.consumer) == (f"worker {spec.name}", spec.stream, spec.name)
        assert (now.slots, now.is_draining, now.circuit, now.succeeded) == (2, False, None, 0)
        assert now.num_pending is not None
        assert now.num_pending + now.running + now.buffered == 5
        stopping = asyncio.ensure_future(worker.stop())
        await eventually_async(lambda: only_worker(bus).is_draining)
        assert only_worker(bus).running == 2  # it goes on to answer for what it has started
        going.set()
        await asyncio.gather(running, stopping)
        assert gauges(bus._session).workers == ()
        assert worker._slots.gauges().succeeded == 2


async def test_the_latest_error_of_a_worker_is_one_line(account: Account) -> None:
    async with account.applied() as bus:
        breaker = CircuitBreaker(name="disk", minimum=100)
        retry = RetryPolicy(max_attempts=5, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
        worker = Worker(bus, spec, concurrency=1, retry=retry, breaker=breaker)
        failures = 1

        @worker.handler
        async def handle(message: Any) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise OSError("not\nmounted \x1b[31m")

        running = asyncio.ensure_future(worker.run())
        await put(bus, "/x")
        await eventually_async(lambda: bool(gauges(bus._session).workers) and only_worker(bus).succeeded == 1)
        now = only_worker(bus)
        assert now.last_error == "OSError: not mounted \\x1b[31m"
        assert now.last_error_at is not None
        assert (now.retried, now.dead_lettered, now.unanswered, now.running) == (1, 0, 0, 0)
        assert now.circuit == ("disk", "closed")
        assert gauges(bus._session).circuits == (("disk", "closed"), (f"publish {spec.stream}", "closed"))
        await worker.stop()
        await running


async def test_a_bus_shows_its_connection_and_its_window(face: Face) -> None:
    bus = face.applied()
    session: Session = (bus if face.is_async else bus.inner._aio)._session
    assert seen(session) == (False, "closed")
    async with bus:
        assert seen(session) == (True, "connected")
        now = gauges(session)
        assert "@" not in now.url
        assert (now.reconnects, now.window_messages, now.window_bytes) == (0, 0, 0)
        assert now.max_window_messages > 0
        assert now.max_window_bytes > 0
        await put(bus, "/x")
        assert gauges(session).circuits == ((f"publish {spec.stream}", "closed"),)
    assert seen(session) == (False, "closed")


def seen(session: Session) -> tuple[bool, str]:
    now: BusGauges = gauges(session)
    return now.is_open, now.state


async def test_publishes_in_flight_are_counted_in_messages_and_bytes(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent("/x")
        future = await bus.submit(vetted.of(intent), intent)
        now = gauges(bus._session)
        assert now.window_messages == 1
        assert now.window_bytes > len(intent.id)
        await future
        assert gauges(bus._session).window_messages == 0
