"""Report what breaks between two versions of a spec: on the wire, for older consumers, in source.

OLD and NEW are files, or git:REV[:PATH]: the file at that revision. PATH defaults to that of the
other operand, or to subjects.toml.
"""

from __future__ import annotations

import argparse
import json

import msgspec

from .. import checks
from . import history
from .compat import KINDS, compare


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the spec that programs were made for: a file, or git:REV[:PATH]")
    parser.add_argument("new", metavar="NEW", help="the spec that they will meet: a file, or git:REV[:PATH]")
    parser.add_argument("--json", action="store_true", help="write the changes as JSON")


def run(given: argparse.Namespace) -> int:
    """0: nothing breaks on the wire; 1: something does; 2: a spec is unreadable or invalid."""
    old, new = history.load(given.old, given.new), history.load(given.new, given.old)
    for spec in (old, new):
        checks.check(spec)
    changes = compare(old, new)
    counts = {kind: sum(change.kind == kind for change in changes) for kind in KINDS}
    if given.json:
        print(json.dumps({"changes": msgspec.to_builtins(changes), **counts}, indent=1, ensure_ascii=False))
    else:
        for change in changes:
            print(f"{change.kind:<10}{change.key}: {change.problem}")
        print(", ".join(f"{count} {kind}" for kind, count in counts.items()) if changes else "nothing breaks")
    return 1 if counts["wire"] else 0
