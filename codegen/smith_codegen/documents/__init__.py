"""Write documents from a spec: AsyncAPI, a JSON Schema for each payload, and an HTML catalogue."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the spec, such as subjects.toml")
    parser.add_argument("out", type=Path, metavar="OUT", help="the directory of the documents, such as build/bus")
    parser.add_argument("--check", action="store_true", help="write nothing; name the files that differ, and fail if any does")


def run(given: argparse.Namespace) -> int:
    """0: done or up to date; 1: `--check` found drift; 2: extra not installed, or foreign files."""
    if importlib.util.find_spec("jinja2") is None:
        print("the documents need jinja2: pip install 'smith-sdk[codegen]'", file=sys.stderr)
        return 2
    from .. import checks, sources
    from ..publish import ForeignFiles, compare, publish
    from .files import MARK, ROOMS, files_of

    spec = sources.load(given.spec)
    checks.check(spec)
    files = files_of(spec)
    try:
        drift = compare(files, given.out, ROOMS) if given.check else publish(files, given.out, ROOMS, MARK)
    except ForeignFiles as error:
        print(error, file=sys.stderr)
        return 2
    words = ("changed", "missing", "extra") if given.check else ("wrote", "wrote", "removed")
    for word, paths in zip(words, (drift.changed, drift.missing, drift.extra), strict=True):
        for path in paths:
            print(f"{word}: {given.out / path}")
    if given.check and drift:
        command = f"smith-codegen docs {given.spec} {given.out}"
        print(f"{given.out} is not up to date with {given.spec}: run {command}", file=sys.stderr)
        return 1
    return 0
