"""Moving domains between consumers: nothing is lost, and nothing is executed twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from pressure import admitting
from support import eventually_async, eventually_equal, eventually_has
from topology_cases import bus_of, contract

from smith_sdk import AsyncSmithBus, Worker, consumers, subjects
from smith_sdk._core.domains import keys, mover
from smith_sdk._core.domains.keys import MoveRecord, encode, held_key, move_key
from smith_sdk._core.domains.mover import Mover
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET
from smith_sdk.aio import executor_check
from smith_sdk.contract import ConsumerSpec, Contract, StreamSpec
from smith_sdk.errors import ChangeRefused, ConsumerNotFound, DeadlineExceeded, InvalidToken, OptionsError, TopologyRefused
from smith_sdk.topology import CONTRACT

READ = consumers.executor_fs_read
STREAM = READ.stream
TOGETHER = CONTRACT.with_domains(READ.for_domains("eu", "us"))
APART = CONTRACT.with_domains(READ.for_domains("eu"), READ.for_domains("us"))
OLD, EU, US = "executor-fs-read--eu--us", "executor-fs-read--eu", "executor-fs-read--us"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_check, "_HELD_PAUSE", 0.1)
    monkeypatch.setattr(mover, "_POLL", 0.02)
    monkeypatch.setattr(mover, "_VIEW", 0.1)


async def names(bus: AsyncSmithBus) -> set[str]:
    """The consumers for reading files that are on the server."""
    found = await bus._session.api.consumers(STREAM)
    return {info["name"] for info in found if info["name"].startswith(READ.name)}


async def info(bus: AsyncSmithBus, name: str) -> Any:
    return await bus._session.api.consumer_info(STREAM, name)


async def put(bus: AsyncSmithBus, *domains: str) -> list[str]:
    """Publish vetted intents, as admission does."""
    intents = [read_intent(domain=domain) for domain in domains]
    for intent in intents:
        await bus.publish(subjects.intents.vetted.of(intent), intent)
    return [intent.id for intent in intents]


@contextlib.asynccontextmanager
async def working(bus: AsyncSmithBus, spec: ConsumerSpec[Any, Any], run: Callable[[Any], Any]) -> AsyncIterator[None]:
    worker = Worker(bus, spec, concurrency=4)

    @worker.handler
    async def handle(message: Any) -> None:
        await run(message)

    running = asyncio.ensure_future(worker.run())
    try:
        yield
    finally:
        await worker.stop()
        with contextlib.suppress(ConsumerNotFound):
            await running


async def test_a_domain_gets_a_consumer_of_its_own_step_by_step(face: Face, account: Account) -> None:
    async with account.applied(contract=TOGETHER) as owner, face.bus(account.url, contract=APART, profile="dev") as bus:
        planned = await bus.domains.move("eu", dry_run=True)
        assert [step.action for step in planned] == ["hold", "drain", "stop", "create", "delete", "start", "release"]
        assert await names(owner) == {OLD}, "nothing was done"
        seen: list[str] = []
        done = await bus.domains.move("eu", progress=lambda step: seen.append(step.action))
        assert [step.action for step in done] == seen == [step.action for step in planned]
        assert await names(owner) == {EU, US}
        assert {(await info(owner, name)).get("paused", False) for name in (EU, US)} == {False}
        assert await bus.domains.move("eu") == []
        assert (await bus.streams.plan()).changes == ()
        assert await Bucket(owner._session, BUCKET).list("domains.>") == []


@pytest.mark.parametrize(("before", "after", "left"), [(CONTRACT, APART, {EU, US}), (APART, CONTRACT, {READ.name})])
async def test_from_all_domains_to_some_and_back(account: Account, before: Contract, after: Contract, left: set[str]) -> None:
    async with account.applied(contract=before) as owner, AsyncSmithBus(account.url, contract=after, profile="dev") as bus:
        await bus.domains.move("us")
        assert await names(owner) == left
        (*_, last) = await bus.domains.move("us", dry_run=True) or [None]
        assert last is None


async def test_what_traffic_goes_on_meanwhile_is_executed_once(account: Account) -> None:
    """Intents for the moved domain wait at admission, others pass; none is lost or run twice."""
    ran: list[tuple[str, str]] = []

    async def run(message: Any) -> None:
        ran.append((message.payload.id, message.metadata.consumer))
        await asyncio.sleep(0.002)

    sent: list[str] = []
    stop = asyncio.Event()

    async def send(bus: AsyncSmithBus) -> None:
        while not stop.is_set():
            for domain in ("eu", "us"):
                intent = read_intent(domain=domain)
                await bus.publish(subjects.intents.raw.of(intent), intent)
                sent.append(intent.id)
            await asyncio.sleep(0.002)

    async with account.applied(contract=TOGETHER) as old, AsyncSmithBus(account.url, contract=APART, profile="dev") as new:
        (before,) = [spec for spec in TOGETHER.consumers if spec.name == OLD]
        after = [spec for spec in APART.consumers if spec.name in (EU, US)]
        async with admitting(old), working(old, before, run):
            sending = asyncio.ensure_future(send(old))
            await eventually_async(lambda: len(ran) > 40)
            await new.domains.move("eu", timeout=60)
            moved = len(sent)
            async with working(new, after[0], run), working(new, after[1], run):
                await eventually_async(lambda: len(sent) > moved + 40)
                stop.set()
                await sending
                await eventually_async(lambda: len(ran) >= len(sent), 30)
                assert Counter(one for one, _ in ran) == Counter(sent)
        assert {consumer for _, consumer in ran} == {OLD, EU, US}


async def test_what_comes_past_the_hold_has_one_consumer_at_every_step(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that does not know of the hold, such as an admission that was halted."""
    ran: Counter[str] = Counter()
    sent: list[str] = []

    async def run(message: Any) -> None:
        ran[message.payload.id] += 1

    async with account.applied(contract=TOGETHER) as old, AsyncSmithBus(account.url, contract=APART, profile="dev") as new:

        def also(method: Any) -> Any:
            async def call(*args: Any, **kwargs: Any) -> Any:
                sent.extend(await put(old, "eu", "us"))
                found = await method(*args, **kwargs)
                sent.extend(await put(old, "eu", "us"))
                return found

            return call

        api = new._session.api
        for name in ("consumer_pause", "consumer_write", "consumer_delete"):
            monkeypatch.setattr(api, name, also(getattr(api, name)))
        (before,) = [spec for spec in TOGETHER.consumers if spec.name == OLD]
        async with working(old, before, run):
            await new.domains.move("eu", timeout=60)
        assert await names(old) == {EU, US}
        for spec in APART.consumers:
            if spec.name in (EU, US):
                async with working(new, spec, run):
                    await eventually_async(partial(_is_done, new, spec.name))
        assert len(sent) >= 12
        assert ran == Counter(sent)


