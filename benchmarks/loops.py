"""asyncio's own loop beside uvloop: the same work, each in processes of its own, in turns.

`python loops.py asyncio|uvloop COUNT SECONDS` is one turn. The policy chooses the loop, so the
blocking face's own is of that kind, too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from statistics import median
from typing import Any

import child
import latency
import workloads
from tables import CALLS, PEERS, TITLES, Flat, Rows, table

WORK = ("publish_many", "consume")
WHO = ("nats_py", "async", "blocking")
LOOPS = ("asyncio", "uvloop")


async def compare(quick: bool) -> dict[str, float]:
    """Figures by their names in the JSON: messages per second and milliseconds, with uvloop and
    without; ratios are with / without."""
    turns, count, seconds = (1, 4_000, 0.5) if quick else (3, 20_000, 2.0)
    taken: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
    for _ in range(turns):
        for loop in LOOPS:
            taken[loop].append(await child.run("loops", loop, str(count), str(seconds)))
    found: dict[str, float] = {}
    for name in taken["asyncio"][0]:
        without, with_it = ([turn[name] for turn in taken[loop]] for loop in LOOPS)
        unit = "ms" if name.startswith("latency") else "msgs_per_s"
        found[f"uvloop.{name}.without_{unit}"] = median(without)
        found[f"uvloop.{name}.with_{unit}"] = median(with_it)
        found[f"uvloop.{name}.ratio"] = median(one / other for one, other in zip(with_it, without, strict=True))
    return found


async def turn(count: int, seconds: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for work in WORK:
        rates = await workloads.measure(work, 1, count, only=WHO)
        found |= {f"{work}.{peer}": rounds[0].rate for peer, rounds in rates.items()}
    took = sorted(await latency.worker(1_000, seconds))
    return found | {"latency.p50": median(took) * 1000, "latency.p99": took[int(len(took) * 0.99)] * 1000}


def show(flat: Flat) -> None:
    rows: Rows = []
    for work in WORK:
        for peer in WHO:
            key = f"uvloop.{work}.{peer}"
            rates = (f"{flat[f'{key}.{loop}_msgs_per_s']:,}" for loop in ("without", "with"))
            rows.append(
                (f"{TITLES[work]} (messages/s)", CALLS.get((work, peer), PEERS[peer]), *rates, f"{flat[f'{key}.ratio']:.2f}")
            )
    for cut in ("p50", "p99"):
        key = f"uvloop.latency.{cut}"
        times = (f"{flat[f'{key}.{loop}_ms']:.2f}" for loop in ("without", "with"))
        rows.append((f"publish to handler, {cut} (ms)", "submit, Worker", *times, f"{flat[f'{key}.ratio']:.2f}"))
    table("uvloop", ("work", "who", "asyncio", "uvloop", "ratio"), rows)


if __name__ == "__main__":
    if sys.argv[1] == "uvloop":
        import uvloop

        with warnings.catch_warnings(action="ignore"):
            # the newest Pythons deprecate event loop policies
            asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print(json.dumps(asyncio.run(turn(int(sys.argv[2]), float(sys.argv[3])))))
