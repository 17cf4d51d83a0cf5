"""The marker of an isolated attempt: one process at a time has it, and only its owner ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from buses import Account

from smith_sdk import AsyncSmithBus
from smith_sdk._core.dead_letters import attempt_marker
from smith_sdk._core.dead_letters.store import DeadLetterStore
from smith_sdk.contract import Metadata
from smith_sdk.errors import MessageNotFound

PLACE = Metadata(
    stream="S", consumer="c", stream_seq=7, consumer_seq=1, num_delivered=4, num_pending=0, timestamp=1, next_delay=None
)
SUBJECT = "smith.dlq.S.c.7.trial"


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_marker, "_owner", lambda pid: b"another")


async def held(bus: AsyncSmithBus) -> bytes:
    return (await bus._session.api.last_message("SMITH_DLQ", SUBJECT)).data


async def test_its_own_marker_may_be_put_again_and_is_ended(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        assert await attempt_marker.put(store, PLACE)
        before = await held(bus)
        assert await attempt_marker.put(store, PLACE)
        assert await held(bus) == before
        for _ in range(2):
            await attempt_marker.end(store, PLACE)
            assert await held(bus) == b""
        as_another_process(monkeypatch)  # such as a worker that gets the message later on
        assert await attempt_marker.put(store, PLACE)
        assert await held(bus) == b"another"


async def test_the_end_of_a_marker_that_is_not_there_is_not_stored(account: Account) -> None:
    async with account.applied() as bus:
        with pytest.raises(MessageNotFound):
            await attempt_marker.end(DeadLetterStore(bus._session), PLACE)
        with pytest.raises(MessageNotFound):
            await held(bus)


async def test_another_process_neither_puts_nor_ends_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        assert await attempt_marker.put(store, PLACE)
        before = await held(bus)
        as_another_process(monkeypatch)
        assert not await attempt_marker.put(store, PLACE)
        await attempt_marker.end(store, PLACE)
        assert await held(bus) == before


async def test_one_that_is_removed_while_it_is_looked_at_is_put(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        assert await attempt_marker.put(store, PLACE)
        really, seen = bus._session.api.last_message, 0

        async def remove_first(*args: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == 1:
                await store.remove((await really(*args)).seq)
            return await really(*args)

        as_another_process(monkeypatch)
        monkeypatch.setattr(bus._session.api, "last_message", remove_first)
        assert await attempt_marker.put(store, PLACE)
        assert await held(bus) == b"another"


async def test_of_two_processes_at_once_one_puts_it(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with account.applied() as bus:
        store = DeadLetterStore(bus._session)
        names = iter([b"one", b"two"])
        monkeypatch.setattr(attempt_marker, "_owner", lambda pid: next(names))
        found = await asyncio.gather(*(attempt_marker.put(store, PLACE) for _ in range(2)))
        assert sorted(found) == [False, True]
