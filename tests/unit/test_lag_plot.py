"""The picture of lag, from figures that are made up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from smith_sdk import ConsumerLag
from smith_sdk._core.monitoring.consumer_lag import TREND_LOOKS
from smith_sdk.cli import lag_plot
from smith_sdk.cli.lag_plot import draw
from smith_sdk.errors import OptionsError

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
IDLE: Final = ConsumerLag(
    stream="S",
    consumer="c",
    pending=0,
    ack_pending=0,
    redelivered=0,
    lag=0,
    oldest_age=0.0,
    rate_in=0.0,
    rate_out=0.0,
    drain_time=0.0,
    stalled=False,
    is_paused=False,
    trend="steady",
    waiting=0,
    last_delivery_age=None,
    last_ack_age=None,
    observed_at=START,
)


def history(name: str, lags: Sequence[int], *, every: float = 1.0, **fields: Any) -> list[ConsumerLag]:
    return [
        replace(IDLE, consumer=name, pending=lag, lag=lag, observed_at=START + timedelta(seconds=every * at), **fields)
        for at, lag in enumerate(lags)
    ]


def texts(path: Path) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", path.read_text())


def test_the_worst_are_shown_and_the_others_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_plot, "_MOST", 2)
    draw([*(history(f"c{number}", [0, number]) for number in range(5))], path := tmp_path / "x.svg", 1)
    shown = [text.partition(":")[0] for text in texts(path) if re.match(r"c\d+: ", text)]
    assert shown == ["c4", "c3"]
    assert "not shown: c2, c1. idle: c0" in texts(path)


def test_a_title_says_what_is_left_and_where_it_goes(tmp_path: Path) -> None:
    assert lag_plot._TREND == TREND_LOOKS
    draw(
        [
            history("a", [90, 80], trend="shrinking", drain_time=40.0),
            history("b", [70, 79], trend="growing", rate_in=12.5, rate_out=3.25),
            history("e", [0, 10, 20, 50, 49], trend="growing", rate_in=1.0, rate_out=2.0),
            history("f", [500, *[90] * 6, 20, 21], trend="shrinking", rate_in=2.0, rate_out=1.0),
            history("g", [500, 1], trend="growing", rate_in=1.0, rate_out=0.0),
            history("c", [60, 60], stalled=True),
            history("d", [50, 0]),
        ],
        path := tmp_path / "x.svg",
        1,
    )
    titles = {
        "a: 80 left, drained in 40s",
        "b: 79 left, growing by 9.0/s over 1.0s",
        "c: 60 left, stalled",
        "d: nothing left",
        "e: 49 left, growing by 12.2/s over 4.0s",
        "f: 21 left, shrinking by 9.9/s over 7.0s",
        "g: 1 left, growing",
    }
    assert titles <= {*texts(path)}


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    names = ["$\\frac{1}{0$", "\x1b]0;owned\x07\u202e", "<b>&amp;", "x" * 500, "\N{SNOWMAN}"]
    for suffix in (".svg", ".png"):
        draw([*(history(name, lags) for name in names for lags in ([1], [0]))], path := tmp_path / f"x{suffix}", 1)
    text = (tmp_path / "x.svg").read_text()
    assert "\x1b" not in text
    assert "<b>" not in text
    assert "$\\frac{1}{0$: 1 left, steady" in texts(tmp_path / "x.svg")
    assert path.stat().st_size > 1000


def test_nothing_at_all_is_a_picture_that_says_so(tmp_path: Path) -> None:
    draw([history("c", [0, 0])], path := tmp_path / "x.svg", 1)
    assert "nothing happened: no messages were pending, none arrived" in texts(path)
    assert "idle: c" in texts(path)


def test_the_same_figures_make_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in files:
        draw([history("c", [0, 5, 3])], path, 1)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_file_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match=r"--plot .*x\.png: "):
        draw([history("c", [1])], tmp_path / "none" / "x.png", 1)
