"""Workers that share partitions, killed and stopped: ours, natsio-pcgroups, and the pin alone, on
the same work with the same faults.

The processes, the faults and the checker are those of `tests/chaos`, which reads what handlers
wrote to a stream without deduplication.

natsio-pcgroups needs Python 3.13, and is no dependency of anything here. It is measured if
`SMITH_BENCH_PCGROUPS` names a Python that has it:

    python3.13 -m venv DIR && DIR/bin/pip install natsio-pcgroups
    SMITH_BENCH_PCGROUPS=DIR/bin/python nox -s bench -- --only takeovers
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from chaos.sharding_plan import Script, Step
from chaos.sharding_run import Report, Setting, run
from chaos.sharding_topology import PinAlone, Sharded, System
from chaos.sharding_worker import Role
from tables import Flat, table

PEER = Path(__file__).with_name("pcgroups_peer.py")
PYTHON = os.environ.get("SMITH_BENCH_PCGROUPS", "")
INSTALL = (
    "natsio-pcgroups is not measured: python3.13 -m venv DIR && DIR/bin/pip install natsio-pcgroups, "
    "then set SMITH_BENCH_PCGROUPS=DIR/bin/python"
)
WORK = 0.005  # seconds that a handler takes
LONGEST = 120.0


class PartitionedGroups(System):
    """natsio-pcgroups: `one` message of a member at a time, as its documentation recommends."""

    stream = "PCG"
    subjects = "pcg.{key}"

    def __init__(self, *, one: bool) -> None:
        self._kind = "pcgroups" if one else "pcgroups-many"

    def consumer(self, shard: int) -> str:
        return f"g-m{shard:02d}"

    def command(self) -> list[str]:
        return [PYTHON, str(PEER)]

    async def make(self, client: Any, setting: Any, urls: Sequence[str]) -> None:
        role = Role(self._kind, "make", "", list(urls), shards=setting.shards, pin_timeout=setting.pin_timeout)
        await asyncio.to_thread(subprocess.run, [PYTHON, str(PEER), "make"], input=role.line(), check=True, timeout=LONGEST)


SYSTEMS: dict[str, tuple[str, str, System]] = {
    "sharded": ("ShardedWorker", "async", Sharded()),
    "pin": ("the pin alone, as the control", "control", PinAlone()),
    "pcgroups": ("natsio-pcgroups, max_ack_pending 1", "pcgroups", PartitionedGroups(one=True)),
    "pcgroups_many": ("natsio-pcgroups, max_ack_pending by default", "pcgroups-many", PartitionedGroups(one=False)),
}


async def costs(quick: bool) -> dict[str, float]:
    """Each system alone on the machine: once without faults, and once with the same ones."""
    figures: dict[str, float] = {}
    for name, (_, face, system) in SYSTEMS.items():
        if isinstance(system, PartitionedGroups) and not PYTHON:
            continue
        # No faults, and all that there is to do is there: how fast.
        calm = Setting(
            seed=1,
            face=face,
            messages=1_000 if quick else 12_000,
            keys=1_000,
            rate=1e6,
            concurrency=4,
            work=WORK,
            spread=False,
            settles=1.0 if quick else 5.0,
        )
        figures[f"takeovers.{name}.msgs_per_s"] = (await under(calm, system, Script())).per_second
        faulty = dataclasses.replace(calm, messages=3_000 if quick else 16_000, rate=300.0 if quick else 500.0)
        verdict = (await under(faulty, system, Script(*faults(quick, faulty.pin_timeout)))).verdict
        after = [one for one in verdict.takeovers if one.cause.startswith(("kill", "stop"))]
        # With the pin alone, one process may have all shards, and another be killed.
        if not after and name != "pin":
            raise RuntimeError(f"{name}: no takeover after a kill or a stop")
        figures[f"takeovers.{name}.lost"] = len(verdict.lost)
        figures[f"takeovers.{name}.overtakes"] = len(verdict.overtakes)
        figures[f"takeovers.{name}.repeats"] = verdict.repeats
        if after:
            figures[f"takeovers.{name}.takeover_p50_s"] = median(one.took for one in after)
            figures[f"takeovers.{name}.takeover_max_s"] = max(one.took for one in after)
    return figures


def faults(quick: bool, pin_timeout: float) -> list[Step]:
    """Of one process after the other: killed and replaced, or stopped until after its lease."""
    rest = 3 * pin_timeout + 2.0
    kill, stop = Step(rest, "kill", 4.0), Step(rest, "stop", 2 * pin_timeout)
    return [Step(3.0, "kill", 4.0)] if quick else [Step(6.0, "kill", 4.0), stop, kill]


async def under(setting: Setting, system: System, plan: Script) -> Report:
    with tempfile.TemporaryDirectory(prefix="smith-bench-") as scratch:
        report = await asyncio.to_thread(run, setting, Path(scratch) / "run", plan, system)
    # What the verdict finds are the figures; a complaint says that they are of no full run.
    if report.complaints:
        raise RuntimeError(f"{setting.face}: {'; '.join(report.complaints)}")
    return report


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def show(flat: Flat) -> None:
    table(
        "Four processes that are killed and stopped; pin timeout 3 s",
        ("workers", "messages/s without faults", "lost", "overtakes", "repeats", "takeover p50 (s)", "longest (s)"),
        [
            (
                title,
                f"{flat[f'takeovers.{name}.msgs_per_s']:,.0f}",
                *(f"{flat[f'takeovers.{name}.{what}']:,}" for what in ("lost", "overtakes", "repeats")),
                *(_seconds(flat.get(f"takeovers.{name}.takeover_{what}_s")) for what in ("p50", "max")),
            )
            for name, (title, _, _) in SYSTEMS.items()
            if f"takeovers.{name}.lost" in flat
        ],
    )
    if not PYTHON:
        print(INSTALL)
