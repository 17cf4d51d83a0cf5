"""`bus.trace`: every step of an intent, in order of time, and what is not known."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from chaos.proxy import Proxy
from support import eventually_async, eventually_has

from smith_sdk import (
    Allow,
    AsyncSmithBus,
    Auth,
    Backoff,
    Decision,
    Deny,
    Message,
    Quarantine,
    RetryPolicy,
    Worker,
    aio,
    consumers,
    result_of,
    subjects,
    sync,
)
from smith_sdk.aio import trace as trace_module
from smith_sdk.contract import Contract
from smith_sdk.errors import BusClosed, InvalidToken, SubjectMismatch
from smith_sdk.protocol import AuditEvent, FsReadV1Intent, IntentResult
from smith_sdk.topology import CONTRACT

RAW = subjects.intents.raw


def kinds(trace: Any) -> list[str]:
    return [step.kind for step in trace.steps]


async def decide(intent: Any) -> Decision:
    match intent.params.path:
        case "/denied":
            return Deny("not for you")
        case "/odd":
            return Quarantine("odd")
    return Allow()


async def run_all(bus: AsyncSmithBus, *, attempts: int = 2) -> tuple[aio.Admission, Worker[Any, Any], asyncio.Future[Any]]:
    """Admission, and an executor that fails for /bad."""
    admission = aio.Admission(bus, policy=decide, executor_id="test")
    worker = Worker(
        bus, consumers.executor_fs_read, retry=RetryPolicy(max_attempts=attempts, backoff=Backoff(initial=0.05, max=0.1))
    )

    @worker.handler
    async def read(message: Message[FsReadV1Intent]) -> IntentResult:
        began = time.time_ns()
        await asyncio.sleep(0.01)
        if message.payload.params.path == "/bad":
            raise ValueError("no good")
        return result_of(message.payload, output="x", started_at_ns=began)

    return admission, worker, asyncio.gather(admission.run(), worker.run())


async def test_the_steps_of_intents_in_order_of_time(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        good, bad, denied, odd = (read_intent(path) for path in ("/good", "/bad", "/denied", "/odd"))
        for intent in (good, bad, denied, odd):
            await other.publish(RAW.of(intent), intent)
        waiting = await bus.trace(good.id)
        assert (kinds(waiting), waiting.state) == (["raw"], "awaiting_admission")
        assert "fs.read.v1 in domain default" in waiting.steps[0].text
        assert waiting.steps[0].elapsed is None
        assert waiting.missing.keys() == {"decision", "vetted", "result", "audit", "dead_letter", "quarantined"}

        admission, worker, running = await run_all(other)
        await eventually_async(lambda: other.dead_letters.count())
        await eventually_async(lambda: is_finished(other, good.id))
        await eventually_async(lambda: is_finished(other, odd.id))
        await eventually_async(lambda: is_empty(other, "SDLC_RAW", "ATOMS_VETTED"))
        await admission.stop()
        await worker.stop()
        await running

        done = await bus.trace(good.id)
        assert (kinds(done), done.state) == (["decision", "attempt", "result"], "finished")
        assert done.steps[0].text == "ok: allow by policy: allowed by policy"
        assert done.steps[2].text == "ok"
        assert done.steps[2].elapsed >= 0.01
        assert "admission deletes" in done.missing["raw"]
        assert f"{datetime.fromtimestamp(good.created_at_ns / 1e9, UTC):%Y-%m-%dT%H:%M}" in done.missing["raw"]

        dead = await bus.trace(bad.id)
        assert sorted(kinds(dead)) == ["attempt", "dead_letter", "decision", "result", "vetted"]
        (letter,) = [step for step in dead.steps if step.kind == "dead_letter"]
        assert letter.text.startswith("ATOMS_VETTED.executor-fs-read.")
        assert letter.text.endswith("after attempt 2: ValueError: no good")
        assert (letter.stream, letter.subject) == ("SMITH_DLQ", f"smith.dlq.{letter.text.split()[0]}")
        assert "HANDLER_FAILED" in dead.summary

        refused = await bus.trace(denied.id)
        assert sorted(kinds(refused)) == ["decision", "result"]
        assert "POLICY_DENIED: not for you" in refused.summary

        kept = await bus.trace(odd.id)
        assert {"decision", "quarantined"} <= set(kinds(kept))
        assert next(step for step in kept.steps if step.kind == "quarantined").text == "odd"

        for one in (done, dead, refused, kept):
            assert one.intent_id in {good.id, bad.id, denied.id, odd.id}
            assert [step.time for step in one.steps] == sorted(step.time for step in one.steps)
            assert all(step.elapsed == pytest.approx((step.time - before.time).total_seconds()) for before, step in pairs(one))
            assert set(one.missing) | set(kinds(one)) >= {"raw", "decision", "vetted", "result", "audit", "dead_letter"}
            assert not set(one.missing) & set(kinds(one))
            assert one.to_dict()["steps"][0]["kind"] == kinds(one)[0]


def pairs(trace: Any) -> list[tuple[Any, Any]]:
    return list(zip(trace.steps, trace.steps[1:], strict=False))


async def is_empty(bus: AsyncSmithBus, *streams: str) -> bool:
    return not any([(await bus.streams.get(name)).messages for name in streams])


async def is_finished(bus: AsyncSmithBus, intent_id: str) -> bool:
    return "result" in kinds(await bus.trace(intent_id))


async def test_a_vetted_intent_that_nothing_reads_and_an_audit_of_its_execution(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        await other.publish(subjects.intents.vetted.of(intent), intent)
        for _ in range(3):  # others beside it
            another = read_intent()
            await other.publish(subjects.intents.vetted.of(another), another)
        event = audit_event(intent.id)
        await other.publish(subjects.audit.execution.of(event), event)
        found = await bus.trace(intent.id)
        assert (kinds(found), found.state) == (["vetted", "audit"], "queued")
        assert "executor-fs-read has not read" in found.summary
        await eventually_has(bus.consumer(consumers.executor_fs_read).info, num_pending=4)  # none was taken


def audit_event(intent_id: str) -> AuditEvent:
    from smith_sdk.protocol import ExecutorId, IntentId, SecurityContext

    return AuditEvent.new(
        intent_id=IntentId(intent_id),
        result_status="ok",
        executor_id=ExecutorId("test"),
        policy_decisions=[],
        security_context=SecurityContext(landlock_enabled=False, seccomp_enabled=False),
    )


async def test_an_id_that_no_stream_knows(face: Face) -> None:
    async with face.applied() as bus:
        for unknown in ("nope", read_intent().id, "ffffffff-ffff-7fff-bfff-ffffffffffff"):
            found = await bus.trace(unknown)
            assert (found.steps, found.state, found.summary) == ((), "unknown", "no stream knows of it")
            assert len(found.missing) == 7
        with pytest.raises(InvalidToken):
            await bus.trace("a.b")


async def test_what_may_not_be_asked_is_said(face: Face, make_server: Any) -> None:
    """At once, and the rest is found."""
    server = make_server(
        config='authorization { users: [ { user: "owner", password: "x" }, { user: "some", password: "x", permissions: {'
        ' publish: { deny: ["$JS.API.STREAM.INFO.SDLC_RAW", "$JS.API.STREAM.MSG.GET.AUDIT_SECURITY",'
        ' "$JS.API.CONSUMER.CREATE.SMITH_DLQ.>"] } } } ] }'
    )
    intent = read_intent()
    result = result_of(intent)
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="x")) as owner:
        await owner.streams.apply(profile="dev")
        await owner.publish(subjects.results.of(result), result)
        event = audit_event(intent.id)
        await owner.publish(subjects.audit.execution.of(event), event)
    async with face.bus(server.url, auth=Auth(user="some", password="x")) as bus:
        began = time.monotonic()
        found = await bus.trace(intent.id)
        assert time.monotonic() - began < 4.5
        assert kinds(found) == ["result"]
        assert "$JS.API.STREAM.INFO.SDLC_RAW" in found.missing["raw"]
        assert "$JS.API.STREAM.MSG.GET.AUDIT_SECURITY" in found.missing["audit"]
        assert "$JS.API.CONSUMER.CREATE.SMITH_DLQ" in found.missing["dead_letter"]


async def test_what_a_tracer_must_be_allowed(face: Face, make_server: Any) -> None:
    allowed = [
        "STREAM.INFO.*",
        "STREAM.MSG.GET.*",
        "CONSUMER.INFO.*.*",
        *(f"CONSUMER.{verb}.{stream}.>" for verb in ("CREATE", "MSG.NEXT", "DELETE") for stream in ("SMITH_DLQ", "ATOMS_VETTED")),
    ]
    subjects_allowed = ", ".join(f'"$JS.API.{verb}"' for verb in allowed)
    server = make_server(
        config='authorization { users: [ { user: "owner", password: "x" }, { user: "some", password: "x", permissions: {'
        f' publish: {{ allow: [ {subjects_allowed}, "_INBOX.>" ] }}, subscribe: {{ allow: "_INBOX.>" }} }} }} ] }}'
    )
    intent = read_intent()
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="x")) as owner:
        await owner.streams.apply(profile="dev")
        await owner.publish(subjects.intents.vetted.of(intent), intent)
    async with face.bus(server.url, auth=Auth(user="some", password="x")) as bus:
        found = await bus.trace(intent.id)
        assert (kinds(found), found.state) == (["vetted"], "queued")
        assert "not known" not in str(found.missing)
        assert "permission" not in found.summary


async def test_streams_that_do_not_exist_are_said(face: Face) -> None:
    async with face.bus(face.url) as bus:
        found = await bus.trace(read_intent().id)
        assert found.summary.startswith("no stream knows of it; not all was looked at: ")
        assert "SDLC_RAW" in found.missing["raw"]
        assert "smith streams apply" in found.missing["raw"]


async def test_it_says_when_it_has_not_looked_through_everything(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "_MOST", 5)
    async with account.applied() as bus:
        intents = [read_intent(str(number)) for number in range(8)]
        for intent in intents:
            await bus.publish(RAW.of(intent), intent)
        assert kinds(await bus.trace(intents[4].id)) == ["raw"]
        found = await bus.trace(intents[7].id)
        assert "not among the first 5 messages of SDLC_RAW" in found.missing["raw"]
        assert found.summary == "no stream knows of it; not all was looked at: raw"


async def test_a_server_that_does_not_answer_holds_no_trace_up(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "_BUDGET", 0.5)
    with Proxy(face.url) as proxy:
        async with face.bus(proxy.url) as bus:
            proxy.stall()
            began = time.monotonic()
            found = await bus.trace(read_intent().id)
            assert time.monotonic() - began < 4.5
            assert {why.partition(":")[0] for why in found.missing.values()} == {"not known"}
            proxy.hear()


async def test_messages_of_others_are_not_taken_for_the_intents(account: Account) -> None:
    """Bytes that do not decode, an intent whose parameters name the id, and one under a wrong
    subject."""
    async with account.applied() as bus:
        intent = read_intent("/x")
        naming = read_intent(intent.id)
        await bus.publish(RAW.of(naming), naming)
        await bus._session.publish(str(RAW.of(intent)), b"{broken " + intent.id.encode(), stream="SDLC_RAW", msg_id="x")
        for where, stream in (("smith.results.", "ATOMS_RESULTS"), ("smith.audit.policy.", "AUDIT_SECURITY")):
            await bus._session.publish(where + intent.id, b"{broken", stream=stream, msg_id=where)
        found = await bus.trace(intent.id)
        assert sorted(kinds(found)) == ["decision", "result"]
        assert {step.text for step in found.steps} == {
            "7 bytes that are not a result",
            "7 bytes that are not an audit event",
        }
        await bus._session.publish(str(RAW.of(intent)), b"{broken", stream="SDLC_RAW", msg_id=f"{RAW.of(intent)}:{intent.id}")
        assert "not a valid intent" in next(one.text for one in (await bus.trace(intent.id)).steps if one.kind == "raw")


async def test_old_intents_are_found_from_the_time_in_their_id_on(account: Account) -> None:
    """The id may be somewhat younger than its message by another machine's clock."""
    async with account.applied() as bus:
        ahead = int((datetime.now(UTC) + timedelta(seconds=30)).timestamp() * 1000)
        intent = read_intent(id=f"{ahead >> 16:08x}-{ahead & 0xFFFF:04x}-7000-8000-000000000000")
        await bus.publish(RAW.of(intent), intent)
        assert kinds(await bus.trace(intent.id)) == ["raw"]


