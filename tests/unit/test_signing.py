"""Canonical JSON and signatures: exact bytes, hostile input, and each reason of a refusal."""

from __future__ import annotations

import base64
import doctest
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import json_value, payloads

from smith_sdk import signing
from smith_sdk._core import codec
from smith_sdk._core.canonical_json import unsignable
from smith_sdk.errors import OptionsError, SignatureError, SigningNotInstalled
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, FsWriteV1Intent, FsWriteV1Params
from smith_sdk.protocol._intent import INTENT_CLASSES
from smith_sdk.signing import canonical_json, sign, verify

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
SIGNER = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
STRANGER = bytes(range(32))

READ = FsReadV1Intent.new(
    id="i-1", domain="d", created_at_ns=1, nonce="n", params=FsReadV1Params(path="/x"), metadata={"a": [1.5]}
)


def signed_by_another_service(fields: dict[str, Any], write: Callable[[Any], str] = json.dumps) -> bytes:
    """JSON that no encoder of this SDK would write, signed as the contract requires."""
    whole = {**fields, "signer": SIGNER}
    signature = KEY.sign(canonical_json(write(whole).encode(), without=["signature_b64"]))
    return write({**whole, "signature_b64": base64.b64encode(signature).decode()}).encode()


def refusal(data: bytes, **options: Any) -> tuple[str, str]:
    with pytest.raises(SignatureError) as caught:
        verify(data, **options)
    return caught.value.reason, str(caught.value)


# ---- canonical JSON


@pytest.mark.parametrize(
    ("received", "canonical"),
    [
        (b"{}", b"{}"),
        (b' \r\n\t{ "a" : [ ] , "A":{ } }\n', b'{"A":{},"a":[]}'),
        (b'{"b":{"d":1,"c":[{"f":1,"e":2}]},"a":null}', b'{"a":null,"b":{"c":[{"e":2,"f":1}],"d":1}}'),
        (b'{"t":true,"f":false,"n":null}', b'{"f":false,"n":null,"t":true}'),
        # Numbers as serde_json writes them again: integers of 64 bits, and shortest floats.
        (b'{"a":[1e16,1E+2,1e2,1.0,1.50,-0,-0.0,0.10]}', b'{"a":[1e+16,100.0,100.0,1.0,1.5,-0.0,-0.0,0.1]}'),
        (b'{"a":-0}', b'{"a":-0.0}'),
        (b'{"a":[0, -0 ]}', b'{"a":[0,-0.0]}'),
        (b'{"a":[18446744073709551615,-9223372036854775808]}', b'{"a":[18446744073709551615,-9223372036854775808]}'),
        (b'{"a":[18446744073709551616,-9223372036854775809]}', b'{"a":[1.8446744073709552e+19,-9.223372036854776e+18]}'),
        (b'{"a":1%s}' % (b"0" * 308), b'{"a":1e+308}'),
        (
            b'{"a":[1e-400,1e-5,0.000001,1e15,9999999999999998.0]}',
            b'{"a":[0.0,0.00001,1e-6,1000000000000000.0,9999999999999998.0]}',
        ),
        (b'{"a":3.14159265358979323846264338327950288}', b'{"a":3.141592653589793}'),
        (b'{"a":{"b":1e17,"a":"5e3, 1.50"},"A":1.50}', b'{"A":1.5,"a":{"a":"5e3, 1.50","b":1e+17}}'),
        # Strings: what must be escaped is, in the short form where there is one, and nothing else.
        (rb'{"a":"\u0022\u005c\/\b\t\n\f\r\u0008\u0000\u001F"}', rb'{"a":"\"\\/\b\t\n\f\r\b\u0000\u001f"}'),
        (rb'{"\u0061":"\u00e9\u2028\ud83d\ude00\u007f"}', '{"a":"é\u2028😀\x7f"}'.encode()),
        ('{"a":"é\u2028😀\x7f"}'.encode(), '{"a":"é\u2028😀\x7f"}'.encode()),
        # Code points, not UTF-16 units: U+FFFD stands before U+1F600, whose first unit is D83D.
        ('{"😀":1,"\ufffd":2,"é":3,"z":4,"":5}'.encode(), '{"":5,"z":4,"é":3,"\ufffd":2,"😀":1}'.encode()),
    ],
)
def test_the_canonical_form(received: bytes, canonical: bytes) -> None:
    assert canonical_json(received) == canonical
    assert canonical_json(canonical) == canonical


