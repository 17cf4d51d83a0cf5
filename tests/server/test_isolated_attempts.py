"""Deliveries that ended without a verdict: the poison message is found, and all others complete."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from chaos.proxy import Proxy
from letters import mark
from support import eventually, eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Message, RetryLater, RetryPolicy, SmithBus, Worker, consumers, subjects, sync
from smith_sdk._core.dead_letters import attempt_marker
from smith_sdk._core.execution.isolation import ISOLATION, IsolationLock
from smith_sdk.contract import ConsumerSpec
from smith_sdk.errors import MessageNotFound
from smith_sdk.protocol import FsReadV1Intent, FsWriteV1Intent, FsWriteV1Params

vetted = subjects.intents.vetted
spec = consumers.executor_fs_read
QUICK = msgspec.structs.replace(spec, ack_wait=1.0)
"""For tests that need what the server redelivers after an ack wait. It does so, too, if a busy
machine stops this process for as long: other tests count deliveries."""
TWICE = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))


@contextlib.asynccontextmanager
async def working(
    bus: AsyncSmithBus, handler: Any, *, spec: ConsumerSpec[Any, Any] = spec, **options: Any
) -> AsyncIterator[Worker[Any, Any]]:
    worker: Worker[Any, Any] = Worker(bus, spec, retry=TWICE, **options)
    worker.handler(handler)
    running = asyncio.ensure_future(worker.run())
    try:
        yield worker
    finally:
        await worker.stop()
        await running


async def put(bus: AsyncSmithBus, *paths: str) -> None:
    for path in paths:
        intent = read_intent(path)
        await bus.publish(vetted.of(intent), intent)


async def nak(bus: AsyncSmithBus, times: int, spec: ConsumerSpec[Any, Any] = spec) -> None:
    for _ in range(times):
        (message,) = await bus.consumer(spec).fetch(1)
        await message.nack()


async def dead_lettered(bus: AsyncSmithBus) -> bool:
    return len(await bus.dead_letters.list()) == 1


async def settled(bus: AsyncSmithBus, spec: ConsumerSpec[Any, Any] = spec) -> bool:
    info = await bus.consumer(spec).info()
    stored = {one.name: one.messages for one in await bus.streams.info()}
    assert stored[spec.stream] == info.num_pending == info.num_ack_pending == 0, f"{stored[spec.stream]} stored, {info}"
    return True


# ---- a process that dies

EXECUTOR = """
    import asyncio, logging, os, signal, sys
    import msgspec
    from smith_sdk import AsyncSmithBus, RetryPolicy, Worker, consumers
    from smith_sdk.topology import CONTRACT

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s: %(message)s")
    url, log = sys.argv[1:]
    spec = msgspec.structs.replace(consumers.executor_fs_read, ack_wait=1.0)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def main():
        async with AsyncSmithBus(url) as bus:
            worker = Worker(bus, spec, concurrency=8, retry=RetryPolicy(max_attempts=2))
            @worker.handler
            async def handle(message):
                path = message.payload.params.path
                os.write(file, f"{os.getpid()} begins {path}\\n".encode())
                await asyncio.sleep(0.3 if path.startswith("good") else 0.1)
                if path.startswith("poison"):
                    os.kill(os.getpid(), signal.SIGKILL)
                os.write(file, f"{os.getpid()} ends {path}\\n".encode())
            await worker.run()
    asyncio.run(main())
