"""Turns: one at a time for each key, in order, and nothing is kept of a key that is not in use."""

from __future__ import annotations

import asyncio

import pytest

from smith_sdk._core.execution.turns import Turns


async def test_of_one_key_one_runs_at_a_time_in_order_and_others_beside_it() -> None:
    turns, log = Turns(), list[str]()
    end = asyncio.Event()

    async def take(key: str, name: str) -> None:
        async with turns.of(key):
            log.append(f"begin {name}")
            if name == "a1":
                await end.wait()
            log.append(f"end {name}")

    tasks = [asyncio.ensure_future(take(name[0], name)) for name in ("a1", "a2", "a3", "b1")]
    await tasks[-1]
    assert log == ["begin a1", "begin b1", "end b1"]
    assert len(turns) == 1
    end.set()
    await asyncio.gather(*tasks)
    assert log[3:] == ["end a1", "begin a2", "end a2", "begin a3", "end a3"]
    assert len(turns) == 0


async def test_a_turn_that_fails_or_whose_wait_is_cancelled_lets_the_next_one_pass() -> None:
    turns = Turns()

    async def take() -> None:
        async with turns.of("a"):
            pass

    async def fail() -> None:
        async with turns.of("a"):
            waiting.cancel()
            await asyncio.wait({waiting})
            raise ValueError("no")

    failing = asyncio.ensure_future(fail())
    waiting, last = asyncio.ensure_future(take()), asyncio.ensure_future(take())
    with pytest.raises(ValueError, match="no"):
        await failing
    await asyncio.wait_for(last, 5)
    assert waiting.cancelled()
    assert len(turns) == 0
