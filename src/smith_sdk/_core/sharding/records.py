"""The keys of a sharding in the bucket, and what they hold: members, owners of shards, moves.

Whoever may write to the bucket chooses keys and values: what is not valid is as good as absent.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar

import msgspec

from ...contract import ShardKey
from ...errors import InvalidShardKey, OptionsError
from ..jetstream.kv import Entry
from .assignment import assign

_MEMBER: Final = re.compile(r"[A-Za-z0-9_=-]{1,64}")
_SHARD: Final = re.compile(r"[1-9][0-9]{0,5}-(?:[0-9a-f]{2}|[1-9a-f][0-9a-f]{2,5})")
_DIGEST: Final = re.compile(r"[0-9a-f]{16}")
_LONGEST: Final = 3600.0
"""Seconds that a member's key may have left: one that does not expire does not show a process."""
_Text = Annotated[str, msgspec.Meta(max_length=256)]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a member's key, which its process renews."""

    instance: _Text
    """Tells two processes apart that have the same member name."""
    host: _Text = ""
    pid: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 0
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    draining: bool = False
    """Whether it is to give its shards to the others."""
    stopped: bool = False
    """Whether its process has ended, and another may have its name and its shards."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a shard's key. Its revision is the fence of what its owner does outside."""

    member: _Text
    instance: _Text = ""
    pin: _Text = ""
    """The id that the server gave the owner's pulls."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a shard's key: the member that it is to be with, for as long as that is one."""

    member: _Text
    by: _Text = ""
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Halted(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a key that is halted: none of its messages is handled until it is deleted.

    `episode_id` and `project` are the key: the hash that chooses a shard is not its own.
    """

    episode_id: _Text = ""
    project: _Text | None = None
    shard: _Text = ""
    """The shard that it was halted in, by its `shard_id`."""
    stream: _Text = ""
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**62)] = 0
    """The sequence of the message that was dead-lettered."""
    dead_letter: _Text = ""
    why: _Text = ""
    at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


RecordT = TypeVar("RecordT", Member, Owner, Move, Halted)


def shard_id(number: int, generation: int = 1) -> str:
    """What a shard goes by in the bucket: "1-0e"."""
    return f"{generation}-{number:02x}"


class Keys:
    """The keys of the sharding `name`, whose name is a token. Shards go by their `shard_id`."""

    def __init__(self, name: str) -> None:
        self.all = f"shards.{name}.>"
        self.layout = f"shards.{name}.layout"
        self._members = f"shards.{name}.members."
        self._owners = f"shards.{name}.owners."
        self._moves = f"shards.{name}.moves."
        self._halted = f"shards.{name}.halted."

    def member(self, name: str) -> str:
        return self._members + name

    def owner(self, shard: str) -> str:
        return self._owners + shard

    def move(self, shard: str) -> str:
        return self._moves + shard

    def halted(self, key: ShardKey) -> str:
        return self.halted_by(halted_id(key))

    def halted_by(self, digest: str) -> str:
        return self._halted + digest

    def member_of(self, key: str) -> str | None:
        """The member whose key it is, if it is one."""
        name = key.removeprefix(self._members)
        return name if name != key and _MEMBER.fullmatch(name) else None

    def owned(self, key: str) -> str | None:
        """The shard whose owner the key tells, if it is such a key."""
        return _shard(key, self._owners)

    def moved(self, key: str) -> str | None:
        """The shard whose move the key is, if it is such a key."""
        return _shard(key, self._moves)

    def halted_digest(self, key: str) -> str | None:
        """The `halted_id` of what is halted, if it is such a key."""
        text = key.removeprefix(self._halted)
        return text if text != key and _DIGEST.fullmatch(text) else None


def halted_id(key: ShardKey) -> str:
    """What a halted key goes by in the bucket. Unlike its shard's hash, no other key has it."""
    return sha256(f"{key.project or ''}\0{key.episode_id}".encode()).hexdigest()[:16]


def is_halted_id(text: str) -> bool:
    """Whether `text` is one."""
    return _DIGEST.fullmatch(text) is not None


class View(msgspec.Struct, frozen=True):
    """What the bucket says about one sharding."""

    members: dict[str, Member]
    owners: dict[str, tuple[Owner, Entry]]
    moves: dict[str, str]
    layout: bytes | None = None
    """What the key of the layout has; None if it has no value."""
    halted: dict[ShardKey, Halted] = {}

    def assignment(self, shards: Collection[str]) -> dict[str, str]:
        """The member for each shard. One that drains is given none."""
        members = [name for name, one in self.members.items() if not one.draining]
        return assign(shards, members, {shard: one.member for shard, (one, _) in self.owners.items()}, self.moves)


def view(keys: Keys, entries: Iterable[Entry]) -> View:
    """What `entries` say. What is not valid says nothing."""
    found, layout = View({}, {}, {}), None
    for entry in entries:
        if (name := keys.member_of(entry.key)) is not None:
            if (member := read_member(entry)) is not None:
                found.members[name] = member
        elif (shard := keys.owned(entry.key)) is not None:
            if (owner := read(entry.value, Owner)) is not None:
                found.owners[shard] = owner, entry
        elif (shard := keys.moved(entry.key)) is not None:
            if (move := read(entry.value, Move)) is not None:
                found.moves[shard] = move.member
        elif entry.key == keys.layout:
            layout = entry.value
        elif (digest := keys.halted_digest(entry.key)) is not None:
            halted = read(entry.value, Halted)
            if halted is not None and (key := _key_of(halted)) is not None and halted_id(key) == digest:
                found.halted[key] = halted
    return View(found.members, found.owners, found.moves, layout, found.halted)


def _key_of(halted: Halted) -> ShardKey | None:
    try:
        return ShardKey(halted.episode_id, halted.project)
    except InvalidShardKey:
        return None


def read_member(entry: Entry) -> Member | None:
    """The member whose key `entry` is; None if it is not the key of a process."""
    return read(entry.value, Member) if entry.ttl is not None and entry.ttl <= _LONGEST else None


def read(value: bytes, kind: type[RecordT]) -> RecordT | None:
    """The record that `value` is; None for what another program has written."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, RecursionError, OverflowError):
        return None


def require_member_name(name: Any, option: str) -> str:
    """`name`. Raises `OptionsError` unless a member can have it."""
    if not isinstance(name, str) or not _MEMBER.fullmatch(name):
        raise OptionsError(
            f"{option}={name!r}: a name of 1 to 64 letters, digits, '-', '_' and '=' is needed, the same at each start of "
            f"this process and of no other, such as the name of a StatefulSet's pod"
        )
    return name


def _shard(key: str, prefix: str) -> str | None:
    shard = key.removeprefix(prefix)
    return shard if shard != key and _SHARD.fullmatch(shard) else None
