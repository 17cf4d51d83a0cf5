"""Consumers that rules limit and pause come back exactly as they were, whatever the order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from buses import Account
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk import AsyncSmithBus, consumers
from smith_sdk._core.jetstream.api import to_nanos
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET, KEY_TTL
from smith_sdk._core.monitoring.held_consumers import Held, HeldConsumers, Hold
from smith_sdk.errors import SmithError

SPEC: Final = consumers.executor_http_fetch
PLACE: Final = (SPEC.stream, SPEC.name)
SECOND: Final = 1_000_000_000


class Place:
    """A bus, and the consumer that is held."""

    api: Any

    def __init__(self, bus: AsyncSmithBus) -> None:
        self.api = bus._session.api
        self.bucket = Bucket(bus._session, BUCKET)
        self.held = HeldConsumers(self.bucket, self.api)
        self.writes = 0
        write: Any = self.api.consumer_write

        async def counted(*arguments: Any) -> dict[str, Any]:
            self.writes += 1
            written: dict[str, Any] = await write(*arguments)
            return written

        self.api.consumer_write = counted

    async def config(self) -> dict[str, Any]:
        config: dict[str, Any] = (await self.api.consumer_info(*PLACE))["config"]
        return config

    async def values(self) -> tuple[int, float]:
        config = await self.config()
        return config["max_ack_pending"], config["ack_wait"] / SECOND

    async def set(self, **changes: Any) -> None:
        await self.api.consumer_write(SPEC.stream, {**await self.config(), **changes}, "update")
        self.writes = 0

    async def hold(self, rule: str, **hold: Any) -> None:
        await self.held.hold(*PLACE, rule, Hold(**hold))

    async def release(self, rule: str) -> None:
        await self.held.release(*PLACE, rule)

    async def is_paused(self) -> bool:
        return bool((await self.api.consumer_info(*PLACE)).get("paused"))


@contextlib.asynccontextmanager
async def placed(account: Account) -> AsyncIterator[Place]:
    async with account.applied() as bus:
        yield Place(bus)


DECLARED: Final = (SPEC.max_ack_pending, SPEC.ack_wait)


async def test_a_limit_is_one_write_and_its_end_another_one(account: Account) -> None:
    async with placed(account) as place:
        before = await place.config()
        await place.hold("a", max_ack_pending=5, ack_wait=300 * SECOND)
        assert await place.values() == (5, 300)
        assert {**(await place.config()), **{name: before[name] for name in ("max_ack_pending", "ack_wait")}} == before
        await place.hold("a", max_ack_pending=5, ack_wait=300 * SECOND)
        assert place.writes == 1
        ((stream, consumer, held),) = await place.held.all()
        assert (stream, consumer, list(held.rules)) == (*PLACE, ["a"])
        await place.release("a")
        await place.release("a")
        assert await place.config() == before
        assert place.writes == 2
        assert await place.held.all() == []


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
async def test_what_was_there_first_comes_back_in_whatever_order_rules_end(account: Account, order: Any) -> None:
    holds: dict[str, Any] = {"a": {"max_ack_pending": 50}, "b": {"max_ack_pending": 5, "ack_wait": 200 * SECOND}}
    holds["c"] = {"max_ack_pending": 20, "ack_wait": 300 * SECOND}
    async with placed(account) as place:
        before = await place.config()
        for rule, hold in holds.items():
            await place.hold(rule, **hold)
        assert await place.values() == (5, 300)
        for rule in order:
            await place.release(rule)
            del holds[rule]
            most = min([hold["max_ack_pending"] for hold in holds.values()], default=DECLARED[0])
            longest = max([hold["ack_wait"] / SECOND for hold in holds.values() if "ack_wait" in hold], default=DECLARED[1])
            assert await place.values() == (most, longest)
        assert await place.config() == before


async def test_a_limit_never_raises_what_is_there(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", max_ack_pending=SPEC.max_ack_pending + 1)
        assert await place.values() == DECLARED
        assert place.writes == 0
        await place.release("a")
        assert await place.values() == DECLARED


async def test_what_is_unlimited_is_limited_and_then_unlimited_again(account: Account) -> None:
    async with placed(account) as place:
        await place.set(max_ack_pending=-1)
        await place.hold("a", max_ack_pending=7)
        assert (await place.values())[0] == 7
        await place.release("a")
        assert (await place.values())[0] == -1


async def test_what_somebody_else_sets_meanwhile_is_limited_and_comes_back(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", max_ack_pending=5)
        await place.set(max_ack_pending=300)
        await place.hold("a", max_ack_pending=5)  # as it does again and again
        assert (await place.values())[0] == 5
        await place.release("a")
        assert (await place.values())[0] == 300


async def test_what_somebody_else_has_set_last_stays(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with placed(account) as place:
        await place.hold("a", max_ack_pending=5, ack_wait=300 * SECOND)
        await place.set(max_ack_pending=300)
        await place.release("a")
        assert await place.values() == (300, SPEC.ack_wait)
        assert "max_ack_pending=300 was set by somebody else meanwhile, and stays" in caplog.text


async def test_a_process_that_dies_before_its_change_leaves_what_undoes_it(account: Account) -> None:
    async with placed(account) as place:

        async def dies(*_: Any) -> dict[str, Any]:
            raise SmithError("killed")

        write, place.api.consumer_write = place.api.consumer_write, dies
        with pytest.raises(SmithError, match="killed"):
            await place.hold("a", max_ack_pending=5)
        place.api.consumer_write = write
        assert [held.before for *_, held in await place.held.all()] == [{"max_ack_pending": SPEC.max_ack_pending}]
        await place.hold("a", max_ack_pending=5)
        assert (await place.values())[0] == 5
        place.api.consumer_write = dies
        with pytest.raises(SmithError, match="killed"):
            await place.release("a")
        place.api.consumer_write = write
        await place.release("a")
        assert await place.values() == DECLARED
        assert await place.held.all() == []


async def test_a_rule_that_is_defined_anew_takes_over_what_it_had_changed(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", max_ack_pending=5, ack_wait=300 * SECOND)
        await place.hold("a", max_ack_pending=9)
        assert await place.values() == (9, SPEC.ack_wait)
        await place.release("a")
        assert await place.values() == DECLARED


async def test_rules_that_begin_and_end_at_once_in_several_processes_agree(account: Account) -> None:
    async with placed(account) as place:
        for _ in range(3):
            rules = [f"r{number}" for number in range(6)]
            await asyncio.gather(*(place.hold(rule, max_ack_pending=10 + at) for at, rule in enumerate(rules)))
            await asyncio.gather(*(place.hold(rule, max_ack_pending=10 + at) for at, rule in enumerate(rules)))
            assert (await place.values())[0] == 10
            await asyncio.gather(*(place.release(rule) for rule in rules))
            assert await place.values() == DECLARED
            assert await place.held.all() == []


async def test_a_pause_ends_by_itself_unless_it_is_renewed(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", pause=True)
        info = await place.api.consumer_info(*PLACE)
        assert info["paused"]
        assert 0 < info["pause_remaining"] <= KEY_TTL * SECOND
        until = to_nanos(info["config"]["pause_until"])
        await place.hold("a", pause=True)
        assert to_nanos((await place.config())["pause_until"]) > until
        assert place.writes == 0
        await place.release("a")
        assert not await place.is_paused()


async def test_a_pause_lasts_until_the_last_rule_ends(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", pause=True)
        await place.hold("b", pause=True, max_ack_pending=3)
        await place.release("a")
        assert await place.is_paused()
        await place.release("b")
        assert not await place.is_paused()
        assert await place.values() == DECLARED


async def test_a_longer_pause_of_somebody_else_stays(account: Account) -> None:
    async with account.applied() as bus:
        place = Place(bus)
        paused = await bus.consumer(SPEC).pause(3600)
        await place.hold("a", pause=True)
        await place.release("a")
        assert (await bus.consumer(SPEC).info()).paused_until == paused.paused_until


async def test_a_consumer_that_was_deleted_is_released(account: Account) -> None:
    async with placed(account) as place:
        await place.hold("a", max_ack_pending=5)
        await place.api.consumer_delete(*PLACE)
        await place.release("a")
        assert await place.held.all() == []


async def test_what_nothing_can_be_made_of_holds_nothing(account: Account) -> None:
    async with placed(account) as place:
        await place.bucket.put(f"held.{SPEC.stream}.{SPEC.name}", b'{"rules": 7}')
        await place.release("a")
        assert await place.values() == DECLARED
        await place.hold("a", max_ack_pending=5)
        await place.release("a")
        assert await place.values() == DECLARED
        assert await place.held.all() == []


Holds = st.builds(
    Hold,
    max_ack_pending=st.none() | st.integers(1, 900),
    ack_wait=st.none() | st.integers(120, 900).map(lambda one: one * SECOND),
)
Changes = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | Holds), max_size=20)


@given(changes=Changes, declared=st.sampled_from([-1, 1, 64, 500]))
def test_the_first_values_come_back_after_any_course(changes: list[tuple[str, Hold | None]], declared: int) -> None:
    first = {"max_ack_pending": declared, "ack_wait": 120 * SECOND}
    config: dict[str, int] = dict(first)
    held = Held()
    for rule, hold in [*changes, *((rule, None) for rule in "abcd")]:
        if hold is not None:
            held = held.with_hold(rule, hold, config)
            config.update((str(name), value) for name, value in held.wanted().items())
        elif rule in held.rules:
            held = held.without(rule)
            config.update((str(name), value) for name, value in held.wanted().items())
        wishes = [one.max_ack_pending for one in held.rules.values() if one.max_ack_pending is not None]
        assert config["max_ack_pending"] == min([*wishes, *([declared] if declared > 0 else [])], default=declared)
    assert config == first
    assert held.rules == {}
