# generated from subjects.toml by smith-codegen; do not edit
"""The subjects `ai_sdlc`: `action_request`, `action_result`."""

from ._ai_sdlc import AiSdlcActionRequest as action_request
from ._ai_sdlc import AiSdlcActionRequestMsg as ActionRequestMsg
from ._ai_sdlc import AiSdlcActionResult as action_result
from ._ai_sdlc import AiSdlcActionResultMsg as ActionResultMsg

__all__ = [
    "ActionRequestMsg",
    "ActionResultMsg",
    "action_request",
    "action_result",
]
