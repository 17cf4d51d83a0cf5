"""`bus.quarantine`: what admission keeps back is listed, released once in effect, or discarded."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from buses import Account, Face, read_intent
from pressure import QUARANTINE, admitting, are, decisions, have_codes, publish, switch_off, switch_on
from support import eventually_async

from smith_sdk import Allow, AsyncSmithBus, Deny, Quarantine, Trust, consumers, result_of, subjects
from smith_sdk._core import codec
from smith_sdk.aio import admission_gate, quarantine_records
from smith_sdk.aio.quarantine_release import kept_intent
from smith_sdk.aio.release_events import settle
from smith_sdk.errors import MessageNotFound, OptionsError, QueueFull
from smith_sdk.protocol import IntentId
from smith_sdk.signing import sign

SEED = bytes(range(32))
RAW = "smith.intents.raw.fs.read.v1"
FUTURE = datetime.max.replace(tzinfo=UTC)


def keep(intent: Any) -> Quarantine:
    return Quarantine("odd", rule="review")


async def quarantine(bus: AsyncSmithBus, *intents: Any, **options: Any) -> None:
    """Have back pressure quarantine them."""
    await switch_on(bus)
    before = await bus.quarantine.count()
    async with admitting(bus, **options):
        await publish(bus, *intents)
        await eventually_async(partial(are, bus, quarantine=before + len(intents)))
    await switch_off(bus)


async def rules(bus: AsyncSmithBus, intent: Any) -> list[str]:
    return [one.rule_name for one in await decisions(bus, intent)]


async def fetch(bus: AsyncSmithBus, count: int = 1) -> list[Any]:
    return await bus.consumer(consumers.executor_fs_read).fetch(count, timeout=10)


# ---- reading


async def test_records_say_what_and_why_on_both_faces(face: Face, account: Account) -> None:
    async with account.applied() as owner, face.bus(account.url) as bus:
        intent, expired = read_intent(ttl_ms=3_600_000), read_intent("/old")
        await quarantine(owner, intent)
        async with admitting(owner, keep):
            await publish(owner, expired)
            await owner._session.publish(RAW, b'{"id": "me"}', stream="SDLC_RAW", msg_id="m", headers={"X-Own": "1"})
            await eventually_async(partial(are, owner, quarantine=3))
        first, *others = await bus.quarantine.list()
        assert (first.id, first.rule, first.reason) == ("1", "backpressure", "lag: 12,000 messages wait")
        assert (first.intent_id, first.capability, first.domain) == (intent.id, "fs.read.v1", "default")
        assert (first.subject, first.releases, first.problem, first.truncated) == (RAW, 0, "", False)
        assert timedelta(minutes=59) < first.expires - first.time < timedelta(minutes=61)
        assert not first.is_expired
        assert {one.rule for one in others} == {"review", "payload"}
        (garbage,) = await bus.quarantine.list(rule="payload")
        assert (garbage.intent_id, garbage.domain, garbage.expires, garbage.payload) == ("me", None, None, b'{"id": "me"}')
        assert garbage.problem.startswith("it is not a valid intent: ")
        assert garbage.headers == {"X-Own": "1"}

        assert [one.id for one in await bus.quarantine.list(limit=1)] == ["1"]
        assert len(await bus.quarantine.list(after=1)) == 2
        assert [one.intent_id for one in await bus.quarantine.list(intent_id=expired.id)] == [expired.id]
        assert await bus.quarantine.list(capability="shell.exec.v1") == ()
        assert await bus.quarantine.list(until=first.time) == ()
        assert len(await bus.quarantine.list(since=first.time, expired=False)) == 3
        assert (await bus.quarantine.count(), await bus.quarantine.count(rule="review")) == (3, 1)
        assert (await bus.quarantine.get("1")) == first
        with pytest.raises(MessageNotFound):
            await bus.quarantine.get("17")
        assert await owner.quarantine.count() == 3  # nothing was taken


async def test_invalid_choices_are_refused_when_they_are_given(face: Face) -> None:
    async with face.applied() as bus:
        store = bus.quarantine
        for call, words in (
            (partial(store.list, limit=0), "limit"),
            (partial(store.list, rule=""), "rule=''"),
            (partial(store.list, since=datetime(2026, 1, 1)), "no time zone"),
            (partial(store.get, "x"), "'x' is not a valid id"),
            (partial(store.release), "release: pass ids or filters"),
            (partial(store.release, ["1"], rule="a"), "not both"),
            (partial(store.release, "1", rate=0), "rate=0"),
            (partial(store.release, "1", limit=0), "limit"),
            (partial(store.release, "1", by=" "), "by=' '"),
            (partial(store.discard), "discard: pass ids or filters"),
            (partial(store.discard, "-1"), "'-1' is not a valid id"),
        ):
            with pytest.raises(OptionsError, match=words.replace("(", r"\(")):
                await call()


# ---- releasing


async def test_a_released_intent_passes_admission_again_byte_for_byte(face: Face, account: Account) -> None:
    """With signatures and replay protection: its nonce was not used up by the first pass."""
    signed = sign(read_intent(), SEED)
    trust = Trust(keys=[signed.signer])
    async with account.applied() as owner, face.bus(account.url) as bus:
        await quarantine(owner, signed, trust=trust)
        seen: list[Any] = []
        report = await bus.quarantine.release(rule="backpressure", by="ann", progress=seen.append)
        assert (report.released, report.finished, report.gone, report.expired) == (1, 0, 0, 0)
        assert (report.failed, report.refused, report.stopped) == ((), (), "")
        assert [one.outcome for one in seen] == ["released"]
        async with admitting(owner, trust=trust):
            await eventually_async(partial(are, owner, vetted=1))
        (message,) = await fetch(owner)
        assert message.payload == signed
        assert await rules(owner, signed) == ["backpressure", "quarantine", "policy"]
        released = (await decisions(owner, signed))[1]
        assert released.reason == "released by ann; rule backpressure had quarantined it: lag: 12,000 messages wait"
        trace = await bus.trace(signed.id)
        assert [step.kind for step in trace.steps if step.kind in ("decision", "vetted")] == ["decision"] * 3 + ["vetted"]


async def test_a_released_intent_is_executed_once_though_its_caller_was_told_of_the_quarantine(
    face: Face, account: Account
) -> None:
    ran: list[str] = []

    def handle(message: Any) -> Any:
        ran.append(message.payload.id)
        return result_of(message.payload, output=7)

    async with account.applied() as owner, face.bus(account.url) as bus:
        await switch_on(owner)
        async with admitting(owner):
            told = await bus.execute(intent := read_intent(), timeout=20)
            assert (told.status, told.error.code) == ("denied", "QUARANTINED")
            await switch_off(owner)
            assert (await bus.quarantine.release(intent_id=intent.id)).released == 1
            worker = face.worker(bus, consumers.executor_fs_read, once=True)
            (worker if face.is_async else worker.inner).handler(handle)
            running = asyncio.ensure_future(worker.run())
            await eventually_async(partial(_has_result, owner, intent))
            await worker.stop()
            await running
        assert ran == [intent.id]
        trace = await bus.trace(intent.id)
        assert trace.state == "finished"


async def _has_result(bus: AsyncSmithBus, intent: Any) -> bool:
    results = [one.payload.status async for one in bus.read(subjects.results(intent_id=intent.id))]
    return results == ["denied", "ok"]


async def test_the_trail_of_a_released_message_is_in_its_headers(account: Account) -> None:
    headers: list[dict[str, str]] = []

    def policy(intent: Any, message: Any) -> Allow:
        headers.append(dict(message.headers))
        return Allow()

    async with account.applied() as bus:
        await switch_on(bus)
        async with admitting(bus):
            intent = read_intent()
            await bus.publish(subjects.intents.raw.of(intent), intent, headers={"X-Own": "1"})
            await eventually_async(partial(are, bus, quarantine=1))
        await switch_off(bus)
        await bus.quarantine.release("1", by="ann")
        async with admitting(bus, policy):
            await eventually_async(partial(are, bus, vetted=1))
    (found,) = headers
    assert (found["X-Own"], found["Smith-Quarantine-Rule"], found["Smith-Quarantine-By"]) == ("1", "backpressure", "ann")
    assert found["Smith-Quarantine-Count"] == "1"
    assert datetime.fromisoformat(found["Smith-Quarantine-At"]).tzinfo is not None


async def test_the_release_of_what_a_policy_had_reviewed_is_its_answer(account: Account) -> None:
    async with account.applied() as bus:
        async with admitting(bus, keep):
            await publish(bus, intent := read_intent())
            await eventually_async(partial(are, bus, quarantine=1))
            await bus.quarantine.release("1", by="ann")
            await eventually_async(partial(are, bus, vetted=1))
        last = (await decisions(bus, intent))[-1]
        assert (last.rule_name, last.decision) == ("release", "allow")
        assert last.reason == "released from the quarantine by ann; rule review: odd"


async def test_the_release_of_what_back_pressure_kept_back_leaves_the_policy_its_word(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, intent := read_intent(), denied := read_intent("/no"))
        policy: Any = lambda one: Deny("no") if one.params.path == "/no" else keep(one)  # noqa: E731
        async with admitting(bus, policy):
            assert (await bus.quarantine.release(rule="backpressure")).released == 2
            await eventually_async(partial(are, bus, quarantine=1))
        (again,) = await bus.quarantine.list()
        assert (again.intent_id, again.rule, again.releases) == (intent.id, "review", 1)
        assert await rules(bus, denied) == ["backpressure", "quarantine", "policy"]


async def test_an_intent_that_expired_in_the_quarantine_is_denied_and_counted(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with account.applied() as bus:
        await quarantine(bus, short := read_intent(ttl_ms=3_600_000))
        for module in (admission_gate, quarantine_records):
            monkeypatch.setattr(module, "now_ns", lambda: time.time_ns() + 3_601_000_000_000)
        (record,) = await bus.quarantine.list(expired=True)
        assert record.is_expired
        plan = await bus.quarantine.release(until=FUTURE, dry_run=True)
        assert (plan.planned, plan.expired) == (1, 1)
        async with admitting(bus):
            report = await bus.quarantine.release(until=FUTURE)
            assert (report.released, report.expired) == (1, 1)
            await eventually_async(partial(are, bus))
        assert await rules(bus, short) == ["backpressure", "quarantine", "expiry"]
        assert await have_codes(bus, QUARANTINED=1, INTENT_EXPIRED=1)


async def test_while_back_pressure_is_on_nothing_is_released_unless_it_must_be(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, read_intent(), read_intent())
        await switch_on(bus)
        report = await bus.quarantine.release(until=FUTURE)
        assert (report.released, report.stopped) == (0, "back pressure is on, by rule lag: 12,000 messages wait")
        assert await are(bus, quarantine=2)
        async with admitting(bus):
            assert (await bus.quarantine.release("1", force=True)).released == 1
            await eventually_async(partial(are, bus, quarantine=1, vetted=1))  # it does not come back


async def test_a_header_that_a_publisher_makes_up_opens_no_gate(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        await quarantine(bus, real := read_intent())
        await bus.quarantine.release("1")
        (event,) = [one.metadata.stream_seq async for one in bus.read(subjects.audit.policy(intent_id=real.id))][1:]
        await switch_on(bus)
        forged = codec.encode(read_intent("/forged"))
        async with admitting(bus):
            await eventually_async(partial(are, bus, vetted=1))
            for seq in (event, event + 1000):
                await bus._session.publish(
                    RAW,
                    forged,
                    stream="SDLC_RAW",
                    msg_id=f"forged {seq}",
                    headers={"Smith-Quarantine-Release": str(seq)},
                )
            await eventually_async(partial(are, bus, vetted=1, quarantine=2))
    assert sum("the audit trail does not" in line for line in caplog.messages) == 2


# ---- interrupted, and at once


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("is_decided", [False, True], ids=["waiting", "decided"])
async def test_a_second_copy_of_a_release_is_dropped(trusted: bool, is_decided: bool, account: Account) -> None:
    """As an interrupted release leaves one that is run again after the duplicate window."""
    signed = sign(read_intent(), SEED)
    options: dict[str, Any] = {"trust": Trust(keys=[signed.signer])} if trusted else {}
    async with account.applied() as bus:
        await quarantine(bus, signed, **options)
        (record,) = await bus.quarantine.list()
        await bus.quarantine.release("1")
        first = await bus._session.api.message("SDLC_RAW", 2)
        copy = {name: value for name, value in first.headers.items() if not name.startswith("Nats-")}
        again = partial(bus._session.publish, RAW, first.data, stream="SDLC_RAW", msg_id="another", headers=copy)
        if not is_decided:
            await again()
        async with admitting(bus, **options):
            await eventually_async(partial(are, bus, vetted=1))
            await fetch(bus)
            if is_decided:
                await again()
                await eventually_async(partial(are, bus, vetted=1))
        assert await rules(bus, signed) == ["backpressure", "quarantine", "policy"]
        assert await have_codes(bus, QUARANTINED=1)
        assert record.payload == first.data


@pytest.mark.parametrize("step", ["event", "published", "decided"])
async def test_an_interrupted_release_is_finished_by_the_next(
    step: str, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    async def die(*arguments: Any) -> None:
        raise Killed

    async with account.applied() as bus:
        await quarantine(bus, intent := read_intent())
        with monkeypatch.context() as patch:
            name = (
                "smith_sdk.aio.quarantine_release.ReleaseRun._publish"
                if step == "event"
                else ("smith_sdk.aio.quarantine_records.QuarantineRecords.remove")
            )
            patch.setattr(name, die)
            with pytest.raises(Killed):
                await bus.quarantine.release("1")
        assert await bus.quarantine.count() == 1
        async with admitting(bus):
            if step == "decided":
                await eventually_async(partial(are, bus, quarantine=1, vetted=1))
            report = await bus.quarantine.release("1")
            assert (report.released, report.finished) == (0, 1)
            await eventually_async(partial(are, bus, vetted=1))
        assert await rules(bus, intent) == ["backpressure", "quarantine", "policy"]


async def test_two_releases_at_once_let_each_intent_through_once(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        intents = [read_intent() for _ in range(30)]
        await quarantine(bus, *intents)
        reports = await asyncio.gather(*(one.quarantine.release(until=FUTURE) for one in (bus, other)))
        assert sum(one.released for one in reports) == 30
        async with admitting(bus):
            await eventually_async(partial(are, bus, vetted=30))


async def test_a_full_raw_stream_stops_a_release_and_loses_nothing(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, *(read_intent() for _ in range(3)))
        config = (await bus._session.api.stream_info("SDLC_RAW"))["config"]
        await bus._session.api.stream_update({**config, "max_msgs": 1})
        with pytest.raises(QueueFull):
            await bus.quarantine.release(until=FUTURE)
        await bus._session.api.stream_update({**config, "max_msgs": 100})
        report = await bus.quarantine.release(until=FUTURE)
        assert report.finished + report.released == 2
        async with admitting(bus):
            await eventually_async(partial(are, bus, vetted=3))


async def test_a_limit_and_a_rate_bound_a_release(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, *(read_intent() for _ in range(5)))
        report = await bus.quarantine.release(until=FUTURE, limit=2, rate=1000)
        assert report.released == 2
        assert [one.id for one in await bus.quarantine.list()] == ["3", "4", "5"]


async def test_what_is_not_an_intent_is_not_released(account: Account) -> None:
    async with account.applied() as bus, admitting(bus):
        await bus._session.publish(RAW, b"{", stream="SDLC_RAW", msg_id="m")
        await eventually_async(partial(are, bus, quarantine=1))
        report = await bus.quarantine.release("1")
        (refused,) = report.refused
        assert (refused.id, report.released) == ("1", 0)
        assert "not a valid intent" in refused.error
        assert await are(bus, quarantine=1)


# ---- discarding


async def test_discarded_intents_are_deleted_and_the_audit_trail_says_so(face: Face, account: Account) -> None:
    async with account.applied() as owner, face.bus(account.url) as bus:
        await quarantine(owner, one := read_intent(), two := read_intent())
        async with admitting(owner):
            await owner._session.publish(RAW, b"{", stream="SDLC_RAW", msg_id="m")
            await eventually_async(partial(are, owner, quarantine=3))
        assert tuple(await bus.quarantine.discard(until=FUTURE, dry_run=True)) == ("1", "2", "3")
        assert tuple(await bus.quarantine.discard(["1", "3", "9"], by="ann")) == ("1", "3")
        assert await are(owner, quarantine=1)
        last = (await decisions(owner, one))[-1]
        assert (last.rule_name, last.decision) == ("quarantine", "deny")
        assert last.reason.startswith("discarded by ann; rule backpressure had quarantined it")
        assert await rules(owner, two) == ["backpressure"]
        events = [event.payload async for event in owner.read(subjects.audit.security.filter())]
        assert [event.detail["positions"] for event in events if event.event_type == "quarantine_discarded"] == [[3]]


async def test_discarding_undoes_a_release_that_admission_has_not_decided_about(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, first := read_intent("/1"), second := read_intent("/2"))
        for record in await bus.quarantine.list():  # a release that was killed before it removed the records
            await settle(bus._session, kept_intent(record), "released", "ann")
            event = [
                one.metadata.stream_seq
                async for one in bus.read(subjects.audit.policy(intent_id=IntentId(record.intent_id or "")))
            ][-1]
            if record.id == "1":
                async with admitting(bus):
                    await _publish_released(bus, record, event)
                    await eventually_async(partial(are, bus, vetted=1, quarantine=2))
            else:
                await _publish_released(bus, record, event)
        assert await bus.quarantine.discard(["1", "2"]) == ("2",)
        async with admitting(bus):
            await eventually_async(partial(are, bus, vetted=1))
        assert await rules(bus, first) == ["backpressure", "quarantine", "policy"]
        assert await rules(bus, second) == ["backpressure", "quarantine", "quarantine"]


async def _publish_released(bus: AsyncSmithBus, record: Any, event: int) -> None:
    headers = {"Smith-Quarantine-Release": str(event)}
    await bus._session.publish(RAW, record.payload, stream="SDLC_RAW", msg_id=f"r{event}", headers=headers)


async def test_what_was_discarded_is_not_released(account: Account) -> None:
    async with account.applied() as bus:
        await quarantine(bus, intent := read_intent())
        (record,) = await bus.quarantine.list()
        await settle(bus._session, kept_intent(record), "discarded", "ann")  # and killed before it removed the record
        report = await bus.quarantine.release("1")
        assert (report.released, report.gone) == (0, 1)
        assert await are(bus)
        assert await rules(bus, intent) == ["backpressure", "quarantine"]
        assert (await bus.quarantine.release("1")).gone == 1


async def test_a_long_quarantine_is_read_in_order_with_holes(account: Account) -> None:
    async with account.applied() as bus:
        subject = "smith.intents.quarantine.fs.read.v1"
        for number in range(300):
            await bus._session.publish(subject, b"{}", stream=QUARANTINE, msg_id=str(number))
        gone = [*range(2, 120), *range(130, 300, 3)]
        for position in gone:
            await bus._session.api.call(f"STREAM.MSG.DELETE.{QUARANTINE}", {"seq": position, "no_erase": True})
        expected = [str(position) for position in range(1, 301) if position not in gone]
        assert [one.id for one in await bus.quarantine.list()] == expected
        assert [one.id for one in await bus.quarantine.list(after=125, limit=10)] == expected[7:17]
