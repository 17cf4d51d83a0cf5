"""The `nats` command, where it is on PATH."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

NATS: Final = shutil.which("nats")


class Nats:
    """The command, with the URL of a test's account and no configuration of the user's."""

    def __init__(self, url: str, home: Path) -> None:
        self._environment = {**os.environ, "NATS_URL": url, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}

    async def __call__(self, *arguments: str, given: bytes = b"") -> str:
        """What it prints, without white space around it. It must exit with 0."""
        assert NATS is not None
        process = await asyncio.create_subprocess_exec(
            NATS,
            *arguments,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(given), 30)
        text = out.decode()
        assert process.returncode == 0, text
        return text.strip()
