"""Drift: how one stream or consumer on the server differs from what is declared.

A plan looks at the whole server; this judges one INFO, as checks of health have it, without any
I/O. Only how many shards there are is asked of the server.
"""

from __future__ import annotations

from typing import Any, Final

from ...contract import ConsumerSpec, Contract, StreamSpec
from ..jetstream.api import JetStreamApi
from .config_keys import EVERY, Json, consumer_json, stream_json, with_filters
from .layouts import in_use
from .plan import Change
from .planner import plan_consumer, plan_stream
from .stamps import PROFILE, stamp_of

_AS_DECLARED: Final = ""
"""In place of a profile: as the spec has it, for a contract without the wanted one."""


class Drift:
    """Compares INFOs with `contract`: each stream under the profile that it was last applied under.

    `profile` is for one whose stamp names none that the contract has. What is declared is put into
    the form of the server's JSON once.
    """

    def __init__(self, contract: Contract, profile: str) -> None:
        self.contract = contract
        self._profile = profile
        self._streams: dict[tuple[str, str], tuple[StreamSpec, Json]] = {}
        self._consumers: dict[tuple[str, str, int | None], Json] = {}
        self._needed: tuple[int, str] | None = None

    def profile_of(self, stream: str, config: Json | None) -> str:
        """The profile that `stream` is compared under, given its config on the server; "" if it is
        compared with the spec as it is."""
        for name in (stamp_of(config).get(PROFILE, ""), self._profile):
            if name and any(source.has_profile(name) for source in (self.contract, self.contract.owner(stream))):
                return name
        return _AS_DECLARED

    def of_stream(self, name: str, info: Json) -> Change:
        """The step that would make the stream `name`, given its INFO, as it is declared."""
        return plan_stream(name, self._declared(name, self.profile_of(name, info["config"]))[1], info)

    def of_consumer(self, spec: ConsumerSpec[Any, Any], info: Json, stream: Json | None) -> Change:
        """The step that would make a consumer, given its INFO, as declared; `stream`: the config of
        its stream."""
        replicas = self._declared(spec.stream, self.profile_of(spec.stream, stream))[0].replicas
        key = (spec.stream, spec.name, replicas)
        declared = self._consumers.get(key)
        if declared is None:
            declared = self._consumers[key] = consumer_json(spec, replicas)
        return plan_consumer(spec.stream, spec.name, declared, {**info, "config": with_filters(info["config"])})

    @property
    def needed_level(self) -> tuple[int, str]:
        """The API level that what is declared needs, and the key that needs it; 0 and "" if
        none."""
        if self._needed is None:
            configs = [(False, self._declared(one.name, self.profile_of(one.name, None))[1]) for one in self.contract.streams]
            configs += [(True, consumer_json(one, 1)) for one in self.contract.consumers]
            needs = [
                (setting.needs(value), key)
                for is_consumer, config in configs
                for key, value in config.items()
                if (setting := EVERY[is_consumer].get(key)) is not None
            ]
            self._needed = max(needs, default=(0, ""))
        return self._needed

    def _declared(self, stream: str, profile: str) -> tuple[StreamSpec, Json]:
        found = self._streams.get((stream, profile))
        if found is None:
            spec = self._spec(stream, profile)
            found = self._streams[stream, profile] = (spec, stream_json(spec))
        return found

    def _spec(self, stream: str, profile: str) -> StreamSpec:
        for source in (self.contract, self.contract.owner(stream)):
            if source.has_profile(profile):
                return next(one for one in source.profile(profile) if one.name == stream)
        return self.contract.stream(stream)


class DriftInUse:
    """What to compare with: the contract, in the layouts that the buckets of its shardings have."""

    def __init__(self, api: JetStreamApi, contract: Contract, profile: str) -> None:
        self._api = api
        self._profile = profile
        self._declared = Drift(contract, profile)
        self.known = self._declared
        """As it was last asked for."""

    async def ask(self) -> Drift:
        """What holds now. Raises `TopologyRefused` if a layout is not valid, and what a request
        raises."""
        used = await in_use(self._api, self._declared.contract)
        self.known = Drift(used.contract, self._profile) if used.layouts else self._declared
        return self.known