"""


async def test_a_poison_message_is_dead_lettered_and_all_beside_it_complete(tmp_path: Path, account: Account) -> None:
    log = tmp_path / "log"
    good = [f"good-{number}" for number in range(24)]
    async with account.applied(contract=declaring(QUICK)) as bus:
        await put(bus, *good[:3], "poison-1", *good[3:5], "poison-2", *good[5:])
        done = asyncio.ensure_future(eventually_async(lambda: settled(bus, QUICK), 50, interval=0.1))
        while not done.done():
            command = [sys.executable, "-c", textwrap.dedent(EXECUTOR), account.url, str(log)]
            process = await asyncio.to_thread(subprocess.Popen, command)
            ended = asyncio.ensure_future(asyncio.to_thread(process.wait))
            await asyncio.wait((ended, done), return_when=asyncio.FIRST_COMPLETED)
            if done.done():
                process.terminate()
            assert await ended == (0 if done.done() else -signal.SIGKILL)
        await done
        letters = [(path_in(one.payload), one.error_type) for one in await bus.dead_letters.list()]
    assert sorted(letters) == [("poison-1", "DeliveriesExhausted"), ("poison-2", "DeliveriesExhausted")]
    runs = [line.split() for line in log.read_text().splitlines()]
    assert {path for _, what, path in runs if what == "ends"} == set(good)
    for path in ("poison-1", "poison-2"):
        last = max(number for number, run in enumerate(runs) if run[2] == path)
        same_process = [run for run in runs[:last] if run[0] == runs[last][0]]
        ended_there = {path for _, what, path in same_process if what == "ends"}
        assert {path for _, what, path in same_process if what == "begins"} <= ended_there, (
            f"{path} was not alone when it was given up"
        )


def path_in(payload: bytes) -> str:
    return msgspec.json.decode(payload, type=FsReadV1Intent).params.path


# ---- the isolated attempt


async def test_a_message_that_was_only_naked_is_not_dead_lettered(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "good")
        await nak(bus, 6)
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert seen == [7]
        assert await bus.dead_letters.list() == ()


async def test_an_error_in_the_isolated_attempt_is_the_dead_letters_error(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "bad")
        await nak(bus, 2)

        async def handle(message: Message[FsReadV1Intent]) -> None:
            raise ValueError("as ever")

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        (letter,) = await bus.dead_letters.list()
        assert (letter.error_type, letter.error, letter.attempts) == ("ValueError", "as ever", 3)


ENDING = """
    import asyncio, sys
    import msgspec
    from smith_sdk import AsyncSmithBus, RetryPolicy, SmithBus, Worker, consumers, sync

    url, face, error = sys.argv[1:]
    spec = msgspec.structs.replace(consumers.executor_fs_read, ack_wait=1.0)
    options = {"retry": RetryPolicy(max_attempts=2)}

    def end(message):
        print(message.metadata.num_delivered, flush=True)
        raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[error](3)

    async def main():
        bus = AsyncSmithBus(url)
        await bus.connect()
        try:
            worker = Worker(bus, spec, **options)
            @worker.handler
            async def handle(message):
                end(message)
            await worker.run()
        finally:
            await bus.close(timeout=0.5)  # the interrupted loop has cancelled what reads the link

    if face == "async":
        asyncio.run(main())
    else:
        with SmithBus(url) as bus:
            worker = sync.Worker(bus, spec, **options)
            worker.handler(end)
            worker.run()
"""


async def runs_of_a_process(account: Account, bus: AsyncSmithBus, face: str, error: str) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(ENDING), account.url, face, error]
    pipe = subprocess.PIPE
    process = await asyncio.to_thread(subprocess.Popen, command, stdout=pipe, stderr=pipe, text=True)
    ended = asyncio.ensure_future(asyncio.to_thread(process.communicate))
    try:
        await eventually_async(lambda: ended.done() or dead_lettered(bus))
    finally:
        process.terminate()
    return (await ended)[0].split()


@pytest.mark.parametrize(("error", "verdict"), [("SystemExit", "SystemExit"), ("KeyboardInterrupt", "DeliveriesExhausted")])
async def test_an_isolated_attempt_that_ends_its_process_is_not_repeated(
    face: Face, error: str, verdict: str, account: Account
) -> None:
    """An interrupt leaves its marker for the next process. `SystemExit` is a failed attempt."""
    async with account.applied(contract=declaring(QUICK)) as bus:
        await put(bus, "ends")
        await nak(bus, 2, QUICK)
        runs = [
            *await runs_of_a_process(account, bus, face.name, error),
            *await runs_of_a_process(account, bus, face.name, error),
        ]
        (letter,) = await bus.dead_letters.list()
    assert runs == ["3"]
    assert letter.error_type == verdict


MARKER = f"smith.dlq.{spec.stream}.{spec.name}.1.trial"


async def marker(bus: AsyncSmithBus) -> int:
    """The position of the first message's attempt marker; 0 if none stands."""
    try:
        found = await bus._session.api.last_message("SMITH_DLQ", MARKER)
    except MessageNotFound:
        return 0
    return 0 if attempt_marker.is_over(found.headers) else found.seq


async def test_a_message_has_one_isolated_attempt(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "dies")
        await nak(bus, 3)
        await bus._session.publish(MARKER, b"a process that died just then", stream="SMITH_DLQ", msg_id="x")
        seen: list[Any] = []
        async with working(bus, lambda message: seen.append(message)):
            await eventually_async(lambda: settled(bus))
        assert seen == []
        (letter,) = await bus.dead_letters.list()
        assert letter.error_type == "DeliveriesExhausted"


