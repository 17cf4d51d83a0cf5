"""Admission against hostile publishers, crashes and streams that refuse."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from support import eventually_async

import smith_sdk.sync
from smith_sdk import Admission, Allow, AsyncSmithBus, Deny, Quarantine, ResultCode, Transform, Trust, aio, consumers, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream import ack_window, in_flight
from smith_sdk._core.jetstream.ack_window import AckWindow
from smith_sdk._core.jetstream.api import StoredMessage
from smith_sdk.aio import refused_messages
from smith_sdk.aio.admission_case import Case
from smith_sdk.aio.admission_outputs import Outputs, fewer_bytes
from smith_sdk.aio.decision_records import Records
from smith_sdk.aio.patience import Patience
from smith_sdk.aio.rulings import LetThrough, Refuse
from smith_sdk.aio.shard_placement import VettedPlaces
from smith_sdk.contract import now_ns
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import PermissionDenied
from smith_sdk.protocol import (
    AuditEvent,
    FsReadV1Params,
    IntentResult,
    QuarantinedIntent,
    SecurityEvent,
    ShellExecV1Intent,
    ShellExecV1Params,
)
from smith_sdk.signing import sign
from smith_sdk.topology import CONTRACT

RAW = subjects.intents.raw
QUARANTINE = "SDLC_QUARANTINE_BACKPRESSURE"
SEED = bytes(range(32))
TRUST = Trust(keys=[sign(read_intent(), SEED).signer])
GARBAGE = b"{"


def shell(**fields: Any) -> ShellExecV1Intent:
    return ShellExecV1Intent.new(domain="default", params=ShellExecV1Params(command="true"), **fields)


def allow(intent: Any) -> Allow:
    return Allow()


@contextlib.asynccontextmanager
async def admitting(bus: AsyncSmithBus, policy: Any = allow, **options: Any) -> AsyncIterator[Admission]:
    admission = Admission(bus, policy=policy, executor_id="tester", **options)
    running = asyncio.ensure_future(admission.run())
    try:
        yield admission
    finally:
        await admission.stop()
        await running


async def publish(bus: Any, *intents: Any) -> None:
    for intent in intents:
        await bus.publish(RAW.of(intent), intent)


async def put_raw(bus: AsyncSmithBus, data: bytes, msg_id: str = "m") -> int:
    ack = await bus._session.publish("smith.intents.raw.fs.read.v1", data, stream="SDLC_RAW", msg_id=msg_id)
    return ack.seq


async def stored(bus: AsyncSmithBus, stream: str) -> list[StoredMessage]:
    """Every message that `stream` has now."""
    api = bus._session.api
    state = (await api.stream_info(stream))["state"]
    gone = set((await api.gaps(stream))[1])
    return [await api.message(stream, seq) for seq in range(state["first_seq"] or 1, state["last_seq"] + 1) if seq not in gone]


async def events(bus: AsyncSmithBus) -> list[tuple[str | None, str, str]]:
    """Of each decision in the audit trail the intent, its status, and the rule that decided."""
    found = [
        msgspec.json.decode(one.data, type=AuditEvent)
        for one in await stored(bus, "AUDIT_SECURITY")
        if one.subject.startswith("smith.audit.policy.")
    ]
    return [(one.intent_id, one.result_status, one.policy_decisions[0].rule_name) for one in found]


async def codes(bus: AsyncSmithBus) -> dict[str, tuple[str, str]]:
    """Status and code of each intent's result."""
    found = [msgspec.json.decode(one.data, type=IntentResult) for one in await stored(bus, "ATOMS_RESULTS")]
    return {one.intent_id: (one.status, one.error.code if one.error else "") for one in found}


async def decided(bus: AsyncSmithBus) -> bool:
    info = await bus._session.api.stream_info("SDLC_RAW")
    return bool(info["state"]["messages"] == 0)


async def change(bus: AsyncSmithBus, stream: str, **config: Any) -> None:
    api = bus._session.api
    await api.stream_update((await api.stream_info(stream))["config"] | config)


async def full(bus: AsyncSmithBus, stream: str) -> None:
    await change(bus, stream, max_bytes=10, discard="new")


