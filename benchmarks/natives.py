"""nats.go and async-nats as peers, in processes of their own: what a client without Python needs.

`native/go` and `native/rust` hold the programs. They are built on demand, where `go` and `cargo`
are on PATH, into a folder outside the tree; a peer that cannot be built is named and left out.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from batch import CONSUMER, STREAM, Batch
from harness import Peer, Used

SOURCES: Final = Path(__file__).with_name("native")
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smith-sdk-bench"
WORK: Final = ("publish_many", "publish", "consume")
PEERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "go": ("go", ()),
    "rust": ("cargo", ()),
    "rust_one_thread": ("cargo", ("one-thread",)),
}
"""The tool that builds each peer's program, and the arguments of its own."""


class Tool(NamedTuple):
    folder: str
    arguments: tuple[str, ...]
    program: Path
    environment: Mapping[str, str]


TOOLS: Final = {
    "go": Tool("go", ("build", "-o", str(CACHE / "go" / "native"), "."), CACHE / "go" / "native", {}),
    "cargo": Tool(
        "rust",
        ("build", "--release", "--locked", "--quiet"),
        CACHE / "rust" / "release" / "native",
        {"CARGO_TARGET_DIR": str(CACHE / "rust")},
    ),
}


def build() -> dict[str, Path]:
    """The programs by the tools that built them, brought up to date. Says on stderr why one is
    missing."""
    programs: dict[str, Path] = {}
    for command, tool in TOOLS.items():
        if (found := shutil.which(command)) is None:
            print(f"... {command} is not on PATH: its peer is left out", file=sys.stderr)
            continue
        print(f"... building with {command} (the first time takes minutes)", file=sys.stderr, flush=True)
        environment = {**os.environ, **tool.environment}
        done = subprocess.run([found, *tool.arguments], cwd=SOURCES / tool.folder, env=environment, check=False)
        if done.returncode:
            print(f"... {command} ended with status {done.returncode}: its peer is left out", file=sys.stderr)
        else:
            programs[command] = tool.program
    return programs


@asynccontextmanager
async def peers(work: str, url: str, programs: Mapping[str, Path]) -> AsyncIterator[dict[str, Peer]]:
    """The programs as peers that do `work`, connected to the server at `url`."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(_peer(work, url, programs[tool], arguments))
            for name, (tool, arguments) in PEERS.items()
            if work in WORK and tool in programs
        }


@asynccontextmanager
async def _peer(work: str, url: str, program: Path, arguments: tuple[str, ...]) -> AsyncIterator[Peer]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages"
        # The url holds the password, which other users could read in the arguments.
        environment = {**os.environ, "NATS_URL": url}
        process = await asyncio.create_subprocess_exec(
            program, STREAM, CONSUMER, *arguments, stdin=PIPE, stdout=PIPE, env=environment
        )

        async def peer(batch: Batch) -> Used:
            if work == "consume":
                return await _ask(process, f"{work} {len(batch)} -")
            await asyncio.to_thread(file.write_bytes, b"".join(b"%s\n%s\n%s\n" % _lines(wire) for wire in batch.wires))
            return await _ask(process, f"{work} {len(batch)} {file}")

        try:
            yield peer
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _lines(wire: tuple[str, bytes, str]) -> tuple[bytes, bytes, bytes]:
    subject, data, msg_id = wire
    return subject.encode(), msg_id.encode(), data


async def _ask(process: Process, command: str) -> Used:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(command.encode() + b"\n")
    if not (line := await process.stdout.readline()):
        raise RuntimeError(f"{command}: the program ended with status {await process.wait()}")
    return Used(**json.loads(line))
