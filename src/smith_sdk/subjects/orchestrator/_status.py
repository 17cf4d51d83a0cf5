# generated from subjects.toml by smith-codegen; do not edit
"""The subject `orchestrator.status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import CoreSubject, Received, Subscribable

from ...protocol._platform_event import PlatformEvent


@final
class OrchestratorStatus(
    CoreSubject[PlatformEvent], Subscribable[PlatformEvent, "OrchestratorStatus"], frozen=True, kw_only=True
):
    """`smith.orchestrator.status`: How the orchestrator is."""

    NAME: ClassVar[str] = "orchestrator.status"
    PATTERN: ClassVar[str] = "smith.orchestrator.status"
    STREAM: ClassVar[str | None] = None
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    def __str__(self) -> str:
        return "smith.orchestrator.status"

    @property
    def message_type(self) -> type[PlatformEvent]:
        """The class of the payload."""
        return PlatformEvent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls()


OrchestratorStatusMsg: TypeAlias = Received[PlatformEvent, OrchestratorStatus]
