"""Base classes of the generated blocking face.

An iterator crosses into the loop once per batch, not once per item.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar, cast

from ...errors import BusClosed, NotAcknowledgeable, OptionsError
from .portal import Portal

AnswerT = TypeVar("AnswerT")

_BATCH: Final = 256


class Blocking:
    """A blocking object: it wraps an async one, and calls it through the portal."""

    __slots__ = ("_aio", "_portal")

    _aio: Any
    _portal: Portal

    @classmethod
    def _wrap(cls, portal: Portal, aio: Any) -> Self:
        self = cls.__new__(cls)
        self._adopt(portal, aio)
        return self

    @classmethod
    def _detached(cls, aio: Any, why: str) -> Self:
        """`aio` without an event loop behind it: a call that needs one raises
        `NotAcknowledgeable(why)`."""
        return cls._wrap(_NoPortal(why), aio)

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        """Wrap `aio`; None for `portal` creates a new one."""
        self._portal = Portal() if portal is None else portal
        self._aio = aio

    def __repr__(self) -> str:
        return repr(self._aio)

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = self._aio._plain()
        return plain

    def _shown(self) -> Mapping[str, object]:
        shown: Mapping[str, object] = self._aio._shown()
        return shown

    def _repr_html_(self) -> str | None:
        show: Callable[[], str] | None = getattr(self._aio, "_repr_html_", None)
        return None if show is None else show()

    def _call_or(
        self, closed: Callable[[], AnswerT], function: Callable[..., Awaitable[AnswerT]], *args: Any, **options: Any
    ) -> AnswerT:
        """Call `function` in the loop; `closed` here while there is no loop."""
        try:
            return self._portal.call(function, *args, **options)
        except BusClosed:
            return closed()


class _NoPortal(Portal):
    """Stands in for a portal where there is nothing to call into."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self._why = why

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise NotAcknowledgeable(self._why)


def unwrap(given: Any) -> Any:
    """The async object of a blocking one. Raises `OptionsError` if `given` is not blocking.

    The two faces use the same names, so that they are easily mixed up.
    """
    if not isinstance(given, Blocking):
        raise OptionsError(
            f"got a {type(given).__name__}: a class of smith_sdk.sync takes a SmithBus; for an AsyncSmithBus import it from smith_sdk"
        )
    return given._aio


class BlockingBus(Blocking):
    """A blocking bus, which owns the portal: opens it on connect, closes it on close."""

    __slots__ = ()

    @classmethod
    def _made(cls, aio: Any) -> Self:
        return cls._wrap(Portal(), aio)

    def __repr__(self) -> str:
        return repr(self._aio).replace(type(self._aio).__name__, type(self).__name__, 1)

    def _connect(self) -> None:
        aio = self._aio
        self._portal.open(aio.connect, aio.close, lambda: len(aio._session.window))

    def _close(self, timeout: float | timedelta) -> None:
        self._portal.close(timeout)


class _Batches(Protocol):
    _here: deque[Any]
    """Items that this thread may take; the async object remains responsible for them."""

    @property
    def _over(self) -> bool:
        """Whether it was stopped or the bus closed: `_here` holds the last items."""
        ...

    async def _batch(self, limit: int) -> None:
        """Put at least one and up to `limit` items into `_here`; none at the end."""

    def _made(self, raw: Any) -> Any:
        """The async item for one entry of `_here`."""


ItemT_co = TypeVar("ItemT_co", covariant=True)


class BlockingIterator(Blocking, Generic[ItemT_co]):
    """Iterates over an async iterator, one batch at a time. Threads may share it."""

    __slots__ = ("_next_lock",)

    _item: ClassVar[type[Blocking] | None] = None
    """The blocking class of the items; None for plain data, which is the same on both faces."""
    _next_lock: threading.Lock

    def _adopt(self, portal: Portal | None, aio: Any) -> None:
        super()._adopt(portal, aio)
        self._next_lock = threading.Lock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ItemT_co:
        aio: _Batches = self._aio
        with self._next_lock:
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
