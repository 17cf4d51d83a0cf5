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
"""The subject `dlq`."""

from __future__ import annotations

from typing import Any as _Any, ClassVar, Self as _Self, TypeAlias as _TypeAlias, final as _final

from typing_extensions import TypeIs as _TypeIs

from smith_sdk.contract import (
    AnySubject as _AnySubject,
    Filter as _Filter,
    Received as _Received,
    is_int_token as _is_int_token,
    is_token as _is_token,
    read_int_token as _read_int_token,
    refuse_token as _refuse_token,
)
from smith_sdk.contract.generated import (
    StreamSubject as _StreamSubject,
    Subscribable as _Subscribable,
    make_filter as _make_filter,
)

from ..protocol._tokens import ConsumerName, StreamName, StreamSeq


@_final
class Dlq(_StreamSubject[bytes], _Subscribable[bytes, "Dlq"], frozen=True, kw_only=True):
    """`smith.dlq.{stream}.{consumer}.{seq}`: Dead letters: the bytes as received, the reason in the
    headers.
    """

    NAME: ClassVar[str] = "dlq"
    PATTERN: ClassVar[str] = "smith.dlq.{stream}.{consumer}.{seq}"
    STREAM: ClassVar[str | None] = "SMITH_DLQ"
    ORIGIN: ClassVar[str] = "smith_sdk.topology:CONTRACT"

    stream: StreamName
    consumer: ConsumerName
    seq: StreamSeq

    def __post_init__(self) -> None:
        if not _is_token(self.stream):
            _refuse_token(self.PATTERN, "stream", self.stream)
        if not _is_token(self.consumer):
            _refuse_token(self.PATTERN, "consumer", self.consumer)
        if not _is_int_token(self.seq, 1, None):
            _refuse_token(self.PATTERN, "seq", self.seq, "a whole number from 1")

    def __str__(self) -> str:
        return f"smith.dlq.{self.stream}.{self.consumer}.{self.seq}"

    @property
    def message_type(self) -> type[bytes]:
        """The class of the payload."""
        return bytes

    @classmethod
    def match(cls, subject: _AnySubject) -> _TypeIs[Dlq]:
        """Whether `subject` is one of this class; type checkers then know what it carries."""
        return isinstance(subject, cls)

    @classmethod
    def from_tokens(cls, tokens: list[_Any]) -> _Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        return cls(
            stream=tokens[2],
            consumer=tokens[3],
            seq=StreamSeq(_read_int_token(cls.PATTERN, "seq", tokens[4])),
        )

    @classmethod
    def filter(
        cls,
        *,
        stream: StreamName | None = None,
        consumer: ConsumerName | None = None,
        seq: StreamSeq | None = None,
    ) -> _Filter[bytes, Dlq]:
        """All subjects of this kind, or those with the given tokens. Raises `InvalidToken`."""
        if stream is not None and (not _is_token(stream)):
            _refuse_token(cls.PATTERN, "stream", stream)
        if consumer is not None and (not _is_token(consumer)):
            _refuse_token(cls.PATTERN, "consumer", consumer)
        if seq is not None and (not _is_int_token(seq, 1, None)):
            _refuse_token(cls.PATTERN, "seq", seq, "a whole number from 1")
        return _make_filter(
            cls,
            f"smith.dlq.{'*' if stream is None else stream}.{'*' if consumer is None else consumer}.{'*' if seq is None else seq}",
        )


DlqMsg: _TypeAlias = _Received[bytes, Dlq]
