"""`Worker(rate_limit=, concurrency_key=, per_key=)`, on both faces: what has to wait costs no
attempt, stays alive, holds up no other key, and is released when the worker stops."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from handling import in_a_process
from support import eventually, eventually_async

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, Message, RateLimit, RetryPolicy, Worker, consumers, subjects, sync
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import FsReadV1Intent

vetted = subjects.intents.vetted
spec = consumers.executor_fs_read
ONCE = RetryPolicy(max_attempts=1, backoff=Backoff(initial=0.05, max=0.05, jitter=0))
TWICE = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.05, max=0.05, jitter=0))


class Gate:
    """A handler whose runs wait until the test lets them go on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: list[str] = []
        self.seen: list[tuple[str, int]] = []
        self.open = threading.Event()
        self.released: set[str] = set()

    def enter(self, path: str, attempt: int) -> None:
        with self.lock:
            self.running.append(path)
            self.seen.append((path, attempt))

    def leave(self, path: str) -> None:
        with self.lock:
            self.running.remove(path)

    def may_leave(self, path: str) -> bool:
        return self.open.is_set() or path in self.released


def path_of(message: Any) -> str:
    found: str = message.payload.params.path
    return found


def family(message: Any) -> str | None:
    """The first letter of its path; no key if it begins with a digit."""
    first = path_of(message)[0]
    return None if first.isdigit() else first


def handler_of(face: Face, gate: Gate) -> Callable[[Any], Any]:
    async def handle(message: Message[FsReadV1Intent]) -> None:
        path = path_of(message)
        gate.enter(path, message.metadata.num_delivered)
        try:
            await eventually_async(lambda: gate.may_leave(path), timeout=50)
        finally:
            gate.leave(path)

    def handle_blocking(message: Any) -> None:
        path = path_of(message)
        gate.enter(path, message.metadata.num_delivered)
        try:
            eventually(lambda: gate.may_leave(path), timeout=50)
        finally:
            gate.leave(path)

    return handle if face.is_async else handle_blocking


@contextlib.asynccontextmanager
async def working(face: Face, bus: Any, handler: Any, **options: Any) -> AsyncIterator[Any]:
    worker = face.worker(bus, options.pop("spec", spec), **{"retry": ONCE, **options})
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def put(bus: Any, *paths: str) -> None:
    for path in paths:
        intent = read_intent(path)
        await bus.publish(vetted.of(intent), intent, timeout=30)


async def all_settled(bus: Any, which: Any = spec) -> bool:
    info = await bus.consumer(which).info()
    stored = (await bus.streams.get(which.stream)).messages  # its count of what is pending may be a moment late
    return bool(stored == info.num_pending == info.num_ack_pending == 0)


# ---- by key


async def test_one_key_runs_one_at_a_time_and_holds_up_no_other(face: Face) -> None:
    gate = Gate()
    async with face.applied() as bus:
        await put(bus, *(f"a{number}" for number in range(30)), "b0", "1", "2")
        async with working(face, bus, handler_of(face, gate), concurrency=4, concurrency_key=family) as worker:
            await eventually_async(lambda: sorted(gate.running) == ["1", "2", "a0", "b0"], timeout=30)
            gate.released.update(("1", "2", "b0"))
            await eventually_async(lambda: gate.running == ["a0"], timeout=30)
            for number in range(5):
                gate.released.add(f"a{number}")
                await eventually_async(lambda: gate.running == [f"a{number + 1}"], timeout=30)  # noqa: B023 -- awaited
            gate.open.set()
            await eventually_async(lambda: worker.stats.succeeded == 33, timeout=30)
        assert [path for path, _ in gate.seen if path[0] == "a"] == [f"a{number}" for number in range(30)]
        assert {attempt for _, attempt in gate.seen} == {1}
        await eventually_async(lambda: all_settled(bus), timeout=30)


async def test_so_many_of_a_key_as_per_key_says(face: Face) -> None:
    gate = Gate()
    async with face.applied() as bus:
        await put(bus, *(f"a{number}" for number in range(8)), "b0")
        async with working(face, bus, handler_of(face, gate), concurrency=6, concurrency_key=family, per_key=3) as worker:
            await eventually_async(lambda: sorted(gate.running) == ["a0", "a1", "a2", "b0"], timeout=30)
            gate.open.set()
            await eventually_async(lambda: worker.stats.succeeded == 9, timeout=30)


