"""The slots of one shard on a real server: order within keys, retries, takeovers, lost leases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
import pytest
from buses import Account
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Message, Reject, RetryLater, RetryPolicy, sharding, subjects
from smith_sdk._core.execution.gate import Gate
from smith_sdk._core.execution.stopping import Stopping
from smith_sdk._core.jetstream.pin import Pin
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk.aio.consumer import pull_loop
from smith_sdk.aio.handlers import Handlers
from smith_sdk.aio.shard_runners import SharedRunner
from smith_sdk.aio.shard_slots import ShardSlots
from smith_sdk.contract import Shard, ShardKey
from smith_sdk.errors import DeadlineExceeded, ShardLost
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params

SHARD: Final = Shard(0)
T: Final = 2.0
"""Seconds of the pin and of the ack wait, where a test waits for them."""
LONG: Final = 60.0
"""Where none does: however slow the machine, the pin is renewed in time."""
KEYS: Final = [key for key in (f"ep-{n}" for n in range(400)) if sharding.episode.layout.shard(ShardKey(key)) == SHARD][:4]

Handle = Callable[[Message[Any, Any]], Awaitable[Any]]


def intent(key: str, path: str) -> FsReadV1Intent:
    made = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path=path))
    return msgspec.structs.replace(made, metadata={"episode_id": key})


async def put(bus: AsyncSmithBus, *keys: str, after: int = 0) -> None:
    """Publish a message for each; its path counts those of its key, from `after` + 1."""
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, after) + 1
        one = intent(key, f"/{key}/{counts[key]}")
        await bus.publish(subjects.intents.vetted_sharded.of(one), one)


class Owner:
    """A process that owns the shard, or waits to."""

    def __init__(
        self,
        bus: AsyncSmithBus,
        handle: Handle,
        *,
        timeout: float = LONG,
        concurrency: int = 4,
        max_ack_pending: int = 256,
        **options: Any,
    ) -> None:
        session = bus._session
        self.bus = bus
        self.ran: list[tuple[str, int]] = []
        self.timeout = timeout
        self.spec = msgspec.structs.replace(
            sharding.episode.consumer(SHARD), ack_wait=timeout, priority_timeout=timeout, max_ack_pending=max_ack_pending
        )
        self.handlers = Handlers(
            self.spec.name, session.contract, self.spec, slots=concurrency, processes=False, timeout=None, middleware=()
        )

        async def run(message: Message[Any, Any]) -> Any:
            self.ran.append((str(message.payload.metadata["episode_id"]), int(message.payload.params.path.rsplit("/", 1)[1])))
            return await handle(message)

        self.handlers.add(run, None)
        policy = options.pop("policy", RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.05, max=0.05)))
        self.gate = Gate(concurrency)
        self.epochs: list[int] = []

        async def on_barrier(epoch: int) -> int:
            self.epochs.append(epoch)
            return 7

        options.setdefault("on_barrier", on_barrier)
        self.shard = ShardSlots(
            session,
            self.spec,
            SharedRunner(self.handlers, lambda: False),
            policy,
            gate=self.gate,
            key_of=sharding.episode.key_of,
            make_loop=self.make_loop,
            **options,
        )
        self.stopping = Stopping()

    def make_loop(self, capacity: int, lookahead: int) -> PullLoop:
        pin = Pin("owner", timeout=self.timeout)
        return pull_loop(
            self.bus._session, self.spec, capacity, lookahead=lookahead, expires=self.timeout / 3, refill="each", group=pin
        )

    async def __aenter__(self) -> Owner:
        api = self.bus._session.api
        config = dict((await api.consumer_info(self.spec.stream, self.spec.name))["config"])
        nanos = int(self.timeout * 1e9)
        await api.consumer_write(self.spec.stream, config | {"ack_wait": nanos, "priority_timeout": nanos}, "update")
        self.task = asyncio.ensure_future(self.shard.run(self.stopping))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Stop, and have the next one pinned."""
        loop = self.shard.loop
        self.stopping.request()
        if self.task.cancelled():
            return
        await self.task
        if loop is not None:
            await loop.unpin()

    async def crash(self) -> None:
        """End as a process that is killed: nothing is sent any more."""
        loop = self.shard.loop
        assert loop is not None
        assert loop.pin is not None
        loop.pin._proved, loop.pin._holds = None, False
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    @property
    def done(self) -> int:
        return self.shard.stats.succeeded


