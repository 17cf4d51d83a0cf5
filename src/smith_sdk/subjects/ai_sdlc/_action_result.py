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
"""The subject `ai_sdlc.action_result`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import AnySubject as _AnySubject, Received as _Received
from smith_sdk.contract.generated import CoreSubject as _CoreSubject, Subscribable as _Subscribable

from ...protocol._platform_event import PlatformEvent


@_final
class AiSdlcActionResult(
    _CoreSubject[PlatformEvent], _Subscribable[PlatformEvent, "AiSdlcActionResult"], frozen=True, kw_only=True
):
    """`smith.ai.sdlc.action.result`: Actions done."""

    NAME: ClassVar[str] = "ai_sdlc.action_result"
    PATTERN: ClassVar[str] = "smith.ai.sdlc.action.result"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    def __str__(self) -> str:
        return "smith.ai.sdlc.action.result"

    @property
    def message_type(self) -> type[PlatformEvent]:
        """The class of the payload."""
        return PlatformEvent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[AiSdlcActionResult]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls()


AiSdlcActionResultMsg: _TypeAlias = _Received[PlatformEvent, AiSdlcActionResult]
