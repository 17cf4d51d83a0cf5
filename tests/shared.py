"""What is made once for a whole run of the tests, whichever process of pytest-xdist asks first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder that all processes of a run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(top: Path, name: str, make: Callable[[Path], object]) -> Path:
    """`top / name`, made by the first process that asks for it; the others wait.

    `make(path)` creates a file or a folder there. Where it raises, the next one to ask tries again.
    """
    made = top / name
    with (top / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = top / f"{name}.done"  # a folder that knows its own path cannot be renamed when it is complete
        if not done.exists():
            make(made)
            done.touch()
    return made
