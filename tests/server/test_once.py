"""`Worker(once=True)`: the handler of an intent that has its result is not run again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
import pytest
from buses import Account, Face, health, read_intent
from handling import in_a_process
from msgspec.structs import replace
from support import eventually_async, has_length

from smith_sdk import Allow, AsyncSmithBus, Auth, Backoff, ResultCode, RetryPolicy, Worker, consumers, result_of, subjects
from smith_sdk._core import codec
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream.delivery import IN_PROGRESS
from smith_sdk.aio.answers import put_answer
from smith_sdk.errors import OptionsError, PermissionDenied
from smith_sdk.protocol import ExecutionError, FsReadV1Intent, IntentResult
from smith_sdk.topology import CONTRACT

vetted, results = subjects.intents.vetted, subjects.results
spec: Final = consumers.executor_fs_read
QUICK: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.01, max=0.01))
RESULTS: Final = "ATOMS_RESULTS"


class Executor:
    """A worker of `face` with `once=True`, whose runs are counted by intent."""

    def __init__(self, face: Face, bus: Any, handle: Callable[[Any], Any] | None = None, **options: Any) -> None:
        self.runs: list[str] = []
        self._handle = handle
        self.worker = face.worker(bus, options.pop("spec", spec), **{"retry": QUICK, "once": True, **options})
        (self.worker if face.is_async else self.worker.inner).handler(self.handle)

    def handle(self, message: Any) -> Any:
        """A plain function, on both faces."""
        self.runs.append(message.payload.id)
        return self.result(message) if self._handle is None else self._handle(message)

    def result(self, message: Any) -> IntentResult:
        return result_of(message.payload, output=len(self.runs))

    async def succeeded(self, count: int) -> None:
        await eventually_async(lambda: self._has("succeeded", count))

    async def dead_lettered(self, count: int) -> None:
        await eventually_async(lambda: self._has("dead_lettered", count))

    def _has(self, what: str, count: int) -> bool:
        found = getattr(self.worker.stats, what)
        assert found == count, self.worker.stats
        return True


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def put(bus: Any, intent: FsReadV1Intent, **options: Any) -> None:
    await bus.publish(vetted.of(intent), intent, **options)


async def stored(bus: AsyncSmithBus) -> list[IntentResult]:
    """Every result in its stream that is one, in order."""
    found = []
    for seq in range(1, (await bus.streams.get(RESULTS)).last_seq + 1):
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode((await bus._session.api.message(RESULTS, seq)).data, type=IntentResult))
    return found


# ---- what is not run again


async def test_an_intent_runs_once_however_often_it_is_delivered(face: Face, account: Account) -> None:
    """Published again, redelivered, and replayed from the dead letters of another worker."""
    intent, other = read_intent(), read_intent()
    async with account.applied() as bus, face.bus(account.url) as own:
        executor = Executor(face, own)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
            await put(bus, intent, msg_id="again")
            await executor.succeeded(2)
        await put(bus, intent, msg_id="redelivered")
        (message,) = await bus.consumer(spec).fetch(1)
        await message.nack()
        failing = Executor(face, own, fail, once=False, retry=RetryPolicy(max_attempts=1))
        async with running(failing.worker):
            await failing.dead_lettered(1)
        (letter,) = await bus.dead_letters.list()
        async with running(executor.worker):
            await bus.dead_letters.replay(letter.id)
            await executor.succeeded(3)
            await put(bus, other)
            await executor.succeeded(4)
        assert executor.runs == [intent.id, other.id]
        assert [(one.intent_id, one.output) for one in await stored(bus)] == [(intent.id, 1), (other.id, 2)]
        assert await bus.dead_letters.count() == 0


def fail(message: Any) -> Any:
    raise ValueError("as ever")


async def test_a_result_that_says_error_ends_a_run_as_well(face: Face, account: Account) -> None:
    """Its handler has returned: only raising asks for another run."""
    intents = {status: read_intent() for status in ("error", "timeout", "killed")}
    async with account.applied() as bus, face.bus(account.url) as own:

        def handle(message: Any) -> Any:
            (status,) = [status for status, one in intents.items() if one.id == message.payload.id]
            error = ExecutionError(code="E", message="said")
            return result_of(message.payload, status=status, error=error)  # type: ignore[arg-type]

        executor = Executor(face, own, handle)
        async with running(executor.worker):
            for intent in intents.values():
                await put(bus, intent)
            await executor.succeeded(3)
            for intent in intents.values():
                await put(bus, intent, msg_id=f"again {intent.id}")
            await executor.succeeded(6)
        assert sorted(executor.runs) == sorted(one.id for one in intents.values())
        assert sorted(one.status for one in await stored(bus)) == sorted(intents)


async def test_of_two_deliveries_at_once_in_a_process_one_runs(face: Face, account: Account) -> None:
    intent = read_intent()
    started, end = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus, face.bus(account.url) as own:

        def handle(message: Any) -> Any:
            loop.call_soon_threadsafe(started.set)
            asyncio.run_coroutine_threadsafe(end.wait(), loop).result(20)
            return executor.result(message)

        executor = Executor(face, own, handle, concurrency=4)
        async with running(executor.worker):
            await put(bus, intent)
            await started.wait()
            for number in range(3):
                await put(bus, intent, msg_id=f"again {number}")
            await eventually_async(lambda: executor._has("running", 4))
            end.set()
            await executor.succeeded(4)
        assert executor.runs == [intent.id]


async def test_the_second_execute_of_an_intent_gets_the_stored_result(face: Face, account: Account) -> None:
    """After the streams have forgotten its id: it is let through, and waits for a result."""
    intent = read_intent()
    async with account.applied() as bus, face.bus(account.url) as own:
        api = bus._session.api
        for stream in ("SDLC_RAW", "ATOMS_VETTED", RESULTS):
            await api.stream_update((await api.stream_info(stream))["config"] | {"duplicate_window": 100_000_000})
        executor = Executor(face, own)
        admission = face.admission(own, policy=lambda intent: Allow(), executor_id="gate")
        async with running(admission, executor.worker):
            first = await own.execute(intent, timeout=20)

            async def let_through_again() -> bool:
                # All windows end in between: if only the first one does, the vetted intent is a
                # duplicate, and the call returns the result at its timeout.
                await asyncio.sleep(0.5)
                assert await own.execute(intent, timeout=10) == first
                return bool(executor.worker.stats.succeeded > 1)

            await eventually_async(let_through_again, 40)
        assert executor.runs == [intent.id]
        assert await stored(bus) == [first]


# ---- what is run again


async def test_an_answer_to_a_caller_is_not_the_end_of_a_run(face: Face, account: Account) -> None:
    """A replayed dead letter runs, and its result stands behind the answer."""
    intent = read_intent()
    async with account.applied() as bus, face.bus(account.url) as own:
        failing = Executor(face, own, fail, retry=RetryPolicy(max_attempts=1))
        async with running(failing.worker):
            for number in (1, 2):
                await put(bus, intent, msg_id=f"try {number}")
                await failing.dead_lettered(number)
        executor = Executor(face, own)
        async with running(executor.worker):
            for number, letter in enumerate(await bus.dead_letters.list(), 1):
                await bus.dead_letters.replay(letter.id)
                await executor.succeeded(number)
        assert (failing.runs, executor.runs) == ([intent.id] * 2, [intent.id])
        assert [one.status for one in await stored(bus)] == ["error", "error", "ok"]


@pytest.mark.parametrize("kind", ["denied", "bytes", "another's"])
async def test_what_is_no_result_of_a_run_does_not_stand_in_its_way(kind: str, account: Account) -> None:
    """Of programs that are not this SDK's."""
    intent = read_intent()
    denied = result_of(intent, status="denied", error=ExecutionError(code="NO", message="no"))
    there = {"denied": codec.encode(denied), "bytes": b"\xff", "another's": codec.encode(result_of(read_intent()))}[kind]
    async with account.applied() as bus:
        for number in (1, 2):
            where = f"smith.results.{intent.id}"
            await bus._session.publish(where, there, stream=RESULTS, msg_id=f"{where}:{intent.id}" if number == 1 else "2")
        executor = Executor(Face("async", account), bus)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
            await put(bus, intent, msg_id="again")
            await executor.succeeded(2)
        assert executor.runs == [intent.id]
        assert (await stored(bus))[-1].output == 1


