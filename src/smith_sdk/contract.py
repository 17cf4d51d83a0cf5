"""What generated code is built on: subjects, filters, payloads, consumer declarations, and the contract that holds them.

Nothing here knows a Smith name, a server or an event loop. Generated packages import this module and `declared.py`, and nothing else.

How wrong code is refused: a subject is an *invariant* `Subject[MessageT]`, so `publish(subject: StreamSubject[M], payload: M)` has one
solution for M or none. A `Filter` is covariant and no `Subject`: it can be subscribed to, never published to. A token that selects the
payload is an invariant `Cap[MessageT]`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Never, NoReturn, Self

import msgspec
from typing_extensions import TypeVar

from .declared import Profile, StreamSpec
from .errors import ContractVersionError, InvalidToken, PayloadMismatch, SubjectMismatch, UnknownSubject

RUNTIME_ABI: Final = 1
"""What generated code and this runtime have agreed on. A generated package names the ABI that it was made for."""

MessageT = TypeVar("MessageT")
M_co = TypeVar("M_co", covariant=True, default=Any)
S_co = TypeVar("S_co", covariant=True, bound="AnySubject", default="AnySubject")
OtherMessageT = TypeVar("OtherMessageT")
OtherSubjectT = TypeVar("OtherSubjectT", bound="AnySubject")


# ---- tokens

# The white space above U+0020 is spelled out: `\s` inside the class would cost twice as much on a token as long as a UUID.
_white_space = "\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_no_utf8 = "\ud800-\udfff"
_legal_token: Final = re.compile(f"[^.*>\x00-\x20\x7f{_white_space}{_no_utf8}]{{1,256}}").fullmatch


def is_token(value: object) -> bool:
    """Whether NATS can carry `value` as one token: 1 to 256 characters, none of them '.', '*', '>', white space or a control."""
    return isinstance(value, str) and _legal_token(value) is not None


def is_int_token(value: object, least: int | None, most: int | None) -> bool:
    """Whether `value` is an int (and no bool) within the bounds, so that its decimal form can be a token."""
    return type(value) is int and (least is None or value >= least) and (most is None or value <= most)


def read_int_token(pattern: str, token: str, text: str, format_spec: str = "d") -> int:
    """The int that a wire token stands for; raises `InvalidToken` unless it is written as `format_spec` ("d", "02x") writes it."""
    try:
        value = int(text, 16 if format_spec.endswith("x") else 10)
    except ValueError:
        value = None
    if value is None or format(value, format_spec) != text:
        refuse_token(pattern, token, text, "a whole number" if format_spec == "d" else f"a whole number, written {format_spec}")
    return value


def refuse_token(pattern: str, token: str, value: object, allowed: str = "") -> NoReturn:
    """Raise the `InvalidToken` that says what is wrong with `value` for `{token}` of `pattern`."""
    if allowed:
        why = f"allowed: {allowed}"
    elif not isinstance(value, str):
        why = f"a token is a str, not {type(value).__name__}"
    elif not value:
        why = "a token cannot be empty"
    else:
        why = "a token is 1 to 256 characters without '.', '*', '>', white space and control characters"
    raise InvalidToken(f"{{{token}}} of subject {pattern} cannot be {value!r}: {why}", pattern=pattern, token=token, value=value)


def refuse_message(pattern: str, expected: str, message: object) -> NoReturn:
    """Raise the `PayloadMismatch` that says that no token of `pattern` can be read from `message`, which is no `expected`."""
    raise PayloadMismatch(f"subject {pattern} carries {expected}, not {type(message).__name__}", subject=pattern)


class Cap(str, Generic[MessageT]):
    """A token value that selects the payload, such as `capability.fs_read_v1`. Invariant, made by generated code only."""

    __slots__ = ()


# ---- names that are imported when they are first used


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a module whose `names` stand elsewhere: ".module" or ".module:attribute", relative to `package`.

    Each name is looked up once and then kept in the module.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = names[name].partition(":")
        found: Any = import_module(module, package)
        for part in attribute.split(".") if attribute else ():
            found = getattr(found, part)
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted(names)


# ---- values that a new payload is given


def new_uuid7() -> str:
    """A new UUIDv7 (RFC 9562): 48 bits of milliseconds since 1970, then random bits; ids made later sort later."""
    return _uuid(7, time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10)))


def new_uuid4() -> str:
    """A new random UUID."""
    return _uuid(4, int.from_bytes(os.urandom(16)))


def _uuid(version: int, bits: int) -> str:
    """128 bits with the version and variant of RFC 9562, written as it says; `uuid.UUID` takes three times as long."""
    text = f"{bits & ~(0xF << 76 | 0x3 << 62) | version << 76 | 0x2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def now_ns() -> int:
    """Nanoseconds since 1970 (UTC)."""
    return time.time_ns()


def now_rfc3339() -> str:
    """The time as RFC 3339 with microseconds, in UTC: `2025-01-31T12:00:00.000000Z`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# ---- payloads


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every generated payload. `ID_FIELD` names the field that identifies one for deduplication, None where none does."""

    ID_FIELD: ClassVar[str | None] = None


# ---- subjects and filters


class AnySubject(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all subjects, not generic. `NAME` is the name in the spec, `PATTERN` its pattern, `STREAM` the stream that keeps it."""

    NAME: ClassVar[str]
    PATTERN: ClassVar[str]
    STREAM: ClassVar[str | None]
    ORIGIN: ClassVar[str]
    """"module:name" of the generated contract that this class belongs to."""

    @property
    def message_type(self) -> Any:
        """The class of the payload that this very subject carries (`bytes` where it carries raw bytes)."""
        raise NotImplementedError(f"{type(self).__name__} is no generated subject")

    @classmethod
    def from_tokens(cls, tokens: list[str]) -> Self:
        """The subject whose whole dotted form was split into `tokens`; raises `InvalidToken`."""
        raise NotImplementedError(f"{cls.__name__} is no generated subject")


