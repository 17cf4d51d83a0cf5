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
"""The subject `intents.vetted_crates`."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any as _Any,
    ClassVar,
    Self as _Self,
    TypeAlias as _TypeAlias,
    final as _final,
    overload as _overload,
)

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import (
    AnySubject as _AnySubject,
    Cap as _Cap,
    Filter as _Filter,
    Received as _Received,
    Shard as _Shard,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import (
    ReadOnlySubject as _ReadOnlySubject,
    Subscribable as _Subscribable,
    make_filter as _make_filter,
)

from ...protocol import _capability as _cap_capability
from ...protocol._intent import INTENT_CLASSES, Capability, EachIntentT, Intent, IntentT, OneIntentT


@_final
class IntentsVettedCrates(
    _ReadOnlySubject[IntentT], _Subscribable[IntentT, "IntentsVettedCrates[IntentT]"], frozen=True, kw_only=True
):
    """`smith.intents.vetted.{capability}.shard.{shard}`: Intents that the crates sharded, by a hash
    of their own.
    """

    NAME: ClassVar[str] = "intents.vetted_crates"
    PATTERN: ClassVar[str] = "smith.intents.vetted.{capability}.shard.{shard}"
    STREAM: ClassVar[str | None] = "ATOMS_VETTED"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: _Cap[IntentT]
    shard: _Shard
    if TYPE_CHECKING:

        @_overload
        def __init__(
            self,
            *,
            capability: _Cap[IntentT],
            shard: _Shard,
        ) -> None: ...

        @_overload
        def __init__(
            self: IntentsVettedCrates[Intent],
            *,
            capability: Capability,
            shard: _Shard,
        ) -> None: ...

        def __init__(
            self,
            *,
            capability: _Any,
            shard: _Any,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _cap_capability._ALL:
            _refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_cap_capability._ALL)))
        if not isinstance(self.shard, _Shard):
            _refuse_token(self.PATTERN, "shard", self.shard, "a Shard")

    def __str__(self) -> str:
        return f"smith.intents.vetted.{self.capability}.shard.{self.shard}"

    @property
    def message_type(self) -> type[IntentT]:
        """The class of the payload."""
        found: type[IntentT] = INTENT_CLASSES[self.capability]
        return found

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[IntentsVettedCrates[Intent]]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            capability=_cap_capability._ALL.get(text := f"{tokens[3]}.{tokens[4]}.{tokens[5]}", text),
            shard=_Shard.read(cls.PATTERN, tokens[7]),
        )

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[EachIntentT],
        shard: _Shard | None = None,
    ) -> _Filter[EachIntentT, IntentsVettedCrates[EachIntentT]]: ...

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Capability | None = None,
        shard: _Shard | None = None,
    ) -> _Filter[Intent, IntentsVettedCrates[Intent]]: ...

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[OneIntentT],
        shard: _Shard | None = None,
    ) -> _Filter[OneIntentT, IntentsVettedCrates[OneIntentT]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[_Any] | None = None,
        shard: _Shard | None = None,
    ) -> _Filter[_Any, _Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _cap_capability._ALL):
            _refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_cap_capability._ALL)))
        if shard is not None and (not isinstance(shard, _Shard)):
            _refuse_token(cls.PATTERN, "shard", shard, "a Shard")
        return _make_filter(
            cls, f"smith.intents.vetted.{'*.*.*' if capability is None else capability}.shard.{'*' if shard is None else shard}"
        )


IntentsVettedCratesMsg: _TypeAlias = _Received[IntentT, IntentsVettedCrates[IntentT]]
