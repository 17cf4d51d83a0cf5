"""The command line: `smith-codegen SPEC OUT [--check]`, and the commands beside it. Each is a module with `arguments` and `run`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from . import generate
from .errors import SpecErrors

COMMANDS: Final = {"breaking": "breaking", "doctor": "doctor", "hash": "hash_command", "lint": "lint"}
"""What may stand in the place of SPEC, and the module that does it; a file of such a name is written `./hash`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. 0: done, and nothing found; 1: something was found (drift, say); 2: what it was given is at fault."""
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
