# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.backpressure`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from .._core.blocking.faces import Blocking, unwrap
from .._core.events import RuleChanged
from .._core.monitoring.rule_claims import ActiveRule
from ..aio import backpressure as _async
from ..aio.backpressure import _INTERVAL
from ..aio.pressure_rules import Rule
from ..display import Rows
from .bus import SmithBus

__all__ = ["ActiveRule", "ActiveRules", "BackPressure", "Rule", "RuleChanged"]


class BackPressure(Blocking):
    """Looks at the measures of `rules` every `interval` seconds, and acts while they hold.

    Enter it by `with` beside a worker, or `run` it as a program's main job. Rules of the same
    name may run in several processes: one of them owns the rule, and does what is for all
    (quarantine, limits, pauses), while each does what is for itself (`slow_down`, `call`). What is
    done is undone when the rule ends, and when this ends. After a crash the other processes, the
    next one that runs a rule of that name, or `smith backpressure clear` undo it.

    A measure that cannot be had leaves its rule as it is. An action that fails is tried again after
    the next interval.

    Raises `OptionsError` for a rule that names what the contract does not declare, or a worker of
    another bus or of the other face.
    """

    __slots__ = ()

    def __init__(self, bus: SmithBus[Any], rules: Sequence[Rule], *, interval: float | timedelta = _INTERVAL) -> None:
        aio = _async.BackPressure(unwrap(bus), rules, interval=interval)
        self._adopt(bus._portal, aio)
        self._aio._blocking()

    @property
    def name(self) -> str:
        """A name for logs and reports."""
        found: str = self._aio.name
        return found

    @property
    def active(self) -> tuple[RuleChanged, ...]:
        """The rules that hold in this process now, each as it began."""
        found: tuple[RuleChanged, ...] = self._aio.active
        return found

    def describe(self) -> Mapping[str, object]:
        """Its state now, in types that JSON has: which rules hold, why, and what is not known."""
        found: Mapping[str, object] = self._aio.describe()
        return found

    def run(self, *, signals: Collection[int] | None = None) -> None:
        """Work until `stop()` or one of `signals`, as `Worker.run` has them; then undo everything.

        Raises `StreamNotFound` if the bucket of switches does not exist, `TopologyRefused` if it is
        not as declared, `PermissionDenied`, `JetStreamDisabled`, `BusClosed`, and `OptionsError`
        while it is running already. What fails later is logged.
        """
        self._portal.run(self._aio._run, self._aio._until_stopped(signals=signals))

    def stop(self) -> None:
        """Undo everything, and end. Safe to repeat.

        If it is not running, its next `run` returns at once.
        """
        self._call_or(self._aio._stop_closed, self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


class ActiveRules(Blocking):
    """The rules of back pressure that act now, in whichever process.

    They are on the server: no process needs to run the rules here.
    """

    __slots__ = ()

    def __init__(self, bus: SmithBus) -> None:
        aio = _async.ActiveRules(unwrap(bus))
        self._adopt(bus._portal, aio)

    def list(self) -> Rows[ActiveRule]:
        """Every one, by name. Raises `StreamNotFound`, `PermissionDenied` and the like."""
        found: Rows[ActiveRule] = self._portal.call(self._aio.list)
        return found

    def clear(self, rule: str) -> bool:
        """End `rule` and undo what it does. Whether it acted.

        A process that runs it begins it again if its measures are still above their thresholds.
        Raises what `list` raises, `PermissionDenied` also for what is to be undone, and
        `OptionsError` for a name that no rule can have.
        """
        found: bool = self._portal.call(self._aio.clear, rule)
        return found
