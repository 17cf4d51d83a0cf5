"""The switch by which back pressure has every admission quarantine new intents.

It is on while any key on `SWITCHES` exists. Each admission watches these keys, so that all agree
within moments of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from .._core.jetstream.kv import Bucket, Entry
from .._core.jetstream.kv_watch import KeyWatch
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import BACKPRESSURE, BUCKET, KEY_TTL, SWITCHES, Switch, read_switch
from ..errors import BusClosed, JetStreamDisabled, PermissionDenied, SmithError, StreamNotFound
from ..topology import consumers
from .rulings import Keep, storable

log: Final = sdk_logger("admission")

_SLICE: Final = 1.0
"""Seconds between two looks whether the admission is being stopped."""
_FIELDS: Final = LogFields(consumer=consumers.admission.name)


class QuarantineSwitch:
    """Watches the switch for one admission, and counts what is quarantined by it."""

    def __init__(self, session: Session, is_stopping: Callable[[], bool]) -> None:
        self._session = session
        self._is_stopping = is_stopping
        self._watch: KeyWatch | None = None
        self._read: tuple[Entry, Switch] | None = None
        """The key that was read last."""
        self._reported: Switch | None = None
        """What the log said last: that it is on, for this reason, or off."""
        self._count = 0

    # ---- the run

    async def open(self) -> None:
        """Return once its state is known.

        Without the bucket, or the permission to read it, the switch stays off. While the bucket
        does not answer, no key can be renewed either: after the TTL of a key, none is left.
        """
        self._watch = watch = KeyWatch(Bucket(self._session, BUCKET), SWITCHES, self._report)
        until = monotonic() + KEY_TTL
        is_told = False
        while not self._is_stopping():
            try:
                await watch.start(_SLICE)
                return
            except (StreamNotFound, PermissionDenied) as error:
                log.warning("back pressure cannot have this admission quarantine new intents: %s", error, extra=_FIELDS)
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
            if self._count:
                self._sum_up("admission ends under back pressure")
        self._reported = None

    # ---- for each intent

    def ruling(self) -> Keep | None:
        """The ruling on a new intent; None while the switch is off."""
        switch = self._current()
        if switch is None:
            return None
        return Keep(BACKPRESSURE, storable(f"{switch.rule}: {switch.reason}"))

    @property
    def is_on(self) -> bool:
        return self._current() is not None

    def count(self) -> None:
        """An intent was quarantined by it."""
        self._count += 1

    def _current(self) -> Switch | None:
        entry = None if self._watch is None else self._watch.any()
        if entry is None:
            return None
        if self._read is None or self._read[0] != entry:
            self._read = entry, read_switch(entry)
        return self._read[1]

    # ---- the log

    def _report(self) -> None:
        switch = self._current()
        if (switch is None) == (self._reported is None):
            return
        self._reported = switch
        if switch is not None:
            log.warning(
                "back pressure is on, by rule %s: new intents are quarantined from now on: %s",
                switch.rule,
                switch.reason,
                extra=_FIELDS,
            )
        else:
            self._sum_up("back pressure is off")

    def _sum_up(self, why: str) -> None:
        count, self._count = self._count, 0
        log.warning(
            "%s: this admission has quarantined %d intents meanwhile; `smith quarantine release` lets them through",
            why,
            count,
            extra=_FIELDS,
        )
