# generated from smith_sdk/aio by smith_codegen.faces; do not edit
"""The blocking twin of `smith_sdk.aio.outbox`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from .._core.blocking.faces import Blocking
from .._core.outbox.records import OutboxFile, OutboxInfo, OutboxMessage
from ..aio.outbox import _FLUSH_TIMEOUT
from ..display import FixedRows

__all__ = ["Outbox", "OutboxFile", "OutboxInfo", "OutboxMessage"]


class Outbox(Blocking):
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

    __slots__ = ()

    def info(self) -> OutboxInfo:
        """How many messages wait and have failed, their bytes, and the time of the oldest."""
        found: OutboxInfo = self._portal.call(self._aio.info)
        return found

    def list(self, *, failed: bool = False, after: int = 0, limit: int = 1000) -> FixedRows[OutboxMessage]:
        """The oldest `limit` messages, without their payloads; with `failed`, only those.

        For the next page pass the `id` of the last one as `after`. Raises `OptionsError` for an
        invalid `after` or `limit`.
        """
        found: FixedRows[OutboxMessage] = self._portal.call(self._aio.list, failed=failed, after=after, limit=limit)
        return found

    def flush(self, timeout: float | timedelta = _FLUSH_TIMEOUT, *, failed: bool = False) -> OutboxInfo:
        """Wait until no message waits any more, for `timeout` seconds; return what is left.

        Those that have failed do not wait, and are left; with `failed`, they are tried once more.
        Without a connection it waits for the next one. Raises `DeadlineExceeded` after `timeout`
        seconds, saying what is in the way.
        """
        found: OutboxInfo = self._portal.call(self._aio.flush, timeout, failed=failed)
        return found

    def discard(self, ids: int | Sequence[int] | None = None, *, failed: bool = False) -> int:
        """Delete the messages with these `ids`, or with `failed` all that have failed.

        Returns how many there were. One that is in flight at that moment may be stored all the
        same. Raises `OptionsError` unless one of the two is given.
        """
        found: int = self._portal.call(self._aio.discard, ids, failed=failed)
        return found
