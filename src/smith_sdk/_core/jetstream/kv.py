"""Keys of a key-value bucket: created once, by one of several writers, for a limited time.

The layout is that of NATS: bucket X is the stream KV_X, which keeps the last message of each
subject `$KV.X.<key>`. The stream is declared in the spec like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from ...errors import TopologyRefused
from .api import StoredMessage
from .api_errors import APPLY
from .claim import Taken, compare_and_set
from .session import Session

TTL: Final = "Nats-TTL"
_MARKER: Final = "Nats-Marker-Reason"
_OPERATION: Final = "KV-Operation"
_REMOVED: Final = ("DEL", "PURGE")


class Bucket:
    """The bucket `name` on `session`."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self.stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."

    async def require(self) -> None:
        """Raise `StreamNotFound` unless the bucket exists, `TopologyRefused` unless it keeps each
        key for the key's own time, and what a call of the JetStream API raises."""
        config = (await self._session.api.stream_info(self.stream))["config"]
        problems = {
            "its keys do not expire (allow_msg_ttl)": not config.get("allow_msg_ttl"),
            "it deletes keys when it is full (discard)": config.get("discard") != "new",
            "it deletes every key after some time (max_age)": bool(config.get("max_age")),
        }
        if any(problems.values()):
            found = ", ".join(problem for problem, is_there in problems.items() if is_there)
            raise TopologyRefused(
                f"stream {self.stream} is not as the contract declares it: {found}; {APPLY}", stream=self.stream
            )

    async def create(self, key: str, value: bytes, *, ttl: float) -> StoredMessage | None:
        """Store `value` for `ttl` seconds (rounded up, at least 1), unless `key` has a value.

        Returns None if it is stored, and otherwise the message that has the key. Of several writers
        one succeeds. Raises what publishing raises: `QueueFull` if the bucket is full.
        """
        headers = {TTL: str(max(1, math.ceil(ttl)))}
        expected = 0
        while True:
            subject = f"{self._prefix}{key}"
            done = await compare_and_set(self._session, self.stream, subject, value, expected=expected, headers=headers)
            if not isinstance(done, Taken):
                return None
            if done.message is None:  # it has expired since
                expected = 0
            elif _is_removed(done.message.headers):
                expected = done.message.seq
            else:
                return done.message


def _is_removed(headers: Mapping[str, str]) -> bool:
    """Whether the last message of a key says that the key has no value any more."""
    return _MARKER in headers or headers.get(_OPERATION) in _REMOVED
