"""Back pressure: rules that look at lag and utilisation, and act while these are too high."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from math import inf
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

from .._core.events import RuleChanged
from .._core.execution.stopping import Stopping
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.conditions import on_contract, require_pressure
from .._core.monitoring.control import BUCKET
from .._core.monitoring.lag import take
from .._core.monitoring.rule_claims import LEASE, ActiveRule, RuleClaims, is_declared
from .._core.monitoring.rules import Condition, Measure, RuleState, require_name
from ..contract import Contract
from ..display import Rows
from ..errors import BusClosed, OptionsError, PermissionDenied, SmithError
from ..options import to_seconds
from .bus import AsyncSmithBus
from .consumer import session_of
from .part_life import PartLife, stops_within
from .pressure_effects import effects
from .pressure_rules import Rule
from .rule_runner import Found, RuleRunner

__all__ = ["ActiveRule", "ActiveRules", "BackPressure", "Rule", "RuleChanged"]

log: Final = sdk_logger("backpressure")

_INTERVAL: Final = 5.0
_UNDO: Final = 5.0
"""Seconds to undo everything at the end."""
_FORBIDDEN_PAUSE: Final = 60.0
"""Seconds until a measure that is forbidden is asked for again: each refusal is in the log."""
_LEAST_TIMEOUT: Final = 2.0
"""Seconds that a look may take at least, however short the interval."""


class BackPressure:
    """Looks at the measures of `rules` every `interval` seconds, and acts while they hold.

    Enter it by `async with` beside a worker, or `run` it as a program's main job. Rules of the same
    name may run in several processes: one of them owns the rule, and does what is for all
    (quarantine, limits, pauses), while each does what is for itself (`slow_down`, `call`). What is
    done is undone when the rule ends, and when this ends. After a crash the other processes, the
    next one that runs a rule of that name, or `smith backpressure clear` undo it.

    A measure that cannot be had leaves its rule as it is. An action that fails is tried again after
    the next interval.

    Raises `OptionsError` for a rule that names what the contract does not declare, or a worker of
    another bus or of the other face.
    """

    def __init__(self, bus: AsyncSmithBus[Any], rules: Sequence[Rule], *, interval: float | timedelta = _INTERVAL) -> None:
        session = session_of(bus)
        self._bus = bus
        self._session = session
        self._rules = _require_rules(session.contract, rules)
        self._interval = to_seconds("BackPressure.interval", interval)
        self._is_blocking = False
        self._owner = f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}"
        self._claims = RuleClaims(session)
        self._runners = self._make()
        self._measures = {one.measure for _, when in self._rules for one in when.thresholds()}
        self._unknown: dict[Measure, str] = {}
        """Measures that cannot be had, and the type of the error, as it was logged."""
        self._forbidden: dict[Measure, float] = {}
        """Measures that may not be asked for, and when they are asked for again."""
        self._problem = ""
        """Why the bucket cannot be used, as it was logged."""
        self._cleaned_up_at = -inf
        self._idle_rules: set[str] = set()
        """Those that did not hold at the latest look."""
        self._life = PartLife(session, self, self._work, self._undo, log)

    def _blocking(self) -> None:
        """Refuse async functions. For the blocking face."""
        self._is_blocking = True
        self._runners = self._make()

    def _make(self) -> list[RuleRunner]:
        found = []
        for rule, when in self._rules:
            doing = list(effects(rule, self._session, self._claims, self._owner, self._bus, blocking=self._is_blocking))
            hold = to_seconds("Rule.hold", rule.hold, zero=True)
            found.append(RuleRunner(rule, RuleState(when, hold), doing, self._claims, self._session.events, self._owner))
        return found

    # ---- what it shows

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        return "back pressure"

    @property
    def active(self) -> tuple[RuleChanged, ...]:
        """The rules that hold in this process now, each as it began."""
        return tuple(one.active for one in self._runners if one.active is not None)

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: which rules hold, why, and what is not known."""
        return {
            "interval": self._interval,
            "rules": {one.rule.name: None if one.active is None else one.active.reason for one in self._runners},
            "owned": [one.rule.name for one in self._runners if one.is_owner],
            "unknown": sorted(measure.what for measure in self._unknown),
        }

    # ---- its life

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()` or one of `signals`, as `Worker.run` has them; then undo everything.

        Raises `StreamNotFound` if the bucket of switches does not exist, `TopologyRefused` if it is
        not as declared, `PermissionDenied`, `JetStreamDisabled`, `BusClosed`, and `OptionsError`
        while it is running already. What fails later is logged.
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    def _until_stopped(self, signals: Collection[int] | None) -> AbstractContextManager[Stopping]:
        return self._life.until_stopped(signals)

    async def _run(self, stopping: Stopping) -> None:
        await self._life.run(stopping)

    async def _work(self, stopping: Stopping) -> None:
        await self._claims.bucket.require()
        while not stopping.draining:
            await self._look()
            self._life.ready()
            await stops_within(stopping, self._interval)

    async def stop(self) -> None:
        """Undo everything, and end. Safe to repeat.

        If it is not running, its next `run` returns at once.
        """
        await self._life.stop()

    def _stop_closed(self) -> None:
        self._life.stop_closed()

    async def __aenter__(self) -> Self:
        """Returns after the first look. Raises what `run` raises."""
        await self._life.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._life.leave()

    # ---- one look

    async def _look(self) -> None:
        """Raises what ends the run: `BusClosed`, and `PermissionDenied` for the bucket."""
        now = asyncio.get_running_loop().time()
        timeout = max(_LEAST_TIMEOUT, self._interval)
        wanted = {one for one in self._measures if self._forbidden.get(one, 0.0) <= now}
        measured, found = await asyncio.gather(take(self._session.api, wanted, timeout=timeout), self._current(timeout))
        now = asyncio.get_running_loop().time()
        self._report(wanted, measured.failures, now)
        if found is None:
            return
        steps: list[Awaitable[None]] = [one.step(measured.values, found, now) for one in self._runners]
        failures = await asyncio.gather(*steps, self._clean_up(now), return_exceptions=True)
        for failure in failures:
            if isinstance(failure, BaseException):
                self._trouble(failure)

    async def _current(self, timeout: float) -> Found | None:
        """The claims that exist; None if they cannot be had."""
        try:
            async with asyncio.timeout(timeout):
                found = await self._claims.current()
        except (SmithError, TimeoutError) as error:
            self._trouble(error)
            return None
        if self._problem:
            self._problem = ""
            log.warning("back pressure: the bucket %s can be used again", BUCKET, extra=LogFields(stream=f"KV_{BUCKET}"))
        return found

    async def _clean_up(self, now: float) -> None:
        """Undo what processes have left behind that ran one of the rules, and were killed."""
        ended = {one.rule.name for one in self._runners if one.is_idle}
        if ended - self._idle_rules:  # perhaps because its owner was killed
            self._cleaned_up_at = -inf
        self._idle_rules = ended
        if now - self._cleaned_up_at < LEASE:
            return
        held = {rule for *_, one in await self._claims.held.all() for rule in one.rules}
        if left := ended & held:
            # Looked at in this order: a rule is claimed before it holds anything.
            for rule in left.difference(await self._claims.current()):
                await self._claims.undo(rule)
                log.warning("rule %s: undone what another process has left behind", rule, extra=LogFields(rule=rule))
        self._cleaned_up_at = now

    def _report(self, wanted: Collection[Measure], failures: Mapping[Measure, SmithError], now: float) -> None:
        """Log what cannot be measured, once, and when it can be again."""
        for measure in wanted:
            error = failures.get(measure)
            if isinstance(error, PermissionDenied):
                self._forbidden[measure] = now + _FORBIDDEN_PAUSE
            was, what = self._unknown.pop(measure, ""), "" if error is None else type(error).__name__
            if what:
                self._unknown[measure] = what
            if what == was:
                continue
            fields = LogFields(stream=measure.stream)
            if measure.consumer:
                fields["consumer"] = measure.consumer
            if what:
                fields["error_type"] = what
                log.warning("the %s is not known, and its rules stay as they are: %s", measure.what, error, extra=fields)
            else:
                log.warning("the %s is known again", measure.what, extra=fields)

    def _trouble(self, error: BaseException) -> None:
        """Log that the bucket cannot be used, once. Raises what ends the run."""
        if isinstance(error, (BusClosed, PermissionDenied)) or not isinstance(error, (SmithError, TimeoutError)):
            raise error
        what = type(error).__name__
        if what != self._problem:
            self._problem = what
            log.error(
                "back pressure: the bucket %s cannot be used, and rules stay as they are: %s",
                BUCKET,
                error if isinstance(error, SmithError) else "no answer in time",
                extra=LogFields(stream=f"KV_{BUCKET}", error_type=what),
            )

    async def _undo(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(_UNDO):
                ended = await asyncio.gather(*(one.stop(now) for one in self._runners), return_exceptions=True)
        except TimeoutError:
            ended = [TimeoutError(f"not done within {_UNDO:g} s")]
        for error in ended:
            if isinstance(error, Exception):
                log.error(
                    "back pressure: not all is undone of %s, which the next process that runs it does, or "
                    "`smith backpressure clear`: %s",
                    ", ".join(f"rule {one.rule.name}" for one in self._runners if not one.is_idle),
                    error,
                    extra=LogFields(stream=f"KV_{BUCKET}"),
                )
        self._runners = self._make()

    def __repr__(self) -> str:
        return f"<BackPressure of {', '.join(rule.name for rule, _ in self._rules)}>"


def _require_rules(contract: Contract, rules: Any) -> list[tuple[Rule, Condition]]:
    """The rules, each with its condition on the streams of `contract`. Raises `OptionsError`."""
    given = [rules] if isinstance(rules, Rule) else list(rules) if isinstance(rules, Sequence) else []
    if not given or not all(isinstance(one, Rule) for one in given):
        raise OptionsError(f"BackPressure.rules={rules!r}: must be a list of Rule")
    if not is_declared(contract):
        raise OptionsError(f"BackPressure: contract {contract.name!r} does not declare the bucket {BUCKET}")
    names = [one.name for one in given]
    for name in names:
        if names.count(name) > 1:
            raise OptionsError(f"BackPressure.rules: two rules have the name {name!r}: give each a Rule.name of its own")
    for rule in given:
        require_pressure(rule.name, rule.when)
    return [(rule, on_contract(rule.name, rule.when, contract)) for rule in given]


class ActiveRules:
    """The rules of back pressure that act now, in whichever process.

    They are on the server: no process needs to run the rules here.
    """

    def __init__(self, bus: AsyncSmithBus) -> None:
        session = session_of(bus)
        if not is_declared(session.contract):
            raise OptionsError(f"ActiveRules: contract {session.contract.name!r} does not declare the bucket {BUCKET}")
        self._claims = RuleClaims(session)

    async def list(self) -> Rows[ActiveRule]:
        """Every one, by name. Raises `StreamNotFound`, `PermissionDenied` and the like."""
        return Rows(await self._claims.active())

    async def clear(self, rule: str) -> bool:
        """End `rule` and undo what it does. Whether it acted.

        A process that runs it begins it again if its measures are still above their thresholds.
        Raises what `list` raises, `PermissionDenied` also for what is to be undone, and
        `OptionsError` for a name that no rule can have.
        """
        require_name("clear(rule)", rule)
        acted = any(one.rule == rule for one in await self._claims.active())
        await self._claims.drop(rule)  # first: its owner undoes it as well
        await self._claims.undo(rule)
        return acted