async def test_a_process_that_finds_its_own_marker_has_survived_that_attempt(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "good")
        await nak(bus, 2)
        (message,) = await bus.consumer(spec).fetch(1)
        assert await mark(bus, message)
        await message.nack()
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert seen == [4]
        assert await marker(bus) == 0
        assert await bus.dead_letters.list() == ()


async def until_its_marker_is_stored_unconfirmed(near: AsyncSmithBus, proxy: Proxy) -> int:
    """Let the marker of an isolated attempt be stored, but not confirmed. Returns its position."""
    await eventually_async(lambda: ISOLATION._isolated == 1)
    proxy.stall("to_client")
    ISOLATION.end()
    return await eventually_async(lambda: marker(near))


async def test_a_worker_that_is_cancelled_while_it_stores_its_marker_removes_it(account: Account) -> None:
    async with account.applied() as near:
        await put(near, "innocent")
        await nak(near, 2)
        with Proxy(account.url) as proxy:
            async with AsyncSmithBus(proxy.url) as far:
                worker = Worker(far, spec, retry=TWICE)

                @worker.handler
                async def handle(message: Message[FsReadV1Intent]) -> None:
                    raise AssertionError("its worker was cancelled before")

                assert ISOLATION.begin()
                running = asyncio.ensure_future(worker.run())
                await until_its_marker_is_stored_unconfirmed(near, proxy)
                running.cancel()
                await eventually_async(lambda: any(task.cancelling() for task in asyncio.all_tasks() - {running}))
                proxy.hear()
                await asyncio.wait({running})
                assert running.cancelled()
                assert await marker(near) == 0
                assert worker.stats.unanswered == 1


async def test_an_unconfirmed_marker_is_removed(account: Account) -> None:
    async with account.applied() as near:
        await put(near, "innocent")
        await nak(near, 2)
        runs: list[int] = []
        with Proxy(account.url) as proxy:
            async with AsyncSmithBus(proxy.url, publish_timeout=0.5) as far:

                async def handle(message: Message[FsReadV1Intent]) -> None:
                    runs.append(await marker(near))

                assert ISOLATION.begin()
                async with working(far, handle) as worker:
                    unconfirmed = await until_its_marker_is_stored_unconfirmed(near, proxy)
                    await eventually_async(lambda: not worker._slots.last_run.is_marked)
                    proxy.hear()
                    await eventually_async(lambda: settled(near), 20)
        (anew,) = runs
        assert anew > unconfirmed
        assert await marker(near) == 0
        assert await near.dead_letters.list() == ()


async def test_retry_later_is_never_exhausted(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "patient")
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)
            if len(seen) < 6:
                raise RetryLater(0.02)

        async with working(bus, handle):
            await eventually_async(lambda: settled(bus))
        assert seen == [1, 2, 3, 4, 5, 6]
        assert await bus.dead_letters.list() == ()
        assert await bus.dead_letters.audit() == ()


async def test_a_process_that_was_halted_dead_letters_nothing_that_it_has_done(account: Account) -> None:
    """The server redelivers a message after every ack wait without an ack or a keepalive."""
    quick = msgspec.structs.replace(spec, ack_wait=0.5)
    async with account.applied(contract=declaring(quick)) as bus:
        await put(bus, "good")
        seen: list[int] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            seen.append(message.metadata.num_delivered)
            if len(seen) == 1:  # the whole process stands still, but for the look
                eventually(lambda: aside.submit(asyncio.run, deliveries(account.url)).result(30) >= 4, interval=0.1)

        with ThreadPoolExecutor(1) as aside:
            async with working(bus, handle, spec=quick):
                await eventually_async(lambda: settled(bus, quick) if seen else False)
                await eventually_async(lambda: len(seen) >= 4)  # two attempts, the isolated one, and one beyond
        assert await bus.dead_letters.list() == ()
        assert await bus.dead_letters.audit() == ()


async def deliveries(url: str) -> int:
    async with AsyncSmithBus(url) as other:
        found: int = (await other._session.api.consumer_info(spec.stream, spec.name))["delivered"]["consumer_seq"]
        return found


