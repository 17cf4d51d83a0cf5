"""`smith backpressure` on a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from buses import Account, read_intent
from cli import Smith, shown_at
from support import eventually

from smith_sdk import Rule, SmithBus, consumers, subjects, sync
from smith_sdk._core.monitoring.held_consumers import Hold
from smith_sdk._core.monitoring.rule_claims import Claim, RuleClaims
from smith_sdk.backpressure import lag_above, limit, quarantine_new_intents

FETCH = consumers.executor_http_fetch
MANY = Rule(
    when=lag_above(consumers.admission, 3, clear_below=2),
    do=[limit(FETCH, max_ack_pending=5), quarantine_new_intents()],
    hold=60,
    name="many",
)


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smith:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)

    async def start() -> None:
        async with account.applied():
            pass

    asyncio.run(start())
    return Smith(capsys)


def test_nothing_acts(smith: Smith) -> None:
    assert smith("backpressure", "show").status == 0
    assert smith.err == "no rule of back pressure acts\n"
    assert smith("backpressure", "show", "--json").json == []
    assert smith("backpressure", "clear", "--all").status == 0
    assert smith.out == "no rule of back pressure acts\n"
    assert smith("backpressure", "clear", "--all", "--json").json == []
    for wrong in ((), ("many", "--all")):
        assert smith("backpressure", "clear", *wrong).status == 1
        assert "name the rules to clear, or pass --all" in smith.err
    assert smith("backpressure", "clear", "many").status == 1
    assert smith.err == "smith: no rule 'many' acts now; those that do: none\n"


def test_a_rule_of_a_live_process_is_shown_and_cleared(smith: Smith, account: Account) -> None:
    with SmithBus(account.url) as bus:
        for _ in range(5):
            intent = read_intent()
            bus.publish(subjects.intents.raw.of(intent), intent)
        with sync.BackPressure(bus, [MANY], interval=0.05) as running:
            eventually(lambda: running.active)
            assert smith("backpressure", "show").status == 0
            headings, row = smith.out.splitlines()
            assert headings.split() == ["rule", "since", "owner", "expires", "actions", "reason"]
            assert row.startswith("many")
            assert "limit executor-http-fetch to max_ack_pending=5" in row
            assert row.rstrip().endswith(", above 3")
            (rule,) = smith("backpressure", "show", "--json").json
            assert rule["rule"] == "many"
            assert set(rule["actions"]) == {"limit executor-http-fetch to max_ack_pending=5", "quarantine new intents"}
            assert datetime.fromisoformat(rule["since"]) < datetime.now(UTC)
            assert "many" in shown_at(80, "backpressure", "show")
            bus.streams.purge("SDLC_RAW")
            eventually(lambda: bus.consumer(consumers.admission).info().num_pending == 0)
            assert smith("backpressure", "clear", "many").status == 0
            assert smith.out.startswith("cleared many: undone: ")
            assert smith.out.endswith(f"{rule['owner']} runs it, and begins it again while its condition holds\n")
            eventually(lambda: not running.active)
        assert bus.consumer(FETCH).info().max_ack_pending == FETCH.max_ack_pending


def test_what_dead_processes_have_left_is_shown_and_cleared(smith: Smith, account: Account) -> None:
    async def leave() -> None:
        async with account.applied() as bus:
            claims = RuleClaims(bus._session)
            await claims.create(Claim(rule="many", reason="lag", since=datetime.now(UTC), owner="dead/7", actions=("limit x",)))
            await claims.held.hold(FETCH.stream, FETCH.name, "many", Hold(max_ack_pending=5))
            await claims.held.hold(FETCH.stream, FETCH.name, "old", Hold(max_ack_pending=9, ack_wait=240 * 10**9, pause=True))

    asyncio.run(leave())
    many, old = smith("backpressure", "show", "--json").json
    assert (many["owner"], many["actions"]) == ("dead/7", ["limit x"])
    assert (old["owner"], old["since"], old["expires"]) == ("", None, None)
    assert old["actions"] == ["executor-http-fetch: max_ack_pending=9, ack_wait=240s, paused"]
    assert smith("backpressure", "clear", "old", "many", "old").status == 0
    assert [line.partition(":")[0] for line in smith.out.splitlines()] == ["cleared old", "cleared many"]
    with SmithBus(account.url) as bus:
        info = bus.consumer(FETCH).info()
        assert (info.max_ack_pending, info.paused_until) == (FETCH.max_ack_pending, None)
    assert smith("backpressure", "show", "--json").json == []
