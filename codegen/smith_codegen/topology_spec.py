"""Streams, consumers and profiles in a spec: strict structs with nats-server's own key names.

Each key that the server has and a spec may declare is here. `topology_checks.py` has their
dependencies, `smith_sdk/_core/topology/config_keys.py` their use at run time.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a spec. Unknown keys are refused."""

    doc: str = ""
    """What it is for, in words."""


class PlacementDecl(Strict, frozen=True):
    """Servers of `cluster` that have all `tags`."""

    cluster: str | None = None
    """The cluster."""
    tags: tuple[str, ...] = ()
    """Tags that each server has."""


class TransformDecl(Strict, frozen=True):
    """What matches `src` is stored under `dest`."""

    src: str
    """The subjects that it applies to, as a NATS pattern."""
    dest: str = ""
    """The subject that they are stored under. `{{wildcard(1)}}` is the first wildcard's token,
    `{{partition(8,1)}}` a number from its hash. By default the subject stays as it is."""


class RepublishDecl(Strict, frozen=True):
    """A message stored on `src` is also published to `dest`, or only its headers."""

    src: str
    """The stored messages that it applies to, as a NATS pattern."""
    dest: str
    """The subject that they are published to."""
    headers_only: bool | None = None
    """Whether only the headers are published, with the size of the payload."""


class ExternalDecl(Strict, frozen=True):
    """How a stream of another account or domain is reached."""

    api: str
    """The prefix of the other JetStream API, such as `$JS.hub.API`."""
    deliver: str | None = None
    """The prefix of the subjects that its messages are delivered on."""


class OriginDecl(Strict, frozen=True):
    """The stream of a mirror or source: one of the spec, unless it is `external`."""

    name: str
    """The name of the stream."""
    filter_subject: str | None = None
    """Only messages on these subjects, as a NATS pattern."""
    opt_start_seq: int | None = None
    """The sequence to begin with."""
    opt_start_time: str | None = None
    """The time to begin with: `"2030-01-31T12:00:00Z"`."""
    external: ExternalDecl | None = None
    """How it is reached, if it belongs to another account or domain."""
    subject_transforms: tuple[TransformDecl, ...] = ()
    """Subjects to store them under instead."""


class ConsumerLimitsDecl(Strict, frozen=True):
    """The most that consumers of the stream may ask for."""

    max_ack_pending: int | None = None
    """The most messages in flight of one consumer."""
    inactive_threshold: str | None = None
    """How long a consumer without a pull may live: `"1h"`."""


