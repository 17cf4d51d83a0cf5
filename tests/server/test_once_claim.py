"""`Worker(once=Once(...))`: what is done, or runs elsewhere, is not run."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from buses import Account, Face, health, read_intent
from handling import in_a_process
from msgspec.structs import replace
from support import eventually_async, has_length

from smith_sdk import AsyncSmithBus, Backoff, Once, Reject, RetryPolicy, Worker, consumers, result_of, subjects
from smith_sdk._core.jetstream.kv import Bucket, Entry
from smith_sdk.aio import once_by_claim
from smith_sdk.contract import ConsumerSpec
from smith_sdk.contract.topology_spec import StreamSpec
from smith_sdk.errors import OptionsError, StreamNotFound, TopologyRefused
from smith_sdk.topology import CONTRACT

READER: Final[ConsumerSpec[Any, Any]] = ConsumerSpec(
    name="reader",
    stream="SYSTEM_EVENTS",
    filters=("smith.events.health.*",),
    ack_wait=30.0,
    max_attempts=3,
    max_ack_pending=100,
    prefetch=10,
)
KEYS: Final = StreamSpec(
    name="KV_ONCE",
    subjects=("$KV.ONCE.>",),
    discard="new",
    allow_msg_ttl=True,
    max_msgs_per_subject=1,
    max_bytes=1024 * 1024,
)
HERE: Final = replace(CONTRACT, streams=(*CONTRACT.streams, KEYS), consumers=(*CONTRACT.consumers, READER))
HEALTH: Final = "smith.events.health.web"
ONCE: Final = Once(bucket="ONCE", ttl=3600, lease=60)
QUICK: Final = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01))
vetted = subjects.intents.vetted


class Reading:
    """A worker of `face` for `spec`, whose runs are counted by message id."""

    def __init__(self, face: Face, bus: Any, handle: Callable[[Any], Any] | None = None, **options: Any) -> None:
        self.runs: list[str] = []
        self._handle = handle
        self.worker = face.worker(bus, options.pop("spec", READER), **{"retry": QUICK, "once": ONCE, **options})
        (self.worker if face.is_async else self.worker.inner).handler(self.handle)

    def handle(self, message: Any) -> Any:
        """A plain function, on both faces."""
        self.runs.append(message.idempotency_key.rpartition(":")[2])
        return None if self._handle is None else self._handle(message)

    async def has(self, what: str, count: int) -> None:
        def reached() -> bool:
            found = getattr(self.worker.stats, what)
            assert found == count, self.worker.stats
            return True

        await eventually_async(reached)


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def put(bus: AsyncSmithBus, id: str) -> None:
    event = health()
    await bus.publish(subjects.events.health.of(event), event, msg_id=id)


async def key_in(bus: AsyncSmithBus) -> Entry:
    """The only key."""
    (entry,) = await Bucket(bus._session, "ONCE").list()
    return entry


def across(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    """Await in the test's loop. Handlers are in a thread on both faces."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)


