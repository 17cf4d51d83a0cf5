"""A process of a sharded worker that is killed, in seconds: nothing is lost, nothing overtakes. The
long runs are in `tests/chaos/test_sharding.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from buses import Face
from chaos.sharding_plan import Script, Step
from chaos.sharding_run import Run, Setting


def test_another_process_takes_over_from_one_that_was_killed(face: Face, tmp_path: Path) -> None:
    setting = Setting(0, face.name, processes=2, messages=300, keys=30, pin_timeout=1.5, rate=100.0, settles=1.0)
    run = Run(setting, tmp_path, [face.url], plan=Script(Step(1.0, "kill")))
    report = asyncio.run(run.go())
    # Not how long it took: another process may have the machine.
    report.verdict.takeovers.clear()
    assert report.trouble == []
    assert report.verdict.published == setting.messages
    writers = {line.split()[5] for line in (tmp_path / "effects").read_text().splitlines()}
    assert writers == {"p0", "p1"}
