"""Workers that share shards, on a real server and both faces: shares, moves, ends, and errors.

The faults of processes and servers are in tests/chaos/test_sharding.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from buses import Account, Face, episode_intent, short_pins
from handling import in_a_process
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import (
    Backoff,
    CircuitBreaker,
    RateLimit,
    Reject,
    RetryPolicy,
    ShardedWorker,
    ShardKey,
    Shards,
    Trust,
    result_of,
    subjects,
)
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.sharding import draining
from smith_sdk._core.sharding.halts import Halts
from smith_sdk._core.sharding.orders import move, set_draining
from smith_sdk._core.sharding.records import Halted, Keys, Move
from smith_sdk.errors import (
    ConsumerNotFound,
    JetStreamError,
    MemberNameTaken,
    NoFence,
    OptionsError,
    PermissionDenied,
    StreamNotFound,
    TopologyRefused,
)
from smith_sdk.signing import sign

LONG: Final = short_pins(30)
"""A contract whose shards are not taken over within a test."""
SHORT: Final = short_pins(1.5)
QUICK: Final = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01))
SHARDS: Final = [f"1-{number:02x}" for number in range(16)]
KEYS: Final = Keys("episode")


class Member:
    """A worker of `face`, whose handler calls `handle` and notes what it has handled."""

    def __init__(self, face: Face, bus: Any, contract: Any = LONG, handle: Callable[[Any], Any] | None = None, **options: Any):
        self.done: list[tuple[str, int]] = []
        self.fences: dict[str, set[int]] = {}
        self._handle = handle
        self.worker = face.sharded_worker(bus, contract.shardings[0], **{"concurrency": 4, "retry": QUICK, **options})
        self.aio: ShardedWorker[Any, Any] = self.worker if face.is_async else self.worker.inner._aio
        (self.worker if face.is_async else self.worker.inner).handler(self.handle)

    def handle(self, message: Any) -> Any:
        outcome = None if self._handle is None else self._handle(message)
        if asyncio.iscoroutine(outcome):
            return outcome
        payload = message.payload
        self.fences.setdefault(str(message.subject.shard), set()).add(message.fence)
        self.done.append((payload.metadata["episode_id"], int(payload.params.path[1:])))
        return outcome

    @property
    def shards(self) -> dict[str, Any]:
        found: Any = self.aio.describe()["shards"]
        return {shard: one for shard, one in found.items() if one["phase"] != "draining"}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Member]:
        task = asyncio.ensure_future(self.worker.run(signals=()))
        try:
            await eventually_async(lambda: self.shards or task.done(), 30)
            yield self
        finally:
            await self.worker.stop()
            await task


async def publish(bus: Any, episodes: int, numbers: range) -> None:
    for number in numbers:
        for episode in range(episodes):
            intent = episode_intent(f"ep-{episode}", f"/{number}")
            await bus.publish(subjects.intents.vetted_sharded.of(intent), intent)


async def are_shared(*members: Member) -> None:
    """Wait until each shard is with one of them, and each has its share."""

    def is_so() -> bool:
        each = [list(one.shards) for one in members]
        assert sorted(shard for one in each for shard in one) == SHARDS
        return all(len(one) in (16 // len(members), 16 // len(members) + 1) for one in each)

    await eventually_async(is_so, 30)


def in_order(members: list[Member], episodes: int, count: int) -> bool:
    """Whether every message was handled, and those of each key in order."""
    for episode in range(episodes):
        key = f"ep-{episode}"
        for one in members:
            numbers = [number for found, number in one.done if found == key]
            assert numbers == sorted(numbers)
        everywhere = sorted(number for one in members for found, number in one.done if found == key)
        assert everywhere == list(range(count)), everywhere
    return True


async def test_members_share_the_shards_and_handle_each_key_in_order(face: Face) -> None:
    async with face.applied(contract=LONG) as bus, face.applied(contract=LONG) as other:
        first, second = Member(face, bus), Member(face, other)
        await publish(bus, 9, range(4))  # keys of nine shards: one of them moves, whatever the members are called
        async with first.running():
            await eventually_async(lambda: len(first.done) == 36, 30)
            await eventually_async(lambda: {one["phase"] for one in first.shards.values()} <= {"running", "waiting"}, 30)
            async with second.running():
                await are_shared(first, second)
                await publish(bus, 9, range(4, 8))
                await eventually_async(lambda: len(first.done) + len(second.done) == 72, 30)
                assert second.done
                both = first.fences.keys() & second.fences.keys()
                assert all(max(first.fences[shard]) < min(second.fences[shard]) for shard in both)
                assert both
            await are_shared(first)  # at once: the second has given up its shards before it has left
        assert in_order([first, second], 9, 8)
        stats = first.aio.stats
        assert stats.succeeded == len(first.done)
        assert stats.running == 0


async def test_a_failing_message_holds_back_its_own_key_only(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:
        failed: list[int] = []

        def handle(message: Any) -> None:
            if message.payload.metadata["episode_id"] == "ep-0" and message.payload.params.path == "/1":
                failed.append(message.metadata.num_delivered)
                raise ValueError("not now")

        member = Member(face, bus, handle=handle)
        await publish(bus, 3, range(4))
        async with member.running():
            await eventually_async(lambda: len(member.done) == 11, 30)
        assert failed == [1, 2, 3]
        assert [number for key, number in member.done if key == "ep-0"] == [0, 2, 3]
        (letter,) = await bus.dead_letters.list()
        assert letter.consumer in {f"episode-{shard[2:]}" for shard in SHARDS}


async def test_a_process_with_a_name_restarts_without_a_move(face: Face) -> None:
    async with face.applied(contract=LONG) as bus, face.applied(contract=LONG) as other:
        first, second = Member(face, bus, member="a"), Member(face, other, member="b")
        async with first.running():
            async with second.running():
                await are_shared(first, second)
                before = set(second.shards)
                assert second.aio.member == "b"
            seen = [set(first.shards)]
            membership = first.aio._work._team
            assert membership is not None
            await eventually_async(lambda: membership.membership.view.members["b"].stopped, 30)
            async with second.running():
                seen.append(set(first.shards))
                await are_shared(first, second)
                assert set(second.shards) == before
                await publish(bus, 8, range(2))
                await eventually_async(lambda: len(first.done) + len(second.done) == 16, 30)
            assert seen == [set(SHARDS) - before] * 2


async def test_shards_are_moved_and_members_drained(face: Face, account: Account) -> None:
    async with face.applied(contract=LONG) as bus, account.applied(contract=LONG) as other:
        first, second = Member(face, bus, member="a"), Member(Face("async", account), other, member="b")
        bucket = Bucket(other._session, "SMITH_CONTROL")
        async with first.running(), second.running():
            await are_shared(first, second)
            moved = min(first.shards)
            await move(bucket, KEYS, moved, Move(member="b"))
            await eventually_async(lambda: moved in second.shards and moved not in first.shards, 30)
            await eventually_async(lambda: len(first.shards) + len(second.shards) == 16, 30)  # another one may go in its place
            assert await set_draining(bucket, KEYS, "b", True)
            await are_shared(first)
            await eventually_async(lambda: not second.aio.describe()["shards"], 30)
            assert await set_draining(bucket, KEYS, "b", False)
            await eventually_async(lambda: moved in second.shards and len(first.shards) == 8, 30)


async def test_stopping_at_once_releases_what_runs(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:
        begun, end = threading.Event(), threading.Event()

        def handle(_: Any) -> None:
            begun.set()
            end.wait(30)

        member = Member(face, bus, handle=handle)
        await publish(bus, 1, range(2))
        task = asyncio.ensure_future(member.worker.run(signals=()))
        await eventually_async(begun.is_set, 30)
        await asyncio.wait_for(member.worker.stop(now=True), 20)
        await asyncio.wait_for(task, 20)
        end.set()
        assert member.aio.stats.unanswered
        again = Member(face, bus)
        async with again.running():
            await eventually_async(lambda: again.done == [("ep-0", 0), ("ep-0", 1)], 30)


async def test_a_handler_may_stop_its_own_worker(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:
        member: Member

        def handle(_: Any) -> Any:
            if not face.is_async:
                member.worker.inner.stop()
                return None
            return member.worker.stop()

        member = Member(face, bus, handle=handle)
        await publish(bus, 1, range(1))
        await asyncio.wait_for(member.worker.run(signals=()), 30)
        assert member.aio.stats.succeeded == 1
        assert not (bus if face.is_async else bus.inner._aio)._session.parts


async def test_a_handler_process_that_dies_costs_an_attempt_and_no_order(account: Account) -> None:
    face = Face("async", account)
    async with account.applied(contract=LONG) as bus:
        worker = face.sharded_worker(
            bus, LONG.shardings[0], processes=1, retry=RetryPolicy(max_attempts=1)
        )  # each start of a process takes long
        worker.handler(in_a_process)
        intents = [episode_intent("ep", path) for path in ("/0", "die:", "/2")]
        for intent in intents:
            await bus.publish(subjects.intents.vetted_sharded.of(intent), intent)
        task = asyncio.ensure_future(worker.run(signals=()))
        found: list[str] = []

        async def results() -> bool:
            found[:] = [one.payload.intent_id async for one in bus.read(subjects.results.filter(), since=3600)]
            return len(found) == 3

        await eventually_async(results, 60, interval=0.1)
        assert found == [one.id for one in intents]  # the second one's is the answer to its caller
        await worker.stop()
        await task


async def test_options_of_a_worker_hold_for_all_shards_together(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:
        member = Member(face, bus, max_messages=5, once=True, handle=lambda message: result_of(message.payload, output=1))
        await publish(bus, 8, range(1))
        await asyncio.wait_for(member.worker.run(signals=()), 60)
        assert len(member.done) == 5
        await eventually_async(lambda: _has_results(bus, 5), 30)


async def _has_results(bus: Any, count: int) -> bool:
    return len([one async for one in bus.read(subjects.results.filter(), since=3600)]) == count


async def test_the_caller_of_a_rejected_intent_is_answered(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:

        def handle(_: Any) -> None:
            raise Reject("never")

        member = Member(face, bus, handle=handle)
        async with member.running():
            await publish(bus, 2, range(1))
            await eventually_async(lambda: member.aio.stats.dead_lettered == 2, 30)
            await eventually_async(lambda: _has_results(bus, 2), 30)


async def test_health_and_services_show_the_worker(face: Face) -> None:
    async with face.applied(contract=LONG) as bus:
        member = Member(face, bus)
        async with member.running():
            await eventually_async(lambda: len(member.shards) == 16, 30)
            report = await bus.health()
            check = next(one for one in report.checks if "worker" in one.name)
            assert check.status == "ok"

            async def answers() -> list[Any]:
                return [one for one in await bus.workers(timeout=1) if one.consumer == "episode"]

            (found,) = await eventually_async(answers, 30)
            assert (found.stream, found.slots, found.is_draining) == ("ATOMS_VETTED", 4, False)
            described = member.aio.describe()
            assert (described["sharding"], described["member"]) == ("episode", member.aio.member)


async def test_a_halted_key_waits_until_it_is_resumed(face: Face, account: Account) -> None:
    async with face.applied(contract=LONG) as bus, account.applied(contract=LONG) as other:
        bucket = Bucket(other._session, "SMITH_CONTROL")
        key = ShardKey("ep-0")
        await Halts(bucket, KEYS).halt(key, Halted(episode_id="ep-0"))
        member = Member(face, bus)
        await publish(bus, 3, range(2))
        async with member.running():
            await eventually_async(lambda: len(member.done) == 4, 30)
            assert "ep-0" not in dict(member.done)
            await Halts(bucket, KEYS).halt(ShardKey("ep-1"), Halted(episode_id="ep-1"))  # while it runs
            team = member.aio._work._team
            assert team is not None
            await eventually_async(lambda: team.halts.all == {key, ShardKey("ep-1")}, 30)
            assert await bucket.delete(KEYS.halted(key))
            await eventually_async(lambda: len(member.done) == 6, 30)
        assert in_order([member], 3, 2)


async def test_a_key_is_halted_by_its_dead_letter_also_for_the_next_owner(face: Face, account: Account) -> None:
    def handle(message: Any) -> None:
        if message.payload.metadata["episode_id"] == "ep-0" and message.payload.params.path == "/1":
            raise Reject("never")

    async with face.applied(contract=LONG) as bus, account.applied(contract=LONG) as other:
        shards = Shards(other, LONG.shardings[0])
        first = Member(face, bus, handle=handle, on_dead_letter="halt_key")
        await publish(bus, 3, range(3))
        async with first.running():
            await eventually_async(lambda: len(first.done) == 7 and first.aio.stats.dead_lettered == 1, 30)
        (halted,) = await shards.halted()
        assert (halted.episode_id, halted.why) == ("ep-0", "Reject: never")
        assert (await other.dead_letters.get(halted.dead_letter)).seq == halted.seq
        second = Member(Face("async", account), other, handle=handle)
        async with second.running():
            await publish(bus, 3, range(3, 4))
            await eventually_async(lambda: len(second.done) == 2, 30)
            assert "ep-0" not in dict(second.done)
            assert await shards.resume(ShardKey("ep-0"))
            await eventually_async(lambda: [number for key, number in second.done if key == "ep-0"] == [2, 3], 30)


async def test_workers_follow_a_change_of_the_number_of_shards(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_LOOK", 0.05)
    pinned = short_pins(8)
    contract = replace(pinned, shardings=(replace(pinned.shardings[0], reads=()),))
    async with account.applied(contract=contract) as bus, account.applied(contract=contract) as other:
        members = [Member(Face("async", account), one, contract) for one in (bus, other)]
        async with members[0].running(), members[1].running():
            await publish(bus, 6, range(3))
            change = asyncio.ensure_future(Shards(bus, contract.shardings[0]).reshard(20))
            await publish(other, 6, range(3, 8))  # its first refusals tell it of the change
            await change
            await publish(bus, 6, range(8, 10))
            await eventually_async(lambda: sum(len(one.done) for one in members) >= 60, 60)

            def are_shared_anew() -> bool:
                assert {*members[0].shards, *members[1].shards} == {f"2-{n:02x}" for n in range(20)}
                return [len(one.shards) for one in members] == [10, 10]

            await eventually_async(are_shared_anew, 30)
        assert sorted(row for one in members for row in one.done) == sorted((f"ep-{e}", n) for e in range(6) for n in range(10))
        for episode in range(6):
            for one in members:
                numbers = [number for key, number in one.done if key == f"ep-{episode}"]
                assert numbers == sorted(numbers)


# ---- what a user hears


@contextlib.asynccontextmanager
async def failing(member: Member, error: type[Exception], match: str) -> AsyncIterator[None]:
    task = asyncio.ensure_future(member.worker.run(signals=()))
    yield
    with pytest.raises(error, match=match):
        await asyncio.wait_for(task, 60)
    await eventually_async(lambda: not member.aio.describe()["shards"])


async def test_a_name_that_is_taken_ends_the_run(face: Face) -> None:
    contract = short_pins(4)  # the name is renewed after a third of that, and free after two thirds without
    async with (
        face.applied(contract=contract) as bus,
        face.applied(contract=contract) as other,
        Member(face, bus, contract, member="a").running(),
        failing(Member(face, other, contract, member="a"), MemberNameTaken, "another process is member a"),
    ):
        pass


async def test_a_durable_or_the_bucket_that_is_missing_is_named(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.consumer.GRACE", 0.5)
    async with face.applied(contract=LONG) as bus:
        session = (bus if face.is_async else bus.inner._aio)._session
        api = session.api
        call = (lambda one: one) if face.is_async else (lambda one: asyncio.wrap_future(_in(bus, one)))
        await call(api.consumer_delete("ATOMS_VETTED", "episode-07"))
        async with failing(Member(face, bus), ConsumerNotFound, "episode-07"):
            pass
        await call(api.stream_delete("KV_SMITH_CONTROL"))
        async with failing(Member(face, bus), StreamNotFound, "KV_SMITH_CONTROL.*smith streams apply"):
            pass


def _in(bus: Any, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, bus.inner._aio._session.loop)


async def test_a_pull_that_is_forbidden_for_one_shard_ends_the_run(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied(contract=LONG) as bus:
        member = Member(Face("async", account), bus)
        async with failing(member, PermissionDenied, "episode-03"):
            await eventually_async(lambda: len(member.shards) == 16, 30)
            bus._session.connection.notify_refused("$JS.API.CONSUMER.MSG.NEXT.ATOMS_VETTED.episode-03")


async def test_a_server_below_2_11_is_refused(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied(contract=LONG) as bus:

        async def old() -> dict[str, Any]:
            return {"api": {"level": 0}}

        async def refused(_: Any) -> None:
            raise TopologyRefused("its keys do not expire", stream="KV_SMITH_CONTROL")

        monkeypatch.setattr(bus._session.api, "account", old)
        monkeypatch.setattr(Bucket, "require", refused)
        async with failing(Member(Face("async", account), bus), JetStreamError, r"sharing the shards.*2\.11"):
            pass


async def test_work_goes_on_without_the_bucket(account: Account) -> None:
    async with account.applied(contract=SHORT) as bus:
        member = Member(Face("async", account), bus, SHORT)
        async with member.running():
            await publish(bus, 4, range(1))
            await eventually_async(lambda: len(member.done) == 4, 30)
            await bus._session.api.stream_delete("KV_SMITH_CONTROL")
            await eventually_async(lambda: member.aio.describe()["is_frozen"], 30)
            await publish(bus, 4, range(1, 3))
            await eventually_async(lambda: len(set(member.done)) == 12 and sorted(member.shards) == SHARDS, 30)


async def test_without_the_bucket_a_shard_is_taken_over_without_a_fence(account: Account) -> None:
    async with account.applied(contract=SHORT) as bus:
        without: list[str] = []

        def handle(message: Any) -> None:
            try:
                _ = message.fence
            except NoFence as error:
                without.append(str(error))
                message._fence = 1  # for the rest of the handler

        member = Member(Face("async", account), bus, SHORT, handle=handle)
        async with member.running():
            await eventually_async(lambda: len(member.shards) == 16, 30)
            await bus._session.api.stream_delete("KV_SMITH_CONTROL")
            await publish(bus, 1, range(1))  # the first message of the shard begins its first epoch
            await eventually_async(lambda: len(member.done) == 1, 60)
        assert "bucket could not be reached" in without[0]


async def test_a_handler_that_needs_a_fence_waits_for_the_bucket(account: Account) -> None:
    async with account.applied(contract=SHORT) as bus:
        fences: list[int] = []
        attempts: list[int] = []

        def handle(message: Any) -> None:
            attempts.append(message.metadata.num_delivered)
            fences.append(message.fence)

        once = RetryPolicy(max_attempts=1)
        member = Member(Face("async", account), bus, SHORT, handle=handle, retry=once)
        async with member.running():
            await eventually_async(lambda: len(member.shards) == 16, 30)
            await bus._session.api.stream_delete("KV_SMITH_CONTROL")
            await publish(bus, 1, range(1))
            await eventually_async(lambda: len(attempts) >= 2, 60)  # retried, without a fence
            assert fences == []
            await bus.streams.apply(profile="dev")
            await eventually_async(lambda: len(member.done) == 1, 60)
            assert fences[0] > 0
            assert member.aio.stats.dead_lettered == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"concurrency": 2, "processes": 2}, "ShardedWorker: each process runs one handler"),
        ({"concurrency": 0}, r"ShardedWorker\.concurrency"),
        ({"member": "a.b"}, r"ShardedWorker\.member"),
        ({"on_dead_letter": "stop"}, r"ShardedWorker\.on_dead_letter"),
        ({"ack": "never"}, r"ShardedWorker\.ack"),
        ({"retry": 3}, r"ShardedWorker\.retry"),
        ({"rate_limit": 3}, r"ShardedWorker\.rate_limit"),
        ({"once": 3}, r"ShardedWorker\.once"),
        ({"answer_failures": 3}, r"ShardedWorker\.answer_failures"),
        ({"max_messages": 0}, r"ShardedWorker\.max_messages"),
    ],
)
async def test_options_that_cannot_work_are_refused(face: Face, options: dict[str, Any], match: str) -> None:
    bus = face.bus("nats://127.0.0.1:1")
    with pytest.raises(OptionsError, match=match):
        face.sharded_worker(bus, LONG.shardings[0], **options)
    with pytest.raises(OptionsError, match="is not a sharding"):
        face.sharded_worker(bus, "episode")


class Held:
    """Async handlers that end when they are let go, of all shards together."""

    def __init__(self, account: Account, bus: Any, **options: Any) -> None:
        self.running = 0
        self.most = 0
        self.ends = asyncio.Event()
        self.member = Member(Face("async", account), bus, handle=self._handle, **options)

    async def _handle(self, _: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.ends.wait()
        self.running -= 1


async def test_concurrency_is_that_of_all_shards_and_can_be_lowered(account: Account) -> None:
    async with account.applied(contract=LONG) as bus:
        held = Held(account, bus, concurrency=3)
        await publish(bus, 8, range(1))
        async with held.member.running():
            work = held.member.aio._work
            await eventually_async(lambda: held.running == 3, 30)
            gauges = work.gauges()
            assert (gauges.slots, gauges.running, gauges.is_started) == (3, 3, True)
            await work.slow_down("rule", 1, None)
            held.ends.set()
            await eventually_async(lambda: work.stats.succeeded == 8, 30)
            assert held.most == 3
            assert work.concurrency == 1
            await work.speed_up("rule")
            assert work.concurrency == 3


async def test_handlers_start_no_faster_than_the_rate(account: Account) -> None:
    async with account.applied(contract=LONG) as bus:
        member = Member(Face("async", account), bus, rate_limit=RateLimit(2, per=30))
        await publish(bus, 4, range(1))
        async with member.running():
            await eventually_async(lambda: len(member.done) == 2, 30)
            await eventually_async(lambda: member.aio.stats.running == 2, 30)
        assert len(member.done) == 2  # the others wait for a token no longer, and use up no attempt
        again = Member(Face("async", account), bus)
        async with again.running():
            await eventually_async(lambda: len(again.done) == 2, 30)


async def test_a_circuit_that_opens_stops_all_shards(account: Account) -> None:
    async with account.applied(contract=LONG) as bus:
        is_away = [True]

        def handle(_: Any) -> None:
            if is_away[0]:
                raise ConnectionError("away")

        breaker = CircuitBreaker(count=ConnectionError, minimum=2, open_for=Backoff(initial=0.3, max=0.3, jitter=0))
        member = Member(Face("async", account), bus, handle=handle, breaker=breaker)
        await publish(bus, 6, range(2))
        async with member.running():
            await eventually_async(lambda: breaker.state != "closed", 30)
            assert member.aio.describe()["circuit"]
            is_away[0] = False
            await eventually_async(lambda: len(member.done) == 12, 60)
        assert in_order([member], 6, 2)
        assert await bus.dead_letters.count() == 0


async def test_unsigned_intents_are_refused(account: Account) -> None:
    async with account.applied(contract=LONG) as bus:
        signed = sign(episode_intent("ep-0", "/1"), bytes(range(32)))
        member = Member(Face("async", account), bus, trust=Trust(keys=[signed.signer]))
        await publish(bus, 1, range(1))
        await bus.publish(subjects.intents.vetted_sharded.of(signed), signed)
        async with member.running():
            await eventually_async(lambda: member.done == [("ep-0", 1)], 30)
            assert member.aio.stats.dead_lettered == 1
