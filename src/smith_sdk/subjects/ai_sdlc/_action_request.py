# generated from subjects.toml by smith-codegen; do not edit
"""The subject `ai_sdlc.action_request`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Received, Subscribable

from ...protocol._platform_event import PlatformEvent


@final
class AiSdlcActionRequest(
    CoreSubject[PlatformEvent], Subscribable[PlatformEvent, "AiSdlcActionRequest"], frozen=True, kw_only=True
):
    """`smith.ai.sdlc.action.request`: Actions asked for."""

    NAME: ClassVar[str] = "ai_sdlc.action_request"
    PATTERN: ClassVar[str] = "smith.ai.sdlc.action.request"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    def __str__(self) -> str:
        return "smith.ai.sdlc.action.request"

    @property
    def message_type(self) -> type[PlatformEvent]:
        """The class of the payload."""
        return PlatformEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls()


AiSdlcActionRequestMsg: TypeAlias = Received[PlatformEvent, AiSdlcActionRequest]