async def _is_done(bus: AsyncSmithBus, name: str) -> bool:
    found = await info(bus, name)
    return not found["num_pending"] and not found["num_ack_pending"]


class Killed(BaseException):
    """In place of kill -9: nothing of the mover runs after it."""


CALLS = ("put", "claim", "consumer_pause", "consumer_write", "consumer_delete", "delete")


@pytest.mark.parametrize(("before", "after"), [(TOGETHER, APART), (APART, TOGETHER)], ids=["apart", "together"])
async def test_a_move_that_is_killed_at_any_step_is_run_again(
    account: Account, monkeypatch: pytest.MonkeyPatch, before: Contract, after: Contract
) -> None:
    """It is killed before each of its writes in turn, until one run reaches the end.

    Between two runs messages are published, and all consumers have workers.
    """
    monkeypatch.setattr(mover, "HOLD_TTL", 1.0)
    specs = {spec.name: spec for contract in (before, after) for spec in contract.consumers if spec.name.startswith(READ.name)}
    ran: Counter[str] = Counter()
    sent: list[str] = []

    async def run(message: Any) -> None:
        ran[message.payload.id] += 1

    async def is_idle(bus: AsyncSmithBus, name: str) -> bool:
        """A pause that ends by itself has ended, and nothing is left that is delivered."""
        found = await info(bus, name)
        if found.get("paused"):
            return bool(found["pause_remaining"] > 10**12)
        return not found["num_pending"] and not found["num_ack_pending"]

    async with account.applied(contract=before) as old, AsyncSmithBus(account.url, contract=after, profile="dev") as new:
        steps = 0
        for steps in range(100):
            async with contextlib.AsyncExitStack() as stack:
                for name in await names(old):
                    await stack.enter_async_context(working(new, specs[name], run))
                is_over = await _killed_after(steps, new, monkeypatch)
            async with contextlib.AsyncExitStack() as stack:
                for name in await names(old):
                    await stack.enter_async_context(working(new, specs[name], run))
                    await eventually_async(partial(is_idle, old, name))
                sent += await put(old, "eu", "us")
                for name in await names(old):
                    await eventually_async(partial(is_idle, old, name))
            if is_over:
                break
        assert steps >= 8
        assert await names(old) == {spec.name for spec in after.consumers if spec.name in specs}
        assert ran == Counter(sent)
        await eventually_has(lambda: old.streams.get(STREAM), messages=0)
        assert await Bucket(old._session, BUCKET).list("domains.moves.>") == []


