"""How a policy is called: by its signature, within its time, in a bounded number of threads."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any, cast

import pytest
from support import eventually_async

from smith_sdk._core.execution.thread_pool import ThreadPool
from smith_sdk.aio.policy_calls import PolicyCalls
from smith_sdk.errors import HandlerTimeout, OptionsError


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


async def test_a_hung_thread_costs_no_other_call_until_there_are_too_many(caplog: pytest.LogCaptureFixture) -> None:
    hang = threading.Event()

    def policy(intent: Any, message: Any) -> Any:
        if message.hangs:
            hang.wait(20)
        return intent

    class Hanging(Given):
        hangs = True

    class Quick(Given):
        hangs = False

    calls = PolicyCalls(policy, 2, 0.05)
    calls.open()
    try:
        for _ in range(6):  # four threads for each slot: 8, of which 2 are left
            with pytest.raises(HandlerTimeout, match=r"Admission\(timeout=...\)"):
                await calls.decide(cast("Any", Hanging()))
        assert await calls.decide(cast("Any", Quick())) == "intent"
        assert "no more are started" not in caplog.text
        for _ in range(2):
            with pytest.raises(HandlerTimeout):
                await calls.decide(cast("Any", Hanging()))
        with pytest.raises(HandlerTimeout):
            await calls.decide(cast("Any", Quick()))
        assert "no more are started" in caplog.text
        hang.set()
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await calls.decide(cast("Any", Quick())) == "intent"
                    break
                except HandlerTimeout:
                    continue
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
