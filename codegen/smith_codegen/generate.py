"""Generate typed Python from a spec of subjects."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the spec, such as subjects.toml")
    parser.add_argument("out", type=Path, metavar="OUT", help="the directory of the package, such as src/acme_bus")
    parser.add_argument("--check", action="store_true", help="write nothing; show what differs, and fail if anything does")


def run(given: argparse.Namespace) -> int:
    """0: done or up to date; 1: `--check` found drift; 2: extra not installed, or foreign files."""
    missing = [name for name in ("jinja2", "ruff") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the generator needs {' and '.join(missing)}: pip install 'smith-sdk[codegen]'", file=sys.stderr)
        return 2
    from . import packaging, spec_warnings
    from .compile import emit, load
    from .publish import ForeignFiles, compare, publish

    spec = load(given.spec)
    files = emit(spec, out=given.out)
    for warning in spec_warnings.find(spec):
        print(f"warning: {warning}", file=sys.stderr)
    if left_out := packaging.missing_data(given.out, spec.spec.package):
        print(f"warning: {left_out}", file=sys.stderr)
    try:
        drift = compare(files, given.out) if given.check else publish(files, given.out)
    except ForeignFiles as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.write(drift.diff if given.check else "")
    words = ("changed", "missing", "extra") if given.check else ("wrote", "wrote", "removed")
    for word, paths in zip(words, (drift.changed, drift.missing, drift.extra), strict=True):
        for path in paths:
            print(f"{word}: {given.out / path}")
    if given.check and drift:
        print(f"{given.out} is not up to date with {given.spec}: run smith-codegen {given.spec} {given.out}", file=sys.stderr)
        return 1
    return 0
