# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.alerts`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._core.blocking.faces import Blocking, unwrap
from .._core.monitoring.alerts import Alert, AlertRule
from .._core.monitoring.consumer_lag import STALLED_AFTER
from ..aio import alerts as _async
from ..aio.alert_notifiers import Notify
from ..aio.alerts import (
    _DRIFT_EVERY,
    _INTERVAL,
    _TO_LOG,
    _UNKNOWN_AFTER,
)
from .bus import SmithBus
from .lag_monitor import LagMonitor

__all__ = ["Alert", "AlertMonitor", "AlertRule"]


class AlertMonitor(Blocking):
    """Looks at consumers and streams every `interval` seconds, and tells when a rule begins to hold
    and when it ends, once each.

    Enter it by `with`, or `run` it as a program's main job.

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

    __slots__ = ()

    def __init__(
        self,
        bus: SmithBus[Any],
        rules: Sequence[AlertRule] | None = None,
        *,
        notify: Sequence[Notify] = _TO_LOG,
        interval: float | timedelta = _INTERVAL,
        stalled_after: float | timedelta = STALLED_AFTER,
        unknown_after: float | timedelta = _UNKNOWN_AFTER,
        drift_every: float | timedelta = _DRIFT_EVERY,
        state_file: str | os.PathLike[str] | None = None,
    ) -> None:
        aio = _async.AlertMonitor(
            unwrap(bus),
            rules,
            notify=notify,
            interval=interval,
            stalled_after=stalled_after,
            unknown_after=unknown_after,
            drift_every=drift_every,
            state_file=state_file,
        )
        self._adopt(bus._portal, aio)
        self._aio._blocking()

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        found: str = self._aio.name
        return found

    @property
    def active(self) -> tuple[Alert, ...]:
        """The alerts that are raised now, in the order of the rules."""
        found: tuple[Alert, ...] = self._aio.active
        return found

    @property
    def lag(self) -> LagMonitor:
        """The monitor that its figures come from, which runs while this does."""
        return LagMonitor._wrap(self._portal, self._aio.lag)

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: which alerts are raised and why, what is not
        known, and what became of those that were to be delivered."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()` or one of `signals`, as `Worker.run` has them. Then what waits for a
        receiver is delivered within 5 seconds; what is left is logged.

        Raises `PermissionDenied` if streams may not be listed, `BusClosed`, and `OptionsError`
        while it is running already. What fails later is logged, and becomes the alert "not-known".
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self) -> None:
        """End it, once what waits for a receiver is delivered. Safe to repeat.

        If it is not running, its next `run` returns at once.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
