"""What the generated classes of the blocking face are made of.

An iterator crosses into the loop once a batch, never once an item.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar, cast

from ...errors import BusClosed, OptionsError
from .portal import Portal

_BATCH: Final = 256


class Blocking:
    """A blocking object: the async one behind it, and the portal to reach it through."""

    __slots__ = ("_aio", "_portal")

    _aio: Any
    _portal: Portal

    @classmethod
    def _wrap(cls, portal: Portal, aio: Any) -> Self:
        self = cls.__new__(cls)
        self._adopt(portal, aio)
        return self

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        """Become the blocking side of `aio`; None for a portal of its own."""
        self._portal = Portal() if portal is None else portal
        self._aio = aio

    def __repr__(self) -> str:
        return repr(self._aio)


def unwrap(given: Any) -> Any:
    """The async object behind a blocking one. Raises `OptionsError` where it is none: the two faces have the same names."""
    if not isinstance(given, Blocking):
        raise OptionsError(
            f"a {type(given).__name__} is given: what is imported from smith_sdk.sync takes a SmithBus; for an AsyncSmithBus import "
            f"from smith_sdk"
        )
    return given._aio


class BlockingBus(Blocking):
    """The owner of a portal: starts it when it connects, ends it when it closes."""

    __slots__ = ()

    @classmethod
    def _made(cls, aio: Any) -> Self:
        return cls._wrap(Portal(), aio)

    def _connect(self) -> None:
        aio = self._aio
        self._portal.open(aio.connect, aio.close, lambda: len(aio._session.window))

    def _close(self, timeout: float | timedelta) -> None:
        self._portal.close(timeout)


class _Batches(Protocol):
    _here: deque[Any]
    """What this thread may take; the async object still answers for what is in it."""

    @property
    def _over(self) -> bool:
        """Whether it was stopped, or the bus closed: what is in `_here` is the last."""
        ...

    async def _batch(self, limit: int) -> None:
        """Put up to `limit` items into `_here`, at least one; none at the end."""

    def _made(self, raw: Any) -> Any:
        """The async item of one thing in `_here`."""


ItemT_co = TypeVar("ItemT_co", covariant=True)


class BlockingIterator(Blocking, Generic[ItemT_co]):
    """Iterates over an async iterator, crossing into the loop once a batch; ends when that does. ThreadPool may share it, by turns."""

    __slots__ = ("_turn",)

    _item: ClassVar[type[Blocking] | None] = None
    """The blocking twin of what is iterated over; None for plain data, which is the same on both faces."""
    _turn: threading.Lock

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        super()._adopt(portal, aio)
        self._turn = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ItemT_co:
        aio: _Batches = self._aio
        with self._turn:
            if not aio._here:
                try:
                    self._portal.call(aio._batch, _BATCH)
                except BusClosed:
                    if not aio._over:
                        raise
            try:
                raw = aio._here.popleft()
            except IndexError:
                raise StopIteration from None
        item: Any = aio._made(raw)
        return cast("ItemT_co", item if self._item is None else self._item._wrap(self._portal, item))
