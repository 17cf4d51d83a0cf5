"""What a worker or reader sends itself and may not: `run()`, or the next call, raises, at once."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from buses import Face, declaring, read_intent
from handling import in_a_process
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Reject, RetryPolicy, consumers, result_of, subjects
from smith_sdk._core.dead_letters import attempt_marker
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import PermissionDenied
from smith_sdk.protocol import IntentResult
from smith_sdk.testing.accounts import delete_streams

vetted = subjects.intents.vetted
spec = msgspec.structs.replace(consumers.executor_fs_read, ack_wait=1.0)
CONTRACT_HERE = declaring(spec)
ACKS = "$JS.ACK.ATOMS_VETTED.executor-fs-read.>"
DENIED = {
    "acks": "$JS.ACK.>",
    "letters": "smith.dlq.>",
    "results": "smith.results.*",
    "lookups": "$JS.API.STREAM.MSG.GET.SMITH_DLQ",
    "nothing": "nothing",
}
QUICK = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
ONCE = RetryPolicy(max_attempts=1)


_ACCOUNTS = 40


@pytest.fixture(scope="module")
def users() -> Iterator[Iterator[Callable[[str], str]]]:
    """Of each account the URLs of its users, by what they may not do."""
    password = os.urandom(8).hex()

    def account(n: int) -> str:
        denied = [
            f'{{ user: {what}-{n}, password: {password}, permissions: {{ publish: {{ deny: ["{subject}"] }} }} }}'
            for what, subject in DENIED.items()
        ]
        return f"a{n}: {{ jetstream: enabled, users: [ {', '.join(denied)} ] }}"

    with EmbeddedServer(config="\n".join(["accounts {", *map(account, range(_ACCOUNTS)), "}"])) as server:
        place = server.url.removeprefix("nats://")

        def urls(n: int) -> Callable[[str], str]:
            return lambda what: f"nats://{what}-{n}:{password}@{place}"

        yield map(urls, range(_ACCOUNTS))


@pytest.fixture
def accounts(users: Iterator[Callable[[str], str]]) -> Iterator[Callable[[str], tuple[str, str]]]:
    """`accounts("acks")`: the URLs of two users of an account: of one that may do everything, and
    of one that may do everything else."""
    url = next(users)
    yield lambda what: (url("nothing"), url(what))

    async def clean() -> None:  # the storage that streams reserve counts for the whole server
        async with AsyncSmithBus(url("nothing")) as bus:
            await delete_streams(bus._session)

    asyncio.run(clean())


class Run:
    """A worker on a bus of `url` until its `run()` ends: what that raised, and what had run."""

    def __init__(self, face: Face, url: str, **options: Any) -> None:
        self._face = face
        self._url = url
        self._options = options
        self.attempts: list[int] = []
        self.stats: Any = None
        self.error: BaseException | None = None

    async def until_over(self, outcome: Callable[[Any], Any], *, within: float = 30) -> None:
        async with self._face.bus(self._url, contract=CONTRACT_HERE) as bus:
            worker = self._face.worker(bus, spec, **{"retry": QUICK, **self._options})

            def plain(message: Any) -> Any:
                self.attempts.append(message.metadata.num_delivered)
                return outcome(message)

            async def handler(message: Any) -> Any:
                made = plain(message)
                return await made if asyncio.iscoroutine(made) else made

            # the decorator hands the function back, as itself
            (worker if self._face.is_async else worker.inner).handler(handler if self._face.is_async else plain)
            running = asyncio.ensure_future(worker.run() if self._face.is_async else asyncio.to_thread(worker.inner.run))
            await asyncio.wait({running}, timeout=within)
            if not running.done():
                await worker.stop()
            (self.error,) = await asyncio.gather(running, return_exceptions=True)
            self.stats = (worker if self._face.is_async else worker.inner).stats

    def denied(self) -> str:
        """The subject of the `PermissionDenied` that ended the run."""
        assert isinstance(self.error, PermissionDenied), repr(self.error)
        assert self.error.subject in str(self.error)
        return self.error.subject


async def put(url: str, count: int = 1) -> list[Any]:
    async with AsyncSmithBus(url, contract=CONTRACT_HERE, manage="apply", profile="dev") as bus:
        intents = [read_intent() for _ in range(count)]
        for intent in intents:
            await bus.publish(vetted.of(intent), intent)
        return intents


async def left(url: str) -> tuple[int, int]:
    """The intents that are still stored, and what is with the dead letters."""
    async with AsyncSmithBus(url, contract=CONTRACT_HERE) as bus:
        stored = {one.name: one.messages for one in await bus.streams.info()}
        return stored["ATOMS_VETTED"], stored["SMITH_DLQ"]


def reject(_: Any) -> None:
    raise Reject("not today")


def fail(_: Any) -> None:
    raise ValueError("no")


def result(message: Any) -> IntentResult:
    return result_of(message.payload)


def envelope(message: Any) -> Any:
    made = result_of(message.payload)
    return subjects.results.of(made).envelope(made)


# ---- workers


@pytest.mark.parametrize(
    ("what", "outcome", "subject"),
    [
        ("letters", reject, "smith.dlq.ATOMS_VETTED.executor-fs-read."),
        ("results", result, "smith.results."),
        ("results", reject, "smith.results."),  # the answer to the caller of an intent that fails
        ("acks", reject, ACKS),
    ],
    ids=["dead letter", "result", "failure answer", "term"],
)
async def test_a_worker_ends_when_what_it_publishes_is_forbidden(
    face: Face, accounts: Any, what: str, outcome: Callable[[Any], Any], subject: str
) -> None:
    """It logged an error, released the message, and ran its handler again 5 seconds later."""
    owner, user = accounts(what)
    await put(owner)
    run = Run(face, user)
    await run.until_over(outcome)
    assert run.denied().startswith(subject)
    assert run.attempts == [1]
    assert run.stats.succeeded == 0
    if what != "acks":  # a dead letter is copied before the original is terminated
        assert (run.stats.unanswered, run.stats.dead_lettered) == (1, 0)
        assert await left(owner) == (1, 0)


async def test_a_settled_message_is_not_said_to_be_redelivered(face: Face, accounts: Any, caplog: Any) -> None:
    """The marker of an isolated attempt could not be ended: what failed came after the verdict."""
    owner, user = accounts("lookups")
    await put(owner)
    async with AsyncSmithBus(owner, contract=CONTRACT_HERE) as bus:
        for _ in range(QUICK.max_attempts):
            (message,) = await bus.consumer(spec).fetch(1, timeout=20)
            await message.nack()
    run = Run(face, user, retry=QUICK)
    await run.until_over(lambda _: None)
    assert run.denied() == DENIED["lookups"]
    assert run.attempts == [3]
    assert (run.stats.succeeded, run.stats.unanswered) == (1, 0)
    assert await left(owner) == (0, 1)  # the marker
    assert "is not settled" not in caplog.text


@pytest.mark.parametrize("outcome", [lambda _: None, fail], ids=["ack", "nak"])
async def test_a_worker_ends_when_its_acks_are_forbidden_and_counts_none(
    face: Face, accounts: Any, outcome: Callable[[Any], Any]
) -> None:
    """Each message was handled again and again, and counted as a success each time."""
    owner, user = accounts("acks")
    await put(owner, 5)
    run = Run(face, user, concurrency=1)
    began = time.monotonic()
    await run.until_over(outcome)
    assert run.denied() == ACKS
    assert time.monotonic() - began < 20
    assert set(run.attempts) == {1}
    assert (run.stats.succeeded, run.stats.retried, run.stats.unanswered) == (0, 0, len(run.attempts))
    assert (await left(owner))[0] == 5


async def test_the_last_ack_of_a_run_is_not_missed(face: Face, accounts: Any) -> None:
    """The server refuses it a moment after it was sent, when the run would be over."""
    owner, user = accounts("acks")
    await put(owner)
    run = Run(face, user, max_messages=1)
    await run.until_over(lambda _: None)
    assert run.denied() == ACKS
    assert run.stats.succeeded == 0


async def test_a_confirmed_ack_that_is_forbidden_ends_the_run(face: Face, accounts: Any) -> None:
    owner, user = accounts("acks")
    await put(owner)
    run = Run(face, user, ack="confirmed")
    await run.until_over(lambda _: None)
    assert run.denied().startswith("$JS.ACK.ATOMS_VETTED.executor-fs-read")
    assert (run.attempts, run.stats.succeeded, run.stats.unanswered) == ([1], 0, 1)


async def test_a_worker_ends_when_it_may_not_keep_a_message_in_progress(face: Face, accounts: Any) -> None:
    """Otherwise the message would be delivered to another worker meanwhile."""
    owner, user = accounts("acks")
    await put(owner)
    run = Run(face, user)

    async def until_draining(message: Any) -> None:
        await eventually_async(lambda: message.draining)

    def until_stopped(message: Any) -> Any:
        if face.is_async:
            return until_draining(message)
        while not message.draining:
            time.sleep(0.01)
        return None

    await run.until_over(until_stopped)
    assert run.denied() == ACKS
    assert (run.attempts, run.stats.succeeded, run.stats.unanswered) == ([1], 0, 1)


@pytest.mark.parametrize(
    ("what", "outcome", "attempts", "markers"),
    [("letters", result, [], 0), ("results", result, [2], 2)],  # the marker, and that its attempt is over
    ids=["marker", "result"],
)
async def test_an_isolated_attempt_ends_the_run_like_any_other(
    face: Face, accounts: Any, what: str, outcome: Callable[[Any], Any], attempts: list[int], markers: int
) -> None:
    owner, user = accounts(what)
    await put(owner)
    async with AsyncSmithBus(owner, contract=CONTRACT_HERE) as bus:
        (message,) = await bus.consumer(spec).fetch(1)
        await message.nack()
    run = Run(face, user, retry=ONCE)
    await run.until_over(outcome)
    assert run.denied().startswith("smith.dlq." if what == "letters" else "smith.results.")
    assert run.attempts == attempts
    assert run.stats.unanswered == 1
    assert await left(owner) == (1, markers)
    if markers:  # otherwise the message would be taken for a poison message
        async with AsyncSmithBus(owner, contract=CONTRACT_HERE) as bus:
            last = await bus._session.api.last_message("SMITH_DLQ", "smith.dlq.ATOMS_VETTED.executor-fs-read.1.trial")
        assert attempt_marker.is_over(last.headers)


async def test_a_worker_with_processes_ends_as_well(face: Face, accounts: Any) -> None:
    owner, user = accounts("results")
    await put(owner)
    async with face.bus(user, contract=CONTRACT_HERE) as bus:
        worker = face.worker(bus, spec, processes=1, retry=QUICK)
        (worker if face.is_async else worker.inner).handler(in_a_process)
        with pytest.raises(PermissionDenied, match=r"smith\.results\."):
            await asyncio.wait_for(worker.run(), 40)
    assert await left(owner) == (1, 0)


async def test_a_handler_that_is_denied_has_failed_like_any_other(face: Face, accounts: Any) -> None:
    owner, user = accounts("letters")
    await put(owner)
    async with face.bus(user, contract=CONTRACT_HERE) as bus, face.bus(owner, contract=CONTRACT_HERE) as other:
        worker = face.worker(other, spec, retry=ONCE)

        async def denied(_: Any) -> None:
            raise PermissionDenied("not for you", subject="mine")

        def denied_plainly(_: Any) -> None:
            raise PermissionDenied("not for you", subject="mine")

        (worker if face.is_async else worker.inner).handler(denied if face.is_async else denied_plainly)
        running = asyncio.ensure_future(worker.run() if face.is_async else asyncio.to_thread(worker.inner.run))

        async def is_dead() -> bool:
            return len(await bus.dead_letters.list()) == 1

        await eventually_async(is_dead)
        assert not running.done()
        await worker.stop()
        await running
        assert (await bus.dead_letters.list())[0].error_type == "PermissionDenied"


# ---- readers


async def test_the_next_read_raises_when_an_ack_was_forbidden(face: Face, accounts: Any, caplog: Any) -> None:
    """An ack waits for no reply, so its refusal was known to the log alone."""
    owner, user = accounts("acks")
    await put(owner, 3)
    async with face.bus(user, contract=CONTRACT_HERE) as bus:
        consumer = bus.consumer(spec)
        (message,) = await consumer.fetch(1)
        await message.ack()
        with pytest.raises(PermissionDenied, match="allow the user to publish to") as caught:
            await consumer.fetch(3, timeout=20)
        assert caught.value.subject == ACKS
        assert "allow the user to publish to $JS.ACK.ATOMS_VETTED.executor-fs-read.>" in caplog.text
        (message,) = await fetch_one(consumer)  # it was raised, once: the permissions may have been changed
        with pytest.raises(PermissionDenied, match=r"\$JS\.ACK\.ATOMS_VETTED\.executor-fs-read"):
            await message.ack_sync()


async def fetch_one(consumer: Any) -> Any:
    found: list[Any] = []

    async def fetched() -> bool:
        try:
            found.extend(await consumer.fetch(1, timeout=2))
        except PermissionDenied:  # what the refused reader could not nak
            return False
        return bool(found)

    await eventually_async(fetched)
    return found


async def test_an_iteration_raises_when_an_ack_was_forbidden(face: Face, accounts: Any) -> None:
    owner, user = accounts("acks")
    await put(owner, 30)
    seen = 0
    async with face.bus(user, contract=CONTRACT_HERE) as bus:
        messages = bus.consumer(spec).messages()

        async def read() -> None:
            nonlocal seen
            async for message in messages:
                seen += 1
                await message.ack()
                await bus.flush()  # handling takes as long as the refusal

        with pytest.raises(PermissionDenied) as caught:
            await read()
        assert caught.value.subject == ACKS
        assert seen == 1
        await messages.stop()
