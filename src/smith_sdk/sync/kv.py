# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.kv`."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Generic, Self

from .._core.blocking.faces import Blocking, BlockingIterator
from ..aio.kv import KeyEntry
from ..contract import KeyFilter, KeyT, ValueT

__all__ = ["KeyEntry", "KeyValue", "KeyWatch"]


class KeyValue(Blocking, Generic[ValueT, KeyT]):
    """One key-value bucket: what `bus.kv` returns. Does no I/O until it is called.

    Its stream, `KV_<name>`, is planned, applied and verified with the others by `bus.streams`. Keys
    have letters, digits and "-/_=", with dots between tokens: `InvalidToken` otherwise. Values are
    checked before they are written, as payloads are.

    Every call raises `StreamNotFound` if the bucket does not exist, `DeadlineExceeded`,
    `PermissionDenied`, `JetStreamDisabled`, `ConnectionLost`, `BusClosed`; a write also what
    `publish` raises: `PayloadMismatch`, `PayloadTooLarge`, `QueueFull` if the bucket is full, and
    `PublishUnconfirmed`, after which the write may be stored.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The bucket's name."""
        found: str = self._aio.name
        return found

    def get(self, key: KeyT, *, revision: int | None = None) -> KeyEntry[ValueT, KeyT] | None:
        """What `key` has, with `revision` what it had then. None if it has no value, or had none.

        It comes from the stream's leader, so that it is never older than a write that has returned.
        """
        found: KeyEntry[ValueT, KeyT] | None = self._portal.call(self._aio.get, key, revision=revision)
        return found

    def put(self, key: KeyT, value: ValueT, *, ttl: float | timedelta | None = None) -> int:
        """Write `value`, whatever `key` has. Returns the revision.

        `ttl`: until the key expires, in whole seconds, rounded up; None for the bucket's own. Only
        for a bucket with `limit_marker_ttl`: `OptionsError` otherwise.
        """
        found: int = self._portal.call(self._aio.put, key, value, ttl=ttl)
        return found

    def create(self, key: KeyT, value: ValueT, *, ttl: float | timedelta | None = None) -> int:
        """Write `value` if `key` has none. Returns the revision. Of several writers one succeeds.

        Raises `KeyExists` if it has a value. `ttl` is as in `put`.
        """
        found: int = self._portal.call(self._aio.create, key, value, ttl=ttl)
        return found

    def update(self, key: KeyT, value: ValueT, *, revision: int, ttl: float | timedelta | None = None) -> int:
        """Write `value` if `revision` is still that of `key`. Returns the new one.

        Raises `WrongRevision` if the key was written since. `ttl` is as in `put`.
        """
        found: int = self._portal.call(self._aio.update, key, value, revision=revision, ttl=ttl)
        return found

    def delete(self, key: KeyT, *, revision: int | None = None) -> None:
        """Delete the value of `key`, which keeps its history; with `revision` only if it still has
        that.

        Raises `WrongRevision` if the key was written since.
        """
        self._portal.call(self._aio.delete, key, revision=revision)

    def purge(self, key: KeyT, *, revision: int | None = None) -> None:
        """Delete the value of `key` and its history; with `revision` only if it still has that.

        Raises `WrongRevision` if the key was written since.
        """
        self._portal.call(self._aio.purge, key, revision=revision)

    def history(self, key: KeyT) -> list[KeyEntry[ValueT, KeyT]]:
        """What the bucket keeps of `key`, the newest last: values, and their ends."""
        found: list[KeyEntry[ValueT, KeyT]] = self._portal.call(self._aio.history, key)
        return found

    def keys(self, what: KeyT | KeyFilter[KeyT] | None = None) -> list[KeyT]:
        """The keys that have a value, or those of them that `what` selects, in the order in which
        they were written.

        `what` is a filter, a key, or for a bucket without a pattern also a str with wildcards. Keys
        of other programs that are not of the bucket's pattern are left out.
        """
        found: list[KeyT] = self._portal.call(self._aio.keys, what)
        return found

    def entries(self, what: KeyT | KeyFilter[KeyT] | None = None) -> list[KeyEntry[ValueT, KeyT]]:
        """What the keys have, or those of them that `what` selects, in the order of revisions."""
        found: list[KeyEntry[ValueT, KeyT]] = self._portal.call(self._aio.entries, what)
        return found

    def watch(
        self, what: KeyT | KeyFilter[KeyT] | None = None, *, history: bool = False, only_new: bool = False
    ) -> KeyWatch[ValueT, KeyT]:
        """Iterate over what the keys have now, and then over every change, ends included.

        `what` is as in `keys`. `history` begins with all that the bucket keeps, `only_new` with the
        next change. No entry is left out or handed out twice, across reconnects, unless the bucket
        itself has replaced it before it was read. Raises `OptionsError` for both at once.
        """
        return KeyWatch[ValueT, KeyT]._wrap(self._portal, self._aio.watch(what, history=history, only_new=only_new))


class KeyWatch(BlockingIterator[KeyEntry[ValueT, KeyT]], Generic[ValueT, KeyT]):
    """What happens to keys of a bucket, in order: what `KeyValue.watch` returns.

    `with kv.watch(...) as changes` has fixed where it starts when the block begins; a bare
    `for` does so at its first step. Up to 1,000 entries are read ahead. Iterating raises what
    the bucket's calls raise, and `StreamNotFound` if the bucket was deleted and created again.
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
