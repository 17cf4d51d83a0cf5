"""A pull loop that owns its consumer by the server's pin: it keeps it without room for messages,
notices that it has lost it, and hands it on. On a real server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from buses import Account
from support import eventually_async

from smith_sdk import AsyncSmithBus, SmithError
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.jetstream.api import NANOS, JetStreamApi
from smith_sdk._core.jetstream.delivery import ACK, NAK, parse
from smith_sdk._core.jetstream.pin import Pin
from smith_sdk._core.jetstream.priority_group import PIN_HEADER
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk._core.jetstream.pull_options import PullOptions
from smith_sdk.errors import ChangeRefused, ConsumerNotFound, DeadlineExceeded, JetStreamError, TopologyRefused

STREAM, CONSUMER = "PINNED", "owned"
TIMEOUT = 2.0
"""Seconds of the pin and of the ack wait."""
LONG = {"priority_timeout": 60 * NANOS}
"""For tests that are not about time: however slow the machine, the pin is renewed in time."""


async def make(bus: AsyncSmithBus, **config: Any) -> None:
    api = bus._session.api
    await api.stream_create({"name": STREAM, "subjects": [f"{STREAM}.>"], "storage": "memory"})
    await write(bus, "create", **config)


async def write(bus: AsyncSmithBus, action: str, **config: Any) -> None:
    pinned = {"priority_policy": "pinned_client", "priority_groups": ["g"], "priority_timeout": int(TIMEOUT * NANOS)}
    whole = {"durable_name": CONSUMER, "ack_policy": "explicit", "ack_wait": int(TIMEOUT * NANOS), **pinned, **config}
    given = {key: value for key, value in whole.items() if value is not None}
    await bus._session.api.consumer_write(STREAM, given, action)


async def put(bus: AsyncSmithBus, count: int) -> None:
    for number in range(count):
        await bus._session.publish(f"{STREAM}.m", b"%d" % number, stream=None, msg_id=f"{time.monotonic_ns()}-{number}")


class Reader:
    """A pinned loop, and what its pin has reported."""

    def __init__(self, bus: AsyncSmithBus, capacity: int = 4) -> None:
        self.bus = bus
        self.reports: list[tuple[object, ...]] = []
        self.held: list[RawMessage] = []
        session = bus._session
        self.pin = Pin("g", timeout=TIMEOUT)
        self.pin.on_epoch = lambda epoch: self.reports.append(("epoch", epoch))
        self.pin.on_lost = lambda reason, was_valid: self.reports.append(("lost", was_valid))
        options = PullOptions(capacity=capacity, refill="each", ack_wait=TIMEOUT, group=self.pin)

        async def diagnose() -> SmithError | None:
            return await session.why_no_messages(STREAM, CONSUMER)

        self.loop = PullLoop(session.connection, session.api, STREAM, CONSUMER, diagnose, options)

    async def __aenter__(self) -> Reader:
        await self.loop.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.loop.stop()

    async def next(self, timeout: float = 20) -> RawMessage:
        message = await asyncio.wait_for(self.loop.next(), timeout)
        assert message is not None
        return message

    async def ack(self, message: RawMessage) -> None:
        await self.bus._session.connection.publish(message.reply, ACK)
        self.loop.done()

    async def valid(self) -> None:
        await eventually_async(self.pin.is_valid, 20)


async def stays_valid(owner: Reader) -> None:
    """Look at its lease for longer than the pin would last without it."""
    until = time.monotonic() + 1.1 * owner.pin.timeout
    while time.monotonic() < until:
        assert owner.pin.is_valid()
        await asyncio.sleep(0.1)


async def renew(owner: Reader) -> None:
    """Have its pin renewed once more."""
    inbox, keeper = owner.loop._inbox, owner.loop._keeper
    assert keeper is not None
    before = inbox.pulls
    keeper.renew_soon()
    await eventually_async(lambda: inbox.pulls > before and not any(map(owner.pin.is_renewal, range(before, inbox.pulls + 1))))


async def info(bus: AsyncSmithBus) -> dict[str, Any]:
    return await bus._session.api.consumer_info(STREAM, CONSUMER)


def pinned_id(found: dict[str, Any]) -> str:
    return str(found["priority_groups"][0].get("pinned_client_id", ""))


def stand_still(seconds: float) -> None:
    """Let nothing of this process run, as if it was stopped."""
    time.sleep(seconds)


@asynccontextmanager
async def made(account: Account, **config: Any) -> AsyncIterator[tuple[AsyncSmithBus, AsyncSmithBus]]:
    """Two buses, and the consumer."""
    async with AsyncSmithBus(account.url) as bus, AsyncSmithBus(account.url) as other:
        await make(bus, **config)
        yield bus, other


async def test_the_pin_is_kept_without_room_for_messages_and_while_paused(account: Account) -> None:
    async with made(account, priority_timeout=4 * NANOS, ack_wait=60 * NANOS) as (bus, other), Reader(bus, capacity=2) as owner:
        await put(bus, 6)
        await owner.valid()
        async with Reader(other) as second:
            await eventually_async(lambda: owner.loop.buffered == 2)
            await stays_valid(owner)  # nothing is taken, so nothing may be requested
            found = await info(bus)
            assert pinned_id(found) == owner.pin.id
            assert (found["num_ack_pending"], found["num_pending"]) == (2, 4)
            await owner.loop.pause()
            for _ in range(2):
                await owner.ack(await owner.next())
            await stays_valid(owner)
            assert (await info(bus))["num_pending"] == 4
            await owner.loop.resume()
            for _ in range(4):
                await owner.ack(await owner.next())
            assert owner.reports == [("epoch", 1)]
            assert second.reports == []


async def test_a_process_that_stood_still_has_lost_its_pin_and_what_it_held(account: Account) -> None:
    async with made(account) as (bus, _other), Reader(bus) as owner:
        await put(bus, 3)
        held = await owner.next()
        await owner.valid()
        stand_still(1.2 * TIMEOUT)
        assert not owner.pin.is_valid()
        await eventually_async(lambda: ("lost", False) in owner.reports)
        assert owner.loop.buffered == 0 or ("epoch", 2) in owner.reports
        owner.loop.done()
        seen = {(await owner.next()).reply for _ in range(3)}
        await owner.valid()
        assert held.reply not in seen  # each is a later delivery
        assert owner.reports[:3] == [("epoch", 1), ("lost", False), ("epoch", 2)]


async def test_a_reader_that_has_dropped_a_full_buffer_asks_again(account: Account) -> None:
    """Its pulls are all fulfilled, so that no status of theirs would have it ask."""
    async with made(account, **LONG, ack_wait=NANOS) as (bus, _), Reader(bus, capacity=2) as owner:
        await put(bus, 3)
        await owner.valid()
        await eventually_async(lambda: (owner.loop.buffered, owner.loop._requested) == (2, 0))
        owner.pin.lose("it has stood still")
        assert owner.loop.buffered == 0
        for _ in range(3):
            await owner.ack(await owner.next())


async def test_the_next_reader_takes_over_from_one_that_was_cut_off(account: Account) -> None:
    async with made(account) as (bus, _):
        dying = AsyncSmithBus(account.url)
        await dying.connect()
        first = Reader(dying)
        await first.loop.start()
        await put(bus, 3)
        await first.next()
        async with Reader(bus) as second:
            await first.loop.stop()  # its pulls end, and its pin stays
            lost = time.monotonic()
            seen = [await second.next() for _ in range(3)]
            assert time.monotonic() - lost < 2 * TIMEOUT + 10
            await second.valid()
            assert (await info(bus))["num_ack_pending"] == len(seen)
        await dying.close()


async def test_an_owner_that_unpins_hands_over_at_once(account: Account) -> None:
    async with made(account, **LONG) as (bus, other), Reader(bus) as owner:
        await put(bus, 1)
        await owner.ack(await owner.next())
        await owner.valid()
        assert owner.pin.timeout == 60  # as the server has it
        async with Reader(other) as second:
            assert await owner.loop.unpin()
            await put(bus, 1)
            await second.ack(await second.next(20))
            await second.valid()
            assert not owner.pin.is_valid()
            assert owner.reports == [("epoch", 1)]
            assert not await owner.loop.unpin()  # and takes nothing from its successor
            assert pinned_id(await info(bus)) == second.pin.id


async def test_a_pin_that_an_operator_has_taken_is_lost_once_it_is_asked_for(account: Account) -> None:
    async with made(account, **LONG) as (bus, _), Reader(bus, capacity=1) as owner:
        await put(bus, 2)
        await owner.next()
        await owner.valid()
        assert owner.loop.confirm_pin(await info(bus))
        await bus._session.api.consumer_unpin(STREAM, CONSUMER, "g")
        if owner.pin.is_held:
            owner.loop.confirm_pin(await info(bus))
        assert not owner.pin.is_valid()
        assert owner.reports[1][0] == "lost"
        owner.loop.done()
        await owner.ack(await owner.next())
        await owner.valid()
        assert owner.reports[2:] == [("epoch", 2)]


async def test_a_consumer_that_pins_nobody_is_refused(account: Account) -> None:
    async with (
        made(account, priority_policy=None, priority_groups=None, priority_timeout=None) as (bus, _),
        Reader(bus) as reader,
    ):
        with pytest.raises(JetStreamError, match="does not pin one reader of the group 'g'"):
            await reader.next()


async def test_a_server_before_2_11_is_refused(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async with made(account, priority_policy=None, priority_groups=None, priority_timeout=None) as (bus, _):

        async def older(api: JetStreamApi) -> dict[str, Any]:
            return {}

        monkeypatch.setattr(JetStreamApi, "account", older)
        async with Reader(bus) as reader:
            with pytest.raises(ChangeRefused, match=r"needs API level 1 \(nats-server 2\.11\)"):
                await reader.next()


async def test_a_consumer_without_a_leader_is_waited_for(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [TopologyRefused("JetStream system temporarily unavailable", err_code=10008), DeadlineExceeded("late", timeout=1.0)]
    look = JetStreamApi.consumer_info

    async def at_first_refused(api: JetStreamApi, stream: str, consumer: str) -> dict[str, Any]:
        if answers:
            raise answers.pop(0)
        return await look(api, stream, consumer)

    async with made(account, **LONG) as (bus, _):
        await put(bus, 1)
        monkeypatch.setattr(JetStreamApi, "consumer_info", at_first_refused)
        async with Reader(bus) as owner:
            await owner.ack(await owner.next())
            assert answers == []


async def test_a_consumer_that_does_not_exist_is_reported(account: Account) -> None:
    async with made(account) as (bus, _):
        await bus._session.api.consumer_delete(STREAM, CONSUMER)
        async with Reader(bus) as reader:
            with pytest.raises(ConsumerNotFound):
                await reader.next()


async def test_a_consumer_that_does_not_pin_any_more_ends_its_owner(account: Account) -> None:
    async with made(account) as (bus, _), Reader(bus) as owner:
        await put(bus, 1)
        await owner.ack(await owner.next())
        await owner.valid()
        await write(bus, "update", priority_policy=None, priority_groups=None, priority_timeout=None)
        await put(bus, 1)
        with pytest.raises(SmithError):
            await owner.next()


async def test_a_message_with_a_pin_of_its_own_does_not_begin_an_epoch(account: Account) -> None:
    """Any client can store the header. The server appends its own, and the last one counts."""
    async with made(account, **LONG) as (bus, _), Reader(bus) as owner:
        await put(bus, 1)
        await owner.ack(await owner.next())
        await owner.valid()
        pinned = owner.pin.id
        for number in range(3):
            await bus._session.publish(f"{STREAM}.m", b"", stream=None, msg_id=f"forged-{number}", headers={PIN_HEADER: "forged"})
        for _ in range(3):
            await owner.ack(await owner.next())
        assert (owner.pin.id, owner.reports) == (pinned, [("epoch", 1)])


async def test_renewals_are_no_deliveries(account: Account) -> None:
    """Attempts of a message are counted by its deliveries."""
    async with made(account, **LONG) as (bus, _), Reader(bus, capacity=1) as owner:
        await put(bus, 1)
        message = await owner.next()
        await owner.valid()  # and there is no room: the nak'ed message waits at the server
        await bus._session.connection.publish(message.reply, NAK)
        for _ in range(20):
            await renew(owner)
        owner.loop.done()
        delivery = parse((await owner.next()).reply)
        assert delivery is not None
        assert delivery.num_delivered == 2


async def test_a_link_that_was_cut_keeps_the_pin(account: Account) -> None:
    async with made(account, **LONG) as (bus, _), Reader(bus) as owner:
        await put(bus, 1)
        await owner.ack(await owner.next())
        await owner.valid()
        pinned = owner.pin.id
        json.dumps(owner.loop.describe())
        owner.loop.on_disconnect()
        owner.loop.on_reconnect()
        await put(bus, 1)
        await owner.ack(await owner.next())
        await owner.valid()
        assert (owner.pin.id, owner.reports) == (pinned, [("epoch", 1)])
