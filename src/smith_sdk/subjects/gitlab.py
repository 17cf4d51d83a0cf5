# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `gitlab`: `event_issue`, `event_mr`, `event_pipeline`."""

from ._gitlab import GitlabEventIssue as event_issue
from ._gitlab import GitlabEventIssueMsg as EventIssueMsg
from ._gitlab import GitlabEventMr as event_mr
from ._gitlab import GitlabEventMrMsg as EventMrMsg
from ._gitlab import GitlabEventPipeline as event_pipeline
from ._gitlab import GitlabEventPipelineMsg as EventPipelineMsg

__all__ = [
    "EventIssueMsg",
    "EventMrMsg",
    "EventPipelineMsg",
    "event_issue",
    "event_mr",
    "event_pipeline",
]
