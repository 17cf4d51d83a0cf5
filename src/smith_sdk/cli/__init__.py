"""The command line `smith`: a thin layer over the faces.

May import `errors`, `options`, the contract, `embedded`, `aio` and `sync`, and of `_core` only
`blocking` and `execution`, to run workers of the async face and to handle signals, `connection`,
for the contexts of the nats command, `outbox`, `log_records` and `foreign_text`. Its libraries,
cyclopts, rich and watchfiles, come with the `cli` extra. A command prints by the functions of
`output`, which escape what they are given.
"""

from __future__ import annotations

import io
import sys

from .commands import HELP

__all__ = ["main"]


_PIPE_CLOSED = 141
"""As a shell reports a command that SIGPIPE ended."""


def main() -> None:
    """Run `smith`; exits with the command's status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the locale lacks is shown as \\u....
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(sys.argv[1:])
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has what it wanted
        _drop_output()
        status = _PIPE_CLOSED
    except OSError as error:  # such as a full disk
        _drop_output()
        from .._core.foreign_text import escape_control  # its text names a file, whose name may hold anything

        print(f"smith: {escape_control(str(error), keep_layout=False)}", file=sys.stderr)
        status = 1
    sys.exit(status)


def _run(arguments: list[str]) -> int:
    # These two need none of the libraries, which take ten times as long to import as Python starts.
    if arguments == ["--version"]:
        from .. import __version__

        print(__version__)
        return 0
    if not arguments or arguments[0] in ("--help", "-h"):
        print(HELP)
        return 0
    import importlib.util

    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"smith needs {' and '.join(missing)}: pip install 'smith-sdk[cli]'", file=sys.stderr)
        return 2
    from .app import run

    return run(arguments)


def _drop_output() -> None:
    """Have nothing more written to stdout, or what it has buffered would fail again at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
