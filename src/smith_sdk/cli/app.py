"""Runs one command line. The commands have modules of their own, imported when they are used.

Results go to stdout; progress, questions and errors to stderr. Every command with a result takes
`--json`. Exit status 0: done; 1: an error, or the answer is no; 2: wrong usage; 130: Ctrl-C.
"""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from .. import __version__
from ..errors import PermissionDenied, ServerError, SmithError
from .commands import COMMANDS, HELP
from .output import plain
from .usage import explain

app = App(
    name="smith",
    help="The Smith bus on NATS JetStream.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _name, (_where, _) in COMMANDS.items():
    app.command(f"{__package__}.{_where}", name=_name)


def run(argv: list[str]) -> int:
    """Run one command line and return its exit status; an error is one line on stderr."""
    try:
        if not argv or argv[0] in ("--help", "-h"):
            print(HELP)
            return 0
        if argv[0] == "--install-completion":
            argv = ["completion", *argv[1:], "--install"]
        status = app(argv, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print(f"smith: {plain(explain(error))}", file=sys.stderr)
        return 2
    except SmithError as error:
        # The end of a server's log has lines; anything else is one line.
        lines = str(error).splitlines() if isinstance(error, ServerError) else [str(error)]
        print("smith: " + "\n".join(map(plain, lines)) + _remedy(error), file=sys.stderr)
        return 2 if isinstance(error, ServerError) else 1
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0


def _remedy(error: SmithError) -> str:
    """What the message of an error does not say, because a program can do nothing about it."""
    if isinstance(error, PermissionDenied):
        return "; use credentials that may (--creds, --nkey or --context)"
    return ""
