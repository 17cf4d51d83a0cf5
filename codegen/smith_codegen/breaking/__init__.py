"""Report what breaks between two versions of a spec: on the wire, for older consumers, in source.

OLD and NEW are files, or git:REV[:PATH]: the file at that revision. PATH defaults to that of the
other operand, or to subjects.toml. `[spec.breaking] ignore = [{ key = "...", reason = "..." }]` in
NEW leaves out changes that were decided upon.
"""

from __future__ import annotations

import argparse
import sys

from .. import checks
from . import history, report
from .change import KINDS
from .compat import compare


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the spec that programs were made for: a file, or git:REV[:PATH]")
    parser.add_argument("new", metavar="NEW", help="the spec that they will meet: a file, or git:REV[:PATH]")
    fails = "the least change that makes the exit status 1: wire, or also consumer (the default), or also source"
    parser.add_argument("--fail-on", choices=KINDS, default="consumer", help=fails)
    writes = "text (the default), json, github (annotations of a workflow) or junit (XML)"
    parser.add_argument("--format", choices=report.FORMATS, default="text", help=writes)
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def run(given: argparse.Namespace) -> int:
    """0: running services understand each other; 1: some do not; 2: a spec is unreadable or
    invalid.
    """
    old, new = history.load(given.old, given.new), history.load(given.new, given.old)
    for spec in (old, new):
        checks.check(spec)
    found = report.sort_out(compare(old, new), new, given.fail_on)
    sys.stdout.write(report.WRITERS[given.format](found, new))
    return found.status
