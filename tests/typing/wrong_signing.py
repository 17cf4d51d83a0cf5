# ruff: noqa: F841
# fmt: off
"""Wrong uses of signatures. Each line that ends in the marker must be refused by every checker, and
no other."""

from __future__ import annotations

from smith_sdk import subjects
from smith_sdk.contract import Received
from smith_sdk.protocol import FsReadV1Intent, HttpFetchV1Intent, IntentResult
from smith_sdk.signing import canonical_json, sign, verify


def signed(one: FsReadV1Intent, other: HttpFetchV1Intent, result: IntentResult, message: Received[FsReadV1Intent]) -> None:
    verify(one)  # error
    verify(message)  # error
    verify(message.payload)  # error
    verify(message.raw, {one.signer})  # error
    verify(message.raw, trusted={bytes(32)})  # error
    canonical_json(one)  # error
    canonical_json("{}")  # error
    sign(result, bytes(32))  # error
    sign(message.raw, bytes(32))  # error
    kept: HttpFetchV1Intent = sign(one, bytes(32))  # error
    subjects.intents.raw.of(other).envelope(sign(one, bytes(32)))  # error
