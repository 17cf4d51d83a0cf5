"""The tables of README.md and docs/ from a run's figures: `python benchmarks/pages.py [FILE ...]`.

FILE is what `run.py --json` wrote; with several, of one tree and one machine, a later one takes
precedence: `pages.py benchmarks/figures.json FILE` renews what FILE has. Files of different
machines or versions are refused. The figures are kept in figures.json, and every table between
`<!-- figures: NAME -->` and `<!-- end of figures -->` is written anew from them. With --check
nothing is written: the exit status is 1 if a page differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bulk
import gate
import latency
import load
import memory
import once
import pipeline
import report
import workers
import workloads
from tables import Flat, as_markdown, note, table

FIGURES = Path(__file__).with_name("figures.json")
ROOT = FIGURES.parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "scaling.md")
_TABLE = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def machine(flat: Flat) -> None:
    """What the figures were measured on."""
    note(
        f"Measured on an {flat['machine.cpu']} with {flat['machine.cores']} cores, {flat['machine.python']},\n"
        f"nats-server {flat['machine.nats_server']}, nats-py {flat['machine.nats_py']}."
    )


def speed(flat: Flat) -> None:
    """What README.md has."""
    published, read = (f"{flat[f'{work}.async.ratio']:.1f}" for work in ("publish_many", "consume"))
    note(
        f"Side by side, publishing is {published} times nats-py's `publish_async` and reading {read} times its `fetch`\n"
        "(`nox -s bench`; [Benchmarks](docs/benchmarks.md) has the rest). From publish to the executor's\n"
        f"handler, through admission, in an open loop, on {flat['machine.cores']} cores that the server and four processes share:"
    )
    load.summary(flat)


def ceilings(flat: Flat) -> None:
    """What a process bears at most, of docs/scaling.md."""
    rows = (
        ("publishes, pipelined", "publish_many.async", "messages/s"),
        ("`Worker`, async handler", "worker.worker", "messages/s"),
        ("`Worker`, plain handler (in a thread)", "worker.plain", "messages/s"),
        ("`Worker` whose handler returns a result", "once.plain", "intents/s"),
        ("the same with [`once=True`](howto/once.md)", "once.result", "intents/s"),
    )
    table(
        "",
        ("one process", "processor time", "so at most"),
        [
            (what, f"{flat[f'{key}.cpu_us']:.0f} µs", f"{round(1e6 / flat[f'{key}.cpu_us'], -2):,.0f} {unit}")
            for what, key, unit in rows
        ],
    )


TABLES: dict[str, Callable[[Flat], None]] = {
    "machine": machine,
    "latency": speed,
    "ceilings": ceilings,
    "throughput": workloads.show,
    "bulk": bulk.show,
    "workers": workers.show,
    "admission": gate.show,
    "once": once.show,
    "pipeline": pipeline.show,
    "load": load.show,
    "single": latency.show,
    "memory": memory.show,
    "goals": report.show_goals,
}


def written(page: str, flat: Flat) -> str:
    """The page with its tables as `flat` has them."""

    def made(found: re.Match[str]) -> str:
        if found["name"] not in TABLES:
            sys.exit(f"there is no table {found['name']!r}, only {', '.join(TABLES)}")
        with as_markdown() as lines:
            try:
                TABLES[found["name"]](flat)
            except KeyError as missing:
                sys.exit(f"{FIGURES.name} has no {missing}, which the table {found['name']!r} needs: run that part anew")
        return "\n".join((found[1].rstrip(), *lines, "", found[3]))

    return _TABLE.sub(made, page)


def main() -> int:
    parser = argparse.ArgumentParser(description="The tables of the pages from a run's figures.")
    parser.add_argument("files", metavar="FILE", type=Path, nargs="*", help="what run.py --json wrote")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page differs")
    options = parser.parse_args()
    flat = merged(options.files or [FIGURES])
    old = {page: page.read_text() for page in PAGES}
    if absent := TABLES.keys() - {found["name"] for text in old.values() for found in _TABLE.finditer(text)}:
        sys.exit(f"no page has a place for {', '.join(sorted(absent))}")
    changed = {page: new for page, text in old.items() if (new := written(text, flat)) != text}
    if options.check:
        for page in changed:
            print(f"{page.name} differs from {FIGURES.name}: python benchmarks/pages.py writes it", file=sys.stderr)
        return 1 if changed else 0
    # Only now, when every page could be made.
    FIGURES.write_text(json.dumps(flat, indent=0, sort_keys=True) + "\n")
    for page, text in changed.items():
        page.write_text(text)
    return 0


def merged(files: Sequence[Path]) -> dict[str, Any]:
    """The figures of all files, which have to be of full runs on the same machine and versions."""
    runs = {file: json.loads(file.read_text()) for file in files}
    first = runs[files[0]]
    for file, run in runs.items():
        if run["quick"] or not run.get("complete", True):
            sys.exit(f"{file} is of a run with --quick, or of one that failed")
        differing = {name for name, _ in run.items() ^ first.items() if name.startswith("machine.")}
        if differing:
            sys.exit(f"{file} differs from {files[0]} in {', '.join(sorted(differing))}")
    return {name: value for run in runs.values() for name, value in run.items()}


if __name__ == "__main__":
    sys.exit(main())
