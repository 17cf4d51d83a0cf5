"""Workers that share a sharded subject, under faults: nothing is lost, nothing overtakes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from chaos.sharding_plan import Script, Step
from chaos.sharding_run import Report, Setting, run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_200)]


def test_the_pin_alone_lets_messages_overtake(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """Otherwise the checker would see nothing, and the other runs would prove nothing."""
    setting = Setting(0, face="control", processes=3, messages=9_000, rate=400.0, work=0.1)
    halt = partial(Step, kind="stop", seconds=1.5 * setting.pin_timeout)
    report = run(setting, tmp_path, Script(*(halt(wait) for wait in (2.0, 6.0, 6.0))))
    tell(f"the pin alone: {_told(report)}")
    assert report.verdict.overtakes
    assert report.verdict.lost == []


def _told(report: Report) -> str:
    row = report.row()
    names = ("published", "per_second", "lost", "overtakes", "repeats", "takeover_max", "faults")
    return ", ".join(f"{name} {row[name]}" for name in names)
