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
"""The subject `intents.quarantine`."""

from __future__ import annotations

from typing import Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import AnySubject as _AnySubject, Filter as _Filter, Received as _Received, refuse_token as _refuse_token
from smith_sdk.contract.generated import (
    StreamSubject as _StreamSubject,
    Subscribable as _Subscribable,
    make_filter as _make_filter,
)

from ...protocol import _capability as _cap_capability
from ...protocol._intent import Capability
from ...protocol._quarantined_intent import QuarantinedIntent


@_final
class IntentsQuarantine(
    _StreamSubject[QuarantinedIntent], _Subscribable[QuarantinedIntent, "IntentsQuarantine"], frozen=True, kw_only=True
):
    """`smith.intents.quarantine.{capability}`: Intents that wait for review."""

    NAME: ClassVar[str] = "intents.quarantine"
    PATTERN: ClassVar[str] = "smith.intents.quarantine.{capability}"
    STREAM: ClassVar[str | None] = "SDLC_QUARANTINE_BACKPRESSURE"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    capability: Capability

    def __post_init__(self) -> None:
        if not isinstance(self.capability, str) or self.capability not in _cap_capability._ALL:
            _refuse_token(self.PATTERN, "capability", self.capability, ", ".join(sorted(_cap_capability._ALL)))

    def __str__(self) -> str:
        return f"smith.intents.quarantine.{self.capability}"

    @property
    def message_type(self) -> type[QuarantinedIntent]:
        """The class of the payload."""
        return QuarantinedIntent

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[IntentsQuarantine]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            capability=_cap_capability._ALL.get(text := f"{tokens[3]}.{tokens[4]}.{tokens[5]}", text),
        )

    @classmethod
    def filter(
        cls,
        *,
        capability: Capability | None = None,
    ) -> _Filter[QuarantinedIntent, IntentsQuarantine]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if capability is not None and (not isinstance(capability, str) or capability not in _cap_capability._ALL):
            _refuse_token(cls.PATTERN, "capability", capability, ", ".join(sorted(_cap_capability._ALL)))
        return _make_filter(cls, f"smith.intents.quarantine.{'*.*.*' if capability is None else capability}")


IntentsQuarantineMsg: _TypeAlias = _Received[QuarantinedIntent, IntentsQuarantine]
