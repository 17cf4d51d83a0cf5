"""Replaying and discarding dead letters: once each, however it is interrupted and whatever else
replays at the time."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Face, read_intent
from letters import STREAM, contract, held, original, put_letters, put_many_letters, replayed
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Message, RetryPolicy, Worker, consumers, subjects
from smith_sdk._core.dead_letters.format import DeadLetter
from smith_sdk._core.dead_letters.replay import Replay
from smith_sdk._core.dead_letters.replay_target import Place
from smith_sdk._core.dead_letters.selection import Ref
from smith_sdk._core.dead_letters.store import DeadLetterStore
from smith_sdk._core.dead_letters.task_pool import IN_FLIGHT
from smith_sdk.errors import OptionsError, QueueFull, StreamNotFound, TopologyRefused
from smith_sdk.protocol import FsReadV1Intent

spec = consumers.executor_fs_read
LATER = datetime(2100, 1, 1, tzinfo=UTC)
"""All that is there is older."""


@asynccontextmanager
async def with_letters(account: Account, count: int, **events: Any) -> AsyncIterator[AsyncSmithBus]:
    """A bus with so many letters of SYSTEM_EVENTS, which is declared with `events`."""
    async with account.applied(contract=contract(**events)) as bus:
        await put_many_letters(bus, count)
        yield bus


class Step:
    """A replay of one letter that is interrupted after a given step."""

    def __init__(self, bus: AsyncSmithBus, letter: DeadLetter) -> None:
        self._replay = Replay(DeadLetterStore(bus._session), force=False, progress=None)
        self._bus = bus
        self._letter = letter

    async def _ref(self) -> Ref:
        return Ref.of(await self._bus._session.api.message("SMITH_DLQ", self._letter.position))

    async def claim(self) -> None:
        ref = await self._ref()
        place = await self._place(ref)
        assert await self._replay._claim(ref, place, 0, await self._replay._target(place.stream)) is not None

    async def publish(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Claim it and publish it, and die before it is removed."""
        ref = await self._ref()

        async def die(*_: Any) -> None:
            raise ConnectionAbortedError

        with monkeypatch.context() as patch:
            patch.setattr(DeadLetterStore, "remove", die)
            with pytest.raises(ConnectionAbortedError):
                await self._replay._one(ref, await self._place(ref))

    async def _place(self, ref: Ref) -> Place:
        found = await self._replay._place(ref)
        assert found is not None
        return found


# ---- what is replayed


async def test_a_replayed_message_is_unchanged_and_carries_its_trail(face: Face, account: Account) -> None:
    async with account.applied() as server, face.bus(account.url) as bus:
        intent = read_intent("/x")
        seen: list[Message[FsReadV1Intent]] = []
        policy = RetryPolicy(max_attempts=1, backoff=Backoff(initial=0.01, max=0.01))
        worker = Worker(server, spec, retry=policy)

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message)
            if len(seen) < 3:
                raise ValueError("not yet")

        running = asyncio.ensure_future(worker.run())
        await server.publish(subjects.intents.vetted.of(intent), intent, headers={"Trace-Id": "t1"})
        letters: list[DeadLetter] = []
        for run in (1, 2):
            (letter,) = await eventually_async(server.dead_letters.list)
            letters.append(letter)
            outcomes: list[Any] = []
            report = await bus.dead_letters.replay(letter.id, progress=outcomes.append)
            assert (report.replayed, report.failed, report.in_doubt) == (1, (), ())
            assert [(one.id, one.outcome, one.seq) for one in outcomes] == [(letter.id, "replayed", run + 1)]
        await eventually_async(lambda: len(seen) == 3)
        await worker.stop()
        await running
        first, second = letters
        assert (first.replays, first.replay_of, first.first_letter) == (0, None, None)
        assert (second.replays, second.replay_of, second.first_letter) == (1, first.id, first.id)
        assert second.payload == first.payload
        last = seen[-1]
        assert last.raw == first.payload
        own = {name: value for name, value in last.headers.items() if not name.startswith("Nats-")}
        assert own == {
            "Trace-Id": "t1",
            "Smith-Replay-Of": second.id,
            "Smith-Replay-First": first.id,
            "Smith-Replay-Count": "2",
            "Smith-Replay-Key": seen[0].idempotency_key,
        }
        assert await bus.dead_letters.count() == 0


