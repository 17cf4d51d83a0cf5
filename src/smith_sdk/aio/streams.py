"""Streams and consumers as declared: `plan` shows the difference to the server, `apply` makes it so, `verify` fails on drift.

Only declared keys are compared; what the server fills in by itself is no drift, and an update keeps what the contract does not declare.
Nothing is ever deleted here.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from .._core.admin import NANOS
from .._core.session import Session, filters_of
from ..contract import ConsumerSpec, StreamSpec
from ..errors import ConsumerNotFound, OptionsError, StreamNotFound, TopologyDrift, TopologyRefused

__all__ = ["Change", "Difference", "Plan", "StreamInfo", "Streams"]

_CREATED: Final = frozenset({10058, 10148})
_FIXED_FOR_STREAMS: Final = frozenset({"storage"})
_ONLY_ON: Final = frozenset({"deny_delete", "deny_purge"})


class Difference(msgspec.Struct, frozen=True):
    """One declared key whose value on the server is another."""

    key: str
    current: Any
    declared: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.current!r} -> {self.declared!r}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes to make one stream, or one consumer of it, as declared. `impossible`: the server cannot change it in place."""

    kind: Literal["create", "update", "impossible", "unchanged"]
    stream: str
    consumer: str | None = None
    differences: tuple[Difference, ...] = ()
    config: dict[str, Any] = {}

    def __str__(self) -> str:
        what = f"stream {self.stream}" if self.consumer is None else f"consumer {self.consumer} of {self.stream}"
        words = "; ".join(map(str, self.differences))
        return f"{self.kind} {what}{': ' + words if words else ''}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` would do, in order: streams before their consumers."""

    profile: str
    steps: tuple[Change, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The steps that are not `unchanged`."""
        return tuple(step for step in self.steps if step.kind != "unchanged")

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes)) or "nothing to do"


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as the server has it: `bytes` and `messages` stored, first and last sequence, how many consumers."""

    name: str
    subjects: tuple[str, ...]
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    consumers: int


class Streams:
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def plan(self, profile: str = "prod") -> Plan:
        """Compare what the contract declares under `profile` with the server. Raises `OptionsError` for an unknown profile."""
        try:
            specs = self._session.contract.profile(profile)
        except KeyError as error:
            raise OptionsError(str(error.args[0])) from None
        steps: list[Change] = []
        for spec in specs:
            steps.append(await self._plan_stream(spec))
        for consumer in self._session.contract.consumers:
            steps.append(await self._plan_consumer(consumer))
        return Plan(profile=profile, steps=tuple(steps))

    async def _plan_stream(self, spec: StreamSpec) -> Change:
        declared = stream_config(spec)
        try:
            current = (await self._session.admin.stream_info(spec.name))["config"]
        except StreamNotFound:
            return Change(kind="create", stream=spec.name, config=declared)
        differences = _differences(current, declared)
        kind: Literal["update", "impossible", "unchanged"] = "update" if differences else "unchanged"
        if any(_fixed(one) for one in differences):
            kind = "impossible"
        return Change(kind=kind, stream=spec.name, differences=differences, config={**current, **declared})

    async def _plan_consumer(self, spec: ConsumerSpec[Any, Any]) -> Change:
        declared = consumer_config(spec)
        try:
            current = (await self._session.admin.consumer_info(spec.stream, spec.name))["config"]
        except (ConsumerNotFound, StreamNotFound):
            return Change(kind="create", stream=spec.stream, consumer=spec.name, config=declared)
        there = {**current, "filter_subjects": sorted(filters_of(current))}
        wanted = {**declared, "filter_subjects": sorted(filters_of(declared))}
        wanted.pop("filter_subject", None)
        differences = _differences(there, wanted)
        base = {key: value for key, value in current.items() if key not in ("filter_subject", "filter_subjects")}
        kind: Literal["update", "impossible", "unchanged"] = "update" if differences else "unchanged"
        if any(one.key in ("ack_policy", "deliver_policy", "replay_policy") for one in differences):
            kind = "impossible"
        return Change(kind=kind, stream=spec.stream, consumer=spec.name, differences=differences, config={**base, **declared})

    async def apply(self, plan: Plan | None = None, *, profile: str = "prod") -> Plan:
        """Carry out `plan` (None: what `plan(profile)` says now) and return it. Safe to repeat, and for two at once.

        Raises `TopologyRefused` when the server refuses a step, and before anything is done when a step is impossible.
        """
        plan = await self.plan(profile) if plan is None else plan
        for step in plan.steps:
            if step.kind == "impossible":
                raise TopologyRefused(
                    f"the server cannot change this in place: {step}; make a new one beside it, or remove the old one yourself",
                    stream=step.stream,
                    consumer=step.consumer,
                )
        for step in plan.changes:
            await self._carry_out(step)
        self._session.forget_interest()
        return plan

    async def _carry_out(self, step: Change) -> None:
        admin = self._session.admin
        try:
            if step.consumer is not None:
                await admin.consumer_write(step.stream, step.config, step.kind)
            elif step.kind == "create":
                await admin.stream_create(step.config)
            else:
                await admin.stream_update(step.config)
        except TopologyRefused as error:
            if step.kind != "create" or error.err_code not in _CREATED:
                raise
            # Somebody made it meanwhile: what is still different is an update.
            spec = self._find(step)
            again = await (self._plan_stream(spec) if isinstance(spec, StreamSpec) else self._plan_consumer(spec))
            if again.kind == "update":
                await self._carry_out(again)
            elif again.kind == "impossible":
                raise

    def _find(self, step: Change) -> StreamSpec | ConsumerSpec[Any, Any]:
        if step.consumer is None:
            declared = self._session.contract.stream(step.stream)
            return msgspec.structs.replace(declared, replicas=step.config["num_replicas"], max_bytes=step.config.get("max_bytes"))
        return next(spec for spec in self._session.contract.consumers if (spec.stream, spec.name) == (step.stream, step.consumer))

    async def verify(self, profile: str = "prod") -> None:
        """Raise `TopologyDrift`, listing every difference, unless the server is as the contract declares."""
        changes = (await self.plan(profile)).changes
        if changes:
            words = tuple(map(str, changes))
            raise TopologyDrift(
                f"the server differs from the contract: {'; '.join(words)}. `smith streams plan` shows it, "
                f"`smith streams apply` mends it",
                differences=words,
            )

    async def info(self) -> list[StreamInfo]:
        """The contract's streams as the server has them; those that are not there are left out."""
        found: list[StreamInfo] = []
        for spec in self._session.contract.streams:
            try:
                info = await self._session.admin.stream_info(spec.name)
            except StreamNotFound:
                continue
            state = info["state"]
            found.append(
                StreamInfo(
                    name=spec.name,
                    subjects=tuple(info["config"].get("subjects") or ()),
                    messages=state["messages"],
                    bytes=state["bytes"],
                    first_seq=state["first_seq"],
                    last_seq=state["last_seq"],
                    consumers=state["consumer_count"],
                )
            )
        return found


def stream_config(spec: StreamSpec) -> dict[str, Any]:
    """The declared keys of a stream as the server's JSON names them."""
    config: dict[str, Any] = {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": spec.retention,
        "discard": spec.discard,
        "storage": spec.storage,
        "num_replicas": spec.replicas,
        "max_age": _nanos(spec.max_age),
        "max_bytes": spec.max_bytes,
        "max_msgs": spec.max_msgs,
        "max_msg_size": spec.max_msg_size,
        "duplicate_window": _nanos(spec.duplicate_window),
        "allow_direct": spec.allow_direct,
        "deny_delete": spec.deny_delete,
        "deny_purge": spec.deny_purge,
        "description": spec.description or None,
    }
    return {key: value for key, value in config.items() if value is not None}


def consumer_config(spec: ConsumerSpec[Any, Any]) -> dict[str, Any]:
    """The declared keys of a consumer; the worker counts attempts, so the server never stops delivering by itself."""
    config: dict[str, Any] = {
        "durable_name": spec.name,
        "name": spec.name,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": _nanos(spec.ack_wait),
        "max_deliver": -1,
        "max_ack_pending": spec.max_ack_pending,
    }
    if len(spec.filters) == 1:
        config["filter_subject"] = spec.filters[0]
    elif spec.filters:
        config["filter_subjects"] = list(spec.filters)
    if spec.description:
        config["description"] = spec.description
    return config


def _nanos(value: float | None) -> int | None:
    return None if value is None else round(value * NANOS)


def _differences(current: dict[str, Any], declared: dict[str, Any]) -> tuple[Difference, ...]:
    """Declared keys whose value is another on the server; a key it leaves out has the empty value of its type."""
    found = []
    for key, wanted in declared.items():
        there = current.get(key, type(wanted)())
        same = sorted(there) == sorted(wanted) if isinstance(wanted, list) else there == wanted
        if not same:
            found.append(Difference(key, there, wanted))
    return tuple(found)


def _fixed(one: Difference) -> bool:
    """Whether the server cannot change this key of a stream in place (seen on nats-server 2.15)."""
    if one.key == "retention":
        return "workqueue" in (one.current, one.declared)
    return one.key in _FIXED_FOR_STREAMS or (one.key in _ONLY_ON and one.current is True)
