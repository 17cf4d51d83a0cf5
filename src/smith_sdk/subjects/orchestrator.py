# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `orchestrator`: `audit`, `status`."""

from ._orchestrator import OrchestratorAudit as audit
from ._orchestrator import OrchestratorAuditMsg as AuditMsg
from ._orchestrator import OrchestratorStatus as status
from ._orchestrator import OrchestratorStatusMsg as StatusMsg

__all__ = [
    "AuditMsg",
    "StatusMsg",
    "audit",
    "status",
]
