"""Bulks whose callers give up, or share one, and streams that take a batch no longer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from buses import Account, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, Envelope, subjects
from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.events import Operation, Outgoing, Published, Tracer
from smith_sdk._core.jetstream import fast_ingest
from smith_sdk._core.jetstream.bulk_window import WindowBulk
from smith_sdk._core.jetstream.fast_flow import FastFlow
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.aio import Bulk
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BulkError, OptionsError, PayloadTooLarge, PublishError
from smith_sdk.protocol import FsReadV1Intent
from smith_sdk.topology import CONTRACT

raw = subjects.intents.raw
RAW: Final = "SDLC_RAW"
BATCHED: Final = replace(
    CONTRACT,
    streams=tuple(replace(one, allow_batched=True, allow_atomic=True) if one.name == RAW else one for one in CONTRACT.streams),
)


def intents(count: int, size: int = 1) -> list[FsReadV1Intent]:
    return [read_intent("/" + "x" * size) for _ in range(count)]


def enveloped(many: list[FsReadV1Intent]) -> list[Envelope]:
    return [raw.of(one).envelope(one) for one in many]


@asynccontextmanager
async def a_bus(account: Account, **options: Any) -> AsyncIterator[AsyncSmithBus]:
    async with AsyncSmithBus(account.url, contract=BATCHED, manage="apply", profile="dev", **options) as bus:
        yield bus


async def stored_ids(bus: AsyncSmithBus) -> list[str]:
    return [str(message.payload.id) async for message in bus.read(raw.filter())]


def ids(many: list[FsReadV1Intent]) -> list[str]:
    return [str(one.id) for one in many]


# ---- fast ingest


async def test_tasks_that_share_a_bulk_send_nothing_into_a_batch_that_ends(account: Account) -> None:
    async with a_bus(account, max_pending_bytes=20_000) as bus:
        groups = [intents(60, 3000), intents(60), intents(60)]
        async with bus.bulk(RAW, mode="fast", ids=False) as bulk:

            async def add(place: int) -> None:
                for number, one in enumerate(groups[place]):
                    await bulk.add(raw.of(one), one)
                    if number % 7 == place:
                        await asyncio.sleep(0)

            await asyncio.gather(*(add(place) for place in range(3)))
        assert (bulk.mode, bulk.result.sent, bulk.result.stored) == ("fast", 180, 180)
        assert sorted(await stored_ids(bus)) == sorted(ids([one for group in groups for one in group]))


async def given_up(adding: asyncio.Task[None], when: Callable[[], bool]) -> None:
    """Cancel `adding` once `when()` is true."""
    await eventually_async(lambda: when() or adding.done())
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding


@pytest.mark.parametrize("mode", ["fast", "auto"])
async def test_an_add_that_is_given_up_before_its_batch_begins_is_not_a_part_of_the_bulk(account: Account, mode: Any) -> None:
    async with a_bus(account) as bus:
        many = intents(4)
        async with bus.bulk(RAW, mode=mode) as bulk:
            fast = bulk._fast
            assert fast is not None
            fast.on_disconnect()
            adding = asyncio.create_task(bulk.add(raw.of(many[0]), many[0]))
            await given_up(adding, lambda: fast._next is not None)
            fast.on_reconnect()
            await bulk.add_many(enveloped(many[1:]))
        assert (bulk.mode, bulk.result.sent, bulk.result.stored) == ("fast", 3, 3)
        assert await stored_ids(bus) == ids(many[1:])


async def test_a_batch_whose_first_add_is_given_up_outlives_a_caller_that_pauses(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_ingest, "_IDLE", 0.05)
    async with a_bus(account) as bus:
        first, second = intents(2)
        async with bus.bulk(RAW, mode="fast") as bulk:
            heard: list[bytes] = []
            reply = FastFlow.reply

            def hear(flow: FastFlow, number: int, data: bytes) -> bool:
                heard.append(data)
                return len(heard) > 1 and reply(flow, number, data)  # the first one, of the beginning, is lost

            monkeypatch.setattr(FastFlow, "reply", hear)
            await given_up(asyncio.create_task(bulk.add(raw.of(first), first)), lambda: bool(heard))
            await eventually_async(lambda: len(heard) > 2)  # pings are answered
            await bulk.add(raw.of(second), second)
        assert (bulk.result.sent, bulk.result.stored) == (2, 2)
        assert await stored_ids(bus) == ids([first, second])


async def test_a_stream_without_a_leader_ends_a_bulk_that_has_no_time_for_another_attempt(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_ingest, "_NO_LEADER", Backoff(initial=0.05, max=600, multiplier=10_000, jitter=0))
    async with a_bus(account) as bus:
        await bus._session.bulk_support.of(RAW)

        async def may_be_elected(_: str) -> None:
            """The stream exists, and its servers may elect a leader, as far as is known."""

        async def fill() -> None:
            async with bus.bulk(RAW, mode="fast", timeout=30) as bulk:
                assert bulk._fast is not None
                bulk._fast._diagnose = may_be_elected
                await bus._session.api.stream_delete(RAW)  # as without a leader, no server responds
                await bulk.add_many(enveloped(intents(1)))

        async with asyncio.timeout(30):
            with pytest.raises(BulkError, match=r"has had no leader for 30 s") as caught:
                await fill()
        assert (caught.value.resume_from, caught.value.may_be_stored) == (0, False)


# ---- observers


class Spans(Tracer):
    """The operations of one bus; no observer may hear of one twice, or not at all."""

    def __init__(self) -> None:
        self.ends: list[int] = []
        """For each operation, how often it has ended."""
        self.errors: list[type[BaseException] | type[None]] = []

    def on_send(self, message: Outgoing) -> Operation:
        ends, place = self.ends, len(self.ends)
        ends.append(0)

        class Ending(Operation):
            def end(self, error: BaseException | None = None) -> None:
                ends[place] += 1

        return Ending()

    def on_published(self, event: Published) -> None:
        self.errors.append(type(event.error))

    def take(self) -> list[type[BaseException] | type[None]]:
        """How the publishes since the last call have ended, each with one operation."""
        assert self.ends == [1] * len(self.errors)
        errors, self.errors, self.ends[:] = self.errors, [], []
        return errors


@pytest.mark.parametrize("mode", ["window", "atomic", "fast"])
async def test_a_message_that_a_bulk_refuses_is_reported_once(account: Account, mode: Any) -> None:
    async with a_bus(account) as bus:
        spans = Spans()
        bus._session.events.add(spans)
        async with bus.bulk(RAW, mode=mode) as bulk:
            await bulk.add_many(enveloped(intents(1)))
            with pytest.raises(PayloadTooLarge):
                await bulk.add_many(enveloped(intents(1, 3_000_000)))
        assert sorted(map(str, spans.take())) == sorted(map(str, (type(None), PayloadTooLarge)))


async def test_the_messages_of_a_failed_atomic_batch_are_reported_once(account: Account) -> None:
    async with a_bus(account, max_pending_bytes=20_000) as bus:
        spans = Spans()
        bus._session.events.add(spans)
        many = enveloped(intents(2))
        with pytest.raises(BulkError, match="10201"):
            await bus.publish_many([*many, many[0]], mode="atomic")
        assert spans.take() == [PublishError] * 3
        async with bus.bulk(RAW, mode="atomic") as bulk:
            await bulk.add_many(many)
            with pytest.raises(OptionsError, match="at most 20,000 bytes"):
                await bulk.add_many(enveloped(intents(1, 30_000)))
        assert spans.take() == [OptionsError, type(None), type(None)]


async def test_a_message_that_fast_ingest_does_not_send_is_reported(account: Account) -> None:
    async with a_bus(account) as bus:
        spans = Spans()
        bus._session.events.add(spans)
        async with bus.bulk(RAW, mode="fast") as bulk:
            fast = bulk._fast
            assert fast is not None
            fast.on_disconnect()
            adding = asyncio.create_task(bulk.add_many(enveloped(intents(1))))
            await given_up(adding, lambda: fast._next is not None)
            assert spans.take() == [asyncio.CancelledError]
            fast.on_reconnect()
            config = (await bus._session.api.stream_info(RAW))["config"]
            await bus._session.api.stream_update({**config, "allow_batched": False})
            await bulk.add_many(enveloped(intents(1)))
        assert (bulk.mode, bulk.result.stored) == ("window", 1)
        assert spans.take() == [PublishError, type(None)]  # in a batch, and then by the window


# ---- from fast ingest to the window


async def lose(bus: AsyncSmithBus, bulk: Bulk, many: list[Envelope]) -> None:
    """Add `many`, which a link loses as it breaks."""
    assert bulk._fast is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bus._connection, "send_now", lambda *_: True)
        await bulk.add_many(many)
    bulk._fast.on_disconnect()
    bulk._fast.on_reconnect()


async def test_a_move_to_the_window_goes_on_if_the_add_that_began_it_is_given_up(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    repeat = WindowBulk.repeat

    async def later(window: WindowBulk, number: int, request: PublishRequest) -> None:
        begun.set()
        await go_on.wait()
        await repeat(window, number, request)

    monkeypatch.setattr(WindowBulk, "repeat", later)
    async with a_bus(account, max_pending_messages=50) as bus:
        many = intents(122)
        async with bus.bulk(RAW, mode="auto") as bulk:
            await bulk.add_many(enveloped(many[:1]))
            await lose(bus, bulk, enveloped(many[1:120]))
            await given_up(asyncio.create_task(bulk.add(raw.of(many[120]), many[120])), begun.is_set)
            adding = asyncio.create_task(bulk.add(raw.of(many[121]), many[121]))
            go_on.set()
            await adding
        assert (bulk.mode, bulk.result.sent, bulk.result.stored) == ("window", 121, 121)
        assert await stored_ids(bus) == ids([*many[:120], many[121]])


async def test_a_block_that_raises_ends_a_move_to_the_window(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = asyncio.Event()

    async def never(_: WindowBulk, number: int, request: PublishRequest) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(WindowBulk, "repeat", never)
    async with a_bus(account) as bus:
        bulk = bus.bulk(RAW, mode="auto")

        async def fill() -> None:
            async with bulk:
                await bulk.add_many(enveloped(intents(1)))
                await lose(bus, bulk, enveloped(intents(3)))
                await given_up(asyncio.create_task(bulk.add_many(enveloped(intents(1)))), begun.is_set)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fill()
        assert bulk._moving is not None
        assert bulk._moving.cancelled()


async def test_a_bulk_whose_messages_do_not_add_up_raises(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(_: WindowBulk, number: int, request: PublishRequest) -> None:
        """As a mistake of ours would."""

    monkeypatch.setattr(WindowBulk, "repeat", forget)
    async with a_bus(account) as bus:
        many = enveloped(intents(5))

        async def fill() -> None:
            async with bus.bulk(RAW, mode="auto") as bulk:
                await bulk.add_many(many[:1])
                await lose(bus, bulk, many[1:4])
                await bulk.add_many(many[4:])

        with pytest.raises(BulkError, match="3 of 5 messages for stream SDLC_RAW are unaccounted for") as caught:
            await fill()
        assert caught.value.may_be_stored
        assert caught.value.remaining(many) == many


# ---- what the errors say


async def test_fast_ingest_without_a_link_names_the_stream_and_the_message(account: Account) -> None:
    async with a_bus(account) as bus:

        async def fill() -> None:
            async with bus.bulk(RAW, mode="fast", timeout=0.2) as bulk:
                assert bulk._fast is not None
                bulk._fast.on_disconnect()
                await bulk.add_many(enveloped(intents(1)))

        with pytest.raises(BulkError) as caught:
            await fill()
        assert re.fullmatch(
            r"message number 0, smith\.intents\.raw\.fs\.read\.v1, for stream SDLC_RAW: no progress for 0\.2 s.*; it was not stored",
            str(caught.value.__cause__),
        )


async def test_the_error_of_an_atomic_batch_that_a_server_does_not_know_says_what_is_stored(account: Account) -> None:
    async with a_bus(account) as bus:
        await bus._session.bulk_support.of(RAW)
        many = intents(3)
        await bus._session.api.stream_delete(RAW)
        answers: list[asyncio.Future[None]] = []

        def answer(message: RawMessage) -> None:
            """As a server before 2.12, which stores each message by itself."""
            acked = bus._connection.answer(message.reply, b'{"stream": "SDLC_RAW", "seq": 1}')
            answers.append(asyncio.ensure_future(acked))

        await bus._connection.subscribe(str(raw.of(many[0])), answer)
        with pytest.raises(BulkError, match=r"are not stored, except the first: .* was stored as a single message") as caught:
            await bus.publish_many(enveloped(many), mode="atomic")
        assert (caught.value.resume_from, caught.value.may_be_stored, len(answers)) == (0, True, 1)


async def test_the_error_of_an_atomic_batch_in_another_stream_says_so(account: Account) -> None:
    async with a_bus(account) as bus:
        api = bus._session.api
        await bus._session.bulk_support.of(RAW)
        config = (await api.stream_info(RAW))["config"]
        await api.stream_delete(RAW)
        await api.stream_create({**config, "name": "OTHER"})
        with pytest.raises(BulkError, match=r"are stored elsewhere, all of them: .*stored by stream OTHER") as caught:
            await bus.publish_many(enveloped(intents(3)), mode="atomic")
        assert (caught.value.may_be_stored, (await api.stream_info("OTHER"))["state"]["messages"]) == (True, 3)


async def test_a_reply_with_a_number_of_thousands_of_digits_is_harmless(
    make_server: Callable[..., EmbeddedServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(config="max_control_line: 16384")
    async with AsyncSmithBus(server.url, contract=BATCHED, manage="apply", profile="dev") as bus:
        async with bus.bulk(RAW, mode="fast") as bulk:
            await bulk.add_many(enveloped(intents(1)))
            assert bulk._fast is not None
            await bus._connection.publish(f"{bulk._fast._prefix}{'9' * 5000}.1.$FI", b"x")
            await bus._connection.barrier(timeout=30)
        assert bulk.result.stored == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
