"""The command line `smith`: a thin layer over the faces.

May import `errors`, `options`, the contract, `embedded`, `aio` and `sync`, and `_core.blocking` to
run workers of the async face. Its libraries, cyclopts and rich, come with the `cli` extra.
"""

from __future__ import annotations

import importlib.util
import sys

__all__ = ["main"]


def main() -> None:
    """Run `smith`; exits with the command's status."""
    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"smith needs {' and '.join(missing)}: pip install 'smith-sdk[cli]'", file=sys.stderr)
        sys.exit(2)
    from .app import run

    sys.exit(run(sys.argv[1:]))