async def nothing(message: Message[Any, Any]) -> None:
    pass


@contextlib.asynccontextmanager
async def two_buses(account: Account) -> AsyncIterator[tuple[AsyncSmithBus, AsyncSmithBus]]:
    async with account.applied() as first, AsyncSmithBus(account.url) as second:
        yield first, second


def is_ordered(ran: list[tuple[str, int]]) -> bool:
    """Whether the first runs of each key are in order."""
    firsts = list(dict.fromkeys(ran))
    return all(
        [n for key, n in firsts if key == one] == sorted(n for key, n in firsts if key == one) for one in {key for key, _ in ran}
    )


async def test_messages_of_a_key_run_one_after_the_other_and_keys_beside_each_other(account: Account) -> None:
    async with account.applied() as bus:
        running: dict[str, int] = {}
        most: list[int] = []

        async def handle(message: Message[Any, Any]) -> None:
            key = message.payload.metadata["episode_id"]
            running[key] = running.get(key, 0) + 1
            assert running[key] == 1
            most.append(sum(running.values()))
            await asyncio.sleep(0.001)
            running[key] -= 1

        await put(bus, *KEYS * 10)
        async with Owner(bus, handle, concurrency=3) as owner:
            await eventually_async(lambda: owner.done == 40)
        assert is_ordered(owner.ran)
        assert max(most) == 3
        assert owner.gate.inside == 0
        assert owner.epochs, "the barrier was reported"


async def test_a_retry_holds_back_its_own_key_only_and_counts_its_attempts(account: Account) -> None:
    async with account.applied() as bus:
        attempts: list[int] = []

        async def handle(message: Message[Any, Any]) -> None:
            if message.payload.params.path == f"/{KEYS[0]}/1":
                attempts.append(message.metadata.num_delivered)
                if len(attempts) == 1:
                    raise RetryLater(0.2)
                if len(attempts) == 2:
                    await message.nack(0.05)
                    return
                raise Reject("never")

        await put(bus, *KEYS, *KEYS)
        async with Owner(bus, handle) as owner:
            await eventually_async(lambda: owner.done == 8 and owner.shard.stats.dead_lettered == 1)  # its own nak counts as well
        assert attempts == [1, 2, 3]
        assert is_ordered(owner.ran)
        late = owner.ran.index((KEYS[0], 2))
        assert all(owner.ran.index((key, n)) < late for key in KEYS[1:] for n in (1, 2))


async def test_an_owner_that_leaves_hands_over_at_once_and_in_order(account: Account) -> None:
    async with two_buses(account) as (bus, other):
        held = asyncio.Event()

        async def handle(message: Message[Any, Any]) -> None:
            if not held.is_set():
                await held.wait()

        await put(bus, *KEYS * 5)
        async with Owner(bus, handle) as first:
            await eventually_async(lambda: len(first.ran) == 4)
            leaving = asyncio.ensure_future(first.leave())
            async with Owner(other, nothing) as second:
                await eventually_async(lambda: first.shard.slots.is_stopping)
                held.set()
                await leaving
                await eventually_async(lambda: first.done + second.done == 20)
        assert is_ordered(first.ran + second.ran)
        assert not set(first.ran) & set(second.ran), "what was finished is not repeated"


async def test_a_successor_waits_for_all_that_a_dead_owner_held(account: Account) -> None:
    async with two_buses(account) as (bus, other):
        stuck = asyncio.Event()

        async def handle(message: Message[Any, Any]) -> None:
            if message.payload.params.path.endswith("/3"):
                await stuck.wait()

        await put(bus, *KEYS * 6)
        async with Owner(bus, handle, timeout=T) as first:
            await eventually_async(lambda: first.done == 8 and len({*first.ran}) == 12)
            await put(bus, *KEYS, after=6)  # later than what it holds
            await first.crash()
            async with Owner(other, nothing, timeout=T) as second:
                await eventually_async(lambda: second.done == 20, timeout=60)
        assert is_ordered(first.ran + second.ran)
        assert len(set(first.ran + second.ran)) == 28


