"""Releasing what back pressure has quarantined, once the rule has ended: in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from .._core.events import RuleChanged
from .._core.jetstream.session import Session
from .._core.log_records import LogFields, sdk_logger
from .._core.monitoring.control import BACKPRESSURE
from ..errors import BusClosed, SmithError
from .quarantine import QuarantinedIntents

log: Final = sdk_logger("backpressure")

_PAUSE: Final = 5.0
"""Seconds until a release goes on that was stopped: another rule quarantines, or a stream is
full."""


class Releasing:
    """The action of one rule. It ends when all is released, when the rule begins again, or with
    the bus; then the others stay in the quarantine."""

    shared = True
    renewed = False

    def __init__(self, session: Session, rate: float, text: str) -> None:
        self._session = session
        self._rate = rate
        self.text = text
        self._rule = ""
        self._task: asyncio.Task[None] | None = None

    async def begin(self, event: RuleChanged) -> None:
        await self.stop()

    async def end(self, event: RuleChanged) -> None:
        if self._task is None and self._session.is_open:
            self._rule = event.rule
            self._session.attach(self)
            self._task = asyncio.ensure_future(self._release())

    # ---- a part of the session

    @property
    def name(self) -> str:
        return f"release of quarantined intents by rule {self._rule}"

    def describe(self) -> Mapping[str, object]:
        return {"rule": self._rule, "rate": self._rate}

    async def stop(self) -> None:
        """Release no more. Safe to repeat."""
        task, self._task = self._task, None
        self._session.detach(self)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait((task,))

    async def _release(self) -> None:
        store, problem = QuarantinedIntents(self._session), ""
        total = 0
        while True:
            try:
                report = await store.release(rule=BACKPRESSURE, rate=self._rate, by=f"rule {self._rule}")
                why, total = report.stopped, total + report.released + report.finished
            except BusClosed:
                return
            except SmithError as error:
                why = f"{type(error).__name__}: {error}"
            if not why:
                break
            if why != problem:
                problem = why
                log.warning("rule %s: waits to release quarantined intents: %s", self._rule, why, extra=self._fields)
            await asyncio.sleep(_PAUSE)
        log.warning("rule %s: released %d quarantined intents", self._rule, total, extra=self._fields)
        self._session.detach(self)
        self._task = None

    @property
    def _fields(self) -> LogFields:
        return LogFields(rule=self._rule)
