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
"""The subjects `logs`: `errors`, `performance`, `security`, `service`."""

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from ._errors import LogsErrors as errors
    from ._errors import LogsErrorsMsg as ErrorsMsg
    from ._performance import LogsPerformance as performance
    from ._performance import LogsPerformanceMsg as PerformanceMsg
    from ._security import LogsSecurity as security
    from ._security import LogsSecurityMsg as SecurityMsg
    from ._service import LogsService as service
    from ._service import LogsServiceMsg as ServiceMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "errors": "._errors:LogsErrors",
            "ErrorsMsg": "._errors:LogsErrorsMsg",
            "performance": "._performance:LogsPerformance",
            "PerformanceMsg": "._performance:LogsPerformanceMsg",
            "security": "._security:LogsSecurity",
            "SecurityMsg": "._security:LogsSecurityMsg",
            "service": "._service:LogsService",
            "ServiceMsg": "._service:LogsServiceMsg",
        },
    )