async def test_choosing_by_filters_and_a_dry_run(face: Face, account: Account) -> None:
    async with with_letters(account, 5) as near, face.bus(account.url, contract=contract()) as bus:
        await put_letters(near, original(6), error_type="KeyError")
        planned: list[Any] = []
        report = await bus.dead_letters.replay(error_type="KeyError", dry_run=True, progress=planned.append)
        assert (report.planned, report.replayed, [one.id for one in planned]) == (1, 0, [f"{STREAM}.reader.6"])
        assert await bus.dead_letters.discard(error_type="KeyError", dry_run=True) == (f"{STREAM}.reader.6",)
        assert await bus.dead_letters.count() == 6
        assert await held(near) == []
        assert (await bus.dead_letters.replay(error_type="KeyError")).replayed == 1
        gone: list[str] = []
        discarded = await bus.dead_letters.discard(stream=STREAM, consumer="reader", progress=gone.append)
        assert sorted(discarded) == sorted(gone) == [f"{STREAM}.reader.{number}" for number in range(1, 6)]
        assert await bus.dead_letters.count() == 0
        assert await replayed(near) == [6]
        again = await bus.dead_letters.replay([f"{STREAM}.reader.6", f"{STREAM}.reader.99"])
        assert (again.gone, again.replayed) == (2, 0)
        assert await bus.dead_letters.discard([f"{STREAM}.reader.6"]) == ()
        nothing = await bus.dead_letters.replay([])
        assert nothing.replayed == nothing.gone == 0


async def test_a_choice_has_to_be_made(account: Account) -> None:
    async with account.applied() as bus:
        letters = bus.dead_letters
        for call in (
            letters.replay(),
            letters.discard(),
            letters.replay("S.c.1", stream="S"),
            letters.discard(["S.c.1", "nonsense"]),
            letters.replay("S.c.*"),
            letters.replay(until=LATER, rate=0),
            letters.replay(until=LATER, in_doubt="maybe"),  # type: ignore[arg-type]
        ):
            with pytest.raises(OptionsError):
                await call


async def test_the_rate_is_not_exceeded(account: Account) -> None:
    async with with_letters(account, 20) as bus:
        began = time.monotonic()
        assert (await bus.dead_letters.replay(until=LATER, rate=40)).replayed == 20
        assert 19 / 40 <= time.monotonic() - began < 30


async def test_a_message_that_fails_again_is_not_replayed_twice_by_one_replay(account: Account) -> None:
    async with account.applied() as bus:
        worker = Worker(bus, spec, retry=RetryPolicy(max_attempts=1))

        @worker.handler
        async def handle(message: Message[FsReadV1Intent]) -> None:
            raise ValueError("never")

        running = asyncio.ensure_future(worker.run())
        for number in range(10):
            intent = read_intent(str(number))
            await bus.publish(subjects.intents.vetted.of(intent), intent)

        async def all_dead() -> bool:
            return await bus.dead_letters.count() == 10

        await eventually_async(all_dead)
        report = await bus.dead_letters.replay(stream="ATOMS_VETTED", rate=20)  # each has failed before the next is replayed
        assert report.replayed == 10
        await eventually_async(all_dead)
        await worker.stop()
        await running
        assert {letter.replays for letter in await bus.dead_letters.list()} == {1}


# ---- once each


async def test_two_at_once_replay_each_once(account: Account) -> None:
    async with with_letters(account, 600) as bus, AsyncSmithBus(account.url, contract=contract()) as other:
        reports = await asyncio.gather(*(one.dead_letters.replay(until=LATER) for one in (bus, other)))
        assert sorted(await replayed(bus)) == list(range(1, 601))
        assert sum(report.replayed for report in reports) == 600
        assert all(not report.failed and not report.in_doubt for report in reports)
        assert await bus.dead_letters.count() == 0


async def test_a_cancelled_replay_finishes_what_it_began_and_can_be_run_again(account: Account) -> None:
    async with with_letters(account, 400) as bus:
        done = 0

        def count(_: Any) -> None:
            nonlocal done
            done += 1

        replaying = asyncio.ensure_future(bus.dead_letters.replay(until=LATER, progress=count))
        await eventually_async(lambda: done >= 100, interval=0.001)
        replaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await replaying
        left = await bus.dead_letters.count()
        assert done == len(await held(bus)) == 400 - left
        assert left > 0
        assert (await bus.dead_letters.replay(until=LATER)).replayed == left
        assert sorted(await replayed(bus)) == list(range(1, 401))


REPLAYER = """
    import asyncio, sys, time
    from datetime import UTC, datetime
    sys.path.insert(0, sys.argv[2])
    from letters import contract
    from smith_sdk import AsyncSmithBus

    through = 0

    def count(outcome):
        global through
        through += 1
        if through == int(sys.argv[3]):
            print("far enough", flush=True)
            time.sleep(600)  # with others in flight

    async def main():
        async with AsyncSmithBus(sys.argv[1], contract=contract()) as bus:
            await bus.dead_letters.replay(until=datetime(2100, 1, 1, tzinfo=UTC), rate=1000, progress=count)
    asyncio.run(main())
"""


