"""What a server's permissions forbid reaches the call whose subject they name, and no other."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from buses import Face, health, log_entry, read_intent, state
from support import eventually_async

from smith_sdk import Allow, AsyncSmithBus, Auth, consumers, result_of, subjects
from smith_sdk._core.connection.reasons import refused
from smith_sdk._core.connection.refusals import Refusals as Refusals_
from smith_sdk._core.connection.state import Listener
from smith_sdk.errors import ConnectionLost, DeadlineExceeded, PermissionDenied, PublishUnconfirmed, SmithError

raw = subjects.intents.raw
ALL = Auth(user="all", password="x")
SOME = Auth(user="some", password="x")


def users(permissions: str) -> str:
    return (
        'authorization { users: [ { user: "all", password: "x" },'
        f' {{ user: "some", password: "x", permissions: {{ {permissions} }} }} ] }}'
    )


# ---- the own inbox


async def handle(message: Any) -> Any:
    return result_of(message.payload)


def handle_blocking(message: Any) -> Any:
    return result_of(message.payload)


async def test_no_call_publishes_to_the_own_inbox(face: Face, make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With that right a user could forge the acknowledgements and deliveries of others."""
    server = make_server(config=users('publish: { deny: "_INBOX.>" }'))
    async with AsyncSmithBus(server.url, auth=ALL, manage="apply", profile="dev"):
        pass
    intent, event = read_intent(), health()
    async with face.bus(server.url, auth=SOME) as bus:
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="a")
        worker = face.worker(bus, consumers.executor_fs_read)
        worker.handler(handle if face.is_async else handle_blocking)
        running = [asyncio.ensure_future(one.run()) for one in (admission, worker)]
        assert (await bus.execute(intent, timeout=20)).status == "ok"
        for one in (admission, worker):
            await one.stop()
        await asyncio.gather(*running)
        async with bus.subscribe(subjects.events.health.filter()) as messages:
            await bus.publish(subjects.events.health.of(event), event)
            assert (await anext(messages)).payload == event
        await bus.publish(raw.of(intent), intent, msg_id="again")
        [message] = await bus.consumer(consumers.admission).fetch(1, timeout=5)
        await message.ack_sync()
        async with bus.consumer(consumers.admission).messages() as reader:
            await bus.publish(raw.of(intent), intent, msg_id="a third time")
            await (await anext(reader)).ack_sync()
        async for _ in bus.read(subjects.events.health.filter()):
            break
        await bus.streams.plan()
        await bus.dead_letters.list()
        await bus.trace(intent.id)
    assert [one.getMessage() for one in caplog.records if "forbid" in one.getMessage()] == []


