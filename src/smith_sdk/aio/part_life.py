"""How what looks at a bus at intervals runs until it is stopped: by `run`, or in an `async with`
block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterator
from logging import Logger

from .._core.execution.stop_signals import stop_on_signals
from .._core.execution.stopping import Stopping
from .._core.jetstream.session import Part, Session
from .._core.log_records import LogFields
from ..errors import OptionsError


class PartLife:
    """Runs `work` of `part`, and `undo` after it, however it ends.

    `work` returns once its `Stopping` drains, and calls `ready` after its first look.
    """

    def __init__(
        self,
        session: Session,
        part: Part,
        work: Callable[[Stopping], Awaitable[None]],
        undo: Callable[[], Awaitable[None]],
        log: Logger,
    ) -> None:
        self._session = session
        self._part = part
        self._work = work
        self._undo = undo
        self._log = log
        self._stopping: Stopping | None = None
        """None while it does not run."""
        self._stop_next = False
        """Whether `stop` was called before the run that it is for."""
        self._looked = asyncio.Event()
        """After the first look of a run."""
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        """That of the `async with` block."""

    @contextlib.contextmanager
    def until_stopped(self, signals: Collection[int] | None) -> Iterator[Stopping]:
        """The end of the next run, which `signals` request as well."""
        stopping = Stopping()
        with stop_on_signals(stopping, signals):
            yield stopping

    async def run(self, stopping: Stopping) -> None:
        """Raises what `work` raises, `BusClosed`, and `OptionsError` while it runs already."""
        if self._stopping is not None:
            raise OptionsError(f"this {type(self._part).__name__} is running already")
        if self._stop_next or stopping.draining:
            self._stop_next = False
            return
        self._session.require_open()
        self._stopping = stopping
        self._looked.clear()
        self._session.attach(self._part)
        try:
            async with stopping.until_at_once():
                await self._work(stopping)
        finally:
            try:
                await self._undo()
            finally:
                self._session.detach(self._part)
                self._stopping = None
                self._idle.set()

    def ready(self) -> None:
        """The first look of a run is done."""
        self._looked.set()

    async def stop(self, *, at_once: bool = False) -> None:
        """End the run, with `at_once` wherever its work waits; if there is none, the next one
        returns at once. Safe to repeat.
        """
        if self._stopping is None:
            self._stop_next = True
            return
        self._idle.clear()
        self._stopping.request_here(at_once=at_once)
        await self._idle.wait()

    def stop_closed(self) -> None:
        """`stop` on the blocking face while the bus is closed, which has ended the run."""
        self._stop_next = True

    # ---- as a block

    async def enter(self) -> None:
        """Run in the background, and return after the first look. Raises what `run` raises."""
        self._stop_next = False
        task = self._task = asyncio.ensure_future(self._run_in_background())
        looked = asyncio.ensure_future(self._looked.wait())
        try:
            await asyncio.wait((task, looked), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait((task,))
            raise
        finally:
            looked.cancel()
        if task.done():
            task.result()

    async def leave(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done():  # or `stop` would be for the next run
            await self.stop()
            await asyncio.wait((task,))

    async def _run_in_background(self) -> None:
        try:
            await self.run(Stopping())
        except Exception as error:
            if not self._looked.is_set():
                raise  # to whoever has started it
            self._log.error("the %s has ended: %s", self._part.name, error, extra=LogFields(error_type=type(error).__name__))


async def stops_within(stopping: Stopping, seconds: float) -> bool:
    """Wait until the run is to end, at most `seconds`. Whether it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.draining