async def test_what_is_held_back_outlives_the_ack_wait_and_is_released_unrun(face: Face) -> None:
    """Longer than its ack wait, and with a single attempt allowed."""
    short = msgspec.structs.replace(spec, ack_wait=3.2)  # a sign of life is due after a third of it
    gate, counts = Gate(), Counter[str]()
    async with face.applied(contract=declaring(short)) as bus:
        await put(bus, "a0", "a1", "a2")
        async with working(face, bus, handler_of(face, gate), spec=short, concurrency=2, concurrency_key=family):
            await eventually_async(lambda: gate.running == ["a0"], timeout=30)
            began = time.monotonic()
            await eventually_async(lambda: time.monotonic() - began > 3.5, timeout=30)
            gate.released.update(("a0", "a1"))
            await eventually_async(lambda: gate.running == ["a2"], timeout=30)
            await put(bus, "a3", "a4")
            assert [path for path, _ in gate.seen] == ["a0", "a1", "a2"]
            assert {attempt for _, attempt in gate.seen} == {1}
            gate.open.set()
        again = Gate()
        again.open.set()
        async with working(face, bus, handler_of(face, again), spec=short, concurrency_key=family):
            await eventually_async(lambda: all_settled(bus, short), timeout=30)
        for path, _ in (*gate.seen, *again.seen):
            counts[path] += 1
        assert counts == Counter(["a0", "a1", "a2", "a3", "a4"])
        assert await bus.dead_letters.count() == 0


async def test_a_worker_that_stops_releases_what_it_holds_back_without_an_attempt(face: Face) -> None:
    """More often than there are attempts; and a released message is run, not dead-lettered."""
    gate = Gate()
    async with face.applied() as bus:
        await put(bus, *(f"a{number}" for number in range(5)))
        for number in range(3):
            async with working(face, bus, handler_of(face, gate), concurrency=2, concurrency_key=family) as worker:
                await eventually_async(lambda: len(gate.seen) == number + 1, timeout=30)  # noqa: B023 -- awaited
                info = await bus.consumer(spec).info()
                await eventually_async(lambda: held(worker) == 4 - number, timeout=30)  # noqa: B023 -- awaited
                assert info.num_ack_pending <= 5 - number
                stopping = asyncio.ensure_future(worker.stop())
                await eventually_async(lambda: held(worker) == 0, timeout=30)
                gate.released.add(gate.seen[-1][0])
                await stopping
        gate.open.set()
        async with working(face, bus, handler_of(face, gate), concurrency=2, concurrency_key=family):
            await eventually_async(lambda: all_settled(bus), timeout=30)
        assert sorted(path for path, _ in gate.seen) == [f"a{number}" for number in range(5)]
        assert await bus.dead_letters.count() == 0


def held(worker: Any) -> int:
    """How many messages it holds back."""
    found: Any = (worker if isinstance(worker, Worker) else worker.inner).describe()["held_back"]
    return int(found)


async def test_a_key_function_that_raises_is_a_failed_attempt_and_stops_nothing(
    face: Face, caplog: pytest.LogCaptureFixture
) -> None:
    def key(message: Any) -> Any:
        match path_of(message):
            case "raises":
                raise KeyError("no such tenant")
            case "exits":
                raise SystemExit(3)
            case "list":
                return []
            case path:
                return path

    gate = Gate()
    gate.open.set()
    async with face.applied() as bus:
        await put(bus, "raises", "exits", "list", "good")
        async with working(face, bus, handler_of(face, gate), concurrency_key=key, retry=TWICE) as worker:
            await eventually_async(lambda: worker.stats.dead_lettered == 3, timeout=30)
            await eventually_async(lambda: worker.stats.succeeded == 1, timeout=30)
            assert worker.stats.retried == 3
        letters = {letter.error for letter in await bus.dead_letters.list()}
        assert letters == {
            "Worker.concurrency_key raised KeyError: 'no such tenant'",
            "Worker.concurrency_key raised SystemExit: 3",
            "Worker.concurrency_key raised TypeError: unhashable type: 'list'",
        }
        assert [path for path, _ in gate.seen] == ["good"]
        assert "attempt 1 of 2" in caplog.text


async def test_a_key_function_that_returns_an_awaitable_is_told_so(account: Account) -> None:
    async def later() -> str:
        return "a"

    async with account.applied() as bus:
        key: Any = lambda message: later()  # noqa: E731
        worker: Worker[Any, Any] = Worker(bus, spec, retry=ONCE, concurrency_key=key)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None: ...

        await put(bus, "x")
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.dead_lettered == 1, timeout=30)
        await worker.stop()
        await running
        (letter,) = await bus.dead_letters.list()
        assert letter.error == "Worker.concurrency_key raised TypeError: it returned an awaitable: a plain function is needed"


