"""benchmarks/run.py runs, says what it left out and writes the figures that the README takes from
it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import cost_model  # noqa: E402
import growth  # noqa: E402
import pages  # noqa: E402

MACHINE = {"machine.cpu", "machine.cores", "machine.python", "machine.nats_server", "machine.smith_sdk", "machine.nats_py"}
LIMIT = 120.0  # seconds; a busy machine needs some of them

LONG = 300.0  # of those with many processes, which run beside others of that kind

pytestmark = pytest.mark.timeout(LIMIT + 20)


def run(*arguments: str, script: str = "run.py", limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Some parts alone: what was printed, and the figures."""
    file = tmp_path_factory.mktemp("figures") / "figures.json"
    done = run("--quick", "--only", "subject", "--only", "publish_many", "--json", str(file))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_a_part_runs_alone_and_its_figures_are_written(two_parts: tuple[str, dict[str, Any]]) -> None:
    printed, figures = two_parts
    assert figures["quick"] is True
    assert figures.keys() >= MACHINE
    for operation in ("construct_and_render", "fstring", "parse", "split"):
        assert figures[f"subject.{operation}.ns"] > 0
    for peer in ("nats_py", "async", "blocking"):
        assert figures[f"publish_many.{peer}.msgs_per_s"] > 0
        assert figures[f"publish_many.{peer}.cpu_us"] > 0
    assert {"publish_many.async.ratio", "publish_many.blocking.ratio", "publish_many.blocking.ratio_to_async"} <= figures.keys()
    assert not [name for name in figures if name.startswith(("consume.", "latency.", "memory.", "uvloop.", "mypy."))]
    assert "Throughput" in printed
    assert "Typed subjects" in printed


def test_the_size_of_a_payload_is_what_the_pages_say(two_parts: tuple[str, dict[str, Any]]) -> None:
    _, figures = two_parts
    size = f"payload of {figures['payload.bytes']} bytes"
    for page in (BENCHMARKS / "run.py", BENCHMARKS.parent / "docs" / "benchmarks.md"):
        assert size in " ".join(page.read_text().split()), f"{page.name} says another size, not {size!r}"


def test_the_pages_have_the_figures_of_the_run_that_is_kept() -> None:
    done = run("--check", script="pages.py")
    assert done.returncode == 0, done.stderr
    assert json.loads((BENCHMARKS / "figures.json").read_text())["payload.bytes"] == 323


@pytest.mark.parametrize(
    "about", [{"quick": True}, {"quick": False, "complete": False}, {"quick": False, "machine.cores": 2}], ids=str
)
def test_pages_are_not_made_from_figures_that_do_not_belong_together(about: dict[str, Any], tmp_path: Path) -> None:
    files = [tmp_path / "other.json", tmp_path / "last.json"]
    for file, of_run in zip(files, (about, {"quick": False, "complete": True, "machine.cores": 4}), strict=True):
        file.write_text(json.dumps(of_run))
    with pytest.raises(SystemExit, match=r"--quick|failed|machine\.cores"):
        pages.merged(files)


@pytest.mark.timeout(LONG + 20)
@pytest.mark.chaos  # nine processes and three servers
def test_the_pipeline_loses_nothing_and_its_load_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "pipeline", "--only", "load", "--json", str(file), limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for kind in ("", "trusted."):
        assert figures[f"pipeline.{kind}intents"] == 400
        assert figures[f"pipeline.{kind}lost"] == 0
        assert figures[f"pipeline.{kind}intents_per_s"] > 0
        costs = [figures[f"pipeline.{kind}cpu_us.{name}"] for name in ("publisher", "admission", "executor", "reader", "server")]
        assert min(costs) > 0
    for name in ("publisher", "admission", "executor"):  # signing and verifying are on the clock
        assert figures[f"pipeline.trusted.cpu_us.{name}"] > figures[f"pipeline.cpu_us.{name}"]
    for level in (10, 50, 80):
        assert figures[f"load.{level}.intents"] > 0
        # Counted from the scheduled time, a latency has the publisher's delay in it.
        late, handler, result = (figures[f"load.{level}.{until}.p50_ms"] for until in ("late", "handler", "result"))
        assert 0 <= late < handler < result
    assert "CPU us of each for an intent" in done.stdout


@pytest.mark.timeout(LONG + 20)
@pytest.mark.chaos  # fifteen processes and four servers
def test_shares_of_workers_in_processes_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "fairness", "--json", str(file), limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for name in ("equal", "quick", "slow"):
        assert min(figures[f"fairness.{name}.share_{place}"] for place in range(1, 5)) > 0, "each has handled some"
    assert figures["fairness.equal.jain"] > 0.5, "two of four would have all"
    assert figures["fairness.slow.held"] > 0
    assert figures["fairness.killed.back_s"] > 1
    assert figures["fairness.joined.busy_s"] > 0
    assert "Shares of the workers of one consumer" in done.stdout


