"""Key-value buckets and object stores as a spec declares them, and the keys of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, Self

import msgspec
from typing_extensions import TypeVar

from .subjects import covers, refuse_token

ValueT = TypeVar("ValueT", default=Any)
KeyT = TypeVar("KeyT", default=Any)
K_co = TypeVar("K_co", covariant=True, default=Any)
V_co = TypeVar("V_co", covariant=True, default=Any)

_SHOWN: Final = "a key of this pattern"


class BucketKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of a bucket whose spec declares the pattern of its keys: the root of generated
    classes.

    `SHAPE` has the literals of a key, "" in place of each token.
    """

    PATTERN: ClassVar[str]
    SHAPE: ClassVar[tuple[str, ...]]

    @classmethod
    def parse(cls, key: str) -> Self:
        """The key whose dotted form is `key`. Raises `InvalidToken`."""
        tokens = key.split(".")
        shape = cls.SHAPE
        if len(tokens) != len(shape) or any(want and want != token for want, token in zip(shape, tokens, strict=True)):
            refuse_token(cls.PATTERN, "key", key, _SHOWN)
        return cls.from_tokens(tokens)

    @classmethod
    def from_tokens(cls, tokens: list[str]) -> Self:
        """The key whose dotted form, split at dots, is `tokens`. Raises `InvalidToken`."""
        raise NotImplementedError(f"{cls.__name__} is not a generated class of keys")


class KeyFilter(Generic[K_co]):
    """Keys with wildcards, for reading and watching; filters combine with `|`.

    A class of keys makes one: `StockKey.filter(region="eu")`.
    """

    __slots__ = ("patterns",)

    patterns: tuple[str, ...]
    """NATS patterns of keys; none covers another."""

    # Checkers reject those made by hand, which would be filters of any kind of keys.
    if TYPE_CHECKING:

        def __init__(self, *, only_classes_of_keys_make_one: Never) -> None: ...

    def __or__(self, other: KeyFilter[K_co]) -> KeyFilter[K_co]:
        found: KeyFilter[K_co] = make_key_filter(*self.patterns, *other.patterns)
        return found

    def __str__(self) -> str:
        return " | ".join(self.patterns)

    def __repr__(self) -> str:
        return f"KeyFilter({str(self)!r})"


def make_key_filter(*patterns: str) -> Any:
    """A `KeyFilter`, for generated code."""
    found: KeyFilter[Any] = KeyFilter.__new__(KeyFilter)
    kept = [one for one in dict.fromkeys(patterns) if not any(one != other and covers(other, one) for other in patterns)]
    found.patterns = tuple(kept)
    return found


class BucketSpec(msgspec.Struct, Generic[ValueT, KeyT], frozen=True, kw_only=True):
    """A declared key-value bucket. `value` is the payload class of its values, `key` that of its
    keys, or str.

    `key_ttl`: whether a write may give its key a time to live of its own. `origin` is "module:name"
    of the contract that declares it.
    """

    name: str
    value: Any
    key: Any
    origin: str
    key_ttl: bool = False

    @property
    def stream(self) -> str:
        """The stream that it is."""
        return f"KV_{self.name}"


class ObjectStoreSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A declared object store. `origin` is "module:name" of the contract that declares it."""

    name: str
    origin: str

    @property
    def stream(self) -> str:
        """The stream that it is."""
        return f"OBJ_{self.name}"
