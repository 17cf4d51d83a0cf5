"""Latency under load: from an intent's scheduled time to the executor's handler, through admission.

The processes are those of the pipeline. First they are flooded, which is the pipeline's maximum;
then intents are published at 10, 50 and 80 % of it, in an open loop: at times that are fixed
beforehand, whatever became of the intents before. Latency counts from the scheduled time, not from
the call, so an intent that had to wait for the publisher has waited. By how much the publisher was
late is reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles
from typing import Final

import pipeline
from tables import Flat, table

LEVELS: Final = (10, 50, 80)
"""Percent of the maximum."""
SETTLING: Final = 0.1
"""Of the intents at the beginning of each level, which are not counted."""


async def costs(flood: int, seconds: float) -> dict[str, float]:
    """Figures by their names in the JSON: intents per second, milliseconds."""
    found: dict[str, float] = {}
    async with pipeline.started(trusted=False) as running:
        await running.flood(min(flood, pipeline.WARM_UP))
        most = (await running.flood(flood))["intents_per_s"]
        found["load.max_intents_per_s"] = most
        for level in LEVELS:
            rate = most * level / 100
            took, late = await running.pace(rate, seconds, seed=level)
            skip = int(len(took) * SETTLING)
            found[f"load.{level}.intents"] = len(took) - skip
            found[f"load.{level}.rate"] = rate
            found |= {f"load.{level}.{name}": value for name, value in _percentiles(took[skip:], "").items()}
            found |= {f"load.{level}.{name}": value for name, value in _percentiles(late[skip:], "late_").items()}
    return found


def _percentiles(seconds: Sequence[float], prefix: str) -> dict[str, float]:
    ms = sorted(value * 1000 for value in seconds)
    cuts = quantiles(ms, n=1000, method="inclusive")
    named = {"p50": cuts[499], "p99": cuts[989], "p999": cuts[998], "max": ms[-1]}
    return {f"{prefix}{name}_ms": value for name, value in named.items()}


def show(flat: Flat) -> None:
    table(
        f"Publish to the executor's handler, open loop; the maximum is {flat['load.max_intents_per_s']:,.0f} intents/s (ms)",
        ("of the maximum", "intents/s", "intents", "p50", "p99", "p99.9", "max", "publisher late, p50", "p99"),
        [
            (
                f"{level} %",
                f"{flat[f'load.{level}.rate']:,.0f}",
                f"{flat[f'load.{level}.intents']:,.0f}",
                *(f"{flat[f'load.{level}.{cut}_ms']:.2f}" for cut in ("p50", "p99", "p999", "max", "late_p50", "late_p99")),
            )
            for level in LEVELS
        ],
    )