class Subscribable(Generic[M_co, S_co]):
    """Whatever can be subscribed to: a subject, or a filter."""

    __slots__ = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """NATS subjects to subscribe to, wildcards included; none covers another."""
        return (str(self),)


class Subject(AnySubject, Generic[MessageT], frozen=True, kw_only=True):
    """One concrete subject that carries `MessageT`. Invariant: that is what refuses a wrong payload.

    The `__init__` that checkers see, here and below, refuses subjects that nobody generated; a generated class has its own.
    """

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class StreamSubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject that a stream keeps: `publish` takes it."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...

    def envelope(self, payload: MessageT) -> Envelope:
        """This subject and its payload as one typed pair, for `publish_many`."""
        make: Any = Envelope
        envelope: Envelope = make(self, payload)
        return envelope


class CoreSubject(Subject[MessageT], Generic[MessageT], frozen=True, kw_only=True):
    """A subject that no stream keeps: `emit` takes it, and whoever does not listen at that moment misses it."""

    if TYPE_CHECKING:

        def __init__(self, *, only_generated_classes_can_be_made: Never) -> None: ...


class Envelope(msgspec.Struct, frozen=True):
    """A subject and the payload that goes there; made by `subject.envelope(payload)`, where the pair is type-checked."""

    subject: AnySubject
    payload: Any

    if TYPE_CHECKING:

        def __init__(self, *, only_subject_envelope_can_make_one: Never) -> None: ...


