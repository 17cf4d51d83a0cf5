"""Streams, consumers and profiles in a spec: strict structs with nats-server's own key names.

Each key that the server has and a spec may declare is here. `topology_checks.py` has their
dependencies, `smith_sdk/_core/topology/config_keys.py` their use at run time.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a spec: `doc` is what it is for, in words, and every other key has a meaning."""

    doc: str = ""


class PlacementDecl(Strict, frozen=True):
    """Servers of `cluster` that have all `tags`."""

    cluster: str | None = None
    tags: tuple[str, ...] = ()


class TransformDecl(Strict, frozen=True):
    """What matches `src` is stored under `dest`."""

    src: str
    dest: str = ""


class RepublishDecl(Strict, frozen=True):
    """A message stored on `src` is also published to `dest`, or only its headers."""

    src: str
    dest: str
    headers_only: bool | None = None


class ExternalDecl(Strict, frozen=True):
    """How a stream of another account or domain is reached."""

    api: str
    deliver: str | None = None


class OriginDecl(Strict, frozen=True):
    """The stream of a mirror or source: one of the spec, unless it is `external`."""

    name: str
    filter_subject: str | None = None
    opt_start_seq: int | None = None
    opt_start_time: str | None = None
    external: ExternalDecl | None = None
    subject_transforms: tuple[TransformDecl, ...] = ()


class ConsumerLimitsDecl(Strict, frozen=True):
    """The most that consumers of the stream may ask for."""

    max_ack_pending: int | None = None
    inactive_threshold: str | None = None


class StreamDecl(Strict, frozen=True):
    """`[streams.X]`. `external`: its subjects belong to others, such as the server's advisories.

    A mirror has no subjects of its own; a stream with `sources` need not have any.
    """

    subjects: tuple[str, ...] = ()
    external: bool = False
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    storage: Literal["file", "memory"] = "file"
    max_age: str | None = None
    max_bytes: str | int | None = None
    max_msgs: int | None = None
    max_msg_size: str | int | None = None
    duplicate_window: str | None = None
    allow_direct: bool | None = None
    deny_delete: bool | None = None
    deny_purge: bool | None = None
    max_msgs_per_subject: int | None = None
    discard_new_per_subject: bool | None = None
    max_consumers: int | None = None
    first_seq: int | None = None
    compression: Literal["none", "s2"] | None = None
    persist_mode: Literal["async"] | None = None
    placement: PlacementDecl | None = None
    allow_rollup_hdrs: bool | None = None
    allow_msg_ttl: bool | None = None
    subject_delete_marker_ttl: str | None = None
    allow_atomic: bool | None = None
    allow_batched: bool | None = None
    allow_msg_schedules: bool | None = None
    allow_msg_counter: bool | None = None
    republish: RepublishDecl | None = None
    subject_transform: TransformDecl | None = None
    mirror: OriginDecl | None = None
    sources: tuple[OriginDecl, ...] = ()
    consumer_limits: ConsumerLimitsDecl | None = None
    metadata: dict[str, str] = {}

    @property
    def origins(self) -> tuple[OriginDecl, ...]:
        """The streams of its mirror or sources."""
        return self.sources if self.mirror is None else (self.mirror, *self.sources)


class ConsumerDecl(Strict, frozen=True):
    """`[consumers.x]`. `filter` is a subject's name and values for its tokens, `filters` several.

    Without either the consumer receives the whole stream. `publishes` names the subjects that its
    handlers publish to. `replicas`: fewer than its stream's.
    """

    stream: str
    ack_wait: str
    max_attempts: int
    max_ack_pending: int
    prefetch: int
    filter: dict[str, str] | None = None
    filters: tuple[dict[str, str], ...] = ()
    publishes: tuple[str, ...] = ()
    deliver_policy: Literal["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"] = "all"
    opt_start_seq: int | None = None
    opt_start_time: str | None = None
    max_waiting: int | None = None
    max_batch: int | None = None
    max_bytes: str | int | None = None
    max_expires: str | None = None
    inactive_threshold: str | None = None
    replicas: int | None = None
    mem_storage: bool | None = None
    sample_freq: str | None = None
    priority_policy: Literal["overflow", "pinned_client", "prioritized"] | None = None
    priority_groups: tuple[str, ...] = ()
    priority_timeout: str | None = None
    pause_until: str | None = None
    metadata: dict[str, str] = {}

    @property
    def chosen(self) -> tuple[dict[str, str], ...]:
        """Its filters; empty if it receives the whole stream."""
        return self.filters if self.filter is None else (self.filter, *self.filters)

    @property
    def filter_keys(self) -> tuple[tuple[str, ...], ...]:
        """The keys of each of `chosen`."""
        many = tuple(("filters", str(index)) for index in range(len(self.filters)))
        return many if self.filter is None else (("filter",), *many)


class DomainsDecl(Strict, frozen=True):
    """`[domains.x]`: `domains` that the consumers named by `consumers` serve together.

    Each of these is declared once for each group that names it, with a filter for each domain,
    instead of once for all domains; with `beside_any_domain` it is declared for all domains, too.
    """

    domains: tuple[str, ...]
    consumers: tuple[str, ...]
    beside_any_domain: bool = False


class ReadDecl(Strict, frozen=True):
    """Sharded subjects that others publish to, with `shards` shards of their own hash."""

    pattern: str
    shards: int


class ShardingDecl(Strict, frozen=True):
    """`[sharding.x]`: `subject` is spread over `shards` by the `key` of its payloads.

    `key` is a path, or a path that may be absent and then the path of the key itself. Another
    number of shards is another `generation`. `reads` are the forms of other publishers, by the name
    of their subject. `streams`: how many streams the shards are spread over. The rest is for the
    consumers.
    """

    subject: str
    shards: int
    key: str | tuple[str, ...]
    generation: int = 1
    streams: int = 1
    reads: dict[str, ReadDecl] = {}
    bucket: str = "SMITH_CONTROL"
    pin_timeout: str = "10s"
    max_ack_pending: int = 256
    max_attempts: int = 5
    prefetch: int = 64
    publishes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The paths of the key, each as its names."""
        return tuple(tuple(path.split(".")) for path in ((self.key,) if isinstance(self.key, str) else self.key))

    @property
    def sharded(self) -> str:
        """The name of the sharded subject."""
        return f"{self.subject}_sharded"

    @property
    def word(self) -> str:
        """The token before the number of the shard."""
        return "shard" if self.generation == 1 else f"shard{self.generation}"


class OverrideDecl(Strict, frozen=True):
    """`[profiles.x.streams.X]`: the keys of one stream that this profile overrides."""

    replicas: int | None = None
    storage: Literal["file", "memory"] | None = None
    compression: Literal["none", "s2"] | None = None
    placement: PlacementDecl | None = None
    max_age: str | None = None
    max_bytes: str | int | None = None
    max_msgs: int | None = None
    max_msgs_per_subject: int | None = None
    max_msg_size: str | int | None = None
    duplicate_window: str | None = None


class ProfileDecl(Strict, frozen=True):
    """`[profiles.x]`: `fit` scales all sizes down to that sum, `ages` multiplies all ages.

    `streams` overrides keys of single streams.
    """

    replicas: int = 1
    fit: str | int | None = None
    ages: float = 1.0
    streams: dict[str, OverrideDecl] = {}
