"""Latency under load: from an intent's scheduled time, through admission, to the executor's handler
and to its result.

The processes are those of the pipeline. First they are flooded, which is the pipeline's maximum;
then intents are published at 10, 50 and 80 % of it, in an open loop: at times that are fixed
beforehand, whatever became of the intents before. Latency counts from the scheduled time, not from
the call, so an intent that had to wait for the publisher has waited. By how much the publisher was
late is reported beside it.
"""

from __future__ import annotations

from statistics import quantiles
from typing import Final

import pipeline
from tables import Flat, Rows, table

LEVELS: Final = {10: 5, 50: 1, 80: 1}
"""Percent of the maximum, and how many times as long: each then has enough intents for p99.9."""
UNTIL: Final = {"handler": "the executor's handler", "result": "the result, read", "late": "the publisher's call"}
SETTLING: Final = 0.1
"""Of the intents at the beginning of each level, which are not counted."""


async def costs(flood: int, seconds: float) -> dict[str, float]:
    """Figures by their names in the JSON: intents per second, milliseconds."""
    found: dict[str, float] = {}
    async with pipeline.started(trusted=False) as running:
        await running.flood(min(flood, pipeline.WARM_UP))
        most = (await running.flood(flood))["intents_per_s"]
        found["load.max_intents_per_s"] = most
        for level, times in LEVELS.items():
            rate = most * level / 100
            paced = await running.pace(rate, seconds * times, seed=level)
            skip = int(len(paced.late) * SETTLING)
            found[f"load.{level}.intents"] = len(paced.late) - skip
            found[f"load.{level}.rate"] = rate
            for until in UNTIL:
                ms = sorted(value * 1000 for value in getattr(paced, until)[skip:])
                cuts = quantiles(ms, n=1000, method="inclusive")
                for name, value in (("p50", cuts[499]), ("p99", cuts[989]), ("p999", cuts[998]), ("max", ms[-1])):
                    found[f"load.{level}.{until}.{name}_ms"] = value
    return found


def summary(flat: Flat) -> None:
    """The table of README.md."""
    table(
        "",
        ("of the maximum", "p50", "p99", "p99.9"),
        [
            (
                f"{level} %: {flat[f'load.{level}.rate']:,.0f} intents/s",
                *(f"{flat[f'load.{level}.handler.{cut}_ms']:.1f} ms" for cut in ("p50", "p99", "p999")),
            )
            for level in LEVELS
        ],
    )


def show(flat: Flat) -> None:
    rows: Rows = []
    for level in LEVELS:
        for until, title in UNTIL.items():
            key = f"load.{level}"
            first = until == "handler"
            rows.append(
                (
                    f"{level} %" if first else "",
                    f"{flat[f'{key}.rate']:,.0f}" if first else "",
                    f"{flat[f'{key}.intents']:,.0f}" if first else "",
                    title,
                    *(f"{flat[f'{key}.{until}.{cut}_ms']:.2f}" for cut in ("p50", "p99", "p999", "max")),
                )
            )
    table(
        f"From an intent's scheduled time, open loop; the maximum is {flat['load.max_intents_per_s']:,.0f} intents/s (ms)",
        ("of the maximum", "intents/s", "intents", "to", "p50", "p99", "p99.9", "max"),
        rows,
    )
