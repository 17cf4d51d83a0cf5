"""`smith lag`: how far consumers are behind, once, live, or as a picture over time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from ..errors import ConnectionLost, OptionsError
from .options import HERE, Where
from .output import Json, Lasting, Rate, console, json_line, plain, say, show_json, show_table, table_text, warn
from .values import Duration, Seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..aio import ConsumerLag
    from ..sync import LagMonitor

_INTERVAL: Final = 2.0
_LONGEST: Final = 3600.0
_PLOT_TIME: Final = 30.0
_POINTS: Final = 30
"""Looks for a picture, unless --interval says otherwise."""
_MOST: Final = 10_000
"""Looks that are kept for a picture."""
_WIDE: Final = 120
"""Columns of a terminal from which on it shows more figures."""
_HEADINGS: Final = ("consumer", "stream", "pending", "unacked", "in/s", "out/s", "oldest", "drain", "state")
_MORE: Final = ("redelivered", "waiting", "last ack")
_STYLES: Final = {"stalled": "bold red", "paused": "yellow", "growing": "yellow"}


def lag(
    *names: Annotated[str, Parameter(name="CONSUMER", help="Only these consumers.")],
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="", help="Go on until Ctrl-C.")] = False,
    plot: Annotated[Path | None, Parameter(help="Draw pending and rates over time: FILE.png or FILE.svg.")] = None,
    for_: Annotated[
        Duration | None, Parameter(name="--for", help=f"How long to watch, or to observe for --plot (default {_PLOT_TIME:g}s).")
    ] = None,
    interval: Annotated[
        Seconds | None,
        Parameter(help=f"Seconds between two looks. Default: {_INTERVAL:g}; of --plot, what makes {_POINTS} looks."),
    ] = None,
    stalled_after: Annotated[Seconds, Parameter(help="Seconds without a completed message until a consumer is stalled.")] = 30.0,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Also consumers that the contract does not declare.")
    ] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Show how far each consumer is behind: pending and unacknowledged messages, rates, trend.

    It looks twice, since a rate needs two looks. With --watch it goes on, also while the server is
    away, and prints a line for each consumer and look into a pipe. `oldest` is the age of the
    oldest unacknowledged message, `drain` the time until nothing is left at these rates.
    """
    if for_ is not None and not watch and plot is None:
        raise OptionsError("--for is about --watch and --plot: pass one of them")
    if plot is not None and (watch or json):
        raise OptionsError(f"--plot and {'--watch' if watch else '--json'} exclude each other: pass one of them")
    seconds = _PLOT_TIME if for_ is None else for_.total_seconds()
    interval = _interval_of(interval, plot, seconds)
    wanted = set(names)
    with _monitor(where, wanted, interval, stalled_after, everything, seconds if plot is not None else 0.0) as monitor:
        if plot is not None:
            return _plot(monitor, wanted, plot.expanduser(), seconds)
        if watch:
            _watch(monitor, wanted, None if for_ is None else seconds, json)
            return 0
        found = _of(monitor.updated(), wanted)
        if monitor.problem:
            warn(f"not all is known: {monitor.problem}")
            if not found:
                return 1
    _show(found, json)
    return 0


def _interval_of(given: float | None, plot: Path | None, seconds: float) -> float:
    """Seconds between two looks. Raises `OptionsError` for what cannot be, also about the plot."""
    interval = given
    if interval is None:
        interval = _INTERVAL if plot is None else min(max(seconds / _POINTS, 0.5), 60.0)
    if not 0.1 <= interval <= _LONGEST:
        raise OptionsError(f"--interval {interval:g}: pass 0.1 to {_LONGEST:g} seconds")
    if plot is not None:
        from .lag_plot import require_plot

        require_plot(plot)
        if not interval <= seconds <= _MOST * interval:
            raise OptionsError(f"--for {seconds:g}s: pass 1 to {_MOST:,} times the interval, {interval:g} s")
    return interval


def _show(found: Sequence[ConsumerLag], json: bool) -> None:
    if json:
        show_json(found)
    else:
        wide = not sys.stdout.isatty() or console().width >= _WIDE
        show_table(_headings(wide), [_row(one, wide) for one in found], empty="no consumers", sections="stream")


@contextmanager
def _monitor(
    where: Where, wanted: set[str], interval: float, stalled_after: float, everything: bool, seconds: float
) -> Iterator[LagMonitor]:
    from ..sync import LagMonitor

    declared = [one.name for one in where.declared.consumers]
    unknown = ", ".join(repr(one) for one in sorted(wanted.difference(declared)))
    if unknown and not everything:
        raise OptionsError(f"{unknown}: not declared; the contract has {', '.join(declared) or 'no consumers'}; --all has others")
    keep = int(seconds / interval) + 2
    with (
        where.bus() as bus,
        LagMonitor(bus, interval=interval, declared_only=not everything, stalled_after=stalled_after, history=keep) as monitor,
    ):
        yield monitor


