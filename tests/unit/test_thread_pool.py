"""ThreadPool: as many calls at once as there are threads, and none is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator

import pytest
from support import eventually_async

from smith_sdk._core.execution.thread_pool import ThreadPool

MOST = 4


def named() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("here-")]


@contextlib.asynccontextmanager
async def here() -> AsyncIterator[ThreadPool]:
    """A pool whose threads have ended afterwards."""
    threads = ThreadPool("here", MOST)
    try:
        yield threads
    finally:
        threads.close()
        await eventually_async(lambda: not named())


async def test_as_many_calls_run_at_once_as_there_are_threads() -> None:
    async with here() as threads:
        for _ in range(50):
            together = threading.Barrier(MOST)
            async with asyncio.timeout(20):
                await asyncio.gather(*(threads.run(together.wait, 20) for _ in range(MOST)))
        assert len(named()) == MOST


async def test_short_calls_run_beside_calls_that_wait() -> None:
    """One thread after the other is blocked: short calls run while one is free."""
    async with here() as threads:
        go_on = [threading.Event() for _ in range(MOST)]
        held: list[asyncio.Future[bool]] = []
        for event in go_on[:-1]:
            held.append(asyncio.ensure_future(threads.run(event.wait, 60)))
            async with asyncio.timeout(20):
                assert await asyncio.gather(*(threads.run(pow, 2, n) for n in range(100))) == [2**n for n in range(100)]
        held.append(asyncio.ensure_future(threads.run(go_on[-1].wait, 60)))
        waiting = asyncio.ensure_future(threads.run(pow, 2, 3))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        go_on[1].set()
        async with asyncio.timeout(20):
            assert await waiting == 8
            for event in go_on:
                event.set()
            assert await asyncio.gather(*held) == [True] * MOST
        assert len(named()) == MOST


async def test_a_cancelled_call_goes_on_and_holds_up_no_other() -> None:
    async with here() as threads:
        ended = threading.Event()

        def slow() -> None:
            time.sleep(0.05)
            ended.set()

        running = asyncio.ensure_future(threads.run(slow))
        await asyncio.sleep(0)
        running.cancel()
        assert await threads.run(pow, 2, 3) == 8
        await eventually_async(ended.is_set)


async def test_errors_are_the_callers() -> None:
    async with here() as threads:
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 1, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await threads.run(next, iter(()))
        assert await threads.run(pow, 2, 3) == 8


async def test_a_system_that_has_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    start, left = threading.Thread.start, 2

    def scarce(thread: threading.Thread) -> None:
        nonlocal left
        if left == 0:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(RuntimeError, match="can't start"):
        async with here():
            pass
    await eventually_async(lambda: not named())
