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
"""The subjects `gitlab`: `event_issue`, `event_mr`, `event_pipeline`."""

from typing import TYPE_CHECKING

__all__ = [
    "EventIssueMsg",
    "EventMrMsg",
    "EventPipelineMsg",
    "event_issue",
    "event_mr",
    "event_pipeline",
]

if TYPE_CHECKING:
    from ._event_issue import GitlabEventIssue as event_issue
    from ._event_issue import GitlabEventIssueMsg as EventIssueMsg
    from ._event_mr import GitlabEventMr as event_mr
    from ._event_mr import GitlabEventMrMsg as EventMrMsg
    from ._event_pipeline import GitlabEventPipeline as event_pipeline
    from ._event_pipeline import GitlabEventPipelineMsg as EventPipelineMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "event_issue": "._event_issue:GitlabEventIssue",
            "EventIssueMsg": "._event_issue:GitlabEventIssueMsg",
            "event_mr": "._event_mr:GitlabEventMr",
            "EventMrMsg": "._event_mr:GitlabEventMrMsg",
            "event_pipeline": "._event_pipeline:GitlabEventPipeline",
            "EventPipelineMsg": "._event_pipeline:GitlabEventPipelineMsg",
        },
    )
