# generated from subjects.toml by smith-codegen; do not edit
"""The subject `intents.quarantine`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import Filter, Received, StreamSubject, Subscribable, refuse_token

from ...protocol import _capability
from ...protocol._intent import Capability
from ...protocol._quarantined_intent import QuarantinedIntent


@final
class IntentsQuarantine(
    StreamSubject[QuarantinedIntent], Subscribable[QuarantinedIntent, "IntentsQuarantine"], frozen=True, kw_only=True
):
    """`smith.intents.quarantine.{capability}`: Intents that wait for review."""

    NAME: ClassVar[str] = "intents.quarantine"
    PATTERN: ClassVar[str] = "smith.intents.quarantine.{capability}"
    STREAM: ClassVar[str | None] = "SDLC_QUARANTINE_BACKPRESSURE"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Capability

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _capability.ALL:
            refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_capability.ALL)))

    def __str__(self) -> str:
        return f"smith.intents.quarantine.{self.capability}"

    @property
    def message_type(self) -> type[QuarantinedIntent]:
        """The class of the payload."""
        return QuarantinedIntent

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            capability=_capability.ALL.get(text := f"{tokens[3]}.{tokens[4]}.{tokens[5]}", text),
        )

    @classmethod
    def filter(
        cls,
        *,
        capability: Capability | None = None,
    ) -> Filter[QuarantinedIntent, IntentsQuarantine]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _capability.ALL):
            refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_capability.ALL)))
        return Filter(f"smith.intents.quarantine.{'*.*.*' if capability is None else capability}")


IntentsQuarantineMsg: TypeAlias = Received[QuarantinedIntent, IntentsQuarantine]
