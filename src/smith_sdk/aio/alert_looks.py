"""What alerts look at beside a lag monitor: dead letters per minute, and drift."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from .._core.jetstream.kv import Bucket
from .._core.jetstream.session import Session
from .._core.monitoring.alert_values import LettersPerMinute
from .._core.monitoring.checks.dead_letters import letters_in
from .._core.monitoring.consumer_lag import StreamUsage
from .._core.monitoring.control import BUCKET
from .._core.monitoring.held_consumers import HeldConsumers
from .._core.monitoring.rule_claims import is_declared
from .._core.topology.drift import DriftInUse
from .._core.topology.plan import Difference
from ..contract import ConsumerSpec
from ..errors import ConsumerNotFound, SmithError, StreamNotFound

_TIMEOUT: Final = 5.0
_DRIFT_TIMEOUT: Final = 30.0
_AGAIN: Final = 5.0
"""Seconds after which a look for drift that failed is tried again."""
_SHOWN: Final = 3
"""Streams and consumers that a reason names."""


class Letters:
    """Counts the dead letters whenever their stream has changed."""

    def __init__(self, session: Session) -> None:
        self._api = session.api
        specs = [(spec.name, letters_in(session.contract, spec)) for spec in session.contract.streams]
        self._place = next(((name, pattern) for name, pattern in specs if pattern is not None), None)
        self._rate = LettersPerMinute()
        self.problem = ""
        """Why they could not be counted."""
        self._seen: datetime | None = None
        self._counted: tuple[int, int, int] | None = None
        """The messages and bytes of the stream as it was counted, and how many were letters."""

    async def take(self, streams: Iterable[StreamUsage], now: float) -> float | None:
        """Dead letters per minute; None if not known now."""
        usage = next((one for one in streams if self._place is not None and one.name == self._place[0]), None)
        if usage is None or self._place is None or usage.observed_at == self._seen:
            return None
        self._seen = usage.observed_at
        if self._counted is None or self._counted[:2] != (usage.messages, usage.bytes):
            try:
                async with asyncio.timeout(_TIMEOUT):
                    info = await self._api.stream_info(usage.name, count=self._place[1])
                self._counted = info["state"]["messages"], info["state"]["bytes"], int(info["total"])
            except Exception as error:  # also of an answer that is not as it should be
                self._counted = None
                self.problem = f"dead letters: {_text(error)}"
                return None
        self.problem = ""
        return self._rate.count(self._counted[2], now)


class DriftLook:
    """Compares the server with the contract every now and then, in the background.

    Each stream is compared under the profile that it was applied under, as in `bus.health()`. What
    back pressure limits is no drift.
    """

    def __init__(self, session: Session, profile: str, every: float) -> None:
        self._session = session
        self._drift = DriftInUse(session.api, session.contract, profile)
        self._every = every
        self._new: tuple[float, str] | None = None
        self.problem = ""

    async def run(self) -> None:
        while True:
            is_done = await self._look() if self._session.connection.is_up else False
            await asyncio.sleep(self._every if is_done else min(self._every, _AGAIN))

    async def _look(self) -> bool:
        """Whether it was seen what differs."""
        try:
            async with asyncio.timeout(_DRIFT_TIMEOUT):
                found = await self._find()
        except Exception as error:  # also of an answer that is not as it should be
            self.problem = f"drift: {_text(error)}"
            return False
        self.problem = ""
        self._new = float(len(found)), _listed(found)
        return True

    def take(self) -> tuple[float, str] | None:
        """How many streams and consumers differ, and which; None if there was no look since."""
        found, self._new = self._new, None
        return found

    async def _find(self) -> list[str]:
        drift, api = await self._drift.ask(), self._session.api
        contract = drift.contract
        streams = await asyncio.gather(*(_found(api.stream_info, one.name) for one in contract.streams))
        configs = {spec.name: info["config"] for spec, info in zip(contract.streams, streams, strict=True) if info is not None}
        found = []
        for spec, info in zip(contract.streams, streams, strict=True):
            if info is None:
                found.append(f"stream {spec.name} does not exist")
            elif (change := drift.of_stream(spec.name, info)).differences:
                found.append(str(change))
        specs = {name: [one for one in contract.consumers if one.stream == name] for name in configs}
        each = await asyncio.gather(
            *(self._consumers(stream, of_it, configs[stream]) for stream, of_it in specs.items() if of_it)
        )
        return [*found, *(one for consumers in each for one in consumers)]

    async def _consumers(self, stream: str, specs: list[ConsumerSpec[Any, Any]], config: dict[str, Any]) -> list[str]:
        api, found = self._session.api, []
        listed = {info["name"]: info for info in (await api.list_consumers(stream)).found}
        for spec in specs:
            # A cluster leaves consumers that have no leader out of a list.
            info = listed.get(spec.name) or await _found(api.consumer_info, stream, spec.name)
            if info is None:
                found.append(f"consumer {spec.name} of {stream} does not exist")
                continue
            step = self._drift.known.of_consumer(spec, info, config)
            left = await self._without_limits(spec, step.differences)
            if left:
                found.append(str(msgspec.structs.replace(step, differences=left)))
        return found

    async def _without_limits(self, spec: ConsumerSpec[Any, Any], differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
        """Those that no rule of back pressure makes."""
        if not differences or not is_declared(self._session.contract):
            return differences
        held = await HeldConsumers(Bucket(self._session, BUCKET), self._session.api).of(spec.stream, spec.name)
        limited = () if held is None or not held.rules else held.before
        return tuple(one for one in differences if one.key not in limited)


async def _found(look: Callable[..., Awaitable[dict[str, Any]]], *place: str) -> dict[str, Any] | None:
    """What `look` returns about `place`; None if it does not exist."""
    try:
        return await look(*place)
    except (StreamNotFound, ConsumerNotFound):
        return None


def _listed(found: list[str]) -> str:
    more = len(found) - _SHOWN
    return "; ".join(found[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _text(error: Exception) -> str:
    if isinstance(error, SmithError):
        return str(error)
    return "no answer in time" if isinstance(error, TimeoutError) else f"an unknown answer: {type(error).__name__}"
