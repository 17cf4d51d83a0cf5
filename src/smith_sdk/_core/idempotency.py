"""The idempotency key of a message: the name of its effect, for programs outside the bus."""

from __future__ import annotations

import hashlib
import re
from typing import Final

_MOST: Final = 255
"""Characters of a key: what services with an `Idempotency-Key` accept."""
_PLAIN: Final = re.compile(rf"[!#-\[\]-~]{{1,{_MOST}}}")
"""Printable ASCII without spaces, quotes and backslashes, which a header may have to quote."""


def idempotency_key(subject: str, identity: str) -> str:
    """The key of the message on `subject` with that `identity`, its id or its place in its stream.

    `{subject}:{identity}`, as message ids are by default; where that is too long or not plain
    ASCII, its SHA-256.
    """
    key = identity if identity.startswith(f"{subject}:") else f"{subject}:{identity}"
    return key if is_key(key) else "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_key(text: str) -> bool:
    """Whether `idempotency_key` can have returned `text`."""
    return _PLAIN.fullmatch(text) is not None
