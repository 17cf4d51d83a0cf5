"""Signatures and canonical forms that smith-protocol 0.1.2 (Rust) has made: tests/data."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from smith_sdk._core import codec
from smith_sdk._core.canonical_json import unsignable
from smith_sdk.errors import SignatureError
from smith_sdk.protocol import Intent
from smith_sdk.signing import canonical_json, sign, verify

VECTORS: Final = json.loads((Path(__file__).parents[1] / "data" / "rust-smith-0.1.2.json").read_text(encoding="utf-8"))
SIGNED: Final = [one for one in VECTORS["payloads"] if "rust_verifies" in one]
SEEDS: Final = {key["public_b64"]: base64.b64decode(key["seed_b64"]) for key in VECTORS["keys"]}

STRICTER: Final = {
    "verify/signature-with-white-space": "malformed",  # one text for a signature: the crate trims it
    "verify/unknown-field-added": "wrong",  # the crate drops the field before it verifies
    "verify/duplicate-key-in-params": "not_canonical",  # another reader takes the other value
}
"""What the crate verifies and this SDK refuses, with the reason."""
NEWER: Final = {"verify/unknown-field-signed"}
"""A field that 0.1.2 does not know is signed: it says false, a newer crate and this SDK true."""
AS_WRITTEN: Final = {
    "verify/number-1e2",
    "verify/number-1.50",
    "verify/number-2-pow-64",
    "verify/number--2-pow-63-minus-1",
}
"""Signed over numbers as they are written, which the crate writes again before it verifies."""


def params(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=lambda one: one["name"])


@params(SIGNED)
def test_the_signatures_of_the_crate(vector: dict[str, Any]) -> None:
    name, data = vector["name"], base64.b64decode(vector["wire_b64"])
    expected = (vector["rust_verifies"] is True or name in AS_WRITTEN | NEWER) and name not in STRICTER
    if expected:
        assert verify(data) == vector["signer"] or name in AS_WRITTEN | NEWER
        return
    with pytest.raises(SignatureError) as caught:
        verify(data)
    assert caught.value.reason == STRICTER.get(name, caught.value.reason)


@params([one for one in SIGNED if isinstance(one.get("canonical"), str)])
def test_the_canonical_forms_of_the_crate(vector: dict[str, Any]) -> None:
    name, data = vector["name"], base64.b64decode(vector["wire_b64"])
    if name in STRICTER | dict.fromkeys(NEWER):  # unknown fields stay here, repeated keys are refused
        assert name.startswith(("verify/unknown-field", "verify/duplicate", "verify/signature"))
        return
    assert canonical_json(data, without={"signature_b64"}).decode() == vector["canonical"]


def test_every_exception_is_one_and_there_are_no_others() -> None:
    by_name = {one["name"]: one["rust_verifies"] is True for one in SIGNED}
    assert all(by_name[name] for name in STRICTER)
    assert not any(by_name[name] for name in AS_WRITTEN | NEWER)
    assert sum(by_name.values()) > 30


def test_a_message_of_the_crate_verifies_in_any_form_that_json_allows() -> None:
    for vector in SIGNED:
        if not vector["name"].startswith("intent/") or vector["rust_verifies"] is not True:
            continue
        text = json.dumps(json.loads(vector["wire"]), indent=2, ensure_ascii=True)
        assert verify(text.encode(), trusted=set(SEEDS)) == vector["signer"]


def test_what_this_sdk_signs_is_the_crate_s_signature_to_the_letter() -> None:
    """Ed25519 has one signature for a key and bytes: equal means that the crate verifies ours."""
    signed = []
    for vector in SIGNED:
        message = json.loads(vector["wire"]) if vector["rust_verifies"] is True else {}
        if not vector["name"].startswith("intent/"):
            continue
        try:
            intent: Any = msgspec.convert(message, Intent)
        except msgspec.ValidationError:  # what only the crate can read, such as params that are a list
            continue
        # Encoding adds the nulls that the crate left out, and floats from 1e16 on are not signed.
        if json.loads(codec.to_json(intent)) == message and unsignable(intent) is None:
            ours = sign(intent, SEEDS[message["signer"]])
            assert (ours.signer, ours.signature_b64) == (message["signer"], message["signature_b64"]), vector["name"]
            signed.append(vector["name"])
    assert len(signed) >= 14, signed
