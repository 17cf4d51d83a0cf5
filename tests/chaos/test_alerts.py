"""Alerts while a cluster loses servers and a receiver fails: each is raised once and resolved once,
and each is told in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from chaos.cluster import Cluster
from chaos.topology import CHAOS, new_intent, raw_reader
from receiver import Handler, Receiver, status
from support import eventually_async

from smith_sdk import AlertMonitor, AlertRule, AsyncSmithBus, Backoff
from smith_sdk.alerts import Alert, lag_above, replica_lag_above, to_webhook
from smith_sdk.subjects import intents

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

SECRET: Final = "a secret of twenty-four b"
QUICK: Final = Backoff(initial=0.02, max=0.1)
LONG: Final = 60.0
READER: Final = raw_reader("async")
RULES: Final = [
    AlertRule(when=lag_above(READER, 10), name="lag", hold=0),
    AlertRule(when=replica_lag_above("SDLC_RAW", 1000), name="replicas", hold=0),
]


def flaky(seed: int) -> Callable[[Handler, int], None]:
    """Half of the requests fail, each before it counts as received."""
    chance = random.Random(seed)

    def respond(handler: Handler, count: int) -> None:
        status(chance.choice((200, 503)))(handler, 0)

    return respond


class Told:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []

    def __call__(self, alert: Alert) -> None:
        self.alerts.append(alert)

    def is_raised(self, rule: str) -> bool:
        of_rule = [one for one in tuple(self.alerts) if one.rule == rule]
        return bool(of_rule) and of_rule[-1].state == "raised"


async def put(bus: AsyncSmithBus, round: int) -> None:
    for number in range(20):
        intent = new_intent("async", f"{round}-{number}")
        await bus.publish(intents.raw.of(intent), intent, timeout=LONG)


async def test_alerts_survive_the_loss_of_each_server(tmp_path: Path, tell: Callable[[str], None]) -> None:
    told = Told()
    with Cluster(tmp_path) as cluster, Receiver(flaky(5)) as receiver:
        options: dict[str, Any] = {"contract": CHAOS, "profile": "cluster"}
        async with AsyncSmithBus(cluster.urls, **options) as bus, AsyncSmithBus(cluster.urls, **options) as other:
            await other.streams.apply()
            hook = to_webhook(receiver.url, secret=SECRET, retry=QUICK)
            monitor = AlertMonitor(bus, RULES, notify=[told, hook], interval=0.2, unknown_after=3)
            async with monitor:
                for round, node in enumerate(cluster.nodes):
                    await put(other, round)
                    await eventually_async(lambda: told.is_raised("lag"), LONG)
                    before = [one for one in told.alerts if one.rule == "lag"]
                    await asyncio.to_thread(cluster.kill, node)
                    await eventually_async(lambda: told.is_raised("replicas"), LONG)
                    assert [one for one in told.alerts if one.rule == "lag"] == before  # no election changes it
                    await asyncio.to_thread(cluster.restart, node)
                    await asyncio.to_thread(cluster.wait_healthy, LONG)
                    await other.streams.purge("SDLC_RAW")
                    await eventually_async(lambda: not monitor.active, LONG)
    by_rule = {rule: [one for one in told.alerts if one.rule == rule] for rule in ("lag", "replicas", "not-known")}
    for rule, alerts in by_rule.items():
        assert all(one.state != other.state for one, other in pairwise(alerts)), rule
        assert not alerts or (alerts[0].state, alerts[-1].state) == ("raised", "resolved"), rule
    assert len(by_rule["lag"]) == 6
    received: list[Alert] = []
    for request in receiver.requests:
        alert = request.verified(SECRET)
        if alert not in received[-1:]:
            received.append(alert)
    assert received == told.alerts
    tell(f"alerts: {len(told.alerts)} told in order by {len(receiver.requests)} requests, half of which failed")