@pytest.mark.timeout(LONG + 20)
@pytest.mark.chaos  # forty consumers and as many seconds
def test_what_shards_cost_the_servers(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--json", str(file), script="shards.py", limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    assert figures.keys() >= MACHINE
    assert figures["standing.consumers"] == 32
    for name in ("one", "sharded", "four_streams"):
        assert figures[f"messages.{name}.store.per_s"] > 0
        assert figures[f"messages.{name}.deliver.per_s"] > 0
    assert figures["bucket.member_told_us"] > 0
    assert "| store a message: one stream, 16 shards |" in done.stdout


@pytest.mark.timeout(LONG + 20)
@pytest.mark.pages
@pytest.mark.parametrize(
    "part",
    [
        "publish",
        "submit",
        "consume",
        "read",
        "bulk",
        "worker",
        "breaker",
        "telemetry",
        "lag",
        "latency",
        "sharding",
        "takeovers",
        "memory",
        pytest.param("uvloop", marks=pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is not installed here")),
        "scale",
    ],
)
def test_every_other_part_runs_alone_and_has_figures(part: str, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", part, "--json", str(file), limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    own = {name: value for name, value in figures.items() if name.startswith({"scale": "import"}.get(part, part) + ".")}
    assert own
    assert all(isfinite(value) for value in own.values())
    assert all(value > 0 for name, value in own.items() if name.endswith(("per_s", "ratio")))


@pytest.mark.timeout(LONG + 20)
@pytest.mark.pages
def test_parts_that_are_measured_against_publish_many(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    parts = ("--only", "publish_many", "--only", "admission", "--only", "once")
    done = run("--quick", *parts, "--json", str(file), limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for gate in ("unverified", "signature", "replay"):
        assert figures[f"admission.{gate}.msgs_per_s"] > 0
        assert figures[f"admission.{gate}.ratio"] > 0
    for way in ("plain", "result", "claim"):
        assert figures[f"once.{way}.ratio"] > 0
        assert figures[f"once.one_slot.{way}.ratio"] > 0
    assert figures["worker.result.per_publish"] > 0
    assert "signed intents let through" in done.stdout


@pytest.mark.skipif(find_spec("natsio") is not None, reason="natsio is installed here")
def test_a_peer_that_is_not_installed_is_named_and_left_out(two_parts: tuple[str, dict[str, Any]]) -> None:
    printed, figures = two_parts
    assert "natsio is not installed" in printed
    assert not [name for name in figures if "natsio" in name]


def test_a_part_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = run("--only", "teleport")
    assert done.returncode == 2
    assert "teleport" in done.stderr
    assert "publish_many" in done.stderr


@pytest.mark.timeout(LONG + 20)
@pytest.mark.pages
def test_how_costs_grow_on_one_axis(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--axis", "narrow", "--json", str(file), script="growth.py", limit=LONG)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for number in (10, 100):
        for name in ("publish.client_us", "publish.msgs_per_s", "read.client_us", "read.msgs_per_s", "create_ms"):
            assert figures[f"growth.narrow.{number}.{name}"] > 0
    assert "Consumers of one stream that share its messages" in done.stdout


def test_the_cost_model_predicts_what_it_was_not_fitted_on() -> None:
    true = {"message": 20.0, "KiB": 3.0, "call": 300.0, "wake-up": 40.0, "stream": 0.1, "consumer": 0.5}
    measured = measured_costs(lambda point: cost_model.cost("publish", true, point))
    coefficients, predictions = cost_model.predict("publish", measured)
    assert coefficients == pytest.approx(true)
    assert sum(one.fitted for one in predictions) < len(predictions) / 2
    assert max(abs(one.error) for one in predictions) == pytest.approx(0, abs=1e-6)


def test_the_cost_model_tells_what_it_cannot_predict() -> None:
    bent = measured_costs(lambda point: 20 + 3 * point.payload / 1024 + (50 if point.wide == 500 else 0))
    _, predictions = cost_model.predict("publish", bent)
    assert {one.name for one in predictions if abs(one.error) > 0.25} == {"wide.500"}


def test_no_cost_is_below_nothing() -> None:
    falling = measured_costs(lambda point: 50 - 0.2 * point.streams)
    coefficients, _ = cost_model.predict("publish", falling)
    assert min(coefficients.values()) >= 0
    assert "stream" not in coefficients


def measured_costs(cost: Callable[[cost_model.Point], float]) -> list[cost_model.Measured]:
    axes = growth.axes(quick=False)
    flat = {
        f"growth.{axis}.{number}.publish.client_us": cost(point)
        for axis, points in axes.items()
        for number, point in points.items()
    }
    return cost_model.gather(axes, flat, "publish", "client")