def wait_for(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    across(loop, end.wait())


# ---- what is not run again


async def test_what_is_done_is_not_run_again(face: Face, account: Account) -> None:
    """Published again, with another id as well, and replayed from another worker's letters."""
    intent, spec = read_intent(), consumers.executor_fs_read
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        reading = Reading(face, own, lambda message: result_of(message.payload), spec=spec)
        async with running(reading.worker):
            for count, msg_id in enumerate((None, "another"), 1):
                await bus.publish(vetted.of(intent), intent, msg_id=msg_id)
                await reading.has("succeeded", count)
        await bus.publish(vetted.of(intent), intent, msg_id="third")
        failing = Reading(face, own, fail, once=False, retry=RetryPolicy(max_attempts=1), spec=spec, answer_failures=False)
        async with running(failing.worker):
            await failing.has("dead_lettered", 1)
        (letter,) = await bus.dead_letters.list()
        async with running(reading.worker):
            await bus.dead_letters.replay(letter.id)
            await reading.has("succeeded", 3)
        assert reading.runs == [intent.id]
        assert (await bus.streams.get("ATOMS_RESULTS")).messages == 1
        entry = await key_in(bus)
        assert entry.key.startswith(f"{spec.stream}.{spec.name}.")
        assert entry.ttl == 3600


def fail(message: Any) -> Any:
    raise ValueError("as ever")


async def test_the_longest_key_fits_into_the_smallest_messages_that_a_bucket_may_have(account: Account) -> None:
    contract = replace(HERE, streams=(*CONTRACT.streams, replace(KEYS, max_msg_size=1024)))
    async with account.applied(contract=contract) as bus:
        reading = Reading(Face("async", account), bus)
        id = "x" * (255 - len(f"{HEALTH}:"))
        async with running(reading.worker):
            await put(bus, id)
            await reading.has("succeeded", 1)
        assert reading.runs == [id]


async def test_two_consumers_with_one_bucket_run_a_message_once_each(account: Account) -> None:
    other = replace(READER, name="other")
    contract = replace(HERE, consumers=(*HERE.consumers, other))
    face = Face("async", account)
    async with account.applied(contract=contract) as bus:
        both = [Reading(face, bus), Reading(face, bus, spec=other)]
        async with running(*(one.worker for one in both)):
            await put(bus, "a")
            for one in both:
                await one.has("succeeded", 1)
        assert [one.runs for one in both] == [["a"], ["a"]]


async def test_a_failed_run_frees_its_claim_so_that_the_retry_runs_at_once(face: Face, account: Account) -> None:
    """And a dead letter's replay: the lease is a minute."""

    def handle(message: Any) -> None:
        if len(reading.runs) < 3:
            raise ValueError("not yet")
        if len(reading.runs) < 4:
            raise Reject("never")

    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        reading = Reading(face, own, handle)
        async with running(reading.worker):
            await put(bus, "a")
            await reading.has("dead_lettered", 1)
            (letter,) = await bus.dead_letters.list()
            await bus.dead_letters.replay(letter.id)
            await reading.has("succeeded", 1)
        assert reading.runs == ["a"] * 4
        assert reading.worker.stats.retried == 2


async def test_a_verdict_of_the_handler_s_own_that_asks_for_another_delivery_frees_it(account: Account) -> None:
    runs: list[int] = []
    async with account.applied(contract=HERE) as bus:
        worker: Worker[Any, Any] = Worker(bus, READER, retry=QUICK, once=ONCE)

        @worker.handler
        async def handle(message: Any) -> None:
            runs.append(message.metadata.num_delivered)
            if len(runs) == 1:
                await message.nack()

        async with running(worker):
            await put(bus, "a")
            await eventually_async(has_length(runs, 2))
        assert runs == [1, 2]
        assert b'"done"' in (await key_in(bus)).value


async def test_a_handler_in_a_process_runs_once_as_well(face: Face, account: Account) -> None:
    intent, spec = read_intent("once"), consumers.executor_fs_read
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        worker = face.worker(own, spec, processes=1, once=ONCE)
        worker.handler(in_a_process)
        async with running(worker):
            for count, msg_id in enumerate((None, "again"), 1):
                await bus.publish(vetted.of(intent), intent, msg_id=msg_id)
                await eventually_async(lambda: worker.stats.succeeded >= count)  # noqa: B023
        assert (await bus.streams.get("ATOMS_RESULTS")).messages == 1


# ---- what runs elsewhere


async def test_what_runs_elsewhere_waits_for_its_end(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is renewed meanwhile, and each wait for it is no attempt."""
    monkeypatch.setattr(once_by_claim, "_left", lambda *_: 0.2)  # it asks again soon, however long the lease is
    intent, spec = read_intent(), consumers.executor_fs_read
    once = Once(bucket="ONCE", ttl=3600, lease=4)
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    face = Face("blocking", account)
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        first = Reading(face, own, lambda message: wait_for(loop, end), spec=spec, once=once, concurrency=1)
        second = Reading(Face("async", account), bus, spec=spec, once=once, retry=RetryPolicy(max_attempts=1))
        async with running(first.worker):
            await bus.publish(vetted.of(intent), intent)
            await eventually_async(has_length(first.runs, 1))
            before = await key_in(bus)
            async with running(second.worker):
                await bus.publish(vetted.of(intent), intent, msg_id="again")
                await eventually_async(lambda: second.worker.stats.retried >= 1)
                await eventually_async(lambda: is_renewed(bus, before))
                end.set()
                await first.has("succeeded", 1)
                await second.has("succeeded", 1)
        assert (first.runs, second.runs) == ([intent.id], [])


async def is_renewed(bus: AsyncSmithBus, before: Entry) -> bool:
    now = await key_in(bus)
    return now.revision > before.revision and now.value == before.value


def foreign(**values: Any) -> bytes:
    """A value of another worker."""
    return once_by_claim._encode(once_by_claim._State(**{"state": "running", "run": "r", "owner": "o", "lease": 1.0, **values}))


async def test_the_claim_of_a_worker_that_has_died_expires(face: Face, account: Account) -> None:
    """The wait for it is no attempt."""
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        reading = Reading(face, own, retry=RetryPolicy(max_attempts=1))
        async with running(reading.worker):
            bucket = Bucket(bus._session, "ONCE")
            await bucket.put(key_of("a"), foreign(), ttl=60)
            await put(bus, "a")
            await eventually_async(lambda: reading.worker.stats.retried >= 1)
            await bucket.put(key_of("a"), foreign(), ttl=1)  # not before: it must not expire unseen
            await reading.has("succeeded", 1)
        assert reading.runs == ["a"]


def key_of(id: str) -> str:
    return f"{READER.stream}.{READER.name}.{hashlib.sha256(f'{HEALTH}:{id}'.encode()).hexdigest()}"


@pytest.mark.parametrize("value", [b"\xff", b"{}", b"[]", foreign(state="free"), foreign(lease=1e300, state="free")])
async def test_a_key_that_says_nothing_of_a_run_is_claimed(value: bytes, account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        await Bucket(bus._session, "ONCE").put(key_of("a"), value)
        reading = Reading(Face("async", account), bus)
        async with running(reading.worker):
            await put(bus, "a")
            await reading.has("succeeded", 1)
        assert reading.runs == ["a"]
        assert b'"done"' in (await key_in(bus)).value


# ---- claims that are lost


@pytest.mark.parametrize("state", ["running", "done", "expired"])
async def test_a_claim_that_was_lost_while_the_handler_ran(
    state: str, face: Face, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        bucket = Bucket(bus._session, "ONCE")

        async def lose() -> None:
            key = (await key_in(bus)).key
            if state == "expired":
                await bucket.delete(key)
            else:
                await bucket.put(key, foreign(state=state), ttl=60)

        reading = Reading(face, own, lambda message: across(loop, lose()))
        async with running(reading.worker):
            await put(bus, "a")
            await reading.has("succeeded", 1)
        assert b'"done"' in (await key_in(bus)).value
        said = {"running": "was claimed by another worker as well", "done": "this was the second run", "expired": ""}[state]
        warnings = [one.message for one in caplog.records if one.levelname == "WARNING" and one.name == "smith_sdk.worker"]
        assert [said in line for line in warnings] == ([True] if said else [])


async def test_a_claim_that_another_worker_took_is_renewed_no_more(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    end, loop = asyncio.Event(), asyncio.get_running_loop()
    async with account.applied(contract=HERE) as bus:
        reading = Reading(
            Face("async", account), bus, lambda message: wait_for(loop, end), once=Once(bucket="ONCE", ttl=60, lease=1)
        )
        async with running(reading.worker):
            await put(bus, "a")
            await eventually_async(has_length(reading.runs, 1))
            await Bucket(bus._session, "ONCE").put(key_of("a"), foreign(), ttl=60)
            await eventually_async(lambda: any("was claimed by another worker" in line for line in caplog.messages))
            assert (await key_in(bus)).value == foreign()
            end.set()
            await reading.has("succeeded", 1)


# ---- the bucket


async def test_without_its_bucket_a_message_waits_and_costs_no_attempt(face: Face, account: Account) -> None:
    attempts: list[int] = []
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        reading = Reading(face, own, lambda message: attempts.append(message.metadata.num_delivered))
        config = (await bus._session.api.stream_info("KV_ONCE"))["config"]
        async with running(reading.worker):
            await put(bus, "a")
            await reading.has("succeeded", 1)
            await bus._session.api.stream_delete("KV_ONCE")
            await put(bus, "b")
            await reading.has("running", 1)
            await bus._session.api.stream_create(config)
            await reading.has("succeeded", 2)
        assert attempts == [1, 1]


async def test_a_run_that_has_ended_is_held_until_it_can_be_recorded(account: Account) -> None:
    loop = asyncio.get_running_loop()
    async with account.applied(contract=HERE) as bus:
        config = (await bus._session.api.stream_info("KV_ONCE"))["config"]
        reading = Reading(Face("async", account), bus, lambda message: across(loop, bus._session.api.stream_delete("KV_ONCE")))
        async with running(reading.worker):
            await put(bus, "a")
            await eventually_async(has_length(reading.runs, 1))
            await eventually_async(lambda: is_gone(bus))
            await bus._session.api.stream_create(config)
            await reading.has("succeeded", 1)
        assert reading.runs == ["a"]
        assert b'"done"' in (await key_in(bus)).value


async def is_gone(bus: AsyncSmithBus) -> bool:
    return all(one.name != "KV_ONCE" for one in await bus.streams.info())


async def test_a_bucket_that_is_not_as_declared_ends_the_run(face: Face, account: Account) -> None:
    async with account.applied(contract=HERE) as bus, face.bus(account.url, contract=HERE) as own:
        await bus._session.api.stream_delete("KV_ONCE")
        with pytest.raises(StreamNotFound, match="KV_ONCE does not exist"):
            await Reading(face, own).worker.run()
        await bus._session.api.stream_create({"name": "KV_ONCE", "subjects": ["$KV.ONCE.>"]})
        with pytest.raises(TopologyRefused, match=r"KV_ONCE is not as the contract declares it.*allow_msg_ttl"):
            await Reading(face, own).worker.run()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"subjects": ("$KV.OTHER.>",)}, r"do not cover"),
        ({"allow_msg_ttl": None}, r"allow_msg_ttl = true is needed"),
        ({"discard": "old"}, r"discard = .new. is needed"),
        ({"max_age": 60.0}, r"max_age deletes keys"),
        ({"retention": "workqueue"}, r"retention = .limits. is needed"),
        ({"max_msg_size": 1023}, r"max_msg_size is below 1024 bytes"),
    ],
)
def test_a_bucket_that_is_declared_otherwise_is_refused(change: dict[str, Any], problem: str, face: Face) -> None:
    contract = replace(HERE, streams=(*CONTRACT.streams, replace(KEYS, **change)))
    with pytest.raises(OptionsError, match=rf"Worker\.once: stream KV_ONCE .*{problem}"):
        face.worker(face.bus(contract=contract), READER, once=ONCE)


def test_a_bucket_that_is_not_declared_is_refused_with_what_to_write(face: Face) -> None:
    with pytest.raises(OptionsError, match=r"declares no stream KV_ONCE; .*\[streams.KV_ONCE\] with subjects = "):
        face.worker(face.bus(), consumers.executor_fs_read, once=ONCE)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"bucket": "a.b", "ttl": 60}, r"Once\.bucket='a\.b'"),
        ({"bucket": "", "ttl": 60}, r"Once\.bucket=''"),
        ({"bucket": 3, "ttl": 60}, r"Once\.bucket=3"),
        ({"bucket": "A", "ttl": 0}, r"Once\.ttl=0"),
        ({"bucket": "A", "ttl": 60, "lease": 0.5}, r"Once\.lease=0\.5"),
        ({"bucket": "A", "ttl": 60, "lease": 61}, r"Once\.ttl=60 is below Once\.lease=61"),
        ({"bucket": "A", "ttl": "60"}, r"Once\.ttl='60'"),
    ],
)
def test_invalid_options_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(OptionsError, match=name):
        Once(**options)
