"""Programs that gevent or eventlet has patched: the blocking face is refused with a remedy unless
threads are left alone, and the async face works."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest
from buses import Account

from smith_sdk import SmithBus
from smith_sdk.errors import BlockingCallError

BLOCKING = """
    from smith_sdk import SmithBus, errors, subjects
    from smith_sdk.protocol import HealthEvent

    bus = SmithBus(url)
    try:
        with bus:
            event = HealthEvent.new(service="s", healthy=True)
            print(bus.publish(subjects.events.health.of(event), event).stream)
    except errors.BlockingCallError as error:
        print("refused:", error)
        bus.close()
"""
ASYNC = """
    import asyncio
    from smith_sdk import AsyncSmithBus, subjects
    from smith_sdk.protocol import HealthEvent

    async def main():
        async with AsyncSmithBus(url) as bus:
            event = HealthEvent.new(service="s", healthy=True)
            print((await bus.publish(subjects.events.health.of(event), event)).stream)

    asyncio.run(main())
"""


def run_patched(how: str, url: str, body: str) -> str:
    code = f"from gevent import monkey; monkey.patch_all({how})\nurl = {url!r}\n{textwrap.dedent(body)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_program_that_gevent_has_patched(account: Account) -> None:
    async with account.applied():
        for how, more in (("", ASYNC), ("thread=False", "")):
            out = run_patched(how, account.url, BLOCKING + more)
            assert out.startswith("refused: gevent has replaced")
            assert "Use AsyncSmithBus, run the program without gevent (gunicorn -k gthread" in out
            assert out.endswith("\nSYSTEM_EVENTS\n") is (more == ASYNC)
        assert run_patched("thread=False, select=False", account.url, BLOCKING) == "SYSTEM_EVENTS\n"


def test_gevent_or_eventlet_that_has_patched_nothing_is_no_obstacle(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    patched: dict[str, bool] = {}
    eventlet: Any = SimpleNamespace(is_monkey_patched=lambda name: patched.get(name, False))
    gevent: Any = SimpleNamespace(is_module_patched=lambda name: False)
    url = account.url
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "eventlet.patcher", eventlet)
        patch.setitem(sys.modules, "gevent.monkey", gevent)
        with SmithBus(url):
            pass
        patched["thread"] = True
        with pytest.raises(BlockingCallError, match="eventlet has replaced threads"):
            SmithBus(url).connect()
