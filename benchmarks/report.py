"""The report: one flat object for programs, tables for people; only of what was measured.

Each part prints its own tables (`show` in its module), from the figures by their names in the JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from statistics import median

import bulk
import circuits
import fairness
import gate
import growth
import lag
import latency
import load
import loops
import memory
import natives
import once
import others
import pipeline
import scale
import sharding
import subject
import tracing
import workers
import workloads
from goals import GOALS
from harness import Rates
from tables import Flat, Rows, note, table


class Figures:
    """Everything measured, by its names in the JSON."""

    def __init__(self) -> None:
        self.flat: dict[str, float | int] = {}

    def add_rates(self, work: str, measured: Rates) -> None:
        rates = {peer: [one.rate for one in rounds] for peer, rounds in measured.items()}
        for peer, rounds in rates.items():
            key = f"{work}.{peer}"
            self.flat[f"{key}.msgs_per_s"] = round(median(rounds))
            self.flat[f"{key}.cpu_us"] = round(median(one.cpu_us for one in measured[peer]), 1)
            if peer != "nats_py":
                self.flat[f"{key}.ratio"] = _ratio(rounds, rates["nats_py"])
            if peer == "blocking":
                self.flat[f"{key}.ratio_to_async"] = _ratio(rounds, rates["async"])
            if peer in others.PACKAGES:
                self.flat[f"{work}.async.ratio_to_{peer}"] = _ratio(rates["async"], rounds)
            if peer in natives.PEERS:
                cpu = {name: [one.cpu_us for one in measured[name]] for name in ("async", peer)}
                self.flat[f"{work}.async.cpu_to_{peer}"] = _ratio(cpu["async"], cpu[peer])

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.flat[name] = round(value) if name.endswith((".ns", "msgs_per_s")) else round(value, 3)


def _ratio(rounds: list[float], others: list[float]) -> float:
    return round(median(one / other for one, other in zip(rounds, others, strict=True)), 3)


def progress(text: str) -> None:
    """Report progress on stderr, since stdout is for the figures."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _takeovers(flat: Flat) -> None:
    import takeovers  # the harness of the fault tests

    takeovers.show(flat)


SECTIONS: tuple[tuple[str, Callable[[Flat], None]], ...] = (
    ("bulk.without_ids.ratio", bulk.show),
    ("worker.loop.ratio", workers.show),
    ("admission.async.per_publish", gate.show),
    ("pipeline.intents", pipeline.show),
    ("load.max_intents_per_s", load.show),
    ("breaker.refused.us", circuits.show),
    ("once.plain.ratio", once.show),
    ("telemetry.worker.sdk.ratio", tracing.show),
    ("lag.moving.core_percent", lag.show),
    ("latency.async.p50_ms", latency.show),
    ("fairness.equal.jain", fairness.show),
    ("sharding.scaling", sharding.show),
    ("takeovers.sharded.overtakes", _takeovers),
    ("memory.growth_mib", memory.show),
    ("uvloop.latency.p50.ratio", loops.show),
    ("subject.parse.ns", subject.show),
    ("mypy.cold_500.s", scale.show),
    ("growth.payload.1024.publish.client_us", growth.show),
)
"""The tables of each part, by a figure that is there if the part was run."""


def show(figures: Figures, facts: Mapping[str, str | int], *, quick: bool) -> None:
    """Print the tables, the goals and the machine."""
    flat = figures.flat
    if any(f"{work}.async.msgs_per_s" in flat for work in workloads.WORK):
        workloads.show(flat)
        workloads.name_missing()
    for figure, shown in SECTIONS:
        if figure in flat:
            shown(flat)
    if not quick:
        show_goals(flat)
    print()
    print("  ".join(f"{name.replace('_', '-')}: {value}" for name, value in facts.items()))
    if quick:
        print("--quick: too short to compare with anything.")


def show_goals(flat: Flat) -> None:
    rows: Rows = [
        (goal.what, f"{flat[goal.figure]:.2f}", goal.bound, "yes" if goal.met(flat) else "NO")
        for goal in GOALS
        if goal.figure in flat
    ]
    if rows:
        table("What the project asks of itself", ("figure", "here", "goal", "met"), rows)
        missed = sum(row[-1] == "NO" for row in rows)
        left_out = f"; {len(GOALS) - len(rows)} more are of parts that were not run" if len(rows) < len(GOALS) else ""
        note(f"{len(rows) - missed} of {len(rows)} goals are met{left_out}.")
