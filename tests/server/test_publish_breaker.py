"""The circuits around publishing, on both faces: a stream that does not answer is not waited for by
every publish, and stops neither other streams nor the SDK's own publishes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from buses import Face, read_intent
from support import eventually_async

from smith_sdk import (
    AsyncSmithBus,
    Backoff,
    CircuitBreaker,
    Message,
    PubAck,
    RetryPolicy,
    SmithBus,
    consumers,
    result_of,
    subjects,
)
from smith_sdk._core.connection.headers import MSG_ID
from smith_sdk._core.events import CircuitChanged, Observer, Published
from smith_sdk.errors import (
    CircuitOpen,
    OptionsError,
    PublishCircuitOpen,
    PublishError,
    PublishManyError,
    PublishUnconfirmed,
    StreamNotFound,
)
from smith_sdk.protocol import FsReadV1Intent, IntentResult
from smith_sdk.topology import CONTRACT

raw, vetted = subjects.intents.raw, subjects.intents.vetted
MINIMUM: Final = 5
HOUR: Final = Backoff(initial=3600, max=3600, jitter=0)
ONCE: Final = RetryPolicy(max_attempts=1, backoff=Backoff(initial=0.05, max=0.05, jitter=0))


def applied(face: Face, **options: Any) -> Any:
    return face.bus(
        face.url,
        **{
            "manage": "apply",
            "profile": "dev",
            "publish_breaker": CircuitBreaker(minimum=MINIMUM, open_for=HOUR),
            **options,
        },
    )


@contextlib.asynccontextmanager
async def silent(url: str, stream: str) -> AsyncIterator[list[str]]:
    """Have publishes to `stream` arrive where nothing answers them. Yields the ids of those."""
    received: list[str] = []
    async with AsyncSmithBus(url) as bus:
        await bus._session.api.stream_delete(stream)
        patterns = next(spec.subjects for spec in CONTRACT.streams if spec.name == stream)
        taking = [
            await bus._session.connection.subscribe(
                one, lambda message: received.append((message.headers or {})[MSG_ID]), lambda error: None
            )
            for one in patterns
        ]
        await bus._session.connection.barrier(timeout=10)
        yield received
        for subscription in taking:
            await subscription.unsubscribe()
        await bus.streams.apply(profile="dev")


async def publish(bus: Any, **options: Any) -> Any:
    intent = read_intent()
    return await bus.publish(raw.of(intent), intent, **{"timeout": 30, **options})


async def publish_each(bus: Any, count: int, **options: Any) -> list[Any]:
    return await asyncio.gather(*(publish(bus, **options) for _ in range(count)), return_exceptions=True)


async def opened(bus: Any, received: list[str]) -> None:
    """Publish to a stream that does not answer until its circuit opens, and all have arrived."""
    found = await publish_each(bus, MINIMUM, timeout=0.2)
    assert {type(one) for one in found} == {PublishUnconfirmed}
    await eventually_async(lambda: len({*received}) == MINIMUM)
    with pytest.raises(PublishCircuitOpen):
        await publish(bus)


async def test_publishes_fail_at_once_while_the_circuit_of_their_stream_is_open(face: Face) -> None:
    async with applied(face) as bus, silent(face.url, "SDLC_RAW") as received:
        await opened(bus, received)
        intent = read_intent()
        with pytest.raises(PublishError, match="was not sent to stream SDLC_RAW: circuit 'publish SDLC_RAW' is open") as caught:
            await bus.publish(raw.of(intent), intent, timeout=3600)
        error = caught.value
        assert isinstance(error, CircuitOpen)
        assert isinstance(error, PublishCircuitOpen)
        assert (error.name, error.stream, error.subject) == ("publish SDLC_RAW", "SDLC_RAW", str(raw.of(intent)))
        assert error.msg_id
        assert 0 < error.retry_after <= 3600
        with pytest.raises(PublishManyError) as several:
            await bus.publish_many([raw.of(intent).envelope(intent)] * 200, timeout=3600)
        assert {type(one) for one in several.value.outcomes} == {PublishCircuitOpen}
        with pytest.raises(PublishCircuitOpen):
            await (await bus.submit(raw.of(intent), intent, timeout=3600))
        with pytest.raises(PublishCircuitOpen):
            await bus.execute(intent, timeout=3600)


async def test_a_stream_that_does_not_answer_stops_no_other(face: Face) -> None:
    async with applied(face) as bus, silent(face.url, "SDLC_RAW") as received:
        await opened(bus, received)
        intent = read_intent()
        for _ in range(20):
            assert (await bus.publish(vetted.of(intent), intent, timeout=30)).stream == "ATOMS_VETTED"


def end_pause(bus: Any) -> None:
    """As after a new link."""
    circuits = (bus if isinstance(bus, AsyncSmithBus) else bus.inner._aio)._session.circuits
    assert circuits is not None
    circuits.on_reconnect()


async def test_after_the_pause_real_publishes_are_the_probes_and_close_it(face: Face) -> None:
    breaker = CircuitBreaker(minimum=MINIMUM, open_for=HOUR, probes=2)
    async with applied(face, publish_breaker=breaker) as bus:
        async with silent(face.url, "SDLC_RAW") as received:
            await opened(bus, received)
            for _ in range(2):
                before = len({*received})
                end_pause(bus)
                found = await publish_each(bus, 20, timeout=0.2)
                assert {type(one) for one in found} == {PublishUnconfirmed, PublishCircuitOpen}
                sent = sum(type(one) is PublishUnconfirmed for one in found)
                assert 1 <= sent <= 2
                await eventually_async(lambda: len({*received}) == before + sent)  # noqa: B023 -- awaited at once
        end_pause(bus)

        async def closed() -> bool:
            found = await publish_each(bus, 20)
            assert {type(one) for one in found} <= {PubAck, PublishCircuitOpen}
            return {type(one) for one in found} == {PubAck}

        await eventually_async(closed)
        assert breaker.state == "closed", "it is a template: no publish goes through it"


@pytest.mark.parametrize("subject", [raw, vetted], ids=["work_queue", "interest"])
async def test_a_new_link_ends_the_pause(face: Face, make_server: Any, subject: Any) -> None:
    """Also to a stream whose consumers have to be asked for before."""
    server = make_server()
    breaker = CircuitBreaker(minimum=MINIMUM, open_for=HOUR)
    async with face.bus(server.url, manage="apply", profile="dev", publish_breaker=breaker) as bus:

        async def send(timeout: float) -> Any:
            intent = read_intent()
            return await bus.publish(subject.of(intent), intent, timeout=timeout)

        server.kill()
        found = await asyncio.gather(*(send(0.2) for _ in range(MINIMUM)), return_exceptions=True)
        assert {type(one) for one in found} == {PublishUnconfirmed}
        with pytest.raises(PublishCircuitOpen):
            await send(3600)
        await asyncio.to_thread(server.start)

        async def sent() -> bool:
            with contextlib.suppress(PublishCircuitOpen):
                return bool(await send(30))
            return False

        await eventually_async(sent, timeout=30)


async def test_what_a_stream_answers_never_opens_its_circuit(face: Face) -> None:
    async with applied(face, publish_breaker=CircuitBreaker(minimum=2, open_for=HOUR)) as bus:
        async with AsyncSmithBus(face.url) as other:
            await other._session.api.stream_delete("SDLC_RAW")
        for _ in range(2):
            found = await publish_each(bus, 10, timeout=30)
            assert {type(one) for one in found} == {StreamNotFound}


async def test_a_publish_that_its_caller_cancels_gives_the_probe_s_place_back(face: Face) -> None:
    if not face.is_async:
        pytest.skip("a call of the blocking face cannot be cancelled")
    breaker = CircuitBreaker(minimum=MINIMUM, open_for=HOUR, probes=1)
    async with applied(face, publish_breaker=breaker) as bus, silent(face.url, "SDLC_RAW") as received:
        await opened(bus, received)
        end_pause(bus)

        async def cancelled() -> bool:
            before = len({*received})
            task = asyncio.ensure_future(publish(bus, timeout=600))
            await eventually_async(lambda: task.done() or len({*received}) > before)
            if task.done():
                assert isinstance(task.exception(), PublishCircuitOpen)
                return False
            task.cancel()
            await asyncio.wait({task})
            return True

        for _ in range(2):
            await eventually_async(cancelled)


async def test_without_a_breaker_every_publish_waits(face: Face) -> None:
    async with applied(face, publish_breaker=None) as bus, silent(face.url, "SDLC_RAW"):
        for _ in range(2):
            found = await publish_each(bus, 30, timeout=0.1)
            assert {type(one) for one in found} == {PublishUnconfirmed}


async def test_the_default_has_the_defaults_and_an_invalid_one_is_refused(face: Face) -> None:
    async with face.applied() as bus, silent(face.url, "SDLC_RAW"):
        assert {type(one) for one in await publish_each(bus, 19, timeout=0.1)} == {PublishUnconfirmed}
        with pytest.raises(PublishUnconfirmed):
            await publish(bus, timeout=0.1)
        with pytest.raises(PublishCircuitOpen) as caught:
            await publish(bus)
        assert caught.value.retry_after <= 5
    for kind in (AsyncSmithBus, SmithBus):
        with pytest.raises(OptionsError, match=r"publish_breaker=5: must be a CircuitBreaker, or None"):
            kind(publish_breaker=5)  # type: ignore[arg-type]


async def test_a_bus_that_is_opened_again_begins_anew(face: Face) -> None:
    bus = applied(face)
    async with bus, silent(face.url, "SDLC_RAW") as received:
        await opened(bus, received)
    async with bus:
        assert (await publish(bus, timeout=30)).stream == "SDLC_RAW"


async def test_observers_learn_of_changes_and_of_refused_publishes(face: Face) -> None:
    changes, ended = list[CircuitChanged](), list[Published]()

    class Recorder(Observer):
        def on_circuit(self, event: CircuitChanged) -> None:
            changes.append(event)

        def on_published(self, event: Published) -> None:
            ended.append(event)

    async with applied(face) as bus, silent(face.url, "SDLC_RAW") as received:
        aio = bus if face.is_async else bus.inner._aio
        aio._session.events.add(Recorder())
        await opened(bus, received)
        assert [(one.name, one.old, one.new) for one in changes] == [("publish SDLC_RAW", "closed", "open")]
        assert changes[0].reason == "5 of 5 calls within 30 s failed"
        assert [type(one.error) for one in ended] == [PublishUnconfirmed] * 5 + [PublishCircuitOpen]


# ---- workers


async def test_what_a_handler_returns_is_published_although_the_circuit_is_open(face: Face) -> None:
    """A result that failed at once would only have its handler run again."""
    async with applied(face) as bus:
        async with silent(face.url, "ATOMS_RESULTS"):
            intent = read_intent()
            outcome = result_of(intent)
            where = subjects.results.of(outcome)
            calls = (bus.publish(where, outcome, msg_id=str(number), timeout=0.2) for number in range(MINIMUM))
            await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(PublishCircuitOpen):
            await bus.publish(where, outcome)
        worker = face.worker(bus, consumers.executor_fs_read, retry=ONCE)

        def handle(message: Message[FsReadV1Intent]) -> IntentResult:
            return result_of(message.payload)

        worker.handler(handle)
        running = asyncio.ensure_future(worker.run())
        await bus.publish(vetted.of(intent), intent, timeout=30)
        await eventually_async(lambda: worker.stats.succeeded == 1)
        await worker.stop()
        await running
        assert worker.stats.unanswered == 0
        assert await bus.dead_letters.count() == 0
        with pytest.raises(PublishCircuitOpen):
            await bus.publish(where, outcome)


async def test_a_handler_that_an_open_circuit_stops_is_retried_and_never_dead_lettered(face: Face) -> None:
    breaker = CircuitBreaker(minimum=MINIMUM, open_for=HOUR, probes=1, window=600)
    async with applied(face, publish_breaker=breaker) as bus:
        errors: list[BaseException] = []
        worker = face.worker(bus, consumers.executor_fs_read, retry=ONCE)

        async def handle(message: Message[FsReadV1Intent]) -> None:
            with noted(errors):
                await bus.publish(raw.of(message.payload), message.payload, timeout=30)

        def handle_blocking(message: Message[FsReadV1Intent]) -> None:
            with noted(errors):
                bus.inner.publish(raw.of(message.payload), message.payload, timeout=30)

        worker.handler(handle if face.is_async else handle_blocking)
        async with silent(face.url, "SDLC_RAW") as received:
            await opened(bus, received)
            end_pause(bus)
            probe = await held_probe(bus, received)
            running = asyncio.ensure_future(worker.run())
            intent = read_intent()
            await bus.publish(vetted.of(intent), intent, timeout=30)
            await eventually_async(lambda: len(errors) >= 2, timeout=30)
        assert (await probe).stream == "SDLC_RAW"
        await eventually_async(lambda: worker.stats.succeeded == 1, timeout=30)
        await worker.stop()
        await running
        assert {type(one) for one in errors} == {PublishCircuitOpen}
        assert await bus.dead_letters.count() == 0


async def held_probe(bus: Any, received: list[str]) -> asyncio.Task[Any]:
    """A probe that is sent and waits for its acknowledgement."""
    task: asyncio.Task[Any] | None = None
    before = len({*received})

    async def sent() -> bool:
        nonlocal task
        if task is None or task.done():
            task = asyncio.ensure_future(publish(bus, timeout=600))
        await asyncio.wait({task}, timeout=0.05)
        return not task.done() and len({*received}) > before

    await eventually_async(sent)
    assert task is not None
    return task


@contextlib.contextmanager
def noted(errors: list[BaseException]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        errors.append(error)
        raise
