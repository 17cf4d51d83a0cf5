"""Which 32 bytes are a public Ed25519 key that a signature proves something about.

RFC 8032 and the cryptography package accept points of small order as keys. Such a key has no
private one, and for it anybody can write signatures that match any message.
"""

from __future__ import annotations

from typing import Final

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y8: Final = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL: Final = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
"""The y coordinates of the eight points whose order divides 8: 1, -1, 0 twice, and two twice."""


def _y(key: bytes) -> int:
    return int.from_bytes(key, "little") & (2**255 - 1)


def weakness(key: bytes) -> str | None:
    """Why no signature by the public key `key` (32 bytes) proves anything; None if it may."""
    y = _y(key)
    if y >= _P:
        return "its y coordinate is not reduced, so another text names the same key"
    if y in _SMALL:
        return "it is a point of small order, for which anybody can write signatures"
    return None


def is_on_curve(key: bytes) -> bool:
    """Whether `key` is a point at all. Slow: 0.1 ms."""
    y2 = _y(key) ** 2 % _P
    x2 = (y2 - 1) * pow(_D * y2 + 1, -1, _P) % _P
    return x2 == 0 or pow(x2, (_P - 1) // 2, _P) == 1