async def test_a_run_counts_although_a_denial_was_stored_behind_it(account: Account) -> None:
    """By an admission that marks no answers, for a replay of the raw intent."""
    intent = read_intent()
    async with account.applied() as bus:
        executor = Executor(Face("async", account), bus)
        await bus.publish(results.of(ran := result_of(intent)), ran)
        denied = result_of(intent, status="denied", error=ExecutionError(code="NO", message="no"))
        await bus.publish(results.of(denied), denied, msg_id="denied")
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
        assert executor.runs == []


# ---- what happens while the handler runs


async def test_the_result_of_the_run_that_ended_first_stands(
    face: Face, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    intent = read_intent()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus, face.bus(account.url) as own:
        theirs = result_of(intent, output="theirs")

        def handle(message: Any) -> Any:
            across(loop, bus.publish(results.of(theirs), theirs))
            return executor.result(message)

        executor = Executor(face, own, handle)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
        assert [one.output for one in await stored(bus)] == ["theirs"]
        assert any("this was the second run" in line for line in caplog.messages)


def across(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    """Await in the test's loop. Handlers are in a thread on both faces."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)


async def test_an_answer_that_came_meanwhile_is_followed_by_the_result(account: Account) -> None:
    """Of another worker, which gave up the same intent."""
    intent = read_intent()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus:

        def handle(message: Any) -> Any:
            across(loop, put_answer(bus._session, message, intent.id, "killed", ResultCode.HANDLER_DIED, "died"))
            return executor.result(message)

        executor = Executor(Face("async", account), bus, handle)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
        assert [one.status for one in await stored(bus)] == ["killed", "ok"]


async def test_a_result_is_stored_although_what_was_there_has_expired_meanwhile(account: Account) -> None:
    intent = read_intent()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus:
        await bus._session.publish(f"smith.results.{intent.id}", b"stray", stream=RESULTS, msg_id="stray")

        def handle(message: Any) -> Any:
            across(loop, bus._session.api.stream_purge(RESULTS, {}))
            return executor.result(message)

        executor = Executor(Face("async", account), bus, handle)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.succeeded(1)
        assert (await bus.streams.get(RESULTS)).messages == 1


# ---- what a handler returns


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nothing", "returned no result: with once=True"),
        ("another's", "returned another intent's result"),
        ("an event", "returned a Envelope"),
        ("the intent", "returned a FsReadV1Intent"),
    ],
)
async def test_a_handler_without_a_result_is_not_run_again(kind: str, reason: str, face: Face, account: Account) -> None:
    intent = read_intent()
    async with account.applied() as bus, face.bus(account.url) as own:

        def handle(message: Any) -> Any:
            event = health()
            return {
                "nothing": None,
                "another's": result_of(read_intent()),
                "an event": subjects.events.health.of(event).envelope(event),
                "the intent": message.payload,
            }[kind]

        executor = Executor(face, own, handle)
        async with running(executor.worker):
            await put(bus, intent)
            await executor.dead_lettered(1)
        assert executor.runs == [intent.id]
        (letter,) = await bus.dead_letters.list()
        assert letter.error_type == "Reject"
        assert reason in letter.error
        (answer,) = await stored(bus)
        assert answer.error is not None
        assert (answer.intent_id, answer.error.code) == (intent.id, "REJECTED")


@pytest.mark.parametrize("kind", ["published", "envelope"])
async def test_a_handler_may_publish_its_result_itself(kind: str, face: Face, account: Account) -> None:
    intent = read_intent()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus, face.bus(account.url) as own:

        def handle(message: Any) -> Any:
            own_result = executor.result(message)
            if kind == "envelope":
                return results.of(own_result).envelope(own_result)
            across(loop, bus.publish(results.of(own_result), own_result))
            return None

        executor = Executor(face, own, handle)
        async with running(executor.worker):
            for msg_id in ("1", "2"):
                await put(bus, intent, msg_id=msg_id)
                await executor.succeeded(int(msg_id))
        assert executor.runs == [intent.id]
        assert len(await stored(bus)) == 1


async def test_a_verdict_of_the_handler_s_own_needs_no_result(account: Account) -> None:
    intents = {word: read_intent() for word in ("nack", "term", "ack")}
    words = {str(one.id): word for word, one in intents.items()}
    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=RetryPolicy(max_attempts=1), once=True)

        @worker.handler
        async def handle(message: Any) -> Any:
            word = words[message.payload.id]
            if word == "nack" and message.metadata.num_delivered > 1:
                return result_of(message.payload)
            await getattr(message, word)()
            return None

        async with running(worker):
            for intent in intents.values():
                await put(bus, intent)
            await eventually_async(lambda: has_codes(bus, {"nack": "", "term": "REJECTED", "ack": "REJECTED"}, words))
        (letter,) = await bus.dead_letters.list()
        assert "returned no result" in letter.error


async def has_codes(bus: AsyncSmithBus, wanted: dict[str, str], words: dict[str, str]) -> bool:
    found = {words[one.intent_id]: one.error.code if one.error else "" for one in await stored(bus)}
    assert found == wanted
    return True


async def test_a_process_runs_it_once_as_well(face: Face, account: Account) -> None:
    intent = read_intent("once")
    async with account.applied() as bus, face.bus(account.url) as own:
        worker = face.worker(own, spec, processes=1, once=True)
        worker.handler(in_a_process)
        async with running(worker):
            await put(bus, intent)
            await eventually_async(lambda: worker.stats.succeeded == 1)
            await put(bus, intent, msg_id="again")
            await eventually_async(lambda: worker.stats.succeeded == 2)
        assert [one.output["attempt"] for one in await stored(bus)] == [1]


# ---- what cannot be looked up


async def test_without_the_stream_of_results_an_intent_waits_and_costs_no_attempt(face: Face, account: Account) -> None:
    intent = read_intent()
    attempts: list[int] = []
    short = replace(spec, ack_wait=1.5)  # for the worker: the server redelivers nothing meanwhile
    async with account.applied() as bus, face.bus(account.url) as own:
        config = (await bus._session.api.stream_info(RESULTS))["config"]
        await bus._session.api.stream_delete(RESULTS)

        def handle(message: Any) -> Any:
            attempts.append(message.metadata.num_delivered)
            return executor.result(message)

        executor = Executor(face, own, handle, spec=short)
        async with running(executor.worker), renewals(bus) as kept:
            await put(bus, intent)
            await eventually_async(lambda: len(kept) > 4)  # every third of the ack wait
            assert (executor.worker.stats.running, attempts) == (1, [])
            await bus._session.api.stream_create(config)
            await executor.succeeded(1)
        assert attempts == [1]
        assert len(await stored(bus)) == 1


@contextlib.asynccontextmanager
async def renewals(bus: AsyncSmithBus) -> AsyncIterator[list[str]]:
    """Ack subjects of messages that are kept in progress meanwhile, once for each time."""
    seen: list[str] = []

    def note(message: RawMessage) -> None:
        if message.data == IN_PROGRESS:
            seen.append(message.subject)

    subscription = await bus._session.connection.subscribe("$JS.ACK.>", note)
    try:
        yield seen
    finally:
        await subscription.unsubscribe()


async def test_a_worker_that_is_stopped_meanwhile_gives_the_message_back_uncounted(face: Face, account: Account) -> None:
    intent, only = read_intent(), RetryPolicy(max_attempts=1)
    async with account.applied() as bus, face.bus(account.url) as own:
        config = (await bus._session.api.stream_info(RESULTS))["config"]
        await bus._session.api.stream_delete(RESULTS)
        executor = Executor(face, own, retry=only)
        async with running(executor.worker):
            await put(bus, intent)
            await eventually_async(lambda: executor._has("running", 1))
        assert (executor.worker.stats.retried, executor.runs) == (1, [])
        await bus._session.api.stream_create(config)
        executor = Executor(face, own, retry=only)
        async with running(executor.worker):
            await executor.succeeded(1)
        # The record of that, and nothing of an isolated attempt.
        assert (await bus.streams.get("SMITH_DLQ")).messages == 1


async def test_an_attempt_alone_of_what_has_its_result_runs_nothing(account: Account) -> None:
    """Of a message whose deliveries have all ended without a verdict."""
    intent = read_intent()
    async with account.applied() as bus:
        await bus.publish(results.of(ran := result_of(intent)), ran)
        await put(bus, intent)
        for _ in range(QUICK.max_attempts):
            (message,) = await bus.consumer(spec).fetch(1)
            await message.nack()
        executor = Executor(Face("async", account), bus)
        async with running(executor.worker):
            await executor.succeeded(1)
        assert executor.runs == []
        assert await bus.dead_letters.count() == 0


async def test_a_result_is_held_until_its_stream_is_there_again(face: Face, account: Account) -> None:
    intent = read_intent()
    loop = asyncio.get_running_loop()
    async with account.applied() as bus, face.bus(account.url) as own:
        config = (await bus._session.api.stream_info(RESULTS))["config"]

        def handle(message: Any) -> Any:
            across(loop, bus._session.api.stream_delete(RESULTS))
            return executor.result(message)

        executor = Executor(face, own, handle)
        async with running(executor.worker):
            await put(bus, intent)
            await eventually_async(has_length(executor.runs, 1))
            await eventually_async(lambda: gone(bus))
            await bus._session.api.stream_create(config)
            await executor.succeeded(1)
        assert executor.runs == [intent.id]
        assert [one.output for one in await stored(bus)] == [1]


async def gone(bus: AsyncSmithBus) -> bool:
    return all(one.name != RESULTS for one in await bus.streams.info())


async def test_a_worker_that_may_not_read_results_runs_nothing(face: Face, make_server: Callable[..., Any]) -> None:
    denied = f"$JS.API.STREAM.MSG.GET.{RESULTS}"
    server = make_server(
        config="authorization { users: [ { user: owner, password: a }, { user: w, password: b, permissions: "
        f'{{ publish: {{ deny: "{denied}" }} }} }} ] }}'
    )
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="a"), manage="apply", profile="dev") as bus:
        intent = read_intent()
        await put(bus, intent)
        async with face.bus(server.url, auth=Auth(user="w", password="b")) as own:
            executor = Executor(face, own)
            with pytest.raises(PermissionDenied) as caught:
                await asyncio.wait_for(executor.worker.run(), 20)
        assert caught.value.subject == denied
        assert executor.runs == []
        assert (await bus.streams.get("ATOMS_VETTED")).messages == 1


# ---- options


def test_once_is_for_consumers_of_intents_with_a_stream_of_results(face: Face) -> None:
    def worker(options: dict[str, Any], **of_bus: Any) -> None:
        bus = face.bus(**of_bus)
        face.worker(bus, options.pop("spec", spec), **options)

    with pytest.raises(OptionsError, match=r"http-results does not deliver intents.*once=Once\("):
        worker({"once": True, "spec": consumers.http_results})
    with pytest.raises(OptionsError, match=r"Worker.once='yes'"):
        worker({"once": "yes"})
    rest = tuple(one for one in CONTRACT.streams if one.name != RESULTS)
    kept = tuple(one for one in CONTRACT.consumers if one.stream != RESULTS)
    with pytest.raises(OptionsError, match="declares no stream ATOMS_RESULTS"):
        worker({"once": True}, contract=replace(CONTRACT, streams=rest, consumers=kept))


def test_a_handler_that_is_annotated_to_return_nothing_is_refused(face: Face) -> None:
    worker = face.worker(face.bus(), spec, once=True)

    def handle(message: Any) -> None: ...

    def handle_text(message: Any) -> Any: ...

    handle_text.__annotations__["return"] = "None"
    for one in (handle, handle_text):
        with pytest.raises(OptionsError, match=r"annotated to return None.*result_of\(message.payload"):
            worker.handler(one)
        with pytest.raises(OptionsError, match="annotated to return None"):
            worker.handler_for(FsReadV1Intent)(one)

    def unannotated(message):  # type: ignore[no-untyped-def]
        return None

    worker.handler(unannotated)