async def test_a_barrier_waits_for_the_next_link(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        await asyncio.to_thread(server.kill)
        await eventually_async(lambda: bus.state == "reconnecting")
        waiting = asyncio.ensure_future(bus._connection.barrier(timeout=20))
        with pytest.raises(DeadlineExceeded, match=r"has not confirmed what was sent within 0\.1 s"):
            await bus._connection.barrier(timeout=0.1)
        await asyncio.to_thread(server.start)
        await waiting


async def test_a_barrier_ends_with_the_link(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url) as bus:
        link = bus._connection.link
        assert link is not None
        waiting = asyncio.ensure_future(bus._connection.barrier(timeout=20))
        link.end("for a test")
        with pytest.raises(ConnectionLost, match="before the server had confirmed what was sent"):
            await waiting


# ---- the subject


@pytest.mark.parametrize(
    ("error", "found"),
    [
        ("'Permissions Violation for Publish to \"a.B\"'", ("publish", "a.B")),
        ("'Permissions Violation for Subscription to \"a.>\"'", ("subscription", "a.>")),
        ("'Permissions Violation for Subscription to \"a.b\" using queue \"q\"'", ("subscription", "a.b")),
        ("'Permissions Violation for Publish to \"it's.a \\\"quote\\\"\"'", ("publish", "it's.a \"quote\"")),
        ("'Permissions Violation for Publish to \"a\\\\b\\tc\\v\\x00\\x7f\"'", ("publish", "a\\b\tc\v\x00\x7f")),
        ("'Permissions Violation for Publish to \"\\u200b\\U000e0001\"'", ("publish", "\u200b\U000e0001")),
        ("'Permissions Violation for Publish to \"\\xff.é\"'", ("publish", "\\xff.é")),
        ("'Permissions Violation for Publish with Reply of \"a.b\"'", None),
        ("'Permissions Violation for Publish to \"a\" and \"b\"'", None),
        ("'Authorization Violation'", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_refused_subject_is_read_as_go_quotes_it(error: str, found: tuple[str, str] | None) -> None:
    assert refused(error) == found


class Refusals(Listener):
    def __init__(self) -> None:
        self.subjects: list[str] = []

    def on_refused(self, subject: str) -> None:
        self.subjects.append(subject)


ODD = ['t.it\'s"quoted"', "t.back\\slash", "t.café", "t.\u200bzero-width", "t.UPPER", "t.upper"]


async def test_a_listener_is_told_the_exact_subject(make_server: Any) -> None:
    server = make_server(config=users('publish: { deny: "t.>" }'))
    async with AsyncSmithBus(server.url, auth=SOME) as bus:
        bus._connection.add_listener(listener := Refusals())
        for subject in ODD:
            await bus._connection.publish(subject, b"")
        await bus._connection.barrier(timeout=20)
        assert listener.subjects == ODD


async def test_two_requests_whose_subjects_differ_in_case_only(make_server: Any) -> None:
    server = make_server(config=users('publish: { deny: "t.Right" }'))
    async with AsyncSmithBus(server.url, auth=ALL) as other, AsyncSmithBus(server.url, auth=SOME) as bus:

        async def answer(message: Any) -> None:
            await other._connection.publish(message.reply, b"yes")

        tasks: list[asyncio.Future[None]] = []
        await other._connection.subscribe("t.right", lambda message: tasks.append(asyncio.ensure_future(answer(message))))
        await other._connection.barrier(timeout=20)
        refusing, answered = (
            asyncio.ensure_future(bus._session.requests.request(subject, timeout=10)) for subject in ("t.Right", "t.right")
        )
        assert (await answered).data == b"yes"
        with pytest.raises(PermissionDenied) as caught:
            await refusing
        assert caught.value.subject == "t.Right"


async def test_two_publishes_whose_subjects_differ_in_case_only(face: Face, make_server: Any) -> None:
    server = make_server(config=users('publish: { deny: ["smith.events.health.Web"] }'))
    async with AsyncSmithBus(server.url, auth=ALL, manage="apply", profile="dev"):
        pass
    async with face.bus(server.url, auth=SOME) as bus:
        upper, lower = health(service="Web"), health(service="web")
        health_of = subjects.events.health.of
        refusing, stored = (asyncio.ensure_future(bus.publish(health_of(one), one)) for one in (upper, lower))
        assert (await stored).seq == 1
        with pytest.raises(PermissionDenied) as caught:
            await refusing
        assert caught.value.subject == str(health_of(upper))


# ---- emit


def forbidden(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if "forbid publishing" in one.getMessage()]


async def test_emit_to_a_forbidden_subject_raises_at_the_next_call(
    face: Face, make_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(jetstream=False, config=users('publish: { deny: "smith.logs.errors.Web" }'))
    errors = subjects.logs.errors
    entry, allowed = log_entry(service="Web"), log_entry(service="web")
    async with face.bus(server.url, auth=SOME) as bus:
        for _ in range(2):
            caplog.clear()
            await bus.emit(errors.of(allowed), allowed)
            await bus.emit(errors.of(entry), entry)
            with pytest.raises(PermissionDenied, match=r"smith\.logs\.errors\.Web") as caught:
                await bus.flush()
            assert caught.value.subject == "smith.logs.errors.Web"
            for _ in range(3):
                with pytest.raises(PermissionDenied):
                    await bus.emit(errors.of(entry), entry)
            await bus.emit(errors.of(allowed), allowed)
            await bus.flush()
            assert len(forbidden(caplog)) == 1
            # the next server may have other permissions
            await asyncio.to_thread(server.kill)
            await eventually_async(lambda: state(bus) == "reconnecting")
            await asyncio.to_thread(server.start)
            await bus.flush()


async def test_emit_in_a_loop_is_told_of_a_refusal_without_a_flush(face: Face, make_server: Any) -> None:
    server = make_server(jetstream=False, config=users('publish: { deny: "smith.logs.>" }'))
    entry = log_entry()
    subject = subjects.logs.errors.of(entry)
    async with face.bus(server.url, auth=SOME) as bus:

        async def is_refused() -> bool:
            try:
                await bus.emit(subject, entry)
            except PermissionDenied:
                return True
            return False

        await eventually_async(is_refused)


def test_refusals_are_bounded_and_end() -> None:
    now = [0.0]
    refusals = Refusals_(lambda: now[0])
    for number in range(3000):
        refusals.emitting(f"a.{number}")
        assert refusals.add(f"a.{number}")
    assert len(refusals._refused) == len(refusals._emitted) == 1024
    assert not refusals.add("a.2999")
    with pytest.raises(PermissionDenied, match=r"a\.2999"):
        refusals.emitting("a.2999")
    now[0] = 31.0
    refusals.emitting("a.2999")
    refusals.add("never.emitted")
    with pytest.raises(PermissionDenied, match=r"a\.0"):
        refusals.flushed()
    refusals.flushed()


async def test_two_subscriptions_whose_subjects_differ_in_case_only(make_server: Any) -> None:
    server = make_server(config=users('subscribe: { deny: "t.Right" }'))
    async with AsyncSmithBus(server.url, auth=SOME) as bus:
        refusals: dict[str, list[SmithError]] = {"t.Right": [], "t.right": []}
        for subject, found in refusals.items():
            await bus._connection.subscribe(subject, lambda message: None, found.append)
        began = time.monotonic()
        await bus._connection.barrier(timeout=20)
        assert time.monotonic() - began < 10
        assert [len(found) for found in refusals.values()] == [1, 0]


# ---- acknowledgements that are none


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b"{}",
        b"\xff",
        b"[" * 5000,
        b'{"stream": 5, "seq": 1}',
        b'{"stream": "SYSTEM_EVENTS", "seq": "1"}',
        b'{"stream": "SYSTEM_EVENTS", "seq": -1}',
        b'{"stream": "SYSTEM_EVENTS"}',
        b'{"error": 5}',
        b'{"error": {"err_code": "x"}}',
    ],
    ids=lambda data: data[:30].decode("latin-1"),
)
async def test_a_malformed_acknowledgement_leaves_open_whether_the_message_is_stored(
    face: Face, account: Any, reply: bytes
) -> None:
    event = health()
    async with AsyncSmithBus(account.url) as other, face.bus(account.url) as bus:
        tasks: list[asyncio.Future[None]] = []

        def take(message: Any) -> None:
            tasks.append(asyncio.ensure_future(other._connection.publish(message.reply, reply)))

        await other._connection.subscribe("smith.events.health.>", take)
        await other._connection.barrier(timeout=20)
        began = time.monotonic()
        with pytest.raises(PublishUnconfirmed, match=r"smith\.events\.health\.web: malformed reply") as caught:
            await bus.publish(subjects.events.health.of(event), event)
        assert caught.value.may_be_stored
        assert time.monotonic() - began < 4.5
