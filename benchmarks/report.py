"""The report: one flat object for programs, tables for people; only of what was measured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from statistics import median, quantiles

import circuits
import gate
import lag
import once
import others
import tracing
import workers
from goals import GOALS
from harness import Rates

PEERS = {
    "nats_py": "nats-py",
    "natsio": "natsio",
    "faststream": "FastStream, one by one",
    "faststream_batch": "FastStream, a list of 500",
    "async": "async face",
    "blocking": "blocking face",
}
WORK = {
    "publish_many": "publish_many",
    "submit": "submit",
    "publish": "publish, one by one",
    "consume": "read and ack",
    "read": "read in order",
}
CALLS = {
    ("publish_many", "nats_py"): "nats-py publish_async",
    ("submit", "nats_py"): "nats-py publish_async",
    ("publish", "nats_py"): "nats-py publish",
    ("consume", "nats_py"): "nats-py fetch(500)",
    ("read", "nats_py"): "nats-py ordered consumer",
    ("publish_many", "natsio"): "natsio publish_async",
    ("submit", "natsio"): "natsio publish_async",
    ("publish", "natsio"): "natsio publish",
    ("consume", "natsio"): "natsio consume(500)",
}
EDGES_MS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, float("inf"))
BAR = 40
WIDE = 110  # columns, unless the terminal has a width of its own

Flat = Mapping[str, float | int]
Rows = list[tuple[str, ...]]


class Figures:
    """Everything measured, by its names in the JSON."""

    def __init__(self) -> None:
        self.flat: dict[str, float | int] = {}
        self.histogram: list[tuple[float, int]] = []

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

    def add_latency(self, peer: str, seconds: list[float]) -> None:
        ms = sorted(value * 1000 for value in seconds)
        cuts = quantiles(ms, n=1000, method="inclusive")
        named = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "p999": cuts[998], "max": ms[-1]}
        for name, value in named.items():
            self.flat[f"latency.{peer}.{name}_ms"] = round(value, 3)
        self.flat[f"latency.{peer}.messages"] = len(ms)
        if peer == "async":
            low = 0.0
            for edge in EDGES_MS:
                self.histogram.append((edge, sum(low <= value < edge for value in ms)))
                low = edge

    def add_subjects(self, nanoseconds: Mapping[str, float]) -> None:
        for name, value in nanoseconds.items():
            self.flat[f"subject.{name}.ns"] = round(value)

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.flat[name] = round(value) if name.endswith((".ns", "msgs_per_s")) else round(value, 3)


def _ratio(rounds: list[float], others: list[float]) -> float:
    return round(median(one / other for one, other in zip(rounds, others, strict=True)), 3)


def progress(text: str) -> None:
    """Report progress on stderr, since stdout is for the figures."""
    print(f"... {text}", file=sys.stderr, flush=True)


def show(figures: Figures, facts: Mapping[str, str | int], *, quick: bool) -> None:
    """Print the tables, the histogram and the machine."""
    flat = figures.flat
    show_throughput(flat)
    if "worker.loop.ratio" in flat:
        show_workers(flat)
    if "admission.plain.ratio" in flat:
        show_gates(flat)
    if "breaker.refused.us" in flat:
        show_breakers(flat)
    if "once.plain.ratio" in flat:
        show_once(flat)
    if "telemetry.worker.sdk.ratio" in flat:
        show_telemetry(flat)
    if "lag.moving.core_percent" in flat:
        show_lag(flat)
    if figures.histogram:
        show_latency(flat, figures.histogram)
    if "fairness.equal.jain" in flat:
        show_fairness(flat)
    if "sharding.scaling" in flat:
        show_sharding(flat)
    if "takeovers.sharded.overtakes" in flat:
        show_takeovers(flat)
    if "memory.growth_mib" in flat:
        show_memory(flat)
    if "uvloop.latency.p50.ratio" in flat:
        show_loops(flat)
    show_subjects(flat)
    if "mypy.cold_500.s" in flat:
        show_scale(flat)
    if not quick:
        show_goals(flat)
    print()
    print("  ".join(f"{name.replace('_', '-')}: {value}" for name, value in facts.items()))
    if quick:
        print("--quick: too short to compare with anything.")


def show_throughput(flat: Flat) -> None:
    rows: Rows = []
    for work, title in WORK.items():
        for peer, name in PEERS.items():
            key = f"{work}.{peer}"
            if f"{key}.msgs_per_s" not in flat:
                continue
            to_async = flat.get(f"{key}.ratio_to_async")
            if f"{work}.async.ratio_to_{peer}" in flat:
                to_async = 1 / flat[f"{work}.async.ratio_to_{peer}"]
            rows.append(
                (
                    title if peer == "nats_py" else "",
                    CALLS.get((work, peer), name),
                    f"{flat[f'{key}.msgs_per_s']:,}",
                    f"{flat.get(f'{key}.ratio', 1):.2f}",
                    "" if to_async is None else f"{to_async:.2f}",
                    f"{flat[f'{key}.cpu_us']:.1f}",
                )
            )
    if not rows:
        return
    table("Throughput", ("work", "who", "messages/s", "x nats-py", "x async", "CPU us each"), rows)
    for package in sorted({package for peer, package in others.PACKAGES.items() if not others.installed(peer)}):
        print(f"{package} is not installed and not in the table: the dependency group `bench` has it, where this Python can.")


def show_workers(flat: Flat) -> None:
    table(
        "Workers with 8 slots and empty handlers",
        ("who", "messages/s", "x loop", "CPU us each"),
        [
            (
                name,
                f"{flat[f'worker.{reader}.msgs_per_s']:,}",
                f"{flat[f'worker.{reader}.ratio']:.2f}",
                f"{flat[f'worker.{reader}.cpu_us']:.1f}",
            )
            for reader, name in workers.READERS.items()
        ],
    )


def show_gates(flat: Flat) -> None:
    table(
        "Admission with 64 slots: signed intents let through",
        ("gate", "intents/s", "x plain", "CPU us each"),
        [
            (
                name,
                f"{flat[f'admission.{kind}.msgs_per_s']:,}",
                f"{flat[f'admission.{kind}.ratio']:.2f}",
                f"{flat[f'admission.{kind}.cpu_us']:.1f}",
            )
            for kind, name in gate.GATES.items()
        ],
    )


def show_breakers(flat: Flat) -> None:
    table(
        "Publishing through the default circuits, and without",
        ("work", "without, messages/s", "default", "x without", "CPU us each", "x without"),
        [
            (
                WORK[work],
                f"{flat[f'breaker.{work}.without.msgs_per_s']:,}",
                f"{flat[f'breaker.{work}.default.msgs_per_s']:,}",
                f"{flat[f'breaker.{work}.ratio']:.3f}",
                f"{flat[f'breaker.{work}.default.cpu_us']:.1f}",
                f"{flat[f'breaker.{work}.cpu_ratio']:.3f}",
            )
            for work in circuits.WORK
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


def show_telemetry(flat: Flat) -> None:
    table(
        "Telemetry: the same work without it, and instrumented",
        ("work", "bus", "messages/s", "x without", "CPU us each", "x without"),
        [
            (
                WORK.get(work, "Worker, async handler") if name == "without" else "",
                title,
                f"{flat[f'telemetry.{work}.{name}.msgs_per_s']:,}",
                f"{flat[f'telemetry.{work}.{name}.ratio']:.2f}",
                f"{flat[f'telemetry.{work}.{name}.cpu_us']:.1f}",
                f"{flat[f'telemetry.{work}.{name}.cpu_ratio']:.2f}",
            )
            for work in tracing.WORK
            for name, title in tracing.BUSES.items()
        ],
    )


def show_lag(flat: Flat) -> None:
    table(
        f"Lag monitor: one look at {flat['lag.consumers']:,.0f} consumers",
        ("state", "CPU ms", "ms", "of one core, every 5 s"),
        [
            (
                title,
                f"{flat[f'lag.{state}.cpu_ms']:.1f}",
                f"{flat[f'lag.{state}.ms']:.1f}",
                f"{flat[f'lag.{state}.core_percent']:.2f} %",
            )
            for state, title in lag.STATES.items()
        ],
    )


def show_once(flat: Flat) -> None:
    table(
        "Worker with 64 slots, and with one: intents executed, each with a result",
        ("worker", "intents/s", "x plain", "CPU us each", "one slot: intents/s", "x plain"),
        [
            (
                name,
                f"{flat[f'once.{way}.msgs_per_s']:,}",
                f"{flat[f'once.{way}.ratio']:.2f}",
                f"{flat[f'once.{way}.cpu_us']:.1f}",
                f"{flat[f'once.one_slot.{way}.msgs_per_s']:,}",
                f"{flat[f'once.one_slot.{way}.ratio']:.2f}",
            )
            for way, name in once.WAYS.items()
        ],
    )


def show_latency(flat: Flat, histogram: Sequence[tuple[float, int]]) -> None:
    table(
        "Publish to handler, single messages at 1,000/s (ms)",
        ("who", "p50", "p90", "p99", "p99.9", "max"),
        [
            (name, *(f"{flat[f'latency.{peer}.{cut}_ms']:.2f}" for cut in ("p50", "p90", "p99", "p999", "max")))
            for peer, name in (("nats_py", "publish_async, fetch(500)"), ("async", "submit, Worker"))
        ],
    )
    most = max(count for _, count in histogram)
    for edge, count in histogram:
        label = f"< {edge:g} ms" if edge != float("inf") else "more"
        print(f"  {label:>10} {count:6,} {'#' * -(-count * BAR // most)}")


def show_fairness(flat: Flat) -> None:
    rows: Rows = []
    for name, title in (
        ("equal", "4 equal, 10 ms each"),
        ("quick", "4 equal, no work"),
        ("slow", "3 equal, the last 10 times slower"),
    ):
        shares = [f"{flat[f'fairness.{name}.share_{place}'] * 100:.1f} %" for place in range(1, 5)]
        index = flat[f"fairness.{name}.jain" if name != "slow" else "fairness.slow.jain_of_equals"]
        spread = f"{flat[f'fairness.{name}.spread']:.3f}" if name != "slow" else ""
        rows.append((title, *shares, f"{index:.4f}", spread))
    table("Shares of the workers of one consumer", ("workers", "1", "2", "3", "4", "Jain's index", "spread"), rows)
    table(
        "Workers that are slow, killed or new",
        ("what", "figure"),
        [
            ("messages that the slow one held when it was killed (it has 8 slots)", f"{flat['fairness.slow.held']:.0f}"),
            ("slots of the other three in use beside it", f"{flat['fairness.slow.equals_busy'] * 100:.0f} %"),
            ("what it held came again, after (s; the ack wait is 5)", f"{flat['fairness.killed.back_s']:.2f}"),
            ("one that joins has all its slots in use, after (s)", f"{flat['fairness.joined.busy_s']:.3f}"),
            ("most unanswered messages, of slots and prefetch", f"{flat['fairness.equal.unanswered_of_bound']:.2f}"),
            ("the same with handlers that do nothing", f"{flat['fairness.quick.unanswered_of_bound']:.2f}"),
        ],
    )


def show_sharding(flat: Flat) -> None:
    one = flat["sharding.processes_1.msgs_per_s"]
    rates = {number: flat[f"sharding.processes_{number}.msgs_per_s"] for number in (1, 2, 4)}
    table(
        "Processes of a sharded worker, 2 slots each, 5 ms a message",
        ("processes", "messages/s", "x one"),
        [(str(number), f"{rate:,.0f}", f"{rate / one:.2f}") for number, rate in rates.items()],
    )
    table(
        "A sharded worker beside a plain one",
        ("work", "plain, messages/s", "sharded, messages/s", "x plain", "plain, CPU us", "sharded, CPU us", "x plain"),
        [
            (
                title,
                f"{flat[f'sharding.{name}.plain.msgs_per_s']:,.0f}",
                f"{flat[f'sharding.{name}.sharded.msgs_per_s']:,.0f}",
                f"{flat[f'sharding.{name}.ratio']:.2f}",
                f"{flat[f'sharding.{name}.plain.cpu_us']:.0f}",
                f"{flat[f'sharding.{name}.sharded.cpu_us']:.0f}",
                f"{flat[f'sharding.{name}.cpu_ratio']:.2f}",
            )
            for name, title in (("empty", "32 slots, nothing"), ("busy", "8 slots, 5 ms"))
        ],
    )


def show_takeovers(flat: Flat) -> None:
    import takeovers

    table(
        "Four processes that are killed and stopped; pin timeout 3 s",
        ("workers", "messages/s without faults", "lost", "overtakes", "repeats", "takeover p50 (s)", "longest (s)"),
        [
            (
                title,
                f"{flat[f'takeovers.{name}.msgs_per_s']:,.0f}",
                *(f"{flat[f'takeovers.{name}.{what}']:,}" for what in ("lost", "overtakes", "repeats")),
                *(f"{flat[f'takeovers.{name}.takeover_{what}_s']:.1f}" for what in ("p50", "max")),
            )
            for name, (title, _, _) in takeovers.SYSTEMS.items()
            if f"takeovers.{name}.lost" in flat
        ],
    )
    if not takeovers.PYTHON:
        print(takeovers.INSTALL)


def show_memory(flat: Flat) -> None:
    table(
        "Growth of the process (MiB)",
        ("work", "messages", "grew by"),
        [
            ("read and ack", f"{flat['memory.messages']:,}", f"{flat['memory.growth_mib']:.1f}"),
            (
                "submit to a stopped server, as many as there is room for",
                f"{flat['memory.stopped_server_submits']:,}",
                f"{flat['memory.stopped_server_mib']:.1f}",
            ),
        ],
    )


def show_loops(flat: Flat) -> None:
    rows: Rows = []
    for work in ("publish_many", "consume"):
        for peer in ("nats_py", "async", "blocking"):
            key = f"uvloop.{work}.{peer}"
            rates = (f"{flat[f'{key}.{loop}_msgs_per_s']:,}" for loop in ("without", "with"))
            rows.append(
                (f"{WORK[work]} (messages/s)", CALLS.get((work, peer), PEERS[peer]), *rates, f"{flat[f'{key}.ratio']:.2f}")
            )
    for cut in ("p50", "p99"):
        key = f"uvloop.latency.{cut}"
        times = (f"{flat[f'{key}.{loop}_ms']:.2f}" for loop in ("without", "with"))
        rows.append((f"publish to handler, {cut} (ms)", "submit, Worker", *times, f"{flat[f'{key}.ratio']:.2f}"))
    table("uvloop", ("work", "who", "asyncio", "uvloop", "ratio"), rows)


def show_subjects(flat: Flat) -> None:
    rows: Rows = [
        (
            title,
            f"{flat[f'subject.{typed}.ns']:,}",
            f"{flat[f'subject.{plain}.ns']:,}",
            f"{flat[f'subject.{typed}.ns'] / max(1, flat[f'subject.{plain}.ns']):.1f}",
        )
        for title, typed, plain in (
            ("construct and render / f-string", "construct_and_render", "fstring"),
            ("parse / str.split", "parse", "split"),
            ("parse, of 500 patterns / of 50", "parse_500", "parse_50"),
        )
        if f"subject.{typed}.ns" in flat
    ]
    if rows:
        table("Typed subjects (ns each)", ("work", "typed", "plain string", "ratio"), rows)


def show_scale(flat: Flat) -> None:
    alone = flat["import.nats_and_msgspec.ms"]
    table(
        "Importing, and type-checking 500 subjects with 100 payloads",
        ("work", "took", "ratio"),
        [
            ("import nats, msgspec", f"{alone:.1f} ms", "1"),
            ("and smith_sdk", f"{flat['import.smith_sdk_too.ms']:.1f} ms", f"{flat['import.smith_sdk_too.ms'] / alone:.2f}"),
            (
                "and its SmithBus and subjects",
                f"{flat['import.bus_and_subjects_too.ms']:.1f} ms",
                f"{flat['import.bus_and_subjects_too.ms'] / alone:.2f}",
            ),
            ("mypy --strict without a cache", f"{flat['mypy.cold_500.s']:.1f} s", ""),
        ],
    )


def show_goals(flat: Flat) -> None:
    rows: Rows = [
        (goal.what, f"{flat[goal.figure]:.2f}", goal.bound, "yes" if goal.met(flat) else "NO")
        for goal in GOALS
        if goal.figure in flat
    ]
    if rows:
        table("What the project asks of itself", ("figure", "here", "goal", "met"), rows)


def table(title: str, heads: tuple[str, ...], rows: Rows) -> None:
    """With rich if it is installed."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
        print(f"\n{title}")
        for row in (heads, *rows):
            cells = (
                cell.ljust(w) if n == 0 or heads[n] == "who" else cell.rjust(w)
                for n, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            print("  " + "  ".join(cells))
        return
    made = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        made.add_column(head, justify="left" if place == 0 or head == "who" else "right")
    for row in rows:
        made.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print()
    console.print(made)
