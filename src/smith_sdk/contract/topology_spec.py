"""Streams, consumers and profiles as a spec declares them; keys have their nats-server names.

Sizes are bytes, durations seconds; None leaves a key to the server. `_core/topology/config_keys.py`
writes each key as the server's JSON has it.
"""

from __future__ import annotations

from typing import Any, Generic, Literal

import msgspec

from ..errors import OptionsError
from .domain_names import DERIVED_FROM, PLACEHOLDER, checked_domains, derived_name
from .subjects import M_co, S_co


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """The servers that may hold a stream: those of `cluster` that have all `tags`."""

    cluster: str | None = None
    tags: tuple[str, ...] = ()


class SubjectTransform(msgspec.Struct, frozen=True, kw_only=True):
    """A message that matches `src` is stored under `dest`.

    `dest` may contain `{{wildcard(1)}}` or `{{partition(8,1)}}`.
    """

    src: str
    dest: str = ""


class Republish(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message that matches `src` is also published to `dest` over core NATS.

    `headers_only` publishes it without its payload.
    """

    src: str
    dest: str
    headers_only: bool | None = None


class External(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of another account or domain: the subject prefixes of its API and its deliveries."""

    api: str
    deliver: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The stream that a mirror or a source copies from. `opt_start_time` is RFC 3339."""

    name: str
    filter_subject: str | None = None
    opt_start_seq: int | None = None
    opt_start_time: str | None = None
    external: External | None = None
    subject_transforms: tuple[SubjectTransform, ...] = ()


class ConsumerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Upper limits for the consumers of a stream, and defaults of those that set no value."""

    max_ack_pending: int | None = None
    inactive_threshold: float | None = None


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A declared stream. Sizes are bytes, durations seconds; None leaves the key to the server."""

    name: str
    subjects: tuple[str, ...] = ()
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    discard: Literal["old", "new"] = "old"
    storage: Literal["file", "memory"] = "file"
    replicas: int = 1
    max_age: float | None = None
    max_bytes: int | None = None
    max_msgs: int | None = None
    max_msg_size: int | None = None
    duplicate_window: float | None = None
    allow_direct: bool | None = None
    deny_delete: bool | None = None
    deny_purge: bool | None = None
    description: str = ""
    max_msgs_per_subject: int | None = None
    discard_new_per_subject: bool | None = None
    max_consumers: int | None = None
    first_seq: int | None = None
    compression: Literal["none", "s2"] | None = None
    persist_mode: Literal["async"] | None = None
    placement: Placement | None = None
    allow_rollup_hdrs: bool | None = None
    allow_msg_ttl: bool | None = None
    subject_delete_marker_ttl: float | None = None
    allow_atomic: bool | None = None
    allow_batched: bool | None = None
    allow_msg_schedules: bool | None = None
    allow_msg_counter: bool | None = None
    republish: Republish | None = None
    subject_transform: SubjectTransform | None = None
    mirror: Origin | None = None
    sources: tuple[Origin, ...] = ()
    consumer_limits: ConsumerLimits | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class ConsumerSpec(msgspec.Struct, Generic[M_co, S_co], frozen=True, kw_only=True):
    """A declared durable pull consumer. Durations are seconds; None leaves the key to the server.

    `max_attempts` (-1: no limit) is enforced by the worker, not by the server's `max_deliver`.
    `max_batch`, `max_bytes` and `max_expires` limit one pull.

    `domain_filters` are its filters with `{domain}` in place of the wildcard for the domain; empty
    if some filter has no such wildcard. One that `for_domains` made has its `domains`, and the name
    of the consumer that it was `derived_from`.
    """

    name: str
    stream: str
    filters: tuple[str, ...]
    ack_wait: float
    max_attempts: int
    max_ack_pending: int
    prefetch: int
    description: str = ""
    deliver_policy: Literal["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"] = "all"
    opt_start_seq: int | None = None
    opt_start_time: str | None = None
    max_waiting: int | None = None
    max_batch: int | None = None
    max_bytes: int | None = None
    max_expires: float | None = None
    inactive_threshold: float | None = None
    replicas: int | None = None
    mem_storage: bool | None = None
    sample_freq: str | None = None
    priority_policy: Literal["overflow", "pinned_client", "prioritized"] | None = None
    priority_groups: tuple[str, ...] = ()
    priority_timeout: float | None = None
    pause_until: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    domain_filters: tuple[str, ...] = ()
    derived_from: str = ""
    domains: tuple[str, ...] = ()

    def for_domains(self, *domains: str) -> ConsumerSpec[M_co, S_co]:
        """A consumer like this one that receives only what is for `domains`.

        It is another durable consumer, with its domains in its name whatever their order, and has
        to be declared: in `[domains]` of the spec, or by `Contract.with_domains`. Raises
        `InvalidToken` for what is not a token, `OptionsError` for no domain, for one given twice,
        and for a consumer whose filters do not let the domain open.
        """
        if not self.domain_filters:
            why = f"it was derived from {self.derived_from} already" if self.derived_from else "its filters have no open {domain}"
            raise OptionsError(f"consumer {self.name}: for_domains: {why}, so it cannot be narrowed to domains")
        chosen = checked_domains(self.name, self.domain_filters[0], domains)
        return msgspec.structs.replace(
            self,
            name=derived_name(self.name, chosen),
            filters=tuple(filter.replace(PLACEHOLDER, domain) for domain in chosen for filter in self.domain_filters),
            description=f"{self.description} Only of {', '.join(chosen)}.".strip(),
            metadata=(*self.metadata, (DERIVED_FROM, self.name)),
            domain_filters=(),
            derived_from=self.name,
            domains=chosen,
        )


class DomainGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Domains that some consumers serve together, each through one that is derived from it.

    With `beside_any_domain` those for all domains stay beside them.
    """

    name: str
    domains: tuple[str, ...]
    consumers: tuple[str, ...]
    beside_any_domain: bool = False


class StreamOverride(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one stream that a profile overrides; None overrides nothing."""

    stream: str
    replicas: int | None = None
    storage: Literal["file", "memory"] | None = None
    compression: Literal["none", "s2"] | None = None
    placement: Placement | None = None
    max_age: float | None = None
    max_bytes: int | None = None
    max_msgs: int | None = None
    max_msgs_per_subject: int | None = None
    max_msg_size: int | None = None
    duplicate_window: float | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A variant of the topology for one environment.

    `replicas` is set on every stream, `fit` scales all `max_bytes` in proportion to at most that
    sum (bytes), `ages` multiplies every `max_age`. An override in `streams` takes precedence; `fit`
    distributes what the overrides leave.
    """

    name: str
    replicas: int = 1
    fit: int | None = None
    ages: float = 1.0
    streams: tuple[StreamOverride, ...] = ()

    def applied(self, specs: tuple[StreamSpec, ...]) -> tuple[StreamSpec, ...]:
        """The streams as this profile defines them."""
        overrides = {one.stream: _overridden(one) for one in self.streams}
        shared = sum(spec.max_bytes or 0 for spec in specs if "max_bytes" not in overrides.get(spec.name, {}))
        factor = 1.0
        if self.fit is not None:
            left = self.fit - sum(overrides.get(spec.name, {}).get("max_bytes", 0) for spec in specs)
            factor = min(1.0, max(0, left) / shared) if shared else 1.0
        return tuple(self._applied(spec, overrides.get(spec.name, {}), factor) for spec in specs)

    def _applied(self, spec: StreamSpec, override: dict[str, Any], factor: float) -> StreamSpec:
        scaled = msgspec.structs.replace(
            spec,
            replicas=self.replicas,
            max_bytes=None if spec.max_bytes is None else max(1, int(spec.max_bytes * factor)),
            max_age=None if spec.max_age is None else spec.max_age * self.ages,
        )
        found = msgspec.structs.replace(scaled, **override)
        if found.max_age and found.duplicate_window and found.duplicate_window > found.max_age:
            return msgspec.structs.replace(found, duplicate_window=found.max_age)  # the server refuses a longer one
        return found


def _overridden(override: StreamOverride) -> dict[str, Any]:
    every = msgspec.structs.asdict(override)
    return {key: value for key, value in every.items() if key != "stream" and value is not None}
