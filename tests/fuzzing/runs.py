"""One run of one path, with a failure that says how to repeat it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fuzzing import paths, server_paths
from fuzzing.paths import Run
from fuzzing.watch import MIB, Watch

PATHS: Final[dict[str, Callable[[Run], Awaitable[None]]]] = {
    **paths.PATHS,
    "answers": server_paths.answers,
    "wire": server_paths.wire,
}

MEMORY = 256 * MIB
"""Bytes by which a run may make the process grow."""


async def fuzz(path: str, url: str, *, seed: int, count: int, deadline: float) -> str:
    """Send `count` hostile messages into `path`; returns a line about what was measured."""
    watch = Watch(deadline=deadline, memory=MEMORY)
    try:
        async with watch:
            run = Run(path, url, seed, count, watch)
            await PATHS[path](run)
    except BaseException as error:
        error.add_note(f"seed {seed}, {count} messages: repeat with `-k {path} --fuzz-seed {seed}`")
        raise
    assert run.arrived > count // 3, f"only {run.arrived} of {count} messages have arrived"
    grown = f"grew by {watch.grown // MIB} MiB at most, {watch.records} warnings"
    return (
        f"fuzz {path}: {run.arrived} of {count} hostile messages of seed {seed} arrived, done in {watch.seconds:.1f} s, {grown}"
    )
