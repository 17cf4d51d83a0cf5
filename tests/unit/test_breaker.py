"""The circuit breaker: when it opens, whom it lets through, when it closes, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import pickle
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest

from smith_sdk import Backoff, CircuitBreaker
from smith_sdk._core.events import CircuitChanged
from smith_sdk._core.monitoring.breaker import Permit
from smith_sdk.errors import CircuitOpen, OptionsError

WINDOW = 30.0
PAUSE = 5.0
EXACT = Backoff(initial=PAUSE, max=60, multiplier=2, jitter=0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Down(Exception):
    """The dependency does not answer."""


class Refused(Exception):
    """The dependency answers: no."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, **options: Any) -> CircuitBreaker:
    return CircuitBreaker(**{"name": "db", "open_for": EXACT, "clock": clock, **options})


def state(breaker: CircuitBreaker) -> str:
    """Its state, which a type checker does not take for the one before a call."""
    return breaker.state


def fail(breaker: CircuitBreaker, times: int = 1, error: BaseException | None = None) -> None:
    for _ in range(times):
        breaker.acquire().end(Down() if error is None else error)


def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.acquire().end()


def opened(clock: Clock, **options: Any) -> CircuitBreaker:
    breaker = make(clock, **options)
    fail(breaker, 20)
    assert state(breaker) == "open"
    return breaker


def half_open(clock: Clock, **options: Any) -> tuple[CircuitBreaker, Permit]:
    breaker = opened(clock, **options)
    clock.now += breaker.retry_after
    return breaker, breaker.acquire()


# ---- closed: when it opens


def test_it_opens_at_the_rate_once_the_minimum_has_ended(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 19)
    assert state(breaker) == "closed"
    fail(breaker)
    assert state(breaker) == "open"


def test_a_success_that_completes_the_minimum_opens_it_too(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 19)
    succeed(breaker)
    assert state(breaker) == "open"


def test_below_the_rate_it_stays_closed(clock: Clock) -> None:
    breaker = make(clock)
    for _ in range(1000):
        succeed(breaker, 2)
        fail(breaker)
    assert state(breaker) == "closed"


def test_what_is_older_than_the_window_does_not_count(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 19)
    clock.now += WINDOW
    fail(breaker, 19)
    assert state(breaker) == "closed"
    clock.now += WINDOW * 0.85
    fail(breaker)
    assert state(breaker) == "open"


def test_memory_is_bounded_however_many_calls_end(clock: Clock) -> None:
    breaker = make(clock)
    for _ in range(5000):
        clock.now += 0.1
        succeed(breaker)
    assert len(breaker._outcomes._slices) <= 11
    assert 250 <= breaker._outcomes.total <= 300


def test_slow_calls_open_it_if_it_is_told_what_slow_is(clock: Clock) -> None:
    breaker = make(clock, slow_call=2, slow_rate=0.5)
    for slow in (False, True) * 10:
        permit = breaker.acquire()
        clock.now += 2.5 if slow else 0.1
        permit.end()
    assert state(breaker) == "open"
    other = make(clock)
    for _ in range(20):
        permit = other.acquire()
        clock.now += 60
        permit.end()
    assert state(other) == "closed"


# ---- open, half-open


def test_while_it_is_open_calls_are_refused_with_the_time_of_the_next(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += 1
    with pytest.raises(CircuitOpen, match=r"circuit 'db' is open: too many calls have failed; .* in 4 s") as caught:
        breaker.acquire()
    assert (caught.value.name, caught.value.until, caught.value.retry_after) == ("db", 1000 + PAUSE, PAUSE - 1)
    assert breaker.retry_after == PAUSE - 1
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.until) == (str(caught.value), caught.value.until)


def test_after_the_pause_it_lets_probes_through_and_closes_when_they_succeed(clock: Clock) -> None:
    breaker, first = half_open(clock)
    assert state(breaker) == "half-open"
    probes = [first, breaker.acquire(), breaker.acquire()]
    with pytest.raises(CircuitOpen, match="half-open: the calls that probe it have not ended"):
        breaker.acquire()
    assert 0 < breaker.retry_after <= 1
    probes[0].end()
    with pytest.raises(CircuitOpen):
        breaker.acquire()  # its place is not given to another: it has succeeded
    probes[1].end()
    assert state(breaker) == "half-open"
    probes[2].end()
    assert state(breaker) == "closed"
    assert breaker.retry_after == 0
    fail(breaker, 19)
    assert state(breaker) == "closed", "the failures before it opened no longer count"


