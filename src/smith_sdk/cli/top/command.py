"""`smith top`: a live screen of the streams, consumers, workers, alerts and dead letters."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from ...errors import OptionsError
from ..options import HERE, Profile, Where
from ..output import say
from ..values import Seconds

_LONGEST: Final = 60.0
_PATIENCE: Final = 10.0
"""Seconds to wait for figures at least."""


def top(
    *,
    interval: Annotated[Seconds, Parameter(help="Seconds between two looks at the server.")] = 2.0,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Also streams and consumers that the contract does not declare.")
    ] = False,
    svg: Annotated[Path | None, Parameter(help="Write the screen to an SVG file, once it has figures, and end.")] = None,
    size: Annotated[str, Parameter(help="Columns and lines of that file.")] = "160x44",
    profile: Profile = None,
    where: Where = HERE,
) -> int:
    """Show a live screen of the bus: lag, rates, workers, alerts, dead letters; `?` shows its keys.

    It changes nothing by itself. Keys replay a dead letter and pause a consumer, after a question.
    """
    if not 0.2 <= interval <= _LONGEST:
        raise OptionsError(f"--interval {interval:g}: pass 0.2 to {_LONGEST:g} seconds")
    columns, lines = _size(size)
    if importlib.util.find_spec("textual") is None:
        raise OptionsError("smith top needs textual: pip install 'smith-sdk[top]'")
    if svg is not None:
        asyncio.run(_write_svg(where, profile, interval, everything, svg.expanduser(), (columns, lines)))
        say(f"wrote {svg}")
        return 0
    if not all(one is not None and one.isatty() for one in (sys.stdin, sys.stdout, sys.stderr)):  # it is drawn on stderr
        raise OptionsError(
            "smith top needs a terminal, also as standard error: `smith lag` and `smith health` print the same figures, "
            "or pass --svg FILE"
        )
    encoding = sys.stderr.encoding
    if codecs.lookup(encoding).name != "utf-8":
        raise OptionsError(f"smith top needs a terminal with UTF-8, and {encoding} is set: run it with LC_ALL=C.UTF-8")
    return asyncio.run(_show(where, profile, interval, everything))


def _size(text: str) -> tuple[int, int]:
    columns, _, lines = text.partition("x")
    if columns.isdecimal() and lines.isdecimal() and 40 <= int(columns) <= 500 and 12 <= int(lines) <= 200:
        return int(columns), int(lines)
    raise OptionsError(f"--size {text}: pass columns and lines such as 80x24, from 40x12 to 500x200")


async def _show(where: Where, profile: str | None, interval: float, everything: bool) -> int:
    from .running import opened

    # textual would believe these rather than the terminal: lines would be cut off, and a resize be
    # overlooked.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    async with opened(where, profile, interval, everything, no_color=bool(os.environ.get("NO_COLOR"))) as (app, _):
        loop = asyncio.get_running_loop()
        # Of textual's own: none. The terminal would stay as the screen has left it.
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, app.exit)
        await app.run_async(mouse=False)
        return 130 if app.interrupted else 0


async def _write_svg(
    where: Where, profile: str | None, interval: float, everything: bool, path: Path, size: tuple[int, int]
) -> None:
    from .running import opened

    async with opened(where, profile, interval, everything) as (app, source):

        async def write(pilot: Any) -> None:
            with contextlib.suppress(TimeoutError):  # what there is then is shown, and why there is no more
                async with asyncio.timeout(_PATIENCE + 10 * interval):
                    await source.is_complete.wait()
            app.update()
            await pilot.pause()
            path.write_text(app.svg(), encoding="utf-8")
            app.exit()

        await app.run_async(headless=True, size=size, auto_pilot=write)
