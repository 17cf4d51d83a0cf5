"""Tokens, subjects, filters and envelopes.

How type checkers reject wrong code: a subject is an *invariant* `Subject[MessageT]`, so
`publish(subject: StreamSubject[M], payload: PayloadOf[M])` has one solution for M or none. A
`Filter` is covariant and not a `Subject`: it can be subscribed to, never published to. A token that
selects the payload is an invariant `Cap[MessageT]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, NoReturn, Self, TypeAlias, final

import msgspec
from typing_extensions import TypeVar

from ..errors import InvalidToken, PayloadMismatch, ServiceError

MessageT = TypeVar("MessageT")
ReplyT = TypeVar("ReplyT")
M_co = TypeVar("M_co", covariant=True, default=Any)
# No `bound=AnySubject`: mypy joins two consumers or filters to `object` if their join, which is a
# plain `object` in the place of the subject, breaks a bound.
S_co = TypeVar("S_co", covariant=True, default="AnySubject")
OtherMessageT = TypeVar("OtherMessageT")
OtherSubjectT = TypeVar("OtherSubjectT")


@final
class NothingElse(Generic[MessageT]):
    """No object is one: it only stands in `PayloadOf`."""

    def __new__(cls) -> Never:
        raise TypeError("there are no objects of NothingElse")


PayloadOf: TypeAlias = MessageT | NothingElse[Callable[[], MessageT]]
"""A parameter that accepts what the subject beside it carries: `MessageT`, and nothing else.

