"""The tables of README.md and docs/ from a run's figures: `python benchmarks/pages.py [FILE ...]`.

FILE is what `run.py --json` wrote; with several, of one tree and one machine, a later one takes
precedence: `pages.py benchmarks/figures.json FILE` renews what FILE has. The figures are kept in
figures.json, and every table between `<!-- figures: NAME -->` and `<!-- end of figures -->` is
written anew from them. With --check nothing is written: the exit status is 1 if a page differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

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
from tables import Flat, as_markdown, note

FIGURES = Path(__file__).with_name("figures.json")
ROOT = FIGURES.parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
_TABLE = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def machine(flat: Flat) -> None:
    """What the figures were measured on."""
    note(
        f"Measured on an {flat['machine.cpu']} with {flat['machine.cores']} cores, {flat['machine.python']},\n"
        f"nats-server {flat['machine.nats_server']}, nats-py {flat['machine.nats_py']}."
    )


TABLES: dict[str, Callable[[Flat], None]] = {
    "machine": machine,
    "throughput": workloads.show,
    "bulk": bulk.show,
    "workers": workers.show,
    "admission": gate.show,
    "once": once.show,
    "pipeline": pipeline.show,
    "load": load.show,
    "latency": load.summary,
    "single": latency.show,
    "memory": memory.show,
    "goals": report.show_goals,
}


def written(page: str, flat: Flat) -> str:
    """The page with its tables as `flat` has them."""

    def made(found: re.Match[str]) -> str:
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
    if options.files:
        flat = {name: value for file in options.files for name, value in json.loads(file.read_text()).items()}
        if flat["quick"]:
            parser.error("figures of --quick are too short for a page")
        FIGURES.write_text(json.dumps(flat, indent=0, sort_keys=True) + "\n")
    flat = json.loads(FIGURES.read_text())
    changed = [page for page in PAGES if written(page.read_text(), flat) != page.read_text()]
    for page in changed:
        if options.check:
            print(f"{page.name} differs from {FIGURES.name}: python benchmarks/pages.py writes it", file=sys.stderr)
        else:
            page.write_text(written(page.read_text(), flat))
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
