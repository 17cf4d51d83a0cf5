"""Shards of a subject: keys, the hash that assigns them, layouts, and a declared sharding.

The shard of a key is FNV-1a (32 bits) of its bytes modulo the number of shards, as nats-server's
own `{{partition(n, ...)}}` has it. Nothing here does any I/O.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, Generic, Self, TypeVar

import msgspec

from .._core.foreign_text import shortened
from ..errors import InvalidShardKey, OptionsError, SubjectMismatch
from .subjects import M_co, S_co, refuse_token
from .topology_spec import ConsumerSpec

LARGEST_KEY: Final = 256
"""Bytes of a key, at most."""

MOST_SHARDS: Final = 4096
"""Shards of a layout, at most."""

OWNERS: Final = "owner"
"""The priority group of the consumers of shards: its pinned client is the owner of the shard."""

_DURABLE: Final = re.compile(r"(?:g([2-9]|[1-9][0-9]{1,4})-)?[0-9a-f]{2,3}")
"""The name of a shard's consumer, behind that of the sharding."""

_SHOWN: Final = 100
"""Characters of a refused value that an error shows."""

_SubjectT = TypeVar("_SubjectT")


@lru_cache(4096)
def fnv1a32(data: bytes) -> int:
    """The FNV-1a hash of `data` in 32 bits: what nats-server's `partition()` takes modulo n."""
    found = 0x811C9DC5
    for byte in data:
        found = (found ^ byte) * 0x01000193 & 0xFFFFFFFF
    return found


class ShardKey(msgspec.Struct, frozen=True):
    """What is to stay in order: all messages with one key are in one shard.

    `episode_id` (str) is the key, within `project` (str) if that is not None. Raises
    `InvalidShardKey` unless both are not empty and together have at most 256 bytes of UTF-8.
    """

    episode_id: str
    project: str | None = None

    def __post_init__(self) -> None:
        _require_text("episode_id", self.episode_id)
        if self.project is not None:
            _require_text("project", self.project)
        if len(self.data) > LARGEST_KEY:
            raise InvalidShardKey(f"a key of {len(self.data)} bytes: at most {LARGEST_KEY}, with its project")

    @property
    def data(self) -> bytes:
        """Its bytes: the project, if it has one, then the episode."""
        return f"{self.project or ''}{self.episode_id}".encode()

    @property
    def hash32(self) -> int:
        """The FNV-1a hash of its bytes in 32 bits."""
        return fnv1a32(self.data)


