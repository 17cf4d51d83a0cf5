# generated from subjects.toml by smith-codegen; do not edit
"""The subject `intents.vetted_sharded`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final, overload

from smith_sdk.contract import (
    Cap,
    Filter,
    Received,
    Shard,
    ShardKey,
    StreamSubject,
    Subscribable,
    is_token,
    refuse_message,
    refuse_token,
)

from ...protocol import _capability
from ...protocol._intent import INTENT_CLASSES, Intent, IntentT, OneIntentT
from ...protocol._tokens import Domain
from .._sharding import episode as _episode


@final
class IntentsVettedSharded(
    StreamSubject[IntentT], Subscribable[IntentT, "IntentsVettedSharded[IntentT]"], frozen=True, kw_only=True
):
    """`smith.intents.vetted.{capability}.{domain}.shard.{shard}`: Intents that admission let
    through, for the executors, by shard of metadata.project and metadata.episode_id.
    """

    NAME: ClassVar[str] = "intents.vetted_sharded"
    PATTERN: ClassVar[str] = "smith.intents.vetted.{capability}.{domain}.shard.{shard}"
    STREAM: ClassVar[str | None] = "ATOMS_VETTED"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Cap[IntentT]
    domain: Domain
    shard: Shard

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _capability.ALL:
            refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_capability.ALL)))
        if not is_token(self.domain):
            refuse_token(self.PATTERN, "domain", self.domain)
        if not isinstance(self.shard, Shard):
            refuse_token(self.PATTERN, "shard", self.shard, "a Shard")

    def __str__(self) -> str:
        return f"smith.intents.vetted.{self.capability}.{self.domain}.{self.shard.tokens}"

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
            shard=Shard.read(cls.PATTERN, tokens[8], tokens[7]),
        )

    @classmethod
    def of(cls, message: OneIntentT, *, key: ShardKey | None = None) -> IntentsVettedSharded[OneIntentT]:
        """The subject of `message`, in the shard of its key.

        Raises `InvalidToken` if a field is not a valid token, `InvalidShardKey` if its key is not
        valid, and `SubjectMismatch` if it has none, or another one than `key`.
        """
        if not isinstance(message, Intent):
            refuse_message(cls.PATTERN, "Intent", message)
        read: Any = message
        return IntentsVettedSharded(
            capability=read.capability,
            domain=read.domain,
            shard=_episode.shard_of(read, key),
        )

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[OneIntentT],
        domain: Domain | None = None,
        shard: Shard | None = None,
    ) -> Filter[OneIntentT, IntentsVettedSharded[OneIntentT]]: ...

    @overload
    @classmethod
    def filter(
        cls,
        *,
        capability: None = None,
        domain: Domain | None = None,
        shard: Shard | None = None,
    ) -> Filter[Intent, IntentsVettedSharded[Intent]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: Cap[Any] | None = None,
        domain: Domain | None = None,
        shard: Shard | None = None,
    ) -> Filter[Any, Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _capability.ALL):
            refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_capability.ALL)))
        if domain is not None and (not is_token(domain)):
            refuse_token(cls.PATTERN, "domain", domain)
        if shard is not None and (not isinstance(shard, Shard)):
            refuse_token(cls.PATTERN, "shard", shard, "a Shard")
        return Filter(
            f"smith.intents.vetted.{'*.*.*' if capability is None else capability}.{'*' if domain is None else domain}."
            f"{'*.*' if shard is None else shard.tokens}"
        )


IntentsVettedShardedMsg: TypeAlias = Received[IntentT, IntentsVettedSharded[IntentT]]
