"""`Worker(breaker=...)`: a worker whose dependency is away waits for it, and no message pays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from handling import in_a_process, needing_a_file
from letters import held
from support import eventually_async

from smith_sdk import (
    AsyncSmithBus,
    Backoff,
    CircuitBreaker,
    Message,
    RateLimit,
    Reject,
    RetryLater,
    RetryPolicy,
    Worker,
    consumers,
    subjects,
)
from smith_sdk._core.events import CircuitChanged, Observer
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.aio import uncounted as uncounted_module
from smith_sdk.contract import ConsumerSpec
from smith_sdk.errors import ConsumerNotFound
from smith_sdk.protocol import FsReadV1Intent

vetted = subjects.intents.vetted
SPEC: ConsumerSpec[Any, Any] = msgspec.structs.replace(consumers.executor_fs_read, ack_wait=20.0)
HERE = declaring(SPEC)
THRICE = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.02, max=0.05, jitter=0))
SLOTS, MINIMUM, PROBES = 4, 4, 2


def breaker(**options: Any) -> CircuitBreaker:
    given = {
        "name": "database",
        "minimum": MINIMUM,
        "probes": PROBES,
        "count": ConnectionError,
        "open_for": Backoff(initial=0.1, max=0.2, jitter=0),
    }
    return CircuitBreaker(**{**given, **options})


class Dependency:
    """What handlers call, from any thread: it is away, or it answers."""

    def __init__(self, *, is_up: bool) -> None:
        self.is_up = is_up
        self._lock = threading.Lock()
        self.failed = 0
        self.answered: Counter[str] = Counter()

    def call(self, message: Any) -> None:
        with self._lock:
            if not self.is_up:
                self.failed += 1
                raise ConnectionRefusedError("nobody listens")
            self.answered[message.payload.params.path] += 1


async def put(bus: AsyncSmithBus, *paths: str) -> None:
    await bus.publish_many([vetted.of(intent).envelope(intent) for intent in map(read_intent, paths)])


async def settled(bus: AsyncSmithBus) -> bool:
    left = (await bus.streams.get("ATOMS_VETTED")).messages
    assert not left, f"{left} are left"
    return True


@contextlib.asynccontextmanager
async def working(face: Face, bus: Any, handler: Any, **options: Any) -> AsyncIterator[Any]:
    worker = face.worker(bus, SPEC, **{"retry": THRICE, "concurrency": SLOTS, **options})
    (worker if face.is_async else worker.inner).handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker if face.is_async else worker.inner
    finally:
        await worker.stop()
        await running


def trip(circuit: CircuitBreaker) -> None:
    while circuit.state == "closed":
        circuit.acquire().end(ConnectionError())


def openings_of(circuit: CircuitBreaker) -> list[str]:
    found: list[str] = []
    circuit.on_change(lambda event: found.append(event.reason) if event.new == "open" else None)
    return found


async def test_a_worker_waits_for_its_dependency_and_no_message_pays(face: Face, account: Account) -> None:
    dependency, circuit = Dependency(is_up=False), breaker()
    openings = openings_of(circuit)
    paths = [str(number) for number in range(60)]
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *paths)
        async with working(face, bus, dependency.call, breaker=circuit) as worker:
            await eventually_async(lambda: len(openings) >= 5, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(server), 30)
            assert worker.describe()["circuit"] == {"name": "database", "state": "closed", "retry_after": 0.0}
        stats = worker.stats  # of the last ones, the server knows before the worker has counted them
        assert await server.dead_letters.list() == ()
    assert dependency.answered == dict.fromkeys(paths, 1)
    assert dependency.failed <= MINIMUM - 1 + SLOTS + PROBES * (len(openings) - 1)
    assert (stats.succeeded, stats.retried) == (60, dependency.failed)


async def test_the_only_message_is_never_given_up_while_nothing_answers(face: Face, account: Account) -> None:
    """Too few fail for the circuit to open."""
    dependency, circuit = Dependency(is_up=False), breaker(minimum=1000)
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, "only")
        async with working(face, bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: dependency.failed >= 3 * THRICE.max_attempts)
            dependency.is_up = True
            await eventually_async(lambda: settled(server))
        assert await server.dead_letters.list() == ()
        # What no run has answered since did not count; the attempts before did.
        place = (await unrun_of(server))[-1]
        assert place == dependency.failed - (THRICE.max_attempts - 1)


async def unrun_of(bus: AsyncSmithBus) -> list[int]:
    return [int(one.headers["Smith-Unrun"]) for one in await held(bus, "SMITH_DLQ", "smith.dlq.*.*.*.unrun")]


async def test_a_message_that_fails_alone_is_dead_lettered_after_its_attempts(face: Face, account: Account) -> None:
    dependency, circuit = Dependency(is_up=True), breaker(minimum=1000)
    failed: list[int] = []

    def handle(message: Any) -> None:
        if message.payload.params.path == "poison":
            failed.append(message.metadata.num_delivered)
            raise ConnectionRefusedError("its own target is gone")
        dependency.call(message)

    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, "poison")
        async with working(face, bus, handle, breaker=circuit) as worker:
            for attempt in range(1, THRICE.max_attempts + 1):
                await eventually_async(lambda: len(failed) >= attempt)  # noqa: B023 -- within the round
                await put(server, f"good {attempt}")
                await eventually_async(lambda: worker.stats.succeeded >= attempt)  # noqa: B023
            await eventually_async(lambda: settled(server), 20)
        (letter,) = await server.dead_letters.list()
    assert letter.error_type == "ConnectionRefusedError"
    assert letter.attempts == len(failed)


async def test_an_error_of_a_process_is_recognised(face: Face, account: Account, tmp_path: Path) -> None:
    """Also one that cannot be made again of what pickle keeps of it."""
    circuit, file = breaker(), tmp_path / "there"
    openings = openings_of(circuit)
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *(f"{number}:{file}" for number in range(12)))
        async with working(face, bus, needing_a_file, breaker=circuit, processes=2, concurrency=None):
            await eventually_async(lambda: len(openings) >= 3, 60)
            file.touch()
            await eventually_async(lambda: settled(server), 30)
        assert await server.dead_letters.list() == ()


async def test_what_runs_goes_on_and_what_waits_is_released_to_other_workers(account: Account) -> None:
    """A worker whose own circuit is closed takes the messages; the attempt is not used up."""
    circuit = breaker(minimum=2, open_for=Backoff(initial=300, max=300, jitter=0))
    begun, goes_on = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def handle(message: Message[FsReadV1Intent]) -> None:
        if message.payload.params.path == "slow":
            begun.set()
            await goes_on.wait()
        else:
            await begun.wait()
            raise ConnectionRefusedError("nobody listens")

    async def another(message: Message[FsReadV1Intent]) -> None:
        seen.append(message.metadata.num_delivered)

    async with account.applied(contract=HERE) as bus, AsyncSmithBus(account.url, contract=HERE) as beside:
        await put(bus, "slow", "a", "b")
        face = Face("async", account)
        async with working(face, bus, handle, breaker=circuit, concurrency=3) as worker:
            await eventually_async(lambda: circuit.state == "open")
            await put(bus, *map(str, range(20)))
            async with working(face, beside, another):
                await eventually_async(lambda: len(seen) >= 20)
            await eventually_async(lambda: worker.stats.running == 1)  # it was not cancelled
            assert worker.describe()["circuit"]["state"] == "open"
            assert worker.describe()["circuit"]["retry_after"] > 200
            goes_on.set()
            await eventually_async(lambda: worker.stats.succeeded == 1)
        assert circuit.state == "open"  # what began before it opened says nothing


async def test_a_worker_that_stops_while_the_circuit_is_open_leaves_every_attempt(
    face: Face, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted_module, "_SOON", 20.0)  # without their records they would count
    circuit = breaker(minimum=1, open_for=Backoff(initial=300, max=300, jitter=0))
    dependency = Dependency(is_up=False)
    paths = [str(number) for number in range(30)]
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *paths)
        async with working(face, bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: circuit.state == "open")
        dependency.is_up = True
        # Those that have failed wait for as long as the circuit: only the others are left.
        last = RetryPolicy(max_attempts=1)
        async with working(face, bus, dependency.call, retry=last):
            await eventually_async(lambda: len(dependency.answered) >= 30 - dependency.failed)
        # The server counts their second delivery, and yet it was no isolated attempt.
        assert await held(server, "SMITH_DLQ", "smith.dlq.*.*.*.trial") == []
        assert await server.dead_letters.list() == ()


async def test_what_waits_for_its_key_or_the_rate_is_released_as_well(face: Face, account: Account) -> None:
    circuit, dependency = breaker(), Dependency(is_up=False)
    openings = openings_of(circuit)
    options = {"concurrency_key": lambda message: message.payload.params.path[0], "rate_limit": RateLimit(1000, per=1)}
    paths = [f"{number % 3}-{number}" for number in range(60)]
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *paths)
        async with working(face, bus, dependency.call, breaker=circuit, **options):
            await eventually_async(lambda: len(openings) >= 3, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(server), 30)
        assert await server.dead_letters.list() == ()
    assert dependency.answered == dict.fromkeys(paths, 1)


async def test_two_workers_share_a_breaker(face: Face, account: Account) -> None:
    """The second one waits, too, although none of its own messages has failed."""
    circuit, dependency = breaker(), Dependency(is_up=False)
    openings = openings_of(circuit)
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        async with (
            working(face, bus, dependency.call, breaker=circuit, concurrency=2),
            working(face, bus, dependency.call, breaker=circuit, concurrency=2),
        ):
            await put(server, *map(str, range(40)))
            await eventually_async(lambda: len(openings) >= 4, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(server), 30)
        assert await server.dead_letters.list() == ()
    assert dependency.failed <= MINIMUM - 1 + SLOTS + PROBES * (len(openings) - 1)


async def test_a_handler_may_use_its_workers_breaker_itself(face: Face, account: Account) -> None:
    """A call inside a probe is a part of it, also if there is one probe at a time."""
    circuit, dependency = breaker(probes=1), Dependency(is_up=False)
    openings = openings_of(circuit)

    def handle(message: Any) -> None:
        with circuit:
            dependency.call(message)

    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *map(str, range(20)))
        async with working(face, bus, handle, breaker=circuit):
            await eventually_async(lambda: len(openings) >= 3, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(server), 30)
            assert circuit.state == "closed"
        assert await server.dead_letters.list() == ()


async def test_reject_and_retry_later_are_neither_failures_nor_successes(face: Face, account: Account) -> None:
    circuit = breaker(count=Exception, minimum=1, probes=1)

    def handle(message: Any) -> None:
        if message.payload.params.path == "reject":
            raise Reject("not mine")
        if message.metadata.num_delivered == 1:
            raise RetryLater(0.01)

    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        await put(server, *["reject"] * 5, *["later"] * 5)
        async with working(face, bus, handle, breaker=circuit) as worker:
            await eventually_async(lambda: settled(server))
        assert (worker.stats.succeeded, worker.stats.retried, worker.stats.dead_lettered) == (5, 5, 5)
        assert circuit.state == "closed"
        assert "0 of 5 calls failed" in repr(circuit)


async def test_a_probe_that_is_never_run_gives_its_place_to_another(account: Account) -> None:
    """Such as an undecodable message, of which there may be many in a row."""
    circuit, dependency = breaker(probes=1), Dependency(is_up=False)

    async def handle(message: Message[FsReadV1Intent]) -> None:
        dependency.call(message)

    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(MINIMUM)))
        async with working(Face("async", account), bus, handle, breaker=circuit):
            await eventually_async(lambda: circuit.state == "open")
            subject = str(vetted.of(read_intent()))
            for number in range(5):
                await bus._session.publish(subject, b"{", stream="ATOMS_VETTED", msg_id=f"broken {number}")
            dependency.is_up = True
            await eventually_async(lambda: settled(bus))
        assert {one.error_type for one in await bus.dead_letters.list()} == {"PayloadDecodeError"}


async def test_an_isolated_attempt_waits_for_the_circuit_as_well(account: Account) -> None:
    circuit, dependency = breaker(minimum=1, probes=1), Dependency(is_up=False)
    openings = openings_of(circuit)
    async with account.applied(contract=HERE) as bus:
        await put(bus, "only")
        for _ in range(THRICE.max_attempts):  # it was delivered as often as it may be attempted
            (message,) = await bus.consumer(SPEC).fetch(1)
            await message.nack()
        async with working(Face("async", account), bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: len(openings) >= 4, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(bus))
        assert await bus.dead_letters.list() == ()


async def test_a_timeout_counts_if_the_breaker_counts_it(account: Account) -> None:
    circuit, hangs = breaker(count=TimeoutError, minimum=2), True
    openings = openings_of(circuit)

    async def handle(message: Message[FsReadV1Intent]) -> None:
        if hangs:
            await asyncio.Event().wait()

    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(5)))
        async with working(Face("async", account), bus, handle, breaker=circuit, timeout=0.05):
            await eventually_async(lambda: len(openings) >= 3, 30)
            hangs = False
            await eventually_async(lambda: settled(bus), 30)
        assert await bus.dead_letters.list() == ()


async def test_a_probe_that_is_cut_off_does_not_close_the_circuit(account: Account) -> None:
    """Also if the breaker does not count timeouts: what hangs has not answered."""
    circuit, hangs = breaker(probes=1), True
    changes: list[str] = []

    async def handle(message: Message[FsReadV1Intent]) -> None:
        if hangs:
            await asyncio.Event().wait()

    async with account.applied(contract=HERE) as bus:
        trip(circuit)
        circuit.on_change(lambda event: changes.append(event.new))
        await put(bus, *map(str, range(4)))
        once = RetryPolicy(max_attempts=1)
        async with working(Face("async", account), bus, handle, breaker=circuit, timeout=0.05, retry=once):
            await eventually_async(lambda: settled(bus), 30)
            assert changes == ["half-open"]
            hangs = False
            await put(bus, "answered")
            await eventually_async(lambda: changes == ["half-open", "closed"], 30)
        assert {one.error_type for one in await bus.dead_letters.list()} == {"HandlerTimeout"}


async def test_a_process_that_dies_does_not_close_the_circuit(face: Face, account: Account) -> None:
    circuit = breaker(probes=1)
    changes: list[str] = []
    async with account.applied(contract=HERE) as server, face.bus(account.url, contract=HERE) as bus:
        trip(circuit)
        circuit.on_change(lambda event: changes.append(event.new))
        await put(server, "die")
        options = {"processes": 1, "concurrency": None, "retry": RetryPolicy(max_attempts=1)}
        async with working(face, bus, in_a_process, breaker=circuit, **options):
            await eventually_async(lambda: settled(server), 60)
            assert changes == ["half-open"]
            await put(server, "answered")
            await eventually_async(lambda: changes == ["half-open", "closed"], 60)


async def test_the_log_says_once_for_each_opening_why(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smith_sdk")
    circuit, dependency = breaker(), Dependency(is_up=False)
    openings = openings_of(circuit)
    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(10)))
        async with working(Face("async", account), bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: len(openings) >= 2, 30)
            dependency.is_up = True
            await eventually_async(lambda: settled(bus), 30)
    opened = [one for one in caplog.messages if "no message is pulled" in one]
    assert len(opened) == len(openings)
    assert opened[0].endswith("the last error: ConnectionRefusedError: nobody listens")
    assert len([one for one in caplog.messages if "pulling as before" in one]) == 1


async def test_observers_of_the_bus_learn_of_every_change(account: Account) -> None:
    class Seeing(Observer):
        def __init__(self) -> None:
            self.seen: list[tuple[str, str]] = []

        def on_circuit(self, event: CircuitChanged) -> None:
            self.seen.append((event.name, event.new))

    circuit, dependency, observer = breaker(), Dependency(is_up=False), Seeing()
    async with account.applied(contract=HERE) as bus:
        bus._session.events.add(observer)
        await put(bus, *map(str, range(10)))
        async with working(Face("async", account), bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: circuit.state == "open")
            dependency.is_up = True
            await eventually_async(lambda: settled(bus), 30)
    assert observer.seen[0] == ("database", "open")
    assert observer.seen[-2:] == [("database", "half-open"), ("database", "closed")]


async def test_what_ends_the_worker_does_so_while_the_circuit_is_open(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.5)
    circuit, dependency = breaker(open_for=Backoff(initial=0.3, max=0.3, jitter=0)), Dependency(is_up=False)
    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(10)))
        worker: Worker[Any, Any] = Worker(bus, SPEC, retry=THRICE, breaker=circuit)
        worker.handler(dependency.call)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: circuit.state == "open")
        await bus._session.api.call(f"CONSUMER.DELETE.ATOMS_VETTED.{SPEC.name}")
        with pytest.raises(ConsumerNotFound):
            await asyncio.wait_for(running, 20)


async def test_a_bus_that_closes_ends_a_worker_whose_circuit_is_open(account: Account) -> None:
    circuit, dependency = breaker(open_for=Backoff(initial=300, max=300, jitter=0)), Dependency(is_up=False)
    async with account.applied(contract=HERE) as bus:
        await put(bus, *map(str, range(10)))
        worker: Worker[Any, Any] = Worker(bus, SPEC, retry=THRICE, breaker=circuit)
        worker.handler(dependency.call)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: circuit.state == "open")
    await asyncio.wait_for(running, 20)


async def test_without_a_stream_of_dead_letters_every_message_is_handled_all_the_same(account: Account) -> None:
    circuit, dependency = breaker(), Dependency(is_up=False)
    openings = openings_of(circuit)
    async with account.applied(contract=HERE) as bus:
        await bus._session.api.call("STREAM.DELETE.SMITH_DLQ")
        await put(bus, *map(str, range(20)))
        async with working(Face("async", account), bus, dependency.call, breaker=circuit):
            await eventually_async(lambda: len(openings) >= 4, 60)
            dependency.is_up = True
            await eventually_async(lambda: settled(bus), 60)
    assert len(dependency.answered) == 20


async def test_a_delay_beyond_the_ack_wait_is_kept(face: Face, account: Account) -> None:
    spec = msgspec.structs.replace(SPEC, ack_wait=1.2)
    times: list[float] = []

    def handle(message: Any) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise RetryLater(1.5)

    here = declaring(spec)
    async with account.applied(contract=here) as server, face.bus(account.url, contract=here) as bus:
        await put(server, "a")
        worker = face.worker(bus, spec, retry=THRICE)
        (worker if face.is_async else worker.inner).handler(handle)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: settled(server))
        await worker.stop()
        await running
    assert len(times) == 2
    assert times[1] - times[0] >= 1.4  # the server's clock and ours
