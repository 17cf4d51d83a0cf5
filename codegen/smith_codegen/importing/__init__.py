"""Draft a spec from a document of another kind, and list what the spec could not say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("asyncapi",), help="what FILE is: AsyncAPI 2.x or 3.0, as JSON or YAML")
    parser.add_argument("file", type=Path, metavar="FILE", help="the document")
    parser.add_argument("--out", type=Path, metavar="SPEC", help="where the draft is written; stdout if not given")
    parser.add_argument("--package", metavar="NAME", help="the import name of the package to generate, such as acme_bus")


def run(given: argparse.Namespace) -> int:
    """0: the draft is a valid spec; 1: it has to be completed first; 2: invalid document."""
    from .. import checks, sources
    from ..errors import SpecErrors
    from .asyncapi import draft
    from .document import DocumentError, load
    from .toml import text_of

    try:
        found = draft(load(given.file), package=given.package)
    except DocumentError as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 2
    if given.out is not None and given.out.exists():
        print(f"{given.out} exists: remove it, or name another file with --out", file=sys.stderr)
        return 2
    text = text_of(found.sections)
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote: {given.out}")
    for note in found.notes:
        print(f"not said: {note}", file=sys.stderr)
    try:
        checks.check(sources.parse(text, str(given.out or "subjects.toml")))
    except SpecErrors as errors:
        for one in errors.errors:
            print(f"complete: {one}", file=sys.stderr)
        return 1
    return 0
