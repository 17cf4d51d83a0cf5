"""The contract: the registry of subjects and payloads, the streams, the consumers, the profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import msgspec
from typing_extensions import TypeVar

from ..errors import ContractVersionError, SubjectMismatch, UnknownSubject
from .subjects import AnySubject
from .topology_spec import ConsumerSpec, Profile, StreamSpec

RUNTIME_ABI: Final = 1
"""What generated code and this runtime have agreed on. A generated package names the ABI that it was made for."""

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
