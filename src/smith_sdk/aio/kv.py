"""Key-value buckets: typed keys and values, on the layout of NATS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, cast
from uuid import uuid4

from .._core import codec
from .._core.foreign_text import escape_control
from .._core.jetstream.api import from_nanos
from .._core.jetstream.claim import Taken, compare_and_set
from .._core.jetstream.kv import OPERATION, Bucket, is_removed, ttl_headers
from .._core.jetstream.ordered_reader import OrderedReader
from .._core.jetstream.reading import Reading, Start
from .._core.jetstream.session import Session
from .._core.jetstream.stream_reader import Stored
from ..contract import BucketSpec, K_co, KeyFilter, KeyT, V_co, ValueT
from ..errors import InvalidToken, KeyExists, MessageNotFound, OptionsError, WrongRevision
from ..options import positive_int, to_seconds
from .publisher import encoded
from .read_ahead import ReadAhead

__all__ = ["KeyEntry", "KeyValue", "KeyWatch"]

_KEY: Final = re.compile(r"[-/_=a-zA-Z0-9]+(?:\.[-/_=a-zA-Z0-9]+)*")
"""What every client of NATS takes as a key."""
_PATTERN: Final = re.compile(r"(?:(?:[-/_=a-zA-Z0-9]+|\*)\.)*(?:[-/_=a-zA-Z0-9]+|\*|>)")
_LONGEST: Final = 1024
_ROLLUP: Final = "Nats-Rollup"
_UNSET: Final[Any] = object()

Operation = Literal["put", "delete", "purge", "expire"]


class KeyEntry(Generic[V_co, K_co]):
    """What was done to a key: a value that was put, or its end.

    Key and value are decoded on first access, so that what another program has written never ends
    an iteration.
    """

    __slots__ = ("_key", "_spec", "_stored", "_value")

    def __init__(self, stored: Stored, spec: BucketSpec[Any, Any]) -> None:
        self._stored = stored
        self._spec = spec
        self._key: Any = _UNSET
        self._value: Any = _UNSET

    @property
    def key(self) -> K_co:
        """The key. Raises `InvalidToken` if it is not one of the bucket's pattern."""
        if self._key is _UNSET:
            raw = self.raw_key
            self._key = raw if self._spec.key is str else self._spec.key.parse(raw)
        return cast("K_co", self._key)

    @property
    def raw_key(self) -> str:
        """The key as a str, whatever it is."""
        return self._stored.subject.removeprefix(f"$KV.{self._spec.name}.")

    @property
    def value(self) -> V_co:
        """The decoded value.

        Raises `PayloadDecodeError`, also for an entry that is not a "put".
        """
        if self._value is _UNSET:
            self._value = codec.decode(self._spec.value, self._stored.data, self._stored.subject)
        return cast("V_co", self._value)

    @property
    def raw(self) -> bytes:
        """The bytes of the value as stored."""
        return self._stored.data

    @property
    def revision(self) -> int:
        """The number of this write: each write to the bucket has a greater one."""
        return self._stored.seq

    @property
    def operation(self) -> Operation:
        """What was done: "put", "delete", "purge" (with its history), or "expire"."""
        headers = self._stored.headers
        named = headers.get(OPERATION, "")
        if named == "PURGE":
            return "purge"
        if named == "DEL":
            return "delete"
        return "expire" if is_removed(headers) else "put"

    @property
    def time(self) -> datetime:
        """When it was written, in UTC, by the server's clock."""
        return from_nanos(self._stored.time)

    def __repr__(self) -> str:
        key = escape_control(self.raw_key, keep_layout=False)
        return f"<KeyEntry {self.operation} {key} of {self._spec.name}, revision {self.revision}>"


