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
"""The subjects `benchmark`: `context`, `early_stop`, `failures`, `optimizer`, `runs`, `steps`,
`task_features`, `tools`.
"""

from typing import TYPE_CHECKING

__all__ = [
    "ContextMsg",
    "EarlyStopMsg",
    "FailuresMsg",
    "OptimizerMsg",
    "RunsMsg",
    "StepsMsg",
    "TaskFeaturesMsg",
    "ToolsMsg",
    "context",
    "early_stop",
    "failures",
    "optimizer",
    "runs",
    "steps",
    "task_features",
    "tools",
]

if TYPE_CHECKING:
    from ._context import BenchmarkContext as context
    from ._context import BenchmarkContextMsg as ContextMsg
    from ._early_stop import BenchmarkEarlyStop as early_stop
    from ._early_stop import BenchmarkEarlyStopMsg as EarlyStopMsg
    from ._failures import BenchmarkFailures as failures
    from ._failures import BenchmarkFailuresMsg as FailuresMsg
    from ._optimizer import BenchmarkOptimizer as optimizer
    from ._optimizer import BenchmarkOptimizerMsg as OptimizerMsg
    from ._runs import BenchmarkRuns as runs
    from ._runs import BenchmarkRunsMsg as RunsMsg
    from ._steps import BenchmarkSteps as steps
    from ._steps import BenchmarkStepsMsg as StepsMsg
    from ._task_features import BenchmarkTaskFeatures as task_features
    from ._task_features import BenchmarkTaskFeaturesMsg as TaskFeaturesMsg
    from ._tools import BenchmarkTools as tools
    from ._tools import BenchmarkToolsMsg as ToolsMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "context": "._context:BenchmarkContext",
            "ContextMsg": "._context:BenchmarkContextMsg",
            "early_stop": "._early_stop:BenchmarkEarlyStop",
            "EarlyStopMsg": "._early_stop:BenchmarkEarlyStopMsg",
            "failures": "._failures:BenchmarkFailures",
            "FailuresMsg": "._failures:BenchmarkFailuresMsg",
            "optimizer": "._optimizer:BenchmarkOptimizer",
            "OptimizerMsg": "._optimizer:BenchmarkOptimizerMsg",
            "runs": "._runs:BenchmarkRuns",
            "RunsMsg": "._runs:BenchmarkRunsMsg",
            "steps": "._steps:BenchmarkSteps",
            "StepsMsg": "._steps:BenchmarkStepsMsg",
            "task_features": "._task_features:BenchmarkTaskFeatures",
            "TaskFeaturesMsg": "._task_features:BenchmarkTaskFeaturesMsg",
            "tools": "._tools:BenchmarkTools",
            "ToolsMsg": "._tools:BenchmarkToolsMsg",
        },
    )