# ---- message ids that somebody else has used first


async def test_two_intents_of_one_id_have_an_audit_event_each(account: Account) -> None:
    async with account.applied() as bus, admitting(bus):
        first = read_intent()
        await publish(bus, first, shell(id=first.id))
        await eventually_async(lambda: decided(bus))
        assert len(await stored(bus, "ATOMS_VETTED")) == 2
        assert await events(bus) == [(first.id, "ok", "policy")] * 2


async def test_a_foreign_event_does_not_take_the_place_of_an_audit_event(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        where = f"smith.audit.policy.{intent.id}"
        await bus._session.publish(where, b"x", stream="AUDIT_SECURITY", msg_id=f"{where}:admission")
        await publish(bus, intent)
        async with admitting(bus):
            await eventually_async(lambda: decided(bus))
        first, ours = await stored(bus, "AUDIT_SECURITY")
        assert (first.data, msgspec.json.decode(ours.data, type=AuditEvent).result_status) == (b"x", "ok")


@pytest.mark.parametrize("is_consumed", [False, True], ids=["there", "consumed"])
async def test_foreign_bytes_do_not_swallow_an_allowed_intent(is_consumed: bool, account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        data, where = msgspec.json.encode(intent), str(subjects.intents.vetted.of(intent))
        msg_id = f"{where}:{hashlib.sha256(data).hexdigest()[:32]}:{intent.id}"
        await bus._session.publish(where, b"foreign", stream="ATOMS_VETTED", msg_id=msg_id)
        if is_consumed:
            (message,) = await bus.consumer(consumers.executor_fs_read).fetch(1)
            await message.ack_sync()
        await publish(bus, intent)
        async with admitting(bus):
            await eventually_async(lambda: decided(bus))
        found = [one.data for one in await stored(bus, "ATOMS_VETTED")]
        assert found == ([data] if is_consumed else [b"foreign", data])


@pytest.mark.parametrize("is_consumed", [False, True], ids=["there", "consumed"])
async def test_an_intent_published_twice_is_vetted_once_and_audited_twice(is_consumed: bool, account: Account) -> None:
    async with account.applied() as bus, admitting(bus):
        intent = read_intent()
        data = msgspec.json.encode(intent)
        await put_raw(bus, data, "first")
        await eventually_async(lambda: decided(bus))
        if is_consumed:
            (message,) = await bus.consumer(consumers.executor_fs_read).fetch(1)
            await message.ack_sync()
        await put_raw(bus, data, "second")
        await eventually_async(lambda: decided(bus))
        assert (await bus._session.api.stream_info("ATOMS_VETTED"))["state"]["last_seq"] == 1
        assert await events(bus) == [(intent.id, "ok", "policy")] * 2


async def test_an_intent_that_is_sent_again_for_a_lost_ack_is_executed_once(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was executed meanwhile, so the stream has the id, and the message no more."""
    lost: list[bytes] = []
    on_ack = AckWindow._on_ack

    def loses_the_first(window: AckWindow, message: RawMessage) -> None:
        if b"ATOMS_VETTED" in message.data and not lost:
            lost.append(message.data)
        else:
            on_ack(window, message)

    monkeypatch.setattr(AckWindow, "_on_ack", loses_the_first)
    monkeypatch.setattr(ack_window, "ACK_LATE", (0.5,))
    monkeypatch.setattr(in_flight, "ACK_LATE", (0.5,))
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        async with admitting(bus):
            await publish(other, read_intent())
            (message,) = await other.consumer(consumers.executor_fs_read).fetch(1, timeout=20)
            await message.ack_sync()
            await eventually_async(lambda: decided(bus))
        assert lost
        assert (await bus._session.api.stream_info("ATOMS_VETTED"))["state"]["last_seq"] == 1


async def test_a_foreign_record_does_not_take_the_place_of_ours_in_the_quarantine(account: Account) -> None:
    async with account.applied() as bus:
        seq = await put_raw(bus, GARBAGE)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        await message.nack()
        where = "smith.intents.quarantine.fs.read.v1"
        msg_id = f"{where}:{message.metadata.timestamp}:seq-{seq}"
        foreign = msgspec.json.encode(QuarantinedIntent.new(intent=b"other", reason="mine"))
        await bus._session.publish(where, foreign, stream=QUARANTINE, msg_id=msg_id)
        async with admitting(bus):
            await eventually_async(lambda: decided(bus))
        kept = [msgspec.json.decode(one.data, type=QuarantinedIntent).intent for one in await stored(bus, QUARANTINE)]
        assert kept == [b"other", GARBAGE]


# ---- what the quarantine cannot store


async def test_a_record_over_the_limit_holds_the_head_and_says_so(account: Account) -> None:
    async with account.applied() as bus:
        await change(bus, QUARANTINE, max_msg_size=500_000)
        data = b"{" + os.urandom(900_000)
        await put_raw(bus, data)
        async with admitting(bus) as admission:
            await eventually_async(lambda: decided(bus))
        (one,) = await stored(bus, QUARANTINE)
        kept = msgspec.json.decode(one.data, type=QuarantinedIntent)
        assert kept.intent == data[: len(kept.intent)]
        assert 200_000 < len(kept.intent) < 375_000
        assert f"the first {len(kept.intent)} of {len(data)} bytes" in kept.reason
        assert hashlib.sha256(data).hexdigest() in kept.reason
        assert admission.stats.unanswered == 0


def test_a_record_over_a_known_limit_keeps_as_much_as_fits() -> None:
    assert fewer_bytes(900_000, 500_000) == (500_000 - 4096) // 4 * 3
    assert fewer_bytes(900_000, None) == 450_000
    assert fewer_bytes(300, 500_000) == fewer_bytes(900_000, 100) == 0


async def test_the_largest_raw_message_ends_somewhere(account: Account) -> None:
    async with account.applied() as bus:
        await put_raw(bus, b"{" + b"x" * (int(1.9 * 1024**2)))
        async with admitting(bus) as admission:
            await eventually_async(lambda: decided(bus))
        assert admission.stats.unanswered == 0
        assert len(await stored(bus, QUARANTINE)) == 1


async def test_garbage_that_finds_the_quarantine_full_is_dead_lettered(account: Account) -> None:
    async with account.applied() as bus:
        await full(bus, QUARANTINE)
        named = msgspec.json.encode({"id": "with-an-id"})
        for number in range(70):
            await put_raw(bus, named if number == 0 else GARBAGE, f"m{number}")
        intent = read_intent()
        await publish(bus, intent)
        async with admitting(bus) as admission:
            await eventually_async(lambda: decided(bus))
        assert admission.stats.dead_lettered == 70
        assert await bus.dead_letters.count() == 70
        (one,) = await stored(bus, "ATOMS_VETTED")
        assert one.data == msgspec.json.encode(intent)
        assert (await codes(bus))["with-an-id"] == ("denied", "QUARANTINED")
        assert "not quarantined" in (await bus.dead_letters.list())[0].error


async def test_garbage_that_finds_no_room_at_all_is_terminated_and_counted(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with account.applied() as bus:
        await full(bus, QUARANTINE)
        await full(bus, "SMITH_DLQ")
        for number in range(5):
            await put_raw(bus, GARBAGE, f"m{number}")
        await bus._session.publish("smith.intents.raw.mind.read.v9", b"{}", stream="SDLC_RAW", msg_id="unknown")
        intent = read_intent()
        await publish(bus, intent)
        async with admitting(bus):
            await eventually_async(lambda: decided(bus))
        assert len(await stored(bus, "ATOMS_VETTED")) == 1
        (report,) = await reports(bus)
        assert (report["refused"], report["became"]) == (6, {"terminated": 6})
        assert report["reasons"] == {"payload": 5, "subject": 1}
        assert "6 terminated" in caplog.text


async def reports(bus: AsyncSmithBus) -> list[dict[str, Any]]:
    found = [one for one in await stored(bus, "AUDIT_SECURITY") if one.subject == "smith.audit.security.admission_refused"]
    return [msgspec.json.decode(one.data, type=SecurityEvent).detail for one in found]


async def test_refused_garbage_is_reported_in_sums(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_messages, "INTERVAL", 0.3)
    async with account.applied() as bus:
        async with admitting(bus):
            for number in range(3):
                await put_raw(bus, GARBAGE, f"m{number}")
            await eventually_async(lambda: decided(bus))
            await eventually_async(lambda: reports(bus))  # without an end of the run
            await put_raw(bus, GARBAGE, "last")
            await eventually_async(lambda: decided(bus))
        found = await reports(bus)
        assert 2 <= len(found) < 5
        assert sum((Counter(one["reasons"]) for one in found), Counter()) == {"payload": 4}
        assert sum((Counter(one["became"]) for one in found), Counter()) == {"quarantined": 4}
        assert {one["executor_id"] for one in found} == {"tester"}
        async with admitting(bus):
            pass
        assert len(await reports(bus)) == len(found)


async def test_an_intent_to_be_quarantined_is_dead_lettered_if_there_is_no_room(account: Account) -> None:
    async with account.applied() as bus:
        await full(bus, QUARANTINE)
        intent = read_intent()
        await publish(bus, intent)
        async with admitting(bus, lambda intent: Quarantine("looks odd")) as admission:
            await eventually_async(lambda: decided(bus))
        assert admission.stats.dead_lettered == 1
        (letter,) = await bus.dead_letters.list()
        assert letter.payload == msgspec.json.encode(intent)
        assert "looks odd" in letter.error
        assert await codes(bus) == {intent.id: ("denied", "QUARANTINED")}
        assert await events(bus) == [(intent.id, "error", "policy")]


async def test_what_a_policy_says_is_bounded_and_escaped(account: Account) -> None:
    async with account.applied() as bus:
        intents = [read_intent(), read_intent()]
        said = iter(["\x1b[2J\ud800", "r" * 3_000_000])
        async with admitting(bus, lambda intent: Deny(text := next(said), rule=text), concurrency=1):
            await publish(bus, *intents)
            await eventually_async(lambda: decided(bus))
        (_, _, odd), (_, _, long) = await events(bus)
        assert odd == r"\x1b[2J\ud800"
        assert len(long) < 1200
        assert set(await codes(bus)) == {intent.id for intent in intents}


# ---- one intent, one decision


DIES = """
    import asyncio, os, signal, sys
    from msgspec.structs import replace
    from smith_sdk import Admission, Allow, AsyncSmithBus, Deny, Message, Quarantine, Transform
    from smith_sdk import Trust
    from smith_sdk.aio.admission_outputs import Outputs
    from smith_sdk.aio.decision_records import Records

    def die(*args, **options):
        os.kill(os.getpid(), signal.SIGKILL)

    def policy(intent):
        other = replace(intent, metadata={"by": "policy"})
        return {"allow": Allow(), "deny": Deny("no"), "quarantine": Quarantine("odd"), "transform": Transform(other)}[sys.argv[2]]

    async def main():
        async with AsyncSmithBus(sys.argv[1]) as bus:
            trust = None
            if sys.argv[3] == "claimed":
                trust, Records.put = Trust(keys=[sys.argv[4]]), die
            elif sys.argv[3] == "before":
                Outputs.let_through = Outputs.answer = Outputs.quarantine = die
            else:
                Message._send = Message._ack_now = die
            print("ready", flush=True)
            await Admission(bus, policy=policy, executor_id="first", trust=trust).run()
    asyncio.run(main())
"""
QUICK = declaring(msgspec.structs.replace(consumers.admission, ack_wait=1.0))


@contextlib.asynccontextmanager
async def killed(account: Account, word: str, when: str, *key: str) -> AsyncIterator[None]:
    """An admission that is killed by the first intent, which is to be published within."""
    command = [sys.executable, "-c", textwrap.dedent(DIES), account.url, word, when, *key]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"ready\n"
        yield
        assert await process.wait() == -9


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("word", ["allow", "deny", "quarantine", "transform"])
async def test_the_first_decision_stands_after_a_crash_though_the_ttl_has_passed(
    word: str, when: str, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with account.applied(contract=QUICK) as bus:
        async with killed(account, word, when):
            intent = read_intent(ttl_ms=600_000)
            await publish(bus, intent)
        asked: list[Any] = []

        def policy(given: Any) -> Any:
            asked.append(given)
            if word != "transform":
                return Deny("another") if word == "allow" else Allow()
            return Transform(msgspec.structs.replace(given, metadata={"by": "policy"}))

        with monkeypatch.context() as later:
            for place in ("smith_sdk.aio.admission_gate.now_ns", "smith_sdk.protocol._intent._now_ns"):
                later.setattr(place, lambda: now_ns() + 700 * 10**9)
            assert intent.is_expired
            async with admitting(bus, policy):
                await eventually_async(lambda: decided(bus))
        assert len(asked) == (word == "transform")
        passed = word in ("allow", "transform")
        assert await events(bus) == [(intent.id, {"deny": "denied", "quarantine": "error"}.get(word, "ok"), "policy")]
        vetted = [msgspec.json.decode(one.data)["metadata"] for one in await stored(bus, "ATOMS_VETTED")]
        assert vetted == ([{"by": "policy"} if word == "transform" else {}] if passed else [])
        assert await codes(bus) == (
            {} if passed else {intent.id: ("denied", "POLICY_DENIED" if word == "deny" else "QUARANTINED")}
        )
        assert len(await stored(bus, QUARANTINE)) == (word == "quarantine")


async def test_an_intent_is_no_replay_of_itself_after_a_crash(account: Account) -> None:
    async with account.applied(contract=QUICK) as bus:
        intent = sign(read_intent(), SEED)
        async with killed(account, "allow", "claimed", intent.signer):
            await publish(bus, intent)
        replay = sign(read_intent(nonce=intent.nonce), SEED)
        async with admitting(bus, trust=TRUST):
            await eventually_async(lambda: decided(bus), 15)
            await publish(bus, replay)
            await eventually_async(lambda: decided(bus), 15)
        assert await events(bus) == [(intent.id, "ok", "policy"), (replay.id, "denied", "replay")]
        assert await codes(bus) == {replay.id: ("denied", "REPLAYED")}
        assert [one.data for one in await stored(bus, "ATOMS_VETTED")] == [msgspec.json.encode(intent)]


async def test_of_two_admissions_that_decide_at_once_the_later_adopts_the_decision(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        await publish(bus, intent)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        one, other = Records(bus._session, "one"), Records(bus._session, "other")
        case = Case(message, intent)
        let_through = LetThrough(message.raw, "policy", "allowed")
        refuse = Refuse(ResultCode.POLICY_DENIED, "policy", "no")
        found = await asyncio.gather(one.put(case, let_through), other.put(case, refuse))
        assert [record.is_own for record in found].count(True) == 1
        assert found[0].ruling == found[1].ruling
        assert len(await stored(bus, "AUDIT_SECURITY")) == 1


async def test_a_halted_admission_does_not_repeat_what_another_one_has_done(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        await publish(bus, intent)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        case, vetted_place = Case(message, intent), VettedPlaces(bus._session).of(intent)
        ruling = LetThrough(message.raw, "policy", "allowed")
        records = Records(bus._session, "one")
        outputs = Outputs(bus._session, records, Patience(lambda: False))
        await records.put(case, ruling)
        await outputs.let_through(case, vetted_place, ruling, False)
        (vetted,) = await bus.consumer(consumers.executor_fs_read).fetch(1)
        await vetted.ack_sync()
        await outputs.let_through(case, vetted_place, ruling, True)
        assert await bus.consumer(consumers.executor_fs_read).fetch(1, timeout=0.2) == []


# ---- audited first


@pytest.mark.parametrize("how", ["deleted", "full", "sealed"])
async def test_without_an_audit_event_nothing_is_let_through_and_nothing_lost(
    how: str, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with account.applied() as bus:
        api = bus._session.api
        config = (await api.stream_info("AUDIT_SECURITY"))["config"]
        if how == "deleted":
            await api.stream_delete("AUDIT_SECURITY")
        elif how == "full":
            await full(bus, "AUDIT_SECURITY")
        else:
            await change(bus, "AUDIT_SECURITY", sealed=True)
        intents = [read_intent() for _ in range(3)]
        await publish(bus, *intents)
        async with admitting(bus) as admission:
            await eventually_async(lambda: "held up" in caplog.text)
            await eventually_async(lambda: admission.stats.running == 3)
            assert await stored(bus, "ATOMS_VETTED") == []
            assert await bus.dead_letters.count() == 0
            if how == "deleted":
                await api.stream_create(config)
            elif how == "full":
                await change(bus, "AUDIT_SECURITY", max_bytes=config["max_bytes"])
            else:
                return
            await eventually_async(lambda: decided(bus))
        assert len(await stored(bus, "ATOMS_VETTED")) == len(await events(bus)) == 3


async def test_an_admission_that_is_held_up_can_be_stopped(account: Account) -> None:
    async with account.applied() as bus:
        await bus._session.api.stream_delete("ATOMS_VETTED")
        await publish(bus, read_intent())
        before = asyncio.all_tasks()
        async with admitting(bus) as admission:
            await eventually_async(lambda: admission.stats.running)
        assert not await decided(bus)
        assert (await bus.dead_letters.count(), await events(bus)) == (0, [])
        await eventually_async(lambda: asyncio.all_tasks() <= before, 20)


async def test_a_deleted_results_stream_holds_up_no_other_intent(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        await bus._session.api.stream_delete("ATOMS_RESULTS")
        await publish(bus, *(read_intent("/denied") for _ in range(70)), good := read_intent("/good"))
        async with admitting(bus, lambda intent: Allow() if intent.params.path == "/good" else Deny("no")):
            await eventually_async(lambda: decided(bus))
        assert [one.subject for one in await stored(bus, "ATOMS_VETTED")] == [str(subjects.intents.vetted.of(good))]
        assert len(await events(bus)) == 71
        assert "could not publish the POLICY_DENIED result" in caplog.text


FORBIDDEN = {
    "vetted": "smith.intents.vetted.>",
    "audit": "smith.audit.>",
    "quarantine": "smith.intents.quarantine.>",
    "results": "smith.results.*",
    "consumers": "$JS.API.CONSUMER.LIST.>",
}


def only_refusing(subject: str) -> str:
    return (
        "authorization { users: [ { user: op, password: x }, "
        f'{{ user: u, password: x, permissions: {{ publish: {{ deny: ["{subject}"] }} }} }} ] }}'
    )


async def test_an_intent_that_expires_while_the_audit_is_held_up_is_denied(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    async with account.applied() as bus:
        api = bus._session.api
        config = (await api.stream_info("AUDIT_SECURITY"))["config"]
        await api.stream_delete("AUDIT_SECURITY")
        intent = read_intent(ttl_ms=1500)
        await publish(bus, intent)
        async with admitting(bus):
            await eventually_async(lambda: "held up" in caplog.text)
            await eventually_async(lambda: intent.is_expired)
            await api.stream_create(config)
            await eventually_async(lambda: decided(bus))
        assert await events(bus) == [(intent.id, "denied", "expiry")]
        assert await stored(bus, "ATOMS_VETTED") == []


async def test_a_forbidden_report_ends_the_run(
    make_server: Callable[..., EmbeddedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_messages, "INTERVAL", 0.1)
    server = make_server(config=only_refusing("smith.audit.security.>"))
    place = server.url.removeprefix("nats://")
    async with (
        AsyncSmithBus(f"nats://op:x@{place}", manage="apply", profile="dev") as op,
        AsyncSmithBus(f"nats://u:x@{place}") as bus,
    ):
        running = asyncio.ensure_future(Admission(bus, policy=allow, executor_id="a").run())
        number = 0
        while not running.done():
            number += 1
            await put_raw(op, GARBAGE, f"m{number}")
            await asyncio.wait({running}, timeout=0.05)
            assert number < 600
        with pytest.raises(PermissionDenied, match=r"smith\.audit\.security\.admission_refused"):
            await running


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_a_forbidden_output_ends_the_run(what: str, make_server: Callable[..., EmbeddedServer]) -> None:
    server = make_server(config=only_refusing(FORBIDDEN[what]))
    place = server.url.removeprefix("nats://")
    async with (
        AsyncSmithBus(f"nats://op:x@{place}", manage="apply", profile="dev") as op,
        AsyncSmithBus(f"nats://u:x@{place}") as bus,
    ):
        if what == "quarantine":
            await put_raw(op, GARBAGE)
        else:
            await publish(op, read_intent())
        policy = (lambda intent: Deny("no")) if what == "results" else allow
        with pytest.raises(PermissionDenied) as error:
            await asyncio.wait_for(Admission(bus, policy=policy, executor_id="a").run(), 30)
        assert error.value.subject.startswith(FORBIDDEN[what].rstrip("*>"))
        assert not await decided(op)
        assert await op.dead_letters.count() == 0


# ---- one sick part


async def test_a_policy_that_hangs_fails_its_attempt(face: Face) -> None:
    hang = threading.Event()

    def in_thread(intent: Any) -> Allow:
        if intent.params.path == "/hang":
            hang.wait(20)
        return Allow()

    async def in_loop(intent: Any) -> Allow:
        if intent.params.path == "/hang":
            await asyncio.sleep(20)
        return Allow()

    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        for policy in (in_thread, in_loop):
            await publish(other, *(read_intent("/hang") for _ in range(2)), good := read_intent("/good"))
            admission = face.admission(bus, policy=policy, executor_id="tester", timeout=0.2, concurrency=2)
            running = asyncio.ensure_future(admission.run())
            await eventually_async(lambda: decided(other))
            await admission.stop()
            await running
            assert [one.data for one in await stored(other, "ATOMS_VETTED")][-1] == msgspec.json.encode(good)
        hang.set()
        letters = await other.dead_letters.list()
        assert {(one.error_type, one.attempts) for one in letters} == {("HandlerTimeout", 2)}
        assert "Admission(timeout=...)" in letters[0].error
        assert set((await codes(other)).values()) == {("error", "ADMISSION_FAILED")}


async def test_intents_without_an_executor_are_denied_and_others_go_on(account: Account) -> None:
    elsewhere = CONTRACT.with_domains(consumers.executor_shell_exec.for_domains("elsewhere"))
    async with account.applied(contract=elsewhere) as bus:
        strays = [shell() for _ in range(70)]
        await publish(bus, *strays, good := read_intent())
        async with admitting(bus) as admission:
            await eventually_async(lambda: stored(bus, "ATOMS_VETTED"))
            await eventually_async(lambda: decided(bus))
        assert admission.stats.retried == 70
        assert await codes(bus) == {one.id: ("denied", "NO_EXECUTOR") for one in strays}
        assert sorted(await events(bus), key=str) == sorted(
            [(good.id, "ok", "policy"), *((one.id, "denied", "executor") for one in strays)], key=str
        )
        (error,) = {
            msgspec.json.decode(one.data, type=IntentResult).error.message  # type: ignore[union-attr]
            for one in await stored(bus, "ATOMS_RESULTS")
        }
        assert "smith.intents.vetted.shell.exec.v1.default" in error


async def test_an_executor_that_appears_within_two_seconds_gets_the_intent(account: Account) -> None:
    elsewhere = CONTRACT.with_domains(consumers.executor_shell_exec.for_domains("elsewhere"))
    async with account.applied(contract=elsewhere) as bus:
        await publish(bus, shell())
        asked, is_applied = 0, asyncio.Event()

        async def policy(intent: Any) -> Allow:
            nonlocal asked
            asked += 1
            if asked > 1:  # the two seconds may pass before everything is applied
                await is_applied.wait()
            return Allow()

        async with admitting(bus, policy, timeout=60) as admission, AsyncSmithBus(account.url, profile="dev") as owner:
            await eventually_async(lambda: admission.stats.retried)
            await owner.streams.apply()
            is_applied.set()
            await eventually_async(lambda: decided(bus))
        assert len(await stored(bus, "ATOMS_VETTED")) == 1
        assert await codes(bus) == {}


# ---- time, trust, and policies that take the message


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"created_at_ns": 7_258_118_400_000_000_000, "ttl_ms": 1}, "CREATED_IN_FUTURE"),
        ({"ahead": 40}, "CREATED_IN_FUTURE"),
        ({"created_at_ns": 2**63 + 1}, "CREATED_IN_FUTURE"),
        ({"created_at_ns": 1, "ttl_ms": 10}, "INTENT_EXPIRED"),
        ({"created_at_ns": 0, "ttl_ms": 2**32 - 1}, "INTENT_EXPIRED"),
    ],
)
async def test_intents_out_of_time_are_denied_and_the_policy_never_asked(
    fields: dict[str, Any], code: str, account: Account
) -> None:
    async with account.applied() as bus:
        asked: list[Any] = []
        ahead = fields.get("ahead")
        intent = read_intent(**fields if ahead is None else {"created_at_ns": now_ns() + ahead * 10**9})
        await publish(bus, intent)

        def policy(given: Any) -> Allow:
            asked.append(given)
            return Allow()

        async with admitting(bus, policy):
            await eventually_async(lambda: decided(bus))
        assert await codes(bus) == {intent.id: ("denied", code)}
        assert await events(bus) == [(intent.id, "denied", "expiry")]
        assert asked == []


async def test_an_intent_of_a_clock_that_is_a_little_ahead_is_let_through(account: Account) -> None:
    async with account.applied() as bus:
        await publish(bus, read_intent(created_at_ns=now_ns() + 20_000_000_000))
        async with admitting(bus):
            await eventually_async(lambda: decided(bus))
        assert len(await stored(bus, "ATOMS_VETTED")) == 1


async def test_whom_trust_refuses_is_denied_with_a_code_of_its_own(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        good = sign(read_intent(), SEED)
        tampered = msgspec.structs.replace(sign(read_intent(), SEED), params=FsReadV1Params(path="/other"))
        ahead = sign(read_intent(created_at_ns=now_ns() + 60_000_000_000), SEED)
        unsigned, stranger = read_intent(), sign(read_intent(), bytes(32))
        replay = sign(read_intent(nonce=good.nonce), SEED)
        asked: list[str] = []

        def policy(intent: Any) -> Allow:
            asked.append(intent.id)
            return Allow()

        admission = face.admission(bus, policy=policy, executor_id="tester", trust=TRUST)
        running = asyncio.ensure_future(admission.run())
        await publish(other, good)
        await eventually_async(lambda: decided(other))
        await publish(other, unsigned, stranger, tampered, ahead, replay)
        await eventually_async(lambda: decided(other))
        await admission.stop()
        await running
        assert await codes(other) == {
            unsigned.id: ("denied", "UNSIGNED"),
            stranger.id: ("denied", "SIGNER_UNKNOWN"),
            tampered.id: ("denied", "SIGNATURE_INVALID"),
            ahead.id: ("denied", "CREATED_IN_FUTURE"),
            replay.id: ("denied", "REPLAYED"),
        }
        assert {intent_id: rule for intent_id, _, rule in await events(other)} == {
            good.id: "policy",
            unsigned.id: "signature",
            stranger.id: "signature",
            tampered.id: "signature",
            ahead.id: "expiry",
            replay.id: "replay",
        }
        assert len(await stored(other, "ATOMS_VETTED")) == 1
        assert sorted(asked) == sorted([good.id, replay.id])


async def test_a_policy_may_take_the_message_as_well(face: Face) -> None:
    seen: list[Any] = []

    def decide(intent: Any, message: Any) -> Allow:
        seen.append((intent.id, message.raw, message.headers["Nats-Msg-Id"], message.payload == intent, type(message)))
        return Allow()

    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        await publish(other, intent)
        admission = face.admission(bus, policy=decide, executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        await eventually_async(lambda: decided(other))
        await admission.stop()
        await running
        kind = aio.Message if face.is_async else smith_sdk.sync.Message
        assert seen == [(intent.id, msgspec.json.encode(intent), f"{RAW.of(intent)}:{intent.id}", True, kind)]
