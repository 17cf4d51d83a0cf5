"""The file of an outbox: a SQLite database of messages, each with its id, in the order of storing.

Everything here blocks, and belongs in a thread. A message that was added is on disk once its
transaction is committed (WAL, synchronous=FULL), whatever becomes of the process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from ...errors import OptionsError, OutboxError, OutboxInUse
from ..foreign_text import one_line
from ..jetstream.publish_request import PublishRequest
from .records import OutboxInfo, OutboxMessage

APPLICATION: Final = int.from_bytes(b"Smob")
"""SQLite's `application_id`: what tells an outbox from the databases of other programs."""
VERSION: Final = 1
"""SQLite's `user_version`: the schema below."""
OVERHEAD: Final = 128
"""Bytes that a message is counted with beside its own: about what its row takes."""

_SCHEMA: Final = """
CREATE TABLE messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order; never used twice
    stream TEXT NOT NULL,
    subject TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    headers TEXT,                          -- a JSON object
    data BLOB NOT NULL,
    size INTEGER NOT NULL,                 -- bytes, as counted against the limit
    stored_at REAL NOT NULL,               -- seconds since 1970, as all times here
    sent_at REAL,                          -- first sending that the stream may have received
    failed_at REAL,                        -- refused for good; not sent again by itself
    error TEXT
);
CREATE INDEX waiting ON messages(stream, id) WHERE failed_at IS NULL;
CREATE TABLE owner(name TEXT NOT NULL);    -- of the latest process that had it open
"""
_LOCK: Final = "-lock"
_BUSY: Final = 2.0
"""Seconds that a statement waits for `smith outbox ls`, which reads beside the owner."""
_WAL_LIMIT: Final = 4 * 1024 * 1024
"""Bytes to which the log of changes is cut after a checkpoint."""


_decode_headers: Final = msgspec.json.Decoder(dict[str, str]).decode


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A message of the file that is to be sent."""

    id: int
    request: PublishRequest
    sent_at: float | None
    """When it was sent for the first time; None if the stream cannot have it."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A message of the file as it counts."""

    id: int
    stream: str
    size: int
    is_failed: bool


def check_path(path: str) -> None:
    """Raise `OptionsError` unless an outbox can be at `path`, as far as can be told by a look."""
    if os.path.isdir(path):
        raise OptionsError(f"outbox={path!r}: is a directory: name a file in it")
    folder = os.path.dirname(path) or os.curdir
    if not os.path.isdir(folder):
        raise OptionsError(f"outbox={path!r}: there is no directory {folder}")
    if os.path.exists(path):
        _connect(path).close()


