"""Many dead letters, listed page by page and replayed exactly once each by processes that are
killed midway."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from chaos.load import TESTS
from letters import STREAM, contract, put_many_letters, replayed
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk.embedded import EmbeddedServer

KILLS = 4
DEADLINE = 200.0
_MIB = 1 << 20

REPLAYER = """
    import asyncio, json, sys
    from datetime import UTC, datetime
    sys.path.insert(0, sys.argv[1])
    from letters import contract
    from smith_sdk import AsyncSmithBus

    async def main():
        async with AsyncSmithBus(sys.argv[2], contract=contract()) as bus:
            report = await bus.dead_letters.replay(until=datetime(2100, 1, 1, tzinfo=UTC), rate=float(sys.argv[3]))
            print(json.dumps([report.replayed, report.finished, report.gone, list(report.in_doubt), len(report.failed)]))
    asyncio.run(main())
"""


def replayer(url: str, rate: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(REPLAYER), str(TESTS), url, str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("letters", "rate"),
    [(800, 400.0), pytest.param(20_000, 2_500.0, marks=[pytest.mark.chaos, pytest.mark.timeout(200)])],
    ids=["small", "full"],
)
async def test_each_is_replayed_once_by_replays_that_are_killed(
    letters: int, rate: float, make_server: Callable[[], EmbeddedServer], tell: Callable[[str], None]
) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, contract=contract()) as bus:
        await bus.streams.apply(profile="dev")
        await put_many_letters(bus, letters)

        tracemalloc.start()  # the resident size would have in it what earlier tests have freed
        listed: Counter[str] = Counter()
        after = 0
        while page := await bus.dead_letters.list(after=after, limit=500):
            listed.update(letter.id for letter in page)
            after = page[-1].position
        _, grown = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(listed) == letters == listed.total()
        assert grown < 10 * _MIB, f"{grown / _MIB:.0f} MiB more"
        tell(f"dead letters: {letters:,} listed in pages of 500 with {grown / _MIB:.1f} MiB at most")

        began = time.monotonic()
        for kill in range(1, KILLS + 1):
            with replayer(server.url, rate) as process:
                try:
                    await eventually_async(partial(through, bus, process, letters * kill // (KILLS + 1)), DEADLINE)
                finally:
                    process.kill()
                assert process.wait(10) == -signal.SIGKILL
        with replayer(server.url, rate) as first, replayer(server.url, rate) as second:  # and the rest by two at once
            try:
                said = [(await asyncio.to_thread(one.communicate, timeout=DEADLINE))[0] for one in (first, second)]
            finally:
                first.kill()
                second.kill()
            assert (first.returncode, second.returncode) == (0, 0), said
        took = time.monotonic() - began
        assert took >= (letters - 64 * KILLS) / rate / 2
        counted = Counter(await replayed(bus))
        assert len(counted) == letters
        assert [number for number, times in counted.items() if times != 1] == []
        assert await bus.dead_letters.count() == 0
        tell(
            f"dead letters: {letters:,} replayed once each at up to {rate:,.0f}/s, killed {KILLS} times, "
            f"the last of it by two at once: {took:.0f} s; these two said [replayed, finished, gone, in doubt, failed] {said}"
        )


async def through(bus: Any, process: subprocess.Popen[str], more_than: int) -> bool:
    assert process.poll() is None, "it has ended by itself: there is nothing to kill"
    return int((await bus.streams.get(STREAM)).messages) > more_than
