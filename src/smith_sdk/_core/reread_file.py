"""A file whose content applies as soon as it is replaced, and that is never half in force."""

from __future__ import annotations

import threading
from collections.abc import Callable
from logging import Logger
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import OptionsError

T = TypeVar("T")
Stamp = tuple[int, ...] | None


class RereadFile(Generic[T]):
    """What `read` makes of the file at `path`, read again whenever that has changed.

    `read` raises `OptionsError` for a file that is not valid, and so does this at first. Later the
    content from before stays in force, and an error is logged once for each change. Safe to use in
    several threads.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], log: Logger) -> None:
        self.path = path
        self._read = read
        self._log = log
        self._lock = threading.Lock()
        self._seen = _stamp(path)  # first: a change while it is read is a change
        self._content = read(path)

    @property
    def content(self) -> T:
        """What the file has now."""
        if _stamp(self.path) != self._seen:
            with self._lock:
                self._refresh()
        return self._content

    def _refresh(self) -> None:
        seen = _stamp(self.path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._content = self._read(self.path)
        except OptionsError as error:
            self._log.error("%s has changed and is not valid, so what it had before stays in force: %s", self.path, error)
        else:
            self._log.info("%s has changed and was read again", self.path)


def _stamp(path: Path) -> Stamp:
    """What changes whenever the file does; None if it cannot be found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
