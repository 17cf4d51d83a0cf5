"""What nats-server does with pins, and how a reader of a pinned consumer can stall for ever: what
pin.py and the barrier of ordered work are built to avoid. docs/nats-facts.md tells what follows.

By raw pulls, so that no change of the SDK changes the facts. A stall has the same picture each
time: messages are pending, none is unacknowledged, a reader is pinned, and pulls wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest
from buses import Account
from chaos.pin_owner import CONSUMER, STREAM, consumer_config
from support import eventually_async

from smith_sdk import AsyncSmithBus
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.connection.subscription import Subscription
from smith_sdk._core.jetstream.api import NANOS
from smith_sdk._core.jetstream.delivery import ACK, IN_PROGRESS
from smith_sdk._core.jetstream.priority_group import PIN_HEADER

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

PIN: Final = 1.5
"""Seconds of the pin and of the ack wait."""
LONG: Final = 30.0


class Puller:
    """A reader that pulls when it is told to, on an inbox of its own."""

    def __init__(self, bus: AsyncSmithBus) -> None:
        self.connection = bus._session.connection
        self._subject = bus._session.api.subject(f"CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}")
        self._inbox = self.connection.new_inbox()
        self._subscription: Subscription | None = None
        self._pulls = 0
        self.got: list[RawMessage] = []
        self.statuses: list[tuple[int, str]] = []
        """The number of the pull, and what was answered."""

    def _on_message(self, message: RawMessage) -> None:
        headers = message.headers or {}
        if message.reply:
            self.got.append(message)
        elif headers.get("Status") != "100":
            self.statuses.append((int(message.subject.rpartition(".")[2]), f"{headers['Status']} {headers['Description']}"))

    async def pull(self, pinned: str = "", *, batch: int = 1, expires: float = LONG, **more: Any) -> int:
        if self._subscription is None:
            self._subscription = await self.connection.subscribe(f"{self._inbox}.*", self._on_message)
        self._pulls += 1
        body = {"batch": batch, "group": "g", "expires": int(expires * NANOS), **({"id": pinned} if pinned else {}), **more}
        await self.connection.publish(self._subject, msgspec.json.encode(body), f"{self._inbox}.{self._pulls}")
        await self.connection.barrier(timeout=20)
        return self._pulls

    async def nth(self, count: int, timeout: float = LONG) -> RawMessage:
        await eventually_async(lambda: len(self.got) >= count, timeout)
        return self.got[count - 1]

    async def answer(self, number: int) -> str:
        return await eventually_async(lambda: dict(self.statuses).get(number, ""), LONG)

    async def ack(self, message: RawMessage, how: bytes = ACK) -> None:
        await self.connection.publish(message.reply, how)
        await self.connection.barrier(timeout=20)

    async def own(self, bus: AsyncSmithBus) -> str:
        """Have a message, and so the pin: its id."""
        await self.pull()
        await put(bus, 1)
        message = await self.nth(1)
        await self.ack(message)
        return pin_of(message)

    async def leave(self) -> None:
        assert self._subscription is not None
        await self._subscription.unsubscribe()
        await self.connection.barrier(timeout=20)


def pin_of(message: RawMessage) -> str:
    assert message.headers is not None
    return message.headers[PIN_HEADER]


async def put(bus: AsyncSmithBus, count: int) -> None:
    for _ in range(count):
        await bus._session.publish(f"{STREAM}.m", b"", stream=None, msg_id=str(time.monotonic_ns()))


async def picture(bus: AsyncSmithBus) -> tuple[int, int, int, bool]:
    """Pending, unacknowledged, waiting pulls, and whether a reader is pinned."""
    info = await bus._session.api.consumer_info(STREAM, CONSUMER)
    is_pinned = bool(info["priority_groups"][0].get("pinned_client_id"))
    return info["num_pending"], info["num_ack_pending"], info["num_waiting"], is_pinned


@asynccontextmanager
async def pinned(account: Account, **config: Any) -> AsyncIterator[tuple[AsyncSmithBus, Puller, Puller]]:
    times = {"ack_wait": int(PIN * NANOS), "priority_timeout": int(PIN * NANOS)}
    async with AsyncSmithBus(account.url) as bus:
        await bus._session.api.stream_create({"name": STREAM, "subjects": [f"{STREAM}.>"], "storage": "memory"})
        await bus._session.api.consumer_write(STREAM, consumer_config(**times, **config), "create")
        yield bus, Puller(bus), Puller(bus)


@pytest.mark.parametrize(("room", "done"), [(1, range(1)), (8, range(30, 40))], ids=["room 1", "room 8"])
async def test_a_lease_that_counts_from_the_pull_of_the_first_message_stalls_for_ever(
    account: Account, room: int, done: range
) -> None:
    """A pull that waits for its turn is as old as the pin's timeout when its turn comes. Its reader
    drops the message and its id, waits behind its own pin, and finds the next pull just as old."""
    async with pinned(account) as (bus, reader, former):
        await former.own(bus)
        await put(bus, 39)
        sent, seen, ran = time.monotonic(), 0, 0
        await reader.pull(batch=room)
        until = sent + 6 * PIN
        while time.monotonic() < until:
            if len(reader.got) == seen:
                await asyncio.sleep(0.01)
                continue
            message, seen = reader.got[seen], seen + 1
            if time.monotonic() - sent >= 0.9 * PIN:
                sent = time.monotonic()
                await reader.pull(batch=room)
                continue
            ran += 1
            await reader.ack(message)
            sent = time.monotonic()
            await reader.pull(pin_of(message), batch=room)
        assert ran in done


async def test_renewals_beyond_max_waiting_keep_a_pin_that_gets_nothing(account: Account) -> None:
    async with pinned(account, max_waiting=4) as (bus, owner, other):
        own = await owner.own(bus)
        for _ in range(4):
            await other.pull()
        await put(bus, 5)
        for _ in range(9):
            await owner.pull(own, expires=PIN / 3, idle_heartbeat=int(PIN / 6 * NANOS))
            await asyncio.sleep(PIN / 3)
        assert await picture(bus) == (5, 0, 4, True)
        assert len(owner.got) == 1
        assert owner.statuses == []


async def test_renewals_that_do_not_wait_are_refused_and_renew_all_the_same(account: Account) -> None:
    async with pinned(account) as (bus, owner, other):
        own = await owner.own(bus)
        await other.pull(batch=100)
        await put(bus, 5)
        for _ in range(9):
            number = await owner.pull(own, expires=PIN / 3, no_wait=True)
            assert await owner.answer(number) == "408 Requests Pending"
            await asyncio.sleep(PIN / 3)
        assert await picture(bus) == (5, 0, 1, True)


async def test_a_late_ack_leaves_the_next_owner_with_more_than_the_server_counts(account: Account) -> None:
    async with pinned(account) as (bus, former, owner):
        await former.pull()
        await put(bus, 1)
        message = await former.nth(1)
        await owner.pull()
        held = await owner.nth(1)  # after the pin and the ack wait
        await former.ack(message)
        await put(bus, 5)
        await owner.ack(held, IN_PROGRESS)
        assert (await picture(bus))[:2] == (5, 0)


async def test_a_pull_that_its_owner_has_forgotten_gets_the_messages(account: Account) -> None:
    async with pinned(account) as (bus, owner, forgotten):
        own = await owner.own(bus)
        await forgotten.pull(own)
        await owner.pull()
        began = time.monotonic()
        await put(bus, 3)
        await forgotten.nth(1)
        assert len(owner.got) == 1
        await owner.nth(2)  # behind its own pin
        assert time.monotonic() - began > PIN / 2


async def test_a_pull_without_a_subscriber_gets_the_pin_and_keeps_it(account: Account) -> None:
    async with pinned(account) as (bus, dead, reader):
        await dead.pull()
        await dead.leave()
        await put(bus, 2)
        began = time.monotonic()
        await reader.pull()
        await reader.nth(1)
        assert time.monotonic() - began > PIN / 2


async def test_only_a_refusal_tells_that_the_pin_was_lost(account: Account) -> None:
    """A pull with an old id just waits where no reader is pinned and nothing is pending."""
    async with pinned(account) as (bus, owner, other):
        own = await owner.own(bus)
        await asyncio.sleep(1.2 * PIN)
        assert (await picture(bus))[3] is False
        assert await owner.answer(await owner.pull(own, expires=0.1)) == "408 Request Timeout"
        await put(bus, 2)
        assert await owner.answer(await owner.pull(own, expires=1)) == "423 Nats-Wrong-Pin-Id"
        await other.pull()
        await other.nth(1)
        assert await owner.answer(await owner.pull(own, expires=1)) == "423 Nats-Pin-Id mismatch"


async def test_a_pull_that_no_message_fits_renews_and_delivers_nothing(account: Account) -> None:
    async with pinned(account) as (bus, owner, _):
        own = await owner.own(bus)
        assert await owner.answer(await owner.pull(own, expires=0.02, max_bytes=1)) == "408 Request Timeout"
        await put(bus, 3)
        for _ in range(6):  # twice the pin's timeout
            number = await owner.pull(own, expires=0.02, max_bytes=1)
            assert await owner.answer(number) in ("409 Message Size Exceeds MaxBytes", "408 Request Timeout")  # late
            await asyncio.sleep(PIN / 3)
        assert await picture(bus) == (3, 0, 0, True)
        await owner.pull(own, batch=3)
        await owner.nth(4)
        assert {pin_of(message) for message in owner.got} == {own}