def test_keys_are_left_out_of_the_outermost_object_only() -> None:
    assert canonical_json(b'{"b":{"a":1},"a":2,"c":3}', without=("a", "c", "none")) == b'{"b":{"a":1}}'
    assert canonical_json(rb'{"\u0061":1}', without={"a"}) == b"{}"
    with pytest.raises(SignatureError, match="surrogate"):
        canonical_json(rb'{"a":"\ud800","b":1}', without={"a"})


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


HOSTILE = {
    b'{"a":1,"a":1}': "the key 'a' is repeated",
    rb'{"a":1,"\u0061":2}': "the key 'a' is repeated",
    b'{"b":[{"a":{"c":1,"d":1,"c":null}}]}': "the key 'c' is repeated",
    b'{"a":NaN}': "NaN is not a JSON number",
    b'{"a":[Infinity]}': "Infinity is not a JSON number",
    b'{"a":-Infinity}': "-Infinity is not a JSON number",
    b'{"a":1e999}': "the number 1e999 is out of range",
    b'{"a":[-1E400]}': "the number -1E400 is out of range",
    b'{"a":1%s}' % (b"0" * 309): "the number 1000",
    b'{"a":%s}' % (b"9" * 5000): "out of range",
    rb'{"a":"\ud800"}': "surrogate",
    rb'{"\udc00":1}': "surrogate",
    rb'{"a":["\ude00\ud83d"]}': "surrogate",
    b'{"a":"\xed\xa0\x80"}': "not UTF-8 at byte 6",
    b'{"a":"\xff"}': "not UTF-8 at byte 6",
    b'\xef\xbb\xbf{"a":1}': "byte order mark",
    '{"a":1}'.encode("utf-16"): "not UTF-8 at byte 0",
    b"": "no canonical JSON",
    b'{"a":1': "no canonical JSON",
    b'{"a":1}}': "no canonical JSON",
    b'{"a":1}\x00': "no canonical JSON",
    b'{"a":01}': "no canonical JSON",
    b'{"a":.5}': "no canonical JSON",
    b'{"a":1,}': "no canonical JSON",
    b"{'a':1}": "no canonical JSON",
    b'{"a":"\n"}': "no canonical JSON",
    '{"a":\uff11}'.encode(): "no canonical JSON",
    b"[]": "the outermost value is not an object",
    b'"a"': "the outermost value is not an object",
    b"1": "the outermost value is not an object",
    b"null": "the outermost value is not an object",
    nested(128): "more than 127 levels",
    nested(200_000): "more than 127 levels",
    b'{"a":' * 200_000: "more than 127 levels",
}


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: repr(data[:40]))
def test_input_without_a_canonical_form(data: bytes) -> None:
    with pytest.raises(SignatureError, match=HOSTILE[data]) as caught:
        canonical_json(data)
    assert caught.value.reason == "not_canonical"
    assert len(str(caught.value)) < 200
    with pytest.raises(SignatureError):
        verify(data)


def test_levels_are_counted() -> None:
    assert canonical_json(nested(127)) == nested(127)
    flat = b'{"a":[' + b"[[]],{}," * 500 + b"1]}"
    assert canonical_json(flat) == flat


def test_a_nearly_full_stack_raises_no_other_error() -> None:
    def below(frames: int, free: int) -> bytes:
        return canonical_json(nested(127)) if frames <= free else below(frames - 1, free)

    frame, used = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        used += 1
    outcomes: list[object] = []
    for free in range(60, 300, 20):
        try:
            outcomes.append(below(sys.getrecursionlimit() - used, free) == nested(127))
        except SignatureError as error:
            outcomes.append("127 levels" in str(error) and error.reason)
    # since Python 3.12 functions in C have a stack of their own
    assert set(outcomes) == ({True} if sys.version_info >= (3, 12) else {"not_canonical", True})


objects = st.dictionaries(st.text(max_size=5), json_value, max_size=5)