async def test_a_contract_without_intents_and_a_closed_bus(face: Face, brewery: Contract) -> None:
    async with face.bus(face.url, contract=brewery) as bus:
        with pytest.raises(SubjectMismatch, match="not a subject of contract"):
            await bus.trace("x")
    with pytest.raises(BusClosed):
        await bus.trace("x")


@pytest.fixture
def brewery() -> Contract:
    from msgspec.structs import replace

    return replace(CONTRACT, name="brew", origin="brew_bus.topology:CONTRACT", inherits=frozenset())


def test_both_faces_share_what_a_trace_is() -> None:
    assert sync.Trace is aio.Trace
    assert sync.TraceStep is aio.TraceStep


async def test_times_later_than_a_datetime_and_what_is_no_result(face: Face) -> None:
    """The contract's nanoseconds have no end; results may be anything."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent(created_at_ns=10**40)
        await other.publish(subjects.intents.vetted.of(intent), intent)
        odd = msgspec.structs.replace(result_of(read_intent()), started_at_ns=2**127, finished_at_ns=2**128 - 1)
        for data in (b"garbage", msgspec.json.encode(odd)):
            await other._connection.publish(f"smith.results.{intent.id}", data)
        await eventually_async(lambda: are_two(other))
        found = await bus.trace(intent.id)
        texts = [step.text for step in found.steps if step.kind == "result"]
        assert sorted(texts) == sorted(["7 bytes that are not a result", f"a result of intent {odd.intent_id}"])
        assert found.state == "queued"
        assert "expires 9999-12-31" in next(step.text for step in found.steps if step.kind == "vetted")
        true = msgspec.structs.replace(odd, intent_id=intent.id)
        await other.publish(subjects.results.of(true), true)
        assert (await bus.trace(intent.id)).state == "finished"


async def are_two(bus: AsyncSmithBus) -> bool:
    return (await bus.streams.get("ATOMS_RESULTS")).messages == 2
