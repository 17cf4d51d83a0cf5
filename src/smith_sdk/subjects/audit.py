# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `audit`: `execution`, `policy`, `security`."""

from ._audit import AuditExecution as execution
from ._audit import AuditExecutionMsg as ExecutionMsg
from ._audit import AuditPolicy as policy
from ._audit import AuditPolicyMsg as PolicyMsg
from ._audit import AuditSecurity as security
from ._audit import AuditSecurityMsg as SecurityMsg

__all__ = [
    "ExecutionMsg",
    "PolicyMsg",
    "SecurityMsg",
    "execution",
    "policy",
    "security",
]
