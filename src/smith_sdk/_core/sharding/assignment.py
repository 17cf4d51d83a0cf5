"""Which member is assigned which shard: a pure function that all members compute for themselves.

Rendezvous scores decide where a free shard goes, the number of shards that each member may have
keeps the members balanced, and a member keeps what it has as far as that number allows. So a member
that joins is given shards, one that leaves has its shards given away, and no other shard moves.

The result is also the same at every step on the way to it, while shards are given up one by one and
taken by the members that they were assigned to: members that see different steps agree.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

_ODD: Final = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, made odd: the factor of Knuth's multiplicative hashing."""
_MASK: Final = 2**64 - 1


def assign(
    shards: Collection[str], members: Collection[str], owners: Mapping[str, str], moves: Mapping[str, str]
) -> dict[str, str]:
    """The member of `members` for each of `shards`; empty without members.

    `owners` are the members that have shards now; one that is not in `members` has none. `moves`
    are those that somebody has asked for: the shard belongs to that member as long as that is one,
    and does not count for the balance. Of the other shards, no two members differ by more than one.
    """
    known = set(members)
    if not known:
        return {}
    ids = sorted(set(shards))
    found = {shard: moves[shard] for shard in ids if moves.get(shard) in known}
    kept: dict[str, list[str]] = {name: [] for name in sorted(known)}
    free: list[str] = []
    for shard in ids:
        if shard not in found:
            kept.get(owners.get(shard, ""), free).append(shard)
    points = {name: _point(f"member {name}") for name in kept}
    room = _most(len(ids) - len(found), {name: len(held) for name, held in kept.items()}, points)
    for name, held in kept.items():
        free += _surplus(held, room[name], points[name])
        for shard in held:
            found[shard] = name
        room[name] -= len(held)
    _hand_out(sorted(free), room, points, found)
    return found


def _most(shards: int, held: Mapping[str, int], points: Mapping[str, int]) -> dict[str, int]:
    """How many of `shards` each member may have: so many that they are as even as can be."""
    each, more = divmod(shards, len(held))
    # Whoever has one more already keeps it: giving it to another member would be a move.
    by_right = sorted(held, key=lambda name: (held[name] <= each, points[name], name))
    return {name: each + (place < more) for place, name in enumerate(by_right)}


def _surplus(held: list[str], most: int, point: int) -> list[str]:
    """Take from `held` those beyond `most`, with the lowest scores."""
    if len(held) <= most:
        return []
    held.sort(key=lambda shard: _score(point, _point(f"shard {shard}")), reverse=True)
    surplus = held[most:]
    del held[most:]
    return surplus


def _hand_out(free: Sequence[str], room: dict[str, int], points: Mapping[str, int], found: dict[str, str]) -> None:
    """Give each of `free` to the member with the best score among those that have room."""
    # One after the other, not by the best score of all: that would be as even, and slower.
    candidates = {name: points[name] for name, more in room.items() if more}
    for shard in free:
        point = _point(f"shard {shard}")
        scores = {name: _score(candidate, point) for name, candidate in candidates.items()}
        name = max(scores, key=scores.__getitem__)
        found[shard] = name
        room[name] -= 1
        if not room[name]:
            del candidates[name]


def _score(member: int, shard: int) -> int:
    """How well a member and a shard go together, by their points: the rendezvous score."""
    return (member ^ shard) * _ODD & _MASK


@lru_cache(maxsize=65536)
def _point(text: str) -> int:
    """64 bits of a hash that is the same in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