async def test_messages_that_cannot_be_decoded_have_no_key_and_are_dead_lettered(account: Account) -> None:
    async with account.applied() as bus:
        worker: Worker[Any, Any] = Worker(bus, spec, concurrency_key=family)
        seen: list[str] = []

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(path_of(message))

        intent = read_intent("a")
        for data in (b"no json", b"{}"):
            await bus._session.publish(str(vetted.of(intent)), data, stream=spec.stream, msg_id=str(data))
        await put(bus, "a1")
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.dead_lettered == 2 and seen == ["a1"], timeout=30)
        await worker.stop()
        await running


async def test_with_processes_the_keys_are_those_of_the_whole_worker(face: Face) -> None:
    async with face.applied() as bus:
        await put(bus, "a0", "a1", "b0")
        worker = face.worker(bus, spec, processes=2, concurrency_key=family, rate_limit=RateLimit(1000))
        worker.handler(in_a_process)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: worker.stats.succeeded == 3, timeout=40)
        await worker.stop()
        await running


# ---- by rate


async def test_handlers_start_no_faster_than_the_rate(face: Face) -> None:
    gate = Gate()
    gate.open.set()
    async with face.applied() as bus:
        await put(bus, *map(str, range(10)))
        began = time.monotonic()
        async with working(face, bus, handler_of(face, gate), concurrency=4, rate_limit=RateLimit(10, burst=3)) as worker:
            await eventually_async(lambda: worker.stats.succeeded == 10, timeout=30)
        assert time.monotonic() - began >= 0.69, "3 at once, and 7 at 10 a second"
        assert {attempt for _, attempt in gate.seen} == {1}


async def test_what_waits_for_the_rate_costs_no_attempt_and_is_released_at_the_end(face: Face) -> None:
    short = msgspec.structs.replace(spec, ack_wait=3.2)  # a sign of life is due after a third of it
    gate = Gate()
    gate.open.set()
    async with face.applied(contract=declaring(short)) as bus:
        await put(bus, *map(str, range(6)))
        limit = RateLimit(1, per=3.5, burst=2)
        async with working(face, bus, handler_of(face, gate), spec=short, concurrency=3, rate_limit=limit) as worker:
            await eventually_async(lambda: worker.stats.succeeded == 3, timeout=30)
            info = await bus.consumer(short).info()
            assert info.num_ack_pending <= 3, "no more than the slots are held"
        again = Gate()
        again.open.set()
        async with working(face, bus, handler_of(face, again), spec=short):
            await eventually_async(lambda: all_settled(bus, short), timeout=30)
        assert [attempt for _, attempt in gate.seen] == [1, 1, 1]
        assert sorted(path for path, _ in (*gate.seen, *again.seen)) == list("012345")
        assert await bus.dead_letters.count() == 0


async def test_a_limit_goes_with_keys_and_a_circuit(face: Face) -> None:
    gate = Gate()
    gate.open.set()
    down = [True]

    def fail(message: Any) -> None:
        if down:
            raise ConnectionError("away")
        gate.enter(path_of(message), 1)

    async def fail_async(message: Any) -> None:
        fail(message)

    breaker = CircuitBreaker(minimum=2, open_for=Backoff(initial=0.2, max=0.2, jitter=0), probes=1, count=ConnectionError)
    async with face.applied() as bus:
        await put(bus, *(f"{family}{number}" for number in range(5) for family in "abc"))
        options: dict[str, Any] = {"concurrency_key": family, "breaker": breaker, "rate_limit": RateLimit(1000), "concurrency": 4}
        async with working(face, bus, fail_async if face.is_async else fail, **options) as worker:
            await eventually_async(lambda: breaker.state != "closed", timeout=30)
            down.clear()
            await eventually_async(lambda: worker.stats.succeeded == 15, timeout=30)
        assert len({path for path, _ in gate.seen}) == 15
        assert await bus.dead_letters.count() == 0


# ---- bad input


@pytest.fixture(params=[Worker, sync.Worker])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    kind: Any = request.param
    bus: Any = AsyncSmithBus() if kind is Worker else sync.SmithBus()
    return lambda **options: kind(bus, spec, **options)


async def key_of(message: Any) -> str:
    return "a"


class Keys:
    async def __call__(self, message: Any) -> str:
        return "a"


@pytest.mark.parametrize(
    ("option", "options"),
    [
        *[("Worker.rate_limit=", {"rate_limit": one}) for one in (5, "5/s", RateLimit)],
        *[("Worker.concurrency_key=", {"concurrency_key": one}) for one in ("domain", 5, key_of, Keys())],
        *[("Worker.per_key=", {"concurrency_key": family, "per_key": one}) for one in (0, -1, 1.5, True, "1")],
        ("Worker.per_key: it goes with concurrency_key", {"per_key": 2}),
    ],
)
def test_an_invalid_option_is_named(make: Callable[..., Any], option: str, options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=option):
        make(**options)
