"""The members of a sharding on a real server: who is one, and which shards each is assigned."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from buses import Account
from chaos.proxy import Proxy
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.sharding import halts, membership
from smith_sdk._core.sharding.halts import Halts
from smith_sdk._core.sharding.membership import Membership
from smith_sdk._core.sharding.orders import move, set_draining
from smith_sdk._core.sharding.records import Halted, Keys, Member, Move, require_member_name
from smith_sdk.contract import ShardKey
from smith_sdk.errors import DeadlineExceeded, MemberNameTaken, OptionsError, PermissionDenied, PublishUnconfirmed, StreamNotFound

CONTROL = "SMITH_CONTROL"
SHARDS = [f"1-{number:02x}" for number in range(8)]
LONG = 60.0
"""A TTL that does not end within a test."""
SHORT = 1.0


@contextlib.asynccontextmanager
async def joined(bus: AsyncSmithBus, member: str | None = None, ttl: float = LONG) -> AsyncIterator[Membership]:
    one = Membership(bus._session, CONTROL, "episode", SHARDS, ttl=ttl, member=member)
    await one.join(30)
    try:
        yield one
    finally:
        await one.leave()


async def crash(one: Membership) -> None:
    """End it as a process that is killed does: its key stays until it expires."""
    assert one._task is not None
    one._task.cancel()
    await asyncio.wait((one._task,))
    one._task = None
    await one._watch.stop()


async def agree(*members: Membership) -> None:
    """Wait until all of them say the same, and each has its share."""

    def is_shared() -> bool:
        shares = [one.mine for one in members]
        return sorted(shard for share in shares for shard in share) == SHARDS and all(
            one.assigned == members[0].assigned
            and len(one.mine) in (len(SHARDS) // len(members), len(SHARDS) // len(members) + 1)
            for one in members
        )

    await eventually_async(is_shared, 30)


async def take_all(*members: Membership) -> None:
    for one in members:
        for shard in one.mine:
            assert await one.take(shard, "pin", lambda: True)


async def test_members_share_the_shards_and_those_that_leave_give_theirs_away(account: Account) -> None:
    async with account.applied() as bus, joined(bus) as first:
        assert first.mine == frozenset(SHARDS)  # at once
        await take_all(first)
        async with joined(bus) as second:
            await agree(first, second)
            kept = first.mine
            for shard in list(first.view.owners):
                if shard in second.mine:
                    await first.release(shard)
            await take_all(second)
            await agree(first, second)
            async with joined(bus) as third:
                await agree(first, second, third)
                assert first.mine < kept
            await agree(first, second)
            assert first.mine == kept  # what the third was assigned, and did not take, has not moved
        await agree(first)
    assert not bus._session.parts


async def test_the_key_of_a_member_that_dies_expires_and_that_of_one_that_lives_does_not(account: Account) -> None:
    async with account.applied() as bus, joined(bus, ttl=SHORT) as first:
        second = Membership(bus._session, CONTROL, "episode", SHARDS, ttl=SHORT)
        await second.join(30)
        await agree(first, second)
        await crash(second)
        await agree(first)
        assert second.name not in first.view.members


async def test_a_member_with_a_name_of_its_own_restarts_without_a_move(account: Account) -> None:
    async with account.applied() as bus, joined(bus, "a") as first:
        async with joined(bus, "b") as second:
            await agree(first, second)
            await take_all(first, second)
        seen = [first.mine]
        first._on_change = lambda: seen.append(first.mine)
        await eventually_async(lambda: first.view.members["b"].stopped, 30)
        async with joined(bus, "b") as again:  # at once: its key does not have to expire before
            await eventually_async(lambda: not first.view.members["b"].stopped, 30)
            await agree(first, again)
            assert set(seen) == {first.mine}


async def test_a_name_that_another_process_has_is_refused(account: Account) -> None:
    async with account.applied() as bus, joined(bus, "a") as first:

        async def renew_often() -> None:
            while True:
                await first._renew()
                await asyncio.sleep(0.1)

        renewing = asyncio.ensure_future(renew_often())
        with pytest.raises(MemberNameTaken, match=r"member a of sharding episode, on host .* with PID \d+: give each process"):
            async with joined(bus, "a"):  # it sees the first renew its key before it may take the name
                raise AssertionError
        renewing.cancel()
        assert not first.lost.done()
        assert first.mine == frozenset(SHARDS)


async def test_a_name_whose_process_has_died_is_waited_for(account: Account) -> None:
    async with account.applied() as bus:
        first = Membership(bus._session, CONTROL, "episode", SHARDS, ttl=LONG, member="a")
        await first.join(30)
        await crash(first)
        began = time.monotonic()
        async with joined(bus, "a", ttl=SHORT) as second:
            assert time.monotonic() - began >= SHORT * 0.6
            assert second.mine == frozenset(SHARDS)


async def test_a_process_whose_name_another_one_has_taken_learns_of_it(account: Account) -> None:
    async with account.applied() as bus, joined(bus, "a", ttl=SHORT) as first:
        rival = msgspec.json.encode(Member(instance="rival", host="far\x1b[2J", pid=7))
        await Bucket(bus._session, CONTROL).put("shards.episode.members.a", rival, ttl=LONG)
        await asyncio.wait_for(first.lost, 30)
        assert r"on host far\x1b[2J with PID 7" in str(first.lost.result())
        await first.leave()
        found = await Bucket(bus._session, CONTROL).get("shards.episode.members.a")
        assert found is not None  # it is the other's
        assert found.value == rival


async def test_a_member_that_drains_is_assigned_nothing(account: Account) -> None:
    async with account.applied() as bus, joined(bus) as first, joined(bus) as second:
        await agree(first, second)
        bucket, keys = Bucket(bus._session, CONTROL), Keys("episode")
        assert await set_draining(bucket, keys, second.name, True)
        await agree(first)
        await eventually_async(lambda: not second.mine)
        assert second.record.draining
        revision = second._revision
        await second._renew()
        assert second._revision > revision  # it has renewed its key, and drains on
        assert first.view.members[second.name].draining
        assert not await set_draining(bucket, keys, "another", True)
        assert await set_draining(bucket, keys, second.name, False)
        await agree(first, second)


async def test_a_shard_is_moved_for_as_long_as_there_is_the_member(account: Account) -> None:
    async with account.applied() as bus, joined(bus, "a") as first:
        bucket, keys = Bucket(bus._session, CONTROL), Keys("episode")
        async with joined(bus) as second:
            await agree(first, second)
            await take_all(first, second)
            before, shard = first.mine, min(first.mine)
            await move(bucket, keys, shard, Move(member=second.name, by="an operator"))
            await eventually_async(lambda: first.mine == before - {shard} and shard in second.mine, 30)
            await move(bucket, keys, shard, None)
            await eventually_async(lambda: first.mine == before, 30)
            await move(bucket, keys, shard, Move(member=second.name))
            await eventually_async(lambda: second.view.moves == {shard: second.name}, 30)
        await agree(first)
        assert await bucket.list("shards.episode.moves.*") == []


HOSTILE = [
    ("members.x", b"\xff\x00"),
    ("members.y", b'{"instance":' + b"[" * 30_000),
    ("members.z", b'{"instance": "i", "since": "2026-01-01T00:00:00"}'),
    ("members.z2", b'{"instance": "i", "pid": -1}'),
    ("members.\u202ereversed", b'{"instance": "i"}'),
    (f"members.{'n' * 65}", b'{"instance": "i"}'),
    ("members.a.b", b'{"instance": "i"}'),
    ("owners.1-ff", b'{"member": "' + b"m" * 300 + b'"}'),
    ("owners.1-01", b"[]"),
    ("owners.1-1", b'{"member": "nobody"}'),
    ("owners.1-0002", b'{"member": "nobody"}'),
    ("owners.\u0661-\u0661\u0661", b'{"member": "nobody"}'),
    ("moves.1-03", b'{"member": "nobody"}'),
    ("moves.99-ffe", b'{"member": "nobody"}'),
    ("moves.0-01", b'{"member": "nobody"}'),
    ("layout", b"{}"),
    ("halted.00", b"\x00"),
]


async def test_what_others_write_into_the_bucket_does_no_harm(account: Account) -> None:
    async with account.applied() as bus, joined(bus, ttl=SHORT) as one:
        bucket = Bucket(bus._session, CONTROL)
        for key, value in HOSTILE:
            await bucket.put(f"shards.episode.{key}", value)
        eternal = msgspec.json.encode(Member(instance="i"))
        await bucket.put("shards.episode.members.eternal", eternal)
        await bucket.put("shards.episode.members.old", eternal, ttl=86_400)
        assert not await set_draining(bucket, Keys("episode"), "eternal", True)
        await bucket.put("shards.other.members.a", b'{"instance": "i"}')
        # Its own key is garbage as well, and made again.
        await bucket.put(f"shards.episode.members.{one.name}", b"\x00", ttl=LONG)
        await eventually_async(lambda: one.view.moves == {"1-03": "nobody", "99-ffe": "nobody"}, 30)
        assert one.mine == frozenset(SHARDS)
        assert list(one.view.members) == [one.name]
        await eventually_async(lambda: _is_own(bucket, one), 30)
        assert await one.take("1-01", "pin", lambda: True)
        await eventually_async(lambda: "1-01" in one.view.owners and one.view.owners["1-01"][0].member == one.name, 30)


async def _is_own(bucket: Bucket, one: Membership) -> bool:
    found = await bucket.get(f"shards.episode.members.{one.name}")
    return found is not None and found.value == msgspec.json.encode(one.record)


async def test_the_assignment_is_frozen_while_the_bucket_cannot_be_reached(account: Account) -> None:
    with Proxy(account.url) as proxy:
        async with (
            account.applied() as bus,
            AsyncSmithBus(proxy.url) as far,
            joined(bus, ttl=SHORT) as first,
            joined(far, ttl=SHORT) as second,
        ):
            await agree(first, second)
            before = second.assigned
            proxy.cut()
            await agree(first)  # for whom the second is dead
            await eventually_async(lambda: second.is_frozen, 30)
            assert second.assigned == before
            proxy.restore()
            await eventually_async(lambda: not second.is_frozen, 60)
            await agree(first, second)


async def test_a_process_that_was_stopped_believes_the_keys_when_the_others_had_time_to_renew_theirs(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = [0.0]
    async with account.applied() as bus, joined(bus) as first, joined(bus) as second:
        await agree(first, second)
        before = second.assigned
        monkeypatch.setattr(membership, "monotonic", lambda: time.monotonic() + ahead[0])
        ahead[0] = LONG  # as after a SIGSTOP: the clock has gone on, the process has not
        second._look()
        assert second.is_frozen
        assert second.assigned == before
        second.share(SHARDS[:4])  # the number of shards is changed meanwhile
        assert second.assigned == {shard: member for shard, member in before.items() if shard in SHARDS[:4]}


async def test_an_idle_shard_stays_with_the_member_that_has_adopted_it(account: Account) -> None:
    async with account.applied() as bus, joined(bus, "a") as first:
        await Bucket(bus._session, CONTROL).put("shards.episode.owners.1-02", b'{"member": "dead", "instance": "i"}')
        await eventually_async(lambda: "1-02" in first.view.owners)
        await first.adopt()

        def owners() -> dict[str, str]:
            return {shard: one.member for shard, (one, _) in first.view.owners.items()}

        await eventually_async(lambda: owners() == dict.fromkeys(SHARDS, "a"), 30)
        async with joined(bus, "b") as second:
            await agree(first, second)
            kept = first.mine
            await second.adopt()  # what the first has not released is not adopted
            assert {one.member for one, _ in first.view.owners.values()} == {"a"}
            for shard in second.mine:
                await first.release(shard)
            await eventually_async(lambda: len(second.view.owners) == len(kept), 30)
            await second.adopt()
            await eventually_async(lambda: len(first.view.owners) == len(SHARDS), 30)
            assert first.mine == kept


async def test_what_ends_the_renewals_is_told(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus, joined(bus, ttl=SHORT) as one:

        async def fails() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(one, "_renew", fails)
        assert isinstance(await asyncio.wait_for(one.lost, 30), ZeroDivisionError)


async def test_a_write_that_timed_out_may_have_been_stored(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        session: Any = bus._session
        publish = session.publish_request
        stored: list[Any] = []

        async def stores_and_says_nothing(*args: Any, **options: Any) -> Any:
            done = await publish(*args, **options)
            if not stored or len(stored) == 2:
                stored.append(done)
                raise PublishUnconfirmed("no acknowledgement", subject="s", msg_id="m", may_be_stored=True)
            stored.append(done)
            return done

        monkeypatch.setattr(session, "publish_request", stores_and_says_nothing)
        async with joined(bus, "a", ttl=SHORT) as one:  # at the first write, and at a renewal
            revision = one._revision
            assert revision > stored[0].seq
            await eventually_async(lambda: len(stored) > 4, 30)
            assert one._revision > revision
            assert not one.lost.done()


async def test_fences_of_a_shard_grow_and_are_given_to_owners_only(account: Account) -> None:
    async with account.applied() as bus, joined(bus) as first, joined(bus) as second:
        await agree(first, second)
        fences = [await first.take("1-03", "p1", lambda: True), await second.take("1-03", "p2", lambda: True)]
        assert await first.take("1-03", "p1", lambda: False) is None
        assert fences[0] is not None
        assert fences[1] is not None
        await first.release("1-03")  # it is no longer the first one's

        def owner() -> tuple[str, str, int] | None:
            found = first.view.owners.get("1-03")
            return found and (found[0].member, found[0].pin, found[1].revision)

        await eventually_async(lambda: owner() == (second.name, "p2", fences[1]))
        await second.release("1-03")
        await eventually_async(lambda: "1-03" not in first.view.owners)
        fences += [await first.take("1-03", "p3", lambda: True)]
        assert fences == sorted(set(map(int, filter(None, fences))))


async def test_what_is_wrong_with_the_bucket_is_said(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        one = Membership(bus._session, CONTROL, "episode", SHARDS, ttl=LONG)

        async def forbidden(*_: object, **__: object) -> None:
            raise PermissionDenied("no", subject="s")

        async def silent(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        for behaviour, error, timeout in ((forbidden, PermissionDenied, 30), (silent, DeadlineExceeded, 0.5)):
            with monkeypatch.context() as patch:
                patch.setattr(bus._session, "publish_request", behaviour)
                with pytest.raises(error):
                    await one.join(timeout)
        await bus._session.api.stream_delete(f"KV_{CONTROL}")
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await one.join(10)
        assert not bus._session.parts


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "x" * 65, 7, None, "ä"])
def test_a_name_that_no_key_can_have_is_refused(name: Any) -> None:
    with pytest.raises(OptionsError, match=r"ShardedWorker\.member="):
        require_member_name(name, "ShardedWorker.member")


async def test_a_key_is_halted_before_the_watch_shows_it_and_until_it_is_resumed(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with account.applied() as bus, joined(bus) as one:
        bucket, keys = Bucket(bus._session, CONTROL), Keys("episode")
        mine, theirs = Halts(bucket, keys), Halts(bucket, keys)
        key, other = ShardKey("ep-1"), ShardKey("ep-2", "p")
        await mine.halt(key, Halted(episode_id="ep-1"))
        await mine.halt(key, Halted(episode_id="ep-1", why="again"))  # as after a lost acknowledgement
        await mine.halt(other, Halted(episode_id="ep-2", project="p"))
        assert mine.all == {key, other}
        assert theirs.all == set()
        await theirs.look()  # as a process that takes over the shard
        assert theirs.all == {key, other}
        await eventually_async(lambda: set(one.view.halted) == {key, other}, 30)
        mine.see(one.view)
        assert one.view.halted[key].why == ""
        await bucket.delete(keys.halted(key))  # resumed
        await eventually_async(lambda: set(one.view.halted) == {other}, 30)
        mine.see(one.view)
        assert mine.all == {other}
        assert theirs.all == {key, other}  # it has not looked since
        assert not await theirs.look_again()  # not yet
        monkeypatch.setattr(halts, "_UNSEEN", 0.0)
        assert await theirs.look_again()
        assert theirs.all == {other}