mypy infers `MessageT` from all arguments at once, and if these disagree it names neither of them,
or, for a TypeVar that is bound to a union, accepts any payload. Parameters whose type holds a
`Callable` wait until the others have decided, so here the subject alone decides.
"""


# ---- tokens

# White space above U+0020 is listed: `\s` in the class takes twice as long on a token of 36 chars.
_white_space = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_no_utf8 = "\ud800-\udfff"
_legal_token: Final = re.compile(f"[^.*>\x00-\x20\x7f{_white_space}{_no_utf8}]{{1,256}}").fullmatch


_SHOWN: Final = 100
"""Characters of a refused value that an error shows."""


def is_token(value: object) -> bool:
    """Whether `value` is a valid NATS token.

    A token has 1 to 256 characters, none of them '.', '*', '>', white space or a control character.
    """
    if not isinstance(value, str):
        return False
    # Letters, digits and dashes, which most tokens consist of, take a third of the pattern's time.
    return (len(value) <= 256 and value.replace("-", "a").isalnum()) or _legal_token(value) is not None


def is_int_token(value: object, least: int | None, most: int | None) -> bool:
    """Whether `value` is an int (not a bool) within the bounds; None is no bound."""
    return type(value) is int and (least is None or value >= least) and (most is None or value <= most)


def read_int_token(pattern: str, token: str, text: str, format_spec: str = "d") -> int:
    """The int that a wire token represents.

    Raises `InvalidToken` unless `text` is exactly what `format_spec` ("d", "02x") makes of it, so
    that a number has one subject only.
    """
    try:
        value = int(text, 16 if format_spec.endswith("x") else 10)
    except ValueError:
        value = None
    if value is None or format(value, format_spec) != text:
        refuse_token(pattern, token, text, "a whole number" if format_spec == "d" else f"a whole number, written {format_spec}")
    return value


def is_tail(value: object) -> bool:
    """Whether `value` is the end of a subject: a tuple of at least one valid token."""
    return type(value) is tuple and len(value) > 0 and all(map(is_token, value))


def join_tokens(tokens: list[Any]) -> Any:
    """The value, a str, that spans several wire tokens."""
    return ".".join(tokens)


def read_part(pattern: str, token: str, text: str, prefix: str, suffix: str) -> Any:
    """The value, a str, in the wire token `text` that has `prefix` and `suffix` around it.

    Raises `InvalidToken` if it does not, or if there is nothing between them.
    """
    if not (len(text) > len(prefix) + len(suffix) and text.startswith(prefix) and text.endswith(suffix)):
        refuse_token(pattern, token, text, f"{prefix}{{{token}}}{suffix}, with a value of at least one character")
    return text[len(prefix) : len(text) - len(suffix)]


def refuse_token(pattern: str, token: str, value: object, allowed: str = "", payload: str = "") -> NoReturn:
    """Raise the `InvalidToken` for `value` as `{token}` of `pattern`; `allowed`: valid values.

    `payload` is the class that has the field, where a payload is made and not yet a subject.
    """
    if allowed:
        why = f"allowed: {allowed}"
        if isinstance(value, _HandMadeCap):
            why = f"it was made by hand and not taken from the contract; {why}"
    elif not isinstance(value, str):
        why = f"a token is a str, not {type(value).__name__}"
    elif not value:
        why = "a token cannot be empty"
    else:
        why = "a token is 1 to 256 characters without '.', '*', '>', white space and control characters"
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = f"{shown[:_SHOWN]}... ({len(shown)} characters)"
    if payload:
        text = f"{payload}.{token} cannot be {shown}, since it is a token of subject {pattern}: {why}"
    else:
        text = f"{{{token}}} of subject {pattern} cannot be {shown}: {why}"
    raise InvalidToken(text, pattern=pattern, token=token, value=value)


def refuse_message(pattern: str, expected: str, message: object) -> NoReturn:
    """Raise the `PayloadMismatch` for a `message` of `pattern` whose class is not `expected`."""
    raise PayloadMismatch(f"subject {pattern} carries {expected}, not {type(message).__name__}", subject=pattern)


class Cap(str, Generic[MessageT]):
    """A token value that selects the payload, such as `capability.fs_read_v1`.

    Invariant. Only generated code makes instances: one that is made by hand equals no value of a
    contract, so subjects and filters refuse it with `InvalidToken`.
    """

    __slots__ = ()

    if TYPE_CHECKING:

        def __new__(cls, *, only_generated_code_can_make_one: Never) -> Self: ...

    else:

        def __new__(cls, value: object = "") -> Self:
            return str.__new__(_HandMadeCap, value)

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return make_cap, (str(self),)


class _HandMadeCap(Cap[Any]):
    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def make_cap(value: str) -> Any:
    """A `Cap`, for generated code."""
    return str.__new__(Cap, value)


# ---- subjects and filters


class AnySubject(msgspec.Struct, frozen=True, kw_only=True):
    """The non-generic root of all subject classes.

    `NAME` is the subject's name in the spec, `PATTERN` its pattern, `STREAM` the stream that stores
    it (None: core NATS).
    """

    NAME: ClassVar[str]
    PATTERN: ClassVar[str]
    STREAM: ClassVar[str | None]
    ORIGIN: ClassVar[str]
    """"module:name" of the generated contract that this class belongs to."""

    @property
    def message_type(self) -> Any:
        """The payload class of this subject; `bytes` for raw bytes."""
        raise NotImplementedError(f"{type(self).__name__} is not a generated subject class")

    @classmethod
    def from_tokens(cls, tokens: list[str]) -> Self:
        """The subject whose full dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        raise NotImplementedError(f"{cls.__name__} is not a generated subject class")


class Subscribable(Generic[M_co, S_co]):
    """Anything that can be subscribed to: a subject or a filter of a contract."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __init_subclass__(cls, *, only_generated_classes_are_subscribable: Never, **config: Any) -> None: ...

    @property
    def patterns(self) -> tuple[str, ...]:
        """The NATS subjects to subscribe to, with wildcards; none covers another."""
        return (str(self),)


class Subject(AnySubject, Generic[MessageT], frozen=True, kw_only=True):
    """One concrete subject that carries `MessageT`. Invariant: a wrong payload is a type error."""

    # Here and below: checkers reject instances of hand-written subjects, by the `__init__` those
    # without tokens and by the field the others. Generated classes inherit those of `generated.py`.
    if TYPE_CHECKING:
        only_generated_classes_can_be_made: Never

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class StreamSubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject that a stream stores: for `publish`."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    def envelope(self, payload: MessageT) -> Envelope:
        """This subject and `payload` as one type-checked pair, for `publish_many`."""
        make: Any = Envelope
        envelope: Envelope = make(self, payload)
        return envelope


class CoreSubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject that no stream stores: for `emit`. Only current subscribers receive it."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class RequestSubject(Subject[MessageT], Generic[MessageT, ReplyT, S_co], frozen=True, kw_only=True):
    """A subject that no stream stores, whose messages are requests: for `request`, and for the
    endpoints of services.

    Invariant in the payload and in the reply. `S_co` is the subject's own class.
    """

    ERRORS: ClassVar[tuple[type[ServiceError], ...]] = ()
    """The errors that a service may answer with; each is an attribute of the class as well."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    @property
    def reply_type(self) -> Any:
        """The payload class of replies; `bytes` for raw bytes."""
        raise NotImplementedError(f"{type(self).__name__} is not a generated subject class")


class ReadOnlySubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject that only others publish to. It is read, and neither published nor emitted to."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class Envelope(msgspec.Struct, frozen=True):
    """A subject and its payload; `subject.envelope(payload)` makes one and type-checks it."""

    subject: AnySubject
    payload: Any

    if TYPE_CHECKING:

        def __init__(self, *, only_subject_envelope_can_make_one: Never) -> None: ...


class Filter(Subscribable[M_co, S_co]):  # type: ignore[call-arg]
    """One or more subjects with wildcards; filters combine with `|`.

    Covariant and not a `Subject`, so it cannot be published to. The `filter()` of a subject's class
    makes one: readers refuse others with `SubjectMismatch`.
    """

    __slots__ = ("_origins", "_patterns")
    _patterns: tuple[str, ...]
    _origins: tuple[str | None, ...]
    """The contracts whose subjects have made it; None stands for one that was made by hand."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_make_one: Never) -> None: ...

    else:

        def __init__(self, *patterns: str) -> None:
            self._patterns = _widest(patterns)
            self._origins = (None,)

    @property
    def patterns(self) -> tuple[str, ...]:
        return self._patterns

    def __or__(self, other: Filter[OtherMessageT, OtherSubjectT]) -> Filter[M_co | OtherMessageT, S_co | OtherSubjectT]:
        return _filter((*self._patterns, *other.patterns), (*self._origins, *other._origins))

    def __str__(self) -> str:
        return " | ".join(self._patterns)

    def __repr__(self) -> str:
        return f"Filter({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and set(self._patterns) == set(other._patterns)

    def __hash__(self) -> int:
        return hash(frozenset(self._patterns))


def _filter(patterns: tuple[str, ...], origins: tuple[str | None, ...]) -> Filter[Any, Any]:
    made: Filter[Any, Any] = Filter.__new__(Filter)
    made._patterns = patterns if len(patterns) == 1 else _widest(patterns)
    made._origins = origins
    return made


def _widest(patterns: Iterable[str]) -> tuple[str, ...]:
    """The `patterns` that no other covers."""
    kept: list[str] = []
    for pattern in dict.fromkeys(patterns):
        if not any(covers(other, pattern) for other in kept):
            kept = [other for other in kept if not covers(pattern, other)]
            kept.append(pattern)
    return tuple(kept)


def make_filter(cls: type[AnySubject], *patterns: str) -> Filter[Any, Any]:
    """A `Filter` of subjects of `cls`, for generated code."""
    return _filter(patterns, (cls.ORIGIN,))


def filter_of(origin: str, *patterns: str) -> Filter[Any, Any]:
    """A `Filter` of the contract `origin`."""
    return _filter(patterns, (origin,))


def covers(pattern: str, other: str) -> bool:
    """Whether `pattern` matches every subject that `other` matches. Either may have wildcards."""
    mine, theirs = pattern.split("."), other.split(".")
    for index, token in enumerate(mine):
        if token == ">":
            return len(theirs) > index
        if index >= len(theirs) or theirs[index] == ">":
            return False
        if token != "*" and token != theirs[index]:
            return False
    return len(mine) == len(theirs)
