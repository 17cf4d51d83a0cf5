"""The messages of a shard by key: which one may start, and what becomes of those that did.

Of each key one runs at a time, the one with the lowest sequence; the key waits while that one waits
for its retry or is out. Pure: it does no I/O and reads no clock.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_MOST_DONE: Final = 10_000
"""Messages that are remembered as done."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one delivery."""

    key: Hashable | None
    """None: the message has none, and runs without order."""
    seq: int
    """In its stream."""
    stored_at: int
    """With `seq`, what tells the message from every other."""
    consumer_seq: int
    num_delivered: int
    size: int
    """Bytes."""


class State(Enum):
    HELD = 1
    RUNNING = 2
    WAITING = 3
    """For its retry, here."""
    OUT = 4
    """Nak'ed, or left to its ack wait: the server delivers it again."""


_HERE: Final = (State.HELD, State.WAITING)


class Key:
    """The messages of one key."""

    __slots__ = ("name", "running", "seqs")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.seqs: list[int] = []
        """Those that are not settled, sorted."""
        self.running = 0
        """Messages of it that run, also those of a former epoch."""


class Entry(Generic[T]):
    """One message that is not settled."""

    __slots__ = ("facts", "is_current", "item", "key", "since", "state")

    def __init__(self, item: T, facts: Facts, key: Key) -> None:
        self.item = item
        """Its latest delivery; that which runs, while it does."""
        self.facts = facts
        self.key = key
        self.state = State.HELD
        self.since = 0.0
        """Since when it is out."""
        self.is_current = True
        """Whether it belongs to this epoch."""


