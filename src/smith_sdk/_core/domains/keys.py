"""The keys of a move of domains, in the bucket of switches: what is held, and which moves run.

`domains.held.<stream>.<consumer>` has each admission keep back what the consumers of a move
receive. It has a TTL and is renewed by the process that moves: if that dies, nothing stays held.
`domains.moves.<stream>.<consumer>` says what the move was to do, until it is done. `<consumer>` is
the name of the one that the others were derived from.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ..foreign_text import bounded, escape_control
from ..jetstream.kv import Entry

HELD: Final = "domains.held."
MOVES: Final = "domains.moves."
HELD_KEYS: Final = f"{HELD}*.*"
MOVES_KEYS: Final = f"{MOVES}*.*"
ALL: Final = "domains.*.*.*"
"""Both."""
HOLD_TTL: Final = 60.0
"""Seconds for which domains stay held, and a consumer paused, if that is not renewed."""
RENEWAL: Final = HOLD_TTL / 4
_MOST: Final = 256
"""Patterns of a hold, and names in a move, that are read."""
_SHOWN: Final = 200


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that admission does not publish to now, and why."""

    patterns: tuple[str, ...]
    reason: str
    since: str
    """RFC 3339."""
    owner: str
    """The process that renews it."""


class MoveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A move that has begun: consumers `old` of `stream` make way for `new`."""

    stream: str
    consumer: str
    """The one that all of them are or were derived from."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    since: str
    owner: str


def held_key(stream: str, consumer: str) -> str:
    return f"{HELD}{stream}.{consumer}"


def move_key(stream: str, consumer: str) -> str:
    return f"{MOVES}{stream}.{consumer}"


def encode(value: Hold | MoveRecord) -> bytes:
    return msgspec.json.encode(value)


def read_hold(entry: Entry) -> Hold | None:
    """The hold that `entry` is; None for what no process of ours has written."""
    try:
        found = msgspec.json.decode(entry.value, type=Hold)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    patterns = tuple(one for one in found.patterns[:_MOST] if 0 < len(one) <= 4096)
    return Hold(patterns=patterns, reason=_text(found.reason), since=_text(found.since), owner=_text(found.owner))


def read_move(entry: Entry) -> MoveRecord | None:
    """The move that `entry` is about; None for what no process of ours has written."""
    try:
        found = msgspec.json.decode(entry.value, type=MoveRecord)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if entry.key != move_key(found.stream, found.consumer):
        return None
    return MoveRecord(
        stream=_text(found.stream),
        consumer=_text(found.consumer),
        old=tuple(map(_text, found.old[:_MOST])),
        new=tuple(map(_text, found.new[:_MOST])),
        since=_text(found.since),
        owner=_text(found.owner),
    )


def _text(text: str) -> str:
    return bounded(escape_control(text, keep_layout=False), _SHOWN)
