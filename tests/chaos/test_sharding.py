"""Workers that share a sharded subject, under faults: nothing is lost, nothing overtakes, no shard
stands still.

The number of faults goes by time. `SMITH_CHAOS_SHARDING_SEEDS` is how many runs of each kind there
are, `SMITH_CHAOS_SHARDING_SECONDS` how long each takes, `SMITH_CHAOS_SHARDING_RATE` how many
messages are published each second: with 5, 100 and 2000 it is 20 runs of 200,000 messages, an hour.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from chaos.sharding_plan import Script, Step
from chaos.sharding_run import Report, Setting, run

SEEDS: Final = int(os.environ.get("SMITH_CHAOS_SHARDING_SEEDS", "1"))
SECONDS: Final = float(os.environ.get("SMITH_CHAOS_SHARDING_SECONDS", "60"))
RATE: Final = float(os.environ.get("SMITH_CHAOS_SHARDING_RATE", "400"))
FACES: Final = ("async", "blocking")
STOPS: Final = 3

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_200)]


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("face", FACES)
def test_a_server_with_joins_leaves_kills_and_stops(face: str, seed: int, tmp_path: Path, tell: Callable[[str], None]) -> None:
    _judge(run(_setting(seed, face, 1.0, pin_timeout=3.0), tmp_path), tell)


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
@pytest.mark.parametrize("face", FACES)
def test_a_cluster_with_killed_servers_and_leaders_that_step_down(
    face: str, seed: int, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """The members' keys have to outlive a change of the bucket's leader: a longer pin timeout."""
    _judge(run(_setting(100 + seed, face, 0.6, servers=3, pin_timeout=10.0), tmp_path), tell)


@pytest.mark.parametrize("face", FACES)
def test_a_process_that_was_stopped_beyond_its_lease_writes_nothing_that_overtakes(
    face: str, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """Each process is stopped with handlers that run and messages behind them. Nothing it writes
    has an id that anybody looks at: what a handler itself writes when the process goes on can only
    be a repeat, and what the SDK would publish for it is not published at all."""
    setting = Setting(0, face, processes=2, messages=3_000, pin_timeout=2.0, rate=100.0, work=0.3, concurrency=16, results=True)
    halt = partial(Step, kind="stop", seconds=3 * setting.pin_timeout)
    report = run(setting, tmp_path, Script(*(halt(wait) for wait in (4.0, *[10.0] * (STOPS - 1)))))
    tell(f"stopped and resumed, {face}: {_told(report)}, repeats after the lease {len(report.verdict.outdated)}")
    assert report.trouble == []
    assert report.verdict.repeats
    assert report.results is not None
    assert report.results.trouble == []
    # A process may be stopped between the look at its lease and the socket, with what it has
    # answered in that turn of its event loop: at most a result of each slot.
    assert len(report.results.outdated) <= STOPS * setting.concurrency


def test_the_pin_alone_lets_messages_overtake(tmp_path: Path, tell: Callable[[str], None]) -> None:
    """Otherwise the checker would see nothing, and the other runs would prove nothing."""
    setting = Setting(0, "control", processes=3, messages=9_000, rate=400.0, work=0.1)
    halt = partial(Step, kind="stop", seconds=1.5 * setting.pin_timeout)
    report = run(setting, tmp_path, Script(*(halt(wait) for wait in (2.0, 6.0, 6.0))))
    tell(f"the pin alone: {_told(report)}")
    assert report.verdict.overtakes
    assert report.verdict.lost == []


def _setting(seed: int, face: str, speed: float, **others: Any) -> Setting:
    """As many messages at any `speed`: a slower run is longer."""
    return Setting(seed, face, messages=int(SECONDS * RATE), keys=int(RATE / 2), rate=speed * RATE, **others)


def _judge(report: Report, tell: Callable[[str], None]) -> None:
    setting = report.setting
    tell(f"{setting.face}, {setting.servers} server(s), seed {setting.seed}: {_told(report)}")
    assert report.trouble == []
    assert report.verdict.published == setting.messages


def _told(report: Report) -> str:
    row = report.row()
    names = ("published", "per_second", "lost", "overtakes", "repeats", "takeovers", "takeover_max", "most_shards", "faults")
    return ", ".join(f"{name} {row[name]}" for name in names)
