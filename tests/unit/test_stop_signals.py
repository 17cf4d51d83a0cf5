"""Signals for the workers of a process: all stop, and its own signal handlers are restored."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from support import eventually_async

from smith_sdk._core.execution.stop_signals import stop_on_signals

NUMBERS = (signal.SIGTERM, signal.SIGINT)


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_signal_stops_every_worker_of_the_process(number: signal.Signals) -> None:
    stopped: list[str] = []
    with stop_on_signals(lambda: stopped.append("a")):
        with stop_on_signals(lambda: stopped.append("b")):
            os.kill(os.getpid(), number)
            await eventually_async(lambda: stopped == ["a", "b"])
        os.kill(os.getpid(), number)
        await eventually_async(lambda: stopped == ["a", "b", "a"])


async def test_the_handlers_of_the_process_are_restored_after_the_last_worker() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    first, second = stop_on_signals(lambda: None), stop_on_signals(lambda: None)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # not in the order in which they began
    assert [signal.getsignal(number) for number in NUMBERS] != before
    second.__exit__(None, None, None)
    assert [signal.getsignal(number) for number in NUMBERS] == before


async def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]

    async def within() -> list[object]:
        with stop_on_signals(lambda: None):
            return [signal.getsignal(number) for number in NUMBERS]

    assert await asyncio.to_thread(asyncio.run, within()) == before
