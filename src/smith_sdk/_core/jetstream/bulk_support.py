"""Which kinds of batches a stream takes: by its configuration and the server's API level."""

from __future__ import annotations

import time
from typing import Final, Literal

import msgspec

from ...errors import SmithError
from .api import JetStreamApi, release_name

_FRESH: Final = 60.0
"""Seconds for which the configuration of a stream is believed to be as it was."""

Kind = Literal["atomic", "fast"]
_KEYS: Final[dict[Kind, tuple[str, int]]] = {"atomic": ("allow_atomic", 2), "fast": ("allow_batched", 4)}
"""The key of the stream, and the API level that the server needs for it."""


class Support(msgspec.Struct, frozen=True):
    """Which batches a stream takes. `last_seq`: its last sequence when it was asked."""

    allowed: frozenset[Kind]
    level: int | None
    """The server's API level; None if it is not known."""
    last_seq: int
    at: float

    def why(self, stream: str, kind: Kind) -> str:
        """Why a batch of that `kind` is possible, or is not."""
        key, level = _KEYS[kind]
        if kind in self.allowed:
            return f"stream {stream} has {key}"
        if self.level is not None and self.level < level:
            return f"{key} needs API level {level} ({release_name(level)}), and the server has {self.level} ({release_name(self.level)})"
        return f"stream {stream} does not have {key}: declare {key} = true, and run `smith streams apply`"


class BulkSupport:
    """What the streams of a bus allow; each is asked once a minute at most."""

    def __init__(self, api: JetStreamApi) -> None:
        self._api = api
        self._known: dict[str, Support] = {}

    def forget(self, stream: str | None = None) -> None:
        """Ask anew: `stream` has changed, or with None the server."""
        if stream is None:
            self._known.clear()
        else:
            self._known.pop(stream, None)

    async def of(self, stream: str, *, fresh: bool = False) -> Support:
        """What `stream` allows; with `fresh`, its `last_seq` is not an old one.

        Raises what `JetStreamApi` raises.
        """
        known = self._known.get(stream)
        if known is not None and not fresh and time.monotonic() - known.at < _FRESH:
            return known
        info = await self._api.stream_info(stream)
        config = info["config"]
        allowed: frozenset[Kind] = frozenset(kind for kind, (key, _) in _KEYS.items() if config.get(key))
        level = None
        if len(allowed) < len(_KEYS):
            level = known.level if known is not None else await self._level()
        found = Support(allowed, level, info["state"]["last_seq"], time.monotonic())
        self._known[stream] = found
        return found

    async def _level(self) -> int | None:
        """Only for an explanation, so a user that may not ask does without."""
        try:
            return int((await self._api.account()).get("api", {}).get("level", 0))
        except SmithError:
            return None
