"""Declared streams and consumers, compared with the server and applied to it.

`plan` compares, `apply` changes the server, `verify` fails on drift. `info` and `get` read what the
streams hold, `purge` deletes it.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from .._core.jetstream.api import NANOS, parse_time
from .._core.jetstream.api_errors import PURGE_DENIED, api_error
from .._core.jetstream.session import Session
from .._core.topology.apply import Consent, apply_fresh, apply_plan
from .._core.topology.config_keys import Json
from .._core.topology.plan import Caution, Change, Difference, Plan, require_same_origin
from .._core.topology.planner import make_plan
from .._core.topology.purge_count import count_purged
from .._core.topology.stamps import differing_hashes, log
from ..contract import StreamSpec
from ..display import Record, Rows
from ..errors import OptionsError, StreamNotFound, TopologyDrift
from ..options import positive_int
from .consumer import ConsumerInfo, consumer_info

__all__ = ["Caution", "Change", "Difference", "Plan", "StreamInfo", "Streams"]


class StreamInfo(Record, frozen=True, kw_only=True):
    """A stream as the server has it: the number of `messages` stored, their `bytes`, and its
    consumers.

    `first_seq` and `last_seq` are sequences, `first_time` and `last_time` the times when those
    messages were stored (UTC), None for an empty stream. `utilisation` is the used share of each
    limit in percent (0 to 100), for those of `max_msgs`, `max_bytes`, `max_age` (by the oldest
    message) and `max_consumers` that are set.
    """

    name: str
    subjects: tuple[str, ...]
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    first_time: datetime | None
    last_time: datetime | None
    utilisation: dict[str, float]
    consumers: tuple[ConsumerInfo, ...]


class Streams:
    """The declared streams and consumers of the bus's contract: `bus.streams`."""

    def __init__(self, session: Session, profile: str) -> None:
        self._session = session
        self._profile = profile

    @property
    def profile(self) -> str:
        """Name of the profile (str) that `plan`, `apply` and `verify` use unless told otherwise.

        That of the bus: its `profile`, else the one that SMITH_PROFILE names, else "prod"; for
        `SmithBus.embedded()` its `profile`, else "dev".
        """
        return self._profile

    async def plan(self, profile: str | None = None, *, prune: bool = False) -> Plan:
        """Compare what the contract declares under `profile` with the server; None: the bus's own.

        Only declared keys are compared: what the server fills in by itself is not drift, and an
        update keeps undeclared keys as they are. With `prune`, the plan deletes undeclared streams
        that capture only subjects of the contract, and undeclared durable consumers of its streams.
        Raises `OptionsError` for an unknown profile, `TopologyRefused` if the server is too old for
        a declared key, `JetStreamDisabled`.
        """
        return await self._plan(profile, prune)

    async def _plan(self, profile: str | None, prune: bool) -> Plan:
        name = self._profile if profile is None else profile
        self._declared(name)
        return await make_plan(
            self._session.api, self._session.contract, name, prune=prune, made_for=self._session.connection.identity
        )

    def _declared(self, profile: str) -> tuple[StreamSpec, ...]:
        try:
            return self._session.contract.profile(profile)
        except KeyError as error:
            raise OptionsError(str(error.args[0])) from None

    async def apply(
        self,
        plan: Plan | None = None,
        *,
        profile: str | None = None,
        prune: bool = False,
        strand: bool = False,
        rename: bool = False,
    ) -> Plan:
        """Carry out `plan` exactly, and return it; None: what `plan(profile)` finds now.

        Safe to repeat, and for two at once. Deletes nothing, unless `prune=True` is passed here and
        to `plan`; the returned plan lists what was deleted. Leaves no stored message without a
        reader, unless `strand=True` is passed: what a `plan` says about that is counted again. A
        renamed consumer of a work queue takes the place of the old one with `rename=True` only.

        Raises `TopologyRefused` if the server refuses a step, and before anything is done if one is
        impossible or renames; `MessagesStranded` before the step that would leave messages without
        a reader; `PlanOutdated` if `plan` was made from another contract or for another server, if
        there are more such messages than it says, and if the server neither has what `plan` saw nor
        what it declares. What was done before that step stays done.
        """
        if plan is not None and plan.prune is not prune:
            why = "deletes what is not declared: pass prune=True here, too" if plan.prune else "was made without prune=True"
            raise OptionsError(f"apply(prune={prune}): the plan {why}")
        if plan is not None and profile is not None and plan.profile != profile:
            raise OptionsError(f"apply(profile={profile!r}): the plan is for profile {plan.profile!r}")
        consent = Consent(strand=strand, rename=rename)
        try:
            if plan is None:
                return await apply_fresh(self._session.api, lambda: self._plan(profile, prune), consent)
            require_same_origin(plan, self._session.contract, self._session.connection.identity)
            await apply_plan(self._session.api, plan, consent)
            return plan
        finally:
            self._session.forget_interest()

    async def verify(self, profile: str | None = None) -> None:
        """Raise `TopologyDrift`, with every difference, unless the server is as declared.

        Logs a warning if what is there was applied from a contract of another hash: that alone is
        not drift.
        """
        plan = await self._plan(profile, False)
        declared = [step for step in plan.steps if step.declared]
        for warning in differing_hashes((step.name, step.seen, step.declared) for step in declared):
            log.warning("%s", warning)
        if plan.changes:
            found = tuple(map(str, plan.changes))
            other = "".join(f". {caution}" for caution in plan.cautions if caution.kind == "profile")
            raise TopologyDrift(
                f"the server differs from the contract: {'; '.join(found)}. `smith streams plan` shows the differences, "
                f"`smith streams apply` removes them{other}",
                differences=found,
            )

    async def info(self) -> Rows[StreamInfo]:
        """The contract's streams as the server has them; streams that do not exist are left out."""
        found = await asyncio.gather(*(self._get(spec.name) for spec in self._session.contract.streams))
        return Rows(one for one in found if one is not None)

    async def get(self, stream: str) -> StreamInfo:
        """One of the contract's streams as the server has it.

        Raises `OptionsError` for any other, `StreamNotFound`.
        """
        self._require_declared(stream)
        api = self._session.api
        return _stream_info(await api.stream_info(stream), await api.consumers(stream))

    async def _get(self, stream: str) -> StreamInfo | None:
        try:
            return await self.get(stream)
        except StreamNotFound:
            return None

    async def purge(
        self,
        stream: str,
        *,
        subject: str | None = None,
        before_seq: int | None = None,
        keep: int | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete messages from one of the contract's streams, and return their number.

        Deletes all of them, or those that the options select. `subject` (wildcards allowed)
        selects the messages on it, `before_seq` those below that sequence, `keep` all but the
        newest `keep` ones. With `dry_run` nothing is deleted, and the number is exact as long as no
        client publishes or acknowledges meanwhile; with both `subject` and `before_seq` it reads
        every message that it counts.

        Raises `OptionsError` for another stream, an invalid subject, or `before_seq` with `keep`;
        `ChangeRefused` if the stream has `deny_purge`; `StreamNotFound`.
        """
        self._require_declared(stream)
        if subject is not None and (not all(subject.split(".")) or any(map(str.isspace, subject))):
            raise OptionsError(f"purge(subject={subject!r}): a subject has no empty token and no space")
        if before_seq is not None and keep is not None:
            raise OptionsError("purge: pass either before_seq or keep, not both")
        api = self._session.api
        info = await api.stream_info(stream)
        request: Json = {} if subject is None else {"filter": subject}
        if keep is not None:
            request["keep"] = positive_int("purge(keep)", keep, least=0)
        if before_seq is not None:  # with a sequence behind its end, the server would count on from there
            request["seq"] = min(positive_int("purge(before_seq)", before_seq), info["state"]["last_seq"] + 1)
        if not dry_run:
            return await api.stream_purge(stream, request)
        if info["config"].get("deny_purge"):
            raise api_error(PURGE_DENIED, stream=stream)
        return await count_purged(api, stream, **request)

    def _require_declared(self, stream: str) -> None:
        declared = [spec.name for spec in self._session.contract.streams]
        if stream not in declared:
            name = self._session.contract.name
            raise OptionsError(
                f"stream {stream!r} is not declared in contract {name!r}, which has {', '.join(declared) or 'none'}"
            )


def _stream_info(info: Json, consumers: list[Json]) -> StreamInfo:
    """A stream and its consumers from the server's JSON. Ages are by the server's clock."""
    config, state = info["config"], info["state"]
    first, last = (parse_time(state[key]) if state["messages"] else None for key in ("first_ts", "last_ts"))
    used = {
        "max_msgs": state["messages"],
        "max_bytes": state["bytes"],
        "max_age": (datetime.fromisoformat(info["ts"]) - first).total_seconds() * NANOS if first else 0,
        "max_consumers": state["consumer_count"],
    }
    return StreamInfo(
        name=config["name"],
        subjects=tuple(config.get("subjects") or ()),
        messages=state["messages"],
        bytes=state["bytes"],
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        first_time=first,
        last_time=last,
        utilisation={key: 100 * value / config[key] for key, value in used.items() if config.get(key, 0) > 0},
        consumers=tuple(map(consumer_info, consumers)),
    )
