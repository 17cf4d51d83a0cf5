"""A process of a sharded worker that is killed, in seconds: nothing is lost, nothing overtakes. The
long runs are in `tests/chaos/test_sharding.py`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from buses import Face
from chaos.sharding_plan import Script, Step
from chaos.sharding_run import Run, Setting
from chaos.sharding_wire import read_effects
from nats.aio.client import Client
from support import eventually_async


class BothAtWork(Run):
    """A fault comes once both processes have handled something."""

    async def _fault(self, client: Client, step: Step) -> None:
        async def have_written() -> bool:
            return {one.process for one in await read_effects(client)} == {"p0", "p1"}

        await asyncio.sleep(step.wait)
        if step.kind == "kill":
            await eventually_async(have_written, interval=0.2)
        await super()._fault(client, replace(step, wait=0.0))


def test_another_process_takes_over_from_one_that_was_killed(face: Face, tmp_path: Path) -> None:
    setting = Setting(0, face.name, processes=2, messages=300, keys=30, pin_timeout=1.5, rate=100.0, settles=1.0)
    run = BothAtWork(setting, tmp_path, [face.url], plan=Script(Step(1.0, "kill")))
    report = asyncio.run(run.go())
    # Not how long it took: another process may have the machine.
    report.verdict.takeovers.clear()
    assert report.trouble == []
    assert report.verdict.published == setting.messages
    writers = {line.split()[5] for line in (tmp_path / "effects").read_text().splitlines()}
    assert writers == {"p0", "p1"}
