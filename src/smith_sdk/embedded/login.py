"""The password of an embedded server, and files that only their owner may read."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

USER: Final = "smith"
_KEPT: Final = "smith-sdk.password"
_PASSWORD: Final = re.compile(rb"[0-9a-f]{32}\n")


def new_password() -> str:
    """128 random bits; it needs no escapes in a URL or in the server's configuration."""
    return secrets.token_hex(16)


def kept_password(store: Path) -> str:
    """The password that is kept in a store, so that its URL stays valid over restarts.

    Another one is made if there is none, or if others than its owner can read it. Raises `OSError`.
    """
    file = store / _KEPT
    with contextlib.suppress(OSError):
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            facts, text = os.fstat(opened), os.read(opened, 64)
        finally:
            os.close(opened)
        is_own = facts.st_uid == os.geteuid() and not stat.S_IMODE(facts.st_mode) & 0o077
        if is_own and _PASSWORD.fullmatch(text):
            return text.decode().strip()
    password = new_password()
    write_secret(file, f"{password}\n".encode())
    return password


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, from before it has any content."""
    file.unlink(missing_ok=True)  # another one may be open elsewhere, or have another mode
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(content)
