"""`smith quarantine` on a real server."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from buses import Account, read_intent
from cli import Smith, on_terminal
from pressure import admitting, are, decisions, publish, switch_on
from support import eventually_async

from smith_sdk import AsyncSmithBus, Quarantine

INTENTS = [read_intent(f"/{number}", ttl_ms=3_600_000) for number in range(3)]


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smith:
    """A server with three intents in quarantine, which the environment names."""
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    asyncio.run(_fill(account))
    return Smith(capsys)


async def _fill(account: Account) -> None:
    async with account.applied() as bus, admitting(bus, lambda intent: Quarantine("odd\x1b", rule="review")):
        for number, intent in enumerate(INTENTS, 1):  # in this order
            await publish(bus, intent)
            await eventually_async(partial(are, bus, quarantine=number))


def on(account: Account, work: Any) -> Any:
    async def run() -> Any:
        async with AsyncSmithBus(account.url) as bus:
            return await work(bus)

    return asyncio.run(run())


def ids(smith: Smith, *options: str) -> list[str]:
    return [one["id"] for one in smith("quarantine", "ls", "--json", *options).json]


def test_ls_and_show(smith: Smith) -> None:
    shown = smith("quarantine", "ls").out
    assert "review" in shown
    assert INTENTS[0].id in shown
    assert r"odd\x1b" in shown
    assert ids(smith) == ["1", "2", "3"]
    assert ids(smith, "--intent", INTENTS[1].id) == ["2"]
    assert ids(smith, "--rule", "backpressure") == ids(smith, "--expired") == ids(smith, "--until", "1h") == []
    assert ids(smith, "--no-expired", "--limit", "2") == ["1", "2"]
    assert "there may be more: pass --after 2" in smith("quarantine", "ls", "--limit", "2").err
    assert ids(smith, "--after", "2") == ["3"]
    one = smith("quarantine", "show", "2", "--json").json
    assert (one["rule"], one["intent_id"], one["is_expired"]) == ("review", INTENTS[1].id, False)
    assert '"path":"/1"' in smith("quarantine", "show", "2").out
    assert smith("quarantine", "show", "9").status == 1
    assert smith.err == "smith: there is no record 9, or no longer: `smith quarantine ls` lists them\n"


def test_release(smith: Smith, account: Account) -> None:
    assert smith("quarantine", "release").status == 1
    assert "no records chosen: pass ids, --rule" in smith.err
    assert smith("quarantine", "release", "--all", "--rule", "review").status == 1
    assert smith("quarantine", "release", "--all", "--dry-run").out == "3 intents would be released\n"
    assert smith("quarantine", "release", "1", "9", "--by", "ann").out == "released 1 intent\n"
    assert "1 intent not found: released or discarded before" in smith.err
    (_, released) = on(account, lambda bus: decisions(bus, INTENTS[0]))
    assert released.reason.startswith("released by ann; rule review had quarantined it")
    on(account, switch_on)
    stopped = smith("quarantine", "release", "--all", "--json")
    assert (stopped.status, stopped.json["released"]) == (1, 0)
    assert (
        "stopped: back pressure is on, by rule lag: 12,000 messages wait; wait until that is over, or pass --force" in stopped.err
    )
    done = smith("quarantine", "release", "--all", "--force", "--rate", "1000", "--limit", "1")
    assert (done.status, done.out) == (0, "released 1 intent\n")
    assert ids(smith) == ["3"]


def test_discard(smith: Smith, account: Account) -> None:
    assert smith("quarantine", "discard", "--all").status == 1
    assert smith.err == "smith: Aborted: this deletes data, and standard input is not a terminal. Pass --yes to confirm.\n"
    assert smith("quarantine", "discard", "2", "--dry-run", "--json").json == ["2"]
    assert smith("quarantine", "discard", "2", "9", "--yes", "--by", "ann").out == "discarded 1 intent\n"
    assert smith.err == "1 intent not found: released or discarded before\n"
    assert on(account, lambda bus: decisions(bus, INTENTS[1]))[1].reason.startswith("discarded by ann; ")
    assert smith("quarantine", "discard", "--all", "--yes").out == "discarded 2 intents\n"
    assert smith("quarantine", "ls").err == "the quarantine is empty\n"


def test_a_terminal_shows_a_question(smith: Smith) -> None:
    status, shown = on_terminal("quarantine", "discard", "--rule", "review", answer="n\n")
    assert status == 1
    assert "Delete 3 intents from the quarantine?" in shown
    assert ids(smith) == ["1", "2", "3"]
