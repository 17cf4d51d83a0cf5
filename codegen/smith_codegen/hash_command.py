"""Print the hash of a spec: SHA-256 of its canonical form, without docs and formatting."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import sources


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the spec, such as subjects.toml")


def run(given: argparse.Namespace) -> int:
    print(sources.load(given.spec).hash)
    return 0
