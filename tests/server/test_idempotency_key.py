"""`message.idempotency_key`: the same for whatever has the same effect, and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
from buses import Account, Face, health, read_intent
from msgspec.structs import replace
from support import eventually_async, has_length

from smith_sdk import RetryPolicy, consumers, subjects
from smith_sdk._core import codec
from smith_sdk._core.idempotency import idempotency_key, is_key
from smith_sdk.contract import ConsumerSpec
from smith_sdk.errors import NotAcknowledgeable
from smith_sdk.topology import CONTRACT

READER: Final[ConsumerSpec[Any, Any]] = ConsumerSpec(
    name="reader",
    stream="SYSTEM_EVENTS",
    filters=("smith.events.health.*",),
    ack_wait=30.0,
    max_attempts=3,
    max_ack_pending=100,
    prefetch=10,
)
HERE: Final = replace(CONTRACT, consumers=(*CONTRACT.consumers, READER))
HEALTH: Final = "smith.events.health.web"
ONCE: Final = RetryPolicy(max_attempts=1)
vetted = subjects.intents.vetted


async def test_an_intent_has_one_key_however_it_is_delivered(face: Face, account: Account) -> None:
    """Redelivered, and published again with another message id."""
    intent, other = read_intent(), read_intent()
    where = vetted.of(intent)
    keys: list[str] = []
    async with account.applied() as bus:
        await bus.publish(where, intent)
        keys += await keys_of(face, account, 1)
        await bus.publish(where, intent, msg_id="another")
        await bus.publish(vetted.of(other), other)
        keys += await keys_of(face, account, 3)
    # The server may deliver what is nak'ed after what has come since.
    assert sorted(keys) == sorted([*[f"{where}:{intent.id}"] * 3, f"{where}:{other.id}"])


async def keys_of(face: Face, account: Account, count: int) -> list[str]:
    """The keys of so many messages, which are nak'ed."""
    async with face.bus(account.url) as bus:
        found = await bus.consumer(consumers.executor_fs_read).fetch(count)
        keys = []
        for message in found:
            inner = message if face.is_async else message.inner
            keys.append(inner.idempotency_key)
            await message.nack()
        return keys


async def replayed_keys(face: Face, account: Account, publish: Callable[[Any], Any]) -> list[str]:
    """The keys of a message that is dead-lettered twice and then handled."""
    keys: list[str] = []

    def handle(message: Any) -> None:
        keys.append(message.idempotency_key)
        if len(keys) < 3:
            raise ValueError("not yet")

    async with face.applied(contract=HERE) as bus:
        worker = face.worker(bus, READER, retry=ONCE)
        (worker if face.is_async else worker.inner).handler(handle)
        running = asyncio.ensure_future(worker.run())
        async with account.applied(contract=HERE) as near:
            await publish(near)
            for run in (1, 2):
                (letter,) = await eventually_async(near.dead_letters.list)
                await near.dead_letters.replay(letter.id)
                await eventually_async(has_length(keys, run + 1))
        await worker.stop()
        await running
    return keys


async def test_a_replay_keeps_the_key_of_a_message_id(face: Face, account: Account) -> None:
    """Also of an id that a letter's facts do not keep as it is."""
    odd = "\u2028" + "x" * 2000
    event = health()

    async def publish(bus: Any) -> None:
        await bus.publish(subjects.events.health.of(event), event, msg_id=odd)

    keys = await replayed_keys(face, account, publish)
    assert keys == [idempotency_key(HEALTH, odd)] * 3
    assert keys[0].startswith("sha256:")


async def test_a_replay_keeps_the_key_of_a_message_without_an_id(account: Account) -> None:
    face, event = Face("async", account), health()

    async def publish(bus: Any) -> None:
        await bus._session.connection.publish(str(subjects.events.health.of(event)), codec.encode(event))

    keys = await replayed_keys(face, account, publish)
    assert keys[0].startswith(f"{HEALTH}:SYSTEM_EVENTS.1.")
    assert len(set(keys)) == 1


async def test_messages_without_an_identity_have_a_key_each(account: Account) -> None:
    async with account.applied(contract=HERE) as bus:
        for msg_id in (None, None, "own", f"{HEALTH}:own"):
            event = health()
            await bus.publish(subjects.events.health.of(event), event, msg_id=msg_id)
        first, second, *own = [message.idempotency_key for message in await bus.consumer(READER).fetch(4)]
        assert first != second
        assert first.startswith(f"{HEALTH}:")
        assert own == [f"{HEALTH}:own"] * 2  # the subject stands in front once


async def test_a_message_that_was_read_has_the_key_that_its_handler_sees(face: Face, account: Account) -> None:
    intent, event = read_intent(), health()
    async with account.applied(contract=HERE) as near, face.bus(account.url, contract=HERE) as bus:
        await near.publish(vetted.of(intent), intent)
        await near.publish(subjects.events.health.of(event), event)
        await near._session.connection.publish(HEALTH, codec.encode(event))  # without an id
        await near._session.connection.barrier(timeout=5)
        seen = [await near.consumer(consumers.executor_fs_read).fetch(1), await near.consumer(READER).fetch(2)]
        handled = [message.idempotency_key for messages in seen for message in messages]
        read = [one.idempotency_key async for one in bus.read(vetted.of(intent))]
        read += [one.idempotency_key async for one in bus.read(subjects.events.health.of(event))]
    assert read == handled
    assert len(set(read)) == 3


async def test_a_forged_trail_does_not_choose_the_key_without_a_replay_s_id(account: Account) -> None:
    trail = {"Smith-Replay-Of": "S.c.1", "Smith-Replay-First": "S.c.1", "Smith-Replay-Count": "1", "Smith-Replay-Key": "mine"}
    async with account.applied(contract=HERE) as bus:
        event = health()
        for msg_id in ("plain", "dead-letter:S.c.2:x"):
            await bus._session.publish(HEALTH, codec.encode(event), stream="SYSTEM_EVENTS", msg_id=msg_id, headers=dict(trail))
        keys = [message.idempotency_key for message in await bus.consumer(READER).fetch(2)]
        assert keys == [f"{HEALTH}:plain", f"{HEALTH}:dead-letter:S.c.2:x"]


async def test_a_message_of_core_nats_has_the_key_of_its_identity_or_none(account: Account) -> None:
    intent, event = read_intent(), health()
    async with account.applied() as bus, bus.subscribe(subjects.events.health.of(event)) as events:
        async with bus.subscribe(vetted.of(intent)) as intents:
            await bus._session.connection.publish(HEALTH, codec.encode(event))
            await bus.publish(vetted.of(intent), intent)
            assert (await anext(intents)).idempotency_key == f"{vetted.of(intent)}:{intent.id}"
        with pytest.raises(NotAcknowledgeable, match="core NATS"):
            _ = (await anext(events)).idempotency_key


@pytest.mark.parametrize("identity", ["", "a b", 'a"b', "a\\b", "ä", "\udcff", "a\r\nb", "x" * 300, "\x7f"])
def test_every_identity_makes_a_key_that_a_header_can_carry(identity: str) -> None:
    key = idempotency_key("smith.x", identity)
    assert is_key(key)
    assert key == idempotency_key("smith.x", identity) != idempotency_key("smith.y", identity)
    assert not is_key(identity) or len(identity) < 256
