"""`Trust` without a server: its options, where keys come from, and each refusal of a signature."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import threading
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import read_intent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import eventually

from smith_sdk import ResultCode, Trust, signing
from smith_sdk._core import codec
from smith_sdk.errors import OptionsError, PayloadDecodeError
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.signing import sign
from smith_sdk.trust import LARGE

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


SIGNER, STRANGER = public(KEY), public(OTHER)
IDENTITY = base64.b64encode((1).to_bytes(32, "little")).decode()


def refused(trust: Trust, raw: bytes) -> str | None:
    """The code with which `trust` refuses the intent in `raw`."""
    intent = codec.decode(FsReadV1Intent, raw, "smith.intents.raw.fs.read.v1")
    refusal = asyncio.run(trust.check(raw, intent))
    if refusal is None:
        return None
    assert refusal.reason
    assert "\n" not in refusal.reason
    return refusal.code


def signed(key: Ed25519PrivateKey = KEY, **fields: Any) -> bytes:
    return codec.encode(sign(read_intent(**fields), key))


# ---- options


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "no signer would be trusted"),
        ({"keys": []}, "Trust.keys is empty"),
        ({"keys": set()}, "Trust.keys is empty"),
        ({"keys": SIGNER}, "not str: write keys="),
        ({"keys": SIGNER.encode()}, "not bytes"),
        ({"keys": iter([SIGNER])}, "takes a collection"),
        ({"keys": 7}, "not int"),
        ({"keys": [SIGNER, "x"]}, "'x' is not base64 of 32 bytes"),
        ({"keys": [SIGNER + "\n"]}, "is not base64 of 32 bytes"),
        ({"keys": [None]}, "Trust.keys"),
        ({"keys": [base64.b64decode(SIGNER)]}, "is not base64 of 32 bytes"),
        ({"keys": [IDENTITY]}, "small order"),
        ({"keys": [base64.b64encode(b"\x02" + bytes(31)).decode()]}, "not a point of the curve"),
        ({"keys": [base64.b64encode(b"\xff" * 32).decode()]}, "not reduced"),
        ({"key_for": "x"}, "Trust.key_for"),
        ({"keys": [SIGNER], "max_clock_skew": -1}, "Trust.max_clock_skew"),
        ({"keys": [SIGNER], "max_clock_skew": float("nan")}, "Trust.max_clock_skew"),
        ({"keys": [SIGNER], "replay_window": -0.1}, "Trust.replay_window"),
        ({"keys": [SIGNER], "replay_window": "60"}, "Trust.replay_window"),
        ({"keys": [SIGNER], "require_signature": 1}, "Trust.require_signature"),
    ],
)
def test_invalid_options(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(OptionsError, match=problem):
        Trust(**options)


def test_it_is_frozen_and_durations_are_seconds() -> None:
    trust = Trust(keys=[SIGNER], max_clock_skew=timedelta(minutes=1), replay_window=timedelta(hours=1))
    assert (trust.max_clock_skew, trust.replay_window, trust.require_signature) == (60.0, 3600.0, True)
    with pytest.raises(AttributeError):
        trust.require_signature = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        Trust([SIGNER])  # type: ignore[call-arg]
    assert Trust(keys=[SIGNER]).max_clock_skew == 30.0


# ---- refusals


def test_each_refusal_has_its_code() -> None:
    trust = Trust(keys=[SIGNER])
    good = signed()
    assert refused(trust, good) is None
    assert refused(trust, codec.encode(read_intent())) == ResultCode.UNSIGNED
    assert refused(trust, codec.encode(read_intent(signer=SIGNER))) == ResultCode.UNSIGNED
    assert refused(trust, codec.encode(read_intent(signature_b64="AA=="))) == ResultCode.UNSIGNED
    assert refused(trust, signed(OTHER)) == ResultCode.SIGNER_UNKNOWN
    assert refused(trust, good.replace(b'"/x"', b'"/y"')) == ResultCode.SIGNATURE_INVALID
    assert refused(trust, codec.encode(read_intent(signer=SIGNER, signature_b64="AA=="))) == ResultCode.SIGNATURE_INVALID
    assert refused(trust, good[:-1] + b',"extra":1}') == ResultCode.SIGNATURE_INVALID


def test_a_reason_holds_nothing_that_a_terminal_obeys() -> None:
    forged = msgspec.structs.replace(sign(read_intent(), KEY), signer="\x1b[2J\u202e\n" * 100)
    refusal = asyncio.run(Trust(keys=[SIGNER]).check(codec.encode(forged), forged))
    assert refusal is not None
    assert refusal.reason.isprintable()
    assert len(refusal.reason) < 500


def test_without_a_required_signature_unsigned_passes_and_a_wrong_one_does_not() -> None:
    trust = Trust(keys=[SIGNER], require_signature=False)
    good = signed()
    assert refused(trust, good) is None
    assert refused(trust, codec.encode(read_intent())) is None
    assert refused(trust, codec.encode(read_intent(signer=SIGNER))) is None
    assert refused(trust, signed(OTHER)) == ResultCode.SIGNER_UNKNOWN
    assert refused(trust, good.replace(b'"/x"', b'"/y"')) == ResultCode.SIGNATURE_INVALID
    assert refused(trust, codec.encode(read_intent(signature_b64="AA=="))) == ResultCode.UNSIGNED


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1] + b',"domain":"other"}',
        lambda raw: raw[:-1] + rb',"\u0064omain":"other"}',
        lambda raw: raw[:-1] + b',"metadata":{"a":1}}',
        lambda raw: raw[:-1] + b',"signer":"' + STRANGER.encode() + b'"}',
    ],
    ids=["repeated", "repeated escaped", "metadata", "signer"],
)
def test_an_intent_with_a_key_twice_is_not_decoded(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(PayloadDecodeError, match="twice"):
        codec.decode(FsReadV1Intent, change(signed()), "s")


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b'"path":', b'"path":"/other","path":'),
        lambda raw: raw.replace(b'"path":', rb'"\u0070ath":"/other","path":'),
    ],
    ids=["nested", "nested escaped"],
)
def test_what_was_verified_is_what_was_decoded(change: Callable[[bytes], bytes]) -> None:
    """Of two equal keys the decoder takes the last."""
    raw = change(signed())
    assert refused(Trust(keys=[SIGNER, STRANGER]), raw) == ResultCode.SIGNATURE_INVALID


def test_escapes_change_neither_the_signature_nor_the_payload() -> None:
    raw = signed(path="/x").replace(b'"/x"', rb'"\u002f\u0078"').replace(b'"domain"', rb'"\u0064omain"')
    assert codec.decode(FsReadV1Intent, raw, "s").params.path == "/x"
    assert refused(Trust(keys=[SIGNER]), raw) is None


def test_a_large_message_is_verified_in_a_thread_and_a_small_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    verify = signing.verify

    def watched(data: bytes, *, trusted: Collection[str] | None = None) -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return verify(data, trusted=trusted)

    monkeypatch.setattr(signing, "verify", watched)
    trust = Trust(keys=[SIGNER])
    large = signed(metadata={"a": "x" * LARGE})
    assert refused(trust, signed()) is None
    assert refused(trust, large) is None
    assert refused(trust, large.replace(b"xx", b"xy", 1)) == ResultCode.SIGNATURE_INVALID
    assert threads == [True, False, False]


# ---- keys that change


def test_a_file_of_keys_may_begin_with_the_mark_of_an_editor(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"\ufeff{SIGNER} agent\r\n", encoding="utf-8")
    assert refused(Trust(keys=tmp_path / "keys"), signed()) is None


def test_a_set_of_keys_can_be_rotated() -> None:
    keys = {SIGNER}
    trust = Trust(keys=keys)
    keys.add(STRANGER)
    assert refused(trust, signed(OTHER)) is None
    keys.discard(SIGNER)
    assert refused(trust, signed()) == ResultCode.SIGNER_UNKNOWN
    keys.clear()
    assert refused(trust, signed(OTHER)) == ResultCode.SIGNER_UNKNOWN


def test_a_small_order_key_that_is_added_later_is_refused() -> None:
    keys = {SIGNER}
    trust = Trust(keys=keys)
    keys.add(IDENTITY)
    forged = msgspec.structs.replace(
        read_intent(), signer=IDENTITY, signature_b64=base64.b64encode((1).to_bytes(32, "little") + bytes(32)).decode()
    )
    assert refused(trust, codec.encode(forged)) == ResultCode.SIGNATURE_INVALID
    assert refused(Trust(key_for=lambda signer: True), codec.encode(forged)) == ResultCode.SIGNATURE_INVALID


def test_a_plain_or_async_function_is_asked_for_each_message() -> None:
    asked: list[str] = []
    trusted: set[str] = set()

    def plain(signer: str) -> bool:
        asked.append(signer)
        return signer in trusted

    async def waiting(signer: str) -> bool:
        await asyncio.sleep(0)
        return plain(signer)

    for key_for in (plain, waiting):
        trust = Trust(key_for=key_for)
        assert refused(trust, signed()) == ResultCode.SIGNER_UNKNOWN
        trusted.add(SIGNER)
        assert refused(trust, signed()) is None
        trusted.clear()
        assert refused(trust, codec.encode(read_intent())) == ResultCode.UNSIGNED
    assert asked == [SIGNER] * 4
    both = Trust(keys=[STRANGER], key_for=plain)
    assert [refused(both, signed(OTHER)), refused(both, signed())] == [None, ResultCode.SIGNER_UNKNOWN]


def test_a_function_that_raises_or_returns_no_bool_lets_nothing_through() -> None:
    def broken(signer: str) -> bool:
        raise LookupError("no directory")

    with pytest.raises(LookupError):
        refused(Trust(key_for=broken), signed())
    with pytest.raises(OptionsError, match="key_for returned 'yes'"):
        refused(Trust(key_for=lambda signer: "yes"), signed())


def test_a_function_that_hangs_holds_up_neither_the_loop_nor_others() -> None:
    released = threading.Event()
    calls: list[str] = []

    def key_for(signer: str) -> bool:
        calls.append(signer)
        return signer == STRANGER or released.wait(30)

    async def check() -> None:
        trust = Trust(key_for=key_for)
        hangs, passes = sign(read_intent(), KEY), sign(read_intent(), OTHER)
        waiting = [asyncio.ensure_future(trust.check(codec.encode(hangs), hangs)) for _ in range(64)]
        await asyncio.to_thread(eventually, lambda: len(calls) == 64)
        with pytest.raises(TimeoutError):  # as many threads as there may be
            await asyncio.wait_for(trust.check(codec.encode(passes), passes), 0.1)
        assert calls == [SIGNER] * 64
        released.set()
        assert await asyncio.gather(*waiting) == [None] * 64
        assert await trust.check(codec.encode(passes), passes) is None

    asyncio.run(check())


def test_a_function_of_any_kind_may_be_asked() -> None:
    class Directory:
        def __call__(self, signer: str) -> bool:
            return signer == SIGNER

        async def knows(self, signer: str) -> bool:
            return signer == SIGNER

    class Remote(Directory):
        async def __call__(self, signer: str) -> bool:  # type: ignore[override]
            return signer == SIGNER

    def stops(signer: str) -> bool:
        raise StopIteration

    for key_for in (Directory(), Remote(), Directory().knows, functools.partial(Directory().knows), {SIGNER}.__contains__):
        trust = Trust(key_for=key_for)
        assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [None, ResultCode.SIGNER_UNKNOWN]
    with pytest.raises(RuntimeError, match="key_for raised StopIteration"):
        refused(Trust(key_for=stops), signed())


def test_a_function_may_look_the_key_up() -> None:
    trust = Trust(key_for={SIGNER: SIGNER}.get)
    assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [None, ResultCode.SIGNER_UNKNOWN]


def replace_file(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "trusted-keys"
    path.write_text(f"# executors\n\n{SIGNER}  build server, until 2027\n")
    trust = Trust(keys=path)
    assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [None, ResultCode.SIGNER_UNKNOWN]
    replace_file(path, f"{STRANGER} # new\n")
    assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [ResultCode.SIGNER_UNKNOWN, None]
    for broken in (f"{SIGNER}\nnonsense\n", "", f"{IDENTITY}\n"):
        caplog.clear()
        replace_file(path, broken)
        assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [ResultCode.SIGNER_UNKNOWN, None]
        assert len(caplog.records) == 1, "once for each change"
        assert str(path) in caplog.text
    caplog.clear()
    path.unlink()
    assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [ResultCode.SIGNER_UNKNOWN, None]
    assert "stays in force" in caplog.text
    replace_file(path, SIGNER)
    assert [refused(trust, signed()), refused(trust, signed(OTHER))] == [None, ResultCode.SIGNER_UNKNOWN]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b"", "no public key"),
        (b"# none\n", "no public key"),
        (b"a\n\xff\n", "cannot be read"),
        (b"\nx\n", "line 2"),
    ],
)
def test_a_file_that_is_not_valid_at_the_start(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OptionsError, match=problem) as caught:
        Trust(keys=path)
    assert str(path) in str(caught.value)
