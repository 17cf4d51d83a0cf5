"""The local file that keeps messages while they cannot be published."""

from __future__ import annotations

from ._base import SmithError


class OutboxError(SmithError):
    """The outbox at `path` (str) could not be read or written.

    Its disk is full or fails, or the file is damaged. A message whose publish raises this is not
    kept.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class OutboxFull(OutboxError):
    """The outbox has no room for a message of `size` bytes; `limit` (bytes) is all that it keeps.

    The message is not kept. Publish it again when there is room.
    """

    def __init__(self, message: str, *, path: str, size: int, limit: int) -> None:
        super().__init__(message, path=path)
        self.size = size
        self.limit = limit


class OutboxInUse(OutboxError):
    """Another bus has the outbox open, in this process or another: each needs a file of its own."""
