"""Raw messages that share one intent id do not hold up the gate: each of their events is read
once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from buses import Account, read_intent
from support import eventually_async

from smith_sdk import Admission, Allow, subjects
from smith_sdk._core.jetstream.api import JetStreamApi
from smith_sdk.aio.decision_records import _TRAILS, Records, _Trail

COUNT = 150


async def test_many_messages_of_one_id_are_decided_about_in_as_many_steps(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    next_message = JetStreamApi.next_message

    async def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await next_message(*args)

    monkeypatch.setattr(JetStreamApi, "next_message", counted)
    async with account.applied() as bus:
        one, other = read_intent("/one"), read_intent("/other")
        raw = subjects.intents.raw.of(one)
        sent = [await bus.submit(raw, one, msg_id=f"copy-{number}") for number in range(COUNT)]
        await asyncio.gather(*sent)
        await bus.publish(subjects.intents.raw.of(other), other)
        admission = Admission(bus, policy=lambda intent: Allow(), executor_id="gate")
        running = asyncio.ensure_future(admission.run())
        await eventually_async(lambda: admission.stats.succeeded == COUNT + 1, 30)
        await admission.stop()
        await running
        events = [event async for event in bus.read(subjects.audit.policy(intent_id=one.id))]
        assert len(events) == COUNT
        assert len({event.headers["Smith-Decision-For"] for event in events}) == COUNT
        vetted = await bus._session.api.stream_info("ATOMS_VETTED")
        assert vetted["state"]["messages"] == 2  # the same bytes are vetted once
    # Two admissions that had read each other's events once would need as many; it was n * n / 2.
    assert reads < 4 * COUNT


async def test_no_more_trails_are_kept_than_are_needed(account: Account) -> None:
    async with account.applied() as bus:
        records = Records(bus._session, "gate")

        def begin(number: int) -> _Trail:
            trail = records._trail(f"id-{number}")
            assert trail.enter()
            return trail

        for number in range(_TRAILS + 10):
            records._leave(begin(number))
        assert len(records._trails) == _TRAILS
        trail = begin(5)
        trail.add(7, {})
        records._leave(trail)
        assert begin(5).read_up_to == 7
