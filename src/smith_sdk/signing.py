"""Ed25519 signatures (RFC 8032) over canonical JSON: `sign` an intent, `verify` a received message.

Both are pure functions, the same for both faces. A signature covers every field of the message but
`signature_b64`, also fields that this SDK does not know. It is therefore verified over the bytes as
received (`message.raw`), never over a payload that was encoded again: decoding drops unknown
fields, encoding adds nulls. A program that passes a signed message on passes on those bytes, as
`Admission` does with an intent that it allows. An intent that a policy transformed is another
message; the old signature does not match it.

    >>> import msgspec
    >>> from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params
    >>> from smith_sdk.signing import sign, verify
    >>> seed = bytes(range(32))  # in production: 32 secret random bytes, or an Ed25519PrivateKey
    >>> params = FsReadV1Params(path="/etc/hostname")
    >>> intent = sign(FsReadV1Intent.new(domain="default", params=params), seed)
    >>> intent.signer
    'A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg='
    >>> received = msgspec.json.encode(intent)  # an executor has message.raw
    >>> verify(received, trusted={intent.signer})
    'A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg='

A valid signature proves who wrote the message, not when. Admission checks whether it has expired,
and a repeated message is recognised by its id.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import msgspec

from ._core import codec
from ._core.public_keys import is_on_curve, weakness
from .errors import OptionsError, SignatureError, SigningNotInstalled
from .protocol._messages import OneIntentT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["canonical_json", "sign", "verify"]

MAX_DEPTH: Final = 127
"""Levels of nested objects and arrays: the recursion limit of serde_json (128), exclusive, so that
readers in Rust can read what is signed here."""

_SIGNATURE: Final = "signature_b64"
_SIGNER: Final = "signer"
_KEY_BYTES: Final = 32  # of a public key, and of the seed that is the private one
_SIGNATURE_BYTES: Final = 64


def canonical_json(data: bytes, *, without: Collection[str] = ()) -> bytes:
    """The canonical form (bytes) of the JSON object in `data`: what signatures are made over.

    Keys are sorted by code point at every level, and there is no white space. Strings are UTF-8;
    only the characters that must be are escaped: quote, backslash, and controls as
    `\\b \\t \\n \\f \\r` or `\\u001f`. Numbers stay as written, so that none loses digits. Nulls
    and unknown fields stay. `without` has keys of the outermost object to leave out.

    Raises `SignatureError` with reason "not_canonical" for JSON that two readers could understand
    differently, or not at all: a repeated key in one object, NaN and Infinity, half of a surrogate
    pair, a byte order mark, more than 127 levels; and for bytes that are not UTF-8, not JSON or not
    an object.
    """
    return _canonical(_parse(data), without)


def sign(intent: OneIntentT, key: Ed25519PrivateKey | bytes) -> OneIntentT:
    """A signed copy of `intent`, with the public key as `signer`, and with `signature_b64`.

    `key` is an `Ed25519PrivateKey` of the cryptography package, or its seed of 32 bytes. An older
    signature is replaced. Sign last: a copy with any other field changed needs a new signature.

    Raises `OptionsError` for any other key, `SignatureError` if the intent's metadata has no
    canonical JSON, and `SigningNotInstalled`.
    """
    private = _private_key(key)
    signer = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    unsigned = msgspec.structs.replace(intent, signer=signer, signature_b64="")
    signature = private.sign(canonical_json(codec.encode(unsigned), without={_SIGNATURE}))
    return msgspec.structs.replace(unsigned, signature_b64=base64.b64encode(signature).decode())


def verify(data: bytes, *, trusted: Collection[str] | None = None) -> str:
    """Check the signature of `data`, the bytes of a message as received, and return its signer.

    The signer is a public key in base64 (str), as in the message. `trusted` has the keys to accept,
    in the same form, best in a set. With None every key is accepted, and the caller decides about
    the one returned. `data` may be any JSON object with `signer` and `signature_b64`.

    Raises `SignatureError`, whose `reason` says what is wrong, `OptionsError` if `trusted` is one
    str, and `SigningNotInstalled`.
    """
    if isinstance(trusted, (str, bytes)):
        raise OptionsError(
            f"verify(trusted=...) takes a set of public keys, not one {type(trusted).__name__}: write trusted={{key}}"
        )
    found = _parse(data)
    signer, public = _decoded(found, _SIGNER, _KEY_BYTES)
    if (why := weakness(public)) is not None:
        _refuse("malformed", f"the message's signer {signer} is not a key to trust: {why}")
    _, signature = _decoded(found, _SIGNATURE, _SIGNATURE_BYTES)
    if trusted is not None and signer not in trusted:
        _refuse("untrusted", f"the signer {signer} is not one of the {len(trusted)} trusted keys (base64, compared as text)")
    if not _fits(public, signature, _canonical(found, {_SIGNATURE})):
        _refuse(
            "wrong",
            f"the signature of {signer} does not match this message: the message was changed after it was signed, encoded "
            f"again instead of passed on as received, or signed with another key",
        )
    return signer


def require_installed() -> None:
    """Raise `SigningNotInstalled` if the extra `signing` is missing."""
    with _installed():
        import cryptography  # noqa: F401


def require_public_key(key: object) -> str:
    """`key`. Raises `SignatureError` unless it is a public key in base64 that can be trusted."""
    _, public = _decoded({_SIGNER: key}, _SIGNER, _KEY_BYTES, what=f"{str(key)[:60]!r}")
    why = weakness(public) or (None if is_on_curve(public) else "it is not a point of the curve")
    if why is not None:
        _refuse("malformed", f"{key!r} is not a public key to trust: {why}")
    return str(key)


def _refuse(reason: Literal["unsigned", "malformed", "untrusted", "wrong", "not_canonical"], message: str) -> NoReturn:
    raise SignatureError(message, reason=reason) from None


def _decoded(found: dict[str, Any], field: str, size: int, *, what: str = "") -> tuple[str, bytes]:
    """The base64 text of `field`, and its `size` bytes."""
    what = what or f"the message's {field}"
    text = found.get(field)
    if text is None or text == "":
        _refuse("unsigned", f"the message is not signed: its {field} is {'absent' if text is None else 'empty'}")
    try:
        raw = base64.b64decode(text, validate=True) if type(text) is str else b""
    except ValueError:
        raw = b""
    # The text is compared, too: a decoder ignores spare bits of the last character.
    if len(raw) != size or base64.b64encode(raw).decode() != text:
        _refuse("malformed", f"{what} is not base64 of {size} bytes")
    return text, raw


# ---- JSON


class _Number(str):
    """A number, as written."""

    __slots__ = ()


def _parse(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`, with numbers as `_Number`."""
    try:
        found = _decoder.decode(data.decode())
    except UnicodeDecodeError as error:
        _refuse("not_canonical", f"no canonical JSON: not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        mark = " (a byte order mark)" if data.startswith(b"\xef\xbb\xbf") else ""
        _refuse("not_canonical", f"no canonical JSON: {error}{mark}")
    except RecursionError:
        _refuse_depth()
    if not isinstance(found, dict):
        _refuse("not_canonical", "no canonical JSON: the outermost value is not an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            _refuse("not_canonical", f"no canonical JSON: the key {key[:60]!r} is repeated in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    _refuse("not_canonical", f"no canonical JSON: {name} is not a JSON number")


def _refuse_depth() -> NoReturn:
    _refuse("not_canonical", f"no canonical JSON: more than {MAX_DEPTH} levels of objects and arrays")


_decoder: Final = json.JSONDecoder(
    parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant, object_pairs_hook=_unique
)
_plain: Final = json.JSONEncoder(ensure_ascii=False).encode  # for str, True, False and None


def _canonical(found: dict[str, Any], without: Collection[str]) -> bytes:
    try:
        # Written before it is left out, since it must be canonical, too.
        members = {key: f"{_plain(key)}:{_written(found[key], MAX_DEPTH - 1)}".encode() for key in sorted(found)}
    except UnicodeEncodeError:
        _refuse("not_canonical", "no canonical JSON: half of a surrogate pair in a string")
    except RecursionError:
        _refuse_depth()
    return b"{" + b",".join(member for key, member in members.items() if key not in without) + b"}"


def _written(value: object, levels: int) -> str:
    if isinstance(value, _Number):
        return value
    if not isinstance(value, dict | list):
        return _plain(value)
    if levels == 0:
        _refuse_depth()
    if isinstance(value, list):
        return f"[{','.join([_written(item, levels - 1) for item in value])}]"
    return f"{{{','.join([f'{_plain(key)}:{_written(value[key], levels - 1)}' for key in sorted(value)])}}}"


# ---- cryptography (the extra `signing`)


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError:
        raise SigningNotInstalled("the cryptography package is not installed: `pip install 'smith-sdk[signing]'`") from None


def _private_key(key: Ed25519PrivateKey | bytes) -> Ed25519PrivateKey:
    with _installed():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(key, Ed25519PrivateKey):
        return key
    if not isinstance(key, bytes):
        raise OptionsError(f"sign(key=...) takes an Ed25519PrivateKey or its seed as bytes, not {type(key).__name__}")
    if len(key) != _KEY_BYTES:
        raise OptionsError(f"sign(key=...): the seed of an Ed25519 key has {_KEY_BYTES} bytes, this has {len(key)}")
    return Ed25519PrivateKey.from_private_bytes(key)


def _fits(public: bytes, signature: bytes, message: bytes) -> bool:
    with _installed():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
