# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `events`: `executor_lifecycle`, `health`, `metrics`."""

from ._events import EventsExecutorLifecycle as executor_lifecycle
from ._events import EventsExecutorLifecycleMsg as ExecutorLifecycleMsg
from ._events import EventsHealth as health
from ._events import EventsHealthMsg as HealthMsg
from ._events import EventsMetrics as metrics
from ._events import EventsMetricsMsg as MetricsMsg

__all__ = [
    "ExecutorLifecycleMsg",
    "HealthMsg",
    "MetricsMsg",
    "executor_lifecycle",
    "health",
    "metrics",
]
