# generated from subjects.toml by smith-codegen; do not edit
"""The subject `intents.vetted_crates`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final, overload

from smith_sdk.contract import Cap, Filter, ReadOnlySubject, Received, Shard, Subscribable, refuse_token

from ...protocol import _capability
from ...protocol._intent import INTENT_CLASSES, Intent, IntentT, OneIntentT


@final
class IntentsVettedCrates(
    ReadOnlySubject[IntentT], Subscribable[IntentT, "IntentsVettedCrates[IntentT]"], frozen=True, kw_only=True
):
    """`smith.intents.vetted.{capability}.shard.{shard}`: Intents that the crates sharded, by a hash
    of their own.
    """

    NAME: ClassVar[str] = "intents.vetted_crates"
    PATTERN: ClassVar[str] = "smith.intents.vetted.{capability}.shard.{shard}"
    STREAM: ClassVar[str | None] = "ATOMS_VETTED"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Cap[IntentT]
    shard: Shard

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _capability.ALL:
            refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_capability.ALL)))
        if not isinstance(self.shard, Shard):
            refuse_token(self.PATTERN, "shard", self.shard, "a Shard")

    def __str__(self) -> str:
        return f"smith.intents.vetted.{self.capability}.shard.{self.shard}"

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
            shard=Shard.read(cls.PATTERN, tokens[7]),
        )

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[OneIntentT],
        shard: Shard | None = None,
    ) -> Filter[OneIntentT, IntentsVettedCrates[OneIntentT]]: ...

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: None = None,
        shard: Shard | None = None,
    ) -> Filter[Intent, IntentsVettedCrates[Intent]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[Any] | None = None,
        shard: Shard | None = None,
    ) -> Filter[Any, Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _capability.ALL):
            refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_capability.ALL)))
        if shard is not None and (not isinstance(shard, Shard)):
            refuse_token(cls.PATTERN, "shard", shard, "a Shard")
        return Filter(
            f"smith.intents.vetted.{'*.*.*' if capability is None else capability}.shard.{'*' if shard is None else shard}"
        )


IntentsVettedCratesMsg: TypeAlias = Received[IntentT, IntentsVettedCrates[IntentT]]
