"""What one admission knows of the bucket of switches: back pressure, and domains that are held.

Each admission watches the keys, so that all agree within moments of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from .._core.domains.keys import HELD, HELD_KEYS, HOLD_TTL, Hold, read_hold
from .._core.jetstream.kv import Bucket, Entry
from .._core.jetstream.kv_watch import KeyWatch
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import BUCKET, KEY_TTL, SWITCHES
from ..contract import covers
from ..errors import BusClosed, JetStreamDisabled, PermissionDenied, SmithError, StreamNotFound
from ..topology import consumers

log: Final = sdk_logger("admission")

_SLICE: Final = 1.0
"""Seconds between two looks whether the admission is being stopped."""
_FIELDS: Final = LogFields(consumer=consumers.admission.name)


class ControlWatch:
    """Watches the keys for one admission. `on_change` is called after each change of any."""

    def __init__(self, session: Session, is_stopping: Callable[[], bool]) -> None:
        self._session = session
        self._is_stopping = is_stopping
        self._watch: KeyWatch | None = None
        self._holds: dict[str, Hold] | None = None
        """The holds by their keys, as of the last change; None until they are needed."""
        self._listeners: list[Callable[[], None]] = []

    def add_listener(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def open(self) -> None:
        """Return once the keys are known.

        Without the bucket, or the permission to read it, there are none. While the bucket does not
        answer, no key can be renewed either: after the TTL of a key, none is left.
        """
        self._watch = watch = KeyWatch(Bucket(self._session, BUCKET), (SWITCHES, HELD_KEYS), self._changed)
        until = monotonic() + max(KEY_TTL, HOLD_TTL)
        is_told = False
        while not self._is_stopping():
            try:
                await watch.start(_SLICE)
                return
            except (StreamNotFound, PermissionDenied) as error:
                log.warning(
                    "back pressure cannot have this admission quarantine new intents, nor a move of domains hold them: %s",
                    error,
                    extra=_FIELDS,
                )
                return
            except (JetStreamDisabled, BusClosed):
                raise
            except SmithError as error:
                if not is_told:
                    log.warning("admission waits to learn whether it is to quarantine new intents: %s", error, extra=_FIELDS)
                is_told = True
                if monotonic() >= until:
                    return

    async def close(self) -> None:
        """Watch no more. Safe to repeat."""
        watch, self._watch = self._watch, None
        if watch is not None:
            await watch.stop()

    def any(self, prefix: str) -> Entry | None:
        """One of the keys that begin with `prefix`; None if there is none."""
        return None if self._watch is None else self._watch.any(prefix)

    def hold(self, subject: str) -> Hold | None:
        """The hold that keeps messages for `subject` back; None if there is none.

        A key that does not expire is none of ours: it would hold them for ever.
        """
        if self._watch is None:
            return None
        if self._holds is None:
            entries = self._watch.entries.values()
            self._holds = {
                entry.key: hold
                for entry in entries
                if entry.key.startswith(HELD) and entry.ttl is not None and (hold := read_hold(entry)) is not None
            }
        for key, hold in self._holds.items():
            if any(covers(pattern, subject) for pattern in hold.patterns) and key in self._watch.entries:
                return hold
        return None

    def _changed(self) -> None:
        self._holds = None
        for listener in self._listeners:
            listener()
