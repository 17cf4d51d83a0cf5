"""A simulation of members that join and leave a sharding: which shards move, and what it costs.

No server: the members' view is the SDK's own, made of the values that they write, and so is the
assignment. Run it as `python benchmarks/assignments.py [--json]`; the defaults take a minute.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from statistics import mean, median
from typing import Final

import msgspec

from smith_sdk._core.jetstream.kv import Entry
from smith_sdk._core.sharding.assignment import assign
from smith_sdk._core.sharding.records import Keys, Member, Owner, shard_id, view

KEYS: Final = Keys("episode")
BUCKET: Final = "$KV.SMITH_CONTROL."
HEADERS: Final = 160
"""Bytes of the headers of a renewal, about: Nats-Msg-Id, Nats-TTL, the expected sequence."""
WRITES_PER_MOVE: Final = 3
"""The former owner deletes its record, the next one writes one, and another after the barrier."""


class Simulation:
    """`members` members that share `shards` shards; each event is one join or one leave."""

    def __init__(self, shards: int, members: int, seed: int) -> None:
        self.shards = [shard_id(number) for number in range(shards)]
        self.random = random.Random(seed)
        self.made = 0
        self.members = [self._name() for _ in range(members)]
        began = time.perf_counter()
        self.assigned = assign(self.shards, self.members, {}, {})
        self.first_seconds = time.perf_counter() - began
        self.seconds: list[float] = []
        self.moves: list[int] = []
        self.least: list[int] = []
        self.spreads: list[int] = []

    def _name(self) -> str:
        self.made += 1
        return f"host-{self.made % 97}-{10_000 + self.made}-{blake2b(str(self.made).encode(), digest_size=4).hexdigest()}"

    def event(self) -> None:
        """One member joins or leaves; the others see it, and what has to move moves."""
        before = self.assigned
        if self.random.random() < 0.5 and len(self.members) > 1:
            leaver = self.members.pop(self.random.randrange(len(self.members)))
            least = sum(member == leaver for member in before.values())
        else:
            self.members.append(self._name())
            least = len(self.shards) // len(self.members)
        began = time.perf_counter()
        self.assigned = assign(self.shards, self.members, before, {})
        self.seconds.append(time.perf_counter() - began)
        self.moves.append(sum(before[shard] != member for shard, member in self.assigned.items()))
        self.least.append(least)
        counts = self._counts(self.assigned)
        self.spreads.append(max(counts) - min(counts))

    def _counts(self, assigned: dict[str, str]) -> list[int]:
        found = Counter(assigned.values())
        return [found[member] for member in self.members]

    def rendezvous(self) -> tuple[float, float]:
        """Of plain rendezvous hashing: the largest and the smallest share, of the mean share."""
        points = {name: int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") for name in self.members}
        mask, odd = 2**64 - 1, 0x9E3779B97F4A7C15
        plain = {}
        for shard in self.shards:
            seed = int.from_bytes(blake2b(shard.encode(), digest_size=8).digest(), "big")
            plain[shard] = max(points, key=lambda name, seed=seed: (points[name] ^ seed) * odd & mask)  # type: ignore[misc]
        counts = self._counts(plain)
        return max(counts) / mean(counts), min(counts) / mean(counts)

    def entries(self) -> list[Entry]:
        """What stands in the bucket."""
        now = datetime.now(UTC)
        members = ((KEYS.member(name), Member(instance="0" * 16, host="host-1", pid=10_000, since=now)) for name in self.members)
        owners = (
            (KEYS.owner(shard), Owner(member=name, instance="0" * 16, pin="x" * 22)) for shard, name in self.assigned.items()
        )
        return [
            Entry(key=key, value=msgspec.json.encode(value), revision=1, ttl=None, time="") for key, value in (*members, *owners)
        ]


def figures(shards: int, members: int, events: int, ttl: float, seed: int) -> dict[str, float]:
    """Figures by their names in the JSON."""
    simulation = Simulation(shards, members, seed)
    for _ in range(events):
        simulation.event()
    entries = simulation.entries()
    began = time.perf_counter()
    found = view(KEYS, entries)
    decode = time.perf_counter() - began
    assert len(found.owners) == shards
    sizes = [len(BUCKET) + len(entry.key) + len(entry.value) + HEADERS for entry in entries]
    count = len(simulation.members)
    renewal, record = mean(sizes[:count]), mean(sizes[count:])
    renewals = 3 * count / ttl
    largest, smallest = simulation.rendezvous()
    moved = mean(simulation.moves)
    return {
        "shards": shards,
        "members": members,
        "events": events,
        "ttl_s": ttl,
        "moves.mean": moved,
        "moves.least": mean(simulation.least),
        "moves.beyond_least": sum(simulation.moves) - sum(simulation.least),
        "spread.most": max(simulation.spreads),
        "rendezvous.largest": largest,
        "rendezvous.smallest": smallest,
        "assign.first_ms": 1000 * simulation.first_seconds,
        "assign.event_ms": 1000 * median(simulation.seconds),
        "view.decode_ms": 1000 * decode,
        "bucket.bytes": sum(sizes),
        "renewals.stored_per_s": renewals,
        "renewals.stored_bytes_per_s": renewals * renewal,
        "renewals.sent_per_s": renewals * count,
        "renewals.sent_bytes_per_s": renewals * count * renewal,
        "event.stored": 1 + WRITES_PER_MOVE * moved,
        "event.sent": (1 + WRITES_PER_MOVE * moved) * count,
        "event.sent_bytes": (renewal + WRITES_PER_MOVE * moved * record) * count,
    }


def _table(found: dict[str, float]) -> str:
    def line(what: str, *names: str) -> str:
        return f"{what:<66}" + "  ".join(f"{found[name]:>14,.1f}" for name in names)

    return "\n".join(
        [
            f"{found['members']:,.0f} members, {found['shards']:,.0f} shards, {found['events']:,.0f} joins and leaves",
            line("moves of an event; the least possible (means)", "moves.mean", "moves.least"),
            line("moves beyond the least, over all events", "moves.beyond_least"),
            line("shards that one member has more than another, at most", "spread.most"),
            line("plain rendezvous hashing: largest, smallest share of the mean", "rendezvous.largest", "rendezvous.smallest"),
            line("ms of one assign(): the first, one after an event (median)", "assign.first_ms", "assign.event_ms"),
            line("ms to read the bucket's values", "view.decode_ms"),
            line("bytes in the bucket", "bucket.bytes"),
            line(
                f"renewals stored /s, bytes/s (TTL {found['ttl_s']:g} s)", "renewals.stored_per_s", "renewals.stored_bytes_per_s"
            ),
            line("renewals sent to watchers /s, bytes/s", "renewals.sent_per_s", "renewals.sent_bytes_per_s"),
            line("one event: messages stored; sent; bytes sent", "event.stored", "event.sent", "event.sent_bytes"),
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--ttl", type=float, default=10.0, help="seconds of a member's key")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one object")
    given = parser.parse_args(argv)
    found = figures(given.shards, given.members, given.events, given.ttl, given.seed)
    print(json.dumps(found, indent=2) if given.json else _table(found))


if __name__ == "__main__":
    main()
