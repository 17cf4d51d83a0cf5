"""Payloads without their secrets, for what shows them: commands, and tables in notebooks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

HIDDEN: Final = "***"
"""What is shown in place of a secret."""


def hide(data: bytes, keys: frozenset[str]) -> bytes:
    """`data`, a payload as received, with `"***"` for what is under one of `keys`, at any depth.

    What is not JSON, such as the beginning of a longer payload, is not shown if it has one of them.
    """
    if not keys:
        return data
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if any(key.encode() in data for key in keys):
            return b"(%d bytes that are not JSON, and may have secrets)" % len(data)
        return data
    return msgspec.json.encode(found) if _hidden(found, keys) else data


def _hidden(value: Any, keys: frozenset[str]) -> bool:
    """Replace the values under `keys` in place. Whether there was one."""
    if isinstance(value, list):
        return sum(_hidden(one, keys) for one in value) > 0
    if not isinstance(value, dict):
        return False
    secret = [key for key in value if key in keys and value[key] is not None]
    value.update(dict.fromkeys(secret, HIDDEN))
    return sum(_hidden(one, keys) for one in value.values()) > 0 or bool(secret)
