"""Admission: what each decision stores in which stream, and nothing twice if it is repeated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
from buses import Account, Face, declaring, read_intent
from support import eventually_async, eventually_equal, raw_client

from smith_sdk import Allow, AsyncSmithBus, Deny, Quarantine, Transform, aio, consumers, inline, subjects
from smith_sdk._core import codec
from smith_sdk.aio.decision_records import EventTemplate
from smith_sdk.protocol import (
    AuditEvent,
    ExecutorId,
    FsReadV1Intent,
    FsReadV1Params,
    Intent,
    IntentId,
    PolicyDecision,
    SecurityContext,
)

raw = subjects.intents.raw


@contextlib.asynccontextmanager
async def admitting(bus: AsyncSmithBus, policy: Any, *, repeated: int | None = 0) -> AsyncIterator[None]:
    """An admission that runs. Asserts one delivery for each intent, plus `repeated`; None: any
    number."""
    admission = aio.Admission(bus, policy=policy, executor_id="tester")
    running = asyncio.ensure_future(admission.run())
    try:
        yield
    finally:
        await admission.stop()
        await running
    info = await bus._session.api.consumer_info("SDLC_RAW", consumers.admission.name)
    assert repeated is None or info["delivered"]["consumer_seq"] == (await counts(bus))["SDLC_RAW"] + repeated


async def put_raw(bus: AsyncSmithBus, data: bytes, subject: str = "smith.intents.raw.fs.read.v1", msg_id: str = "m") -> None:
    await bus._session.publish(subject, data, stream="SDLC_RAW", msg_id=msg_id)


async def counts(bus: AsyncSmithBus) -> dict[str, int]:
    return {one.name: one.last_seq for one in await bus.streams.info() if one.last_seq}


async def in_raw(bus: AsyncSmithBus) -> int:
    return (await counts(bus)).get("SDLC_RAW", 0)


async def first(bus: AsyncSmithBus, spec: Any) -> list[Any]:
    """The first message of `spec`, at its first delivery."""
    found = await bus.consumer(spec).fetch(1)
    assert [message.metadata.num_delivered for message in found] == [1]
    return found


async def decided(bus: AsyncSmithBus) -> bool:
    """Whether the work queue is empty; the consumer's count of pending messages lags behind."""
    return all(one.messages == 0 for one in await bus.streams.info() if one.name == "SDLC_RAW")


async def events(bus: AsyncSmithBus) -> list[tuple[str | None, str, str, str]]:
    found = [message.payload async for message in bus.read(subjects.audit.policy.filter() | subjects.audit.execution.filter())]
    audited = [one for one in found if isinstance(one, AuditEvent)]
    assert audited == found
    return [(one.intent_id, one.result_status, one.policy_decisions[0].decision, one.executor_id) for one in audited]