class KeyValue(Generic[ValueT, KeyT]):
    """One key-value bucket: what `bus.kv` returns. Does no I/O until it is called.

    Its stream, `KV_<name>`, is planned, applied and verified with the others by `bus.streams`. Keys
    have letters, digits and "-/_=", with dots between tokens: `InvalidToken` otherwise. Values are
    checked before they are written, as payloads are.

    Every call raises `StreamNotFound` if the bucket does not exist, `DeadlineExceeded`,
    `PermissionDenied`, `JetStreamDisabled`, `ConnectionLost`, `BusClosed`; a write also what
    `publish` raises: `PayloadMismatch`, `PayloadTooLarge`, `QueueFull` if the bucket is full, and
    `PublishUnconfirmed`, after which the write may be stored.
    """

    def __init__(self, session: Session, spec: BucketSpec[ValueT, KeyT]) -> None:
        require_origin(session, spec)
        self._session = session
        self._spec = spec
        self._bucket = Bucket(session, spec.name)

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._spec.name

    # ---- one key

    async def get(self, key: KeyT, *, revision: int | None = None) -> KeyEntry[ValueT, KeyT] | None:
        """What `key` has, with `revision` what it had then. None if it has no value, or had none.

        It comes from the stream's leader, so that it is never older than a write that has returned.
        """
        text = self._text(key)
        api, subject = self._session.api, self._bucket.subject(text)
        try:
            if revision is None:
                found = await api.last_message(self._bucket.stream, subject)
            else:
                found = await api.message(self._bucket.stream, positive_int("get(revision)", revision))
        except MessageNotFound:
            return None
        return None if found.subject != subject or is_removed(found.headers) else self._entry(Stored.looked_up(found))

    async def put(self, key: KeyT, value: ValueT, *, ttl: float | timedelta | None = None) -> int:
        """Write `value`, whatever `key` has. Returns the revision.

        `ttl`: until the key expires, in whole seconds, rounded up; None for the bucket's own. Only
        for a bucket with `limit_marker_ttl`: `OptionsError` otherwise.
        """
        text = self._text(key)
        return await self._bucket.put(text, self._bytes(text, value), ttl=self._life(ttl))

    async def create(self, key: KeyT, value: ValueT, *, ttl: float | timedelta | None = None) -> int:
        """Write `value` if `key` has none. Returns the revision. Of several writers one succeeds.

        Raises `KeyExists` if it has a value. `ttl` is as in `put`.
        """
        text = self._text(key)
        done = await self._bucket.claim(text, self._bytes(text, value), ttl=self._life(ttl))
        if isinstance(done, int):
            return done
        raise KeyExists(
            f"key {text} of bucket {self.name} has a value already, of revision {done.seq}",
            bucket=self.name,
            key=text,
            revision=done.seq,
        )

    async def update(self, key: KeyT, value: ValueT, *, revision: int, ttl: float | timedelta | None = None) -> int:
        """Write `value` if `revision` is still that of `key`. Returns the new one.

        Raises `WrongRevision` if the key was written since. `ttl` is as in `put`.
        """
        text = self._text(key)
        return await self._set(text, self._bytes(text, value), revision, ttl_headers(self._life(ttl)))

    async def delete(self, key: KeyT, *, revision: int | None = None) -> None:
        """Delete the value of `key`, which keeps its history; with `revision` only if it still has
        that.

        Raises `WrongRevision` if the key was written since.
        """
        await self._end(self._text(key), revision, {OPERATION: "DEL"})

    async def purge(self, key: KeyT, *, revision: int | None = None) -> None:
        """Delete the value of `key` and its history; with `revision` only if it still has that.

        Raises `WrongRevision` if the key was written since.
        """
        await self._end(self._text(key), revision, {OPERATION: "PURGE", _ROLLUP: "sub"})

    async def history(self, key: KeyT) -> list[KeyEntry[ValueT, KeyT]]:
        """What the bucket keeps of `key`, the newest last: values, and their ends."""
        return await self._read((self._text(key),), Start())

    # ---- many keys

    async def keys(self, what: KeyT | KeyFilter[KeyT] | None = None) -> list[KeyT]:
        """The keys that have a value, or those of them that `what` selects, in the order in which
        they were written.

        `what` is a filter, a key, or for a bucket without a pattern also a str with wildcards. Keys
        of other programs that are not of the bucket's pattern are left out.
        """
        found = []
        for entry in await self.entries(what):
            try:
                found.append(entry.key)
            except InvalidToken:
                continue
        return found

    async def entries(self, what: KeyT | KeyFilter[KeyT] | None = None) -> list[KeyEntry[ValueT, KeyT]]:
        """What the keys have, or those of them that `what` selects, in the order of revisions."""
        every = await self._read(self._patterns(what), Start(last_per_subject=True))
        return [entry for entry in every if entry.operation == "put"]

    def watch(
        self,
        what: KeyT | KeyFilter[KeyT] | None = None,
        *,
        history: bool = False,
        only_new: bool = False,
    ) -> KeyWatch[ValueT, KeyT]:
        """Iterate over what the keys have now, and then over every change, ends included.

        `what` is as in `keys`. `history` begins with all that the bucket keeps, `only_new` with the
        next change. No entry is left out or handed out twice, across reconnects, unless the bucket
        itself has replaced it before it was read. Raises `OptionsError` for both at once.
        """
        if history and only_new:
            raise OptionsError("watch(history=True, only_new=True): pass one of the two")
        start = Start(last=0) if only_new else Start() if history else Start(last_per_subject=True)
        return KeyWatch(self._session, self._spec, self._patterns(what), start)

    # ---- inside

    async def _read(self, patterns: tuple[str, ...], start: Start) -> list[KeyEntry[ValueT, KeyT]]:
        self._session.require_open()
        where = tuple(map(self._bucket.subject, patterns))
        reader = OrderedReader(self._session, self._bucket.stream, where, start, follow=False)
        found: list[KeyEntry[ValueT, KeyT]] = []
        try:
            await reader.open()
            while not reader.is_complete:
                await reader.wait()
                while (stored := reader.take()) is not None:
                    found.append(self._entry(stored))
        finally:
            await reader.stop()
        return found

    def _entry(self, stored: Stored) -> KeyEntry[ValueT, KeyT]:
        return KeyEntry(stored, self._spec)

    def _bytes(self, key: str, value: ValueT) -> bytes:
        return encoded(self._session, self._bucket.subject(key), self._spec.value, value)

    async def _end(self, key: str, revision: int | None, headers: Mapping[str, str]) -> None:
        if revision is not None:
            await self._set(key, b"", revision, headers)
            return
        where = self._session.api.publish_subject(self._bucket.subject(key))
        await self._session.publish(where, b"", stream=self._bucket.stream, msg_id=uuid4().hex, headers=dict(headers))

    async def _set(self, key: str, data: bytes, revision: int, headers: Mapping[str, str]) -> int:
        expected = positive_int("revision", revision)
        where = self._bucket.subject(key)
        done = await compare_and_set(self._session, self._bucket.stream, where, data, expected=expected, headers=headers)
        if not isinstance(done, Taken):
            return done
        found = None if done.message is None else done.message.seq
        raise WrongRevision(
            f"key {key} of bucket {self.name} has {'nothing' if found is None else f'revision {found}'}, not revision {revision}",
            bucket=self.name,
            key=key,
            expected=revision,
            found=found,
        )

    def _life(self, ttl: float | timedelta | None) -> float | None:
        if ttl is not None and not self._spec.key_ttl:
            raise OptionsError(
                f"ttl={ttl!r}: keys of bucket {self.name} have no time to live of their own: declare limit_marker_ttl for it"
            )
        return None if ttl is None else to_seconds("ttl", ttl)

    def _text(self, key: Any) -> str:
        """A key as it is on the wire. Raises `InvalidToken`."""
        expected = self._spec.key
        if type(key) is not expected:
            raise self._invalid(key, f"a {expected.__name__} is needed, not a {type(key).__name__}")
        text = str(key)
        if len(text) > _LONGEST or _KEY.fullmatch(text) is None:
            raise self._invalid(key, 'a key has letters, digits and "-/_=", with dots between tokens')
        return text

    def _patterns(self, what: Any) -> tuple[str, ...]:
        if what is None:
            return (">",)
        if isinstance(what, str) and self._spec.key is str:
            if len(what) > _LONGEST or _PATTERN.fullmatch(what) is None:
                raise self._invalid(
                    what, 'a key has letters, digits and "-/_=", with dots between tokens, and * or > in place of one'
                )
            return (what,)
        return tuple(what.patterns) if isinstance(what, KeyFilter) else (self._text(what),)

    def _invalid(self, key: object, why: str) -> InvalidToken:
        pattern = getattr(self._spec.key, "PATTERN", "any str")
        return InvalidToken(
            f"{str(key)[:100]!r} is not a key of bucket {self.name}: {why}", pattern=pattern, token="key", value=key
        )

    def __repr__(self) -> str:
        return f"<KeyValue {self.name}>"


