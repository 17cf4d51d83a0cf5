"""How a policy is called: by its signature, within its time, in a bounded number of threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from typing import Any, cast

import pytest
from support import eventually_async

from smith_sdk._core.execution.thread_pool import ThreadPool
from smith_sdk.aio.inline_policy import inline
from smith_sdk.aio.policy_calls import PolicyCalls
from smith_sdk.errors import HandlerTimeout, OptionsError, Reject


class Given:
    """Stands for a message: what `PolicyCalls` reads of it."""

    payload = "intent"
    _in_thread = False


MESSAGE: Any = Given()


async def called(policy: Any, timeout: float = 5.0) -> Any:
    calls = PolicyCalls(policy, 2, timeout)
    calls.open()
    try:
        return await calls.decide(MESSAGE)
    finally:
        calls.close()


class Rules:
    def one(self, intent: Any) -> Any:
        return (intent,)

    def two(self, intent: Any, message: Any) -> Any:
        return (intent, message)

    def __call__(self, intent: Any, message: Any) -> Any:
        return (intent, message)


async def asynchronous(intent: Any, message: Any) -> Any:
    return (intent, message)


class Later:
    async def __call__(self, intent: Any) -> Any:
        return (intent,)


def with_option(intent: Any, strict: bool = True) -> Any:
    return (intent,)


def with_default(intent: Any, message: Any = None) -> Any:
    return (intent, message)


def with_rest(*given: Any, **options: Any) -> Any:
    return given


def three(intent: Any, message: Any, rules: Any) -> Any:
    return (intent, message)


@pytest.mark.parametrize(
    ("policy", "takes_message"),
    [
        (lambda intent: (intent,), False),
        (lambda intent, message: (intent, message), True),
        (Rules().one, False),
        (Rules().two, True),
        (Rules(), True),
        (asynchronous, True),
        (Later(), False),
        (with_option, False),
        (with_default, True),
        (with_rest, False),
        (functools.partial(three, rules=1), True),
    ],
)
async def test_a_policy_gets_what_its_signature_takes(policy: Any, takes_message: bool) -> None:
    assert await called(policy) == (("intent", MESSAGE) if takes_message else ("intent",))


@pytest.mark.parametrize("policy", [None, "allow", lambda: None, three, lambda intent, *, rules: None])
def test_other_policies_are_refused_when_the_admission_is_made(policy: Any) -> None:
    with pytest.raises(OptionsError, match="a function of an intent, or of an intent and its message"):
        PolicyCalls(cast("Any", policy), 1, 1.0)


# ---- in the loop's thread


@pytest.mark.parametrize(
    ("policy", "takes_message"),
    [
        (lambda intent: (intent,), False),
        (lambda intent, message: (intent, message), True),
        (Rules().two, True),
        (Rules(), True),
        (functools.partial(three, rules=1), True),
    ],
)
async def test_an_inline_policy_gets_what_its_signature_takes(policy: Any, takes_message: bool) -> None:
    assert await called(inline(policy)) == (("intent", MESSAGE) if takes_message else ("intent",))


async def test_an_inline_policy_is_called_in_the_thread_of_the_loop_and_others_are_not() -> None:
    def policy(intent: Any) -> Any:
        return threading.get_ident()

    assert await called(inline(cast("Any", policy))) == threading.get_ident()
    assert await called(policy) != threading.get_ident()


async def test_what_a_policy_sets_in_context_variables_ends_with_its_call() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")

    def policy(intent: Any) -> Any:
        variable.set("set")
        return (variable.get(),)

    async def later(intent: Any) -> Any:
        variable.set("set")
        await asyncio.sleep(0)
        return (variable.get(),)

    for one in (policy, inline(cast("Any", policy)), later):
        assert await called(one) == ("set",)
        assert variable.get() == ""


@pytest.mark.parametrize("policy", [asynchronous, Later(), Later().__call__, functools.partial(asynchronous, message=1)])
def test_a_coroutine_function_cannot_be_inline(policy: Any) -> None:
    with pytest.raises(OptionsError, match=r"inline\(.*coroutine function.*Admission\(policy=...\)"):
        inline(policy)


@pytest.mark.parametrize("policy", [None, "allow"])
def test_what_cannot_be_called_cannot_be_inline(policy: Any) -> None:
    with pytest.raises(OptionsError, match="a function of an intent"):
        inline(policy)


async def test_an_inline_policy_that_returns_a_coroutine_is_refused() -> None:
    with pytest.raises(Reject, match="is inline and returned coroutine: it has to return a Decision"):
        await called(inline(cast("Any", lambda intent: asynchronous(intent, None))))


async def test_an_async_policy_is_timed_from_its_call_on() -> None:
    async def waits(intent: Any) -> Any:
        await asyncio.sleep(20)

    async def blocks(intent: Any) -> Any:
        time.sleep(0.05)  # noqa: ASYNC251 -- that it blocks the loop is the point
        await asyncio.sleep(20)

    began = time.monotonic()
    for policy in (waits, blocks):
        with pytest.raises(HandlerTimeout, match=r"Admission\(timeout=...\)"):
            await called(policy, timeout=0.1)
    assert time.monotonic() - began < 5


async def test_an_async_policy_may_return_what_has_to_be_awaited_in_its_time() -> None:
    async def returns_one(intent: Any) -> Any:
        return asynchronous(intent, None)

    async def returns_a_slow_one(intent: Any) -> Any:
        return asyncio.sleep(20)

    assert await called(returns_one) == ("intent", None)
    with pytest.raises(HandlerTimeout):
        await called(returns_a_slow_one, timeout=0.05)


# ---- in threads


async def test_a_hung_thread_costs_no_other_call_until_there_are_too_many(caplog: pytest.LogCaptureFixture) -> None:
    hang, begun = threading.Event(), threading.Semaphore(0)

    def policy(intent: Any, message: Any) -> Any:
        if message.hangs:
            begun.release()
            hang.wait(60)
        return intent

    class Hanging(Given):
        hangs = True

    class Quick(Given):
        hangs = False

    calls = PolicyCalls(policy, 2, 60)
    calls.open()

    async def runs_out_of_time(call: asyncio.Task[object]) -> None:
        deadlines = calls._deadlines
        assert deadlines is not None
        deadlines._due = dict.fromkeys(deadlines._due, 0.0)  # not by the clock: each is to have its thread before
        deadlines._look()
        with pytest.raises(HandlerTimeout, match=r"Admission\(timeout=...\)"):
            await call

    async def hangs() -> None:
        call = asyncio.ensure_future(calls.decide(cast("Any", Hanging())))
        await eventually_async(lambda: begun.acquire(blocking=False))
        await runs_out_of_time(call)

    try:
        for _ in range(6):  # four threads for each slot: 8, of which 2 are left
            await hangs()
        assert await calls.decide(cast("Any", Quick())) == "intent"
        assert "no more are started" not in caplog.text
        for _ in range(2):
            await hangs()
        quick = asyncio.ensure_future(calls.decide(cast("Any", Quick())))
        await asyncio.wait({quick}, timeout=0.05)
        assert not quick.done()
        await runs_out_of_time(quick)
        assert "no more are started" in caplog.text
        hang.set()
        async with asyncio.timeout(20):
            assert await calls.decide(cast("Any", Quick())) == "intent"
    finally:
        hang.set()
        calls.close()


async def test_each_call_in_a_thread_has_the_whole_time_and_can_be_cancelled() -> None:
    hang, begun, ended = threading.Event(), threading.Semaphore(0), dict[str, float]()

    def policy(intent: Any) -> Any:
        begun.release()
        hang.wait(20)

    calls = PolicyCalls(policy, 3, 0.6)
    calls.open()

    async def decide(name: str) -> None:
        began = time.monotonic()
        try:
            await calls.decide(MESSAGE)
        finally:
            ended[name] = time.monotonic() - began

    try:
        first, cancelled = asyncio.ensure_future(decide("first")), asyncio.ensure_future(decide("cancelled"))
        await asyncio.sleep(0)
        for _ in range(2):  # which blocks the loop, so that no time is over before one is cancelled
            assert begun.acquire(timeout=20)
        cancelled.cancel()
        await asyncio.sleep(0.1)  # of the first one's time
        second = asyncio.ensure_future(decide("second"))
        outcomes = await asyncio.gather(first, cancelled, second, return_exceptions=True)
        assert [type(one) for one in outcomes] == [HandlerTimeout, asyncio.CancelledError, HandlerTimeout]
        assert min(ended["first"], ended["second"]) >= 0.59
    finally:
        hang.set()
        calls.close()


async def test_a_thread_that_was_replaced_ends_with_its_call() -> None:
    hang, pool = threading.Event(), ThreadPool("replacing", 2, most=3)

    def alive() -> int:
        return sum(thread.name.startswith("replacing-") for thread in threading.enumerate())

    try:
        began = threading.Event()

        def hung() -> None:
            began.set()
            hang.wait(20)

        call = asyncio.ensure_future(pool.run(hung))
        await eventually_async(began.is_set)
        call.cancel()
        await asyncio.wait({call})
        assert pool.replace()
        assert not pool.replace()
        assert alive() == 3
        hang.set()
        await eventually_async(lambda: alive() == 2)
        assert await pool.run(pow, 2, 3) == 8
    finally:
        hang.set()
        pool.close()
