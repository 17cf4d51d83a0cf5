"""The command line: `smith-codegen SPEC OUT [--check]`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import SpecErrors


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. 0: done, or nothing differs; 1: `--check` found drift; 2: the spec or the directory is at fault."""
    parser = argparse.ArgumentParser(prog="smith-codegen", description="Generate typed Python from a spec of subjects.")
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the spec, such as subjects.toml")
    parser.add_argument("out", type=Path, metavar="OUT", help="the directory of the package, such as src/smith_sdk")
    parser.add_argument("--check", action="store_true", help="write nothing; show what differs, and fail if anything does")
    given = parser.parse_args(argv)
    missing = [name for name in ("jinja2", "ruff") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"the generator needs {' and '.join(missing)}: pip install 'smith-sdk[codegen]'", file=sys.stderr)
        return 2
    from .compile import compile_spec
    from .publish import ForeignFiles, compare, publish

    try:
        text = given.spec.read_text(encoding="utf-8")
        files = compile_spec(text, str(given.spec), out=given.out)
        drift = compare(files, given.out) if given.check else publish(files, given.out)
    except (OSError, UnicodeDecodeError, SpecErrors, ForeignFiles) as error:
        print(error, file=sys.stderr)
        return 2
    sys.stdout.write(drift.diff if given.check else "")
    words = ("changed", "missing", "extra") if given.check else ("wrote", "wrote", "removed")
    for word, paths in zip(words, (drift.changed, drift.missing, drift.extra), strict=True):
        for path in paths:
            print(f"{word}: {given.out / path}")
    if given.check and drift:
        print(f"{given.out} is not what {given.spec} says: run smith-codegen {given.spec} {given.out}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
