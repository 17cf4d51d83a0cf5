"""Back pressure across kills: of its own process, and of the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, read_intent
from support import eventually_async

from smith_sdk import AsyncSmithBus, BackPressure, Rule, consumers, subjects
from smith_sdk._core.monitoring.rule_claims import RuleClaims
from smith_sdk.aio import ActiveRules
from smith_sdk.backpressure import lag_above, limit

FETCH: Final = consumers.executor_http_fetch
RULE: Final = Rule(
    name="many", when=lag_above(consumers.admission, 3, clear_below=2), do=[limit(FETCH, max_ack_pending=5)], hold=0
)
_PROGRAM: Final = """
import asyncio, sys
from smith_sdk import AsyncSmithBus, BackPressure
from smith_sdk._core.monitoring import rule_claims

rule_claims.LEASE = 2.0
sys.path.insert(0, sys.argv[2])
sys.path.insert(0, sys.argv[3])
from test_backpressure_faults import RULE

async def main() -> None:
    async with AsyncSmithBus(sys.argv[1]) as bus:
        await BackPressure(bus, [RULE], interval=0.05).run()

asyncio.run(main())
"""


async def put(bus: AsyncSmithBus, count: int) -> None:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(one).envelope(one) for one in intents])


async def has_limit(bus: AsyncSmithBus, most: int) -> bool:
    return (await bus.consumer(FETCH).info()).max_ack_pending == most


def start(url: str) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(_PROGRAM), url, str(here), str(here.parent)])


@pytest.mark.parametrize("holds", [True, False], ids=["the rule still holds", "the rule is over"])
async def test_what_a_killed_process_has_limited_is_undone_by_the_next(account: Account, holds: bool) -> None:
    async with account.applied() as bus:
        await put(bus, 5)
        process = start(account.url)
        try:
            await eventually_async(lambda: has_limit(bus, 5), 60)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
        assert await has_limit(bus, 5)  # nobody was there to undo it
        if not holds:
            await bus.streams.purge("SDLC_RAW")
        async with BackPressure(bus, [RULE], interval=0.05) as running:
            await eventually_async(lambda: running.describe()["owned"] == (["many"] if holds else []), 60)
            if holds:
                await bus.streams.purge("SDLC_RAW")
            await eventually_async(lambda: has_limit(bus, FETCH.max_ack_pending), 60)
            await eventually_async(lambda: _nothing_acts(bus), 60)


async def _nothing_acts(bus: AsyncSmithBus) -> bool:
    return not await ActiveRules(bus).list()


async def test_a_rule_outlasts_a_kill_of_the_server_and_is_undone(make_server: Any) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:  # noqa: SIM117
        async with BackPressure(bus, [RULE], interval=0.05) as running:
            await put(bus, 5)
            await eventually_async(lambda: running.active, 30)
            await eventually_async(lambda: has_limit(bus, 5), 30)
            began = running.active
            server.kill()
            await eventually_async(lambda: bus.state == "reconnecting", 30)
            assert running.active == began
            server.start()
            await eventually_async(lambda: bus.state == "connected", 60)
            assert await RuleClaims(bus._session).held.all() != []
            assert running.active == began
            await bus.streams.purge("SDLC_RAW")
            await eventually_async(lambda: has_limit(bus, FETCH.max_ack_pending), 60)
            await eventually_async(lambda: not running.active, 30)
            await eventually_async(lambda: _nothing_acts(bus), 30)


async def test_what_cannot_be_undone_at_the_end_is_named_and_can_be_cleared(
    make_server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        async with BackPressure(bus, [RULE], interval=0.05):
            await put(bus, 5)
            await eventually_async(lambda: has_limit(bus, 5), 30)
            server.kill()
            await eventually_async(lambda: bus.state == "reconnecting", 30)
            monkeypatch.setattr("smith_sdk.aio.backpressure._UNDO", 0.1)
        assert "not all is undone of rule many, which the next process that runs it does" in caplog.text
        server.start()
        await eventually_async(lambda: bus.state == "connected", 60)
        await ActiveRules(bus).clear("many")
        assert await has_limit(bus, FETCH.max_ack_pending)
        assert await _nothing_acts(bus)