def _of(found: Sequence[ConsumerLag], wanted: set[str]) -> list[ConsumerLag]:
    return [one for one in found if not wanted or one.consumer in wanted]


def _headings(wide: bool) -> list[str]:
    return [*_HEADINGS, *(_MORE if wide else ())]


def _row(one: ConsumerLag, wide: bool) -> list[Any]:
    return [
        one.consumer,
        one.stream,
        one.pending,
        one.ack_pending,
        None if one.rate_in is None else Rate(one.rate_in),
        None if one.rate_out is None else Rate(one.rate_out),
        None if one.oldest_age is None or not one.lag else Lasting(one.oldest_age),
        None if not one.drain_time else Lasting(one.drain_time),
        one.state,
        *((one.redelivered, one.waiting, None if one.last_ack_age is None else Lasting(one.last_ack_age)) if wide else ()),
    ]


# ---- over time


def _looks(monitor: LagMonitor, seconds: float | None) -> Iterator[Sequence[ConsumerLag]]:
    """What each look finds, the one that is done first."""
    until = None if seconds is None else time.monotonic() + seconds
    yield monitor.latest()
    while until is None or time.monotonic() < until:
        yield monitor.updated()


def _watch(monitor: LagMonitor, wanted: set[str], seconds: float | None, json: bool) -> None:
    out = console()
    if json or not out.is_terminal or out.is_dumb_terminal:
        try:
            seen: set[ConsumerLag] = set()
            for found in _looks(monitor, seconds):
                # What is not known now stays as it was: that is not printed again.
                _print_lines(_of([one for one in found if one not in seen], wanted), json)
                seen = set(found)
        except BrokenPipeError:  # `smith lag --watch | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    from rich.live import Live

    with Live(console=out, auto_refresh=False) as live:
        for found in _looks(monitor, seconds):
            live.update(_screen(monitor, _of(found, wanted), out), refresh=True)


def _print_lines(found: Sequence[ConsumerLag], json: bool) -> None:
    for one in found:
        sys.stdout.write(f"{json_line(one) if json else _line(one)}\n")
    sys.stdout.flush()


def _line(one: ConsumerLag) -> str:
    values: dict[str, float | None] = {
        "rate_in": one.rate_in,
        "rate_out": one.rate_out,
        "oldest_age": one.oldest_age,
        "drain_time": one.drain_time,
    }
    figures = " ".join(f"{name}={'-' if value is None else f'{value:.1f}'}" for name, value in values.items())
    return plain(
        f"{one.observed_at:%Y-%m-%dT%H:%M:%SZ} {one.stream} {one.consumer} pending={one.pending} ack_pending={one.ack_pending} "
        f"redelivered={one.redelivered} {figures} state={one.state}"
    )


def _screen(monitor: LagMonitor, found: Sequence[ConsumerLag], out: Console) -> Text:
    from rich.text import Text

    wide = out.width >= _WIDE
    head = Text(f"{datetime.now(UTC):%H:%M:%SZ}  every {monitor.interval:g} s", "dim")
    if monitor.problem:
        age = "never seen" if monitor.age is None else f"as of {monitor.age:.0f} s ago"
        head.append(f"  {age}: {plain(monitor.problem)}", "bold yellow")
    text = head.append("\n").append_text(table_text(_headings(wide), (_row(one, wide) for one in found), out, sections="stream"))
    for state, style in _STYLES.items():
        text.highlight_regex(rf"(?m)\b{state}\b(?=[ \d.,dhms]*$)", style)
    return text


def _plot(monitor: LagMonitor, wanted: set[str], path: Path, seconds: float) -> int:
    from .lag_plot import draw

    if sys.stderr.isatty():
        say(f"observing for {seconds:g} s; Ctrl-C draws what there is by then", json=True)
    try:
        for _ in _looks(monitor, seconds):
            pass
    except KeyboardInterrupt:
        pass
    found = _of(monitor.latest(), wanted)
    if not found:
        raise ConnectionLost(f"there is nothing to draw: {monitor.problem or 'no consumers'}")
    if monitor.problem:
        warn(f"not all is known: {monitor.problem}")
    draw([monitor.history(one.stream, one.consumer) for one in found], path, monitor.interval)
    say(f"wrote {path}")
    return 0
