# generated from subjects.toml by smith-codegen; do not edit
"""The subject `results`."""

from __future__ import annotations

from typing import Any, ClassVar, Self, TypeAlias, final

from smith_sdk.contract import Filter, Received, StreamSubject, Subscribable, is_token, refuse_message, refuse_token

from ..protocol._intent_result import IntentResult
from ..protocol._tokens import IntentId


@final
class Results(StreamSubject[IntentResult], Subscribable[IntentResult, "Results"], frozen=True, kw_only=True):
    """`smith.results.{intent_id}`: What became of each intent."""

    NAME: ClassVar[str] = "results"
    PATTERN: ClassVar[str] = "smith.results.{intent_id}"
    STREAM: ClassVar[str | None] = "ATOMS_RESULTS"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    intent_id: IntentId

    def __post_init__(self) -> None:
        if not is_token(self.intent_id):
            refuse_token(self.PATTERN, "intent_id", self.intent_id)

    def __str__(self) -> str:
        return f"smith.results.{self.intent_id}"

    @property
    def message_type(self) -> type[IntentResult]:
        """The class of the payload."""
        return IntentResult

    @classmethod
    def from_tokens(cls, tokens: list[Any]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            intent_id=tokens[2],
        )

    @classmethod
    def of(cls, message: IntentResult) -> Self:
        """The subject of `message`. Raises `InvalidToken` if a field is not a valid token."""
        if not isinstance(message, IntentResult):
            refuse_message(cls.PATTERN, "IntentResult", message)
        read: Any = message
        return cls(
            intent_id=read.intent_id,
        )

    @classmethod
    def filter(
        cls,
        *,
        intent_id: IntentId | None = None,
    ) -> Filter[IntentResult, Results]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if intent_id is not None and (not is_token(intent_id)):
            refuse_token(cls.PATTERN, "intent_id", intent_id)
        return Filter(f"smith.results.{'*' if intent_id is None else intent_id}")


ResultsMsg: TypeAlias = Received[IntentResult, Results]
