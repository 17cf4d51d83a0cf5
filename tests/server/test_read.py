"""`bus.read`: every reader gets all, in order, once, and takes nothing from any consumer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from buses import Account, Face, health, log_entry, read_intent
from chaos.proxy import Proxy
from support import eventually_async, eventually_has

from smith_sdk import AsyncSmithBus, Auth, aio, consumers, result_of, subjects, sync
from smith_sdk._core.jetstream import ordered_reader
from smith_sdk._core.jetstream.api import from_nanos
from smith_sdk._core.jetstream.reading import CAPACITY, CAPACITY_BYTES
from smith_sdk.contract import Filter
from smith_sdk.errors import (
    BusClosed,
    ConsumerNotFound,
    OptionsError,
    PayloadDecodeError,
    PermissionDenied,
    StreamNotFound,
    SubjectMismatch,
)
from smith_sdk.protocol import Service
from smith_sdk.topology import CONTRACT

HEALTH = subjects.events.health
RAW = subjects.intents.raw
VETTED = subjects.intents.vetted
ALL = HEALTH.filter()
STREAM = "SYSTEM_EVENTS"


async def publish(bus: Any, *services: str) -> None:
    for service in services:
        await bus.publish(HEALTH(service=Service(service)), health(service))


async def fill(bus: AsyncSmithBus, count: int) -> None:
    """`count` events of ten services in turn; the number of each is its sequence."""
    events = [health(f"s{number % 10}") for number in range(count)]
    for first in range(0, count, 5000):
        await bus.publish_many([HEALTH.of(event).envelope(event) for event in events[first : first + 5000]])


async def everything(reader: Any) -> list[Any]:
    return [message async for message in reader]


async def seqs(reader: Any) -> list[int]:
    return [message.metadata.stream_seq async for message in reader]


async def readers_of(bus: AsyncSmithBus, stream: str = STREAM) -> list[str]:
    """Names of the consumers that reads have made."""
    return [one["name"] for one in await bus._session.api.consumers(stream) if one["name"].startswith("read-")]


async def only_reader(bus: AsyncSmithBus) -> str:
    """The name of the one consumer of a read, once those that have only counted are deleted."""

    async def only() -> str:
        (name, *others) = await readers_of(bus) or [""]
        return "" if others else name

    return await eventually_async(only)


async def delete_reader(bus: AsyncSmithBus) -> None:
    """Delete the consumer of a read, which may itself replace it meanwhile."""

    async def deleted() -> bool:
        name = await only_reader(bus)
        with contextlib.suppress(ConsumerNotFound):
            await bus._session.api.consumer_delete(STREAM, name)
            return True
        return False

    await eventually_async(deleted)


async def steal(bus: AsyncSmithBus) -> bool:
    """Take a message from the consumer of a read, unless that has been replaced meanwhile."""
    stolen = asyncio.Queue[Any]()
    inbox = bus._session.connection.new_inbox()
    await bus._session.connection.subscribe(inbox, stolen.put_nowait)
    await bus._session.connection.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{await only_reader(bus)}", b"", inbox)
    return bool((await asyncio.wait_for(stolen.get(), 20)).data)


# ---- what is read


async def test_two_readers_both_get_every_result_and_consumers_lose_none(face: Face) -> None:
    async with face.applied() as bus, face.bus(face.url) as other:
        results = [result_of(read_intent(str(number)), output=number) for number in range(10)]
        for result in results:
            await bus.publish(subjects.results.of(result), result)
        for one in (bus, other):
            found = await everything(one.read(subjects.results.filter()))
            assert [message.payload for message in found] == results
            assert [message.subject for message in found] == [subjects.results.of(result) for result in results]
        await eventually_has(bus.consumer(consumers.http_results).info, num_pending=10)


async def test_a_message_says_what_it_is_and_has_nothing_to_acknowledge(face: Face) -> None:
    async with face.applied() as bus:
        before = datetime.now(UTC)
        event = health()
        ack = await bus.publish(HEALTH.of(event), event, headers={"Trace": "1"})
        (message,) = await everything(bus.read(HEALTH.of(event)))
        assert isinstance(message, aio.ReadMessage)
        assert sync.ReadMessage is aio.ReadMessage
        assert (message.metadata.stream, message.metadata.stream_seq, message.metadata.consumer) == (STREAM, ack.seq, "")
        assert before - timedelta(minutes=1) < from_nanos(message.metadata.timestamp) < before + timedelta(minutes=1)
        assert message.headers["Trace"] == "1"
        assert message.to_dict()["payload"]["service"] == "web"
        assert "ReadMessage" in message._repr_html_()
        assert not [name for name in ("ack", "ack_sync", "nack", "term", "in_progress", "publish") if hasattr(message, name)]


async def test_where_a_read_starts(face: Face) -> None:
    async with face.applied() as bus:
        await publish(bus, "a", "b", "a", "c", "b", "a")
        messages = await everything(bus.read(ALL))
        moment = from_nanos(messages[3].metadata.timestamp)
        cases: list[tuple[Filter[Any, Any] | HEALTH, dict[str, Any], list[int]]] = [
            (ALL, {}, [1, 2, 3, 4, 5, 6]),
            (ALL, {"last": 2}, [5, 6]),
            (ALL, {"last": 100}, [1, 2, 3, 4, 5, 6]),
            (ALL, {"from_seq": 3}, [3, 4, 5, 6]),
            (ALL, {"from_seq": 7}, []),
            (ALL, {"since": moment}, [4, 5, 6]),
            (ALL, {"since": 3600}, [1, 2, 3, 4, 5, 6]),
            (ALL, {"since": timedelta(hours=1)}, [1, 2, 3, 4, 5, 6]),
            (ALL, {"since": datetime.now(UTC)}, []),
            (ALL, {"last_per_subject": True}, [4, 5, 6]),
            (HEALTH(service=Service("a")), {}, [1, 3, 6]),
            (HEALTH(service=Service("b")), {"last": 1}, [5]),
            (HEALTH(service=Service("c")), {"last": 5}, [4]),
            (HEALTH(service=Service("a")), {"last": 2}, [3, 6]),
            (HEALTH(service=Service("none")), {"last": 2}, []),
            (HEALTH(service=Service("a")), {"from_seq": 2}, [3, 6]),
            (HEALTH(service=Service("a")), {"last_per_subject": True}, [6]),
            (HEALTH.filter(service=Service("a")) | HEALTH.filter(service=Service("c")), {"last": 2}, [4, 6]),
            (HEALTH.filter(service=Service("a")) | HEALTH.filter(service=Service("c")), {"last_per_subject": True}, [4, 6]),
        ]
        for what, options, expected in cases:
            assert await seqs(bus.read(what, **options)) == expected, (what, options)
        await eventually_async(lambda: no_readers(face))


async def no_readers(face: Face) -> bool:
    async with AsyncSmithBus(face.url) as bus:
        return not await readers_of(bus)


@pytest.mark.parametrize("kind", ["work queue", "interest"])
async def test_streams_that_delete_what_is_acknowledged_are_read_without_taking_part(face: Face, kind: str) -> None:
    async with face.applied() as bus:
        of: Any = RAW.of if kind == "work queue" else VETTED.of
        every: Any = (RAW if kind == "work queue" else VETTED).filter()
        spec: Any = consumers.admission if kind == "work queue" else consumers.executor_fs_read
        intents = [read_intent(str(number), domain="ab"[number % 2]) for number in range(6)]
        for intent in intents:
            await bus.publish(of(intent), intent)
        (first, *_) = found = await everything(bus.read(every))
        assert [message.payload for message in found] == intents
        moment = from_nanos(found[3].metadata.timestamp)
        one = of(intents[0])
        is_split = kind == "interest"
        cases: list[tuple[Any, dict[str, Any], list[int]]] = [
            (every, {"last": 2}, [5, 6]),
            (every, {"last": 100}, [1, 2, 3, 4, 5, 6]),
            (every, {"from_seq": 3}, [3, 4, 5, 6]),
            (every, {"from_seq": 7}, []),
            (every, {"since": moment}, [4, 5, 6]),
            (every, {"since": datetime.now(UTC)}, []),
            (every, {"last_per_subject": True}, [5, 6] if is_split else [6]),
            (one, {"last": 2}, [3, 5] if is_split else [5, 6]),
        ]
        for what, options, expected in cases:
            assert await seqs(bus.read(what, **options)) == expected, (what, options)
        await eventually_has(bus.consumer(spec).info, num_pending=6, num_ack_pending=0)
        assert first.metadata.stream == spec.stream
        async with AsyncSmithBus(face.url) as plain:
            assert await readers_of(plain, spec.stream) == []


async def test_several_patterns_of_an_interest_stream_are_read_in_its_order(face: Face) -> None:
    async with face.applied() as bus:
        for number in range(6):
            intent = read_intent(str(number), domain="abc"[number % 3])
            await bus.publish(VETTED.of(intent), intent)
        (a, b, _, *_) = [message.subject.domain async for message in bus.read(VETTED.filter(), last=6)]
        assert await seqs(bus.read(VETTED.filter(domain=b) | VETTED.filter(domain=a))) == [1, 2, 4, 5]


async def test_the_last_messages_of_a_rare_subject_are_found(account: Account) -> None:
    async with account.applied() as bus:
        await fill(bus, 4000)
        await publish(bus, "rare")
        await fill(bus, 3000)
        await publish(bus, "rare")
        await fill(bus, 2500)
        assert await seqs(bus.read(HEALTH(service=Service("rare")), last=2)) == [4001, 7002]
        assert await seqs(bus.read(HEALTH(service=Service("rare")), last=1)) == [7002]
        assert await seqs(bus.read(ALL, last=1500)) == list(range(8003, 9503))
        assert (await seqs(bus.read(HEALTH(service=Service("s3")), last=250)))[0] == 7003 + 3


async def test_the_last_messages_are_found_within_a_bounded_number_of_requests(account: Account, monkeypatch: Any) -> None:
    async with account.applied() as bus:
        await fill(bus, 9000)
        asked: list[str] = []
        call = bus._session.api.call

        async def counted(verb: str, *args: Any, **options: Any) -> Any:
            asked.append(verb)
            return await call(verb, *args, **options)

        monkeypatch.setattr(bus._session.api, "call", counted)
        for last in (1, 100, 4000):
            asked.clear()
            assert len(await seqs(bus.read(HEALTH(service=Service("s0")), last=last))) == min(last, 900)
            assert len(asked) < 25, asked


async def test_without_follow_it_ends_at_what_the_stream_held_at_the_start(face: Face) -> None:
    async with face.applied() as bus:
        assert await everything(bus.read(ALL)) == []  # an empty stream ends at once
        await publish(bus, "a", "a", "b")
        async with bus.read(ALL) as messages, bus.read(ALL, last=2) as two:
            await publish(bus, "a", "c")
            assert await seqs(messages) == [1, 2, 3]
            assert await seqs(two) == [2, 3]
            assert await seqs(messages) == []  # it stays ended


@pytest.mark.parametrize("options", [{}, {"last": 2}, {"from_seq": 1}, {"since": 60}, {"last_per_subject": True}])
async def test_follow_waits_for_more_until_it_is_stopped(face: Face, options: dict[str, Any]) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        async with bus.read(ALL, follow=True, **options) as messages:
            await publish(other, "a", "a")
            assert [(await anext(messages)).metadata.stream_seq for _ in range(2)] == [1, 2]
            waiting = asyncio.ensure_future(anext(messages))
            await publish(other, "b")
            assert (await waiting).metadata.stream_seq == 3
            waiting = asyncio.ensure_future(anext(messages))
            await messages.stop()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(waiting, 20)
        await eventually_async(lambda: no_readers(face))


@pytest.mark.parametrize("kind", ["limits", "work queue"])
async def test_the_last_none_are_new_messages_only(face: Face, kind: str) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        old, new = read_intent("/old"), read_intent("/new")
        is_queue = kind == "work queue"
        what: Any = RAW.filter() if is_queue else ALL
        await publish(other, "old")
        await other.publish(RAW.of(old), old)
        async with bus.read(what, last=0, follow=True) as messages:
            await publish(other, "new")
            await other.publish(RAW.of(new), new)
            payload = (await anext(messages)).payload
            assert (payload.params.path if is_queue else payload.service) == ("/new" if is_queue else "new")


async def test_a_work_queue_can_be_followed_with_a_warning(face: Face, caplog: pytest.LogCaptureFixture) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intents = [read_intent(str(number)) for number in range(3)]
        await other.publish(RAW.of(intents[0]), intents[0])
        with caplog.at_level(logging.WARNING, "smith_sdk.read"):
            async with bus.read(RAW.filter(), follow=True) as messages:
                assert (await anext(messages)).payload == intents[0]
                await other.publish(RAW.of(intents[1]), intents[1])
                assert (await anext(messages)).payload == intents[1]
        assert "subscribe()" in caplog.text


async def test_closing_the_bus_ends_a_read_and_never_cuts_it_short_in_silence(face: Face) -> None:
    async with AsyncSmithBus(face.url, manage="apply", profile="dev") as filled:
        await fill(filled, 3 * CAPACITY)
        bus = face.bus(face.url)
        await bus.connect()
        followed, whole = bus.read(HEALTH(service=Service("s0")), last=1, follow=True), bus.read(ALL)
        assert (await anext(followed)).metadata.stream_seq == 3 * CAPACITY - 9
        assert (await anext(whole)).metadata.stream_seq == 1
        await bus.close()
        assert await seqs(followed) == []
        with pytest.raises(BusClosed):
            await seqs(whole)
        with pytest.raises(BusClosed):
            await anext(bus.read(ALL))


async def test_messages_that_do_not_decode_end_no_read(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await publish(bus, "a")
        await other._session.publish("smith.events.health.b", b"{broken", stream=STREAM, msg_id="x")
        await publish(bus, "c")
        first, broken, third = await everything(bus.read(ALL))
        assert (first.payload.service, third.payload.service) == ("a", "c")
        assert (broken.raw, broken.subject) == (b"{broken", HEALTH(service=Service("b")))
        with pytest.raises(PayloadDecodeError, match=r"smith\.events\.health\.b"):
            _ = broken.payload
        assert "error" in broken._repr_html_()


# ---- what is refused


async def test_what_cannot_be_read_is_refused_before_anything_is_asked(face: Face) -> None:
    bus = face.bus(face.url)  # not connected
    for what, problem in (
        (subjects.logs.errors.filter(), r"smith\.logs\.errors\.\* is stored by no stream.*subscribe\(\)"),
        (subjects.logs.errors.of(log_entry()), r"subscribe\(\)"),
        ("smith.results.*", "not a subject"),
        (subjects.results, "not a subject"),
    ):
        with pytest.raises(SubjectMismatch, match=problem):
            bus.read(what)
    with pytest.raises(OptionsError, match=r"ATOMS_RESULTS .* and SDLC_RAW"):
        bus.read(subjects.results.filter() | RAW.filter())
    with pytest.raises(OptionsError, match=r"ATOMS_VETTED .* SDLC_RAW"):
        bus.read(CONTRACT.filter("smith.intents.>"))
    values: dict[str, Any] = {"since": 5, "last": 3, "from_seq": 2, "last_per_subject": True}
    for one in values:
        for other in values:
            if one < other:
                with pytest.raises(OptionsError, match=f"(?=.*{one})(?=.*{other})"):
                    bus.read(ALL, **{one: values[one], other: values[other]})
    for options, problem in (
        ({"since": datetime(2026, 1, 1)}, "time zone"),
        ({"since": datetime.now(UTC) + timedelta(hours=1)}, "future"),
        ({"since": -1}, "since"),
        ({"since": 1e300}, "since"),
        ({"last": 0}, "last"),
        ({"last": True}, "last"),
        ({"last": -1, "follow": True}, "last"),
        ({"from_seq": 0}, "from_seq"),
    ):
        with pytest.raises(OptionsError, match=problem):
            bus.read(ALL, **options)
    with pytest.raises(BusClosed):
        await anext(bus.read(ALL))


@pytest.mark.parametrize("what", [ALL, RAW.filter()], ids=["limits", "work queue"])
async def test_a_start_behind_the_next_message_is_refused(face: Face, what: Any) -> None:
    async with face.applied() as bus:
        with pytest.raises(OptionsError, match="from_seq=2"):
            await anext(bus.read(what, from_seq=2))


async def test_a_stream_that_does_not_exist_is_named(face: Face) -> None:
    async with face.bus(face.url) as bus:
        for what in (ALL, RAW.filter()):
            with pytest.raises(StreamNotFound, match="smith streams apply"):
                await anext(bus.read(what, follow=True))


READ = ("STREAM.INFO.{0}", "CONSUMER.CREATE.{0}.>", "CONSUMER.MSG.NEXT.{0}.>", "CONSUMER.DELETE.{0}.>")
LOOK_UP = ("STREAM.INFO.{0}", "STREAM.MSG.GET.{0}")


async def test_what_a_reader_must_be_allowed(face: Face, make_server: Any) -> None:
    """With what the documentation lists it works; without any one of it, it raises at once."""

    def user(name: str, stream: str, verbs: tuple[str, ...]) -> str:
        allowed = "".join(f'"$JS.API.{verb.format(stream)}", ' for verb in verbs)
        return (
            f'{{ user: "{name}", password: x, permissions: {{ publish: {{ allow: [ {allowed}"_INBOX.>" ] }},'
            f' subscribe: {{ allow: "_INBOX.>" }} }} }}'
        )

    users = ['{ user: "owner", password: x }']
    denied: list[tuple[str, Any, str]] = []
    for stream, what, verbs in ((STREAM, ALL, READ), ("SDLC_RAW", RAW.filter(), LOOK_UP)):
        users.append(user(stream, stream, verbs))
        for index, verb in enumerate(verbs):
            if "DELETE" not in verb:
                denied.append((f"{stream}-{index}", what, f"$JS.API.{verb.format(stream)}".removesuffix(">")))
                users.append(user(f"{stream}-{index}", stream, tuple(one for one in verbs if one != verb)))
    server = make_server(config=f"authorization {{ users: [ {', '.join(users)} ] }}")
    async with AsyncSmithBus(server.url, auth=Auth(user="owner", password="x")) as owner:
        await owner.streams.apply(profile="dev")
        await publish(owner, "a")
        intent = read_intent()
        await owner.publish(RAW.of(intent), intent)
    for stream, what in ((STREAM, ALL), ("SDLC_RAW", RAW.filter())):
        async with face.bus(server.url, auth=Auth(user=stream, password="x")) as bus:
            assert await seqs(bus.read(what)) == [1]
            assert await seqs(bus.read(what, last=1)) == [1]
    for name, what, subject in denied:
        async with face.bus(server.url, auth=Auth(user=name, password="x")) as bus:
            began = time.monotonic()
            with pytest.raises(PermissionDenied) as caught:
                await anext(bus.read(what))
            assert caught.value.subject.startswith(subject)
            assert time.monotonic() - began < 4.5


# ---- faults

COUNT = 10_000


@asynccontextmanager
async def proxied(face: Face, make_server: Any, **options: Any) -> AsyncIterator[Any]:
    """A server with `COUNT` messages, a proxy before it, and a bus through the proxy."""
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, face.bus(proxy.url, **options) as bus:
            await other.streams.apply(profile="dev")
            await fill(other, COUNT)
            yield server, proxy, other, bus


async def test_ten_thousand_messages_in_order_across_a_killed_server_and_cut_links(face: Face, make_server: Any) -> None:
    async with proxied(face, make_server) as (server, proxy, _, bus):
        found: list[int] = []
        async with bus.read(ALL) as messages:
            async for message in messages:
                found.append(message.metadata.stream_seq)
                if len(found) in (1500, 4000):
                    proxy.cut()
                    proxy.restore()
                if len(found) == 6000:
                    await asyncio.to_thread(server.kill)
                    await asyncio.to_thread(server.start)
        assert found == list(range(1, COUNT + 1))


async def test_a_link_that_dies_in_silence_loses_nothing(face: Face, make_server: Any) -> None:
    async with proxied(face, make_server, ping_interval=0.3) as (_, proxy, _, bus):
        found: list[int] = []
        async with bus.read(ALL) as messages:
            async for message in messages:
                found.append(message.metadata.stream_seq)
                if len(found) == 300:
                    proxy.deafen(direction="to_client")
                    asyncio.get_running_loop().call_later(0.5, proxy.hear)
        assert found == list(range(1, COUNT + 1))


async def test_a_deleted_consumer_and_a_stolen_message_are_made_good(face: Face) -> None:
    """The server deletes a consumer that a slow reader does not pull from, and whatever else takes
    a message of it leaves a gap."""
    count = 1800 + 3 * CAPACITY  # more than is read ahead: it does not end by itself meanwhile
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await fill(other, count)
        found: list[int] = []
        async with bus.read(ALL) as messages:
            async for message in messages:
                found.append(message.metadata.stream_seq)
                if len(found) == 100:
                    await eventually_async(lambda: steal(other))
                if len(found) == 1800:
                    await delete_reader(other)
        assert found == list(range(1, count + 1))


async def test_a_follower_goes_on_after_its_consumer_and_its_server_are_lost(face: Face, make_server: Any) -> None:
    server = make_server()
    async with face.bus(server.url) as bus, AsyncSmithBus(server.url) as other:
        await other.streams.apply(profile="dev")
        async with bus.read(ALL, last=1, follow=True) as messages:
            await publish(other, "a")
            assert (await anext(messages)).metadata.stream_seq == 1
            waiting = asyncio.ensure_future(anext(messages))
            await delete_reader(other)
            await publish(other, "b")
            assert (await asyncio.wait_for(waiting, 20)).metadata.stream_seq == 2
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await publish(other, "c")
            assert (await asyncio.wait_for(waiting, 20)).metadata.stream_seq == 3


async def test_what_comes_while_a_follower_has_no_link_is_not_skipped(face: Face, make_server: Any) -> None:
    """Also if nothing had come before: `last` is counted once, at the start."""
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, face.bus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            options: tuple[dict[str, Any], ...] = ({"last": 1}, {"last_per_subject": True}, {"since": 60}, {})
            for number, option in enumerate(options):
                service = f"s{number}"
                async with bus.read(HEALTH(service=Service(service)), follow=True, **option) as messages:
                    waiting = asyncio.ensure_future(anext(messages))
                    proxy.cut()
                    await publish(other, service, service, service)
                    proxy.restore()
                    await asyncio.wait_for(waiting, 20)
                    got = [waiting.result(), await anext(messages), await anext(messages)]
                    assert [one.metadata.stream_seq for one in got] == [3 * number + 1, 3 * number + 2, 3 * number + 3], option


@pytest.mark.parametrize("what", [ALL, RAW.filter()], ids=["limits", "work queue"])
@pytest.mark.parametrize("again", [False, True], ids=["deleted", "created again"])
async def test_a_stream_that_is_deleted_meanwhile_is_an_error(face: Face, what: Any, again: bool) -> None:
    stream = STREAM if what is ALL else "SDLC_RAW"
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        intent = read_intent()
        await publish(other, "a")
        await other.publish(RAW.of(intent), intent)
        async with bus.read(what, follow=True) as messages:
            await anext(messages)
            waiting = asyncio.ensure_future(anext(messages))
            await other._session.api.stream_delete(stream)
            if again:
                await other.streams.apply(profile="dev")
            problem = "created again|" if again else ""
            with pytest.raises(StreamNotFound, match=f"{problem}not on|does not exist|no stream"):
                await asyncio.wait_for(waiting, 30)


@pytest.mark.parametrize("what", [ALL, RAW.filter()], ids=["limits", "work queue"])
@pytest.mark.parametrize("fate", ["created again", "ends at sequence 1 now"])
async def test_a_stream_that_has_become_another_unseen_is_an_error(face: Face, make_server: Any, what: Any, fate: str) -> None:
    """Its sequences begin anew: to go on would skip its messages, and wait for others."""
    stream = STREAM if what is ALL else "SDLC_RAW"
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, face.bus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            for number in range(3):
                intent = read_intent(str(number))
                await publish(other, "a")
                await other.publish(RAW.of(intent), intent)
            async with bus.read(what, follow=True) as messages:
                for _ in range(3):
                    await anext(messages)
                waiting = asyncio.ensure_future(anext(messages))
                proxy.cut()
                await other._session.api.stream_delete(stream)
                await other.streams.apply(profile="dev")
                intent = read_intent()
                await publish(other, "a")
                await other.publish(RAW.of(intent), intent)
                if fate != "created again":  # as after a server has lost the end of its file
                    (reading,) = [part for part in inner(face, bus).parts if part.name.startswith("reader of")]
                    reading._created = None
                proxy.restore()
                with pytest.raises(StreamNotFound, match=fate) as caught:
                    await asyncio.wait_for(waiting, 20)
                assert caught.value.stream == stream


async def test_a_purge_is_no_fault(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await publish(other, "a", "b")
        async with bus.read(ALL, follow=True) as messages:
            assert (await anext(messages)).metadata.stream_seq == 1
            (reading,) = [part for part in inner(face, bus).parts if part.name.startswith("reader of SYSTEM_EVENTS")]
            await eventually_async(lambda: reading.describe()["seq"] == 2)
            await other.streams.purge(STREAM)
            await publish(other, "c")
            rest = [(await anext(messages)).metadata.stream_seq for _ in range(2)]
            assert rest == [2, 3]  # 2 was read ahead


async def test_a_slow_reader_is_read_ahead_for_within_bounds(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await fill(other, 5000)
        async with bus.read(ALL) as messages:
            assert (await anext(messages)).metadata.stream_seq == 1
            (reading,) = [part for part in inner(face, bus).parts if part.name.startswith("reader of SYSTEM_EVENTS")]
            await eventually_async(lambda: int(reading.describe()["buffered"]) > CAPACITY // 2)
            buffered: list[int] = []
            found: list[int] = []
            async for message in messages:
                await asyncio.sleep(0)
                found.append(message.metadata.stream_seq)
                buffered.append(int(reading.describe()["buffered"]))
            assert found == list(range(2, 5001))
            assert max(buffered) <= CAPACITY


def inner(face: Face, bus: Any) -> Any:
    return bus._session if face.is_async else bus.inner._aio._session


async def test_a_slow_reader_of_large_messages_holds_few(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        megabyte = "x" * 1024 * 1024
        for number in range(40):
            result = result_of(read_intent(str(number)), output=megabyte)
            await other.publish(subjects.results.of(result), result)
        async with bus.read(subjects.results.filter()) as messages:
            (reading,) = [part for part in inner(face, bus).parts if part.name.startswith("reader of ATOMS_RESULTS")]
            await eventually_async(lambda: int(reading.describe()["bytes"]) > CAPACITY_BYTES // 2)
            held = [int(reading.describe()["bytes"])]
            async for _ in messages:
                await asyncio.sleep(0.001)
                held.append(int(reading.describe()["bytes"]))
            assert len(held) == 41
            assert max(held) <= CAPACITY_BYTES
            assert held[-1] == 0


async def test_messages_larger_than_a_pull_are_read(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered_reader, "_PULL_BYTES", 2000)
    async with face.applied() as bus:
        for number in range(6):
            result = result_of(read_intent(), output="x" * (5000 if number % 2 else 10))
            await bus.publish(subjects.results.of(result), result)
        assert await seqs(bus.read(subjects.results.filter())) == [1, 2, 3, 4, 5, 6]


async def test_a_server_that_never_answers_ends_a_read_with_an_error(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader does not hang, and one message that is lost on the way is asked for again."""
    monkeypatch.setattr(ordered_reader, "_HEARTBEAT", 0.1)
    async with account.applied() as bus, AsyncSmithBus(account.url) as other:
        await publish(other, "a")
        async with bus.read(ALL, follow=True) as messages:
            assert (await anext(messages)).metadata.stream_seq == 1
            waiting = asyncio.ensure_future(anext(messages))

            async def is_kept() -> bool:
                name = await only_reader(other)
                await asyncio.sleep(1.5)  # heartbeats keep it: longer than a silence that counts
                return await readers_of(other) == [name]

            await eventually_async(is_kept)  # one of a server that was late is replaced
            await publish(other, "b")
            assert (await waiting).metadata.stream_seq == 2


async def test_a_reader_that_is_dropped_leaves_no_consumer(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await publish(other, "a", "b")
        messages = bus.read(ALL, follow=True)
        await anext(messages)
        await only_reader(other)
        del messages
        gc.collect()
        await eventually_async(lambda: no_readers(face))


async def test_looked_up_messages_survive_lost_links(face: Face, make_server: Any) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, face.bus(proxy.url) as bus:
            await other.streams.apply(profile="dev")
            intents = [read_intent(str(number)) for number in range(1500)]
            await other.publish_many([RAW.of(intent).envelope(intent) for intent in intents])
            found: list[Any] = []
            async for message in bus.read(RAW.filter()):
                found.append(message.payload)
                if len(found) in (10, 700):
                    proxy.cut()
                    proxy.restore()
            assert found == intents
