# generated from subjects.toml by smith-codegen; do not edit
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""The subjects `events`: `executor_lifecycle`, `health`, `metrics`."""

from typing import TYPE_CHECKING

__all__ = [
    "ExecutorLifecycleMsg",
    "HealthMsg",
    "MetricsMsg",
    "executor_lifecycle",
    "health",
    "metrics",
]

if TYPE_CHECKING:
    from ._executor_lifecycle import EventsExecutorLifecycle as executor_lifecycle
    from ._executor_lifecycle import EventsExecutorLifecycleMsg as ExecutorLifecycleMsg
    from ._health import EventsHealth as health
    from ._health import EventsHealthMsg as HealthMsg
    from ._metrics import EventsMetrics as metrics
    from ._metrics import EventsMetricsMsg as MetricsMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "executor_lifecycle": "._executor_lifecycle:EventsExecutorLifecycle",
            "ExecutorLifecycleMsg": "._executor_lifecycle:EventsExecutorLifecycleMsg",
            "health": "._health:EventsHealth",
            "HealthMsg": "._health:EventsHealthMsg",
            "metrics": "._metrics:EventsMetrics",
            "MetricsMsg": "._metrics:EventsMetricsMsg",
        },
    )