def number(value: float) -> str:
    """As serde_json writes it, from the digits that Python finds."""
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return str(value)
        value = float(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    assert isinstance(exponent, int)
    point = len(digits) + exponent if value else 1  # where it stands, from the first digit
    minus = "-" * sign
    if 0 < point <= 16:
        whole = text[:point].ljust(point, "0")
        return f"{minus}{whole}.{text[point:] or '0'}"
    if -5 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    return f"{minus}{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1:+d}"


def crate(value: Any) -> str:
    match value:
        case dict():
            return f"{{{','.join(f'{crate(key)}:{crate(value[key])}' for key in sorted(value))}}}"
        case list():
            return f"[{','.join(map(crate, value))}]"
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
    return number(value)


@given(objects)
def test_the_canonical_form_of_anything(value: dict[str, Any]) -> None:
    assert canonical_json(json.dumps(value, indent=3).encode()) == crate(value).encode()


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**90), 2**90))
def test_the_canonical_form_of_a_number(value: float) -> None:
    assert canonical_json(b'{"a":%s}' % json.dumps(value).encode()) == f'{{"a":{number(value)}}}'.encode()


# Faster than st.randoms, which draws every number of its own from the example.
seeded = st.integers(0, 2**32).map(random.Random)


def scrawl(value: Any, chance: random.Random) -> str:
    """`value` as JSON in another order, with needless white space and escapes.

    Numbers are as `json.dumps` writes them.
    """

    def space() -> str:
        return "".join(chance.choices(" \t\r\n", k=chance.randrange(3)))

    def letter(one: str) -> str:
        return f"\\u{ord(one):04X}" if ord(one) < 0x10000 and chance.random() < 0.3 else json.dumps(one)[1:-1]

    def text(value: str) -> str:
        return f'"{"".join(map(letter, value))}"'

    match value:
        case dict():
            members = [f"{space()}{text(key)}{space()}:{space()}{scrawl(item, chance)}{space()}" for key, item in value.items()]
            chance.shuffle(members)
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(space() + scrawl(item, chance) + space() for item in value)}]"
        case str():
            return text(value)
    return json.dumps(value)


@given(objects, seeded)
def test_order_white_space_and_escapes_do_not_matter(value: dict[str, Any], chance: random.Random) -> None:
    assert canonical_json(scrawl(value, chance).encode()) == canonical_json(json.dumps(value).encode())


@given(st.binary(max_size=40) | st.text('{}[]":,\\u0d8ae1.-+ \n', max_size=30).map(str.encode))
def test_of_any_bytes_there_is_a_canonical_form_or_an_error_of_ours(data: bytes) -> None:
    try:
        canonical = canonical_json(data)
    except SignatureError:
        return
    assert canonical_json(canonical) == canonical
    assert crate(json.loads(canonical)) == crate(json.loads(data, parse_int=lambda text: -0.0 if text == "-0" else int(text)))


# ---- exact bytes