class StreamDecl(Strict, frozen=True):
    """`[streams.X]`: a stream, in nats-server's own key names. A key that is left out is the
    server's."""

    subjects: tuple[str, ...] = ()
    """The NATS patterns that it stores, with `*` and `>`. A mirror has none, and a stream with
    `sources` need not have any."""
    external: bool = False
    """Whether its subjects belong to others, such as the server's advisories, and not to this
    spec."""
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    """When a message is removed: at the limits, when no consumer is interested in it any longer, or
    when one has acknowledged it."""
    discard: Literal["old", "new"] = "old"
    """What happens when the stream is full: the oldest message is removed, or the new one
    refused."""
    storage: Literal["file", "memory"] = "file"
    """Where messages are stored."""
    max_age: str | None = None
    """How long a message is stored: `"12h"`. By default without end."""
    max_bytes: str | int | None = None
    """The most bytes that it stores: `"512MiB"`. By default without limit."""
    max_msgs: int | None = None
    """The most messages that it stores. By default without limit."""
    max_msg_size: str | int | None = None
    """The most bytes of one message, headers included: `"64KiB"`. By default the server's limit."""
    duplicate_window: str | None = None
    """How long a message's id is remembered, so that the message is stored once: `"120s"`. By
    default the server's, two minutes or `max_age` if that is less."""
    allow_direct: bool | None = None
    """Whether each replica answers direct gets of single messages."""
    deny_delete: bool | None = None
    """Whether the API refuses to delete single messages. Cannot be taken back."""
    deny_purge: bool | None = None
    """Whether the API refuses to purge. Cannot be taken back."""
    max_msgs_per_subject: int | None = None
    """The most messages that it stores for each subject. By default without limit."""
    discard_new_per_subject: bool | None = None
    """Whether `discard = "new"` holds for each subject, with `max_msgs_per_subject`."""
    max_consumers: int | None = None
    """The most consumers that it may have. By default without limit."""
    first_seq: int | None = None
    """The sequence of its first message."""
    compression: Literal["none", "s2"] | None = None
    """How the file store compresses."""
    persist_mode: Literal["async"] | None = None
    """`async`: acknowledged before it is on the disk. Faster, and a crash may lose what was
    acknowledged."""
    placement: PlacementDecl | None = None
    """The servers that may hold it."""
    allow_rollup_hdrs: bool | None = None
    """Whether a message may replace all others on its subject or in the stream (`Nats-Rollup`)."""
    allow_msg_ttl: bool | None = None
    """Whether single messages may have a time to live (`Nats-TTL`)."""
    subject_delete_marker_ttl: str | None = None
    """How long a marker stays when the last message of a subject expires: `"10m"`. Needs
    `allow_rollup_hdrs`."""
    allow_atomic: bool | None = None
    """Whether a batch may be published that is stored as a whole or not at all."""
    allow_batched: bool | None = None
    """Whether messages may be published in batches without an acknowledgement for each."""
    allow_msg_schedules: bool | None = None
    """Whether messages may be scheduled for later (`Nats-Schedule`)."""
    allow_msg_counter: bool | None = None
    """Whether its subjects are counters (`Nats-Incr`)."""
    republish: RepublishDecl | None = None
    """Publish what is stored again, over core NATS."""
    subject_transform: TransformDecl | None = None
    """Store what it captures under other subjects."""
    mirror: OriginDecl | None = None
    """The stream that it is a copy of."""
    sources: tuple[OriginDecl, ...] = ()
    """Streams that it copies from, beside its own subjects."""
    consumer_limits: ConsumerLimitsDecl | None = None
    """The most that its consumers may ask for."""
    metadata: dict[str, str] = {}
    """Free text by key, which the server stores."""

    @property
    def origins(self) -> tuple[OriginDecl, ...]:
        """The streams of its mirror or sources."""
        return self.sources if self.mirror is None else (self.mirror, *self.sources)


class ConsumerDecl(Strict, frozen=True):
    """`[consumers.x]`: a durable consumer, in nats-server's own key names."""

    stream: str
    """The stream that it reads."""
    ack_wait: str
    """How long a handler may take before the message is delivered again: `"30s"`."""
    max_attempts: int
    """How many times a message is handled before it becomes a dead letter; -1 for ever."""
    max_ack_pending: int
    """The most messages in flight, over all its workers."""
    prefetch: int
    """The most messages that one worker holds ahead of its handlers."""
    filter: dict[str, str] | None = None
    """What it receives: `subject` is a subject's name, other keys are values of its tokens. Without
    `filter` and `filters` it receives the whole stream."""
    filters: tuple[dict[str, str], ...] = ()
    """Several of these."""
    publishes: tuple[str, ...] = ()
    """The subjects that its handlers publish to, by name. Results and dead letters need no
    mention."""
    deliver_policy: Literal["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"] = "all"
    """Where it begins in the stream."""
    opt_start_seq: int | None = None
    """The sequence to begin with, for `by_start_sequence`."""
    opt_start_time: str | None = None
    """The time to begin with, for `by_start_time`: `"2030-01-31T12:00:00Z"`."""
    max_waiting: int | None = None
    """The most pulls that wait at the server. By default 512."""
    max_batch: int | None = None
    """The most messages of one pull. By default without limit."""
    max_bytes: str | int | None = None
    """The most bytes of one pull: `"1MiB"`. By default without limit."""
    max_expires: str | None = None
    """How long a pull may wait: `"60s"`. By default without limit."""
    inactive_threshold: str | None = None
    """How long it lives without a pull: `"24h"`. By default for ever."""
    replicas: int | None = None
    """How many servers hold its state. By default as many as hold the stream; never more."""
    mem_storage: bool | None = None
    """Whether its state is in memory only."""
    sample_freq: str | None = None
    """The part of acknowledgements that the server reports on: `"100%"`."""
    priority_policy: Literal["overflow", "pinned_client", "prioritized"] | None = None
    """How its workers share messages: by load (`overflow`), one at a time (`pinned_client`), or by
    priority."""
    priority_groups: tuple[str, ...] = ()
    """The names of its groups, for `priority_policy`."""
    priority_timeout: str | None = None
    """How long a pinned client may be silent before another one takes its place: `"2m"`."""
    pause_until: str | None = None
    """It delivers nothing before that time: `"2030-01-31T12:00:00Z"`."""
    metadata: dict[str, str] = {}
    """Free text by key, which the server stores."""

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
    """`[domains.x]`: domains that some consumers serve together."""

    domains: tuple[str, ...]
    """The values of the token `domain`."""
    consumers: tuple[str, ...]
    """The consumers, by name. Each is declared once for each group that names it, with a filter for
    each domain, instead of once for all domains."""
    beside_any_domain: bool = False
    """Whether each of them is declared for all domains, too."""