class Filter(Subscribable[M_co, S_co]):
    """One or more subjects with wildcards. Covariant, and no `Subject`: it cannot be published to. Filters join with `|`."""

    __slots__ = ("_patterns",)

    def __init__(self, *patterns: str) -> None:
        kept: list[str] = []
        for pattern in dict.fromkeys(patterns):
            if not any(covers(other, pattern) for other in kept):
                kept = [other for other in kept if not covers(pattern, other)]
                kept.append(pattern)
        self._patterns = tuple(kept)

    @property
    def patterns(self) -> tuple[str, ...]:
        return self._patterns

    def __or__(self, other: Filter[OtherMessageT, OtherSubjectT]) -> Filter[M_co | OtherMessageT, S_co | OtherSubjectT]:
        return Filter(*self._patterns, *other.patterns)

    def __str__(self) -> str:
        return " | ".join(self._patterns)

    def __repr__(self) -> str:
        return f"Filter({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and set(self._patterns) == set(other._patterns)

    def __hash__(self) -> int:
        return hash(frozenset(self._patterns))


def covers(pattern: str, other: str) -> bool:
    """Whether every subject that `other` matches is matched by `pattern` too; `other` may be a subject without wildcards."""
    mine, theirs = pattern.split("."), other.split(".")
    for index, token in enumerate(mine):
        if token == ">":
            return len(theirs) > index
        if index >= len(theirs) or theirs[index] == ">":
            return False
        if token != "*" and token != theirs[index]:
            return False
    return len(mine) == len(theirs)


# ---- messages as received


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message stands in its stream. `timestamp` is nanoseconds since 1970 (UTC), when the server stored it.

    For a handler `num_delivered` is the number of its attempt, from 1, and `next_delay` the seconds until the next, should this one
    fail; None where it would be the last, and outside of workers.
    """

    stream: str
    consumer: str
    stream_seq: int
    consumer_seq: int
    num_delivered: int
    num_pending: int
    timestamp: int
    next_delay: float | None = None


class Received(Generic[M_co, S_co]):
    """A message as it arrived: what both faces' `Message` have in common. The `…Msg` aliases of generated code name it."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def payload(self) -> M_co:
            """The decoded payload; raises `PayloadDecodeError`. Decoded once, at the first look."""
            raise NotImplementedError

        @property
        def subject(self) -> S_co:
            """The typed subject; raises `UnknownSubject`."""
            raise NotImplementedError

        @property
        def raw(self) -> bytes:
            """The bytes as received."""
            raise NotImplementedError

        @property
        def headers(self) -> Mapping[str, str]:
            """The headers; empty where there are none."""
            raise NotImplementedError

        @property
        def metadata(self) -> Metadata:
            """Where the message stands in its stream; raises `NotAcknowledgeable` for a message of core NATS."""
            raise NotImplementedError


# ---- streams and consumers as declared


class ConsumerSpec(msgspec.Struct, Generic[M_co, S_co], frozen=True, kw_only=True):
    """A durable pull consumer as declared. Durations are seconds; None leaves the key to the server.

    `max_attempts` (-1: without end) is the worker's, not the server's. `max_batch`, `max_bytes` and `max_expires` bound one pull.
    """

    name: str
    stream: str
    filters: tuple[str, ...]
    ack_wait: float
    max_attempts: int
    max_ack_pending: int
    prefetch: int
    description: str = ""
    deliver_policy: Literal["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time"] = "all"
    opt_start_seq: int | None = None
    opt_start_time: str | None = None
    max_waiting: int | None = None
    max_batch: int | None = None
    max_bytes: int | None = None
    max_expires: float | None = None
    inactive_threshold: float | None = None
    replicas: int | None = None
    mem_storage: bool | None = None
    sample_freq: str | None = None
    priority_policy: Literal["overflow", "pinned_client", "prioritized"] | None = None
    priority_groups: tuple[str, ...] = ()
    priority_timeout: float | None = None
    pause_until: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


# ---- the contract

_DeclaredT = TypeVar("_DeclaredT")


def unique(*declared: _DeclaredT) -> tuple[_DeclaredT, ...]:
    """Each once, in order: what several contracts inherit from the same one."""
    return tuple(dict.fromkeys(declared))


