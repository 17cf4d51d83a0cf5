"""Watching keys of a bucket: what they have now, in every process that watches, within moments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final

import msgspec

from ...errors import BusClosed, DeadlineExceeded, PermissionDenied, SmithError, StreamNotFound
from ...options import Backoff
from ..log_records import LogFields, sdk_logger
from .api import from_nanos
from .kv import Bucket, Entry
from .ordered_reader import OrderedReader
from .reading import Start
from .stream_reader import Stored

log: Final = sdk_logger("read")

_PAUSES: Final = Backoff(initial=0.1, max=2.0, jitter=0.5)
_FORBIDDEN_PAUSE: Final = 600.0
"""Seconds until a watch that is forbidden asks again: each refusal is an error in the log."""


class _Known(msgspec.Struct, frozen=True):
    entry: Entry
    until: float
    """On the monotonic clock: it has expired by then unless it is renewed."""


class KeyWatch:
    """The keys of `bucket` on `pattern`, or on one of several, that have a value. Belongs to one
    event loop.

    It restarts itself, with a fresh look at all keys, whatever ends its reading: the loss of a
    server, or a bucket that is deleted and made again. Meanwhile the keys stay as they were last
    known, each for no longer than its own TTL; so does one whose expiry is not reported.

    `on_change` is called in the event loop after each change that arrives.
    """

    def __init__(
        self, bucket: Bucket, pattern: str | Sequence[str] = ">", on_change: Callable[[], object] = lambda: None
    ) -> None:
        self._bucket = bucket
        self._session = bucket.session
        self._patterns = (pattern,) if isinstance(pattern, str) else tuple(pattern)
        self._on_change = on_change
        self._known: dict[str, _Known] = {}
        self._reader: OrderedReader | None = None
        self._settled = asyncio.Event()
        """The first look at the bucket has ended, in one way or the other."""
        self._has_looked = False
        self._problem: SmithError | None = None
        self._task: asyncio.Task[None] | None = None

    # ---- a part of the session

    @property
    def name(self) -> str:
        return f"watch over {', '.join(self._patterns)} of bucket {self._bucket.stream.removeprefix('KV_')}"

    def describe(self) -> Mapping[str, object]:
        problem = "" if self._problem is None else type(self._problem).__name__
        return {"keys": sorted(self.entries), "is_current": self.is_current, "problem": problem}

    async def stop(self) -> None:
        """Watch no more. Safe to repeat."""
        self._session.detach(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    # ---- for the watcher

    async def start(self, timeout: float) -> None:
        """Return once the keys are known; it watches on until `stop`.

        Raises what the first look at the bucket raised: `StreamNotFound`, `PermissionDenied`; and
        `DeadlineExceeded` if there is no answer within `timeout` seconds. It watches on all the
        same: the bucket may be created, or the permission granted.
        """
        if self._task is None:
            self._session.require_open()
            self._session.attach(self)
            self._task = asyncio.ensure_future(self._run())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        if not self._has_looked:
            raise self._problem or DeadlineExceeded(f"{self.name}: no answer within {timeout:g} s", timeout=timeout)

    @property
    def entries(self) -> dict[str, Entry]:
        """The keys that have a value, as far as it is known."""
        now = monotonic()
        return {key: known.entry for key, known in self._known.items() if known.until > now}

    def any(self, prefix: str = "") -> Entry | None:
        """One of the keys that begin with `prefix` and have a value; None if there is none. For
        each message."""
        if not self._known:
            return None
        now = monotonic()
        alive = (known.entry for known in self._known.values() if known.until > now)
        return next((entry for entry in alive if entry.key.startswith(prefix)), None)

    @property
    def is_current(self) -> bool:
        """Whether changes arrive now."""
        return self._reader is not None and self._session.connection.is_up

    # ---- what watches

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._watch()
            except BusClosed:
                return
            except SmithError as error:
                failures = 1 if self._reader is not None else failures + 1
                self._reader = None
                self._report(error, failures)
                if isinstance(error, (StreamNotFound, PermissionDenied)):
                    self._settled.set()
                pause = _FORBIDDEN_PAUSE if isinstance(error, PermissionDenied) else _PAUSES.delay(failures)
            else:
                return  # the bus is being closed
            await asyncio.sleep(pause)

    def _report(self, error: SmithError, failures: int) -> None:
        is_news = type(error) is not type(self._problem)
        self._problem = error
        if self._has_looked and is_news:  # before that, whoever has started it is told
            log.log(
                logging.WARNING if failures == 1 else logging.INFO,
                "%s: interrupted, and starts again; the keys stay as they are known, for their TTL: %s",
                self.name,
                error,
                extra=LogFields(stream=self._bucket.stream, error_type=type(error).__name__),
            )

    async def _watch(self) -> None:
        """Look at all keys, then follow them. Returns when the session closes."""
        stream = self._bucket.stream
        end: int = (await self._session.api.stream_info(stream))["state"]["last_seq"]
        where = tuple(map(self._bucket.subject, self._patterns))
        reader = OrderedReader(self._session, stream, where, Start(seq=end + 1), follow=True)
        try:
            await reader.open()
            # What is written from here on is read, too.
            entries = [entry for pattern in self._patterns for entry in await self._bucket.list(pattern)]
            self._known = {entry.key: _known(entry) for entry in entries}
            self._reader, self._problem, self._has_looked = reader, None, True
            self._settled.set()
            self._on_change()
            while not reader.is_over:
                await reader.wait()
                while (message := reader.take()) is not None:
                    self._apply(message)
                self._on_change()
        finally:
            await reader.stop()

    def _apply(self, message: Stored) -> None:
        key = self._bucket.key_of(message.subject)
        known = self._known.get(key)
        if known is not None and known.entry.revision >= message.seq:
            return  # of the time of the look at all keys
        time = from_nanos(message.time).isoformat()
        entry = self._bucket.entry(message.subject, message.data, message.seq, message.headers, time)
        if entry is None:
            self._known.pop(key, None)
        else:
            self._known[key] = _known(entry)


def _known(entry: Entry) -> _Known:
    return _Known(entry, monotonic() + (float("inf") if entry.ttl is None else entry.ttl))
