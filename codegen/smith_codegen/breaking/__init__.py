"""Report what breaks between two versions of a spec: on the wire, for older consumers, in source.

OLD and NEW are files, or git:REV[:PATH]: the file at that revision. PATH defaults to that of the
other operand, or to subjects.toml.
"""

from __future__ import annotations

import argparse
import json
from typing import Final

import msgspec

from .. import checks
from . import history
from .compat import KINDS, compare
from .renames import Deploy

_ADVICE: Final[dict[Deploy, str]] = {
    "readers first": "older readers fail on what newer publishers send: deploy all readers, then the publishers",
    "publishers first": "newer readers fail on what older publishers send: deploy all publishers, let what is stored be read, "
    "then deploy the readers",
    "side by side": "both sides fail, in any order: add the new beside the old, move programs over, then remove the old",
    "any order": "only code that is checked against the new version fails: change it before it is deployed",
}
"""Which side breaks, and how to deploy the change."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the spec that programs were made for: a file, or git:REV[:PATH]")
    parser.add_argument("new", metavar="NEW", help="the spec that they will meet: a file, or git:REV[:PATH]")
    parser.add_argument("--json", action="store_true", help="write the changes as JSON")


def run(given: argparse.Namespace) -> int:
    """0: running services understand each other; 1: some do not; 2: a spec is unreadable or
    invalid.
    """
    old, new = history.load(given.old, given.new), history.load(given.new, given.old)
    for spec in (old, new):
        checks.check(spec)
    changes = compare(old, new)
    counts = {kind: sum(change.kind == kind for change in changes) for kind in KINDS}
    if given.json:
        print(json.dumps({"changes": msgspec.to_builtins(changes), **counts}, indent=1, ensure_ascii=False))
    else:
        for change in changes:
            print(f"{change.kind:<10}{change.key}: {change.problem} ({change.deploy})")
        print(", ".join(f"{count} {kind}" for kind, count in counts.items()) if changes else "nothing breaks")
        for order, advice in _ADVICE.items():
            if any(change.deploy == order for change in changes):
                print(f"{order}: {advice}")
        if {"readers first", "publishers first"} <= {change.deploy for change in changes}:
            print("both orders are needed: make it two deployments, or add the new beside the old")
    return 1 if counts["wire"] or counts["consumer"] else 0