class OutboxDatabase:
    """One open file. Not thread-safe: one thread at a time."""

    def __init__(self, path: str, database: sqlite3.Connection, lock: sqlite3.Connection | None) -> None:
        self.path = path
        self._database = database
        self._lock = lock

    @classmethod
    def open(cls, path: str) -> OutboxDatabase:
        """Open the file as its owner; create it if there is none, readable by its user alone.

        Raises `OutboxInUse` if it has an owner, `OptionsError` if it is not an outbox, is from a
        newer version, is damaged or cannot be written.
        """
        check_path(path)
        lock = _owned(path)
        try:
            _create(path, 0o600)
            database = _connect(path, create=True)
        except BaseException:
            lock.close()
            raise
        self = cls(path, database, lock)
        try:
            with _explained(path, OptionsError):
                self._prepare()
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def read(cls, path: str) -> OutboxDatabase:
        """Open the file to list its messages, beside its owner if it has one.

        Raises `OptionsError` if there is none, or if it is not an outbox.
        """
        check_path(path)
        if not os.path.exists(path):
            raise OptionsError(f"outbox={path!r}: does not exist")
        self = cls(path, _connect(path), None)
        if self._is_empty:
            self.close()
            raise OptionsError(f"outbox={path!r}: is empty")
        return self

    @property
    def _is_empty(self) -> bool:
        with _explained(self.path, OptionsError):
            return bool(self._database.execute("SELECT count(*)=0 FROM sqlite_master").fetchone()[0])

    def _prepare(self) -> None:
        (damage,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise OptionsError(f"outbox={self.path!r}: is damaged ({one_line(damage)}): move it away, and a new one is made")
        self._database.execute("PRAGMA journal_mode=WAL").fetchone()
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}").fetchone()
        with self._transaction(OptionsError):
            self._database.execute("DELETE FROM owner")
            self._database.execute("INSERT INTO owner VALUES (?)", (f"process {os.getpid()} on {socket.gethostname()}",))

    def close(self) -> None:
        """Close the file; another may open it then. Safe to repeat."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        if self._lock is not None:
            self._lock.close()

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """Commit what the block does, all or nothing. Raises `OutboxError`."""
        return self._transaction(OutboxError)

    @contextlib.contextmanager
    def _transaction(self, kind: type[OptionsError] | type[OutboxError]) -> Iterator[None]:
        with _explained(self.path, kind):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    # ---- what runs within a transaction

    def add(self, request: PublishRequest, size: int, stored_at: float, sent_at: float | None) -> int:
        """Put a message behind all others; return its number."""
        headers = None if request.headers is None else msgspec.json.encode(request.headers).decode()
        row = (request.stream, request.subject, request.msg_id, headers, request.data, size, stored_at, sent_at)
        found = self._database.execute(
            "INSERT INTO messages(stream, subject, msg_id, headers, data, size, stored_at, sent_at) VALUES (?,?,?,?,?,?,?,?)", row
        ).lastrowid
        assert found is not None
        return found

    def remove(self, ids: Sequence[int]) -> list[Kept]:
        """Delete messages; return those that were there."""
        found = self._of_ids(ids)
        self._database.executemany("DELETE FROM messages WHERE id=?", [(one.id,) for one in found])
        return found

    def fail(self, reasons: Sequence[tuple[int, str]], now: float) -> list[Kept]:
        """Have messages wait no more, and keep why; return those that were there."""
        found = self._of_ids([id for id, _ in reasons])
        self._database.executemany(
            "UPDATE messages SET failed_at=?, error=? WHERE id=?", [(now, error, id) for id, error in reasons]
        )
        return found

    def unsend(self, ids: Sequence[int]) -> None:
        """The stream cannot have these messages after all."""
        self._database.executemany("UPDATE messages SET sent_at=NULL WHERE id=?", [(id,) for id in ids])

    def next(self, stream: str, *, count: int, size: int, now: float) -> list[Waiting]:
        """The first messages of `stream` that wait: up to `count`, and one or up to `size` bytes.

        From then on the file has them as sent, since they will be.
        """
        found: list[Waiting] = []
        rows = self._database.execute(
            "SELECT id, subject, msg_id, headers, data, size, sent_at FROM messages"
            " WHERE stream=? AND failed_at IS NULL ORDER BY id LIMIT ?",
            (stream, count),
        )
        for id, subject, msg_id, headers, data, own, sent_at in rows:
            size -= own
            if found and size < 0:
                break
            # retry=False: what is sent again is read again, and marked if it may be stored twice.
            request = PublishRequest(subject, data, stream, msg_id, self._headers(id, headers), retry=False)
            found.append(Waiting(id, request, sent_at))
        self._database.executemany(
            "UPDATE messages SET sent_at=? WHERE id=?", [(now, one.id) for one in found if one.sent_at is None]
        )
        return found

    def _headers(self, id: int, text: str | None) -> dict[str, str] | None:
        try:
            return None if text is None else _decode_headers(text)
        except msgspec.MsgspecError as error:
            raise OutboxError(f"outbox {self.path}: message {id} is damaged ({error}): discard it", path=self.path) from None

    def retry_failed(self) -> list[Kept]:
        """Have the messages that were refused wait again; return them."""
        found = self._kept("WHERE failed_at IS NOT NULL")
        self._database.execute("UPDATE messages SET failed_at=NULL, error=NULL WHERE failed_at IS NOT NULL")
        return found

    def remove_failed(self) -> list[Kept]:
        """Delete the messages that were refused; return them."""
        return self.remove([one.id for one in self._kept("WHERE failed_at IS NOT NULL")])

    def _of_ids(self, ids: Sequence[int]) -> list[Kept]:
        return [one for id in ids for one in self._kept("WHERE id=?", id)]

    def _kept(self, where: str = "", *values: int) -> list[Kept]:
        rows = self._database.execute(f"SELECT id, stream, size, failed_at IS NOT NULL FROM messages {where} ORDER BY id", values)
        return [Kept(id, stream, size, bool(failed)) for id, stream, size, failed in rows]

    # ---- reading, also without a transaction

    def waiting(self) -> dict[str, int]:
        """The number of messages that wait, by stream."""
        rows = self._database.execute("SELECT stream, count(*) FROM messages WHERE failed_at IS NULL GROUP BY stream")
        return dict(rows.fetchall())

    def info(self, max_bytes: int | None = None) -> OutboxInfo:
        """What is in the file. Raises `OutboxError`."""
        with _explained(self.path, OutboxError):
            count, failed, size, oldest = self._database.execute(
                "SELECT count(*), count(failed_at), coalesce(sum(size), 0), min(CASE WHEN failed_at IS NULL THEN stored_at END)"
                " FROM messages"
            ).fetchone()
        return OutboxInfo(
            path=self.path, messages=count - failed, failed=failed, bytes=size, max_bytes=max_bytes, oldest=_moment(oldest)
        )

    def list(self, *, failed: bool, after: int, limit: int) -> list[OutboxMessage]:
        """The oldest `limit` messages behind number `after`; with `failed`, of those that were
        refused. Raises `OutboxError`."""
        only = " AND failed_at IS NOT NULL" if failed else ""
        with _explained(self.path, OutboxError):
            rows = self._database.execute(
                "SELECT id, subject, stream, msg_id, length(data), stored_at, sent_at, failed_at, error FROM messages"
                f" WHERE id > ?{only} ORDER BY id LIMIT ?",
                (after, limit),
            ).fetchall()
        return [
            OutboxMessage(
                id=id,
                subject=subject,
                stream=stream,
                msg_id=msg_id,
                size=size,
                stored=datetime.fromtimestamp(stored, UTC),
                sent=_moment(sent),
                failed=_moment(refused),
                error=error,
            )
            for id, subject, stream, msg_id, size, stored, sent, refused, error in rows
        ]


class Clock:
    """Seconds since 1970 by this machine's clock, which do not go back if that is set back.

    Across processes they may: a time that is still to come then means that nothing is known.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        self._offset = max(self._offset, time.time() - time.monotonic())
        return time.monotonic() + self._offset


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# ---- opening