class KeyQueues(Generic[T]):
    """All that was delivered in this epoch and is not settled. `remember`: seconds for which a
    message is known as done."""

    def __init__(self, remember: float) -> None:
        self._remember = remember
        self._entries: dict[int, Entry[T]] = {}
        self._keys: dict[Hashable, Key] = {}
        self._ready: deque[Key] = deque()
        """Keys whose first message may start."""
        self._are_ready: set[Key] = set()
        self._runs: dict[int, Entry[T]] = {}
        """What runs, by the `id` of the message."""
        self._done: dict[tuple[int, int], float] = {}
        self._halted: set[Hashable] = set()
        self.out = 0
        self.redelivered = 0
        """Messages that were delivered more than once."""
        self.held_bytes = 0
        self.version = 0
        """Changes with every message that comes or goes."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    @property
    def running(self) -> int:
        return len(self._runs)

    @property
    def has_ready(self) -> bool:
        """Whether a message may be there for `take`."""
        return bool(self._ready)

    def here(self) -> list[T]:
        """What was delivered, and does not run: held, or waiting for its retry."""
        return [entry.item for entry in self if entry.state in _HERE]

    def in_state(self, state: State) -> list[Entry[T]]:
        return [entry for entry in self if entry.state is state]

    # ---- deliveries

    def arrived(self, item: T, facts: Facts) -> bool:
        """A message was delivered. False if it is done: it needs an ack and nothing else."""
        self.version += 1
        entry = self._entries.get(facts.seq)
        if entry is not None and entry.facts.stored_at != facts.stored_at:  # the stream was created again
            self.forget(entry)
            entry = None
        if entry is not None:
            self._arrived_again(entry, item, facts)
            return True
        # A first delivery is no redelivery: an operator has the consumer read it once more.
        if facts.num_delivered > 1 and (facts.seq, facts.stored_at) in self._done:
            return False
        name = object() if facts.key is None else facts.key
        key = self._keys.get(name)
        if key is None:
            key = self._keys[name] = Key(name)
        self._entries[facts.seq] = Entry(item, facts, key)
        insort(key.seqs, facts.seq)
        self.redelivered += facts.num_delivered > 1
        self.held_bytes += facts.size
        self._consider(key)
        return True

    def _arrived_again(self, entry: Entry[T], item: T, facts: Facts) -> None:
        self.redelivered += (facts.num_delivered > 1) - (entry.facts.num_delivered > 1)
        if entry.state is State.RUNNING:  # answered by the delivery that runs: to the server all are one
            entry.facts = facts
            return
        if entry.state in _HERE:
            self.held_bytes -= entry.facts.size
        else:
            self.out -= 1
            entry.state = State.HELD
        entry.item, entry.facts = item, facts
        self.held_bytes += facts.size
        self._consider(entry.key)

    # ---- running

    def take(self) -> T | None:
        """The message that starts next, if one may."""
        while self._ready:
            key = self._ready.popleft()
            self._are_ready.discard(key)
            if self._may_start(key):
                entry = self._entries[key.seqs[0]]
                entry.state = State.RUNNING
                key.running += 1
                self.held_bytes -= entry.facts.size
                self._runs[id(entry.item)] = entry
                return entry.item
        return None

    def put_back(self, item: T) -> None:
        """`item` has not been started after all."""
        entry = self._ended(item)
        if entry.is_current:
            entry.state = State.HELD
            self.held_bytes += entry.facts.size
        self._consider(entry.key, first=True)

    def is_current(self, item: T) -> bool:
        """Whether `item` runs, and was delivered in this epoch."""
        entry = self._runs.get(id(item))
        return entry is not None and entry.is_current

    def finish(self, item: T, now: float) -> None:
        """`item` has run and is settled."""
        entry = self._ended(item)
        self._keep_done(entry.facts, now)
        if entry.is_current:
            self.forget(entry)
        else:
            self._consider(entry.key)

    def fail(self, item: T, now: float, *, waits: bool) -> Entry[T] | None:
        """`item` has run and is not settled: it `waits` here for its retry, or else is out.

        None if it belongs to a former epoch.
        """
        entry = self._ended(item)
        if not entry.is_current:
            self._consider(entry.key)
            return None
        if waits:
            entry.state = State.WAITING
            self.held_bytes += entry.facts.size
        else:
            self.set_out(entry, now)
        return entry

    def _ended(self, item: T) -> Entry[T]:
        entry = self._runs.pop(id(item))
        entry.key.running -= 1
        self.version += 1
        return entry

    def set_out(self, entry: Entry[T], now: float) -> None:
        """It was nak'ed, or is left to its ack wait."""
        if entry.state in _HERE:
            self.held_bytes -= entry.facts.size
        entry.state, entry.since = State.OUT, now
        self.out += 1

    def forget(self, entry: Entry[T]) -> None:
        """It is settled, or not in hand any more."""
        del self._entries[entry.facts.seq]
        entry.key.seqs.remove(entry.facts.seq)
        self.redelivered -= entry.facts.num_delivered > 1
        if entry.state is State.OUT:
            self.out -= 1
        elif entry.state in _HERE:
            self.held_bytes -= entry.facts.size
        entry.is_current = False
        self.version += 1
        self._consider(entry.key)

    def clear(self) -> None:
        """An epoch begins. What runs keeps its key until it ends."""
        for entry in self:
            entry.is_current = False
            entry.key.seqs.clear()
        self._keys = {name: key for name, key in self._keys.items() if key.running}
        self._entries.clear()
        self._ready.clear()
        self._are_ready.clear()
        self.out = self.redelivered = self.held_bytes = 0
        self.version += 1

    def _keep_done(self, facts: Facts, now: float) -> None:
        done = self._done
        done.pop((facts.seq, facts.stored_at), None)
        done[facts.seq, facts.stored_at] = now
        while done:
            first = next(iter(done))
            if len(done) <= _MOST_DONE and now - done[first] <= self._remember:
                break
            del done[first]

    # ---- keys

    def halt(self, key: Hashable) -> None:
        """Start nothing more of `key`."""
        self._halted.add(key)

    def set_halted(self, keys: set[Hashable]) -> None:
        """Start nothing of `keys`, and of all others again."""
        resumed, self._halted = self._halted - keys, keys
        for name in resumed:
            if name in self._keys:
                self._consider(self._keys[name])

    @property
    def halted(self) -> int:
        """Messages that are held since their key is halted."""
        if not self._halted:
            return 0
        return sum(len(self._keys[name].seqs) for name in self._halted if name in self._keys)

    def _may_start(self, key: Key) -> bool:
        if key.running or not key.seqs or key.name in self._halted:
            return False
        return self._entries[key.seqs[0]].state is State.HELD

    def _consider(self, key: Key, *, first: bool = False) -> None:
        """Have the key's first message start, if it may; forget a key without any."""
        if not key.seqs:
            if not key.running and self._keys.get(key.name) is key:
                del self._keys[key.name]
        elif key not in self._are_ready and self._may_start(key):
            self._are_ready.add(key)
            (self._ready.appendleft if first else self._ready.append)(key)