def test_one_failed_probe_opens_it_again_for_longer(clock: Clock) -> None:
    breaker = opened(clock)
    for pause in (PAUSE, 10, 20, 40, 60, 60):
        assert breaker.retry_after == pause
        clock.now += pause
        permits = [breaker.acquire(), breaker.acquire()]
        permits[0].end()
        permits[1].end(Down())
        assert state(breaker) == "open"


def test_pauses_are_short_again_once_it_was_closed_for_a_window(clock: Clock) -> None:
    breaker, first = half_open(clock)
    first.end(Down())
    clock.now += breaker.retry_after
    succeed(breaker, 3)
    fail(breaker, 20)
    assert breaker.retry_after == 20, "it had not recovered"
    clock.now += breaker.retry_after
    succeed(breaker, 3)
    clock.now += WINDOW
    fail(breaker, 20)
    assert breaker.retry_after == PAUSE


def test_calls_of_an_earlier_period_do_not_count(clock: Clock) -> None:
    breaker = make(clock)
    early = [breaker.acquire() for _ in range(10)]
    fail(breaker, 20)
    clock.now += PAUSE
    probe = breaker.acquire()
    for permit in early[:5]:
        permit.end(Down())
    for permit in early[5:]:
        permit.end()
    assert state(breaker) == "half-open"
    probe.end(Down())
    clock.now += breaker.retry_after
    succeed(breaker, 3)
    assert state(breaker) == "closed"


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), Refused()])
def test_a_probe_that_counts_as_neither_gives_its_place_back(clock: Clock, error: BaseException) -> None:
    breaker, probe = half_open(clock, ignore=Refused, probes=1)
    for _ in range(5):
        probe.end(error)
        assert state(breaker) == "half-open"
        probe = breaker.acquire()
    probe.end()
    assert state(breaker) == "closed"


def test_a_probe_that_never_ends_gives_its_place_back_after_a_window(clock: Clock) -> None:
    breaker, lost = half_open(clock, probes=1)
    clock.now += WINDOW - 0.1
    assert breaker.retry_after == pytest.approx(0.1)
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    clock.now += 0.1
    assert breaker.retry_after == 0
    second = breaker.acquire()
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    lost.end()  # late, but it says what became of a call in this period
    assert state(breaker) == "closed"
    second.end(Down())
    assert state(breaker) == "closed"


def test_a_late_probe_leaves_no_place_when_others_have_taken_all(clock: Clock) -> None:
    breaker, lost = half_open(clock, probes=2)
    clock.now += WINDOW
    later = [breaker.acquire(), breaker.acquire()]
    lost.end()
    assert breaker.retry_after > 0
    with pytest.raises(CircuitOpen):
        breaker.acquire()
    later[0].end()
    assert state(breaker) == "closed"


def test_slow_probes_open_it_again(clock: Clock) -> None:
    breaker, probe = half_open(clock, slow_call=1, slow_rate=0.5, probes=3)
    probes = [probe, breaker.acquire()]
    clock.now += 1.5
    probes[0].end()
    assert state(breaker) == "half-open"
    probes[1].end()
    assert state(breaker) == "open"


def test_a_permit_counts_once(clock: Clock) -> None:
    breaker, probe = half_open(clock, probes=2)
    probe.end()
    probe.end()
    probe.end(Down())
    assert state(breaker) == "half-open"


# ---- what counts


def test_an_error_that_does_not_count_is_an_answer(clock: Clock) -> None:
    breaker, probe = half_open(clock, count=(Down, OSError), probes=1)
    assert breaker.counts(Down())
    assert breaker.counts(ConnectionResetError())
    assert not breaker.counts(Refused())
    probe.end(Refused())
    assert state(breaker) == "closed"


def test_an_ignored_class_goes_before_a_counted_one(clock: Clock) -> None:
    breaker = make(clock, count=Exception, ignore=(Refused,))
    fail(breaker, 100, Refused())
    assert not breaker.counts(Refused())
    assert breaker._outcomes.total == 0


def test_no_base_exception_and_no_open_circuit_counts(clock: Clock) -> None:
    breaker = make(clock)
    refusal = CircuitOpen("open", name="other", until=0.0, retry_after=0.0)
    for error in (KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit(), refusal):
        assert not breaker.counts(error)
        fail(breaker, 50, error)
    assert breaker._outcomes.total == 0
    assert make(clock, count=CircuitOpen).counts(refusal)


