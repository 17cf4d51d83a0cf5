"""The command line `smith`: a thin layer over the faces.

May import `errors`, `options`, the contract, `embedded`, `aio` and `sync`, and of `_core` only
`blocking`, to run workers of the async face, and `connection`, for the contexts of the nats
command. Its libraries, cyclopts and rich, come with the `cli` extra.
"""

from __future__ import annotations

import sys

from .commands import HELP

__all__ = ["main"]


def main() -> None:
    """Run `smith`; exits with the command's status."""
    arguments = sys.argv[1:]
    # These two need none of the libraries, which take ten times as long to import as Python starts.
    if arguments == ["--version"]:
        from .. import __version__

        print(__version__)
        sys.exit(0)
    if not arguments or arguments[0] in ("--help", "-h"):
        print(HELP)
        sys.exit(0)
    import importlib.util

    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"smith needs {' and '.join(missing)}: pip install 'smith-sdk[cli]'", file=sys.stderr)
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a character that the locale lacks is shown as \\u....
            stream.reconfigure(errors="backslashreplace")
    from .app import run

    sys.exit(run(arguments))
