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
and with a `smith_sdk.Trust` lets each signer and nonce through once.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import msgspec

from ._core import codec
from ._core.canonical_json import Document, refuse, unsignable
from ._core.foreign_text import escape_control
from ._core.public_keys import is_on_curve, weakness
from .errors import OptionsError, SignatureError, SigningNotInstalled
from .protocol._intent import OneIntentT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["canonical_json", "generate_key", "load_key", "public_key", "sign", "verify"]

_SIGNATURE: Final = "signature_b64"
_SIGNER: Final = "signer"
_KEY_BYTES: Final = 32  # of a public key, and of the seed that is the private one
_SIGNATURE_BYTES: Final = 64


def canonical_json(data: bytes, *, without: Collection[str] = ()) -> bytes:
    """The canonical form (bytes) of the JSON object in `data`: what signatures are made over.

    Keys are sorted by code point at every level, and there is no white space. Strings are UTF-8;
    only the characters that must be are escaped: quote, backslash, and controls as
    `\\b \\t \\n \\f \\r` or `\\u001f`. Numbers are as smith-protocol writes them again: integers of
    64 bits stay, others become floats; floats have the fewest digits that read the same, such as
    1.5 for 1.50, 100.0 for 1e2 and 1e+16. Nulls and unknown fields stay. `without` has keys of the
    outermost object to leave out.

    Raises `SignatureError` with reason "not_canonical" for JSON that two readers could understand
    differently, or not at all: a repeated key in one object, NaN and Infinity, half of a surrogate
    pair, a byte order mark, more than 127 levels, a number that is out of range; and for bytes that
    are not UTF-8, not JSON or not an object.
    """
    _require_bytes("canonical_json", data)
    return Document(data).canonical(without)


def sign(intent: OneIntentT, key: Ed25519PrivateKey | bytes) -> OneIntentT:
    """A signed copy of `intent`, with the public key as `signer`, and with `signature_b64`.

    `key` is an `Ed25519PrivateKey` of the cryptography package, or its seed of 32 bytes. An older
    signature is replaced. Sign last: a copy with any other field changed needs a new signature.

    Raises `OptionsError` for any other key, `SigningNotInstalled`, and `SignatureError` naming the
    field whose value some reader would decode or write as another: a float of 1e16 or more, an
    integer beyond 64 bits, NaN, half of a surrogate pair, a key that is not a str, and objects that
    JSON does not have.
    """
    if not isinstance(intent, msgspec.Struct) or _SIGNATURE not in intent.__struct_fields__:
        raise OptionsError(f"sign() takes an intent, not {type(intent).__name__}")
    private = _private_key(key)
    signer = public_key(private)
    unsigned = msgspec.structs.replace(intent, signer=signer, signature_b64="")
    signature = private.sign(_signed_form(unsigned))
    return msgspec.structs.replace(unsigned, signature_b64=base64.b64encode(signature).decode())


def verify(data: bytes, *, trusted: Collection[str] | None = None) -> str:
    """Check the signature of `data`, the bytes of a message as received, and return its signer.

    The signer is a public key in base64 (str), as in the message. `trusted` has the keys to accept,
    in the same form, best in a set. With None every key is accepted, and the caller decides about
    the one returned. `data` may be any JSON object with `signer` and `signature_b64`.

    A signature matches if it was made over the canonical form of `data`, or over that form with
    the numbers as they were written.

    Raises `SignatureError`, whose `reason` says what is wrong, `OptionsError` if `trusted` is one
    str, and `SigningNotInstalled`.
    """
    if isinstance(trusted, (str, bytes)) or not (trusted is None or isinstance(trusted, Collection)):
        raise OptionsError(
            f"verify(trusted=...) takes a set of public keys, not one {type(trusted).__name__}: write trusted={{key}}"
        )
    _require_bytes("verify", data)
    document = Document(data)
    found = document.members
    signer, public = _decoded(found, _SIGNER, _KEY_BYTES)
    if (why := weakness(public)) is not None:
        _refuse("malformed", f"the message's signer {signer} is not a key to trust: {why}")
    _, signature = _decoded(found, _SIGNATURE, _SIGNATURE_BYTES)
    if trusted is not None and signer not in trusted:
        how = "base64, compared as text" if trusted else "the set is empty, so no message is accepted"
        _refuse("untrusted", f"the signer {signer} is not one of the {len(trusted)} trusted keys ({how})")
    if not _matches(document, public, signature):
        _refuse(
            "wrong",
            f"the signature of {signer} does not match this message: the message was changed after it was signed, encoded "
            f"again instead of passed on as received, or signed with another key",
        )
    return signer