def test_in_a_group_one_counted_error_suffices(clock: Clock) -> None:
    breaker = make(clock, count=Down, ignore=Refused)
    assert breaker.counts(ExceptionGroup("several", [ValueError(), ExceptionGroup("inner", [Down()])]))
    assert not breaker.counts(ExceptionGroup("several", [ValueError(), Refused()]))
    fail(breaker, 1, ExceptionGroup("several", [ValueError(), Refused()]))
    assert breaker._outcomes.total == 0
    fail(breaker, 1, ExceptionGroup("several", [ValueError()]))
    assert (breaker._outcomes.total, breaker._outcomes.failed) == (1, 0)


def test_a_template_without_a_count_of_its_own_is_given_one(clock: Clock) -> None:
    assert not make(clock).named("one", count=(Down,)).counts(Refused())
    assert make(clock).named("one").counts(Refused())
    assert make(clock, count=Exception).named("one", count=(Down,)).counts(Refused())


def test_successes_may_be_added_in_bulk_while_it_is_closed(clock: Clock) -> None:
    breaker = make(clock)
    breaker.add_successes(1000)
    fail(breaker, 900)
    assert state(breaker) == "closed"
    clock.now += WINDOW
    fail(breaker, 19)
    breaker.add_successes(1)
    assert state(breaker) == "open"
    breaker.add_successes(1000)
    assert (state(breaker), breaker._outcomes.total) == ("open", 20)


def test_the_pause_can_be_ended(clock: Clock) -> None:
    breaker = make(clock)
    breaker.retry_now()
    assert state(breaker) == "closed"
    fail(breaker, 20)
    breaker.retry_now()
    assert (state(breaker), breaker.retry_after) == ("open", 0)
    probe = breaker.acquire()
    breaker.retry_now()
    assert state(breaker) == "half-open"
    probe.end(Down())
    assert breaker.retry_after == 2 * PAUSE, "it has not recovered"


def test_a_cancelled_permit_counts_as_neither(clock: Clock) -> None:
    breaker, probe = half_open(clock, probes=1)
    assert probe.counts(Down())
    probe.cancel()
    assert (state(breaker), breaker.retry_after) == ("half-open", 0)
    fail(breaker)
    assert state(breaker) == "open"


# ---- around code


def test_a_block_is_one_call_and_raises_what_it_raised(clock: Clock) -> None:
    breaker = make(clock, minimum=2)
    with breaker:
        pass
    with pytest.raises(Down), breaker:
        raise Down
    with pytest.raises(CircuitOpen), breaker:
        raise AssertionError("the block was entered")


async def test_many_tasks_share_one_breaker_each_with_its_own_call(clock: Clock) -> None:
    breaker = make(clock, minimum=1000)

    async def call(number: int) -> None:
        async with breaker:
            await asyncio.sleep(0)
            with breaker:
                await asyncio.sleep(0)
            if number % 4 == 0:
                raise Down

    results = await asyncio.gather(*(call(number) for number in range(100)), return_exceptions=True)
    assert sum(isinstance(one, Down) for one in results) == 25
    assert (breaker._outcomes.total, breaker._outcomes.failed) == (200, 25)


