"""A handler that blocks the event loop is named in the log while it does so."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest
from buses import Account, Face, read_intent
from support import eventually, eventually_async

from smith_sdk import Admission, Allow, Worker, consumers, subjects
from smith_sdk._core.execution import loop_watch
from smith_sdk.aio import Decision

spec = consumers.executor_fs_read


def watchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "smith-loop-watch"]


async def test_the_handler_and_its_line_are_named_while_it_blocks(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_TICK", 0.05)
    seen: list[str] = []

    def blocks_until_named() -> None:
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            seen.extend(line for line in caplog.messages if "blocked the event loop" in line)
            time.sleep(0.01)

    async with account.applied() as bus:
        worker = Worker(bus, spec)
        other = Worker(bus, consumers.executor_fs_write)  # which is not to blame

        @other.handler
        async def never(message: Any) -> None: ...

        @worker.handler
        async def read(message: Any) -> None:
            async with asyncio.timeout(20):
                await inner()

        async def inner() -> None:
            blocks_until_named()

        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        running = [asyncio.ensure_future(one.run()) for one in (worker, other)]
        await eventually_async(lambda: worker.stats.succeeded == 1, 20)
        await eventually_async(lambda: len(watchers()) == 1)  # for both; one of a test before may be about to end
        for one in (worker, other):
            await one.stop()
        await asyncio.gather(*running)
    assert "executor-fs-read: handler " in seen[0]
    assert ".read has blocked the event loop for 1." in seen[0]
    assert f"at {__file__}:" in seen[0]
    assert "seq 1: nothing else runs there" in seen[0]
    assert "after the ack wait of 30 s those in flight are redelivered while they still run here" in seen[0]
    (record,) = [one for one in caplog.records if "has blocked" in one.message]
    assert record.levelname == "WARNING"
    assert (record.__dict__["consumer"], record.__dict__["seq"], record.__dict__["attempt"]) == (spec.name, 1, 1)
    await eventually_async(lambda: not watchers())


async def test_a_blockage_is_reported_again_at_growing_intervals_and_at_its_end(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_TICK", 0.05)
    monkeypatch.setattr(loop_watch, "_BLOCKED", 0.2)
    monkeypatch.setattr(loop_watch, "_REPORTED_AGAIN", 0.5)

    def told() -> list[str]:
        return [line for line in caplog.messages if "event loop" in line]

    async def decide(intent: Any) -> Decision:
        await asyncio.sleep(0)  # later steps of a coroutine run in the loop as well
        before = len(told())
        eventually(lambda: len(told()) == before + 3)
        return Allow()

    async with account.applied() as bus:
        admission = Admission(bus, policy=decide, executor_id="x")
        running = asyncio.ensure_future(admission.run())
        for count in (4, 8):
            intent = read_intent()
            await bus.publish(subjects.intents.raw.of(intent), intent)
            await eventually_async(lambda count=count: len(told()) == count, 20)  # type: ignore[misc]
        await admission.stop()
        await running
    for lines in (told()[:4], told()[4:]):
        first, second, third, end = lines
        assert all(line.startswith("admission: policy test_a_blockage_is_reported") for line in lines)
        lasted = [float(line.partition(" for ")[2].split()[0]) for line in (first, second, third)]
        # each no earlier than it is due; on a busy machine, later
        assert all(shown >= due for shown, due in zip(lasted, (0.2, 0.5, 1.0), strict=True)), lasted
        assert "no longer blocks the event loop, after " in end


async def test_code_outside_of_handlers_is_shown_by_its_place(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_TICK", 0.05)
    async with account.applied() as bus:
        admission = Admission(bus, policy=lambda intent: Allow(), executor_id="x")
        running = asyncio.ensure_future(admission.run())
        await eventually_async(lambda: watchers())

        def blocks() -> None:
            deadline = time.monotonic() + 10
            while "has been blocked" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)

        blocks()
        await admission.stop()
        await running
    line = next(one for one in caplog.messages if "blocked" in one)
    assert "in blocks:" in line


async def test_a_handler_that_waits_or_runs_in_a_thread_is_not_reported(
    face: Face, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_TICK", 0.05)
    caplog.set_level(logging.INFO, "smith_sdk")
    async with face.applied() as bus:
        worker = face.worker(bus, spec)

        async def waits(message: Any) -> None:
            await asyncio.sleep(1.5)

        worker.handler(waits if face.is_async else lambda message: time.sleep(1.5))
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        running = asyncio.ensure_future(worker.run())
        await eventually_async(lambda: "stopped" in caplog.text or worker_done(worker, face), 20)
        await worker.stop()
        await running
    assert "blocked" not in caplog.text


def worker_done(worker: Any, face: Face) -> bool:
    return bool((worker if face.is_async else worker.inner).stats.succeeded)