@lru_cache(4096)
def _key(episode_id: str, project: str | None) -> tuple[ShardKey, int]:
    """A key and its hash. Publishers use the same keys over and over."""
    key = ShardKey(episode_id, project)
    return key, key.hash32


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidShardKey(f"{name} of a key must be a str, not {type(value).__name__}")
    if not value:
        raise InvalidShardKey(f"{name} of a key cannot be empty")
    if len(value) > LARGEST_KEY:
        raise InvalidShardKey(f"{name} of a key has {len(value)} characters: a key has at most {LARGEST_KEY} bytes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidShardKey(f"{name} of a key cannot be {shortened(ascii(value), _SHOWN)}: it is not valid UTF-8") from None


class Shard(msgspec.Struct, frozen=True, eq=False):
    """One shard: its `number` (int, from 0) in the layout of that `generation` (int, from 1).

    `key_hash` is the hash of the key that it was made from (int); None if it was not made from a
    key. Only with it can the shard of another layout be told. As a str it is the number in
    hexadecimal, with at least two digits: "0e". Equal if number and generation are.
    """

    number: int
    generation: int = 1
    key_hash: int | None = None

    def __post_init__(self) -> None:
        for name, least, most in (("number", 0, MOST_SHARDS - 1), ("generation", 1, 0xFFFF)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                shown = shortened(repr(value), _SHOWN)
                raise OptionsError(f"Shard({name}={shown}): must be a whole number from {least} to {most}")

    def __str__(self) -> str:
        return f"{self.number:02x}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shard) and (self.number, self.generation) == (other.number, other.generation)

    def __hash__(self) -> int:
        return hash((self.number, self.generation))

    @property
    def tokens(self) -> str:
        """Its two tokens in a subject: "shard.0e", of the second generation "shard2.0e"."""
        return f"{literal(self.generation)}.{self.number:02x}"

    @classmethod
    def read(cls, pattern: str, number: str, word: str = "shard") -> Self:
        """The shard of the tokens `word` and `number` of a subject. Raises `InvalidToken`."""
        digits = word.removeprefix("shard")
        generation = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 1
        try:
            found = cls(int(number, 16), generation)
        except ValueError:
            found = None
        if found is None or found.tokens != f"{word}.{number}":
            allowed = "a shard and its number in hexadecimal, such as shard.0e"
            refuse_token(pattern, "shard", number if word == "shard" else f"{word}.{number}", allowed)
        return found


def literal(generation: int) -> str:
    """The token before the shard's number: "shard", then "shard2", "shard3" and so on."""
    return "shard" if generation == 1 else f"shard{generation}"


class Layout(msgspec.Struct, frozen=True):
    """How many `shards` (int, 1 to 4,096) there are. Each change of it is a new `generation` (int,
    from 1).
    """

    shards: int
    generation: int = 1

    def __post_init__(self) -> None:
        for name, most in (("shards", MOST_SHARDS), ("generation", 0xFFFF)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                shown = shortened(repr(value), _SHOWN)
                raise OptionsError(f"Layout({name}={shown}): must be a whole number from 1 to {most}")

    @property
    def all(self) -> tuple[Shard, ...]:
        """Every shard, by number."""
        return tuple(Shard(number, self.generation) for number in range(self.shards))

    def shard(self, key: ShardKey) -> Shard:
        """The shard of `key`."""
        return self.shard_of_hash(key.hash32)

    def has(self, shard: Shard, key_hash: int) -> bool:
        """Whether `shard` is that of the keys with this hash."""
        return shard.number == key_hash % self.shards and shard.generation == self.generation

    def shard_of_hash(self, key_hash: int) -> Shard:
        """The shard of the keys with this hash."""
        return Shard(key_hash % self.shards, self.generation, key_hash)


class ReadShards(msgspec.Struct, frozen=True, kw_only=True):
    """Sharded subjects of other publishers, which hash keys in their own way.

    `prefix` is the pattern before the shard's number, as NATS writes it, `shards` how many they
    have. Shard n of theirs is delivered to shard n modulo the number of ours.
    """

    prefix: str
    shards: int


class ShardingSpec(msgspec.Struct, Generic[M_co, S_co], frozen=True, kw_only=True):
    """A declared sharding: `subject` (its name in the spec) is spread over shards by a key.

    `key` are the paths of the key in the payload, the last of them that of `ShardKey.episode_id`.
    `stream` keeps the shards; with `streams` (int) above 1, shard s is in stream s modulo `streams`
    of `<stream>_S0`, `<stream>_S1` and so on. `bucket` is the key-value bucket in which its workers
    agree. `pin_timeout` is in seconds; the other options are those of each shard's consumer.
    """

    name: str
    subject: str
    sharded: str
    """The name of the sharded subject in the spec."""
    key: tuple[tuple[str, ...], ...]
    layout: Layout
    prefix: str
    """The pattern of the sharded subject before its two last tokens, as NATS writes it."""
    stream: str
    streams: int = 1
    reads: tuple[ReadShards, ...] = ()
    bucket: str = "SMITH_CONTROL"
    pin_timeout: float = 10.0
    max_ack_pending: int = 256
    max_attempts: int = 5
    prefetch: int = 64
    description: str = ""

    # ---- keys

    def key_of(self, payload: object) -> ShardKey | None:
        """The key of a payload; None if it has none, which is when the last path is absent or null.

        Raises `InvalidShardKey`, which names the path.
        """
        found = self.key_and_hash(payload)
        return None if found is None else found[0]

    def key_and_hash(self, payload: object) -> tuple[ShardKey, int] | None:
        """`key_of`, and the hash of the key."""
        found = _at(payload, self.key[-1])
        if found is None:
            return None
        project = _at(payload, self.key[0]) if len(self.key) > 1 else None
        try:
            if not isinstance(found, str) or not (project is None or isinstance(project, str)):
                ShardKey(found, project)  # raises
            return _key(found, project)
        except InvalidShardKey as error:
            paths = " and ".join(map(".".join, self.key))
            raise InvalidShardKey(
                f"{type(payload).__name__} has no valid key for sharding {self.name} in {paths}: {error}"
            ) from None

    def shard_of(self, payload: object, key: ShardKey | None = None) -> Shard:
        """The shard of a payload in the declared layout.

        Raises `SubjectMismatch` if the payload has no key, or another one than `key`;
        `InvalidShardKey`.
        """
        found = self.key_and_hash(payload)
        if found is None:
            raise self.no_key(payload)
        if key is not None and key != found[0]:
            raise SubjectMismatch(f"the key of the payload is {shown(found[0])}, not {shown(key)}")
        return self.layout.shard_of_hash(found[1])

    def no_key(self, payload: object) -> SubjectMismatch:
        """The error for a payload that has no key."""
        return SubjectMismatch(
            f"{type(payload).__name__} has no key for sharding {self.name}, which is {'.'.join(self.key[-1])}: "
            f"set it, or use subject {self.subject}"
        )

    def placed(self, subject: str, key: ShardKey) -> Placed:
        """Where a payload with `key` goes whose plain subject would be `subject`."""
        return Placed(self, subject, key.hash32)

    # ---- streams and subjects

    def stream_of(self, shard: Shard) -> str:
        """The stream that keeps `shard`."""
        return self.stream_of_number(shard.number)

    def stream_of_number(self, number: int) -> str:
        """The stream that keeps the shard with this number."""
        return self.stream if self.streams == 1 else self.stream_names[number % self.streams]

    def pattern_of(self, shard: Shard) -> str:
        """The subjects of `shard`, as NATS writes them."""
        return f"{self.prefix}.{shard.tokens}"

    @property
    def stream_names(self) -> tuple[str, ...]:
        """The streams that keep shards, in the order of `stream_of`."""
        return (self.stream,) if self.streams == 1 else tuple(f"{self.stream}_S{index}" for index in range(self.streams))

    def patterns(self, layout: Layout | None = None) -> tuple[str, ...]:
        """All sharded subjects of `layout` (None: as declared), as NATS writes them."""
        return (f"{self.prefix}.{literal((layout or self.layout).generation)}.*",)

    def captured(self, layout: Layout | None = None) -> dict[str, tuple[str, ...]]:
        """What each stream captures of the sharded subjects of `layout` (None: as declared).

        One stream captures all with a wildcard, of several streams each the shards that it keeps.
        """
        layout = layout or self.layout
        if self.streams == 1:
            return {self.stream: self.patterns(layout)}
        return {
            stream: tuple(map(self.pattern_of, layout.all[index :: self.streams]))
            for index, stream in enumerate(self.stream_names)
        }

    # ---- consumers

    def consumer(self, shard: Shard, layout: Layout | None = None) -> ConsumerSpec[M_co, S_co]:
        """The durable consumer of one shard of `layout` (None: as declared).

        What other publishers shard is delivered to the declared layout only, whichever is in use:
        they do not know of another. Raises `OptionsError` if the layout has no such shard.
        """
        layout = layout or self.layout
        if shard.generation != layout.generation or shard.number >= layout.shards:
            raise OptionsError(
                f"sharding {self.name} has {layout.shards} shards of generation {layout.generation}, and none {shard.tokens}"
            )
        foreign = (
            f"{one.prefix}.{number:02x}"
            for one in (self.reads if layout == self.layout else ())
            for number in range(shard.number, one.shards, layout.shards)
        )
        return ConsumerSpec(
            name=self.durable(shard),
            stream=self.stream_of(shard),
            filters=(self.pattern_of(shard), *foreign),
            ack_wait=self.pin_timeout,
            max_attempts=self.max_attempts,
            max_ack_pending=self.max_ack_pending,
            prefetch=self.prefetch,
            priority_policy="pinned_client",
            priority_groups=(OWNERS,),
            priority_timeout=self.pin_timeout,
            description=self.description,
        )

    def durable(self, shard: Shard) -> str:
        """The name of the consumer of `shard`: "episode-0e", of generation 2 "episode-g2-0e"."""
        return f"{self.name}-{shard}" if shard.generation == 1 else f"{self.name}-g{shard.generation}-{shard}"

    def generation_of(self, consumer: str) -> int | None:
        """The generation of shards whose consumer has this name; None if no shard's has it."""
        found = _DURABLE.fullmatch(consumer.removeprefix(f"{self.name}-")) if consumer.startswith(f"{self.name}-") else None
        return None if found is None else int(found[1] or 1)

    @property
    def consumers(self) -> tuple[ConsumerSpec[M_co, S_co], ...]:
        """The consumers of all shards of the declared layout, by number."""
        return self.consumers_of(self.layout)

    def consumers_of(self, layout: Layout) -> tuple[ConsumerSpec[M_co, S_co], ...]:
        """The consumers of all shards of `layout`, by number."""
        return tuple(self.consumer(shard, layout) for shard in layout.all)


class Placed(msgspec.Struct, frozen=True, gc=False):
    """Where a payload with a key goes, whichever layout is in use."""

    spec: ShardingSpec[Any, Any]
    head: str
    """The subject before the two tokens of the shard."""
    key_hash: int

    def under(self, layout: Layout) -> tuple[str, str]:
        """The subject and the stream in `layout`."""
        number = self.key_hash % layout.shards  # without a `Shard`: this is done for each message
        return f"{self.head}.{literal(layout.generation)}.{number:02x}", self.spec.stream_of_number(number)


def _at(payload: object, path: tuple[str, ...]) -> Any:
    """The value at `path` of a payload; None if it, or what it would be in, is absent or null."""
    found = payload
    for name in path:
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, msgspec.Struct):
            found = getattr(found, name, None)
        else:
            return None
    return found


def shown(key: ShardKey) -> str:
    """A key for an error, shortened."""
    return shortened(repr(key), _SHOWN)