async def test_an_isolated_attempt_that_the_drain_cuts_off_is_repeated(account: Account) -> None:
    async with account.applied() as bus:
        await put(bus, "long")
        await nak(bus, 2)
        began, done = asyncio.Event(), asyncio.Event()

        async def never_ends(message: Message[FsReadV1Intent]) -> None:
            began.set()
            await asyncio.Event().wait()

        async def ends(message: Message[FsReadV1Intent]) -> None:
            assert message.metadata.num_delivered == 4
            done.set()

        async with working(bus, never_ends, drain_timeout=0.05):
            await asyncio.wait_for(began.wait(), 10)
        async with working(bus, ends):
            await eventually_async(lambda: settled(bus))
        assert done.is_set()
        assert await bus.dead_letters.list() == ()


async def test_an_isolated_attempt_waits_for_handlers_in_other_threads(account: Account) -> None:
    other = consumers.executor_fs_write
    async with account.applied() as bus:
        began, release = threading.Event(), threading.Event()
        log: list[str] = []

        def beside() -> None:
            with SmithBus(account.url) as blocking:
                worker = sync.Worker(blocking, other)

                @worker.handler
                def hold(message: Any) -> None:
                    began.set()
                    release.wait(20)
                    log.append("the other ended")
                    threading.Thread(target=worker.stop).start()

                worker.run()

        await put_other(bus)
        thread = asyncio.ensure_future(asyncio.to_thread(beside))
        assert await asyncio.to_thread(began.wait, 10)
        await put(bus, "suspect")
        await nak(bus, 2)

        async def handle(message: Message[FsReadV1Intent]) -> None:
            log.append("alone")

        try:
            async with working(bus, handle):
                await eventually_async(lambda: ISOLATION._isolated == 1)
                assert log == []
                release.set()
                await eventually_async(lambda: settled(bus))
        finally:
            release.set()
            await thread
        assert log == ["the other ended", "alone"]


async def put_other(bus: AsyncSmithBus) -> None:
    intent = FsWriteV1Intent.new(domain="default", params=FsWriteV1Params(path="/x", content="y"))
    await bus.publish(vetted.of(intent), intent)


async def test_an_isolated_attempt_that_waits_in_vain_does_not_hold_up_the_others(account: Account) -> None:
    async with account.applied() as bus:
        release = asyncio.Event()
        seen: list[str] = []

        async def handle(message: Message[FsReadV1Intent]) -> None:
            path = message.payload.params.path
            if path == "endless":
                await release.wait()
            seen.append(path)

        await put(bus, "suspect")
        await nak(bus, 2)
        (suspect,) = await bus.consumer(spec).fetch(1)
        await put(bus, "endless")
        async with working(bus, handle, spec=QUICK, concurrency=3) as worker:  # it waits in vain for that ack wait
            await eventually_async(lambda: len(ISOLATION._running) == 1)
            await suspect.nack()
            await eventually_async(lambda: ISOLATION._isolated == 1)
            await put(bus, "a", "b", "c")
            await eventually_async(lambda: sorted(seen) == ["a", "b", "c"])
            release.set()
            await eventually_async(lambda: settled(bus))
        assert sorted(seen) == ["a", "b", "c", "endless", "suspect"]
        stats = worker.stats
        assert (stats.running, stats.succeeded, stats.retried, stats.dead_lettered) == (0, 5, 0, 0)
        delivered = (await bus._session.api.consumer_info(spec.stream, spec.name))["delivered"]["consumer_seq"]
        assert stats.unanswered == delivered - 3 - 5 >= 1  # three to this test
        assert await bus.dead_letters.list() == ()


# ---- the lock


async def test_the_lock_is_released_by_callers_that_are_cancelled_or_give_up() -> None:
    lock = IsolationLock()
    assert lock.begin()
    assert not await lock.begin_alone(0.01)
    alone = asyncio.ensure_future(lock.begin_alone(10))
    await asyncio.sleep(0)
    assert not lock.begin()
    beside = asyncio.ensure_future(lock.wait())
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait_for(beside, 20)
    lock.end()
    lock.end()
    assert await lock.begin_alone(1)
    assert not await lock.begin_alone(0.01)
    lock.end_alone()
    assert lock.begin()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")
def test_a_forked_child_starts_with_an_empty_lock() -> None:
    assert ISOLATION.begin()
    try:
        pid = os.fork()
        if not pid:
            os._exit(len(ISOLATION._running))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        ISOLATION.end()