class Leaf:
    """The end of a path in the parse trie: a generated subject class, imported when it is first needed."""

    __slots__ = ("from_tokens", "module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.from_tokens: Callable[[list[str]], AnySubject] = self._first

    @property
    def cls(self) -> type[AnySubject]:
        """The class."""
        found: type[AnySubject] = getattr(import_module(self.module), self.name)
        return found

    def _first(self, tokens: list[str]) -> AnySubject:
        self.from_tokens = self.cls.from_tokens
        return self.from_tokens(tokens)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """All that a bus needs to know: subjects and payloads, streams, consumers, profiles. Emitted by the generator as `CONTRACT`.

    `trie` maps token -> node, `"*"` standing for any token (merged into its literal siblings) and None for the end, a `Leaf`.
    """

    name: str
    version: int
    abi: int
    spec_hash: str
    origin: str
    trie: Mapping[str | None, Any]
    streams: tuple[StreamSpec, ...]
    consumers: tuple[ConsumerSpec[Any, Any], ...]
    profiles: tuple[Profile, ...]
    roots: tuple[str, ...] = ()
    """What its subjects begin with, and those of the contracts that it contains: "smith"."""
    inherits: frozenset[str] = frozenset()
    """The origins of the contracts that this one contains: their subjects are its own too."""
    dead_letters: str | None = None
    """First tokens of the subjects that dead letters go to, such as "smith.dlq"; None where the spec declares no `dlq` subject."""

    def __post_init__(self) -> None:
        if self.abi != RUNTIME_ABI:
            raise ContractVersionError(
                f"the generated contract {self.name!r} was made for runtime ABI {self.abi}, this smith-sdk has {RUNTIME_ABI}: "
                f"generate it again with the smith-codegen of this version"
            )

    def parse(self, subject: str) -> AnySubject:
        """The typed subject that `subject` is; raises `UnknownSubject`, or `InvalidToken` where a token is not allowed."""
        tokens = subject.split(".")
        node: Any = self.trie
        for token in tokens:
            node = node.get(token) or node.get("*")
            if node is None:
                break
        else:
            leaf = node.get(None)
            if leaf is not None:
                found: AnySubject = leaf.from_tokens(tokens)
                return found
        raise UnknownSubject(f"no subject of contract {self.name!r} matches {subject!r}", subject=subject)

    def require(self, subject: object) -> None:
        """Raise `SubjectMismatch` unless `subject` is an instance of a generated subject class of this contract."""
        cls = type(subject)
        if not isinstance(subject, AnySubject):
            raise SubjectMismatch(
                f"{subject!r} ({cls.__name__}) is no subject of contract {self.name!r}: use a class of its subjects package"
            )
        origin = getattr(cls, "ORIGIN", None)
        if origin != self.origin and origin not in self.inherits:
            raise SubjectMismatch(f"{cls.__module__}.{cls.__name__} is no subject of contract {self.name!r} ({self.origin})")

    @property
    def spec(self) -> dict[str, Any]:
        """The canonical spec that the contract was generated from; raises `ContractVersionError` where the file beside it is another.

        Its SHA-256 is `spec_hash`. For comparing contracts: nothing in the SDK reads it.
        """
        import hashlib  # neither is needed by those who import the contract
        from importlib.resources import files

        package = self.origin.partition(":")[0].rpartition(".")[0]
        file = files(package) / "spec.json"
        text = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(text).hexdigest() != self.spec_hash:
            raise ContractVersionError(
                f"{package}/spec.json is {'not what ' + package + ' was generated from' if text else 'missing'}: "
                f"generate {package} again, and ship the file with it"
            )
        found: dict[str, Any] = msgspec.json.decode(text)
        return found

    def stream(self, name: str) -> StreamSpec:
        """The declared stream called `name`; raises `KeyError`."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def profile(self, name: str) -> tuple[StreamSpec, ...]:
        """The streams as profile `name` has them; raises `KeyError` naming the profiles there are."""
        for profile in self.profiles:
            if profile.name == name:
                break
        else:
            raise KeyError(
                f"no profile {name!r} in contract {self.name!r}; it has {', '.join(p.name for p in self.profiles) or 'none'}"
            )
        return profile.applied(self.streams)
