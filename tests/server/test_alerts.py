"""Alerts on a real server: raised once, resolved once, and told to everybody who is to know."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Crossing, Face, read_intent
from letters import original, put_letters
from receiver import Receiver, status
from support import eventually_async, without_login

from smith_sdk import AlertMonitor, AlertRule, AsyncSmithBus, BackPressure, Rule, consumers, subjects
from smith_sdk.aio.alert_looks import DriftLook
from smith_sdk.alerts import (
    Alert,
    dead_letters_above,
    drifted,
    lag_above,
    oldest_above,
    replica_lag_above,
    stalled,
    to_health,
    to_log,
    to_webhook,
    utilisation_above,
)
from smith_sdk.backpressure import limit
from smith_sdk.errors import AuthenticationError, BusClosed, OptionsError, PermissionDenied
from smith_sdk.protocol import HealthEvent

RAW: Final = consumers.admission
NAME: Final = "many"
SECRET: Final = "a secret of twenty-four b"


def many(**options: Any) -> AlertRule:
    """Holds from 4 messages on that admission has not acknowledged, until fewer than 2."""
    return AlertRule(**{"when": lag_above(RAW, 3, clear_below=2), "hold": 0, "name": NAME, **options})


async def put(bus: AsyncSmithBus, count: int = 5) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(intent).envelope(intent) for intent in intents])


async def drain(bus: AsyncSmithBus) -> None:
    await bus.streams.purge(RAW.stream)


class Told:
    """What a function was told."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.threads: set[int] = set()

    def __call__(self, alert: Alert) -> None:
        self.threads.add(threading.get_ident())
        self.alerts.append(alert)

    async def later(self, alert: Alert) -> None:
        self(alert)

    @property
    def course(self) -> list[tuple[str, str]]:
        return [(one.rule, one.state) for one in self.alerts]


def bear(monitor: AlertMonitor, seconds: float) -> None:
    """Let what is not known become an alert after so many seconds from now on: few only while
    something is away, since a busy machine may take as long for one look."""
    monitor._board._unknown_after = seconds


RAISED: Final = (NAME, "raised")
RESOLVED: Final = (NAME, "resolved")


def has_course(told: Told, *course: tuple[str, str]) -> Callable[[], bool]:
    return lambda: told.course == list(course)


# ---- raised and resolved


async def test_an_alert_is_raised_and_resolved_and_a_function_is_told(face: Face, account: Account) -> None:
    told = Told()
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        monitor = face.alert_monitor(bus, [many()], notify=[told])
        async with monitor as running:
            assert not running.active
            await put(other)
            await eventually_async(has_course(told, RAISED))
            assert list(running.active) == told.alerts
            await drain(other)
            await eventually_async(has_course(told, RAISED, RESOLVED))
            assert not running.active
            await put(other)
            await eventually_async(has_course(told, RAISED, RESOLVED, RAISED))
    raised, resolved, again = told.alerts
    assert raised.reason.startswith("lag of admission is ")
    assert resolved.reason == "lag of admission is 0, below 2"
    assert raised.since == resolved.since < again.since
    assert threading.get_ident() not in told.threads


async def test_an_async_function_runs_in_the_event_loop(account: Account) -> None:
    told = Told()
    async with account.applied() as bus, AlertMonitor(bus, [many()], notify=[told.later], interval=0.05):
        await put(bus)
        await eventually_async(has_course(told, RAISED))
    assert told.threads == {threading.get_ident()}


async def test_what_is_raised_stays_so_while_the_monitor_is_stopped(account: Account) -> None:
    told = Told()
    async with account.applied() as bus:
        monitor = AlertMonitor(bus, [many()], notify=[told], interval=0.05)
        async with monitor:
            await put(bus)
            await eventually_async(has_course(told, RAISED))
        async with monitor:
            assert [one.rule for one in monitor.active] == [NAME]
            await drain(bus)
            await eventually_async(has_course(told, RAISED, RESOLVED))
        with pytest.raises(BusClosed):
            await monitor.lag.updated()


