"""The token bucket, and the dispatcher that waits for its tokens."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sources import Queue
from support import eventually_async

from smith_sdk import RateLimit
from smith_sdk._core.execution.dispatcher import Fifo
from smith_sdk._core.execution.rate import ByRate, TokenBucket
from smith_sdk.errors import OptionsError


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0, 5), max_size=80), st.floats(0.1, 20), st.integers(1, 10))
def test_in_no_span_of_time_more_tokens_than_the_rate_and_the_burst(pauses: list[float], rate: float, burst: int) -> None:
    clock = Clock()
    bucket, taken = TokenBucket(rate, burst, clock), list[float]()
    for pause in pauses:
        clock.now += pause
        if not bucket.wait():
            bucket.take()
            taken.append(clock.now)
        else:
            assert bucket.wait() <= 1 / rate + 1e-9
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - taken[first]) * rate + 1e-6


def test_a_token_is_there_when_the_wait_is_over_and_a_clock_that_goes_back_gives_none() -> None:
    clock = Clock()
    bucket = TokenBucket(2.0, 1, clock)
    bucket.take()
    assert bucket.wait() == 0.5
    clock.now -= 10
    assert bucket.wait() == 0.5
    clock.now += 10.25
    assert bucket.wait() == 0.25
    clock.now += 0.25
    assert bucket.wait() == 0
    bucket.take()
    bucket.give_back()
    bucket.give_back()
    bucket.take()
    assert bucket.wait() > 0


async def test_messages_wait_for_tokens_in_their_source() -> None:
    clock, source = Clock(), Queue()
    dispatcher = ByRate(Fifo(source), TokenBucket(100.0, 2, clock))
    source.put(1, 2, 3, 4)
    assert await dispatcher.next() == 1
    assert dispatcher.exchange(1) == 2
    assert dispatcher.exchange(2) is None
    waiting = asyncio.ensure_future(dispatcher.next())
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    assert list(source.items) == [3, 4]
    assert source.in_slots == 0
    clock.now += 0.015
    assert await waiting == 3


async def test_slots_that_wait_for_messages_reserve_no_tokens() -> None:
    clock, source = Clock(), Queue()
    dispatcher = ByRate(Fifo(source), TokenBucket(0.001, 2, clock))
    slots = [asyncio.ensure_future(dispatcher.next()) for _ in range(5)]
    await asyncio.sleep(0)
    clock.now += 1_000_000
    source.put(*range(1, 6))
    await eventually_async(lambda: sum(one.done() for one in slots) == 2)
    await asyncio.wait(slots, timeout=0.1)
    assert sorted(one.result() or 0 for one in slots if one.done()) == [1, 2]
    source.end()
    source.take_all()
    await dispatcher.stop()
    assert [await one for one in slots][2:] == [None] * 3


async def test_a_message_that_is_put_back_gives_its_token_back() -> None:
    clock, source = Clock(), Queue()
    dispatcher = ByRate(Fifo(source), TokenBucket(0.001, 1, clock))
    source.put(1, 2)
    assert await dispatcher.next() == 1
    dispatcher.put_back(1)
    assert await dispatcher.next() == 1
    dispatcher.done(1)
    assert dispatcher.held() == []
    assert dispatcher.take_all() == [2]


def test_a_limit_has_its_rate() -> None:
    assert RateLimit(100, per=60, burst=20).per_second == pytest.approx(100 / 60)
    assert RateLimit(5, per=timedelta(minutes=1)).per_second == pytest.approx(5 / 60)
    assert RateLimit(7) == RateLimit(7, per=1)


@pytest.mark.parametrize(
    ("option", "arguments", "options"),
    [
        *[("count", (one,), {}) for one in (0, -1, 1.5, True, "5", None)],
        *[("per", (1,), {"per": one}) for one in (0, -1, float("nan"), float("inf"), "60", True, None)],
        *[("burst", (1,), {"burst": one}) for one in (0, 1.5, True, "2")],
    ],
)
def test_an_invalid_limit_names_its_option(option: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=rf"RateLimit\.{option}="):
        RateLimit(*arguments, **options)
