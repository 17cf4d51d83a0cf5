"""The acknowledgement that resumes its task in the turn of the event loop in which it arrives."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from smith_sdk._core.execution.prompt_future import PromptFuture
from smith_sdk._core.jetstream.publish_request import PubAck
from smith_sdk.errors import PublishError

ACK = PubAck("S", 1)
WHERE: ContextVar[str] = ContextVar("WHERE")


async def waiting(ack: PromptFuture[PubAck], log: list[object]) -> PubAck:
    WHERE.set("task")
    try:
        return await ack
    finally:
        log.append(WHERE.get())


async def started(ack: PromptFuture[PubAck], log: list[object]) -> asyncio.Task[PubAck]:
    task = asyncio.ensure_future(waiting(ack, log))
    await asyncio.sleep(0)
    return task


async def test_a_task_goes_on_in_the_callback_that_has_the_ack() -> None:
    ack, log = PromptFuture[PubAck](), list[object]()
    task = await started(ack, log)

    def arrived() -> None:
        ack.set_result(ACK)
        log.append("callback")

    asyncio.get_running_loop().call_soon(arrived)
    assert await task == ACK
    assert log == ["task", "callback"]


async def test_inside_another_task_it_goes_on_afterwards() -> None:
    ack, log = PromptFuture[PubAck](), list[object]()
    task = await started(ack, log)
    ack.set_result(ACK)
    log.append("other task")
    assert await task == ACK
    assert log == ["other task", "task"]


async def test_what_has_ended_before_it_is_awaited_does_not_wait() -> None:
    ack = PromptFuture[PubAck]()
    ack.set_result(ACK)
    assert ack.done()
    assert await ack == ACK


async def test_an_error_is_raised() -> None:
    ack, log = PromptFuture[PubAck](), list[object]()
    task = await started(ack, log)
    ack.set_exception(PublishError("no"))
    with pytest.raises(PublishError, match="no"):
        await task


async def test_a_cancelled_task_ends_and_a_late_ack_finds_it_done() -> None:
    ack, log = PromptFuture[PubAck](), list[object]()
    task = await started(ack, log)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ack.done()
    assert not ack.cancel()


@pytest.mark.parametrize("way", ["shield", "gather", "wait_for"])
@pytest.mark.parametrize("is_late", [False, True])
async def test_what_asyncio_builds_on_awaitables_works_with_it(way: str, is_late: bool) -> None:
    ack = PromptFuture[PubAck]()
    if is_late:
        ack.set_result(ACK)
    ways: dict[str, Any] = {"shield": asyncio.shield, "gather": asyncio.gather, "wait_for": lambda ack: asyncio.wait_for(ack, 5)}
    task = asyncio.ensure_future(ways[way](ack))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not is_late:
        ack.set_result(ACK)
    async with asyncio.timeout(5):
        assert await task in (ACK, [ACK])


async def test_a_second_task_that_awaits_it_is_refused() -> None:
    ack, log = PromptFuture[PubAck](), list[object]()
    task = await started(ack, log)
    with pytest.raises(RuntimeError, match="awaited by one task"):
        await ack
    ack.set_result(ACK)
    assert await task == ACK


async def test_a_deadline_around_it_holds() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await PromptFuture[PubAck]()


def test_a_task_that_exits_ends_the_loop_and_not_what_has_read_its_ack() -> None:
    went_on: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def exits(ack: PromptFuture[PubAck]) -> None:
        await ack
        raise SystemExit(3)

    async def main() -> None:
        ack = PromptFuture[PubAck]()
        task = asyncio.ensure_future(exits(ack))
        await asyncio.sleep(0)

        def arrives() -> None:
            ack.set_result(PubAck("TEST", 1))
            went_on.append("the parser")

        asyncio.get_running_loop().call_soon(arrives)
        tasks.append(task)
        await asyncio.wait({task})

    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert went_on
    assert isinstance(tasks[0].exception(), SystemExit)
