# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.objects`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from types import TracebackType
from typing import Self

from .._core.blocking.faces import Blocking, BlockingIterator
from ..aio.objects import (
    _CHUNK,
    ObjectInfo,
)
from ..display import Rows

__all__ = ["ObjectInfo", "ObjectReader", "ObjectStore", "ObjectWatch"]


class ObjectStore(Blocking):
    """One object store: what `bus.objects` returns. Does no I/O until it is called.

    Its stream, `OBJ_<name>`, is planned, applied and verified with the others by `bus.streams`.
    Names are any str of 1 to 1,024 characters: `OptionsError` otherwise.

    Every call raises `StreamNotFound` if the store does not exist, `DeadlineExceeded`,
    `PermissionDenied`, `JetStreamDisabled`, `ConnectionLost`, `BusClosed`, and `PayloadDecodeError`
    for what another program has written that does not describe an object.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The store's name."""
        found: str = self._aio.name
        return found

    def put(
        self,
        name: str,
        data: bytes | Iterable[bytes] | AsyncIterable[bytes],
        *,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        chunk_size: int = _CHUNK,
    ) -> ObjectInfo:
        """Store `data` under `name`, in place of what is there. Returns what the store says of it.

        - `data`: bytes, or pieces of them: an open file, a generator, sync or async. They are sent
          as they come, and not kept in memory. A sync iterable is read in a thread.
        - `metadata`: str to str. `chunk_size`: bytes of one message, at least 1.

        Readers see the former object until all is stored, and then this one. If it fails, what was
        sent is deleted again. Raises what `data` raises, what `publish` raises (`QueueFull` if the
        store is full, `PayloadTooLarge` for chunks that are too large), and `OptionsError`.
        """
        found: ObjectInfo = self._portal.call(
            self._aio.put, name, data, description=description, metadata=metadata, chunk_size=chunk_size
        )
        return found

    def delete(self, name: str) -> bool:
        """Delete the object `name` and its bytes. Whether there was one."""
        found: bool = self._portal.call(self._aio.delete, name)
        return found

    def get(self, name: str) -> bytes:
        """The bytes of the object `name`, checked against its digest.

        Raises `ObjectNotFound`, `ObjectCorrupt`, and `BucketError` for a link.
        """
        found: bytes = self._portal.call(self._aio.get, name)
        return found

    def open(self, name: str) -> ObjectReader:
        """Iterate over the bytes of the object `name`, chunk by chunk, for objects that need not be
        in memory.

        After the last chunk they have been checked against the digest: `ObjectCorrupt` is raised in
        place of the end. Raises as `get` does.
        """
        return ObjectReader._wrap(self._portal, self._aio.open(name))

    def info(self, name: str) -> ObjectInfo | None:
        """What the store says of the object `name`; None if it has none."""
        found: ObjectInfo | None = self._portal.call(self._aio.info, name)
        return found

    def list(self) -> Rows[ObjectInfo]:
        """The objects of the store, in the order in which they were written.

        What does not describe an object is logged and left out.
        """
        found: Rows[ObjectInfo] = self._portal.call(self._aio.list)
        return found

    def watch(self, *, only_new: bool = False) -> ObjectWatch:
        """Iterate over the objects of the store, and then over every change: each object that is
        put, and the end of each that is deleted.

        `only_new` begins with the next change. What does not describe an object is logged and left
        out.
        """
        return ObjectWatch._wrap(self._portal, self._aio.watch(only_new=only_new))


class ObjectReader(BlockingIterator[bytes]):
    """The bytes of one object, chunk by chunk: what `ObjectStore.open` returns.

    `with store.open(name) as chunks` has found the object when the block begins; a bare
    `for` does so at its first step.
    """

    __slots__ = ()

    @property
    def info(self) -> ObjectInfo:
        """What the store says of the object. Raises `OptionsError` before the first step."""
        found: ObjectInfo = self._aio.info
        return found

    def stop(self) -> None:
        """Read no more, and end the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


class ObjectWatch(BlockingIterator[ObjectInfo]):
    """What happens to the objects of a store, in order: what `ObjectStore.watch` returns.

    `with store.watch() as changes` has fixed where it starts when the block begins; a bare
    `for` does so at its first step.
    """

    __slots__ = ()

    def stop(self) -> None:
        """Watch no more, and end the iteration. Safe to repeat."""
        self._portal.end(self._aio.stop)

    def __enter__(self) -> Self:
        self._portal.call(self._aio.__aenter__)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