def test_many_threads_share_one_breaker_each_with_its_own_call(clock: Clock) -> None:
    breaker = make(clock, minimum=100_000)

    def calls(number: int) -> None:
        for _ in range(500):
            try:
                with breaker, breaker:
                    if number % 2:
                        raise Down
            except Down:
                pass

    threads = [threading.Thread(target=calls, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (breaker._outcomes.total, breaker._outcomes.failed) == (8000, 4000)


def test_never_more_probes_than_allowed_in_many_threads(clock: Clock) -> None:
    breaker, first = half_open(clock, probes=3)
    first.end(asyncio.CancelledError())
    start, let_through = threading.Barrier(16), list[Permit]()

    def ask() -> None:
        start.wait(30)
        for _ in range(50):
            with contextlib.suppress(CircuitOpen):
                let_through.append(breaker.acquire())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_through) == 3


def test_a_call_made_by_a_probe_is_a_part_of_it(clock: Clock) -> None:
    breaker = opened(clock, probes=1)
    clock.now += breaker.retry_after

    @breaker
    def query() -> str:
        return "row"

    @breaker
    def page() -> list[str]:
        return [query() for _ in range(5)]

    assert page() == ["row"] * 5
    assert state(breaker) == "closed"


def test_blocks_that_are_left_in_another_order_each_end_a_call(clock: Clock) -> None:
    breaker, other = make(clock), make(clock, name="other")

    def inside(one: CircuitBreaker) -> Iterator[None]:
        with one:
            yield

    first, second = inside(breaker), inside(other)
    next(first)
    next(second)
    for generator in (first, second):
        assert next(generator, "the end") == "the end"
    assert (breaker._outcomes.total, other._outcomes.total) == (1, 1)


async def test_a_block_that_is_left_in_another_context_does_not_count(clock: Clock) -> None:
    breaker = make(clock)
    await asyncio.create_task(breaker.__aenter__())
    await breaker.__aexit__(None, None, None)
    assert breaker._outcomes.total == 0


def test_a_permit_is_a_block_of_its_own(clock: Clock) -> None:
    breaker = make(clock, minimum=1)
    with pytest.raises(Down), breaker.acquire():
        raise Down
    assert state(breaker) == "open"


async def test_a_permit_is_an_async_block_of_its_own(clock: Clock) -> None:
    breaker = make(clock, minimum=1)
    with pytest.raises(Down):
        async with breaker.acquire():
            raise Down
    assert state(breaker) == "open"


def test_a_decorated_function_keeps_its_signature_and_its_name(clock: Clock) -> None:
    breaker = make(clock, minimum=2)

    @breaker
    def divide(number: int, *, by: int = 2) -> float:
        """Divide."""
        return number / by

    assert divide(6, by=3) == 2
    assert (divide.__name__, divide.__doc__) == ("divide", "Divide.")
    with pytest.raises(ZeroDivisionError):
        divide(1, by=0)
    with pytest.raises(CircuitOpen):
        divide(1)


class Client:
    def __init__(self, breaker: CircuitBreaker) -> None:
        self.get = breaker(self._get)
        self.wrapped = breaker(functools.partial(self._get))
        self.lazy = breaker(lambda: self._get())
        self.whole = breaker(self)

    async def _get(self) -> str:
        await asyncio.sleep(0)
        raise Down

    async def __call__(self) -> str:
        return await self._get()


@pytest.mark.parametrize("name", ["get", "wrapped", "lazy", "whole"])
async def test_the_call_of_a_coroutine_ends_when_it_has_been_awaited(clock: Clock, name: str) -> None:
    breaker = make(clock, minimum=2)
    call: Callable[[], Coroutine[Any, Any, str]] = getattr(Client(breaker), name)
    for _ in range(2):
        assert state(breaker) == "closed"
        with pytest.raises(Down):
            await call()
    assert (state(breaker), breaker._outcomes.failed, breaker._outcomes.total) == ("open", 2, 2)
    with pytest.raises(CircuitOpen):
        await call()


async def test_a_cancelled_coroutine_gives_its_place_back(clock: Clock) -> None:
    breaker = opened(clock, probes=1)
    clock.now += breaker.retry_after

    @breaker
    async def forever() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    assert breaker.retry_after > 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (state(breaker), breaker.retry_after) == ("half-open", 0)


def test_generators_are_refused(clock: Clock) -> None:
    def rows() -> Iterator[int]:
        yield 1

    async def pages() -> AsyncIterator[int]:
        yield 1

    for function in (rows, pages):
        with pytest.raises(OptionsError, match=r"'db' cannot decorate the generator .*(rows|pages)'"):
            make(clock)(function)
    with pytest.raises(OptionsError, match="decorates a function, not str"):
        make(clock)("rows")  # type: ignore[arg-type]


# ---- changes


def test_changes_are_reported_in_order_with_their_reason(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.circuit")
    breaker, seen = make(clock), list[CircuitChanged]()
    remove = breaker.on_change(seen.append)
    fail(breaker, 20)
    clock.now += PAUSE
    succeed(breaker, 3)
    assert [(one.name, one.old, one.new) for one in seen] == [
        ("db", "closed", "open"),
        ("db", "open", "half-open"),
        ("db", "half-open", "closed"),
    ]
    assert [one.until for one in seen] == [1000 + PAUSE, None, None]
    assert [one.reason for one in seen] == [
        "20 of 20 calls within 30 s failed",
        "the pause is over, and the next calls are probes",
        "3 probes succeeded",
    ]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING" if one.new == "open" else "INFO", f"circuit db is {one.new}: {one.reason}") for one in seen
    ]
    remove()
    fail(breaker, 20)
    assert len(seen) == 3


def test_a_callback_that_raises_or_uses_the_breaker_disturbs_nothing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    breaker, seen = make(clock), list[str]()

    def callback(change: CircuitChanged) -> None:
        seen.append(change.new)
        clock.now += 100
        if change.new == "open" and len(seen) < 4:
            breaker.acquire().end(Down())
        raise RuntimeError("a mistake")

    breaker.on_change(callback)
    fail(breaker, 20)
    assert seen == ["open", "half-open", "open", "half-open", "open"]
    assert "a callback for changes of circuit db raised" in caplog.text


def test_another_circuit_from_the_same_options_is_closed_and_reports_to_the_same(clock: Clock) -> None:
    template, seen = make(clock, minimum=1), list[CircuitChanged]()
    template.on_change(seen.append)
    fail(template)
    one, two = template.named("one"), template.named("two")
    assert (one.state, two.state, one.name) == ("closed", "closed", "one")
    fail(one)
    assert (template.state, one.state, two.state) == ("open", "open", "closed")
    assert [change.name for change in seen] == ["db", "one"]


def test_setting_the_clock_of_the_computer_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = CircuitBreaker(minimum=1)
    fail(breaker)
    before = breaker.retry_after
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert before - 1 < breaker.retry_after <= before


# ---- bad input


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("failure_rate", one) for one in (0, -0.1, 1.01, float("nan"), True, "0.5", None)],
        *[("slow_rate", one) for one in (0, 2, float("nan"), False, None)],
        *[("minimum", one) for one in (0, -1, 2.0, True, "20", None)],
        *[("probes", one) for one in (0, 1.5, True)],
        *[("window", one) for one in (0, -1, float("inf"), float("nan"), True, "30", timedelta(0), None)],
        *[("slow_call", one) for one in (0, float("nan"), "1")],
        *[("open_for", one) for one in (5, None, "5s", Backoff)],
        *[("count", one) for one in (BaseException, KeyboardInterrupt, (ValueError, int), [ValueError], "Down", Down())],
        *[("ignore", one) for one in (asyncio.CancelledError, (1,), None)],
        *[("name", one) for one in ("", 5, None)],
        ("clock", 5.0),
    ],
)
def test_an_invalid_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(OptionsError, match=f"{option}="):
        CircuitBreaker(**{option: value})
    if option == "name":
        with pytest.raises(OptionsError, match="name="):
            CircuitBreaker().named(value)


