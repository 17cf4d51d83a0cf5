"""A call in a context of its own: values stay inside, and it remains work of the same task."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable

import pytest

from smith_sdk._core.execution.context_call import call_in_context

value: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="outside")


@pytest.mark.parametrize("steps", [0, 1, 5])
async def test_what_it_sets_is_seen_by_it_alone(steps: int) -> None:
    task = asyncio.current_task()

    async def work(argument: str) -> str:
        assert value.get() == "outside"
        value.set(argument)
        for _ in range(steps):
            await asyncio.sleep(0)
            assert (value.get(), asyncio.current_task()) == (argument, task)
        return value.get()

    assert await call_in_context(work, "inside") == "inside"
    assert value.get() == "outside"


@pytest.mark.parametrize("waits", [False, True])
async def test_its_errors_are_the_callers(waits: bool) -> None:
    async def work(argument: str) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError(argument)

    with pytest.raises(ValueError, match="no"):
        await call_in_context(work, "no")


async def test_cancelling_the_task_cancels_the_call_which_may_go_on() -> None:
    began = asyncio.Event()

    async def work(_: object) -> str:
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            value.set("cleaning up")
            await asyncio.sleep(0)
            return value.get()
        return "not cancelled"

    task = asyncio.ensure_future(call_in_context(work, None))
    await began.wait()
    task.cancel()
    assert await task == "cleaning up"
    assert value.get() == "outside"


async def test_a_function_may_return_another_awaitable() -> None:
    def work(argument: int) -> Awaitable[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(argument + 1)
        return future

    assert await call_in_context(work, 1) == 2
