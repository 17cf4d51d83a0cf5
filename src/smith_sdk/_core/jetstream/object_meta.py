"""What an object store says of an object: JSON, on the layout of NATS (ADR-20). No I/O.

Store X is the stream OBJ_X. An object's bytes are on `$O.X.C.<nuid>`, in chunks; what is said of it
is the last message of `$O.X.M.<name in base64url>`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ...errors import PayloadDecodeError

_LIMIT: Final = 1024
Text = Annotated[str, Meta(max_length=64 * 1024)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_DIGEST: Final = "SHA-256="


class Link(msgspec.Struct, frozen=True):
    """Another object, or with an empty name another store."""

    bucket: Text
    name: Text = ""


class Options(msgspec.Struct, frozen=True):
    link: Link | None = None
    max_chunk_size: Count = 0


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object as its store describes it."""

    name: Annotated[str, Meta(min_length=1, max_length=1024)]
    description: Text = ""
    headers: dict[str, list[Text]] | None = None
    metadata: dict[str, Text] | None = None
    options: Options | None = None
    bucket: Text = ""
    nuid: Text = ""
    size: Count = msgspec.field(default=0)
    mtime: str = ""
    chunks: Count = 0
    digest: Text = ""
    deleted: bool = False


_decode: Final = msgspec.json.Decoder(ObjectMeta).decode
_encode: Final = msgspec.json.Encoder().encode


def encode(meta: ObjectMeta) -> bytes:
    """The JSON of `meta`, with the keys that other clients expect to be there."""
    return _encode({**msgspec.to_builtins(meta), "size": meta.size, "chunks": meta.chunks})


def decode(data: bytes, subject: str) -> ObjectMeta:
    """`data` as what is said of an object. Raises `PayloadDecodeError`."""
    try:
        found = _decode(data)
        if any(token in found.nuid for token in " \t\r\n.*>") or (not found.nuid and not found.deleted and not _is_link(found)):
            raise msgspec.ValidationError("nuid is not a token")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        why = str(error)[:_LIMIT]
        raise PayloadDecodeError(
            f"the message on {subject[:256]} does not describe an object: {why}", subject=subject, raw=data
        ) from None
    return found


def _is_link(meta: ObjectMeta) -> bool:
    return meta.options is not None and meta.options.link is not None


def token_of(name: str) -> str:
    """The token of an object's name in subjects."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def written(digest: bytes) -> str:
    """A SHA-256 digest as it is described."""
    return _DIGEST + base64.urlsafe_b64encode(digest).decode()


def digest_of(text: str) -> bytes | None:
    """The SHA-256 digest that `text` describes; None if it is not one."""
    if not text.startswith(_DIGEST):
        return None
    encoded = text.removeprefix(_DIGEST).rstrip("=")
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (ValueError, binascii.Error):
        return None
