# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `logs`: `errors`, `performance`, `security`, `service`."""

from ._logs import LogsErrors as errors
from ._logs import LogsErrorsMsg as ErrorsMsg
from ._logs import LogsPerformance as performance
from ._logs import LogsPerformanceMsg as PerformanceMsg
from ._logs import LogsSecurity as security
from ._logs import LogsSecurityMsg as SecurityMsg
from ._logs import LogsService as service
from ._logs import LogsServiceMsg as ServiceMsg

__all__ = [
    "ErrorsMsg",
    "PerformanceMsg",
    "SecurityMsg",
    "ServiceMsg",
    "errors",
    "performance",
    "security",
    "service",
]
