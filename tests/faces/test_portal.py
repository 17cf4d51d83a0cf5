"""What the blocking face refuses, and what crosses into its loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable

import pytest
from buses import health
from faces.children import ChildProcess
from support import eventually

from smith_sdk import SmithBus, consumers, subjects
from smith_sdk.errors import BlockingCallError, BusClosed, OptionsError

Run = Callable[..., ChildProcess]

EVENT = health()
SUBJECT = subjects.events.health.of(EVENT)


def test_inside_a_running_loop_it_names_the_async_face(url: str) -> None:
    with SmithBus(url) as bus:

        async def main() -> None:
            for call in (
                lambda: bus.publish(SUBJECT, EVENT),
                lambda: bus.submit(SUBJECT, EVENT),
                lambda: next(bus.consumer(consumers.http_results).messages()),
                SmithBus(url).connect,
                bus.close,
            ):
                with pytest.raises(BlockingCallError, match="AsyncSmithBus"):
                    call()

        asyncio.run(main())
        assert bus.publish(SUBJECT, EVENT).stream == "SYSTEM_EVENTS"


def test_before_connect_and_after_close_every_call_raises_with_advice(url: str) -> None:
    bus = SmithBus(url)
    for _ in range(2):
        for call in (
            lambda: bus.publish(SUBJECT, EVENT),
            lambda: bus.submit(SUBJECT, EVENT),
            lambda: bus.consumer(consumers.http_results).fetch(1),
        ):
            with pytest.raises(BusClosed, match="call connect"):
                call()
        bus.connect()
        bus.close()
        bus.close()


def test_a_second_connect_leaves_the_first_as_it_is(url: str) -> None:
    with SmithBus(url) as bus:
        with pytest.raises(BusClosed, match="already"):
            bus.connect()
        assert bus.publish(SUBJECT, EVENT).stream == "SYSTEM_EVENTS"


def test_a_wrong_timeout_does_not_close_the_bus(url: str) -> None:
    with SmithBus(url) as bus:
        with pytest.raises(OptionsError):
            bus.close(timeout=-1)
        assert bus.publish(SUBJECT, EVENT).stream == "SYSTEM_EVENTS"


def test_queued_work_sees_the_context_of_its_caller_where_that_is_kept(url: str) -> None:
    """Of several that wait for the loop: tracing hangs on it, and nothing else."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    busy, seen = threading.Event(), []

    async def block() -> None:
        busy.wait(20)

    async def note() -> None:
        await asyncio.sleep(0)  # it goes on in its context
        seen.append(trace.get())

    class Submitted:
        def begin_here(self, outcome: object) -> bool:
            return False

        def look_after(self) -> None:
            pass

        def begin(self, outcome: object) -> bool:
            return False

        async def begin_later(self) -> asyncio.Future[str]:
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            future.set_result(trace.get())
            return future

    with SmithBus(url) as bus:
        portal = bus._portal
        portal.keeps_context = True
        portal.post(block())
        futures: list[concurrent.futures.Future[str]] = []
        for name in ("first", "second", "third"):
            trace.set(name)
            portal.post(note())
            futures.append(portal.submit(Submitted))
        busy.set()
        assert [future.result(20) for future in futures] == ["first", "second", "third"]
        eventually(lambda: len(seen) == 3)
    assert seen == ["first", "second", "third"]


def test_a_call_sees_the_context_of_the_thread_that_makes_it(url: str) -> None:
    """Tracing hangs on it."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")

    async def seen() -> str:
        await asyncio.sleep(0)
        return trace.get()

    with SmithBus(url) as bus:
        trace.set("mine")
        assert bus._portal.call(seen) == "mine"


def test_an_error_that_was_raised_and_dropped_is_freed_at_once(url: str) -> None:
    """Its traceback holds the frames it went through: none of these may hold it in turn."""

    class Oops(Exception):
        pass

    async def fail() -> None:
        raise Oops

    with SmithBus(url) as bus:
        gc.disable()
        try:
            try:
                bus._portal.call(fail)
            except Oops as error:
                gone = weakref.ref(error)
            else:
                pytest.fail("the call did not raise")
            bus._portal.call(asyncio.sleep, 0)
            assert gone() is None
        finally:
            gc.enable()


def test_if_no_thread_can_be_started_connect_raises_and_leaves_nothing(url: str, run: Run) -> None:
    body = """
        bus = SmithBus(url)
        threading.stack_size(2**46)  # more than the system has for one
        try:
            bus.connect()
        except BlockingCallError as error:
            say("event loop thread" in str(error))
        threading.stack_size(0)
        with bus:
            say(bus.publish(subject, event).stream)
    """
    assert run(body, url).ends_well() == ["True", "SYSTEM_EVENTS"]
