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
"""The subjects `ai_sdlc`: `action_request`, `action_result`."""

from typing import TYPE_CHECKING

__all__ = [
    "ActionRequestMsg",
    "ActionResultMsg",
    "action_request",
    "action_result",
]

if TYPE_CHECKING:
    from ._action_request import AiSdlcActionRequest as action_request
    from ._action_request import AiSdlcActionRequestMsg as ActionRequestMsg
    from ._action_result import AiSdlcActionResult as action_result
    from ._action_result import AiSdlcActionResultMsg as ActionResultMsg
else:
    # Checkers must not see this: a module `__getattr__` would turn every misspelt name into Any.
    from smith_sdk.contract import lazy_names as _lazy_names

    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "action_request": "._action_request:AiSdlcActionRequest",
            "ActionRequestMsg": "._action_request:AiSdlcActionRequestMsg",
            "action_result": "._action_result:AiSdlcActionResult",
            "ActionResultMsg": "._action_result:AiSdlcActionResultMsg",
        },
    )
