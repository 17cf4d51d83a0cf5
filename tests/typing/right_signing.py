"""Right uses of signatures: the type of what is signed is kept."""

from __future__ import annotations

from typing import assert_type

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from smith_sdk import subjects
from smith_sdk.contract import Envelope, Received
from smith_sdk.protocol import FsReadV1Intent, Intent
from smith_sdk.signing import canonical_json, sign, verify


def signed(one: FsReadV1Intent, some: Intent, key: Ed25519PrivateKey, message: Received[Intent]) -> None:
    assert_type(sign(one, key), FsReadV1Intent)
    assert_type(sign(one, bytes(32)), FsReadV1Intent)
    assert_type(sign(some, key).ttl_ms, int)
    assert_type(subjects.intents.raw.of(one).envelope(sign(one, key)), Envelope)
    assert_type(verify(message.raw), str)
    assert_type(verify(message.raw, trusted={one.signer}), str)
    assert_type(canonical_json(message.raw, without=("signature_b64",)), bytes)