def _create(path: str, mode: int) -> None:
    """Create an empty file unless there is one. Raises `OptionsError`."""
    # Never opened if it is there: closing it again would end every lock of this process on it.
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode))
    except FileExistsError:
        return
    except OSError as error:
        raise OptionsError(f"outbox={path!r}: cannot be created: {error.strerror}") from None
    if hasattr(os, "O_DIRECTORY"):  # or the name may be lost with the power, and the messages with it
        folder = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _owned(path: str) -> sqlite3.Connection:
    """The lock of the owner: it ends with the process, and is not inherited by a fork.

    Raises `OutboxInUse`, `OptionsError`.
    """
    # A database of its own, of which nothing is ever stored, so that the outbox can be read beside
    # its owner. SQLite's locks hold on every system, and within one process, too.
    _create(path + _LOCK, 0o600)
    lock = sqlite3.connect(path + _LOCK, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        lock.close()
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OutboxInUse(
                f"the outbox {path} is in use by {_owner(path)}: each bus needs a file of its own; `smith outbox ls` shows what is "
                f"in it meanwhile",
                path=path,
            ) from None
        raise OptionsError(f"outbox={path!r}: {path}{_LOCK} cannot be locked: {_why(error)}") from None
    return lock


def _owner(path: str) -> str:
    """The process that has the file open, for people."""
    try:
        with contextlib.closing(_connect(path)) as database:
            return str(database.execute("SELECT name FROM owner").fetchone()[0])
    except (OptionsError, sqlite3.Error, TypeError):  # it is just being made
        return "another process"


def _connect(path: str, *, create: bool = False) -> sqlite3.Connection:
    """Open a file that exists. Raises `OptionsError` unless it is an outbox of a known version."""
    with _explained(path, OptionsError):
        # Never created here: it would be readable by others.
        database = sqlite3.connect(
            f"{Path(os.path.abspath(path)).as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _require_ours(path, database, create)
        except BaseException:
            database.close()
            raise
    return database


def _require_ours(path: str, database: sqlite3.Connection, create: bool) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application and not version:  # new, or its first process was killed that moment
        if create:
            database.executescript(
                f"BEGIN; {_SCHEMA}; PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT"
            )
    elif application != APPLICATION:
        raise OptionsError(f"outbox={path!r}: is the database of another program: name another file")
    elif version > VERSION:
        raise OptionsError(
            f"outbox={path!r}: is from a newer version of smith-sdk (format {version}, this one knows {VERSION}): flush it with that "
            f"version, or name another file"
        )


_ADVICE: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk is full: make room",
    sqlite3.SQLITE_READONLY: "it may not be written: check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check the permissions of the file and its directory",
    sqlite3.SQLITE_PERM: "it may not be opened: check the permissions of the file and its directory",
    sqlite3.SQLITE_IOERR: "the disk fails, or is full",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, and a new one is made",
    sqlite3.SQLITE_NOTADB: "it is not an outbox: name another file",
    sqlite3.SQLITE_BUSY: "another program has it locked",
    sqlite3.SQLITE_LOCKED: "another program has it locked",
}


@contextlib.contextmanager
def _explained(path: str, kind: type[OptionsError] | type[OutboxError]) -> Iterator[None]:
    """Raise what SQLite raises as `kind`, with what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        if kind is OptionsError:
            raise OptionsError(f"outbox={path!r}: {_why(error)}") from error
        raise OutboxError(f"outbox {path}: {_why(error)}", path=path) from error


def _why(error: sqlite3.Error) -> str:
    """What has failed, and what to do about it."""
    # the low byte: the others say which call it was
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return str(error) if advice is None else f"{advice} ({error})"
