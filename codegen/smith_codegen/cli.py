"""The command line: `smith-codegen SPEC OUT [--check]`, and its subcommands.

Each subcommand is a module with `arguments` and `run`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from . import generate
from .errors import SpecErrors

COMMANDS: Final = {
    "breaking": "breaking",
    "docs": "documents",
    "doctor": "doctor",
    "hash": "hash_command",
    "import": "importing",
    "lint": "lint",
    "permissions": "permissions_command",
    "schema": "schema_command",
}
"""Subcommands, and the module of each; a spec file with such a name is written `./hash`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. 0: success; 1: something was found, such as drift; 2: invalid input."""
    given = list(sys.argv[1:] if argv is None else argv)
    name = given[0] if given and given[0] in COMMANDS else ""
    command = import_module(f".{COMMANDS[name]}", __package__) if name else generate
    parser = argparse.ArgumentParser(prog=f"smith-codegen {name}".strip(), description=command.__doc__)
    if not name:
        parser.epilog = f"Other commands: {', '.join(f'smith-codegen {other}' for other in COMMANDS)}; each takes --help."
    command.arguments(parser)
    try:
        return int(command.run(parser.parse_args(given[1:] if name else given)))
    except (OSError, UnicodeDecodeError, SpecErrors) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
