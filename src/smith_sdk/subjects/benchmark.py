# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `benchmark`: `context`, `early_stop`, `failures`, `optimizer`, `runs`, `steps`,
`task_features`, `tools`.
"""

from ._benchmark import BenchmarkContext as context
from ._benchmark import BenchmarkContextMsg as ContextMsg
from ._benchmark import BenchmarkEarlyStop as early_stop
from ._benchmark import BenchmarkEarlyStopMsg as EarlyStopMsg
from ._benchmark import BenchmarkFailures as failures
from ._benchmark import BenchmarkFailuresMsg as FailuresMsg
from ._benchmark import BenchmarkOptimizer as optimizer
from ._benchmark import BenchmarkOptimizerMsg as OptimizerMsg
from ._benchmark import BenchmarkRuns as runs
from ._benchmark import BenchmarkRunsMsg as RunsMsg
from ._benchmark import BenchmarkSteps as steps
from ._benchmark import BenchmarkStepsMsg as StepsMsg
from ._benchmark import BenchmarkTaskFeatures as task_features
from ._benchmark import BenchmarkTaskFeaturesMsg as TaskFeaturesMsg
from ._benchmark import BenchmarkTools as tools
from ._benchmark import BenchmarkToolsMsg as ToolsMsg

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
