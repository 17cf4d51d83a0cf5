"""The blocking face where it is used from: signals, forks, threads, running loops, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest
from buses import health, read_intent
from support import eventually

from smith_sdk import SmithBus, consumers, subjects
from smith_sdk.errors import BlockingCallError, BusClosed
from smith_sdk.server import EmbeddedServer

PREAMBLE = """
    import os, sys, time
    from smith_sdk import SmithBus, consumers, subjects
    from smith_sdk.protocol import HealthEvent
    event = HealthEvent.new(service="web", healthy=True)
    subject = subjects.events.health.of(event)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedServer() as server:
        with SmithBus(server.url) as bus:
            bus.streams.apply(profile="dev")
        yield server.url


def start(body: str, *arguments: str) -> subprocess.Popen[str]:
    source = textwrap.dedent(PREAMBLE) + textwrap.dedent(body)
    command = [sys.executable, "-W", "default", "-c", source, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], timeout: float = 15) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


BLOCKED = {
    "iterating": "for message in bus.consumer(consumers.executor_git_clone).messages(): pass",
    "subscribed": "for message in bus.subscribe(subjects.logs.errors.filter()): pass",
    "fetching": "bus.consumer(consumers.executor_git_clone).fetch(1, timeout=60)",
    "publishing": "os.kill(int(sys.argv[2]), 19); bus.publish(subject, event, timeout=60)",
}


@pytest.mark.parametrize("what", BLOCKED)
def test_ctrl_c_ends_a_blocking_call_promptly(what: str) -> None:
    with EmbeddedServer() as server:
        with SmithBus(server.url) as bus:
            bus.streams.apply(profile="dev")
        body = f"""
            bus = SmithBus(sys.argv[1])
            bus.connect()
            print("ready", flush=True)
            try:
                {BLOCKED[what]}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                os._exit(0)
        """
        process = start(textwrap.dedent(body), server.url, str(server.pid))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        eventually(lambda: sleeping(process.pid))
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        status, out, err = finish(process)
        if what == "publishing":
            os.kill(server.pid or 0, signal.SIGCONT)
        assert (status, out, err) == (0, "interrupted\n", "")
        assert time.monotonic() - began < 3


def sleeping(pid: int) -> bool:
    """Its main thread waits, and has for a while."""
    with open(f"/proc/{pid}/wchan") as wchan:
        waits = "futex" in wchan.read()
    with open(f"/proc/{pid}/stat") as stat:
        return waits or stat.read().rpartition(")")[2].split()[0] == "S"


def test_a_forked_child_is_told_and_the_parent_goes_on(url: str) -> None:
    body = """
        with SmithBus(sys.argv[1]) as bus:
            bus.publish(subject, event)
            child = os.fork()
            if not child:
                for call in (lambda: bus.publish(subject, event), lambda: bus.submit(subject, event), bus.connect):
                    try:
                        call()
                    except Exception as error:
                        print(type(error).__name__, os.getpid(), os.getppid(), error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print("parent", bus.publish(subject, event).stream)
    """
    status, out, err = finish(start(body, url))
    lines = out.splitlines()
    assert status == 0, err
    assert lines[-1] == "parent SYSTEM_EVENTS"
    assert len(lines) == 4
    for line in lines[:-1]:
        kind, child, parent, words = line.split(" ", 3)
        assert kind == "BlockingCallError"
        assert child in words
        assert parent in words


def test_inside_a_running_loop_it_names_the_async_face(url: str) -> None:
    with SmithBus(url) as bus:

        async def main() -> None:
            event = health()
            for call in (
                lambda: bus.publish(subjects.events.health.of(event), event),
                lambda: bus.submit(subjects.events.health.of(event), event),
                lambda: next(bus.consumer(consumers.http_results).messages()),
                bus.close,
            ):
                with pytest.raises(BlockingCallError, match="AsyncSmithBus"):
                    call()

        asyncio.run(main())
        event = health()
        assert bus.publish(subjects.events.health.of(event), event).stream == "SYSTEM_EVENTS"


def test_a_second_connect_leaves_the_first_as_it_is(url: str) -> None:
    with SmithBus(url) as bus:
        with pytest.raises(BusClosed, match="already"):
            bus.connect()
        event = health()
        assert bus.publish(subjects.events.health.of(event), event).stream == "SYSTEM_EVENTS"


def test_a_process_that_forgets_to_close_still_sends_and_ends(url: str) -> None:
    body = """
        bus = SmithBus(sys.argv[1])
        bus.connect()
        for _ in range(50):
            bus.submit(subject, event)
    """
    with SmithBus(url) as bus:

        def stored() -> int:
            return next(one.last_seq for one in bus.streams.info() if one.name == "SYSTEM_EVENTS")

        before = stored()
        began = time.monotonic()
        status, _, err = finish(start(body, url))
        assert time.monotonic() - began < 8
        assert status == 0, err
        assert "unclosed" not in err
        assert stored() == before + 50


def test_a_process_that_cannot_flush_says_so_and_ends() -> None:
    body = """
        bus = SmithBus(sys.argv[1])
        bus.connect()
        os.kill(int(sys.argv[2]), 19)  # the server is stopped: nothing is acknowledged any more
        for _ in range(5):
            bus.submit(subject, event)
    """
    with EmbeddedServer() as server:
        with SmithBus(server.url) as bus:
            bus.streams.apply(profile="dev")
        began = time.monotonic()
        try:
            status, _, err = finish(start(body, server.url, str(server.pid)))
        finally:
            os.kill(server.pid or 0, signal.SIGCONT)
        assert time.monotonic() - began < 10
        assert status == 0
        assert "RuntimeWarning" in err
        assert "5 unflushed" in err


def test_eight_threads_lose_nothing(url: str) -> None:
    each = 1500
    ids: list[str] = []
    failures: list[BaseException] = []
    with SmithBus(url) as bus:

        def work() -> None:
            try:
                intents = [read_intent() for _ in range(each)]
                futures = [bus.submit(subjects.intents.raw.of(intent), intent) for intent in intents]
                for future in futures:
                    future.result(timeout=30)
                ids.extend(intent.id for intent in intents)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        found: set[str] = set()
        for deliveries, message in enumerate(bus.consumer(consumers.admission).messages(), start=1):
            found.add(message.payload.id)
            message.ack()
            if deliveries == 8 * each:
                break
        for thread in threads:
            thread.join()
    assert failures == []
    assert found == set(ids)
    assert len(found) == 8 * each
