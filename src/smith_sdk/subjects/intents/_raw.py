# generated from subjects.toml by smith-codegen; do not edit
"""The subject `intents.raw`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final, overload

from smith_sdk.contract import Cap, Filter, Received, StreamSubject, Subscribable, refuse_message, refuse_token

from ...protocol import _capability
from ...protocol._intent import INTENT_CLASSES, Intent, IntentT, OneIntentT


@final
class IntentsRaw(StreamSubject[IntentT], Subscribable[IntentT, "IntentsRaw[IntentT]"], frozen=True, kw_only=True):
    """`smith.intents.raw.{capability}`: Intents as published, before admission."""

    NAME: ClassVar[str] = "intents.raw"
    PATTERN: ClassVar[str] = "smith.intents.raw.{capability}"
    STREAM: ClassVar[str | None] = "SDLC_RAW"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Cap[IntentT]

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _capability.ALL:
            refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_capability.ALL)))

    def __str__(self) -> str:
        return f"smith.intents.raw.{self.capability}"

    @property
    def message_type(self) -> type[IntentT]:
        """The class of the payload."""
        found: type[IntentT] = INTENT_CLASSES[self.capability]
        return found

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            capability=_capability.ALL.get(text := f"{tokens[3]}.{tokens[4]}.{tokens[5]}", text),
        )

    @classmethod
    def of(cls, message: OneIntentT) -> IntentsRaw[OneIntentT]:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, Intent):
            refuse_message(cls.PATTERN, "Intent", message)
        read: Any = message
        return IntentsRaw(
            capability=read.capability,
        )

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[OneIntentT],
    ) -> Filter[OneIntentT, IntentsRaw[OneIntentT]]: ...

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: None = None,
    ) -> Filter[Intent, IntentsRaw[Intent]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[Any] | None = None,
    ) -> Filter[Any, Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _capability.ALL):
            refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_capability.ALL)))
        return Filter(f"smith.intents.raw.{'*.*.*' if capability is None else capability}")


IntentsRawMsg: TypeAlias = Received[IntentT, IntentsRaw[IntentT]]
