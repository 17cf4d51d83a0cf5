"""Kills workers that run each intent once at every step, and counts what has run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from buses import Account, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, subjects

from .load import TESTS
from .once_lives import HERE, STEPS

LONG: Final = 200.0
"""Seconds in which all lives end, also where others keep the machine busy."""
HAS_RUN: Final = ("in_handler", "before_record", "before_ack", "after_ack")
IS_RECORDED: Final = ("before_ack", "after_ack")


async def check_kills(face: str, processes: int, mode: str, account: Account, directory: Path) -> None:
    """What a killed worker has recorded is not run again, and what it has not is; each intent has
    one result."""
    log = directory / "log"
    names: dict[str, str] = {}
    """The intent that a line of the log is about, by each of its names."""
    async with account.applied(contract=HERE) as bus:
        for _ in STEPS:
            intent = read_intent()
            where = subjects.intents.vetted.of(intent)
            ack = await bus.publish(where, intent)
            names |= {str(ack.seq): intent.id, intent.id: intent.id, f"{where}:{intent.id}": intent.id}
        command = [sys.executable, "-m", "chaos.once_lives", face, str(processes), mode, account.url, str(log)]
        lives = await asyncio.to_thread(subprocess.Popen, command, cwd=TESTS, stdin=subprocess.PIPE)
        try:
            await eventually_async(lambda: all_done(bus, lives), LONG, interval=0.05)
            assert lives.stdin is not None
            lives.stdin.close()
            assert await asyncio.to_thread(lives.wait, LONG) == 0
        finally:
            lives.kill()
            lives.wait()
        assert (await bus.streams.get("ATOMS_RESULTS")).messages == len(STEPS)
        assert await bus.dead_letters.count() == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    deaths = [(names[words[1]], words[2]) for words in lines if words[0] == "died"]
    assert sorted(step for _, step in deaths) == sorted(STEPS)
    expected: Counter[str] = Counter()
    recorded: set[str] = set()
    for name, step in deaths:
        # A life that starts late may get what another has recorded: it acks that, and runs nothing.
        expected[name] += step in HAS_RUN and name not in recorded
        recorded |= {name} if step in IS_RECORDED else set()
    expected.update(set(names.values()) - recorded)  # the last life runs these
    ran = Counter(names[words[1]] for words in lines if words[0] == "run")
    told = "\n".join(f"{names[words[1]]} {' '.join(words)}" for words in lines)
    assert ran == +expected, f"ran {ran}, not {expected}:\n{told}"


async def all_done(bus: AsyncSmithBus, lives: subprocess.Popen[bytes]) -> bool:
    assert lives.poll() is None, "the lives have ended"
    left = (await bus.streams.get("ATOMS_VETTED")).messages
    assert left == 0, f"{left} intents are left"
    return True