def replayer(url: str, until: int) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", textwrap.dedent(REPLAYER), url, tests, str(until)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def kill_in_the_middle(account: Account, until: int) -> None:
    """Have a process replay all, and kill it when so many are through."""
    with replayer(account.url, until) as process:
        try:
            assert process.stdout is not None
            assert await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60) == b"far enough\n"
        finally:
            process.kill()
        assert process.wait(10) == -signal.SIGKILL


async def test_a_killed_replay_can_be_run_again_three_times(account: Account) -> None:
    async with with_letters(account, 1500) as bus:
        for until in (50, 400, 450):
            await kill_in_the_middle(account, until)
        report = await bus.dead_letters.replay(until=LATER)
        assert 600 - 3 * IN_FLIGHT <= report.replayed + report.finished <= 600  # some were stored, and not yet removed
        assert (report.failed, report.in_doubt) == ((), ())
        assert sorted(await replayed(bus)) == list(range(1, 1501))
        assert await bus.dead_letters.count() == 0


async def test_letters_that_were_removed_since_the_page_was_read_are_left_out(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, first = asyncio.Event(), list[Replay]()
    really = Replay._replay

    async def replay(one: Replay, ref: Ref) -> None:
        first.append(one)
        if one is first[0] and int(ref.id.rpartition(".")[2]) > 20:
            await late.wait()
        await really(one, ref)

    monkeypatch.setattr(Replay, "_replay", replay)
    async with with_letters(account, 40) as bus:
        replaying = asyncio.ensure_future(bus.dead_letters.replay(until=LATER))
        await eventually_async(lambda: len(first) == 40)
        assert len(await bus.dead_letters.discard([f"{STREAM}.reader.{number}" for number in range(31, 41)])) == 10
        assert (await bus.dead_letters.replay([f"{STREAM}.reader.{number}" for number in range(21, 31)])).replayed == 10
        late.set()
        report = await replaying
        assert (report.replayed, report.gone) == (20, 20)
        assert sorted(await replayed(bus)) == list(range(1, 31))


@pytest.mark.parametrize("step", ["claimed", "published"])
async def test_a_recently_interrupted_replay_is_continued(step: str, monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    async with with_letters(account, 1) as bus:
        (letter,) = await bus.dead_letters.list()
        dying = Step(bus, letter)
        await (dying.claim() if step == "claimed" else dying.publish(monkeypatch))
        report = await bus.dead_letters.replay(until=LATER)
        assert (report.replayed, report.finished) == ((1, 0) if step == "claimed" else (0, 1))
        assert await replayed(bus) == [1]
        assert await bus.dead_letters.count() == 0


@pytest.mark.parametrize("step", ["claimed", "published"])
async def test_a_replay_interrupted_long_ago_is_continued_if_the_stream_lost_nothing(
    step: str, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    """The stream no longer remembers the message's id, and would store it a second time."""
    async with with_letters(account, 1, duplicate_window=0.5) as bus:
        (letter,) = await bus.dead_letters.list()
        dying = Step(bus, letter)
        await (dying.claim() if step == "claimed" else dying.publish(monkeypatch))
        await put_letters(bus, original(2))
        assert (await bus.dead_letters.replay(f"{STREAM}.reader.2")).replayed == 1  # others were stored since
        await forgotten(bus, 0.5)
        report = await bus.dead_letters.replay(until=LATER)
        assert (report.replayed, report.finished, report.in_doubt) == ((1, 0, ()) if step == "claimed" else (0, 1, ()))
        assert sorted(number for number in await replayed(bus) if number) == [1, 2]  # beside the probes
        assert await bus.dead_letters.count() == 0


async def forgotten(bus: AsyncSmithBus, window: float) -> None:
    """Until the stream has forgotten every id that it was shown before now."""
    began = time.monotonic()
    seen: list[bool] = []

    async def is_forgotten() -> bool:
        ack = await bus._session.publish("smith.events.health.probe", b'{"number":0}', stream=STREAM, msg_id="probe")
        seen.append(ack.duplicate)
        return seen[-2:] == [True, False]

    await eventually_async(is_forgotten, interval=0.05)
    assert time.monotonic() - began >= window * 0.9


@pytest.mark.parametrize("step", ["claimed", "published"])
async def test_a_letter_is_in_doubt_if_its_outcome_cannot_be_known(
    step: str, monkeypatch: pytest.MonkeyPatch, account: Account
) -> None:
    """Messages were removed from the stream since, perhaps the replayed one."""
    async with with_letters(account, 1, duplicate_window=0.5) as bus:
        (letter,) = await bus.dead_letters.list()
        dying = Step(bus, letter)
        await (dying.claim() if step == "claimed" else dying.publish(monkeypatch))
        await forgotten(bus, 0.5)
        await bus._session.api.call(f"STREAM.PURGE.{STREAM}")
        for _ in range(2):
            report = await bus.dead_letters.replay(until=LATER)
            assert (report.replayed, report.finished, report.in_doubt) == (0, 0, (letter.id,))
        assert await held(bus) == []
        assert await bus.dead_letters.count() == 1
        assert (await bus.dead_letters.replay(until=LATER, in_doubt="replay")).replayed == 1
        assert await replayed(bus) == [1]
        assert await bus.dead_letters.count() == 0


async def test_a_claim_from_before_the_stream_was_created_again_is_ignored(account: Account) -> None:
    async with with_letters(account, 1) as bus:
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1
        await put_letters(bus, original(1, data=b'{"number":77}'))  # the stream was created again, and counts from 1
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 1
        assert await replayed(bus) == [1, 77]


# ---- what goes wrong


async def test_a_deleted_stream_is_reported_and_nothing_is_lost(account: Account) -> None:
    async with with_letters(account, 3) as bus:
        await bus._session.api.stream_delete(STREAM)
        for dry_run in (True, False):
            with pytest.raises(StreamNotFound, match=STREAM):
                await bus.dead_letters.replay(until=LATER, dry_run=dry_run)
        assert await bus.dead_letters.count() == 3
        await bus.streams.apply(profile="dev")
        assert (await bus.dead_letters.replay(until=LATER)).replayed == 3


async def test_a_full_stream_ends_the_replay_which_can_be_run_again(account: Account) -> None:
    async with with_letters(account, 10, max_msgs=4, discard="new") as bus:
        with pytest.raises(QueueFull):
            await bus.dead_letters.replay(until=LATER)
        assert await bus.dead_letters.count() == 6
        first = await replayed(bus)
        await bus._session.api.call(f"STREAM.PURGE.{STREAM}")
        with pytest.raises(QueueFull):
            await bus.dead_letters.replay(until=LATER)
        second = await replayed(bus)
        assert len({*first, *second}) == 8


async def test_letters_that_their_stream_refuses_are_reported_and_stay(account: Account) -> None:
    async with with_letters(account, 2) as bus:
        await put_letters(bus, original(3, data=b"x" * 70_000))  # over the stream's limit of a message
        await bus._session.api.consumer_delete("ATOMS_VETTED", spec.name)
        vetted = original(4, stream="ATOMS_VETTED", consumer=spec.name, subject="smith.intents.vetted.fs.read.v1.default")
        await put_letters(bus, vetted)
        report = await bus.dead_letters.replay(until=LATER)
        assert report.replayed == 2
        errors = {int(one.id.rpartition(".")[2]): one.error.partition(":")[0] for one in report.failed}
        assert errors == {3: "PayloadTooLarge", 4: "NoInterest"}
        assert await bus.dead_letters.count() == 2
        assert sorted(await replayed(bus)) == [1, 2]
        notes = [one.subject for one in await held(bus, "SMITH_DLQ", "smith.dlq.*.*.*.*.replay")]
        assert sorted(notes) == [
            f"smith.dlq.{STREAM}.reader.{number}.{number}.replay" for number in (1, 2)
        ]  # the other claims were withdrawn


async def test_letters_that_cannot_be_removed_are_not_replayed(account: Account) -> None:
    declared = contract()
    kept = replace(
        declared, streams=tuple(replace(s, deny_delete=True) if s.name == "SMITH_DLQ" else s for s in declared.streams)
    )
    async with account.applied(contract=kept) as bus:
        await put_letters(bus, original(1))
        for call in (bus.dead_letters.replay(until=LATER), bus.dead_letters.discard(until=LATER)):
            with pytest.raises(TopologyRefused, match="deny_delete"):
                await call
        assert await held(bus) == []


async def test_a_deleted_message_may_be_removed_again_wherever_it_was(account: Account) -> None:
    """As when two replays meet: the server has one error for a gap in the stream, and another
    for sequences outside it."""
    async with account.applied() as bus:
        session, store, dlq = bus._session, DeadLetterStore(bus._session), "SMITH_DLQ"
        for number in range(1, 6):
            await session.publish(f"smith.dlq.S.c.{number}", b"x", stream=dlq, msg_id=str(number))
        for seq in (3, 5, 1):  # in the middle, the last, the first
            for _ in range(2):
                await store.remove(seq)
        await store.remove(99)
        assert (await bus.streams.get(dlq)).messages == 2
