"""Opens a bus for the screen, and keeps its board up to date while the screen is shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..options import Where
from .actions import Actions
from .app import Top
from .source import Source


@asynccontextmanager
async def opened(
    where: Where, profile: str | None, interval: float, everything: bool, *, no_color: bool = False
) -> AsyncIterator[tuple[Top, Source]]:
    """The screen, which is not shown yet, and its source. Raises as connecting does."""
    async with where.async_bus(name="smith top", profile=profile) as bus:
        source = Source(bus, lambda: app.update(), interval=interval, everything=everything)
        app = Top(Actions(bus, source), no_color=no_color)
        looking = asyncio.create_task(source.run())
        looking.add_done_callback(lambda _: app.exit())  # the bus is closed; or a mistake of ours, which is raised below
        try:
            yield app, source
        finally:
            if not looking.done():
                looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
