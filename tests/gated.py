"""A handler whose module cannot be imported once the file at SMITH_TEST_GATE exists."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

if "SMITH_TEST_GATE" in os.environ and Path(os.environ["SMITH_TEST_GATE"]).exists():
    raise ImportError("the gate is shut")


def die(message: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
