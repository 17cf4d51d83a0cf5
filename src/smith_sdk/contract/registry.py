"""The contract: the registry of subjects and payloads, streams, consumers and profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, get_args

import msgspec
from typing_extensions import TypeVar, get_original_bases

from .._core.foreign_text import shortened
from ..errors import ContractVersionError, SubjectMismatch, UnknownSubject
from .domains import in_place
from .secrets import hide
from .sharding import Shard, ShardingSpec
from .subjects import AnySubject, Filter, filter_of
from .topology_spec import ConsumerSpec, DomainGroup, Profile, StreamSpec
from .trie import children

RUNTIME_ABI: Final = 2
"""Version of the interface between generated code and this runtime.

A generated package records the ABI that it was generated for.
"""

_SHOWN: Final = 256
"""Characters of a subject that an error shows."""

_DeclaredT = TypeVar("_DeclaredT")


def unique(*declared: _DeclaredT) -> tuple[_DeclaredT, ...]:
    """The distinct values, in order: several inherited contracts may extend the same one."""
    return tuple(dict.fromkeys(declared))


class Leaf:
    """A leaf of the parse trie: a generated subject class, imported on first use."""

    __slots__ = ("from_tokens", "module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name
        self.from_tokens: Callable[[list[str]], AnySubject] = self._first

    @property
    def cls(self) -> type[AnySubject]:
        """The subject class."""
        found: type[AnySubject] = getattr(import_module(self.module), self.name)
        return found

    @property
    def payloads(self) -> frozenset[Any]:
        """The classes of payloads that these subjects carry: several where a token selects one."""
        base: Any = get_original_bases(self.cls)[0]
        carried = get_args(base)[0]  # the others are the reply, and the class itself
        carried = getattr(carried, "__default__", carried)  # of a family: all members
        return frozenset(get_args(carried) or (carried,))

    def _first(self, tokens: list[str]) -> AnySubject:
        self.from_tokens = self.cls.from_tokens
        return self.from_tokens(tokens)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a bus needs to know: subjects and payloads, streams, consumers, profiles.

    The generator emits one as `CONTRACT`. `trie` maps a token to the next node, `"*"` to the node
    for any token (merged into its literal siblings), and None to the `Leaf` of a subject that ends
    there.
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
    """First tokens of its subjects and of those it inherits, such as "smith"."""
    inherits: frozenset[str] = frozenset()
    """Origins of the contracts that this one extends; their subjects belong to it too."""
    dead_letters: str | None = None
    """First tokens of the dead-letter subjects, such as "smith.dlq"; None if the spec has none."""
    bases: tuple[Contract, ...] = ()
    """The contracts that this one extends."""
    replaced: tuple[ConsumerSpec[Any, Any], ...] = ()
    """Consumers that others, derived from them for some domains, stand in place of."""
    secrets: frozenset[str] = frozenset()
    """Keys that the JSON of its own payloads has for secret fields."""
    shardings: tuple[ShardingSpec[Any, Any], ...] = ()
    """Subjects that are spread over shards; their consumers are among `consumers`."""

    def __post_init__(self) -> None:
        if self.abi != RUNTIME_ABI:
            raise ContractVersionError(
                f"contract {self.name!r} was generated for runtime ABI {self.abi}, but this smith-sdk has ABI {RUNTIME_ABI}: "
                f"regenerate it with the smith-codegen of this version"
            )

    def parse(self, subject: str) -> AnySubject:
        """Parse `subject` into a typed subject.

        Raises `UnknownSubject`, or `InvalidToken` if a token has a value that is not allowed.
        """
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
        shown = shortened(repr(subject), _SHOWN)
        raise UnknownSubject(f"no subject of contract {self.name!r} matches {shown}", subject=subject)

    def payloads_on(self, pattern: str) -> frozenset[Any]:
        """The classes of payloads on the subjects that match `pattern`; wildcards are allowed."""
        return frozenset(cls for leaf in self.leaves_on(pattern) for cls in leaf.payloads)

    def leaves_on(self, pattern: str) -> frozenset[Leaf]:
        """The leaves of the subjects that match `pattern`; wildcards are allowed."""
        nodes: list[Any] = [self.trie]
        for token in pattern.split("."):
            if token == ">":
                below = (child for node in nodes for child in _children(node, "*"))
                return frozenset(leaf for child in below for leaf in _leaves_below(child))
            nodes = [child for node in nodes for child in _children(node, token)]
        return frozenset(node[None] for node in nodes if None in node)

    def require_class(self, cls: type) -> None:
        """Raise `SubjectMismatch` unless `cls` is a class of this contract's subjects."""
        origin = getattr(cls, "ORIGIN", None)
        if origin != self.origin and origin not in self.inherits:
            raise SubjectMismatch(f"{cls.__module__}.{cls.__name__} is not a subject of contract {self.name!r} ({self.origin})")

    def require(self, subject: object) -> None:
        """Raise `SubjectMismatch` unless `subject` is a subject of this contract."""
        cls = type(subject)
        if not isinstance(subject, AnySubject):
            raise SubjectMismatch(
                f"{shortened(repr(subject), _SHOWN)} ({cls.__name__}) is not a subject of contract {self.name!r}: "
                "use a class of its subjects package"
            )
        self.require_class(cls)

    def filter(self, *patterns: str) -> Filter[Any, Any]:
        """What matches any of `patterns`, with wildcards: for tools that read any subject.

        Type checkers know nothing of what it receives; `filter()` of a class of subjects does.
        """
        return filter_of(self.origin, *patterns)

    def require_readable(self, what: object) -> None:
        """Raise `SubjectMismatch` unless `what` is a subject or a filter of this contract."""
        if not isinstance(what, Filter):
            self.require(what)
            return
        for origin in what._origins:
            if origin is None:
                raise SubjectMismatch(
                    f"{what!r} was made by hand: use the filter() of a class of subjects, such as "
                    f"subjects.results.filter(), or filter() of the contract {self.name!r}"
                )
            if origin != self.origin and origin not in self.inherits:
                raise SubjectMismatch(f"{what!r} is of the contract {origin}, and not of {self.name!r} ({self.origin})")

    @property
    def spec(self) -> dict[str, Any]:
        """The canonical spec that the contract was generated from, for comparing contracts.

        Raises `ContractVersionError` if the `spec.json` of the generated package is missing or its
        SHA-256 is not `spec_hash`. Nothing in the SDK reads it.
        """
        import hashlib  # not at the top: importing the contract needs neither
        from importlib.resources import files

        package = self.origin.partition(":")[0].rpartition(".")[0]
        file = files(package) / "spec.json"
        text = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(text).hexdigest() != self.spec_hash:
            raise ContractVersionError(
                f"{package}/spec.json is {'not the spec that ' + package + ' was generated from' if text else 'missing'}: "
                f"regenerate {package}, and ship the file with it"
            )
        found: dict[str, Any] = msgspec.json.decode(text)
        return found

    def sharding_of(self, subject: str) -> ShardingSpec[Any, Any] | None:
        """The sharding of the subject of that name, which is the plain or the sharded one."""
        return next((one for one in self.shardings if subject in (one.subject, one.sharded)), None)

    def stream_of(self, subject: AnySubject) -> str | None:
        """The stream that stores `subject`: of a shard the one that keeps it. None: core NATS."""
        sharding = self.sharding_of(subject.NAME)
        if sharding is not None and isinstance(shard := getattr(subject, "shard", None), Shard):
            return sharding.stream_of(shard)
        return subject.STREAM

    def stream(self, name: str) -> StreamSpec:
        """The declared stream `name`. Raises `KeyError`."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def with_domains(self, *consumers: ConsumerSpec[Any, Any], beside: Iterable[str] = ()) -> Contract:
        """This contract, with consumers that `for_domains` derived in place of those they were
        derived from.

        Plans, health, lag and the rest know them from then on, on a bus that is made with
        `contract=` the result. `beside` are names of consumers that stay, for all domains, beside
        what was derived from them: both then receive each message. Raises `OptionsError` if a
        consumer was not derived from one of this contract, if two serve the same domain, and if one
        of a work queue is to stay.
        """
        queues = frozenset(one.name for one in self.streams if one.retention == "workqueue")
        found = in_place(self.consumers, consumers, queues, beside)
        return msgspec.structs.replace(self, consumers=found, replaced=tuple(one for one in self.templates if one not in found))

    @property
    def templates(self) -> tuple[ConsumerSpec[Any, Any], ...]:
        """The consumers that `for_domains` can derive from, declared or replaced by such."""
        every = (*self.consumers, *self.replaced, *(one for base in self.bases for one in base.templates))
        return tuple(dict.fromkeys(one for one in every if one.domain_filters))

    def with_groups(self, *groups: DomainGroup) -> Contract:
        """`with_domains` for what a spec declares in `[domains]`; its consumers are names."""
        named = {one.name: one for one in self.templates}
        derived = [named[name].for_domains(*group.domains) for group in groups for name in group.consumers]
        beside = {name for group in groups if group.beside_any_domain for name in group.consumers}
        return self.with_domains(*derived, beside=beside)

    def without_secrets(self, data: bytes) -> bytes:
        """`data`, a payload as received, with `"***"` for the values of secret fields.

        For showing it: whatever has the key of a secret is hidden, on all subjects.
        """
        return hide(data, self._secret_keys) if self._secret_keys else data

    @property
    def _secret_keys(self) -> frozenset[str]:
        return self.secrets.union(*(base._secret_keys for base in self.bases))

    def owner(self, stream: str, consumer: str | None = None) -> Contract:
        """The contract that declares `stream`, or that `consumer` of it: this one, or a base."""
        for base in self.bases:
            declared = (
                {(one.stream, one.name) for one in base.consumers} if consumer else {(one.name, None) for one in base.streams}
            )
            if (stream, consumer) in declared:
                return base.owner(stream, consumer)
        return self

    @property
    def family(self) -> frozenset[str]:
        """Its name and those of all contracts that it extends."""
        return frozenset((self.name, *(name for base in self.bases for name in base.family)))

    def has_profile(self, name: str) -> bool:
        """Whether it has a profile of that name."""
        return any(profile.name == name for profile in self.profiles)

    def profile(self, name: str) -> tuple[StreamSpec, ...]:
        """The streams as profile `name` defines them. Raises `KeyError` that lists the profiles.

        The streams of a contract that this one extends are as that contract's own profile of this
        name defines them, if it has one, whatever else this one declares.
        """
        if not self.has_profile(name):
            raise KeyError(
                f"no profile {name!r} in contract {self.name!r}; it has {', '.join(p.name for p in self.profiles) or 'none'}"
            )
        found = {spec.name: spec for base in self.bases if base.has_profile(name) for spec in base.profile(name)}
        rest = tuple(spec for spec in self.streams if spec.name not in found)
        profile = next(profile for profile in self.profiles if profile.name == name)
        found.update((spec.name, spec) for spec in profile.applied(rest))
        return tuple(found[spec.name] for spec in self.streams)


def _children(node: Any, token: str) -> Iterator[Any]:
    """The nodes behind `node` for `token`, which may be the wildcard `*`."""
    if token == "*":
        yield from children(node)
        if node.get("*") is node:  # the rest of a subject
            yield node
    elif (child := node.get(token) or node.get("*")) is not None:
        yield child


def _leaves_below(node: Any) -> frozenset[Leaf]:
    """The leaves in a part of the trie."""
    ended: Leaf | None = node.get(None)
    own = frozenset[Leaf]() if ended is None else frozenset((ended,))
    return own.union(*(_leaves_below(child) for child in children(node)))
