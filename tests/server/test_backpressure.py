"""Back pressure on a real server: rules begin and end, and every action is undone exactly."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, BackPressure, Rule, SmithBus, Worker, consumers, subjects, sync
from smith_sdk._core.events import Observer
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET, read_switch, switch_key
from smith_sdk._core.monitoring.held_consumers import Hold
from smith_sdk._core.monitoring.rule_claims import Claim, RuleClaims
from smith_sdk.aio import ActiveRules, backpressure
from smith_sdk.backpressure import (
    RuleChanged,
    call,
    lag_above,
    limit,
    oldest_above,
    pause,
    quarantine_new_intents,
    slow_down,
    utilisation_above,
)
from smith_sdk.errors import OptionsError, StreamNotFound

RAW: Final = consumers.admission
FETCH: Final = consumers.executor_http_fetch
READ: Final = consumers.executor_fs_read
NAME: Final = "many"


def many(*actions: Any, **options: Any) -> Rule:
    """Holds from 4 messages on that admission has not acknowledged, until fewer than 2."""
    return Rule(**{"when": lag_above(RAW, 3, clear_below=2), "do": actions, "hold": 0, "name": NAME, **options})


async def put(bus: AsyncSmithBus, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])


async def drain(bus: AsyncSmithBus) -> None:
    await bus.streams.purge(RAW.stream)


async def config_of(bus: AsyncSmithBus, spec: Any) -> dict[str, Any]:
    config: dict[str, Any] = (await bus._session.api.consumer_info(spec.stream, spec.name))["config"]
    return config


async def limit_of(bus: AsyncSmithBus) -> int:
    most: int = (await config_of(bus, FETCH))["max_ack_pending"]
    return most


async def is_limited(bus: AsyncSmithBus, most: int = 5) -> bool:
    return await limit_of(bus) == most


async def is_free(bus: AsyncSmithBus) -> bool:
    return await limit_of(bus) == FETCH.max_ack_pending


def is_high(reason: str) -> bool:
    """The first look that finds too many may come before the last is there."""
    return re.fullmatch(r"lag of admission is [45], above 3", reason) is not None


class Calls:
    """What a rule has called, and when it failed to."""

    def __init__(self, failures: int = 0) -> None:
        self.events: list[RuleChanged] = []
        self.failures = failures
        self.threads: set[int] = set()

    def __call__(self, event: RuleChanged) -> None:
        self.threads.add(threading.get_ident())
        self.events.append(event)
        if len(self.events) <= self.failures:
            raise ValueError("not yet")

    async def later(self, event: RuleChanged) -> None:
        self(event)

    @property
    def course(self) -> list[bool]:
        return [event.active for event in self.events]


def has_course(calls: Calls, *course: bool) -> Callable[[], bool]:
    return lambda: calls.course == list(course)


# ---- the actions


async def test_a_limit_holds_while_the_rule_does_and_is_undone_exactly(face: Face, account: Account) -> None:
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        before = await config_of(other, FETCH)
        async with face.back_pressure(bus, [many(limit(FETCH, max_ack_pending=5, ack_wait=240))]) as running:
            assert running.active == ()
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
            assert await config_of(other, FETCH) == {**before, "max_ack_pending": 5, "ack_wait": 240 * 10**9}
            (event,) = running.active
            assert (event.rule, event.active, event.is_owner) == (NAME, True, True)
            assert is_high(event.reason)
            (rule,) = await ActiveRules(other).list()
            assert rule.actions == ("limit executor-http-fetch to max_ack_pending=5, ack_wait=240",)
            assert (rule.rule, rule.reason, rule.since) == (NAME, event.reason, event.since)
            assert rule.expires is not None
            await drain(other)
            await eventually_async(lambda: is_free(other))
            await eventually_async(lambda: _nothing_acts(other))
            assert await config_of(other, FETCH) == before


async def _nothing_acts(bus: AsyncSmithBus) -> bool:
    return not await ActiveRules(bus).list() and not await Bucket(bus._session, BUCKET).list()


async def test_a_pause_holds_while_the_rule_does(account: Account) -> None:
    async with account.applied() as bus, BackPressure(bus, [many(pause(FETCH.name))], interval=0.05):
        consumer = bus.consumer(FETCH)
        await put(bus, 5)
        await eventually_async(lambda: _paused(consumer, True))
        await drain(bus)
        await eventually_async(lambda: _paused(consumer, False))


async def _paused(consumer: Any, expected: bool) -> bool:
    return ((await consumer.info()).paused_until is not None) is expected


async def test_a_switch_quarantines_new_intents_while_the_rule_holds(account: Account) -> None:
    async with account.applied() as bus, BackPressure(bus, [many(quarantine_new_intents())], interval=0.05):
        bucket = Bucket(bus._session, BUCKET)
        await put(bus, 5)
        await eventually_async(lambda: bucket.get(switch_key(NAME)))
        entry = await bucket.get(switch_key(NAME))
        assert entry is not None
        assert entry.ttl == 60
        switch = read_switch(entry)
        assert switch.rule == NAME
        assert is_high(switch.reason)
        await drain(bus)
        await eventually_async(lambda: _nothing_acts(bus))


async def test_a_worker_of_this_process_is_slowed_down_while_the_rule_holds(face: Face, account: Account) -> None:
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        worker = face.worker(bus, READ, concurrency=6)
        worker.handler(lambda message: None)
        running = asyncio.ensure_future(worker.run())
        plain = worker if face.is_async else worker.inner
        async with face.back_pressure(bus, [many(slow_down(plain, concurrency=2, prefetch=0))]):
            await put(other, 5)
            await eventually_async(lambda: plain.describe()["concurrency"] == 2)
            await drain(other)
            await eventually_async(lambda: plain.describe()["concurrency"] == 6)
            await put(other, 5)
            await eventually_async(lambda: plain.describe()["concurrency"] == 2)
        assert plain.describe()["concurrency"] == 6  # at the end, too
        await worker.stop()
        await running


async def test_a_function_is_called_when_a_rule_begins_and_ends(face: Face, account: Account) -> None:
    calls = Calls()
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        async with face.back_pressure(bus, [many(call(calls))]):
            await put(other, 5)
            await eventually_async(has_course(calls, True))
            await drain(other)
            await eventually_async(has_course(calls, True, False))
            await put(other, 5)
            await eventually_async(has_course(calls, True, False, True))
        assert calls.course == [True, False, True, False]
    assert calls.events[0].since == calls.events[1].since
    assert calls.events[1].reason == "lag of admission is 0, below 2"
    assert threading.get_ident() not in calls.threads


async def test_an_async_function_runs_in_the_event_loop(account: Account) -> None:
    calls = Calls()
    async with account.applied() as bus, BackPressure(bus, [many(call(calls.later))], interval=0.05):
        await put(bus, 5)
        await eventually_async(has_course(calls, True))
    assert calls.threads == {threading.get_ident()}


async def test_one_action_that_fails_is_tried_again_and_stops_no_other(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    failing, calls = Calls(failures=2), Calls()
    async with account.applied() as bus:
        rule = many(call(failing), limit(FETCH, max_ack_pending=5), call(calls.later))
        async with BackPressure(bus, [rule], interval=0.05):
            await put(bus, 5)
            await eventually_async(lambda: is_limited(bus))
            await eventually_async(has_course(failing, True, True, True))
            assert calls.course == [True]
        assert calls.course == [True, False]
    told = [record.getMessage() for record in caplog.records if "failed, and is tried again" in record.getMessage()]
    assert len(told) == 1  # not at each attempt
    assert "ValueError: not yet" in told[0]


async def test_a_call_that_goes_on_failing_keeps_no_rule_alive(face: Face, account: Account) -> None:
    failing, follower = Calls(failures=10**6), Calls()
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        async with face.back_pressure(bus, [many(call(failing), limit(FETCH, max_ack_pending=5))]):
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
            async with BackPressure(other, [many(call(follower))], interval=0.05):
                await eventually_async(has_course(follower, True))
                await drain(other)
                await eventually_async(has_course(follower, True, False))
                await eventually_async(lambda: _nothing_acts(other))
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
        assert await is_free(other)
        assert await _nothing_acts(other)


async def test_a_call_that_hangs_at_the_end_keeps_nothing_from_being_undone(face: Face, account: Account) -> None:
    begun, ended = threading.Event(), threading.Event()

    def hang(_: RuleChanged) -> None:
        begun.set()
        ended.wait(60)

    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        running = face.back_pressure(bus, [many(call(hang), limit(FETCH, max_ack_pending=5))])
        await running.__aenter__()
        await put(other, 5)
        await eventually_async(lambda: is_limited(other) if begun.is_set() else False)
        leaving = asyncio.ensure_future(running.__aexit__(None, None, None))
        try:
            await eventually_async(lambda: is_free(other))
            await eventually_async(lambda: _nothing_acts(other))
        finally:
            ended.set()
            await leaving


async def test_what_was_not_undone_is_undone_once_the_server_allows_it(account: Account) -> None:
    async with account.applied() as bus, BackPressure(bus, [many(limit(FETCH, max_ack_pending=5))], interval=0.05) as running:
        await put(bus, 5)
        await eventually_async(lambda: is_limited(bus))
        api: Any = bus._session.api
        write, refused = api.consumer_write, Calls()

        async def refuse(*_: Any) -> None:
            refused.failures += 1
            raise OptionsError("not now")

        api.consumer_write = refuse
        await drain(bus)
        await eventually_async(lambda: refused.failures >= 3)
        assert await is_limited(bus)
        assert running.active == ()
        assert [rule.rule for rule in await ActiveRules(bus).list()] == [NAME]  # it still has something to undo
        api.consumer_write = write
        await eventually_async(lambda: is_free(bus))
        await eventually_async(lambda: _nothing_acts(bus))


# ---- several rules, and several processes


async def test_two_rules_about_one_consumer_give_it_back_as_it_was(account: Account) -> None:
    first, second = many(limit(FETCH, max_ack_pending=9)), many(limit(FETCH, max_ack_pending=5), name="second")
    full = utilisation_above("SDLC_RAW", 0.00001)  # of 50,000 messages
    third = Rule(when=full & lag_above(RAW, 1, clear_below=1), do=[limit(FETCH, max_ack_pending=7), pause(FETCH)], hold=0)
    async with account.applied() as bus, BackPressure(bus, [first, second, third], interval=0.05) as running:
        before = await config_of(bus, FETCH)
        for _ in range(2):
            await put(bus, 5)
            await eventually_async(lambda: len(running.active) == 3)
            await eventually_async(lambda: is_limited(bus))
            await drain(bus)
            await eventually_async(lambda: _nothing_acts(bus))
            assert {**await config_of(bus, FETCH), "pause_until": None} == {**before, "pause_until": None}


async def test_of_several_processes_one_acts_and_each_calls(account: Account) -> None:
    calls = Calls(), Calls()
    async with account.applied() as one, AsyncSmithBus(account.url) as other:
        rules = [many(limit(FETCH, max_ack_pending=5), call(each)) for each in calls]
        async with (
            BackPressure(one, [rules[0]], interval=0.05) as first,
            BackPressure(other, [rules[1]], interval=0.05) as second,
        ):
            await put(one, 5)
            await eventually_async(lambda: calls[0].course == calls[1].course == [True])
            assert sorted(event.is_owner for each in calls for event in each.events) == [False, True]
            assert len(first.describe()["owned"]) + len(second.describe()["owned"]) == 1  # type: ignore[arg-type]
            await drain(one)
            await eventually_async(lambda: calls[0].course == calls[1].course == [True, False])
            await eventually_async(lambda: _nothing_acts(one))


async def test_another_process_goes_on_where_the_owner_leaves(account: Account) -> None:
    async with account.applied() as one, AsyncSmithBus(account.url) as other:
        rules = [many(limit(FETCH, max_ack_pending=5))]
        async with BackPressure(other, rules, interval=0.05) as stays:
            async with BackPressure(one, rules, interval=0.05):
                await put(one, 5)
                await eventually_async(lambda: is_limited(one))
            await eventually_async(lambda: stays.describe()["owned"] == [NAME])
            await eventually_async(lambda: is_limited(other))
        assert await is_free(other)


async def expire(bus: AsyncSmithBus) -> None:
    """Have the claim gone without a word, as when its time is over."""
    await bus._session.api.stream_purge(f"KV_{BUCKET}", {"filter": f"$KV.{BUCKET}.backpressure.{NAME}"})


async def test_a_follower_takes_over_where_the_claim_expires(account: Account) -> None:
    calls = Calls()
    async with account.applied() as bus:
        claims = RuleClaims(bus._session)
        dead = Claim(rule=NAME, reason="of a dead process", since=read_time(), owner="dead")
        assert await claims.create(dead) is not None
        async with BackPressure(bus, [many(limit(FETCH, max_ack_pending=5), call(calls))], interval=0.05) as running:
            await put(bus, 5)
            await eventually_async(has_course(calls, True))
            assert calls.events[0].reason == "of a dead process"
            assert await is_free(bus)
            state = running._runners[0]._state
            await eventually_async(lambda: state.holds)
            await expire(bus)
            await eventually_async(lambda: running.describe()["owned"] == [NAME])
            await eventually_async(lambda: is_limited(bus))
            assert calls.course == [True]  # it has not begun again
        assert calls.course == [True, False]


def read_time() -> datetime:
    return datetime.now(UTC)


async def test_a_claim_that_expires_and_holds_for_nobody_ends(account: Account) -> None:
    calls = Calls()
    async with account.applied() as bus:
        await RuleClaims(bus._session).create(Claim(rule=NAME, reason="of a dead process", since=read_time(), owner="dead"))
        async with BackPressure(bus, [many(call(calls))], interval=0.05):
            await eventually_async(has_course(calls, True))
            await expire(bus)
            await eventually_async(has_course(calls, True, False))


async def test_an_owner_whose_claim_has_expired_goes_on(account: Account) -> None:
    calls = Calls()
    async with account.applied() as bus, BackPressure(bus, [many(call(calls))], interval=0.05) as running:
        await put(bus, 5)
        await eventually_async(has_course(calls, True))
        await expire(bus)
        await eventually_async(lambda: ActiveRules(bus).list())
        assert running.describe()["owned"] == [NAME]
        assert calls.course == [True]


async def test_what_a_killed_process_has_left_behind_is_undone(account: Account) -> None:
    async with account.applied() as bus:
        held = RuleClaims(bus._session).held
        await held.hold(FETCH.stream, FETCH.name, NAME, Hold(max_ack_pending=5))
        await held.hold(FETCH.stream, FETCH.name, "another", Hold(max_ack_pending=9))
        (another, rule) = await ActiveRules(bus).list()
        assert (rule.rule, rule.owner, rule.since, rule.actions) == (NAME, "", None, ("executor-http-fetch: max_ack_pending=5",))
        assert another.rule == "another"
        async with BackPressure(bus, [many(limit(FETCH, max_ack_pending=5))], interval=0.05):
            await eventually_async(lambda: is_limited(bus, 9))  # that is of a rule which does not run here
        assert [one.rule for one in await ActiveRules(bus).list()] == ["another"]


# ---- a person's word


async def test_a_rule_that_is_cleared_ends_and_begins_again_above_its_threshold_only(face: Face, account: Account) -> None:
    calls = Calls()
    rule = many(limit(FETCH, max_ack_pending=5), call(calls), hold=60)
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:  # noqa: SIM117 -- the second one needs the first
        async with face.back_pressure(bus, [rule]):
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
            await drain(other)
            await put(other, 3)  # between the two thresholds
            assert await face.active_rules(bus).clear(NAME)
            await eventually_async(has_course(calls, True, False))
            await eventually_async(lambda: _nothing_acts(other))
            assert await is_free(other)
            assert not await face.active_rules(bus).clear(NAME)
            assert await face.active_rules(bus).list() == []
            await put(other, 3)
            await eventually_async(has_course(calls, True, False, True))


async def test_a_rule_of_a_dead_process_is_cleared_by_a_word(account: Account) -> None:
    async with account.applied() as bus:
        claims = RuleClaims(bus._session)
        await claims.create(Claim(rule=NAME, reason="why", since=read_time(), owner="dead"))
        await claims.held.hold(FETCH.stream, FETCH.name, NAME, Hold(max_ack_pending=5, pause=True))
        await claims.bucket.put(switch_key(NAME), b"{}", ttl=60)
        assert await ActiveRules(bus).clear(NAME)
        assert await _nothing_acts(bus)
        assert await is_free(bus)
        assert (await bus.consumer(FETCH).info()).paused_until is None


# ---- time, and what cannot be known


async def test_a_rule_lasts_for_its_hold(account: Account) -> None:
    async with account.applied() as bus, BackPressure(bus, [many(call(Calls()), hold=600)], interval=0.02) as running:
        await put(bus, 5)
        await eventually_async(lambda: running.active)
        await drain(bus)
        api: Any = bus._session.api
        look, looks = api.consumer_info, Calls()

        async def counted(*place: str) -> Any:
            looks.failures += 1
            return await look(*place)

        api.consumer_info = counted
        await eventually_async(lambda: looks.failures >= 5)
        assert not running._runners[0]._state.holds
        assert running.active


async def test_a_measure_that_cannot_be_had_leaves_the_rule_as_it_is(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    async with account.applied() as bus, BackPressure(bus, [many(call(calls))], interval=0.05) as running:
        await put(bus, 5)
        await eventually_async(has_course(calls, True))
        config = await config_of(bus, RAW)
        await bus._session.api.consumer_delete(RAW.stream, RAW.name)
        await eventually_async(lambda: running.describe()["unknown"] == ["lag of admission"])
        await drain(bus)
        looks = asyncio.get_running_loop().time() + 0.3
        await eventually_async(lambda: asyncio.get_running_loop().time() > looks)
        assert calls.course == [True]
        await bus._session.api.consumer_write(RAW.stream, config, "create")
        await eventually_async(has_course(calls, True, False))
    told = [record.getMessage() for record in caplog.records if "lag of admission is" in record.getMessage()]
    assert sum("is not known" in text for text in told) == 1
    assert sum("is known again" in text for text in told) == 1


async def test_a_bucket_that_is_away_leaves_rules_as_they_are(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    async with account.applied() as bus, BackPressure(bus, [many(call(calls))], interval=0.05):
        await put(bus, 5)
        await eventually_async(has_course(calls, True))
        await bus._session.api.stream_delete(f"KV_{BUCKET}")
        await eventually_async(lambda: "cannot be used" in caplog.text)
        await drain(bus)
        await bus.streams.apply(profile="dev")
        await eventually_async(has_course(calls, True, False))
        assert caplog.text.count("cannot be used") == 1
        assert "can be used again" in caplog.text


async def test_without_the_bucket_it_does_not_begin(face: Face, account: Account) -> None:
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        await other._session.api.stream_delete(f"KV_{BUCKET}")
        running = face.back_pressure(bus, [many(call(Calls()))])
        for begin in (running.__aenter__, running.run):
            with pytest.raises(StreamNotFound, match="smith streams apply"):
                await begin()


# ---- its life


async def test_run_ends_by_stop_and_undoes_everything(face: Face, account: Account) -> None:
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        running = face.back_pressure(bus, [many(limit(FETCH, max_ack_pending=5))])
        task = asyncio.ensure_future(running.run(signals=()))
        await put(other, 5)
        await eventually_async(lambda: is_limited(other))
        with pytest.raises(OptionsError, match="running already"):
            await running.run(signals=())
        await running.stop()
        await task
        assert await is_free(other)
        assert await _nothing_acts(other)
        await running.stop()
        await running.run(signals=())  # which the second stop was for


async def test_closing_the_bus_undoes_everything(face: Face, account: Account) -> None:
    async with AsyncSmithBus(account.url) as other:
        async with face.applied() as bus:
            running = face.back_pressure(bus, [many(limit(FETCH, max_ack_pending=5))])
            await running.__aenter__()
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
        assert await is_free(other)
        assert await _nothing_acts(other)


async def test_a_block_can_be_left_after_its_bus_was_closed_in_it(face: Face, account: Account) -> None:
    async with AsyncSmithBus(account.url) as other, face.applied() as bus:
        async with face.back_pressure(bus, [many(limit(FETCH, max_ack_pending=5))]) as running:
            await put(other, 5)
            await eventually_async(lambda: is_limited(other))
            await bus.close()
            assert await is_free(other)
            await running.stop()
        assert await _nothing_acts(other)


async def test_a_run_that_is_cancelled_undoes_everything(account: Account) -> None:
    async with account.applied() as bus:
        task = asyncio.ensure_future(BackPressure(bus, [many(limit(FETCH, max_ack_pending=5))], interval=0.05).run())
        await put(bus, 5)
        await eventually_async(lambda: is_limited(bus))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await is_free(bus)


async def test_a_bus_knows_its_back_pressure_and_observers_its_rules(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    class Watching(Observer):
        def __init__(self) -> None:
            self.seen = Calls()

        def on_backpressure(self, event: RuleChanged) -> None:
            self.seen(event)

    async with account.applied() as bus:
        watching = Watching()
        bus._session.events.add(watching)
        async with BackPressure(bus, [many(limit(FETCH, max_ack_pending=5))], interval=0.05) as running:
            assert running in bus._session.parts
            await put(bus, 5)
            await eventually_async(has_course(watching.seen, True))
            (began,) = watching.seen.events
            assert is_high(began.reason)
            assert running.describe() == {
                "interval": 0.05,
                "rules": {NAME: began.reason},
                "owned": [NAME],
                "unknown": [],
            }
        assert watching.seen.course == [True, False]
        assert running not in bus._session.parts
    told = [record.getMessage() for record in caplog.records if getattr(record, "rule", "") == NAME]
    assert told[0] == f"rule many holds: {began.reason}: limit executor-http-fetch to max_ack_pending=5"
    assert told[1].startswith("rule many has ended after ")
    assert len(told) == 2


# ---- what is refused


def refused(make: Callable[[Any], Any], match: str, face: Face) -> None:
    bus = AsyncSmithBus() if face.is_async else SmithBus()
    with pytest.raises(OptionsError, match=match):
        make(bus)


def pressure(face: Face) -> Any:
    return BackPressure if face.is_async else sync.BackPressure


def _with_rules(face: Face, rules: Any, bus: Any) -> Any:
    return pressure(face)(bus, rules)


async def _async(event: RuleChanged) -> None: ...


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (
            lambda: Rule(when=lag_above("nobody", 1), do=[pause(FETCH)]),
            r"^rule [a-zA-Z-]+: lag_above\(consumer\)='nobody': is not declared",
        ),
        (
            lambda: Rule(when=oldest_above("nobody", 1), do=[pause(FETCH)]),
            r"^rule [a-zA-Z-]+: oldest_above\(consumer\)='nobody': is not declared",
        ),
        (
            lambda: Rule(when=utilisation_above("NOWHERE", 0.5), do=[pause(FETCH)]),
            r"^rule [a-zA-Z-]+: utilisation_above\(stream\)='NOWHERE': is not declared",
        ),
        (lambda: many(pause("nobody")), r"^rule [a-zA-Z-]+: pause\(consumer\)='nobody': is not declared"),
        (lambda: many(limit("nobody", max_ack_pending=1)), r"^rule [a-zA-Z-]+: limit\(consumer\)='nobody': is not declared"),
        (lambda: many(limit(FETCH, ack_wait=1)), r"limit\(ack_wait\)=1: must be at least the 120 s"),
        (lambda: many(limit(FETCH, max_ack_pending=1), limit(FETCH.name, max_ack_pending=2)), "two actions are about"),
        (lambda: many(pause(FETCH), pause(FETCH)), "two actions are about pause"),
        (lambda: many(slow_down(object(), concurrency=1)), r"slow_down\(worker\)=<object"),  # type: ignore[arg-type]
    ],
)
def test_a_rule_that_its_bus_cannot_keep_is_refused(rule: Any, match: str, face: Face) -> None:
    refused(lambda bus: pressure(face)(bus, [rule()]), match, face)


def test_what_is_not_a_list_of_rules_is_refused(face: Face) -> None:
    for rules in ([], None, [1], "rules"):
        refused(partial(_with_rules, face, rules), r"BackPressure\.rules", face)
    refused(lambda bus: pressure(face)(bus, [many(pause(FETCH))] * 2), "two rules have the name 'many'", face)
    refused(lambda bus: pressure(face)(bus, [many(pause(FETCH))], interval=0), r"BackPressure\.interval=0", face)
    with pytest.raises(OptionsError, match="SmithBus"):
        pressure(face)(SmithBus() if face.is_async else AsyncSmithBus(), [many(pause(FETCH))])


def test_a_worker_of_another_bus_or_face_is_refused(face: Face) -> None:
    kinds: list[Any] = [(AsyncSmithBus, Worker), (SmithBus, sync.Worker)]
    if not face.is_async:
        kinds.reverse()
    (own, worker), (other, others) = kinds
    bus = own()
    pressure(face)(bus, [many(slow_down(worker(bus, READ, concurrency=2), concurrency=1))])
    for one in (worker(own(), READ), others(other(), READ)):
        with pytest.raises(OptionsError, match="is of another bus, or of the other face"):
            pressure(face)(bus, [many(slow_down(one, concurrency=1))])
    with pytest.raises(OptionsError, match=r"slow_down\(concurrency\)=3: worker executor-fs-read has 2"):
        pressure(face)(bus, [many(slow_down(worker(bus, READ, concurrency=2), concurrency=3))])


def test_an_async_function_is_refused_on_the_blocking_face_alone() -> None:
    BackPressure(AsyncSmithBus(), [many(call(_async))])
    with pytest.raises(OptionsError, match="must be a plain function on the blocking face"):
        sync.BackPressure(SmithBus(), [many(call(_async))])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Rule(when=None, do=[pause(FETCH)]), r"Rule\.when=None"),  # type: ignore[arg-type]
        (lambda: many(do=[]), r"Rule\.do=\[\]"),
        (lambda: many(do=[print]), r"Rule\.do="),
        (lambda: many(do=None), r"Rule\.do=None"),
        (lambda: many(pause(FETCH), hold=-1), r"Rule\.hold=-1"),
        (lambda: many(pause(FETCH), name="a.b"), r"Rule\.name='a\.b'"),
        (lambda: many(pause(FETCH), name=7), r"Rule\.name=7"),
        (lambda: limit(FETCH), "give max_ack_pending, ack_wait, or both"),
        (lambda: limit(FETCH, max_ack_pending=0), r"limit\(max_ack_pending\)=0"),
        (lambda: limit(FETCH, ack_wait=0), r"limit\(ack_wait\)=0"),
        (lambda: limit("", ack_wait=1), r"limit\(consumer\)=''"),
        (lambda: pause(None), r"pause\(consumer\)=None"),  # type: ignore[arg-type]
        (lambda: slow_down(object()), "give concurrency, prefetch, or both"),  # type: ignore[arg-type]
        (lambda: slow_down(object(), concurrency=0), r"slow_down\(concurrency\)=0"),  # type: ignore[arg-type]
        (lambda: slow_down(object(), prefetch=-1), r"slow_down\(prefetch\)=-1"),  # type: ignore[arg-type]
        (lambda: call(lambda: None), r"call\(function\)="),  # type: ignore[arg-type, misc]
        (lambda: call(7), r"call\(function\)=7"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, match: str) -> None:
    with pytest.raises(OptionsError, match=match):
        make()


def test_a_rule_has_a_name_by_its_condition() -> None:
    rule = Rule(when=lag_above(FETCH, 5) | utilisation_above("SDLC_RAW", 0.5), do=[pause(FETCH)])
    assert rule.name == "lag-executor-http-fetch-or-utilisation-SDLC_RAW"
    assert backpressure.Rule is sync.Rule is Rule
