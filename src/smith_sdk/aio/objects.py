"""Object stores: bytes of any size in chunks, with their digest, on the layout of NATS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import msgspec

from .._core.execution.thread_pool import run_in_thread
from .._core.foreign_text import escape_control
from .._core.jetstream.api import StoredMessage, from_nanos
from .._core.jetstream.claim import Taken, compare_and_set
from .._core.jetstream.object_meta import ObjectMeta, Options, decode, digest_of, encode, token_of, written
from .._core.jetstream.ordered_reader import OrderedReader
from .._core.jetstream.publish_request import PubAck, PublishRequest
from .._core.jetstream.reading import Reading, Start
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import Stored
from .._core.log_records import LogFields, sdk_logger
from ..contract import ObjectStoreSpec
from ..display import Record, Rows
from ..errors import (
    BucketError,
    MessageNotFound,
    ObjectCorrupt,
    ObjectNotFound,
    OptionsError,
    PayloadDecodeError,
    SmithError,
)
from ..options import positive_int
from .kv import require_origin
from .publisher import abandon
from .read_ahead import ReadAhead

__all__ = ["ObjectInfo", "ObjectReader", "ObjectStore", "ObjectWatch"]

log: Final = sdk_logger("objects")

_CHUNK: Final = 128 * 1024
_IN_FLIGHT: Final = 64
"""Chunks that are sent and not acknowledged."""
_SETTLE: Final = 5.0
"""Seconds to wait for chunks in flight before what was sent is deleted."""
_LONGEST: Final = 1024
"""Characters of a name."""
_ROLLUP: Final = {"Nats-Rollup": "sub"}


class ObjectInfo(Record, frozen=True, kw_only=True):
    """What a store says of an object.

    `size` is in bytes, `digest` the SHA-256 of all of them. `modified` is by the clock of the
    server. `link` is the name of the object that stands behind it, "" if it is one itself.
    """

    name: str
    size: int
    chunks: int
    digest: bytes
    modified: datetime
    revision: int
    description: str = ""
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    is_deleted: bool = False
    link: str = ""


class ObjectStore:
    """One object store: what `bus.objects` returns. Does no I/O until it is called.

    Its stream, `OBJ_<name>`, is planned, applied and verified with the others by `bus.streams`.
    Names are any str of 1 to 1,024 characters: `OptionsError` otherwise.

    Every call raises `StreamNotFound` if the store does not exist, `DeadlineExceeded`,
    `PermissionDenied`, `JetStreamDisabled`, `ConnectionLost`, `BusClosed`, and `PayloadDecodeError`
    for what another program has written that does not describe an object.
    """

    def __init__(self, session: Session, spec: ObjectStoreSpec) -> None:
        require_origin(session, spec)
        self._session = session
        self._spec = spec

    @property
    def name(self) -> str:
        """The store's name."""
        return self._spec.name

    # ---- writing

    async def put(
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
        where = self._meta_subject(name)
        size, nuid = positive_int("put(chunk_size)", chunk_size), uuid4().hex
        kept = _require_metadata(metadata)
        digest, total, chunks = hashlib.sha256(), 0, 0
        sending: deque[asyncio.Future[PubAck]] = deque()
        try:
            async for chunk in _chunks(data, size):
                digest.update(chunk)
                total += len(chunk)
                if len(sending) >= _IN_FLIGHT:
                    await sending.popleft()
                sending.append(await self._send(nuid, chunks, chunk))
                chunks += 1
            while sending:
                await sending.popleft()
            meta = ObjectMeta(
                name=name,
                description=description,
                metadata=kept or None,
                options=Options(max_chunk_size=size),
                bucket=self.name,
                nuid=nuid,
                size=total,
                mtime=_now(),
                chunks=chunks,
                digest=written(digest.digest()),
            )
            revision = await self._replace(where, meta)
        except BaseException as error:
            if sending and not isinstance(error, asyncio.CancelledError):
                await asyncio.wait(sending, timeout=_SETTLE)  # what is stored after the purge would stay
            abandon(sending)
            await self._drop(nuid)
            raise
        return _info(meta, revision, datetime.now(UTC))

    async def delete(self, name: str) -> bool:
        """Delete the object `name` and its bytes. Whether there was one."""
        where = self._meta_subject(name)
        found = await self._last(where)
        meta = None if found is None else decode(found.data, where)
        if meta is None or meta.deleted:
            return False
        gone = ObjectMeta(name=name, bucket=self.name, nuid=meta.nuid, mtime=_now(), deleted=True)
        await self._replace(where, gone)
        return True

    async def _send(self, nuid: str, number: int, chunk: bytes) -> asyncio.Future[PubAck]:
        where = self._session.api.publish_subject(self._chunks(nuid))
        return await self._session.submit(PublishRequest(where, chunk, self._spec.stream, f"{nuid}:{number}"))

    async def _replace(self, where: str, meta: ObjectMeta) -> int:
        """Write `meta` in place of what is there, and delete the chunks of that."""
        data = encode(meta)
        while True:
            before = await self._last(where)
            expected = 0 if before is None else before.seq
            done = await compare_and_set(self._session, self._spec.stream, where, data, expected=expected, headers=_ROLLUP)
            if isinstance(done, Taken):  # of several writers the last one stays, and each deletes what it replaces
                continue
            if before is not None:
                with contextlib.suppress(PayloadDecodeError):
                    await self._drop(decode(before.data, where).nuid)
            return done

    async def _drop(self, nuid: str) -> None:
        """Delete the chunks of `nuid`. Others expire with the store, if it has a `ttl`."""
        if nuid:
            try:
                await self._session.api.stream_purge(self._spec.stream, {"filter": self._chunks(nuid)})
            except SmithError as error:
                log.warning(
                    "store %s: the chunks of %s were not deleted: %s",
                    self.name,
                    nuid,
                    error,
                    extra=LogFields(stream=self._spec.stream, error_type=type(error).__name__),
                )

    # ---- reading

    async def get(self, name: str) -> bytes:
        """The bytes of the object `name`, checked against its digest.

        Raises `ObjectNotFound`, `ObjectCorrupt`, and `BucketError` for a link.
        """
        async with self.open(name) as chunks:
            return b"".join([chunk async for chunk in chunks])

    def open(self, name: str) -> ObjectReader:
        """Iterate over the bytes of the object `name`, chunk by chunk, for objects that need not be
        in memory.

        After the last chunk they have been checked against the digest: `ObjectCorrupt` is raised in
        place of the end. Raises as `get` does.
        """
        self._meta_subject(name)
        return ObjectReader(self._session, self, name)

    async def info(self, name: str) -> ObjectInfo | None:
        """What the store says of the object `name`; None if it has none."""
        where = self._meta_subject(name)
        found = await self._last(where)
        made = None if found is None else _read_info(Stored.looked_up(found))
        return None if made is None or made.is_deleted else made

    async def list(self) -> Rows[ObjectInfo]:
        """The objects of the store, in the order in which they were written.

        What does not describe an object is logged and left out.
        """
        every = [made async for made in self._read()]
        return Rows(one for one in every if not one.is_deleted)

    def watch(self, *, only_new: bool = False) -> ObjectWatch:
        """Iterate over the objects of the store, and then over every change: each object that is
        put, and the end of each that is deleted.

        `only_new` begins with the next change. What does not describe an object is logged and left
        out.
        """
        return ObjectWatch(self._session, self._spec, Start(last=0) if only_new else Start(last_per_subject=True))

    async def _read(self) -> AsyncIterator[ObjectInfo]:
        self._session.require_open()
        where = (f"$O.{self.name}.M.>",)
        reader = OrderedReader(self._session, self._spec.stream, where, Start(last_per_subject=True), follow=False)
        try:
            await reader.open()
            while not reader.is_complete:
                await reader.wait()
                while (stored := reader.take()) is not None:
                    made = _info_or_log(stored, self.name)
                    if made is not None:
                        yield made
        finally:
            await reader.stop()

    async def _last(self, where: str) -> StoredMessage | None:
        try:
            return await self._session.api.last_message(self._spec.stream, where)
        except MessageNotFound:
            return None

    def _chunks(self, nuid: str) -> str:
        return f"$O.{self.name}.C.{nuid}"

    def _meta_subject(self, name: str) -> str:
        """Where what is said of an object is. Raises `OptionsError` for an invalid name."""
        given: Any = name
        if not isinstance(given, str) or not 1 <= len(given) <= _LONGEST:
            raise OptionsError(f"name={str(given)[:100]!r}: the name of an object is a str of 1 to {_LONGEST} characters")
        try:
            return f"$O.{self.name}.M.{token_of(given)}"
        except UnicodeEncodeError:
            raise OptionsError(f"name={given[:100]!r}: cannot be encoded as UTF-8") from None

    def __repr__(self) -> str:
        return f"<ObjectStore {self.name}>"


class ObjectReader:
    """The bytes of one object, chunk by chunk: what `ObjectStore.open` returns.

    `async with store.open(name) as chunks` has found the object when the block begins; a bare
    `async for` does so at its first step.
    """

    def __init__(self, session: Session, store: ObjectStore, name: str) -> None:
        self._session = session
        self._store = store
        self._name = name
        self._here: deque[bytes] = deque()
        self._meta: ObjectMeta | None = None
        self._found: ObjectInfo | None = None
        self._reading: Reading | None = None
        self._digest = hashlib.sha256()
        self._size = 0
        self._is_over = False

    @property
    def info(self) -> ObjectInfo:
        """What the store says of the object. Raises `OptionsError` before the first step."""
        if self._found is None:
            raise OptionsError("the object is not opened yet: enter it, or begin to iterate")
        return self._found

    async def _start(self) -> Reading | None:
        """None for an empty object."""
        if self._meta is None:
            self._meta = await self._look()
        if self._reading is None and self._meta.chunks:
            stream, where = self._store._spec.stream, (self._store._chunks(self._meta.nuid),)
            self._reading = OrderedReader(self._session, stream, where, Start(), follow=False)
        if self._reading is not None:
            await self._reading.open()
        return self._reading

    async def _look(self) -> ObjectMeta:
        self._session.require_open()
        store, where = self._store, self._store._meta_subject(self._name)
        found = await store._last(where)
        meta = None if found is None else decode(found.data, where)
        shown = escape_control(self._name, keep_layout=False)
        if found is None or meta is None or meta.deleted:
            raise ObjectNotFound(f"store {store.name} has no object {shown}", bucket=store.name, name=self._name)
        self._found = _read_info(Stored.looked_up(found))
        if self._found.link:
            raise BucketError(
                f"object {shown} of store {store.name} is a link to {self._found.link}: get that", bucket=store.name
            )
        return meta

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._here:
            await self._batch(1)
        if not self._here:
            raise StopAsyncIteration
        return self._made(self._here.popleft())

    @property
    def _over(self) -> bool:
        return self._is_over

    async def _batch(self, limit: int) -> None:
        """Put chunks into `_here`: at least one, none at the end."""
        if self._is_over:
            return
        reading = await self._start()
        while reading is not None and not self._here:
            await reading.wait()
            while len(self._here) < limit and (stored := reading.take()) is not None:
                self._take(stored.data)
            if reading.is_complete:
                break
        if not self._here:
            self._is_over = True
            self._check(is_end=True)

    def _take(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._size += len(chunk)
        self._check(is_end=False)
        self._here.append(chunk)

    def _check(self, *, is_end: bool) -> None:
        """Raise `ObjectCorrupt` if these cannot be the bytes that were stored."""
        meta = self._meta
        assert meta is not None
        if self._size > meta.size or (is_end and self._size != meta.size):
            why = f"it has {'more than ' * (not is_end)}{self._size if is_end else meta.size} bytes, not {meta.size}"
        elif is_end and self._digest.digest() != digest_of(meta.digest):
            why = "its SHA-256 digest differs"
        else:
            return
        store, shown = self._store.name, escape_control(self._name, keep_layout=False)
        raise ObjectCorrupt(
            f"object {shown} of store {store} is not what was stored: {why}; it may have been replaced meanwhile: get it again",
            bucket=store,
            name=self._name,
        )

    def _made(self, raw: bytes) -> bytes:
        return raw

    async def stop(self) -> None:
        """Read no more, and end the iteration. Safe to repeat."""
        self._is_over = True
        reading, self._reading = self._reading, None
        self._here.clear()
        if reading is not None:
            await reading.stop()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __del__(self) -> None:
        reading = getattr(self, "_reading", None)
        if reading is not None:
            self._session.abandon(reading)


class ObjectWatch(ReadAhead[ObjectInfo]):
    """What happens to the objects of a store, in order: what `ObjectStore.watch` returns.

    `async with store.watch() as changes` has fixed where it starts when the block begins; a bare
    `async for` does so at its first step.
    """

    def __init__(self, session: Session, spec: ObjectStoreSpec, start: Start) -> None:
        super().__init__(session)
        self._spec = spec
        self._start_at = start

    async def _new_reading(self) -> Reading:
        where = (f"$O.{self._spec.name}.M.>",)
        return OrderedReader(self._session, self._spec.stream, where, self._start_at, follow=True)

    def _kept(self, stored: Stored) -> ObjectInfo | None:
        return _info_or_log(stored, self._spec.name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectInfo:
        return self._made(await self._next_raw())

    def _made(self, raw: ObjectInfo) -> ObjectInfo:
        return raw

    async def stop(self) -> None:
        """Watch no more, and end the iteration. Safe to repeat."""
        await self._end()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __del__(self) -> None:
        reading = getattr(self, "_reading", None)
        if reading is not None:
            self._session.abandon(reading)


# ---- inside


async def _chunks(data: Any, size: int) -> AsyncIterator[bytes]:
    """`data` in pieces of `size` bytes; the last may have fewer."""
    rest = bytearray()
    async for piece in _pieces(data):
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise OptionsError(f"put(data): a piece is bytes, not {type(piece).__name__}")
        rest += piece
        while len(rest) >= size:
            yield bytes(rest[:size])
            del rest[:size]
    if rest:
        yield bytes(rest)


async def _pieces(data: Any) -> AsyncIterator[Any]:
    if isinstance(data, (bytes, bytearray, memoryview)):
        for start in range(0, len(data), _CHUNK):
            yield data[start : start + _CHUNK]
    elif isinstance(data, AsyncIterable):
        async for piece in data:
            yield piece
    elif hasattr(data, "read"):  # by lines, a binary file could be one piece
        while piece := await run_in_thread(data.read, _CHUNK):
            yield piece
    elif isinstance(data, Iterable) and not isinstance(data, str):
        end = object()
        iterator = iter(data)
        while (piece := await run_in_thread(next, iterator, end)) is not end:
            yield piece
    else:
        raise OptionsError(f"put(data): bytes, or an iterable of bytes, is needed, not {type(data).__name__}")


def _require_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    found: Any = {} if metadata is None else metadata
    if not isinstance(found, Mapping) or not all(isinstance(one, str) for pair in found.items() for one in pair):
        raise OptionsError(f"put(metadata={metadata!r}): a mapping of str to str is needed")
    return dict(found)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _read_info(stored: Stored) -> ObjectInfo:
    """Raises `PayloadDecodeError`."""
    return _info(decode(stored.data, stored.subject), stored.seq, from_nanos(stored.time))


def _info(meta: ObjectMeta, revision: int, time: datetime) -> ObjectInfo:
    link = None if meta.options is None else meta.options.link
    return ObjectInfo(
        name=meta.name,
        size=meta.size,
        chunks=meta.chunks,
        digest=digest_of(meta.digest) or b"",
        modified=time,
        revision=revision,
        description=meta.description,
        metadata=meta.metadata or {},
        is_deleted=meta.deleted,
        link="" if link is None else f"{link.bucket}/{link.name}" if link.name else link.bucket,
    )


def _info_or_log(stored: Stored, store: str) -> ObjectInfo | None:
    try:
        return _read_info(stored)
    except PayloadDecodeError as error:
        log.warning("store %s: left out: %s", store, error, extra=LogFields(stream=f"OBJ_{store}", subject=stored.subject))
        return None