async def _killed_after(steps: int, bus: AsyncSmithBus, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Move, and end before the write after that many. Whether it has reached its end."""
    left = steps

    async def nothing(*args: Any) -> None:
        raise Killed

    def counting(method: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return await method(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            owner = JetStreamApi if name.startswith("consumer_") else Bucket
            patch.setattr(owner, name, counting(getattr(owner, name)))
        patch.setattr(Mover, "_undo", nothing)
        try:
            await bus.domains.move("eu", timeout=30)
        except Killed:
            return False
        return True


async def test_two_interruptions_beyond_the_point_of_no_return_lose_nothing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run knows no old consumer any more: nothing else has what waits with a new one."""
    monkeypatch.setattr(mover, "HOLD_TTL", 1.0)
    async with account.applied(contract=TOGETHER) as old, AsyncSmithBus(account.url, contract=APART, profile="dev") as new:
        for _ in range(2):
            await _killed_before_it_resumes(US, new, monkeypatch)
        assert await names(old) == {EU, US}
        (sent,) = await put(old, "us")
        await new.domains.move("eu", timeout=30)
        (message,) = await new.consumer(_spec(APART, US)).fetch(1, timeout=20)
        assert message.payload.id == sent


async def test_an_interrupted_move_keeps_what_only_a_new_consumer_has(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is to serve more domains than the old ones together: what came for those has no other."""
    monkeypatch.setattr(mover, "HOLD_TTL", 1.0)
    async with account.applied(contract=APART) as old, AsyncSmithBus(account.url, contract=CONTRACT, profile="dev") as new:
        await _killed_before_it_deletes(new, monkeypatch)
        assert await names(old) == {EU, US, READ.name}
        (sent,) = await put(old, "asia")
        await new.domains.move("eu", timeout=30)
        assert await names(old) == {READ.name}
        (message,) = await new.consumer(READ).fetch(1, timeout=20)
        assert message.payload.id == sent
    assert "is kept for a message on smith.intents.vetted.fs.read.v1.asia" in caplog.text


def _spec(contract: Contract, name: str) -> ConsumerSpec[Any, Any]:
    return next(spec for spec in contract.consumers if spec.name == name)


async def _killed_before_it_resumes(name: str, bus: AsyncSmithBus, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = JetStreamApi.consumer_pause

    async def call(api: JetStreamApi, stream: str, consumer: str, until: str | None) -> Any:
        if consumer == name and until is None:
            raise Killed
        return await pause(api, stream, consumer, until)

    await _killed_in("consumer_pause", call, bus, monkeypatch)


async def _killed_before_it_deletes(bus: AsyncSmithBus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(*args: Any) -> Any:
        raise Killed

    await _killed_in("consumer_delete", call, bus, monkeypatch)


async def _killed_in(method: str, call: Any, bus: AsyncSmithBus, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*args: Any, **options: Any) -> None:
        pass

    with monkeypatch.context() as patch:
        patch.setattr(JetStreamApi, method, call)
        patch.setattr(Mover, "_undo", nothing)
        patch.setattr(Bucket, "delete", nothing)
        with pytest.raises(Killed):
            await bus.domains.move("eu", timeout=30)


async def test_what_another_consumer_has_yet_to_acknowledge_is_waited_for(account: Account) -> None:
    """The stream keeps it for that one, and a new consumer would get it once more."""
    (spec,) = [one for one in TOGETHER.consumers if one.name == OLD]
    shadow = msgspec.structs.replace(READ, name="shadow", domain_filters=())
    before, after = (msgspec.structs.replace(one, consumers=(*one.consumers, shadow)) for one in (TOGETHER, APART))
    async with account.applied(contract=before) as old, AsyncSmithBus(account.url, contract=after, profile="dev") as new:
        await put(old, "eu")
        for message in await old.consumer(spec).fetch(1, timeout=20):
            await message.ack_sync()
        with pytest.raises(DeadlineExceeded, match="sequence 1 of ATOMS_VETTED is stored, and not acknowledged by every"):
            await new.domains.move("eu", timeout=0.5)
        assert await names(old) == {OLD}
        for message in await old.consumer(shadow).fetch(1, timeout=20):
            await message.ack_sync()
        await new.domains.move("eu", timeout=30)
        assert [(await info(old, name))["num_pending"] for name in (EU, US)] == [0, 0]


async def test_messages_that_are_not_finished_in_time_change_nothing(face: Face, account: Account) -> None:
    async with account.applied(contract=TOGETHER) as owner, face.bus(account.url, contract=APART, profile="dev") as bus:
        await put(owner, "eu")
        with pytest.raises(DeadlineExceeded, match=f"nothing is changed: consumer {OLD} has 1 messages pending"):
            await bus.domains.move("eu", timeout=0.3)
        assert await names(owner) == {OLD}
        assert await Bucket(owner._session, BUCKET).list("domains.>") == []
        assert not (await info(owner, OLD)).get("paused")


async def test_of_two_that_move_the_same_one_waits(account: Account) -> None:
    async with account.applied(contract=TOGETHER), AsyncSmithBus(account.url, contract=APART, profile="dev") as bus:
        bucket = Bucket(bus._session, BUCKET)
        hold = keys.Hold(patterns=("a",), reason="", since="", owner="another:1")
        await bucket.put(held_key(STREAM, READ.name), encode(hold), ttl=60)
        with pytest.raises(DeadlineExceeded, match="are being moved by another:1"):
            await bus.domains.move("eu", timeout=0.1)


async def test_a_consumer_that_is_paused_is_not_moved(account: Account) -> None:
    async with account.applied(contract=TOGETHER) as owner, AsyncSmithBus(account.url, contract=APART, profile="dev") as bus:
        (spec,) = [one for one in TOGETHER.consumers if one.name == OLD]
        await owner.consumer(spec).pause(600)
        with pytest.raises(ChangeRefused, match="resume it first"):
            await bus.domains.move("eu", timeout=10)
        assert (await info(owner, OLD)).get("paused")


async def test_what_cannot_be_moved_is_refused_before_anything_is_done(face: Face, account: Account) -> None:
    only = CONTRACT.with_domains(READ.for_domains("eu"))
    async with account.applied(contract=TOGETHER) as owner, face.bus(account.url, contract=only, profile="dev") as bus:
        with pytest.raises(OptionsError, match=r"consumer .*--eu--us also receives .*\.us, and no declared consumer does"):
            await bus.domains.move("eu")
        with pytest.raises(OptionsError, match="to='executor-fs-read--us': is not a declared consumer of domain 'us'"):
            await bus.domains.move("us", to="executor-fs-read--us")
        with pytest.raises(OptionsError, match="to='x': is not a declared consumer of domain 'eu'"):
            await bus.domains.move("eu", to=["x"])
        with pytest.raises(InvalidToken):
            await bus.domains.move("a.b")
        assert await names(owner) == {OLD}


async def test_health_tells_of_a_move_that_has_not_ended(account: Account) -> None:
    async with account.applied(contract=TOGETHER) as bus:
        record = MoveRecord(stream=STREAM, consumer=READ.name, old=(OLD,), new=(EU,), since="x", owner="y")
        await Bucket(bus._session, BUCKET).put(move_key(STREAM, READ.name), encode(record))
        (check,) = [one for one in (await bus.health()).checks if one.name == "domain moves"]
        assert (check.status, "interrupted" in check.reason) == ("degraded", True)


# ---- a work queue


QUEUE = StreamSpec(name="TODO", subjects=("todo.*",), retention="workqueue", discard="new")
TODO: ConsumerSpec[Any, Any] = ConsumerSpec(
    name="todo",
    stream="TODO",
    filters=("todo.*",),
    domain_filters=("todo.{domain}",),
    ack_wait=30.0,
    max_attempts=3,
    max_ack_pending=100,
    prefetch=10,
)


async def test_on_a_work_queue_what_comes_meanwhile_waits_for_the_new_one(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses both at once, and keeps what has no consumer."""
    control = CONTRACT.stream("KV_SMITH_CONTROL")
    declared = contract(QUEUE, control, readers=(TODO,))
    split = declared.with_domains(TODO.for_domains("eu"), TODO.for_domains("us"))
    async with bus_of(account.url, declared) as (old, api), bus_of(account.url, split) as (new, _):
        await old.streams.apply(profile="one")
        sent = 0

        def also(method: Any) -> Any:
            async def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal sent
                sent += 1
                await old._session.publish("todo.eu", b"x", stream="TODO", msg_id=str(sent))
                return await method(*args, **kwargs)

            return call

        for name in ("consumer_write", "consumer_delete"):
            monkeypatch.setattr(new._session.api, name, also(getattr(new._session.api, name)))
        done = await new.domains.move("eu")
        assert [step.action for step in done] == ["hold", "drain", "stop", "delete", "create", "release"]

        async def pending() -> dict[str, int]:
            return {one["name"]: one["num_pending"] for one in await api.consumers("TODO")}

        await eventually_equal(pending, {"todo--eu": sent, "todo--us": 0})
        assert (await new.streams.plan("one")).changes == ()


async def test_a_stream_that_keeps_what_was_acknowledged_is_refused(account: Account) -> None:
    control = CONTRACT.stream("KV_SMITH_CONTROL")
    declared = contract(msgspec.structs.replace(QUEUE, retention="limits"), control, readers=(TODO,))
    async with bus_of(account.url, declared) as (old, _):
        await old.streams.apply(profile="one")
        async with bus_of(account.url, declared.with_domains(TODO.for_domains("eu"))) as (new, _):
            with pytest.raises(TopologyRefused, match="retention limits"):
                await new.domains.move("eu")
