"""Signed intents through a real server: the bytes that admission passes on still verify, on both
faces."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import eventually_async

from smith_sdk import Allow, AsyncSmithBus, Quarantine, Transform, consumers, subjects
from smith_sdk._core import codec
from smith_sdk.aio import Decision
from smith_sdk.errors import SignatureError
from smith_sdk.protocol import FsReadV1Params, Intent
from smith_sdk.signing import canonical_json, sign, verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


@contextlib.asynccontextmanager
async def admitting(face: Face, bus: Any, policy: Callable[[Intent], Decision]) -> AsyncIterator[None]:
    admission = face.admission(bus, policy=policy, executor_id="tester")
    running = asyncio.ensure_future(admission.run())
    try:
        yield
    finally:
        while not running.done():
            await admission.stop()
            await asyncio.wait({running}, timeout=0.05)
        running.result()


async def arrived(bus: Any, spec: Any) -> Any:
    (message,) = await eventually_async(lambda: bus.consumer(spec).fetch(1, timeout=1), timeout=20)
    return message


async def test_a_signed_intent_verifies_at_its_executor(face: Face) -> None:
    async with face.applied() as bus:
        intent = sign(read_intent("/etc/hostname", metadata={"weight": 1e15, "count": 2**64 - 1, "name": "größe"}), KEY)
        await bus.publish(subjects.intents.raw.of(intent), intent)
        async with admitting(face, bus, lambda intent: Allow()):
            message = await arrived(bus, consumers.executor_fs_read)
        assert message.payload == intent
        assert verify(message.raw, trusted={SIGNER}) == SIGNER


async def signed_elsewhere(bus: AsyncSmithBus) -> bytes:
    """An intent of another service on the raw stream: a field of its own, optional ones left
    out, numbers and white space its own."""
    fields = json.loads(codec.encode(read_intent()))
    fields |= {"signer": SIGNER, "priority": {"level": 7}, "params": {"path": "/etc/hostname"}, "metadata": {"rate": "RATE"}}

    def written() -> bytes:
        return json.dumps(fields, indent=2).replace('"RATE"', "1.50E+1").encode()

    signature = KEY.sign(canonical_json(written(), without={"signature_b64"}))
    fields["signature_b64"] = base64.b64encode(signature).decode()
    await bus._session.publish("smith.intents.raw.fs.read.v1", written(), stream="SDLC_RAW", msg_id=fields["id"])
    return written()


async def test_what_is_passed_on_verifies_and_what_is_encoded_again_does_not(account: Account) -> None:
    async with account.applied() as bus:
        sent = await signed_elsewhere(bus)
        async with admitting(Face("async", account), bus, lambda intent: Allow()):
            message = await arrived(bus, consumers.executor_fs_read)
        assert message.raw == sent
        assert verify(message.raw, trusted={SIGNER}) == SIGNER
        assert message.payload.signer == SIGNER
        with pytest.raises(SignatureError, match="encoded again instead of passed on") as caught:
            verify(codec.encode(message.payload))
        assert caught.value.reason == "wrong"


async def test_what_is_quarantined_can_still_be_verified(account: Account) -> None:
    async with account.applied() as bus:
        sent = await signed_elsewhere(bus)
        async with admitting(Face("async", account), bus, lambda intent: Quarantine("looks odd")):
            message = await arrived(bus, consumers.quarantine_review)
        assert message.payload.intent == sent
        assert verify(message.payload.intent, trusted={SIGNER}) == SIGNER


async def test_a_transformed_intent_needs_a_signature_of_its_own(account: Account) -> None:
    own_key = bytes(32)

    def policy(intent: Any) -> Transform:
        changed = msgspec.structs.replace(intent, params=FsReadV1Params(path="/safe"))
        return Transform(sign(changed, own_key) if intent.params.path == "/signed again" else changed)

    async with account.applied() as bus:
        for path in ("/left", "/signed again"):
            intent = sign(read_intent(path), KEY)
            await bus.publish(subjects.intents.raw.of(intent), intent)
            async with admitting(Face("async", account), bus, policy):
                message = await arrived(bus, consumers.executor_fs_read)
            await message.ack()
            assert (message.payload.id, message.payload.params.path) == (intent.id, "/safe")
            if path == "/left":
                with pytest.raises(SignatureError, match="changed after it was signed"):
                    verify(message.raw)
            else:
                assert verify(message.raw) == sign(intent, own_key).signer != SIGNER