class ReadDecl(Strict, frozen=True):
    """Sharded subjects that others publish to, by a hash of their own."""

    pattern: str
    """Literals and `{token}`s, with `{shard}` last."""
    shards: int
    """How many shards the others have."""


class ShardingDecl(Strict, frozen=True):
    """`[sharding.x]`: a subject that is spread over shards by a key in its payloads."""

    subject: str
    """The subject, by name."""
    shards: int
    """How many shards, from 1 to 4096."""
    key: str | tuple[str, ...]
    """The path of the key in the payload, such as `metadata.project`; or a path that may be absent,
    and then the path of the key itself."""
    generation: int = 1
    """Counts the numbers of shards that the sharding has had. Another number is another
    generation."""
    streams: int = 1
    """How many streams the shards are spread over."""
    reads: dict[str, ReadDecl] = {}
    """The forms of other publishers, by the name of their subject."""
    bucket: str = "SMITH_CONTROL"
    """The key-value bucket of its members."""
    pin_timeout: str = "10s"
    """How long a worker may be silent before another one takes over its shards: `"10s"`."""
    max_ack_pending: int = 256
    """The most messages in flight of one shard."""
    max_attempts: int = 5
    """How many times a message is handled before it becomes a dead letter; -1 for ever."""
    prefetch: int = 64
    """The most messages of one shard that a worker holds ahead of its handlers."""
    publishes: tuple[str, ...] = ()
    """The subjects that its handlers publish to, by name."""

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
    """How many servers hold it."""
    storage: Literal["file", "memory"] | None = None
    """Where messages are stored."""
    compression: Literal["none", "s2"] | None = None
    """How the file store compresses."""
    placement: PlacementDecl | None = None
    """The servers that may hold it."""
    max_age: str | None = None
    """How long a message is stored: `"12h"`."""
    max_bytes: str | int | None = None
    """The most bytes that it stores: `"512MiB"`."""
    max_msgs: int | None = None
    """The most messages that it stores."""
    max_msgs_per_subject: int | None = None
    """The most messages that it stores for each subject."""
    max_msg_size: str | int | None = None
    """The most bytes of one message, headers included: `"64KiB"`."""
    duplicate_window: str | None = None
    """How long a message's id is remembered: `"120s"`."""


class ProfileDecl(Strict, frozen=True):
    """`[profiles.x]`: one way to run the streams, such as `dev` and `prod`."""

    replicas: int = 1
    """How many servers hold each stream: 1, 3 or 5."""
    fit: str | int | None = None
    """The bytes that all streams have together: sizes are scaled down to this sum: `"1GiB"`."""
    ages: float = 1.0
    """What all ages are multiplied by."""
    streams: dict[str, OverrideDecl] = {}
    """Streams of which single keys differ, by name."""