async def test_a_handler_that_outlives_the_lease_sends_nothing(account: Account) -> None:
    async with account.applied() as bus:
        lost = asyncio.Event()
        results: list[str] = []

        async def handle(message: Message[Any, Any]) -> None:
            if not lost.is_set():
                await lost.wait()
                for call in (message.ack_sync, message.in_progress, message.nack, message.ack):
                    try:
                        await call()
                    except ShardLost:
                        results.append(call.__name__)
                raise ValueError("not counted as an attempt")

        await put(bus, KEYS[0])
        async with Owner(bus, handle) as owner:
            await eventually_async(lambda: len(owner.ran) == 1)
            loop = owner.shard.loop
            assert loop is not None
            assert loop.pin is not None
            loop.pin.lose("a test")
            lost.set()
            await eventually_async(lambda: owner.shard.stats.unanswered == 1)
            assert results == ["ack_sync", "in_progress", "nack", "ack"]
            info = await bus._session.api.consumer_info(owner.spec.stream, owner.spec.name)
            assert info["num_ack_pending"] == 1


async def test_a_message_that_was_deleted_while_its_retry_was_out_does_not_hold_its_key(account: Account) -> None:
    async with account.applied() as bus:
        seen: list[int] = []

        async def handle(message: Message[Any, Any]) -> None:
            if message.payload.params.path.endswith("/1") and not seen:
                seen.append(message.metadata.stream_seq)
                raise RetryLater(0.5)

        await put(bus, KEYS[0], KEYS[0])
        async with Owner(bus, handle, timeout=T) as owner:
            await eventually_async(lambda: bool(seen))
            await bus._session.api.stream_purge(owner.spec.stream, {"seq": seen[0] + 1})
            await eventually_async(lambda: owner.done == 1, timeout=60)
        assert owner.ran == [(KEYS[0], 1), (KEYS[0], 2)]


async def test_a_dead_letter_halts_its_key_until_it_is_resumed(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        first, other = KEYS[:2]
        halts: list[tuple[str, str]] = []

        async def halt(key: ShardKey, message: Message[Any, Any], why: str) -> None:
            halts.append((key.episode_id, why))
            if len(halts) == 1:
                raise DeadlineExceeded("no answer of the bucket", timeout=1)

        async def handle(message: Message[Any, Any]) -> None:
            if message.payload.params.path == f"/{first}/1":
                raise Reject("wrong")

        await put(bus, first, first, other, other)
        async with Owner(bus, handle, on_dead_letter=halt, max_ack_pending=4) as owner:
            await eventually_async(lambda: owner.shard.stats.dead_lettered == 1 and owner.done == 2, timeout=30)
            assert halts == [(first, "Reject: wrong")] * 2, "it is repeated until it is stored"
            assert owner.ran.count((first, 1)) == 1, "without another run"
            await put(bus, first, other, after=2)
            await eventually_async(lambda: owner.done == 3 and owner.shard.held == 2)
            assert "2 messages are held for halted keys" in caplog.text
            owner.shard.set_halted(set())
            await eventually_async(lambda: owner.done == 5)
        assert owner.ran[-2:] == [(first, 2), (first, 3)]
        assert is_ordered(owner.ran)


async def test_a_message_without_a_valid_key_is_dead_lettered(account: Account) -> None:
    async with account.applied() as bus:
        for episode in (7, "x" * 300, None):
            one = msgspec.structs.replace(intent(KEYS[0], "/f/1"), metadata={"episode_id": episode})
            where = str(subjects.intents.vetted_sharded.of(intent(KEYS[0], "/f/1")))
            await bus._session.publish(where, msgspec.json.encode(one), stream=None, msg_id=str(episode))
        async with Owner(bus, nothing) as owner:
            await eventually_async(lambda: owner.shard.stats.dead_lettered == 2 and owner.done == 1)
