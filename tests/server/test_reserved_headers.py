"""Headers that mean something to the server: each does what its name says, or is refused."""

from __future__ import annotations

import pytest
from buses import Account, Face, health, read_intent

from smith_sdk import Message, Worker, consumers, subjects
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.testing import run_worker_once

raw, vetted = subjects.intents.raw, subjects.intents.vetted


@pytest.mark.parametrize("name", ["Nats-Msg-Id", "nats-msg-id", "NATS-MSG-ID"])
async def test_a_message_id_among_the_headers_is_refused(name: str, face: Face) -> None:
    event = health()
    where = subjects.events.health.of(event)
    async with face.applied() as bus:
        for options in ({}, {"msg_id": "payment-18"}):
            with pytest.raises(OptionsError, match="pass msg_id="):
                await bus.publish(where, event, headers={name: "payment-17"}, **options)
            with pytest.raises(OptionsError, match="pass msg_id="):
                await (await bus.submit(where, event, headers={name: "payment-17"}, **options))
        assert (await bus.streams.get("SYSTEM_EVENTS")).messages == 0


async def test_the_same_message_id_beside_the_headers_is_that_id(face: Face) -> None:
    async with face.applied() as bus:
        acks = []
        for _ in range(2):
            event = health()
            where = subjects.events.health.of(event)
            acks.append(await bus.publish(where, event, msg_id="payment-17", headers={"Nats-Msg-Id": "payment-17"}))
        assert [ack.duplicate for ack in acks] == [False, True]


async def test_headers_of_a_received_message_are_passed_on_without_its_id(account: Account) -> None:
    errors = []

    async def handle(message: Message[FsReadV1Intent]) -> None:
        where = raw.of(message.payload)
        try:
            await message.publish(where, message.payload, headers=message.headers)
        except OptionsError as error:
            errors.append(str(error))
        own = {name: value for name, value in message.headers.items() if name != "Nats-Msg-Id"}
        await message.publish(where, message.payload, headers=own)

    async with account.applied() as bus:
        intent = read_intent()
        await bus.publish(vetted.of(intent), intent, headers={"Trace-Id": "abc"})
        worker = Worker(bus, consumers.executor_fs_read)
        worker.handler(handle)
        await run_worker_once(worker)
        (sent,) = await bus.consumer(consumers.admission).fetch(1)
    assert sent.headers["Trace-Id"] == "abc"
    assert len(errors) == 1
    assert "leave this one out: it is the id of that message" in errors[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Nats-TTL", "header Nats-TTL: the server acts upon Nats-TTL"),
        ("nats-ttl", "header nats-ttl: the server acts upon Nats-TTL"),
        ("Nats-Expected-Last-Sequence", "the server acts upon"),
        ("Nats-Rollup", "the server acts upon"),
        ("Nats-Schedule", "the server acts upon"),
        ("Nats-Trace-Dest", "the server acts upon"),
        ("Nats-Stream-Source", "the server acts upon"),
        ("Nats-Batch-Id", "part of a batch"),
        ("nats-batch-commit", "part of a batch"),
        ("Smith-Replay-Count", "header Smith-Replay-Count: only the SDK itself writes headers of that name"),
        ("smith-dead-error", "header smith-dead-error: only the SDK itself"),
        ("Smith-Answer-For", "only the SDK itself"),
    ],
)
async def test_a_header_of_the_server_or_of_the_sdk_is_refused(name: str, reason: str, face: Face) -> None:
    event = health()
    where = subjects.events.health.of(event)
    async with face.applied() as bus:
        with pytest.raises(OptionsError, match=reason):
            await bus.publish(where, event, headers={name: "1"})
        with pytest.raises(OptionsError, match=reason):
            await (await bus.submit(where, event, headers={name: "1"}))
        assert (await bus.streams.get("SYSTEM_EVENTS")).messages == 0


async def test_headers_that_mean_nothing_to_either_are_sent(account: Account) -> None:
    intent = read_intent()
    async with account.applied() as bus:
        own = {"Nats-Of-Their-Own": "x", "Smith": "y", "Smithy-Dead": "z"}
        await bus.publish(raw.of(intent), intent, headers=own)
        (sent,) = await bus.consumer(consumers.admission).fetch(1)
        assert own.items() <= dict(sent.headers).items()
