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
"""The subjects `orchestrator`: `audit`, `status`."""

from typing import TYPE_CHECKING

__all__ = [
    "AuditMsg",
    "StatusMsg",
    "audit",
    "status",
]

if TYPE_CHECKING:
    from ._audit import OrchestratorAudit as audit
    from ._audit import OrchestratorAuditMsg as AuditMsg
    from ._status import OrchestratorStatus as status
    from ._status import OrchestratorStatusMsg as StatusMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "audit": "._audit:OrchestratorAudit",
            "AuditMsg": "._audit:OrchestratorAuditMsg",
            "status": "._status:OrchestratorStatus",
            "StatusMsg": "._status:OrchestratorStatusMsg",
        },
    )