RFC_8032 = [
    (
        SEED.hex(),
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
"""Tests 1 to 3 of RFC 8032, section 7.1: seed, public key, message, signature."""


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_keys_and_signatures_are_those_of_the_rfc(seed: str, public: str, message: str, signature: str) -> None:
    assert base64.b64decode(sign(READ, bytes.fromhex(seed)).signer).hex() == public
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).sign(bytes.fromhex(message)).hex() == signature


VECTOR = FsWriteV1Intent(
    id="0194b7a0-5c00-7000-8000-000000000001",  # type: ignore[arg-type]
    domain="default",  # type: ignore[arg-type]
    created_at_ns=1738324800123456789,
    ttl_ms=300000,
    nonce="2d9e2c1a-7e0e-4c6e-9d55-0f3a7b1c8e42",
    metadata={"z": None, "größe": 1e15, "a": [True, -0.5, 2**64 - 1], "quote": 'a "b" \\ / \n \x00 \u2028 😀'},
    params=FsWriteV1Params(path="/tmp/ä", content="line\tone", append=False),
)
CANONICAL = (
    '{"capability":"fs.write.v1","created_at_ns":1738324800123456789,"domain":"default",'
    '"id":"0194b7a0-5c00-7000-8000-000000000001",'
    '"metadata":{"a":[true,-0.5,18446744073709551615],"größe":1000000000000000.0,'
    '"quote":"a \\"b\\" \\\\ / \\n \\u0000 \u2028 😀","z":null},'
    '"nonce":"2d9e2c1a-7e0e-4c6e-9d55-0f3a7b1c8e42",'
    '"params":{"append":false,"content":"line\\tone","create":null,"path":"/tmp/ä"},'
    f'"signer":"{SIGNER}","ttl_ms":300000}}'
).encode()
SIGNATURE = "wJ0ciqGBtMni4zkucMjOGu7Iy4CLg4slaE9yIbvsWMhhRPSZNQqho70pSabnAsqKzLigzrQ4v+dzNb7DrnI5AA=="


def test_one_intent_to_the_letter() -> None:
    signed = sign(VECTOR, SEED)
    assert canonical_json(codec.encode(signed), without={"signature_b64"}) == CANONICAL
    assert (signed.signer, signed.signature_b64) == (SIGNER, SIGNATURE)
    assert base64.b64decode(SIGNATURE) == KEY.sign(CANONICAL)
    assert verify(codec.encode(signed), trusted={SIGNER}) == SIGNER


# ---- sign


def test_signing_makes_a_copy_and_changes_nothing_else() -> None:
    signed = sign(READ, KEY)
    assert type(signed) is FsReadV1Intent
    assert (READ.signer, READ.signature_b64) == ("", "")
    assert msgspec.structs.replace(signed, signer="", signature_b64="") == READ
    assert signed == sign(READ, SEED) == sign(signed, SEED)
    other = sign(signed, STRANGER)
    assert other.signer != signed.signer
    assert verify(codec.encode(other)) == other.signer


@pytest.mark.parametrize("key", [b"", SEED[:31], SEED + b"\0", SEED.hex(), bytearray(SEED), None, KEY.public_key()])
def test_a_key_of_another_kind_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises(OptionsError, match=r"sign\(key=...\)") as caught:
        sign(READ, key)
    shown = f"{caught.value}{caught.value!r}"
    assert not any(form in shown for form in (SEED.hex(), repr(SEED), base64.b64encode(SEED).decode(), SEED.hex()[:16]))


def test_no_error_shows_the_key() -> None:
    assert repr(SEED)[2:-1] not in repr(sign(READ, SEED))
    assert base64.b64encode(SEED).decode() not in repr(sign(READ, SEED))


class OwnFloat(float):
    """As libraries for numbers have them."""


class OwnInt(int):
    pass


ENDLESS: dict[str, Any] = {}
ENDLESS["a"] = ENDLESS


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({1: "a", "1": "b"}, "metadata: the key 1 is not a str but int"),
        ({"a": {2: 1}}, "metadata.a: the key 2"),
        ({"deep": json.loads(nested(127))}, "127 levels"),
        (ENDLESS, "contains itself"),
        ({"a": [1, float("nan")]}, "metadata.a[1]: nan is not a number"),
        ({"a": float("-inf")}, "metadata.a: -inf is not a number"),
        ({"a": 1e16}, "metadata.a: a float of 1e16 or more (1e+16)"),
        ({"a": -2e300}, "metadata.a: a float of 1e16 or more"),
        ({"a": 2**64}, "metadata.a: an integer beyond 64 bits"),
        ({"a": -(2**63) - 1}, "metadata.a: an integer beyond 64 bits"),
        ({"a": 10**400}, "metadata.a: an integer beyond 64 bits"),
        ({"a": "\ud800"}, "metadata.a: half of a surrogate pair"),
        ({"\udfff": 1}, "metadata: a key is not valid: half of a surrogate pair"),
        ({"a": b"x"}, "metadata.a: JSON has no bytes"),
        ({"a": {"b": object()}}, "metadata.a.b: JSON has no object"),
        ({"a": {1, 2}}, "metadata.a: JSON has no set"),
        ({"a": datetime.now(UTC)}, "metadata.a: JSON has no datetime"),
        ({"a": Decimal(1)}, "metadata.a: JSON has no Decimal"),
        ({"a": [OwnFloat(1.5)]}, "metadata.a[0]: "),
        ({"a": OwnInt(7)}, "metadata.a: "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_readers_would_read_or_write_as_another_value_is_not_signed(metadata: Any, problem: str) -> None:
    with pytest.raises(SignatureError) as caught:
        sign(msgspec.structs.replace(READ, metadata=metadata), SEED)
    assert caught.value.reason == "not_canonical"
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300


def test_arguments_of_another_kind() -> None:
    for call in (
        lambda: sign("x", SEED),  # type: ignore[type-var]
        lambda: sign(READ.params, SEED),  # type: ignore[type-var]
        lambda: verify(RECEIVED.decode()),  # type: ignore[arg-type]
        lambda: verify(memoryview(RECEIVED)),  # type: ignore[arg-type]
        lambda: verify(RECEIVED, trusted=iter([SIGNER])),  # type: ignore[arg-type]
        lambda: verify(RECEIVED, trusted=7),  # type: ignore[arg-type]
        lambda: canonical_json("{}"),  # type: ignore[arg-type]
    ):
        with pytest.raises(OptionsError):
            call()
    assert verify(bytearray(RECEIVED)) == SIGNER  # type: ignore[arg-type]


def test_a_field_of_another_type_is_not_signed() -> None:
    with pytest.raises(SignatureError, match="ttl_ms: expected int, got str"):
        sign(msgspec.structs.replace(READ, ttl_ms="x"), SEED)


@pytest.mark.parametrize(
    "value", [0, -0.0, 1.5, 9999999999999998.0, 1e15, 5e-324, 2**64 - 1, -(2**63), (1, [True, None]), "é\u2028\x7f"]
)
def test_what_all_readers_write_alike_is_signed(value: Any) -> None:
    assert verify(codec.encode(sign(msgspec.structs.replace(READ, metadata={"a": value}), SEED))) == SIGNER


# ---- keys that prove nothing


P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def added(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    """The sum of two points of the curve (RFC 8032, 5.1.4, in affine coordinates)."""
    (x1, y1), (x2, y2) = one, two
    k = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def small_points() -> set[tuple[int, int]]:
    """The eight points whose order divides 8, from one of order 8."""
    y = int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little")
    root = pow((y * y - 1) * pow(D * y * y + 1, -1, P), (P + 3) // 8, P)
    x = next(one for one in (root, root * pow(2, (P - 1) // 4, P) % P) if (one * one * (D * y * y + 1) - (y * y - 1)) % P == 0)
    found, point = set(), (0, 1)
    for _ in range(8):
        found.add(point)
        point = added(point, (x, y))
    return found


def test_small_order_keys_are_refused_with_and_without_trusted_keys() -> None:
    points = small_points()
    assert len(points) == 8
    assert (0, 1) in points
    encodings = {(y | (x & 1) << 255).to_bytes(32, "little") for x, y in points}
    # the same y coordinates not reduced, and the other sign of x = 0
    encodings |= {((y + P) | sign_ << 255).to_bytes(32, "little") for _, y in points if y + P < 2**255 for sign_ in (0, 1)}
    encodings |= {(y | 1 << 255).to_bytes(32, "little") for x, y in points if x == 0}
    assert len(encodings) == 14
    for public in encodings:
        key = base64.b64encode(public).decode()
        for signature in (bytes(64), (1).to_bytes(32, "little") + bytes(32), public + bytes(32)):
            forged = {**json.loads(RECEIVED), "signer": key, "signature_b64": base64.b64encode(signature).decode()}
            for trusted in (None, {key}):
                reason, message = refusal(json.dumps(forged).encode(), trusted=trusted)
                assert reason == "malformed"
                assert "is not a key to trust" in message


def test_a_key_that_is_not_reduced_is_refused() -> None:
    for y in range(19):
        key = base64.b64encode((P + y).to_bytes(32, "little")).decode()
        message = {**json.loads(RECEIVED), "signer": key}
        assert "not reduced" in refusal(json.dumps(message).encode())[1]


# ---- verify


@pytest.mark.parametrize("cls", INTENT_CLASSES.values(), ids=lambda cls: cls.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_a_signed_intent_verifies_after_encoding(cls: Any, data: st.DataObject) -> None:
    intent = data.draw(payloads(cls))
    if unsignable(intent) is not None:
        with pytest.raises(SignatureError, match=r"cannot be signed: \w+.*: (a float of 1e16|an integer beyond)"):
            sign(intent, KEY)
        return
    signed = sign(intent, KEY)
    assert type(signed) is cls
    received = codec.encode(signed)
    assert verify(received) == verify(received, trusted=[SIGNER]) == SIGNER
    # Between services of this SDK, which know the same fields, decoding and encoding does no harm.
    assert verify(codec.encode(codec.decode(cls, received, "s"))) == SIGNER
    unsigned = codec.encode(msgspec.structs.replace(signed, signature_b64=""))
    assert canonical_json(received, without={"signature_b64"}) == canonical_json(unsigned, without={"signature_b64"})


def test_a_key_that_holds_a_line_feed_is_named_on_one_line() -> None:
    intent = msgspec.structs.replace(READ, metadata={"a\nb": 1e16})
    with pytest.raises(SignatureError, match=r"cannot be signed: metadata\.a\\nb: a float of 1e16"):
        sign(intent, KEY)


RECEIVED = codec.encode(sign(READ, KEY))


def same(one: bytes, other: bytes) -> bool:
    return bool(json.loads(one) == json.loads(other)) and canonical_json(one) == canonical_json(other)


def test_no_bit_can_be_flipped() -> None:
    let_through = []
    for place, bit in itertools.product(range(len(RECEIVED)), range(8)):
        changed = bytearray(RECEIVED)
        changed[place] ^= 1 << bit
        try:
            verify(bytes(changed))
        except SignatureError:
            continue
        let_through.append(bytes(changed))
    assert let_through == []


@settings(max_examples=400)
@given(
    st.integers(0, len(RECEIVED)), st.integers(0, 3), st.binary(max_size=3) | st.sampled_from([b" ", b"\n", b'"', b"0", b"e0"])
)
def test_no_edit_that_changes_the_value_goes_through(place: int, cut: int, put: bytes) -> None:
    changed = RECEIVED[:place] + put + RECEIVED[place + cut :]
    try:
        verify(changed)
    except SignatureError:
        assert changed != RECEIVED
    else:
        assert same(changed, RECEIVED)


@given(seeded)
def test_other_order_and_white_space_go_through(chance: random.Random) -> None:
    assert verify(scrawl(json.loads(RECEIVED), chance).encode()) == SIGNER


@given(st.text(max_size=8), json_value, st.sampled_from([(), ("params",), ("metadata",)]))
def test_a_field_that_was_added_is_covered(name: str, value: Any, where: tuple[str, ...]) -> None:
    message = json.loads(RECEIVED)
    place = message
    for key in where:
        place = place[key]
    if name in place:
        return
    place[name] = value
    assert refusal(json.dumps(message).encode())[0] == "wrong"


@pytest.mark.parametrize("member", [rb'"x":"\ud800"', b'"x":' + nested(127), b'"x":1,"x":1', b'"x":NaN'])
def test_a_signed_message_with_something_that_has_no_canonical_form(member: bytes) -> None:
    assert refusal(RECEIVED[:-1] + b"," + member + b"}")[0] == "not_canonical"


@pytest.mark.parametrize("name", [name for name in json.loads(RECEIVED) if name not in ("signer", "signature_b64")])
def test_a_field_that_was_removed_or_emptied_is_covered(name: str) -> None:
    message = json.loads(RECEIVED)
    for changed in ({key: value for key, value in message.items() if key != name}, {**message, name: None}):
        assert refusal(json.dumps(changed).encode())[0] == "wrong"


def test_a_message_with_an_unknown_field_must_not_be_decoded_and_encoded_again() -> None:
    fields = {**json.loads(codec.encode(READ)), "priority": 7}
    received = signed_by_another_service(fields)
    assert verify(received, trusted={SIGNER}) == SIGNER
    again = codec.encode(codec.decode(FsReadV1Intent, received, "smith.intents.raw.fs.read.v1"))
    reason, message = refusal(again, trusted={SIGNER})
    assert (reason, "encoded again" in message) == ("wrong", True)


def test_a_message_with_absent_fields_must_not_be_decoded_and_encoded_again() -> None:
    fields = {**json.loads(codec.encode(READ)), "params": {"path": "/x"}}
    received = signed_by_another_service(fields)
    assert verify(received) == SIGNER
    assert refusal(codec.encode(codec.decode(FsReadV1Intent, received, "s")))[0] == "wrong"


def test_any_object_that_is_signed_alike() -> None:
    assert verify(signed_by_another_service({})) == SIGNER
    assert (
        verify(signed_by_another_service({"event": "x", "data": [1, {"signer": "other"}]}, lambda v: json.dumps(v, indent=1)))
        == SIGNER
    )


@pytest.mark.parametrize("field", ["signer", "signature_b64"])
def test_not_signed(field: str) -> None:
    message = json.loads(RECEIVED)
    for empty, word in (("", "empty"), (None, "absent")):
        assert refusal(json.dumps({**message, field: empty}).encode()) == (
            "unsigned",
            f"the message is not signed: its {field} is {word}",
        )
    del message[field]
    assert refusal(json.dumps(message).encode()) == ("unsigned", f"the message is not signed: its {field} is absent")
    assert refusal(codec.encode(READ))[0] == refusal(b"{}")[0] == "unsigned"


@pytest.mark.parametrize("field", ["signer", "signature_b64"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:20] + "\n" + text[20:],
        lambda text: text.rstrip("="),
        lambda text: text + "=",
        lambda text: text[4:],
        lambda text: "AAAA" + text,
        lambda text: "-_" + text[2:],
        lambda text: "é" + text[1:],
        lambda text: "\x00" + text[1:],
        lambda text: base64.b64decode(text).hex(),
        lambda text: [text],
        lambda text: {"a": text},
        lambda text: 7,
        lambda text: False,
    ],
)
def test_malformed(field: str, change: Callable[[str], Any]) -> None:
    message = json.loads(RECEIVED)
    reason, said = refusal(json.dumps({**message, field: change(message[field])}).encode())
    assert reason == "malformed"
    assert f"{field} is not base64 of {32 if field == 'signer' else 64} bytes" in said


@pytest.mark.parametrize("field", ["signer", "signature_b64"])
def test_one_text_per_value(field: str) -> None:
    """The last character before the padding has spare bits, which decoders ignore."""
    message = json.loads(RECEIVED)
    text = message[field].rstrip("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = text[:-1] + alphabet[alphabet.index(text[-1]) + 1] + "=" * (len(message[field]) - len(text))
    assert base64.b64decode(twin) == base64.b64decode(message[field])
    assert refusal(json.dumps({**message, field: twin}).encode())[0] == "malformed"


def test_a_signature_has_no_twin() -> None:
    """s and s + L are the same to the curve; RFC 8032 takes the first only."""
    order = 2**252 + 27742317777372353535851937790883648493
    message = json.loads(RECEIVED)
    raw = base64.b64decode(message["signature_b64"])
    twin = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    assert refusal(json.dumps({**message, "signature_b64": base64.b64encode(twin).decode()}).encode())[0] == "wrong"


def test_trusted_keys() -> None:
    stranger = sign(READ, STRANGER).signer
    assert verify(RECEIVED, trusted={stranger, SIGNER}) == verify(RECEIVED, trusted=(SIGNER,)) == SIGNER
    for trusted in (set(), {stranger}, {SIGNER + "\n"}, [stranger]):
        reason, message = refusal(RECEIVED, trusted=trusted)
        assert (reason, SIGNER in message, f"{len(trusted)} trusted" in message) == ("untrusted", True, True)
        assert ("the set is empty" in message) == (not trusted)
    # A str is a collection of str as well, and a key a part of many.
    for one in (SIGNER, SIGNER.encode()):
        with pytest.raises(OptionsError, match=f"not one {type(one).__name__}"):
            verify(RECEIVED, trusted=one)  # type: ignore[arg-type]


def test_a_trusted_name_on_the_work_of_another() -> None:
    forged = msgspec.structs.replace(sign(READ, STRANGER), signer=SIGNER)
    reason, message = refusal(codec.encode(forged), trusted={SIGNER})
    assert (reason, "signed with another key" in message) == ("wrong", True)


@given(st.binary(max_size=60) | objects.map(lambda value: json.dumps({**json.loads(RECEIVED), **value}).encode()))
def test_whatever_comes_is_verified_or_an_error_of_ours(data: bytes) -> None:
    try:
        verify(data)
    except SignatureError:
        return
    assert same(data, RECEIVED)


# ---- the extra


def test_without_cryptography_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ed25519", None)
    signing._verifier.cache_clear()
    calls: list[Callable[[], Any]] = [lambda: sign(READ, SEED), lambda: verify(RECEIVED)]
    for call in calls:
        with pytest.raises(SigningNotInstalled, match=r"pip install 'smith-sdk\[signing\]'"):
            call()
    assert canonical_json(b'{"b":1,"a":2}') == b'{"a":2,"b":1}'


def test_cryptography_is_imported_when_it_is_needed() -> None:
    script = (
        "import sys, smith_sdk, smith_sdk.signing as s; s.canonical_json(b'{}'); "
        "print([name for name in sys.modules if name.partition('.')[0] == 'cryptography'])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_example_of_the_docstring() -> None:
    tried = doctest.testmod(signing)
    assert (tried.failed, tried.attempted > 4) == (0, True)
