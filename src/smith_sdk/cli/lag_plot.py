"""A picture of lag: for each consumer its pending messages and its rates, over time."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Sequence
from datetime import datetime
from math import ceil, nan
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from ..errors import OptionsError
from .name_runs import condensed
from .output import Lasting, Rate, plain, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..aio import ConsumerLag

_FORMATS: Final = (".png", ".svg")
_MOST: Final = 12
"""Consumers in a picture; the others are named below it."""
_FOOT: Final = 3
"""Lines below it."""
_LONGEST_NAME: Final = 44
_TREND: Final = 7
"""Looks before the last one over which `ConsumerLag.trend` is judged."""
# Colours of Okabe and Ito, which colour-blind people tell apart; rates differ in their dashes too.
_LAG, _UNACKED, _IN, _OUT = "#999999", "#56B4E9", "#0072B2", "#D55E00"
_INK, _FAINT = "#333333", "#DDDDDD"


def require_plot(path: Path) -> None:
    """Raise `OptionsError` unless a picture can be written to `path`."""
    if path.suffix.lower() not in _FORMATS:
        raise OptionsError(f"--plot {path}: pass a file whose name ends in {' or '.join(_FORMATS)}")
    folder = path.expanduser().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.expanduser().is_dir():
        raise OptionsError(f"--plot {path}: there is no folder {folder} to write it to, or it may not be written to")
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionsError("--plot needs matplotlib: pip install 'smith-sdk[plot]'")


def draw(histories: Sequence[Sequence[ConsumerLag]], path: Path, interval: float) -> None:
    """Write a picture of `histories`, one for each consumer, looked at every `interval` seconds.

    Raises `OptionsError` if the file cannot be written.
    """
    import matplotlib

    busy = [one for one in histories if any(at.lag or at.rate_in or at.rate_out for at in one)]
    busy.sort(key=lambda one: (-max(at.lag for at in one), one[-1].consumer))
    idle = condensed(one[-1].consumer for one in histories if one not in busy)
    # Text stays text in an SVG, and the same figures make the same file.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "smith-sdk"}
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # characters that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = _figure(busy[:_MOST], [one[-1].consumer for one in busy[_MOST:]], idle, interval)
        try:
            figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix.lower() == ".svg" else {})
        except OSError as error:
            raise OptionsError(f"--plot {path}: {error.strerror or error}") from None


def _figure(busy: Sequence[Sequence[ConsumerLag]], others: Sequence[str], idle: Sequence[str], interval: float) -> Figure:
    from matplotlib.figure import Figure

    columns = 1 if len(busy) < 2 else 2 if len(busy) < 5 else 3
    width = {1: 9, 2: 12, 3: 15}[columns]
    foot = _foot(others, idle, width)
    # In inches, for the text above and below.
    top, bottom = 1.0, 0.75 + 0.15 * len(foot)
    rows = ceil(len(busy) / columns)
    height = 2.65 * rows + top + bottom if busy else 2.2
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.01, 0.1 / height, "\n".join(foot), size=8.5, color=_INK, va="bottom", parse_math=False)
    if not busy:
        figure.text(0.5, 0.55, "nothing happened: no messages were pending, none arrived", ha="center", size=12, color=_INK)
        return figure
    start = min(one[0].observed_at for one in busy)
    grid = figure.add_gridspec(
        rows, columns, left=0.68 / width, right=0.985, top=1 - top / height, bottom=bottom / height, hspace=0.42, wspace=0.2
    )
    lines: list[Any] = []
    for number, history in enumerate(busy):
        cell = grid[divmod(number, columns)].subgridspec(2, 1, height_ratios=(3, 2), hspace=0.12)
        upper = figure.add_subplot(cell[0])
        lower = figure.add_subplot(cell[1], sharex=upper)
        lines = [*_draw_lag(upper, history, start, interval), *_draw_rates(lower, history, start, interval)]
        upper.tick_params(labelbottom=False)
        if number % columns == 0:
            upper.set_ylabel("messages")
            lower.set_ylabel("messages/s")
        if number >= len(busy) - columns:
            lower.set_xlabel("seconds")
    figure.align_ylabels()
    end = max(one[-1].observed_at for one in busy)
    figure.text(
        0.01,
        1 - 0.12 / height,
        f"Lag of consumers, {start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC",
        va="top",
        size=13,
        color=_INK,
    )
    figure.legend(
        handles=lines, loc="upper left", ncols=4, frameon=False, borderaxespad=0, bbox_to_anchor=(0.005, 1 - 0.38 / height)
    )
    return figure


def _draw_lag(axes: Axes, history: Sequence[ConsumerLag], start: datetime, interval: float) -> list[Any]:
    times, (unacked, lag) = _series(history, start, interval, ("ack_pending", "lag"))
    below = axes.fill_between(times, unacked, color=_UNACKED, alpha=0.75, linewidth=0, label="delivered, not acknowledged")
    above = axes.fill_between(times, unacked, lag, color=_LAG, alpha=0.45, linewidth=0, label="pending")
    axes.plot(times, lag, color=_INK, linewidth=1.4)
    _dress(axes)
    axes.set_title(
        _title(history),
        loc="left",
        size=10,
        color=_OUT if history[-1].stalled else _INK,
        weight="bold" if history[-1].stalled else "normal",
        parse_math=False,
    )
    return [above, below]


def _draw_rates(axes: Axes, history: Sequence[ConsumerLag], start: datetime, interval: float) -> list[Any]:
    times, (arrived, completed) = _series(history, start, interval, ("rate_in", "rate_out"))
    lines = axes.plot(times, arrived, color=_IN, linewidth=1.6, label="arrive per second")
    lines += axes.plot(times, completed, color=_OUT, linewidth=1.6, linestyle=(0, (4, 1.5)), label="completed per second")
    _dress(axes)
    return list(lines)


def _dress(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(bottom=0)
    if axes.get_ylim()[1] < 1:
        axes.set_ylim(0, 1)
    axes.margins(x=0.01)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color=_FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LAG)
    axes.tick_params(colors=_INK, labelsize=8.5, length=3)


def _series(
    history: Sequence[ConsumerLag], start: datetime, interval: float, names: Sequence[str]
) -> tuple[list[float], list[list[float]]]:
    """The times in seconds since `start`, and the values; a gap where looks are missing."""
    times: list[float] = []
    values: list[list[float]] = [[] for _ in names]
    for one in history:
        now = (one.observed_at - start).total_seconds()
        if times and now - times[-1] > 2.5 * interval + 1:
            times.append((times[-1] + now) / 2)
            for column in values:
                column.append(nan)
        times.append(now)
        for name, column in zip(names, values, strict=True):
            value = getattr(one, name)
            column.append(nan if value is None else value)
    return times, values


def _title(history: Sequence[ConsumerLag]) -> str:
    """ "executor-fs-read: 1,200 left, drained in 40s"."""
    now = history[-1]
    name = plain(now.consumer)
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
    state: str = now.state
    if state == "draining" and now.drain_time:
        state = f"drained in {shown(Lasting(now.drain_time))}"
    elif state in ("draining", "growing"):
        # By the looks that the trend is judged over: the last alone may be of the other direction.
        over = history[-_TREND - 1 :]
        seconds = (now.observed_at - over[0].observed_at).total_seconds()
        change = now.lag - over[0].lag
        if seconds and (change > 0) == (state == "growing"):
            state = f"{now.trend} by {shown(Rate(abs(change) / seconds))}/s over {shown(Lasting(seconds))}"
    return f"{name}: {now.lag:,} left, {state}" if now.lag else f"{name}: nothing left"


def _foot(others: Sequence[str], idle: Sequence[str], width: float) -> list[str]:
    """Lines about the consumers without a place in a picture of so many inches."""
    parts = [f"{what}: {', '.join(map(plain, names))}" for what, names in (("not shown", others), ("idle", idle)) if names]
    lines = wrap(". ".join(parts), int(width * 13), break_on_hyphens=False)
    return lines if len(lines) <= _FOOT else [*lines[: _FOOT - 1], f"{lines[_FOOT - 1][:-3]}..."]