class KeyWatch(ReadAhead[Stored], Generic[ValueT, KeyT]):
    """What happens to keys of a bucket, in order: what `KeyValue.watch` returns.

    `async with kv.watch(...) as changes` has fixed where it starts when the block begins; a bare
    `async for` does so at its first step. Up to 1,000 entries are read ahead. Iterating raises what
    the bucket's calls raise, and `StreamNotFound` if the bucket was deleted and created again.
    """

    def __init__(self, session: Session, spec: BucketSpec[ValueT, KeyT], patterns: tuple[str, ...], start: Start) -> None:
        super().__init__(session)
        self._spec = spec
        self._where = tuple(f"$KV.{spec.name}.{pattern}" for pattern in patterns)
        self._start_at = start

    async def _new_reading(self) -> Reading:
        return OrderedReader(self._session, self._spec.stream, self._where, self._start_at, follow=True)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> KeyEntry[ValueT, KeyT]:
        return self._made(await self._next_raw())

    def _made(self, raw: Stored) -> KeyEntry[ValueT, KeyT]:
        return KeyEntry(raw, self._spec)

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


def require_origin(session: Session, spec: Any) -> None:
    """Raise `OptionsError` unless the bus's contract declares the bucket or object store `spec`."""
    contract, origin = session.contract, getattr(spec, "origin", None)
    if origin is None or (origin != contract.origin and origin not in contract.inherits):
        raise OptionsError(f"{str(spec)[:100]} is not declared in contract {contract.name!r}: use one of its generated package")
