"""Alerts: rules about lag, stalls, fill, drift and the like, and who is told when they begin and
end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from .._core.execution.stopping import Stopping
from .._core.log_records import sdk_logger
from .._core.monitoring.alert_board import AlertBoard, Look
from .._core.monitoring.alert_store import AlertStore
from .._core.monitoring.alert_values import SeenValues
from .._core.monitoring.alerts import Alert, AlertRule, default_rules
from .._core.monitoring.conditions import on_contract
from .._core.monitoring.consumer_lag import STALLED_AFTER
from .._core.monitoring.rules import Condition, Kind, Measure
from ..contract import Contract
from ..display import FixedRows
from ..errors import BusClosed, OptionsError, SmithError
from ..options import to_seconds
from .alert_looks import DriftLook, Letters
from .alert_notifiers import Notify, sender_of, to_log
from .alert_outlet import Outlet
from .bus import AsyncSmithBus
from .consumer import session_of
from .lag_monitor import LagMonitor
from .part_life import PartLife, stops_within

__all__ = ["Alert", "AlertMonitor", "AlertRule"]

log: Final = sdk_logger("alerts")

_INTERVAL: Final = 5.0
_UNKNOWN_AFTER: Final = 60.0
_DRIFT_EVERY: Final = 60.0
_FLUSH: Final = 5.0
"""Seconds to deliver what waits at the end."""
_LATE: Final = 1.0
"""Seconds beyond its interval after which a look of the lag monitor is not waited for: nothing is
known then."""
_DRIFT: Final = Measure(kind="drift")
_LETTERS: Final = Measure(kind="dead letters per minute")
_AGAIN: Final = 60.0
"""Seconds until a lag monitor that has ended, which is in the log, is started again."""
_TO_LOG: Final[tuple[Notify, ...]] = (to_log(),)


class AlertMonitor:
    """Looks at consumers and streams every `interval` seconds, and tells when a rule begins to hold
    and when it ends, once each.

    Enter it by `async with`, or `run` it as a program's main job.

    - `rules`: None for `default_rules` of the bus's contract.
    - `notify`: `to_log()`, `to_health(...)`, `to_webhook(...)`, and functions, plain or async, that
      take an `Alert`. Each has a queue of its own: none waits for another, and none that fails
      stops the monitor. An async function runs in the event loop, a plain one in a thread.
    - `interval`: seconds between two looks, or a `timedelta`.
    - `stalled_after`: seconds without a completed message after which a consumer is stalled.
    - `unknown_after`: seconds for which something may not be known, such as while the server is
      away. Until then that changes nothing. After that the alert "not-known" is raised; the others
      stay as they were.
    - `drift_every`: seconds between two comparisons with the contract.

    - `state_file`: where what is raised is kept for the process that comes after this one, so that
      it is not raised again there, and is resolved if it has ended meanwhile. None: a new process
      knows nothing of it, and raises what holds again, with another `since`.

    What is raised stays so while this object is stopped and run again. Raises `OptionsError` for a
    rule that names what the contract does not declare.
    """

    def __init__(
        self,
        bus: AsyncSmithBus[Any],
        rules: Sequence[AlertRule] | None = None,
        *,
        notify: Sequence[Notify] = _TO_LOG,
        interval: float | timedelta = _INTERVAL,
        stalled_after: float | timedelta = STALLED_AFTER,
        unknown_after: float | timedelta = _UNKNOWN_AFTER,
        drift_every: float | timedelta = _DRIFT_EVERY,
        state_file: str | os.PathLike[str] | None = None,
    ) -> None:
        session = session_of(bus)
        self._bus = bus
        self._session = session
        self._interval = to_seconds("AlertMonitor.interval", interval)
        self._unknown_after = to_seconds("AlertMonitor.unknown_after", unknown_after)
        if self._unknown_after < self._interval:
            raise OptionsError(f"AlertMonitor.unknown_after={unknown_after!r}: must be at least the interval={interval!r}")
        every = to_seconds("AlertMonitor.drift_every", drift_every)
        stalled = to_seconds("AlertMonitor.stalled_after", stalled_after)
        self._lag = LagMonitor(bus, interval=self._interval, stalled_after=stalled)
        self._lag_again_at: float | None = None
        """When the lag monitor is started again; None while it runs."""
        self._lag_problem = ""
        """Why it could not be."""
        found = _require_rules(session.contract, rules)
        slow = {one.measure: every for _, when in found for one in when.thresholds() if one.measure.kind == "drift"}
        self._board = AlertBoard(found, unknown_after=self._unknown_after, slow=slow)
        self._values = SeenValues(self._board.measures)
        self._letters = Letters(session) if self._has("dead letters per minute") else None
        self._drift = DriftLook(session, bus.streams.profile, every) if self._has("drift") else None
        self._notify = _require_notify(notify)
        self._outlets = self._make(blocking=False)
        self._store = None if state_file is None else AlertStore(state_file)
        self._is_restored = False
        self._problem = ""
        """Why something is not known."""
        self._is_reported = False
        self._life = PartLife(session, self, self._work, self._finish, log)

    def _blocking(self) -> None:
        """Refuse async functions. For the blocking face."""
        self._outlets = self._make(blocking=True)

    def _make(self, *, blocking: bool) -> list[Outlet]:
        return [Outlet(sender_of(one, self._bus, blocking=blocking)) for one in self._notify]

    # ---- what it shows

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        return "alert monitor"

    @property
    def active(self) -> tuple[Alert, ...]:
        """The alerts that are raised now, in the order of the rules."""
        return FixedRows(self._board.active)

    @property
    def lag(self) -> LagMonitor:
        """The monitor that its figures come from, which runs while this does."""
        return self._lag

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: which alerts are raised and why, what is not
        known, and what became of those that were to be delivered."""
        return {
            "interval": self._interval,
            "rules": self._board.rules,
            "raised": {one.rule: one.reason for one in self._board.active},
            "problem": self._problem,
            "notify": [one.describe() for one in self._outlets],
        }

    # ---- its life

    async def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()` or one of `signals`, as `Worker.run` has them. Then what waits for a
        receiver is delivered within 5 seconds; what is left is logged.

        Raises `PermissionDenied` if streams may not be listed, `BusClosed`, and `OptionsError`
        while it is running already. What fails later is logged, and becomes the alert "not-known".
        """
        with self._until_stopped(signals) as stopping:
            await self._run(stopping)

    def _until_stopped(self, signals: Collection[int] | None) -> AbstractContextManager[Stopping]:
        return self._life.until_stopped(signals)

    async def _run(self, stopping: Stopping) -> None:
        await self._life.run(stopping)

    async def stop(self) -> None:
        """End it, once what waits for a receiver is delivered. Safe to repeat.

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

    async def _work(self, stopping: Stopping) -> None:
        self._board.start(monotonic())
        for outlet in self._outlets:
            outlet.start()
        self._restore()
        await self._start_lag(stopping)
        drift = None if self._drift is None else asyncio.ensure_future(self._drift.run())
        try:
            while not stopping.draining:
                await self._look()
                self._life.ready()
                await self._wait(stopping)
        except SmithError as error:  # nothing more will be known
            self._tell(self._board.give_up(str(error), datetime.now(UTC)))
            raise
        finally:
            if drift is not None:
                drift.cancel()
            await self._lag.stop()

    def _has(self, kind: Kind) -> bool:
        return any(one.kind == kind for one in self._board.measures)

    def _restore(self) -> None:
        if self._store is not None and not self._is_restored:
            self._is_restored = True
            raised = self._store.read()
            for outlet in self._outlets:
                outlet.restore(raised)
            self._tell(self._board.restore(raised, monotonic(), datetime.now(UTC)))

    def _save(self) -> None:
        """Keep what is raised, once it was told: a crash before that has it raised again."""
        if self._store is not None and all(one.is_idle for one in self._outlets):
            self._store.write(self._board.active)

    async def _finish(self) -> None:
        delivered = await asyncio.gather(*(outlet.finish(_FLUSH) for outlet in self._outlets))
        if self._store is not None and self._is_restored and all(delivered):
            self._store.write(self._board.active)

    async def _wait(self, stopping: Stopping) -> None:
        """Until the next look of the lag monitor, or the end."""
        if self._lag_again_at is not None:
            await stops_within(stopping, self._interval)
            await self._start_lag_again(self._lag_again_at)
            return
        updated, stopped = asyncio.ensure_future(self._lag.updated()), asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait((updated, stopped), timeout=self._interval + _LATE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            has_ended = updated.done() and updated.exception() is not None
            updated.cancel()
            stopped.cancel()
        if has_ended and not stopping.draining:
            self._session.require_open()
            self._lag_again_at = monotonic() + _AGAIN  # it has logged why it ended

    async def _start_lag(self, stopping: Stopping) -> None:
        """Return after its first look, or at the end."""
        self._lag_again_at = None
        entered, stopped = asyncio.ensure_future(self._lag.__aenter__()), asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait((entered, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not entered.done():
                await self._lag.stop()
        await entered

    async def _start_lag_again(self, at: float) -> None:
        if monotonic() < at:
            return
        try:
            await self._lag.__aenter__()
            self._lag_again_at, self._lag_problem = None, ""
        except BusClosed:
            raise
        except Exception as error:  # also of an answer that is not as it should be
            self._lag_problem = str(error) or type(error).__name__
            self._lag_again_at = monotonic() + _AGAIN

    # ---- one look

    async def _look(self) -> None:
        consumers, streams = self._lag.latest(), self._lag.streams()
        values: dict[Measure, float] = {}
        details: dict[Measure, str] = {}
        for measure, value, detail in self._values.take(consumers, streams):
            values[measure], details[measure] = value, detail
        connection = self._session.connection
        if connection.closed_by is not None:
            raise connection.closed_by
        if self._drift is not None and (drift := self._drift.take()) is not None:
            values[_DRIFT], details[_DRIFT] = drift
        if self._letters is not None and (letters := await self._letters.take(streams, monotonic())) is not None:
            values[_LETTERS] = letters
        away = "" if connection.is_up else f"no connection to {connection.url}"
        own = [one.problem for one in (self._drift, self._letters) if one is not None and one.problem]
        self._problem = "; ".join(filter(None, [away or self._lag.problem or self._lag_problem, *own]))
        self._report("; ".join(own))
        self._save()
        look = Look(values=values, details=details, problem=self._problem)
        self._tell(self._board.step(look, monotonic(), datetime.now(UTC)))

    def _report(self, problem: str) -> None:
        """Log what this looks at by itself and cannot know, once. The lag monitor logs its own."""
        if bool(problem) is not self._is_reported:
            self._is_reported = bool(problem)
            if problem:
                log.warning("not all measures are known, and their alerts stay as they are: %s", problem)
            else:
                log.warning("all measures are known again")

    def _tell(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            for outlet in self._outlets:
                outlet.put(alert)

    def __repr__(self) -> str:
        return f"<AlertMonitor of {self._board.rules} rules, {len(self._board.active)} alerts raised>"


def _require_rules(contract: Contract, rules: Any) -> list[tuple[AlertRule, Condition]]:
    """The rules, each with its condition on the streams of `contract`. Raises `OptionsError`."""
    given = default_rules(contract) if rules is None else list(rules) if isinstance(rules, Sequence) else []
    if not given or not all(isinstance(one, AlertRule) for one in given):
        raise OptionsError(f"AlertMonitor.rules={rules!r}: must be a list of AlertRule, or None for those by default")
    names = [one.name for one in given]
    for name in names:
        if names.count(name) > 1:
            raise OptionsError(f"AlertMonitor.rules: two rules have the name {name!r}: give each an AlertRule.name of its own")
    return [(rule, on_contract(rule.name, rule.when, contract)) for rule in given]


def _require_notify(notify: Any) -> list[Notify]:
    if not isinstance(notify, Sequence):
        raise OptionsError(f"AlertMonitor.notify={notify!r}: must be a list, such as [to_log()]")
    return list(notify)