# ---- keys


def generate_key() -> Ed25519PrivateKey:
    """A new private key. Raises `SigningNotInstalled`."""
    with _installed():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def public_key(key: Ed25519PrivateKey | bytes) -> str:
    """The public key of `key` (or of its seed) in base64: the `signer` of what it signs.

    Raises what `sign` raises for a key of another kind.
    """
    return base64.b64encode(_private_key(key).public_key().public_bytes_raw()).decode()


def load_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """The private key in the file at `path`: PEM (PKCS #8), as `smith keys generate` writes it.

    Raises `OptionsError` if the file cannot be read or has no such key, and `SigningNotInstalled`.
    """
    with _installed():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(Path(path).read_bytes(), password=None)
    except OSError as error:
        raise OptionsError(f"the key in {path} cannot be read: {error.strerror or error}") from None
    except TypeError:
        raise OptionsError(f"the key in {path} is encrypted: decrypt it with `openssl pkey`") from None
    except (ValueError, UnsupportedAlgorithm):  # whose texts are about OpenSSL
        raise OptionsError(f"{path} has no private key in PEM: `smith keys generate` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionsError(f"the key in {path} is not an Ed25519 key: `smith keys generate` makes one")
    return key


def key_to_pem(key: Ed25519PrivateKey) -> str:
    """`key` as `load_key` reads it. Not encrypted."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def save_key(key: Ed25519PrivateKey, path: Path) -> None:
    """Write `key` to a new file that its owner alone can read. Raises `OSError`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(key_to_pem(key))


# ---- helpers


def _require_bytes(function: str, data: object) -> None:
    if not isinstance(data, (bytes, bytearray)):
        raise OptionsError(f"{function}() takes bytes, such as message.raw, not {type(data).__name__}")


def _signed_form(unsigned: Any) -> bytes:
    """What the signature of `unsigned`, an intent, is made over."""
    data = b""
    try:
        found = unsignable(unsigned)
        if found is None:
            data = codec.encode(unsigned)
            found = codec.check(type(unsigned), unsigned, data)
    except RecursionError:
        refuse("the intent contains itself, or is nested too deeply")
    except (TypeError, ValueError, OverflowError) as error:  # such as a subclass of float
        found = codec.unencodable(unsigned), str(error)
    if found is not None:
        place, problem = found
        named = escape_control(place, keep_layout=False) or "its value"  # a key of a map may hold anything
        _refuse("not_canonical", f"the intent cannot be signed: {named}: {problem}")
    return canonical_json(data, without={_SIGNATURE})


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


def _matches(document: Document, public: bytes, signature: bytes) -> bool:
    if _fits(public, signature, document.canonical({_SIGNATURE})):
        return True
    # Another writer may sign numbers in forms of its own, such as 1.50.
    written = document.as_received({_SIGNATURE})
    return written is not None and _fits(public, signature, written)


def _fits(public: bytes, signature: bytes, message: bytes) -> bool:
    key, mismatch = _verifier()
    try:
        key.from_public_bytes(public).verify(signature, message)
    except mismatch:
        return False
    return True


@functools.cache
def _verifier() -> tuple[type[Ed25519PublicKey], type[Exception]]:
    """What verifies. Its imports, run for each signature, would take a twentieth of its time."""
    with _installed():
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey, InvalidSignature
