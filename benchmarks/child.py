"""Running a benchmark in a process of its own: `python benchmarks/<module>.py ARGUMENTS` prints one
JSON object."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any


async def run(module: str, *arguments: str) -> dict[str, Any]:
    """The output of `module.py` of this directory. The process ends if this call is interrupted."""
    script = Path(__file__).with_name(f"{module}.py")
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), *arguments, stdout=PIPE)
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{script.name} {' '.join(arguments)} ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found
