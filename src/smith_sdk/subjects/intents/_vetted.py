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
"""The subject `intents.vetted`."""

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
    is_token as _is_token,
    refuse_message as _refuse_message,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import (
    StreamSubject as _StreamSubject,
    Subscribable as _Subscribable,
    make_filter as _make_filter,
)

from ...protocol import _capability as _cap_capability
from ...protocol._intent import INTENT_CLASSES, AnyIntent, Capability, EachIntentT, Intent, IntentT, OneIntentT
from ...protocol._tokens import Domain


@_final
class IntentsVetted(_StreamSubject[IntentT], _Subscribable[IntentT, "IntentsVetted[IntentT]"], frozen=True, kw_only=True):
    """`smith.intents.vetted.{capability}.{domain}`: Intents that admission let through, for the
    executors.
    """

    NAME: ClassVar[str] = "intents.vetted"
    PATTERN: ClassVar[str] = "smith.intents.vetted.{capability}.{domain}"
    STREAM: ClassVar[str | None] = "ATOMS_VETTED"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: _Cap[IntentT]
    domain: Domain
    if TYPE_CHECKING:

        @_overload
        def __init__(
            self,
            *,
            capability: _Cap[IntentT],
            domain: Domain,
        ) -> None: ...

        @_overload
        def __init__(
            self: IntentsVetted[Intent],
            *,
            capability: Capability,
            domain: Domain,
        ) -> None: ...

        def __init__(
            self,
            *,
            capability: _Any,
            domain: _Any,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _cap_capability._ALL:
            _refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_cap_capability._ALL)))
        if not _is_token(self.domain):
            _refuse_token(self.PATTERN, "domain", self.domain)

    def __str__(self) -> str:
        return f"smith.intents.vetted.{self.capability}.{self.domain}"

    @property
    def message_type(self) -> type[IntentT]:
        """The class of the payload."""
        found: type[IntentT] = INTENT_CLASSES[self.capability]
        return found

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[IntentsVetted[Intent]]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            capability=_cap_capability._ALL.get(text := f"{tokens[3]}.{tokens[4]}.{tokens[5]}", text),
            domain=tokens[6],
        )

    @_overload
    @classmethod
    def of(cls, message: EachIntentT) -> IntentsVetted[EachIntentT]: ...

    @_overload
    @classmethod
    def of(cls, message: OneIntentT) -> IntentsVetted[OneIntentT]: ...

    @classmethod
    def of(cls, message: AnyIntent) -> IntentsVetted[_Any]:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, AnyIntent):
            _refuse_message(cls.PATTERN, "Intent", message)
        read: _Any = message
        return IntentsVetted(
            capability=read.capability,
            domain=read.domain,
        )

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[EachIntentT],
        domain: Domain | None = None,
    ) -> _Filter[EachIntentT, IntentsVetted[EachIntentT]]: ...

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: Capability | None = None,
        domain: Domain | None = None,
    ) -> _Filter[Intent, IntentsVetted[Intent]]: ...

    @_overload
    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[OneIntentT],
        domain: Domain | None = None,
    ) -> _Filter[OneIntentT, IntentsVetted[OneIntentT]]: ...

    @classmethod
    def filter(
        cls,
        *,
        capability: _Cap[_Any] | None = None,
        domain: Domain | None = None,
    ) -> _Filter[_Any, _Any]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _cap_capability._ALL):
            _refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_cap_capability._ALL)))
        if domain is not None and (not _is_token(domain)):
            _refuse_token(cls.PATTERN, "domain", domain)
        return _make_filter(
            cls, f"smith.intents.vetted.{'*.*.*' if capability is None else capability}.{'*' if domain is None else domain}"
        )


IntentsVettedMsg: _TypeAlias = _Received[IntentT, IntentsVetted[IntentT]]