def test_durations_may_be_timedeltas(clock: Clock) -> None:
    breaker = make(clock, window=timedelta(minutes=1), slow_call=timedelta(seconds=2))
    fail(breaker, 19)
    clock.now += 40
    fail(breaker)
    assert state(breaker) == "open"


def test_its_repr_says_what_it_does(clock: Clock) -> None:
    breaker = make(clock)
    fail(breaker, 3)
    succeed(breaker, 2)
    assert repr(breaker) == "<CircuitBreaker 'db' closed, 3 of 5 calls failed>"


def test_static_and_class_methods_are_decorated_from_outside_as_well(clock: Clock) -> None:
    breaker = make(clock, minimum=1, failure_rate=0.1)

    class Store:
        @breaker
        @staticmethod
        def read(key: str) -> str:
            return key

        @breaker
        @classmethod
        def name(cls) -> str:
            return cls.__name__

        @breaker
        @staticmethod
        async def write(key: str) -> None:
            raise Down(key)

    assert (Store.read("a"), Store().read("b"), Store.name(), Store().name()) == ("a", "b", "Store", "Store")
    with pytest.raises(Down):
        asyncio.run(Store().write("a"))
    assert state(breaker) == "open"


@pytest.mark.parametrize("again", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_a_copy_is_a_closed_circuit_of_its_own(again: Callable[[CircuitBreaker], CircuitBreaker]) -> None:
    changes: list[CircuitChanged] = []
    breaker = CircuitBreaker(name="db", minimum=2, count=ConnectionError, open_for=EXACT, slow_call=1.0)
    breaker.on_change(changes.append)
    fail(breaker, 2, ConnectionError())
    copied = again(breaker)
    assert (copied.name, copied.state, state(breaker)) == ("db", "closed", "open")
    fail(copied, 2, Refused())
    assert state(copied) == "closed"
    copied.acquire().end(ConnectionError())
    copied.acquire().end(ConnectionError())
    assert state(copied) == "open"
    assert len(changes) == 1
