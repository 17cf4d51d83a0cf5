"""Key-value buckets and object stores."""

from __future__ import annotations

from ._base import SmithError


class BucketError(SmithError):
    """A call of the bucket or object store `bucket` (str) that could not be done."""

    def __init__(self, message: str, *, bucket: str) -> None:
        super().__init__(message)
        self.bucket = bucket


class KeyExists(BucketError):
    """The key to create has a value already. `key` (str) and `revision` (int) are of that value."""

    def __init__(self, message: str, *, bucket: str, key: str, revision: int) -> None:
        super().__init__(message, bucket=bucket)
        self.key = key
        self.revision = revision


class WrongRevision(BucketError):
    """The key has another revision than the writer expects, so that nothing was written.

    `key` (str); `expected` (int); `found` (int), that of what was written last, None if the bucket
    has nothing of the key.
    """

    def __init__(self, message: str, *, bucket: str, key: str, expected: int, found: int | None) -> None:
        super().__init__(message, bucket=bucket)
        self.key = key
        self.expected = expected
        self.found = found


class ObjectNotFound(BucketError):
    """The store has no object of that `name` (str)."""

    def __init__(self, message: str, *, bucket: str, name: str) -> None:
        super().__init__(message, bucket=bucket)
        self.name = name


class ObjectCorrupt(BucketError):
    """The bytes of the object `name` (str) are not those that its writer has stored.

    Their number or their SHA-256 digest differs. Perhaps it was replaced or deleted meanwhile.
    """

    def __init__(self, message: str, *, bucket: str, name: str) -> None:
        super().__init__(message, bucket=bucket)
        self.name = name