async def test_an_allowed_intent_is_passed_on_byte_for_byte(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent("/etc/hostname")
        fields = {**msgspec.json.decode(msgspec.json.encode(intent)), "from_the_future": {"kept": True}}
        data = msgspec.json.format(msgspec.json.encode(fields), indent=3)
        await put_raw(bus, data)
        async with admitting(bus, lambda intent: Allow()):
            await eventually_async(lambda: decided(bus))
        (message,) = await first(bus, consumers.executor_fs_read)
        assert message.raw == data
        assert message.subject == subjects.intents.vetted.of(intent)
        assert await events(bus) == [(intent.id, "ok", "allow", "tester")]


async def test_the_publisher_of_a_denied_intent_gets_a_result(face: Face) -> None:
    async with face.applied() as bus:

        def policy(intent: Intent) -> Deny:
            return Deny("not today")

        admission = face.admission(bus, policy=policy, executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        intent = read_intent()
        result = await bus.execute(intent, timeout=10)
        assert (result.intent_id, result.status) == (intent.id, "denied")
        assert (result.error.code, result.error.message) == ("POLICY_DENIED", "not today")
        assert await bus.consumer(consumers.executor_fs_read).fetch(1, timeout=0.1) == []
        await admission.stop()
        await running
        assert await events(bus) == [(intent.id, "denied", "deny", "tester")]


async def test_an_inline_policy_decides_on_either_face(face: Face) -> None:
    async with face.applied() as bus:

        def policy(intent: Intent, message: Any) -> Deny:
            return Deny(f"{message.payload.capability} at delivery {message.metadata.num_delivered}, in {threading.get_ident()}")

        admission = face.admission(bus, policy=inline(policy), executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        results = await asyncio.gather(*(bus.execute(read_intent(), timeout=10) for _ in range(5)))
        said = {result.error.message for result in results}
        assert len(said) == 1  # one thread, which is the one of the bus's event loop
        assert said.pop().startswith("fs.read.v1 at delivery 1, in ")
        await admission.stop()
        await running
        assert admission.stats.succeeded == 5


async def test_an_inline_policy_that_blocks_the_loop_is_named(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    patient = msgspec.structs.replace(consumers.admission, ack_wait=60.0)
    async with account.applied(contract=declaring(patient)) as bus:
        await bus.publish(raw.of(intent := read_intent()), intent)

        def dawdle(intent: Intent) -> Allow:
            until = time.monotonic() + 10
            while "has blocked the event loop" not in caplog.text and time.monotonic() < until:
                time.sleep(0.02)
            return Allow()

        async with admitting(bus, inline(dawdle)):
            await eventually_async(lambda: decided(bus), 15)
    assert "dawdle has blocked the event loop for" in caplog.text
    assert "make it a plain function that is not inline" in caplog.text


@pytest.mark.parametrize("text", ["allowed", 'a "quoted" \\ reason\n', "intent-id", '"timestamp_ns":0', "\u00e4\U0001f600", ""])
def test_an_event_is_encoded_as_its_class_would_be(text: str) -> None:
    decision = PolicyDecision(rule_name=text, decision="allow", reason=text)
    template = EventTemplate(result_status="ok", executor_id=ExecutorId(text), decision=decision)
    for intent_id, now in (("intent-id", 0), ('"\\', 1), ("0198c9a1-7222", 1_760_000_000_000_000_000)):
        event = AuditEvent(
            intent_id=IntentId(intent_id),
            result_status="ok",
            timestamp_ns=now,
            executor_id=ExecutorId(text),
            policy_decisions=[decision],
            security_context=SecurityContext(landlock_enabled=False, seccomp_enabled=False),
        )
        assert template.encode(intent_id, now) == codec.encode(event)


async def test_a_transformed_intent_is_passed_on_in_place_of_the_original(account: Account) -> None:
    async with account.applied() as bus:
        good, other_id = read_intent("/a"), read_intent("/b")

        async def policy(intent: Intent) -> Transform:
            assert isinstance(intent, FsReadV1Intent)
            changed = msgspec.structs.replace(intent, params=FsReadV1Params(path="/safe"))
            return Transform(changed if intent.id == good.id else msgspec.structs.replace(changed, id="another"))

        for intent in (good, other_id):
            await bus.publish(raw.of(intent), intent)
        async with admitting(bus, policy):
            await eventually_async(lambda: decided(bus))
        assert (await bus.streams.get("ATOMS_VETTED")).messages == 1
        (message,) = await bus.consumer(consumers.executor_fs_read).fetch(1)
        assert (message.payload.id, message.payload.params.path) == (good.id, "/safe")
        assert await events(bus) == [(good.id, "ok", "transform", "tester")]
        (letter,) = await bus.dead_letters.list()
        assert "another id" in letter.error


async def test_quarantine_keeps_the_bytes_and_the_reason(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        async with admitting(bus, lambda intent: Quarantine("looks odd")):
            await eventually_async(lambda: decided(bus))
        (message,) = await first(bus, consumers.quarantine_review)
        assert (message.payload.intent, message.payload.reason) == (msgspec.json.encode(intent), "looks odd")
        assert await events(bus) == [(intent.id, "error", "deny", "tester")]


async def test_an_expired_intent_is_denied_and_the_policy_never_asked(account: Account) -> None:
    async with account.applied() as bus:
        asked: list[Intent] = []
        intent = read_intent(created_at_ns=1, ttl_ms=10)
        await bus.publish(raw.of(intent), intent)

        def policy(intent: Intent) -> Allow:
            asked.append(intent)
            return Allow()

        async with admitting(bus, policy):
            await eventually_async(lambda: decided(bus))
        (message,) = await first(bus, consumers.http_results)
        assert (message.payload.status, message.payload.error.code) == ("denied", "INTENT_EXPIRED")
        assert asked == []
        assert await events(bus) == [(intent.id, "denied", "deny", "tester")]


@pytest.mark.parametrize("data", [b"", b"{", b'{"capability": "fs.read.v1"}', b"\xff\xfe", b'{"capability":"shell.exec.v1"}'])
async def test_bytes_that_are_not_an_intent_are_quarantined_unchanged(data: bytes, account: Account) -> None:
    async with account.applied() as bus:
        await put_raw(bus, data)
        async with admitting(bus, lambda intent: Allow()):
            await eventually_async(lambda: decided(bus))
        (message,) = await first(bus, consumers.quarantine_review)
        assert message.payload.intent == data
        assert "Intent" in message.payload.reason
        assert "ATOMS_VETTED" not in await counts(bus)


@pytest.mark.parametrize("field", ["id", "domain"])
async def test_an_intent_that_does_not_fit_into_a_subject_is_quarantined(field: str, account: Account) -> None:
    async with account.applied() as bus:
        data = msgspec.json.encode({**read_intent().to_dict(), field: "a.b\r\nX: y"})
        await put_raw(bus, data)
        async with admitting(bus, lambda intent: Allow()):
            await eventually_async(lambda: decided(bus))
        (message,) = await first(bus, consumers.quarantine_review)
        assert message.payload.intent == data
        assert "ATOMS_VETTED" not in await counts(bus)


async def test_an_unknown_subject_is_a_dead_letter(account: Account) -> None:
    async with account.applied() as bus:
        await put_raw(bus, b"{}", "smith.intents.raw.mind.read.v9")
        async with admitting(bus, lambda intent: Allow(), repeated=1):
            await eventually_async(lambda: decided(bus))
        (letter,) = await bus.dead_letters.list()
        assert (letter.payload, letter.subject) == (b"{}", "smith.intents.raw.mind.read.v9")


@pytest.mark.parametrize("name", [b"f\xffs.read.v1", b"fs.read.v1\x0b2", b"fs.read.v1\x0c"])
async def test_subjects_and_headers_that_are_not_text_do_not_stop_admission(
    name: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """The server accepts any bytes from a publisher."""
    async with AsyncSmithBus.embedded() as bus:
        reader, writer = await raw_client(bus.url, headers=True)
        block, intent = b"NATS/1.0\r\na b: c\r\nX\xff: \xfe\r\n: z\r\n\r\n", msgspec.json.encode(read_intent())
        sizes = b"%d %d" % (len(block), len(block) + len(intent))
        writer.write(b"PUB smith.intents.raw." + name + b" 2\r\n{}\r\n")
        writer.write(b"HPUB smith.intents.raw.fs.read.v1 " + sizes + b"\r\n" + block + intent + b"\r\nPING\r\n")
        async with asyncio.timeout(20):
            await reader.readuntil(b"PONG\r\n")
        writer.close()
        await eventually_equal(lambda: in_raw(bus), 2)  # a PONG comes before what was published is stored
        again = int(b"\xff" in name)  # escaped, it is text, which another contract may know
        async with admitting(bus, lambda intent: Allow(), repeated=again):
            await eventually_async(lambda: decided(bus))
        (letter,) = await bus.dead_letters.list()
        where = "smith.intents.raw." + name.decode(errors="backslashreplace")
        assert (letter.payload, letter.subject, letter.error_type) == (b"{}", where, "InvalidToken")
        assert (await counts(bus))["ATOMS_VETTED"] == 1
    assert "lost" not in caplog.text


async def test_intents_are_dead_lettered_if_the_policy_fails_or_returns_nonsense(account: Account) -> None:
    async with account.applied() as bus:

        def policy(intent: Any) -> Any:
            if intent.params.path == "raise":
                raise RuntimeError("the policy is broken")
            return Deny(cast("str", None)) if intent.params.path == "no reason" else "yes"

        for path in ("raise", "nonsense", "no reason"):
            intent = read_intent(path)
            await bus.publish(raw.of(intent), intent)
        async with admitting(bus, policy, repeated=1):
            await eventually_async(lambda: decided(bus))
        letters = sorted((letter.error_type, letter.error) for letter in await bus.dead_letters.list())
        assert [kind for kind, _ in letters] == ["Reject", "Reject", "RuntimeError"]
        assert "'yes'" in letters[0][1]
        assert "Deny(reason=None, rule='policy')" in letters[1][1]
        assert letters[2][1] == "the policy is broken"
        found = await counts(bus)
        assert ("ATOMS_VETTED" in found, found["ATOMS_RESULTS"]) == (False, 3)


DIES = """
    import asyncio, os, signal, sys
    from smith_sdk import Admission, AsyncSmithBus, Message
    from smith_sdk.aio import Allow, Deny, Quarantine

    decision = {"allow": Allow(), "deny": Deny("no"), "quarantine": Quarantine("odd")}[sys.argv[2]]

    def die(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        async with AsyncSmithBus(sys.argv[1]) as bus:
            Message._send = Message._ack_now = die
            await Admission(bus, policy=lambda intent: decision, executor_id="tester").run()
    asyncio.run(main())
"""


@pytest.mark.parametrize("word", ["allow", "deny", "quarantine"])
async def test_an_admission_killed_before_the_ack_repeats_and_stores_nothing_twice(word: str, account: Account) -> None:
    quick = msgspec.structs.replace(consumers.admission, ack_wait=1.0)
    async with account.applied(contract=declaring(quick)) as bus:
        intent = read_intent()
        await bus.publish(raw.of(intent), intent)
        command = [sys.executable, "-c", textwrap.dedent(DIES), account.url, word]
        process = await asyncio.to_thread(subprocess.run, command, env=dict(os.environ), timeout=60, check=False)
        assert process.returncode == -9
        assert not await decided(bus)
        before = await counts(bus)
        place = {"allow": "ATOMS_VETTED", "deny": "ATOMS_RESULTS", "quarantine": "SDLC_QUARANTINE_BACKPRESSURE"}[word]
        answered = {} if word == "allow" else {"ATOMS_RESULTS": 1}
        assert before == {"SDLC_RAW": 1, "AUDIT_SECURITY": 1, place: 1} | answered
        decision = {"allow": Allow(), "deny": Deny("no"), "quarantine": Quarantine("odd")}[word]
        async with admitting(bus, lambda intent: decision, repeated=None):  # either may need more than the ack wait
            await eventually_async(lambda: decided(bus), 30)
        assert await counts(bus) == before
