"""What a worker's circuit makes of a run, and of the verdict on a failed one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker, Message, Reject, RetryLater, RetryPolicy, Worker, consumers, sync
from smith_sdk.aio import worker_circuit
from smith_sdk.aio.settle import Release, Retry, Verdict, decide
from smith_sdk.aio.worker_circuit import WorkerCircuit
from smith_sdk.errors import CircuitOpen, OptionsError, PayloadTooLarge

TWICE = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.5, max=60, jitter=0))


class Clock:
    """The clock of the worker's circuit: each look is a moment later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(worker_circuit, "monotonic", self)

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Handler:
    """What a circuit runs: it raises what it is told to."""

    error: BaseException | None = None
    waits_for: asyncio.Event | None = None

    async def run(self, message: Any) -> None:
        if self.waits_for is not None:
            await self.waits_for.wait()
        if self.error is not None:
            raise self.error


class Circuit:
    """A worker's circuit around a handler, and messages that go through it."""

    def __init__(self, *, policy: RetryPolicy = TWICE, **options: Any) -> None:
        self.breaker = CircuitBreaker(**{"minimum": 1000, "count": ConnectionError, **options})
        self.handler = Handler()
        self.policy = policy
        self.inner = WorkerCircuit(self.handler, self.breaker, policy)  # type: ignore[arg-type]

    async def run(self, message: Message[Any, Any], error: BaseException | None = None) -> Verdict:
        """The verdict on a run of `message` that raises `error`, after as many attempts as it had
        deliveries."""
        self.handler.error = error
        place = message.metadata
        try:
            await self.inner.run(message)
        except BaseException as raised:
            verdict = decide(raised, place.num_delivered, self.policy, delay=0.0)
            return self.inner.judge(message, raised, verdict)
        return decide(None, place.num_delivered, self.policy)


def message(seq: int, delivery: int = 1) -> Message[Any, Any]:
    reply = f"$JS.ACK.S.c.{delivery}.{seq}.1.{seq}.0"
    return Message(SimpleNamespace(subject="s", reply=reply, data=b"", headers=None), None)  # type: ignore[arg-type]


def kind(verdict: Verdict) -> str:
    return f"{verdict.NAME}{' uncounted' if isinstance(verdict, Retry) and verdict.uncounted else ''}"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


AWAY = ConnectionRefusedError("nobody listens")


async def test_a_poison_message_has_its_attempts_and_no_more() -> None:
    circuit = Circuit()
    assert kind(await circuit.run(message(1), AWAY)) == "retry"
    assert kind(await circuit.run(message(2))) == "ack"
    assert kind(await circuit.run(message(1, 2), AWAY)) == "dead_letter"


async def test_the_last_attempt_does_not_count_before_another_run_has_returned() -> None:
    circuit = Circuit()
    await circuit.run(message(2))  # before it first failed
    for delivery, verdict in enumerate(("retry", "retry uncounted", "retry uncounted"), 1):
        assert kind(await circuit.run(message(1, delivery), AWAY)) == verdict
    await circuit.run(message(3))
    assert kind(await circuit.run(message(1, 4), AWAY)) == "dead_letter"


async def test_a_run_that_began_before_the_failure_shows_nothing() -> None:
    """The dependency may have answered at its beginning."""
    circuit = Circuit()
    circuit.handler.waits_for = goes_on = asyncio.Event()
    running = asyncio.ensure_future(circuit.inner.run(message(2)))
    await asyncio.sleep(0)
    circuit.handler.waits_for = None
    await circuit.run(message(1), AWAY)
    circuit.handler.error = None
    goes_on.set()
    await running
    assert kind(await circuit.run(message(1, 2), AWAY)) == "retry uncounted"


async def test_where_a_message_failed_before_is_not_known_its_own_run_counts_from_its_beginning() -> None:
    """Earlier attempts were made by other processes."""
    circuit = Circuit()
    await circuit.run(message(2))
    assert kind(await circuit.run(message(1, 2), AWAY)) == "retry uncounted"


async def test_uncounted_retries_are_spread_by_the_policys_backoff() -> None:
    circuit = Circuit()
    delays = []
    for delivery in range(1, 12):
        verdict = await circuit.run(message(1, delivery), AWAY)
        assert isinstance(verdict, Retry)
        delays.append(verdict.delay)
    assert delays[1:] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


async def test_no_failed_run_counts_while_the_circuit_is_not_closed() -> None:
    circuit = Circuit(minimum=1, open_for=Backoff(initial=7, max=7, jitter=0))
    verdict = await circuit.run(message(1), AWAY)
    assert isinstance(verdict, Retry)
    assert verdict.uncounted
    assert 6 < (verdict.delay or 0) <= 7  # it is there again for the probes
    late = await circuit.run(message(2, 5), AWAY)
    assert isinstance(late, Retry)
    assert isinstance(late.cause, CircuitOpen)  # it did not run
    assert late.uncounted


@pytest.mark.parametrize(
    "error", [Reject("no"), RetryLater(1), PayloadTooLarge("large", size=2, limit=1), ValueError("no"), asyncio.CancelledError()]
)
async def test_other_errors_have_the_verdict_of_any_worker(error: BaseException) -> None:
    circuit = Circuit(count=(ConnectionError, Reject, RetryLater, PayloadTooLarge), minimum=1)
    assert await circuit.run(message(1, 2), error) == decide(error, 2, TWICE)
    assert circuit.breaker.state == "closed"
    assert circuit.inner.judge(message(1, 2), AWAY, Release()) == Release()


async def test_what_the_policy_gives_up_at_once_it_gives_up() -> None:
    circuit = Circuit(policy=RetryPolicy(max_attempts=5, reject_on=(ConnectionError,)))
    assert kind(await circuit.run(message(1), AWAY)) == "dead_letter"


async def test_it_remembers_a_bounded_number_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_circuit, "_MOST", 3)
    circuit = Circuit()
    for seq in range(10):
        await circuit.run(message(seq), AWAY)
    assert len(circuit.inner._failed) == 3
    assert not circuit.inner._before


@pytest.mark.parametrize("breaker", [CircuitBreaker, "open", 1, True, {"count": OSError}])
def test_another_object_is_no_breaker(breaker: Any) -> None:
    with pytest.raises(OptionsError, match=r"Worker\.breaker="):
        Worker(AsyncSmithBus("nats://127.0.0.1:1"), consumers.executor_fs_read, breaker=breaker)
    with pytest.raises(OptionsError, match=r"Worker\.breaker="):
        sync.Worker(sync.SmithBus("nats://127.0.0.1:1"), consumers.executor_fs_read, breaker=breaker)
