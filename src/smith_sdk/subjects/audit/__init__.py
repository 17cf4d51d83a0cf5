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
"""The subjects `audit`: `execution`, `policy`, `security`."""

from typing import TYPE_CHECKING

__all__ = [
    "ExecutionMsg",
    "PolicyMsg",
    "SecurityMsg",
    "execution",
    "policy",
    "security",
]

if TYPE_CHECKING:
    from ._execution import AuditExecution as execution
    from ._execution import AuditExecutionMsg as ExecutionMsg
    from ._policy import AuditPolicy as policy
    from ._policy import AuditPolicyMsg as PolicyMsg
    from ._security import AuditSecurity as security
    from ._security import AuditSecurityMsg as SecurityMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "execution": "._execution:AuditExecution",
            "ExecutionMsg": "._execution:AuditExecutionMsg",
            "policy": "._policy:AuditPolicy",
            "PolicyMsg": "._policy:AuditPolicyMsg",
            "security": "._security:AuditSecurity",
            "SecurityMsg": "._security:AuditSecurityMsg",
        },
    )
