"""Running a benchmark in a process of its own: `python benchmarks/<module>.py ARGUMENTS` prints one
JSON object."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

LONGEST = 300.0  # seconds


async def run(module: str, *arguments: str, url: str = "") -> dict[str, Any]:
    """The output of `module.py` of this directory, `url` in SMITH_NATS_URL: it holds the password,
    which other users could read in the arguments. The process ends if this call is interrupted."""
    script = Path(__file__).with_name(f"{module}.py")
    env = {**os.environ, "SMITH_NATS_URL": url}
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), *arguments, stdout=PIPE, env=env)
    try:
        async with asyncio.timeout(LONGEST):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{script.name} {' '.join(arguments)} ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found
