"""The outbox of a bus: what waits in its local file until it can be published."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from .._core.jetstream.publish_events import created
from .._core.jetstream.publish_request import PubAck, PublishRequest, Stored
from .._core.jetstream.session import Session
from .._core.outbox.records import OutboxFile, OutboxInfo, OutboxMessage, Returning
from ..display import FixedRows
from ..errors import OptionsError
from ..options import positive_int, to_seconds

if TYPE_CHECKING:
    from .._core.outbox.local_store import LocalStore

__all__ = ["Outbox", "OutboxFile", "OutboxInfo", "OutboxMessage"]

_FLUSH_TIMEOUT: Final = 10.0


def local_store(session: Session, file: Returning[Any] | None) -> LocalStore | None:
    """The store for the `outbox` of a bus. Raises `OptionsError`."""
    if file is None:
        return None
    given: Any = file  # callers without a type checker may pass a path
    chosen: OutboxFile = given if isinstance(given, OutboxFile) else OutboxFile(given)
    # SQLite is loaded by those who use it, and not every build of Python has it.
    from .._core.outbox.local_store import LocalStore

    # One name for each file: what it is locked by.
    return LocalStore(session, os.path.realpath(chosen.path), chosen.max_bytes)


class Outbox:
    """The messages in the local file of a bus: `bus.outbox`.

    A publish with `when_down="store"` puts its message there while its stream cannot be reached.
    The bus sends them by itself, in the order in which they were stored, whenever it is connected:
    those of each stream one after the other, each with its original id. A message leaves the file
    once its stream has acknowledged it.

    - A message that cannot be sent now holds up the later ones of its stream: without a connection,
      while the stream is full, does not exist or has no leader. It is tried again and again.
    - A message that its stream refuses for good (too large, no permission, no consumer for it) is
      *failed*: it stays in the file with the reason, holds up no other, and is not tried again
      until `flush(failed=True)`, or `discard`.
    - A stream remembers ids for its duplicate window only. A message that it may have already, and
      that is sent again after that, can be stored twice: it then carries the header
      `Smith-Outbox: possible-duplicate`.

    The file is for one bus at a time. After a crash, the next bus that opens it sends what it
    holds. Its methods raise `OptionsError` if the bus has no outbox, `BusClosed` if it is not
    connected, `OutboxError` if the file cannot be read or written.
    """

    def __init__(self, session: Session, store: LocalStore | None) -> None:
        self._session = session
        self._given = store

    @property
    def _store(self) -> LocalStore:
        if self._given is None:
            raise OptionsError('this bus has no outbox: pass outbox=OutboxFile("PATH"), for its messages, to the bus')
        return self._given

    async def _submit(self, request: PublishRequest) -> asyncio.Future[PubAck | Stored]:
        store = self._store
        if not request.retry:
            raise OptionsError(
                'retry=False: what is put into the outbox may be sent again; leave it out, or pass when_down="wait"'
            )
        if (tracer := self._session.events.tracer) is not None:
            request = created(tracer, self._session.window, request)
        return await store.submit(request)

    async def info(self) -> OutboxInfo:
        """How many messages wait and have failed, their bytes, and the time of the oldest."""
        return await self._store.info()

    async def list(self, *, failed: bool = False, after: int = 0, limit: int = 1000) -> FixedRows[OutboxMessage]:
        """The oldest `limit` messages, without their payloads; with `failed`, only those.

        For the next page pass the `id` of the last one as `after`. Raises `OptionsError` for an
        invalid `after` or `limit`.
        """
        start, most = positive_int("list(after)", after, least=0), positive_int("list(limit)", limit)
        return FixedRows(await self._store.run(lambda file: file.list(failed=failed, after=start, limit=most)))

    async def flush(self, timeout: float | timedelta = _FLUSH_TIMEOUT, *, failed: bool = False) -> OutboxInfo:
        """Wait until no message waits any more, for `timeout` seconds; return what is left.

        Those that have failed do not wait, and are left; with `failed`, they are tried once more.
        Without a connection it waits for the next one. Raises `DeadlineExceeded` after `timeout`
        seconds, saying what is in the way.
        """
        seconds = to_seconds("flush(timeout)", timeout)
        if failed:
            await self._store.retry_failed()
        await self._store.flush(seconds)
        return await self._store.info()

    async def discard(self, ids: int | Sequence[int] | None = None, *, failed: bool = False) -> int:
        """Delete the messages with these `ids`, or with `failed` all that have failed.

        Returns how many there were. One that is in flight at that moment may be stored all the
        same. Raises `OptionsError` unless one of the two is given.
        """
        from .._core.outbox.file import OutboxDatabase

        if (ids is None) != failed:
            raise OptionsError("discard: pass ids, or failed=True for all that have failed")
        if ids is None:
            return await self._store.discard(OutboxDatabase.remove_failed)
        chosen = [ids] if isinstance(ids, int) else ids
        numbers = [positive_int("discard(ids)", one) for one in chosen]
        return await self._store.discard(lambda file: file.remove(numbers))
