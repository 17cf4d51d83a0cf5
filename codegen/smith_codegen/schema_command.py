"""Write the JSON Schema of `subjects.toml` itself, with which editors complete and check it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the file, such as subjects.schema.json; stdout if none")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if OUT differs")


def run(given: argparse.Namespace) -> int:
    """0: done or up to date; 1: `--check` found that OUT differs."""
    from . import spec_schema

    text = json.dumps(spec_schema.build(), indent=2, ensure_ascii=False) + "\n"
    if given.out is None:
        sys.stdout.write(text)
    elif given.check:
        if not given.out.is_file() or given.out.read_text(encoding="utf-8") != text:
            print(f"{given.out} is not up to date: run smith-codegen schema {given.out}", file=sys.stderr)
            return 1
    else:
        given.out.write_text(text, encoding="utf-8", newline="\n")
        print(f"wrote: {given.out}")
    return 0
