"""The dispatcher by key: never more of one key at once, nothing lost, and no key held up by
another within the bound."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import Queue
from support import eventually_async

from smith_sdk._core.execution import by_key
from smith_sdk._core.execution.by_key import ByKey
from smith_sdk.errors import BusClosed


def tens(item: int) -> Hashable | None:
    """The key of a number: 1 for 10 to 19, and so on; none for those below 10."""
    return item // 10 or None


def make(source: Queue, **options: Any) -> ByKey[int]:
    return ByKey(
        source, **{"key_of": tens, "per_key": 1, "most": 100, "size_of": lambda item: 1, "capacity": lambda: 1000, **options}
    )


async def test_one_of_a_key_runs_and_others_pass_it() -> None:
    source = Queue()
    dispatcher = make(source)
    source.put(10, 11, 20, 12, 5, 6)
    assert [await dispatcher.next() for _ in range(4)] == [10, 20, 5, 6]
    assert dispatcher.held() == [11, 12]
    assert source.in_slots == 4, "what is held back needs no slot"
    assert dispatcher.exchange(10) == 11
    assert dispatcher.exchange(20) is None
    assert dispatcher.exchange(11) == 12
    assert dispatcher.held() == []
    for item in (12, 5, 6):
        dispatcher.done(item)
    assert source.in_slots == 0
    assert not dispatcher._busy
    assert not dispatcher._keys
    assert dispatcher._held_bytes == 0


async def test_a_waiting_slot_is_given_the_next_of_a_key_and_what_arrives() -> None:
    source = Queue()
    dispatcher = make(source, per_key=2)
    source.put(10, 11, 12)
    assert [await dispatcher.next(), await dispatcher.next()] == [10, 11]
    slots = [asyncio.ensure_future(dispatcher.next()) for _ in range(3)]
    await asyncio.sleep(0)
    dispatcher.done(10)
    assert await slots[0] == 12
    source.put(13, 20)
    assert await slots[1] == 20
    assert not slots[2].done()
    dispatcher.done(12)
    assert await slots[2] == 13
    await dispatcher.stop()


async def test_no_more_than_the_bound_is_held_back() -> None:
    source = Queue()
    dispatcher = make(source, most=3)
    source.put(*range(10, 20), 20)
    slots = [asyncio.ensure_future(dispatcher.next()) for _ in range(2)]
    assert await slots[0] == 10
    await eventually_async(lambda: len(dispatcher.held()) == 3)
    assert dispatcher.held() == [11, 12, 13]
    assert list(source.items) == [*range(14, 20), 20]
    assert not slots[1].done(), "what could run is beyond the bound"
    for item in range(10, 16):
        dispatcher.done(item)
        assert await slots[1] == item + 1
        slots[1] = asyncio.ensure_future(dispatcher.next())
        await eventually_async(lambda: len(dispatcher.held()) == 3)
    dispatcher.done(16)
    assert await slots[1] == 17
    assert await dispatcher.next() == 20
    await dispatcher.stop()


async def test_what_is_held_back_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_key, "MOST_BYTES", 25)
    source = Queue()
    dispatcher = make(source, size_of=lambda item: 10)
    source.put(*range(10, 20))
    assert await dispatcher.next() == 10
    slot = asyncio.ensure_future(dispatcher.next())
    await eventually_async(lambda: len(dispatcher.held()) == 3)
    await asyncio.sleep(0)
    assert len(dispatcher.held()) == 3
    slot.cancel()
    await dispatcher.stop()


async def test_after_stop_nothing_runs_and_what_is_held_is_handed_over() -> None:
    source = Queue()
    dispatcher = make(source)
    source.put(10, 11, 12, 20)
    assert [await dispatcher.next(), await dispatcher.next()] == [10, 20]
    slot = asyncio.ensure_future(dispatcher.next())
    await asyncio.sleep(0)
    source.end()
    await dispatcher.stop()
    assert await slot is None
    assert dispatcher.exchange(10) is None
    assert sorted(dispatcher.take_all()) == [11, 12]
    assert dispatcher.take_all() == []
    dispatcher.done(20)
    assert source.in_slots == 0
    assert not dispatcher._busy
    assert not dispatcher._keys


async def test_the_error_that_ends_the_source_reaches_every_slot() -> None:
    class Failing(Queue):
        async def next(self) -> int | None:
            await asyncio.sleep(0)
            raise BusClosed("closed")

    dispatcher = make(Failing())
    found = await asyncio.gather(*(dispatcher.next() for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in found] == [BusClosed] * 3
    await dispatcher.stop()


async def test_a_message_that_is_put_back_is_the_next_and_keeps_its_key() -> None:
    source = Queue()
    dispatcher = make(source)
    source.put(10, 11, 20)
    item = await dispatcher.next()
    assert item == 10
    dispatcher.put_back(item)
    assert source.in_slots == 0
    assert [await dispatcher.next(), await dispatcher.next()] == [10, 20]
    dispatcher.put_back(20)
    assert sorted(dispatcher.take_all()) == [11, 20]
    assert dispatcher.exchange(10) is None
    assert not dispatcher._busy


async def test_no_more_are_handed_out_together_than_the_capacity() -> None:
    source, capacity = Queue(), 2
    dispatcher = make(source, per_key=3, capacity=lambda: capacity)
    source.put(10, 11, 12, 20)
    assert [await dispatcher.next(), await dispatcher.next()] == [10, 11]
    slot = asyncio.ensure_future(dispatcher.next())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not slot.done()
    dispatcher.done(10)
    assert await slot == 12
    await dispatcher.stop()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 59), max_size=60, unique=True),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 8),
    st.randoms(use_true_random=True),  # tasks draw from it, which must not raise hypothesis' own exceptions there
)
def test_every_message_runs_once_and_never_too_many_of_a_key(
    items: list[int], per_key: int, most: int, slots: int, chance: random.Random
) -> None:
    async def run() -> None:
        source = Queue()
        dispatcher = make(source, per_key=per_key, most=most)
        running: Counter[Any] = Counter()
        seen: list[int] = []

        async def slot() -> None:
            item = await dispatcher.next()
            while item is not None:
                seen.append(item)
                running[tens(item)] += 1
                assert tens(item) is None or running[tens(item)] <= per_key
                assert len(dispatcher.held()) <= most
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                running[tens(item)] -= 1
                item = dispatcher.exchange(item) or await dispatcher.next()

        tasks = [asyncio.ensure_future(slot()) for _ in range(slots)]
        for item in items:
            source.put(item)
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        async with asyncio.timeout(30):
            while len(seen) < len(items):
                for task in tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0)
        source.end()
        await dispatcher.stop()
        await asyncio.gather(*tasks)
        assert sorted(seen) == sorted(items)
        assert source.in_slots == 0
        for key in {tens(item) for item in items} - {None}:  # in the order of their arrival
            assert [one for one in seen if tens(one) == key] == [one for one in items if tens(one) == key]

    asyncio.run(run())