async def test_a_new_process_goes_on_where_the_former_one_was(account: Account, tmp_path: Path) -> None:
    told, later = Told(), Told()
    options: dict[str, Any] = {"interval": 0.05, "state_file": tmp_path / "raised.json"}
    async with account.applied() as bus:
        await put(bus)
        async with AlertMonitor(bus, [many(), many(name="former")], notify=[told], **options):
            await eventually_async(lambda: len(told.alerts) == 2)
        async with AlertMonitor(bus, [many()], notify=[later], **options) as monitor:
            await eventually_async(has_course(later, ("former", "resolved")))
            assert [one.since for one in monitor.active] == [told.alerts[0].since]
            await drain(bus)
            await eventually_async(has_course(later, ("former", "resolved"), RESOLVED))


async def test_what_was_not_told_is_raised_again_by_a_new_process(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smith_sdk.aio.alerts._FLUSH", 0.1)
    told = Told()
    options: dict[str, Any] = {"interval": 0.05, "state_file": tmp_path / "raised.json"}
    with Receiver(status(500)) as receiver:
        async with account.applied() as bus:
            monitor = AlertMonitor(bus, [many()], notify=[to_webhook(receiver.url)], **options)
            running = asyncio.ensure_future(monitor.run())
            await put(bus)
            await eventually_async(lambda: receiver.requests != [])
            await monitor.stop()
            await running
            async with AlertMonitor(bus, [many()], notify=[told], **options):
                await eventually_async(has_course(told, RAISED))


async def test_the_bus_stops_it(face: Face, account: Account) -> None:
    told = Told()
    bus = face.applied()
    await bus.connect()
    monitor = face.alert_monitor(bus, [many()], notify=[told])
    running = asyncio.ensure_future(monitor.run())
    async with AsyncSmithBus(account.url) as other:
        await put(other)
        await eventually_async(has_course(told, RAISED))
    await bus.close()
    await running
    await monitor.stop()


# ---- each measure


async def test_a_stalled_consumer_its_oldest_message_and_the_fill_are_measured(account: Account) -> None:
    told = Told()
    rules = [
        AlertRule(when=stalled(RAW), severity="critical"),
        AlertRule(when=oldest_above(RAW, 0.1)),
        AlertRule(when=utilisation_above("SDLC_RAW", 0.00001)),  # of 50,000 messages
        AlertRule(when=replica_lag_above("SDLC_RAW", 1)),
    ]
    async with account.applied() as bus, AlertMonitor(bus, rules, notify=[told], interval=0.05, stalled_after=0.3):
        await put(bus)
        await eventually_async(lambda: len(told.alerts) == 3)
    found = {one.rule: one for one in told.alerts}
    assert set(found) == {"stalled-admission", "oldest-admission", "utilisation-SDLC_RAW"}
    assert found["stalled-admission"].reason == "admission is stalled"
    assert "of 50,000 messages" in found["utilisation-SDLC_RAW"].reason


async def test_dead_letters_per_minute_are_measured(account: Account) -> None:
    told = Told()
    rules = [AlertRule(when=dead_letters_above(2))]
    async with account.applied() as bus:
        await put_letters(bus, *(original(seq) for seq in range(1, 5)))  # there before
        async with AlertMonitor(bus, rules, notify=[told], interval=0.05) as monitor:
            await monitor.lag.updated()
            await monitor.lag.updated()
            assert told.alerts == []
            await put_letters(bus, *(original(seq) for seq in range(11, 14)))
            await eventually_async(lambda: told.course == [("dead-letters", "raised")])
    assert told.alerts[0].reason == "dead letters per minute is 3, above 2"


async def test_drift_is_measured_and_what_differs_is_named(account: Account) -> None:
    told = Told()
    # Under the profile that the streams were applied under, whatever this one's is.
    async with account.applied() as bus, AsyncSmithBus(account.url, profile="prod") as looking:
        config = (await bus._session.api.stream_info("SDLC_RAW"))["config"]
        rule = AlertRule(when=drifted(), hold=0)
        async with AlertMonitor(looking, [rule], notify=[told], interval=0.05, drift_every=0.05) as monitor:
            await monitor.lag.updated()
            assert told.alerts == []
            await bus._session.api.stream_update({**config, "max_msgs": 77})
            await eventually_async(has_course(told, ("drift", "raised")))
            await bus.streams.apply()
            await eventually_async(has_course(told, ("drift", "raised"), ("drift", "resolved")))
            await bus._session.api.consumer_delete(RAW.stream, RAW.name)
            await eventually_async(lambda: len(told.alerts) == 3)
    assert told.alerts[0].reason == "1 stream or consumer is not as declared (update stream SDLC_RAW: max_msgs: 77 -> 50,000)"
    assert told.alerts[2].reason == "1 stream or consumer is not as declared (consumer admission of SDLC_RAW does not exist)"


async def test_what_back_pressure_limits_is_no_drift(account: Account) -> None:
    async with account.applied() as bus:
        look = DriftLook(bus._session, "dev", 60)
        busy = Rule(when=lag_above(RAW, 3), do=[limit(RAW, max_ack_pending=5)])
        async with BackPressure(bus, [busy], interval=0.05):
            await put(bus)
            await eventually_async(lambda: _is_limited(bus))
            assert await look._find() == []
            config = (await bus._session.api.consumer_info(RAW.stream, RAW.name))["config"]
            await bus._session.api.consumer_write(RAW.stream, {**config, "ack_wait": 77 * 10**9}, "update")
            assert await look._find() == ["update consumer admission of SDLC_RAW: ack_wait: 77s -> 5s"]


async def _is_limited(bus: AsyncSmithBus) -> bool:
    return (await bus.consumer(RAW).info()).max_ack_pending == 5


# ---- what is not known


async def test_a_consumer_that_is_deleted_is_not_known_and_its_alert_stays(account: Account) -> None:
    told = Told()
    async with account.applied() as bus:
        monitor = AlertMonitor(bus, [many()], notify=[told], interval=0.05)
        async with monitor:
            await put(bus)
            await eventually_async(has_course(told, RAISED))
            await bus._session.api.consumer_delete(RAW.stream, RAW.name)
            bear(monitor, 1)
            await eventually_async(has_course(told, RAISED, ("not-known", "raised")))
            assert [one.rule for one in monitor.active] == [NAME, "not-known"]
            await bus.streams.apply()
            await eventually_async(has_course(told, RAISED, ("not-known", "raised"), ("not-known", "resolved")))
            bear(monitor, 60)
            await drain(bus)
            await eventually_async(lambda: told.course[-1] == RESOLVED)
    assert told.alerts[1].reason == "not known for 1 s: lag of admission"


async def test_while_the_server_is_away_nothing_changes_but_that(make_server: Any, tmp_path: Any) -> None:
    told = Told()
    server = make_server(store_dir=tmp_path)
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        monitor = AlertMonitor(bus, [many()], notify=[told], interval=0.05)
        async with monitor:
            await put(bus)
            await eventually_async(has_course(told, RAISED))
            server.stop()
            bear(monitor, 1.5)
            await eventually_async(has_course(told, RAISED, ("not-known", "raised")), timeout=30)
            server.start()
            await eventually_async(has_course(told, RAISED, ("not-known", "raised"), ("not-known", "resolved")), timeout=30)
            bear(monitor, 60)
            await drain(bus)
            await eventually_async(lambda: told.course[-1] == RESOLVED)
    assert len(told.alerts) == 4
    assert "not known for 1.5 s: lag of admission: " in told.alerts[1].reason


async def test_a_lag_monitor_that_ends_is_started_again(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.alerts._AGAIN", 0.1)
    told = Told()

    async def refuse(*_: Any) -> None:
        raise PermissionDenied("not now", subject="x")

    async with account.applied() as bus, AlertMonitor(bus, [many()], notify=[told], interval=0.05) as monitor:
        looking: Any = monitor.lag._look
        look, looking.look = looking.look, refuse  # as when a permission is taken away
        await eventually_async(lambda: monitor._lag_again_at)
        bear(monitor, 1.5)
        await eventually_async(has_course(told, ("not-known", "raised")))
        looking.look = look
        await eventually_async(has_course(told, ("not-known", "raised"), ("not-known", "resolved")))
    assert told.alerts[0].reason == "not known for 1.5 s: lag of admission: not now"


async def test_refused_credentials_are_told_and_end_it(account: Account) -> None:
    told = Told()
    async with AsyncSmithBus(without_login(account.url), connect_mode="wait") as bus:
        with pytest.raises(AuthenticationError):
            await AlertMonitor(bus, [many()], notify=[told], interval=0.05).run()
    assert told.course == [("not-known", "raised")]
    assert told.alerts[0].reason.startswith("the monitor has ended: ")
    assert "refused the credentials" in told.alerts[0].reason


# ---- who is told


async def test_health_events_say_whether_all_is_well(face: Face, account: Account) -> None:
    rules = [many(), many(name="more", when=lag_above(RAW, 7, clear_below=7))]
    async with face.applied() as bus, AsyncSmithBus(account.url) as other:
        async with face.alert_monitor(bus, rules, notify=[to_health("watch")]):
            await put(other, 10)
            await eventually_async(lambda: _count(other, 2))
            (first,) = await other.consumer(RAW).fetch(1)
            for message in [first, *await other.consumer(RAW).fetch(4)]:
                await message.ack_sync()
            await eventually_async(lambda: _count(other, 3))
            await drain(other)
            await eventually_async(lambda: _count(other, 4))
        found = await _events(other)
    assert [event.healthy for event in found] == [False, False, False, True]
    assert {event.service for event in found} == {"watch"}
    detail = found[-1].detail
    assert detail is not None
    assert (detail["rule"], detail["state"], detail["severity"]) == (NAME, "resolved", "warning")


async def test_a_new_process_knows_what_was_unhealthy(account: Account, tmp_path: Path) -> None:
    rules = [many(), many(name="more", when=lag_above(RAW, 7, clear_below=7))]
    options: dict[str, Any] = {"notify": [to_health("watch")], "interval": 0.05, "state_file": tmp_path / "raised.json"}
    async with account.applied() as bus:
        await put(bus, 10)
        async with AlertMonitor(bus, rules, **options):
            await eventually_async(lambda: _count(bus, 2))
        for message in await bus.consumer(RAW).fetch(5):
            await message.ack_sync()
        async with AlertMonitor(bus, rules, **options):
            await eventually_async(lambda: _count(bus, 3))
        assert [event.healthy for event in await _events(bus)] == [False, False, False]


async def _events(bus: AsyncSmithBus) -> list[HealthEvent]:
    return [one.payload async for one in bus.read(subjects.events.health.filter())]


async def _count(bus: AsyncSmithBus, expected: int) -> bool:
    return len(await _events(bus)) == expected


async def test_the_log_and_a_webhook_are_told(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status(200)) as receiver:
        notify = [to_log(), to_webhook(receiver.url, secret=SECRET)]
        async with account.applied() as bus:
            monitor = AlertMonitor(bus, [many(severity="critical")], notify=notify, interval=0.05)
            async with monitor:
                await put(bus)
                await eventually_async(lambda: len(receiver.requests) == 1)
                assert [one.verified(SECRET) for one in receiver.requests] == list(monitor.active)
                await drain(bus)
                await eventually_async(lambda: len(receiver.requests) == 2)
    records = [one for one in caplog.records if one.name == "smith_sdk.alerts" and one.__dict__.get("rule") == NAME]
    assert [one.levelno for one in records] == [logging.ERROR, logging.WARNING]
    assert records[0].getMessage().startswith("alert critical: many: lag of admission is ")
    assert records[1].getMessage() == "alert resolved: many: lag of admission is 0, below 2"


def fail(_: Alert) -> None:
    raise ValueError("no")


async def cancel(_: Alert) -> None:
    raise asyncio.CancelledError


async def test_a_receiver_that_fails_or_hangs_stops_nothing(
    account: Account, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smith_sdk.aio.alerts._FLUSH", 0.5)
    told, ended = Told(), threading.Event()

    def hang(_: Alert) -> None:
        ended.wait(60)

    async def never(_: Alert) -> None:
        await asyncio.Event().wait()

    def lost(*words: str) -> int:
        lines = [one.getMessage() for one in caplog.records if "is not delivered" in one.getMessage()]
        return sum(all(word in line for word in words) for line in lines)

    with Receiver(status(200)) as receiver:
        receiver.respond = receiver.hang
        notify: list[Any] = [fail, cancel, hang, never, to_webhook(receiver.url), told]
        async with account.applied() as bus:
            monitor = AlertMonitor(bus, [many()], notify=notify, interval=0.05)
            running = asyncio.ensure_future(monitor.run())
            for course in ([RAISED], [RAISED, RESOLVED], [RAISED, RESOLVED, RAISED]):
                await (put(bus) if course[-1] == RAISED else drain(bus))
                await eventually_async(has_course(told, *course))
            ended.set()
            receiver.released.set()
            receiver.respond = status(200)
            await eventually_async(lambda: lost("function fail", "ValueError: no") == 3)
            await eventually_async(lambda: lost("function cancel", "it was cancelled") == 3)
            assert not running.done()
            await monitor.stop()
            await running
    assert lost("function fail", "") == lost("function cancel", "") == 3


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"rules": []}, r"AlertMonitor.rules=\[\]: must be a list"),
        ({"rules": [7]}, r"AlertMonitor.rules"),
        ({"rules": [many(), many()]}, "two rules have the name 'many'"),
        ({"rules": [many(when=stalled("nobody"))]}, r"rule many: stalled\(consumer\)='nobody'"),
        ({"notify": to_log()}, "AlertMonitor.notify"),
        ({"notify": ["log"]}, "AlertMonitor.notify: 'log'"),
        ({"notify": [lambda: None]}, "AlertMonitor.notify"),
        ({"interval": 0}, "interval"),
        ({"interval": 5, "unknown_after": 4}, r"AlertMonitor.unknown_after=4"),
        ({"drift_every": timedelta(0)}, r"AlertMonitor.drift_every"),
        ({"stalled_after": 0}, r"AlertMonitor.stalled_after=0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], names: str) -> None:
    bus = AsyncSmithBus("nats://127.0.0.1:1")
    with pytest.raises(OptionsError, match=names):
        AlertMonitor(bus, **{"rules": [many()], **options})


@pytest.mark.parametrize("service", ["a.b", "", "a b", "*", None])
def test_a_service_that_is_no_token_is_refused_where_it_is_given(service: Any) -> None:
    with pytest.raises(OptionsError, match=r"^to_health\(service\)="):
        to_health(service)


async def test_the_blocking_face_takes_no_async_function(account: Account) -> None:
    face = Face("blocking", account)
    async with face.applied() as bus:
        for function in (cancel, Told().later):
            with pytest.raises(OptionsError, match="an async function needs the async face"):
                face.alert_monitor(bus, [many()], notify=[function])
        assert isinstance(face.alert_monitor(bus, None), Crossing)


async def test_a_monitor_whose_bus_was_closed_within_its_block_runs_again(account: Account) -> None:
    told, bus = Told(), account.applied()
    await bus.connect()
    async with AlertMonitor(bus, [many()], notify=[told], interval=0.05) as monitor:
        await bus.close()
    async with bus:
        await put(bus)
        running = asyncio.ensure_future(monitor.run(signals=()))
        await eventually_async(lambda: told.course == [(NAME, "raised")] or running.done(), 30)
        await monitor.stop()
        await running
    assert told.course == [(NAME, "raised")]
