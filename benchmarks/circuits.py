"""The cost of circuit breakers: around publishing, with the default one and without, side by side;
and of one call through a circuit, closed and open."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from contextlib import suppress
from statistics import median

import workloads
from harness import WINDOW, Rates, cpu_ratio, fresh_server, rates, ratio
from tables import TITLES, Flat, table

from smith_sdk import AsyncSmithBus, Backoff, CircuitBreaker
from smith_sdk.errors import CircuitOpen

BUSES = ("without", "default")
WORK = ("publish_many", "submit", "publish")


async def publishing(rounds: int, counts: dict[str, int]) -> dict[str, float]:
    """Messages per second of a bus with the default breaker and of one without, and their ratio."""
    figures: dict[str, float] = {}
    async with (
        fresh_server() as server,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW, publish_breaker=None) as without,
        AsyncSmithBus(server.url, max_pending_messages=WINDOW) as default,
    ):
        for work in WORK:
            peers = {name: workloads.ASYNC[work](bus) for name, bus in zip(BUSES, (without, default), strict=True)}
            figures.update(_figures(work, await rates(server, peers, rounds, counts[work])))
    return figures


def _figures(work: str, measured: Rates) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in BUSES:
        found[f"breaker.{work}.{name}.msgs_per_s"] = median(one.rate for one in measured[name])
        found[f"breaker.{work}.{name}.cpu_us"] = median(one.cpu_us for one in measured[name])
    found[f"breaker.{work}.ratio"] = ratio(measured["default"], measured["without"])
    found[f"breaker.{work}.cpu_ratio"] = cpu_ratio(measured["default"], measured["without"])
    return found


def calls(quick: bool) -> dict[str, float]:
    """Microseconds of one call, the best of five runs of each."""
    closed = CircuitBreaker()
    open_ = CircuitBreaker(minimum=1, open_for=Backoff(initial=3600, max=3600))
    open_.acquire().end(OSError())

    def nothing() -> None:
        pass

    def block() -> None:
        with closed:
            nothing()

    def permit() -> None:
        closed.acquire().end()

    def refused() -> None:
        with suppress(CircuitOpen):
            open_.acquire()

    timed: dict[str, Callable[[], None]] = {
        "plain": nothing,
        "permit": permit,
        "block": block,
        "decorated": closed(nothing),
        "refused": refused,
    }
    number = 2_000 if quick else 20_000
    return {f"breaker.{name}.us": min(timeit.repeat(one, repeat=5, number=number)) / number * 1e6 for name, one in timed.items()}


def show(flat: Flat) -> None:
    table(
        "Publishing through the default circuits, and without",
        ("work", "without, messages/s", "default", "x without", "CPU us each", "x without"),
        [
            (
                TITLES[work],
                f"{flat[f'breaker.{work}.without.msgs_per_s']:,}",
                f"{flat[f'breaker.{work}.default.msgs_per_s']:,}",
                f"{flat[f'breaker.{work}.ratio']:.3f}",
                f"{flat[f'breaker.{work}.default.cpu_us']:.1f}",
                f"{flat[f'breaker.{work}.cpu_ratio']:.3f}",
            )
            for work in WORK
        ],
    )
    table(
        "One call through a circuit (us)",
        ("call", "took"),
        [
            (title, f"{flat[f'breaker.{name}.us']:.2f}")
            for name, title in (
                ("plain", "a function of nothing, without a circuit"),
                ("permit", "acquire() and end()"),
                ("block", "with breaker: the function"),
                ("decorated", "the decorated function"),
                ("refused", "refused: CircuitOpen raised and caught"),
            )
        ],
    )
