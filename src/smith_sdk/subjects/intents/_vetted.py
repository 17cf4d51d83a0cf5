# generated from subjects.toml by smith-codegen; do not edit
"""The subject `intents.vetted`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final, overload

from smith_sdk.contract import Cap, Filter, Received, StreamSubject, Subscribable, is_token, refuse_message, refuse_token

from ...protocol import _capability
from ...protocol._intent import INTENT_CLASSES, Intent, IntentT, OneIntentT
from ...protocol._tokens import Domain


@final
class IntentsVetted(StreamSubject[IntentT], Subscribable[IntentT, "IntentsVetted[IntentT]"], frozen=True, kw_only=True):
    """`smith.intents.vetted.{capability}.{domain}`: Intents that admission let through, for the
    executors.
    """

    NAME: ClassVar[str] = "intents.vetted"
    PATTERN: ClassVar[str] = "smith.intents.vetted.{capability}.{domain}"
    STREAM: ClassVar[str | None] = "ATOMS_VETTED"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Cap[IntentT]
    domain: Domain

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _capability.ALL:
            refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_capability.ALL)))
        if not is_token(self.domain):
            refuse_token(self.PATTERN, "domain", self.domain)

    def __str__(self) -> str:
        return f"smith.intents.vetted.{self.capability}.{self.domain}"

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
            domain=tokens[6],
        )

    @classmethod
    def of(cls, message: OneIntentT) -> IntentsVetted[OneIntentT]:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, Intent):
            refuse_message(cls.PATTERN, "Intent", message)
        read: Any = message
        return IntentsVetted(
            capability=read.capability,
            domain=read.domain,
        )

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[OneIntentT],
        domain: Domain | None = None,
    ) -> Filter[OneIntentT, IntentsVetted[OneIntentT]]: ...

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: None = None,
        domain: Domain | None = None,
    ) -> Filter[Intent, IntentsVetted[Intent]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[Any] | None = None,
        domain: Domain | None = None,
    ) -> Filter[Any, Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _capability.ALL):
            refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_capability.ALL)))
        if domain is not None and (not is_token(domain)):
            refuse_token(cls.PATTERN, "domain", domain)
        return Filter(f"smith.intents.vetted.{'*.*.*' if capability is None else capability}.{'*' if domain is None else domain}")


IntentsVettedMsg: TypeAlias = Received[IntentT, IntentsVetted[IntentT]]
