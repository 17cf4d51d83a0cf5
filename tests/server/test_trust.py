"""Replay protection on a real server: an intent is let through once while it could be valid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, ResultCode, Trust, consumers, subjects
from smith_sdk.contract import now_ns
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import QueueFull, StreamNotFound
from smith_sdk.protocol import ShellExecV1Intent, ShellExecV1Params
from smith_sdk.signing import sign

SEED = bytes(range(32))
TRUST = Trust(keys=[sign(read_intent(), SEED).signer])


async def received(bus: AsyncSmithBus, intent: Any) -> Any:
    """`intent` as a raw message. It is not acknowledged."""
    await bus.publish(subjects.intents.raw.of(intent), intent)
    (message,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
    return message


async def claimed(bus: AsyncSmithBus, message: Any, trust: Trust = TRUST) -> str | None:
    refusal = await trust.claim(bus._session, message.payload, message)
    return None if refusal is None else refusal.code


async def test_a_nonce_is_let_through_once_whatever_else_the_intent_says(account: Account) -> None:
    async with account.applied() as bus:
        intent = sign(read_intent(), SEED)
        first = await received(bus, intent)
        assert await claimed(bus, first) is None
        other_id = sign(read_intent("/other", nonce=intent.nonce), SEED)
        assert await claimed(bus, await received(bus, other_id)) == ResultCode.REPLAYED
        shell = ShellExecV1Intent.new(domain="d", nonce=intent.nonce, params=ShellExecV1Params(command="true"))
        assert await claimed(bus, await received(bus, sign(shell, SEED))) == ResultCode.REPLAYED
        assert await claimed(bus, await received(bus, sign(read_intent(), SEED))) is None
        other_signer = sign(read_intent(nonce=intent.nonce), bytes(32))
        assert await claimed(bus, await received(bus, other_signer)) is None
        refusal = await TRUST.claim(bus._session, other_id, await received(bus, sign(read_intent(nonce=intent.nonce), SEED)))
        assert refusal is not None
        assert "let through before, at 20" in refusal.reason


async def test_a_redelivery_of_the_same_raw_message_gets_the_same_answer(account: Account) -> None:
    async with account.applied() as bus:
        message = await received(bus, sign(read_intent(), SEED))
        assert await claimed(bus, message) is None
        await message.nack()
        (again,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
        assert again.metadata.num_delivered == 2
        assert await claimed(bus, again) is None
        replay = await received(bus, sign(read_intent(nonce=message.payload.nonce), SEED))
        for _ in range(2):
            assert await claimed(bus, replay) == ResultCode.REPLAYED


async def test_of_several_processes_one_lets_an_intent_through(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        for _ in range(5):
            nonce = sign(read_intent(), SEED).nonce
            copies = [await received(bus, sign(read_intent(nonce=nonce), SEED)) for _ in range(4)]
            codes = await asyncio.gather(*(claimed((bus, other)[i % 2], copy) for i, copy in enumerate(copies)))
            assert sorted(map(str, codes)) == ["None", *["REPLAYED"] * 3]


async def test_a_server_that_was_restarted_still_knows_what_was_let_through(
    make_server: Callable[..., EmbeddedServer], tmp_path: Path
) -> None:
    intent = sign(read_intent(), SEED)
    server = make_server(store_dir=tmp_path)
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        message = await received(bus, intent)
        assert await claimed(bus, message) is None
        await message.ack_sync()
    server.kill()
    server.stop()
    server = make_server(store_dir=tmp_path)
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        # Another message id: the server's own deduplication does not help.
        await bus.publish(subjects.intents.raw.of(intent), intent, msg_id="another")
        (replay,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
        assert await claimed(bus, replay) == ResultCode.REPLAYED


async def test_an_intent_is_remembered_until_it_has_expired_by_every_clock(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, max_clock_skew=1)
    async with account.applied() as bus:
        message = await received(bus, sign(read_intent(ttl_ms=60_000, created_at_ns=now_ns() - 59_000_000_000), SEED))
        assert await claimed(bus, message, trust) is None
        stored = await bus._session.api.message("KV_SMITH_NONCES", 1)
        assert stored.headers["Nats-TTL"] == "2", "1 s to go, 1 s of skew"
        assert stored.data.startswith(b"SDLC_RAW.1.")
        assert await claimed(bus, await received(bus, sign(read_intent(nonce=message.payload.nonce), SEED)), trust) == "REPLAYED"
        await eventually_async(lambda: _count(bus, 0), timeout=15, interval=0.2)
        long = await received(bus, sign(read_intent(ttl_ms=2**32 - 1), SEED))  # 50 days
        assert await claimed(bus, long, trust) is None
        assert (await bus._session.api.message("KV_SMITH_NONCES", 2)).headers["Nats-TTL"] == "4294969"


async def _count(bus: AsyncSmithBus, count: int) -> bool:
    found: int = (await bus._session.api.stream_info("KV_SMITH_NONCES"))["state"]["messages"]
    return found == count


async def test_a_window_bounds_how_long_intents_are_remembered(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, replay_window=60)
    async with account.applied() as bus:
        assert await claimed(bus, await received(bus, sign(read_intent(ttl_ms=59_000), SEED)), trust) is None
        message = await received(bus, sign(read_intent(ttl_ms=120_000), SEED))
        refusal = await trust.claim(bus._session, message.payload, message)
        assert refusal is not None
        assert refusal.code == ResultCode.POLICY_DENIED
        assert "shorter ttl_ms" in refusal.reason
        assert await _count(bus, 1)


async def test_a_window_of_0_needs_no_bucket_and_lets_replays_through(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, replay_window=0)
    async with account.applied() as bus:
        await bus._session.api.stream_delete("KV_SMITH_NONCES")
        await trust.prepare(bus._session)
        intent = sign(read_intent(), SEED)
        for _ in range(2):
            assert await claimed(bus, await received(bus, sign(read_intent(nonce=intent.nonce), SEED)), trust) is None


async def test_without_the_bucket_preparing_names_the_remedy(account: Account) -> None:
    async with account.applied() as bus:
        await TRUST.prepare(bus._session)
        await bus._session.api.stream_delete("KV_SMITH_NONCES")
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await TRUST.prepare(bus._session)


async def test_a_full_bucket_lets_nothing_through(account: Account) -> None:
    async with account.applied() as bus:
        config = (await bus._session.api.stream_info("KV_SMITH_NONCES"))["config"]
        await bus._session.api.stream_update({**config, "max_msgs": 1})
        first = await received(bus, sign(read_intent(), SEED))
        second = await received(bus, sign(read_intent(), SEED))
        replay = await received(bus, sign(read_intent(nonce=first.payload.nonce), SEED))
        assert await claimed(bus, first) is None
        with pytest.raises(QueueFull, match="KV_SMITH_NONCES is full"):
            await claimed(bus, second)
        assert await claimed(bus, replay) == ResultCode.REPLAYED
        await bus._session.api.stream_update({**config, "max_msgs": -1})
        assert await claimed(bus, second) is None
        assert await claimed(bus, replay) == ResultCode.REPLAYED
        assert await claimed(bus, first) is None


async def test_an_unsigned_intent_uses_up_no_nonce_of_a_signer(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, require_signature=False)
    async with account.applied() as bus:
        intent = sign(read_intent(), SEED)
        forged = msgspec.structs.replace(intent, id="another", signature_b64="")
        assert await claimed(bus, await received(bus, forged), trust) is None
        assert await claimed(bus, await received(bus, intent), trust) is None
        again = msgspec.structs.replace(forged, id="third")
        assert await claimed(bus, await received(bus, again), trust) == ResultCode.REPLAYED
