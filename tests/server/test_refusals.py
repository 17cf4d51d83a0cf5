"""Invalid input: each kind has its own error, raised at once, with what to do next."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import nats
import pytest
from buses import Account, Call, Face, health, log_entry, read_intent
from chaos.proxy import hold_port
from nats.aio.msg import Msg
from support import eventually_async

from smith_sdk import (
    Allow,
    AsyncSmithBus,
    Auth,
    Middleware,
    PubAck,
    RetryPolicy,
    SmithBus,
    aio,
    consumers,
    result_of,
    subjects,
    sync,
)
from smith_sdk._core.jetstream import api
from smith_sdk.errors import (
    AuthenticationError,
    ConnectError,
    ConsumerNotFound,
    InvalidToken,
    JetStreamDisabled,
    NoInterest,
    OptionsError,
    PayloadDecodeError,
    PayloadMismatch,
    PayloadTooLarge,
    PublishManyError,
    QueueFull,
    StreamNotFound,
    SubjectMismatch,
)
from smith_sdk.topology import CONTRACT

raw, vetted = subjects.intents.raw, subjects.intents.vetted


@pytest.mark.parametrize("domain", ["", "a.b", "*", ">", "a b", "a\tb", "a\nb"])
def test_a_token_that_nats_could_not_carry(domain: str) -> None:
    with pytest.raises(InvalidToken, match="domain") as caught:
        vetted.of(read_intent(domain=domain))
    assert (caught.value.token, caught.value.value) == ("domain", domain)


async def test_a_payload_over_the_servers_limit_is_refused_before_it_is_sent(face: Face, make_server: Any) -> None:
    server = make_server(max_payload=4096)
    async with face.bus(server.url) as bus:
        await bus.streams.apply(profile="dev")
        big = read_intent("x" * 5000)
        with pytest.raises(PayloadTooLarge, match="4096") as caught:
            await bus.publish(raw.of(big), big)
        assert caught.value.subject == str(raw.of(big))
        entry = log_entry("x" * 5000)
        with pytest.raises(PayloadTooLarge, match="4096"):
            await bus.emit(subjects.logs.errors.of(entry), entry)
        # Headers count: with a long one, too.
        small = read_intent()
        with pytest.raises(PayloadTooLarge):
            await bus.publish(raw.of(small), small, headers={"N" * 4000: "v"})
        assert (await bus.publish(raw.of(small), small)).seq == 1  # the connection is still there


async def test_a_payload_over_the_streams_limit(face: Face) -> None:
    async with face.applied() as bus:
        big = read_intent("x" * (3 * 1024 * 1024))
        with pytest.raises(PayloadTooLarge, match="SDLC_RAW"):
            await bus.publish(raw.of(big), big)


# ---- no server, no reply, no credentials


@pytest.fixture
def free_port() -> Iterator[int]:
    with hold_port() as holder:
        yield holder.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield silent.getsockname()[1]


async def test_no_server_at_the_url(face: Face, free_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectError, match=f"nats://127.0.0.1:{free_port}") as caught:
        await face.bus(f"127.0.0.1:{free_port}", connect_timeout=2).connect()
    assert time.monotonic() - began < 10
    assert caught.value.url == f"nats://127.0.0.1:{free_port}"


async def test_a_server_that_accepts_and_sends_nothing(face: Face, silent_port: int) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectError, match=str(silent_port)):
        await face.bus(f"nats://127.0.0.1:{silent_port}", connect_timeout=0.5).connect()
    assert time.monotonic() - began < 4.5


@pytest.mark.parametrize("password", ["hidden-one", "hid/den-one", "hid#den-one", "hid?den-one", "hid@den-one"])
async def test_no_credential_is_shown(face: Face, free_port: int, password: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    bus = face.bus(f"nats://secretive:{password}@127.0.0.1:{free_port}", connect_timeout=1)
    shown = [bus.url, repr(bus)]
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1") as caught:
        await bus.connect()
    shown += [str(caught.value), repr(caught.value), caught.value.url, caplog.text]
    for text in shown:
        assert "secretive" not in text
        assert "hid" not in text
        assert "den-one" not in text


async def test_a_wrong_password_fails_at_once(face: Face, make_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = make_server(config='authorization { user: "me", password: "right-one" }', jetstream=False)
    began = time.monotonic()
    with pytest.raises(AuthenticationError, match=server.url) as caught:
        await face.bus(server.url, auth=Auth(user="me", password="wrong-one")).connect()
    assert time.monotonic() - began < 4.5
    assert "wrong-one" not in str(caught.value) + repr(caught.value) + caplog.text
    async with face.bus(server.url, auth=Auth(user="me", password="right-one")) as bus:
        assert bus.url == server.url


# ---- the server lacks what the contract declares


async def test_jetstream_is_off(face: Face, make_server: Any) -> None:
    server = make_server(jetstream=False)
    async with face.bus(server.url) as bus:
        intent = read_intent()
        with pytest.raises(JetStreamDisabled, match="-js") as caught:
            await bus.publish(raw.of(intent), intent)
        assert (caught.value.err_code, caught.value.subject) == (10039, str(raw.of(intent)))
        with pytest.raises(JetStreamDisabled):
            await bus.consumer(consumers.admission).fetch(1, timeout=5)
        with pytest.raises(JetStreamDisabled):
            await bus.streams.plan()


async def test_a_stream_is_missing(face: Face) -> None:
    async with face.bus(face.url) as bus:
        intent = read_intent()
        began = time.monotonic()
        with pytest.raises(StreamNotFound, match="smith streams apply") as caught:
            await bus.publish(raw.of(intent), intent)
        assert caught.value.stream == "SDLC_RAW"
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await bus.publish(vetted.of(intent), intent)
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await anext(bus.consumer(consumers.admission).messages())
        assert time.monotonic() - began < 12


async def test_a_consumer_is_missing(face: Face) -> None:
    fewer = msgspec.structs.replace(CONTRACT, consumers=CONTRACT.consumers[1:])
    async with AsyncSmithBus(face.url, contract=fewer) as other:
        await other.streams.apply(profile="dev")
        with pytest.raises(OptionsError, match="admission"):
            other.consumer(consumers.admission)
    async with face.bus(face.url) as bus:
        reads: tuple[Call, ...] = (
            lambda: bus.consumer(consumers.admission).fetch(1),
            lambda: bus.consumer(consumers.admission).info(),
        )
        for read in reads:
            with pytest.raises(ConsumerNotFound, match="smith streams apply") as caught:
                await read()
            assert caught.value.consumer == "admission"


async def test_an_interest_stream_without_a_matching_consumer(face: Face) -> None:
    readers = tuple(one for one in CONTRACT.consumers if one.name != "executor-fs-read")
    async with AsyncSmithBus(face.url, contract=msgspec.structs.replace(CONTRACT, consumers=readers)) as other:
        await other.streams.apply(profile="dev")
    async with face.bus(face.url) as bus:
        intent = read_intent()
        with pytest.raises(NoInterest, match=r"fs\.read\.v1") as caught:
            await bus.publish(vetted.of(intent), intent)
        assert caught.value.stream == "ATOMS_VETTED"
        await bus.streams.apply(profile="dev")  # now there is one, and the same publish succeeds
        assert not (await bus.publish(vetted.of(intent), intent)).duplicate


async def test_interest_is_requested_once_for_all_that_publish_at_once(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_ATTEMPTS", 1)  # while a busy server does not answer, a request is repeated
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    async with AsyncSmithBus(account.url) as bus:
        ear = await nats.connect(account.url, allow_reconnect=False)
        try:
            await ear.subscribe("$JS.API.CONSUMER.LIST.ATOMS_VETTED", cb=hear)
            await ear.flush()
            intents = [read_intent() for _ in range(200)]
            refused = await asyncio.gather(
                *(bus.publish(vetted.of(intent), intent) for intent in intents), return_exceptions=True
            )
            assert {type(error) for error in refused} == {StreamNotFound}
            assert len(set(map(id, refused))) == 200
            await ear.flush()
            await eventually_async(lambda: heard)
            assert len(heard) == 1

            await bus.streams.apply(profile="dev")
            await ear.flush()
            heard.clear()
            acks = await asyncio.gather(*(bus.publish(vetted.of(intent), intent) for intent in intents))
            assert len({ack.seq for ack in acks}) == 200
            await ear.flush()
            await eventually_async(lambda: heard)
            assert len(heard) == 1
        finally:
            await ear.close()


async def test_a_full_queue_refuses_and_keeps_its_messages(face: Face, make_server: Any) -> None:
    server = make_server()
    small = tuple(msgspec.structs.replace(one, max_msgs=3) if one.name == "SDLC_RAW" else one for one in CONTRACT.streams)
    async with face.bus(server.url, contract=msgspec.structs.replace(CONTRACT, streams=small)) as bus:
        await bus.streams.apply(profile="dev")
        intents = [read_intent() for _ in range(4)]
        for intent in intents[:3]:
            await bus.publish(raw.of(intent), intent)
        began = time.monotonic()
        with pytest.raises(QueueFull, match="SDLC_RAW") as caught:
            await bus.publish(raw.of(intents[3]), intents[3])
        assert time.monotonic() - began < 4.5
        assert caught.value.err_code == 10077
        first, *_ = await bus.consumer(consumers.admission).fetch(3)
        assert first.payload == intents[0]
        await first.ack_sync()
        assert not (await bus.publish(raw.of(intents[3]), intents[3])).duplicate


# ---- payloads


async def test_an_undecodable_message_raises_and_the_iteration_goes_on(face: Face) -> None:
    async with face.applied() as bus:
        session = (bus if face.is_async else bus.inner._aio)._session
        good = read_intent()
        subject = str(raw.of(good))

        async def put(data: bytes, msg_id: str) -> Any:
            return await session.publish(subject, data, stream="SDLC_RAW", msg_id=msg_id)

        if face.is_async:
            await put(b"{not json", "bad")
        else:
            await asyncio.to_thread(bus.inner._portal.call, put, b"{not json", "bad")
        await bus.publish(raw.of(good), good)
        async with bus.consumer(consumers.admission).messages() as messages:
            bad = await anext(messages)
            with pytest.raises(PayloadDecodeError, match="Intent") as caught:
                _ = bad.payload
            assert caught.value.raw == bad.raw == b"{not json"
            assert caught.value.subject == subject
            assert (await anext(messages)).payload == good


async def test_type_errors_are_refused_at_run_time_as_well(face: Face) -> None:
    async with face.applied() as bus:
        intent, entry = read_intent(), log_entry()
        result = result_of(intent)
        for subject in ("smith.intents.raw.fs.read.v1", raw.filter(), None, 3):
            with pytest.raises(SubjectMismatch):
                await bus.publish(cast("Any", subject), intent)
        for payload in (result, {"id": "x"}, b"bytes", None):
            with pytest.raises(PayloadMismatch):
                await bus.publish(raw.of(intent), cast("Any", payload))
        with pytest.raises(SubjectMismatch, match="emit"):
            await bus.publish(cast("Any", subjects.logs.errors.of(entry)), entry)
        with pytest.raises(SubjectMismatch, match="publish"):
            await bus.emit(cast("Any", raw.of(intent)), intent)
        event = health()
        assert (await bus.publish(subjects.events.health.of(event), event)).seq == 1


@pytest.mark.parametrize("output", [Path("/x"), "\udcff", {(1, 2): 3}], ids=["no JSON", "no UTF-8", "no key"])
async def test_a_payload_that_json_cannot_represent_is_refused_and_others_are_published(face: Face, output: Any) -> None:
    async with face.applied() as bus:
        bad, good = (result_of(read_intent(), output=one) for one in (output, "fine"))
        subject = subjects.results.of(bad)
        with pytest.raises(PayloadMismatch, match=f"{subject} has a value") as caught:
            await bus.publish(subject, bad)
        assert caught.value.subject == str(subject)
        with pytest.raises(PublishManyError) as several:
            await bus.publish_many([subject.envelope(bad), subjects.results.of(good).envelope(good)])
        assert [type(one) for one in several.value.outcomes] == [PayloadMismatch, PubAck]


def test_invalid_arguments_of_a_worker_are_refused_before_it_has_a_message(face: Face) -> None:
    """Otherwise each message would fail, and be dead-lettered."""
    home = aio if face.is_async else sync
    theirs: Any = (SmithBus if face.is_async else AsyncSmithBus)()
    ours: Any = (AsyncSmithBus if face.is_async else SmithBus)()
    spec: Any = consumers.executor_fs_read
    wrong: Any
    for wrong in (theirs, None, "nats://user:secret@127.0.0.1"):
        with pytest.raises(OptionsError, match=r"for an? (Async)?SmithBus,? import"):
            home.Worker(wrong, spec)
        with pytest.raises(OptionsError, match=r"for an? (Async)?SmithBus,? import"):
            home.Admission(wrong, policy=lambda one: Allow(), executor_id="x")
    for wrong in ("executor-fs-read", consumers, None):
        with pytest.raises(OptionsError, match="as a contract declares it"):
            home.Worker(ours, wrong)
        with pytest.raises(OptionsError, match="as a contract declares it"):
            ours.consumer(wrong)
    for options in ({"retry": 3}, {"retry": 0}, {"middleware": [Middleware]}, {"middleware": [print]}):
        with pytest.raises(OptionsError, match=next(iter(options))):
            home.Worker(ours, spec, **cast("Any", options))
    for wrong in (None, "read", 5):
        with pytest.raises(OptionsError, match="is not a handler"):
            home.Worker(ours, spec).handler(wrong)
        with pytest.raises(OptionsError, match="policy"):
            home.Admission(ours, policy=wrong, executor_id="x")
        with pytest.raises(OptionsError, match=r"RetryPolicy\.backoff"):
            RetryPolicy(backoff=wrong)
    for wrong in ("smith.>", subjects.logs.errors, None):
        with pytest.raises(SubjectMismatch, match="not a subject of contract"):
            ours.subscribe(wrong)


@pytest.mark.parametrize(
    "options", [{"connect_timeout": 0}, {"publish_timeout": -1}, {"max_pending_messages": 0}, {"url": " , "}]
)
def test_options_that_can_never_work(options: dict[str, Any], face: Face) -> None:
    with pytest.raises(OptionsError, match=next(iter(options))):
        face.bus(**options)
