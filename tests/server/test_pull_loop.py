"""The pull loop: bytes are bounded too, and its reader learns what ended a pull.

On both faces and a real server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Face, declaring, read_intent
from chaos.cluster import Cluster
from chaos.proxy import Proxy
from chaos.topology import CHAOS, EXECUTOR, new_intent, raw_reader
from msgspec.structs import replace
from support import LOGIN, eventually_async, eventually_has, has_length, signed_in

from smith_sdk import AsyncSmithBus, SmithBus, SmithError, Worker, consumers, subjects
from smith_sdk._core.jetstream import pull_inbox
from smith_sdk._core.jetstream.delivery import ACK
from smith_sdk._core.jetstream.pull_failures import Diagnose
from smith_sdk._core.jetstream.pull_loop import PullLoop
from smith_sdk._core.jetstream.pull_options import PullOptions
from smith_sdk.aio import consumer as consumer_module
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import BusClosed, ConsumerNotFound, JetStreamDisabled, JetStreamError, PermissionDenied, StreamNotFound

raw = subjects.intents.raw
spec = consumers.admission
SLOW = replace(spec, ack_wait=60.0)
"""Where nothing may be left to the ack wait: it comes later than the test waits."""
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gets no processor for some seconds still confirms a withdrawal."""
    monkeypatch.setattr(pull_inbox, "_CONFIRMED", 20.0)


async def put_bytes(bus: AsyncSmithBus, *sizes: int) -> None:
    subject = str(raw.of(read_intent()))
    for number, size in enumerate(sizes):
        await bus._session.publish(subject, bytes(size), stream=spec.stream, msg_id=f"m{number}")


async def ack_pending(bus: AsyncSmithBus, of: Any = spec) -> int:
    return (await bus.consumer(of).info()).num_ack_pending


async def nothing_known() -> None:
    return None


def pull(bus: AsyncSmithBus, *, diagnose: Diagnose = nothing_known, **options: Any) -> PullLoop:
    """A loop that soon notices silence."""
    session = bus._session
    names = (session.connection, session.api, spec.stream, spec.name, diagnose)
    return PullLoop(*names, PullOptions(**{"capacity": 10, "expires": 5, "heartbeat": 0.1, **options}))


# ---- max_bytes


@pytest.mark.parametrize(
    ("max_bytes", "most"),
    [(100 * 1024, 2), (MIB + MIB // 2, 3), (10 * MIB, 11)],  # what fits, one handed out, one requested alone
    ids=["100 KiB", "1.5 MiB", "10 MiB"],
)
async def test_no_more_than_max_bytes_are_held_and_every_message_is_delivered(face: Face, max_bytes: int, most: int) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await put_bytes(other, *[MIB] * 24)
        seen: list[int] = []
        held: list[int] = []
        async with bus.consumer(spec).messages(prefetch=100, max_bytes=max_bytes) as messages:
            while len(seen) < 24:
                message = await asyncio.wait_for(anext(messages), 10)
                seen.append(message.metadata.stream_seq)
                held.append(await ack_pending(other))
                await message.ack_sync()
        assert seen == list(range(1, 25))
        assert 1 <= max(held) <= most


async def test_a_message_larger_than_max_bytes_is_delivered_between_small_ones(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        sizes = [10, 2000, 200_000, 10, 300_000, 300_000, 10, 50_000, 10]
        await put_bytes(other, *sizes)
        async with bus.consumer(spec).messages(max_bytes=100_000) as messages:
            seen = []
            for _ in sizes:
                message = await asyncio.wait_for(anext(messages), 20)
                seen.append((len(message.raw), message.metadata.num_delivered))
                await message.ack()
        assert seen == [(size, 1) for size in sizes]


async def test_max_bytes_that_are_used_up_to_the_last_byte_end_nothing(account: Account) -> None:
    """The server ends such a pull without a status: only its missing heartbeats show it."""
    async with account.applied() as bus:
        await put_bytes(bus, *[1000] * 90)
        silences = 0
        for max_bytes in range(1105, 1150):  # the subject, the ack subject and the header count as well
            loop = pull(bus, max_bytes=max_bytes)
            await loop.start()
            inbox = loop._inbox.subject
            for _ in range(2):
                message = await asyncio.wait_for(loop.next(), 20)
                assert message is not None
                await bus._session.requests.request(message.reply, ACK, timeout=20)
                loop.done()
            silences += loop._inbox.subject != inbox
            await loop.stop()
        assert 1 <= silences < 5  # beyond the one: what a server without a processor has caused


async def test_max_bytes_is_a_number_of_bytes(face: Face) -> None:
    async with face.applied() as bus:
        with pytest.raises(ValueError, match="max_bytes=0"):
            bus.consumer(spec).messages(max_bytes=0)


# ---- what ends a pull ends its reader


async def iterate(face: Face, bus: Any) -> None:
    async for message in bus.consumer(spec).messages():
        await message.ack()


async def fetch(face: Face, bus: Any) -> None:
    await bus.consumer(spec).fetch(1, timeout=40)


async def work(face: Face, bus: Any) -> None:
    worker = face.worker(bus, spec)

    def handle(message: Any) -> None:
        pass

    worker.handler(handle)
    await worker.run()


reading = pytest.mark.parametrize("read", [iterate, fetch, work])


async def pulled(bus: AsyncSmithBus) -> bool:
    return (await bus.consumer(spec).info()).num_waiting > 0


async def ends(running: asyncio.Future[None]) -> SmithError:
    """The error that ends `running`, soon."""
    with pytest.raises(SmithError) as caught:
        await asyncio.wait_for(running, 30)
    return caught.value


@reading
async def test_a_deleted_consumer(face: Face, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        running = asyncio.ensure_future(read(face, bus))
        await eventually_async(lambda: pulled(other))
        await other._session.api.call(f"CONSUMER.DELETE.{spec.stream}.{spec.name}")
        error = await ends(running)
        assert isinstance(error, ConsumerNotFound)
        assert (error.stream, error.consumer) == (spec.stream, spec.name)
        assert "smith streams apply" in str(error)


@reading
async def test_a_deleted_stream(face: Face, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "GRACE", 0.3)
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        running = asyncio.ensure_future(read(face, bus))
        await eventually_async(lambda: pulled(other))
        await other._session.api.call(f"STREAM.DELETE.{spec.stream}")
        error = await ends(running)
        assert isinstance(error, StreamNotFound)
        assert error.stream == spec.stream
        assert "smith streams apply" in str(error)


@reading
async def test_a_consumer_that_pushes(face: Face, read: Any) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        admin = other._session.api
        config = (await admin.consumer_info(spec.stream, spec.name))["config"]
        await admin.consumer_delete(spec.stream, spec.name)
        pushing = {**config, "deliver_subject": "somewhere", "max_waiting": 0}
        await admin.consumer_write(spec.stream, pushing, "create")
        error = await ends(asyncio.ensure_future(read(face, bus)))
        assert isinstance(error, JetStreamError)
        assert (error.code, error.stream, error.consumer) == (409, spec.stream, spec.name)
        assert "smith streams apply" in str(error)


@reading
async def test_jetstream_is_off_after_a_restart(face: Face, read: Any, make_server: Any, tmp_path: Path) -> None:
    server = make_server(tmp_path, config=LOGIN)
    async with face.bus(signed_in(server.url)) as bus:
        await bus.streams.apply(profile="dev")
        running = asyncio.ensure_future(read(face, bus))
        async with AsyncSmithBus(signed_in(server.url)) as other:
            await eventually_async(lambda: pulled(other))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(make_server, port=int(server.url.rpartition(":")[2]), config=LOGIN, jetstream=False)
        assert isinstance(await ends(running), JetStreamDisabled)


@reading
async def test_no_permission_to_pull(face: Face, read: Any, make_server: Any) -> None:
    next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
    denied = f'permissions {{ publish {{ deny: ["{next_subject}"] }} }}'
    server = make_server(
        config=f"authorization {{ users: [ {{ user: owner, password: p }}, {{ user: reader, password: p, {denied} }} ] }}"
    )
    address = server.url.removeprefix("nats://")
    async with AsyncSmithBus(f"nats://owner:p@{address}") as owner:
        await owner.streams.apply(profile="dev")
        async with face.bus(f"nats://reader:p@{address}") as bus:
            error = await ends(asyncio.ensure_future(read(face, bus)))
            assert isinstance(error, PermissionDenied)
            assert error.subject == next_subject


# ---- a reader that leaves naks what it holds


async def test_an_iteration_left_by_break_releases_its_messages_to_the_next(face: Face) -> None:
    async with face.applied(contract=declaring(SLOW)) as bus:
        intents = [read_intent(str(number)) for number in range(20)]
        await bus.publish_many([raw.of(intent).envelope(intent) for intent in intents])
        seen = []
        for _ in intents:  # the first one requests all 20, ahead of need
            async with asyncio.timeout(SLOW.ack_wait / 2):  # nothing was left to the ack wait
                async for message in bus.consumer(SLOW).messages():
                    seen.append(message.payload.id)
                    await message.ack_sync()
                    break
        assert sorted(seen) == sorted(intent.id for intent in intents)


async def test_an_iteration_left_by_break_releases_its_messages_when_the_bus_closes_then(face: Face) -> None:
    contract = declaring(SLOW)
    async with face.applied(contract=contract), AsyncSmithBus(face.url, contract=contract) as other:
        intents = [read_intent(str(number)) for number in range(20)]
        await other.publish_many([raw.of(intent).envelope(intent) for intent in intents])
        async with face.bus(face.url, contract=contract) as bus:
            async for message in bus.consumer(SLOW).messages():
                await message.ack_sync()
                break
        assert len(await other.consumer(SLOW).fetch(19, timeout=SLOW.ack_wait / 2)) == 19


async def test_a_fetch_releases_its_messages_when_the_bus_is_closed(face: Face) -> None:
    contract = declaring(SLOW)
    async with face.applied(contract=contract), AsyncSmithBus(face.url, contract=contract) as other:
        intent = read_intent()
        await other.publish(raw.of(intent), intent)
        bus = face.bus(face.url, contract=contract)
        async with bus:
            fetching = asyncio.ensure_future(bus.consumer(SLOW).fetch(5, timeout=50))
            await eventually_async(lambda: ack_pending(other, SLOW))
        with pytest.raises(BusClosed, match="closed"):
            await asyncio.wait_for(fetching, 20)
        assert len(await other.consumer(SLOW).fetch(1, timeout=SLOW.ack_wait / 2)) == 1


# ---- several readers of one iteration


async def test_several_tasks_read_one_iteration_to_its_end(face: Face) -> None:
    async with face.applied() as bus:
        messages = bus.consumer(spec).messages(prefetch=4)
        intents = [read_intent(str(number)) for number in range(40)]
        seen: list[str] = []

        async def read() -> None:
            async for message in messages:
                seen.append(message.payload.id)
                await message.ack()
                await asyncio.sleep(0)  # in progress: the other tasks take theirs meanwhile

        reading = [asyncio.ensure_future(read()) for _ in range(4)]
        for at in range(0, len(intents), 4):  # one for each waiting task
            await bus.publish_many([raw.of(intent).envelope(intent) for intent in intents[at : at + 4]])
            await eventually_async(has_length(seen, at + 4))
        await messages.stop()
        await asyncio.wait_for(asyncio.gather(*reading), 20)
        assert sorted(seen) == sorted(intent.id for intent in intents)


# ---- losses that asking again mends


async def test_a_server_that_is_shut_down_and_started_again(face: Face, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.consume")
    with EmbeddedServer(tmp_path) as server:
        async with AsyncSmithBus(server.url) as owner:
            await owner.streams.apply(profile="dev")
        async with face.bus(server.url) as bus, bus.consumer(spec).messages() as messages:
            waiting = asyncio.ensure_future(anext(messages))
            async with AsyncSmithBus(server.url) as other:
                await eventually_async(lambda: pulled(other))
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            intent = read_intent()
            await bus.publish(raw.of(intent), intent, timeout=20)
            assert (await asyncio.wait_for(waiting, 20)).payload == intent
    assert "Server Shutdown" in caplog.text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        with SmithBus(cluster.urls, contract=CHAOS) as bus:
            bus.streams.apply(profile="cluster")
        cluster.wait_healthy()
        yield cluster


async def test_another_server_leads_the_consumer(face: Face, cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "smith_sdk.consume")
    reader = raw_reader(face.name)
    async with face.bus(cluster.urls, contract=CHAOS) as bus, AsyncSmithBus(cluster.urls, contract=CHAOS) as other:
        seen: list[str] = []
        async with bus.consumer(reader).messages() as messages:
            for number in range(3):
                waiting = asyncio.ensure_future(anext(messages))
                await eventually_async(lambda: waits_at(other, reader))
                await other._session.api.call(f"CONSUMER.LEADER.STEPDOWN.{reader.stream}.{reader.name}")
                intent = new_intent(face.name, str(number))
                await other.publish(raw.of(intent), intent, timeout=20)
                message = await asyncio.wait_for(waiting, 25)
                seen.append(message.payload.id)
                await message.ack_sync()
        assert seen == ["0", "1", "2"]
    assert "Leadership Change" in caplog.text


async def test_confirmed_acks_outlive_their_consumers_leaders(cluster: Cluster) -> None:
    async with AsyncSmithBus(cluster.urls, contract=CHAOS) as bus:
        worker, seen = Worker(bus, EXECUTOR, ack="confirmed"), set()

        @worker.handler
        async def handle(message: Any) -> None:
            seen.add(message.payload.id)
            await asyncio.sleep(0.02)

        running = asyncio.ensure_future(worker.run())
        for number in range(3):
            seen.clear()
            intents = [new_intent("async", f"{number}-{n}") for n in range(100)]
            await bus.publish_many([subjects.intents.vetted.of(one).envelope(one) for one in intents])
            await eventually_async(lambda: running.done() or seen)
            await bus._session.api.call(f"CONSUMER.LEADER.STEPDOWN.{EXECUTOR.stream}.{EXECUTOR.name}")
            await eventually_async(lambda: running.done() or emptied(bus), 30)
        await worker.stop()
        await running


async def emptied(bus: AsyncSmithBus) -> bool:
    return (await bus.streams.get(EXECUTOR.stream)).messages == 0


async def waits_at(bus: AsyncSmithBus, reader: Any) -> bool:
    return (await bus.consumer(reader).info()).num_waiting > 0


async def test_a_pull_beyond_max_waiting_is_made_again_until_there_is_room(account: Account) -> None:
    """The server drops such a pull without a status."""
    async with account.applied() as bus:
        admin = bus._session.api
        config = {**(await admin.consumer_info(spec.stream, spec.name))["config"], "max_waiting": 1}
        await admin.call(f"CONSUMER.DELETE.{spec.stream}.{spec.name}")
        create = {"stream_name": spec.stream, "config": config, "action": "create"}
        await admin.call(f"CONSUMER.CREATE.{spec.stream}.{spec.name}.{config['filter_subject']}", create)
        first, second = pull(bus), pull(bus)
        await first.start()
        await eventually_async(lambda: pulled(bus))
        await second.start()
        inbox = second._inbox.subject
        await eventually_async(lambda: second._inbox.subject != inbox)
        await first.stop()
        await put_bytes(bus, 10)
        assert await asyncio.wait_for(second.next(), 20) is not None
        await second.stop()


async def test_it_asks_again_while_the_cause_is_still_being_looked_for(account: Account) -> None:
    """For example, the consumer's leader is down, and the API does not answer either."""

    async def no_answer() -> None:
        await asyncio.Event().wait()

    async with account.applied() as bus:
        await bus._session.api.consumer_delete(spec.stream, spec.name)
        loop = pull(bus, diagnose=no_answer)
        await loop.start()
        await eventually_async(lambda: loop._presence._is_diagnosing)
        await bus.streams.apply(profile="dev")
        await put_bytes(bus, 10)
        assert await asyncio.wait_for(loop.next(), 20) is not None
        await loop.stop()


async def test_a_short_fetch_does_not_take_a_delay_for_a_lost_pull(caplog: pytest.LogCaptureFixture, account: Account) -> None:
    caplog.set_level(logging.WARNING, "smith_sdk.consume")
    async with account.applied() as bus:
        for timeout in (0.001, 0.01, 0.1):
            assert await bus.consumer(spec).fetch(1, timeout) == []
    assert caplog.text == ""


async def test_slots_that_become_free_during_a_release_are_filled_again(account: Account) -> None:
    """A loop requests nothing while it withdraws its inbox: it must do so with the next."""
    async with account.applied() as bus:
        await put_bytes(bus, *[1] * 9)
        loop = pull(bus, lookahead=10, refill="each")
        await loop.start()
        try:
            async with asyncio.timeout(20):
                first = [await loop.next() for _ in range(9)]
                releasing = asyncio.ensure_future(loop._renew(release=True))
                await eventually_async(lambda: not loop._inbox.is_open, interval=0)
                for message in first:
                    assert message is not None
                    await bus._session.connection.publish(message.reply, ACK)
                loop.done(9)
                await releasing
                await bus._session.publish(str(raw.of(read_intent())), b"x", stream=spec.stream, msg_id="late")
                late = await loop.next()
                assert late is not None
                assert late.data == b"x"
        finally:
            await loop.stop()


# ---- a link that died in silence


@contextlib.asynccontextmanager
async def behind_proxy(make_server: Any, **options: Any) -> AsyncIterator[tuple[Proxy, AsyncSmithBus, AsyncSmithBus]]:
    """A proxy, a bus that connects through it, and one that does not."""
    server = make_server()
    with Proxy(server.url) as proxy:
        async with AsyncSmithBus(server.url) as other, AsyncSmithBus(proxy.url, **options) as bus:
            await other.streams.apply(profile="dev")
            yield proxy, bus, other


async def started(bus: AsyncSmithBus, **options: Any) -> PullLoop:
    loop = pull(bus, **options)
    await loop.start()
    await eventually_async(lambda: pulled(bus))
    return loop


async def renewed(loop: PullLoop, inbox: str) -> bool:
    return loop._inbox.subject != inbox and loop._requested > 0 and loop._connected


async def until_renewed(bus: AsyncSmithBus, loop: PullLoop, inbox: str) -> None:
    await eventually_async(lambda: renewed(loop, inbox), 30)
    # What the server sends before it has the new link's subscriptions goes to the dead one alone.
    await bus._session.connection.confirm()


async def take(loop: PullLoop, count: int) -> list[bytes]:
    async with asyncio.timeout(4):  # less than an ack wait
        taken: list[bytes] = []
        while len(taken) < count and (message := await loop.next()) is not None:
            taken.append(message.data)
            loop.done()
        return taken


@pytest.mark.parametrize("ping_interval", [0.2, 1.2], ids=["noticed by pings", "noticed by missing heartbeats first"])
async def test_pulls_of_a_link_that_died_in_silence_are_answered_on_the_next(ping_interval: float, make_server: Any) -> None:
    async with behind_proxy(make_server, ping_interval=ping_interval) as (proxy, bus, other):
        loop = await started(bus)
        proxy.bury()
        await eventually_async(lambda: bus.state == "reconnecting")
        inbox = loop._inbox.subject
        await until_renewed(bus, loop, inbox)
        await put_bytes(other, *range(1, 21))
        assert sorted(map(len, await take(loop, 20))) == list(range(1, 21))
        await loop.stop()


async def test_a_former_pull_is_dropped_if_the_server_has_noticed_the_loss(make_server: Any) -> None:
    """Its inbox is kept, since a lost link may linger; the server would go on to serve the pull."""
    async with behind_proxy(make_server) as (proxy, bus, _):
        loop = await started(bus, expires=60)  # later than the wait below ends
        inbox = loop._inbox.subject
        proxy.cut()
        proxy.restore()
        await until_renewed(bus, loop, inbox)
        assert loop._inbox.former == 1
        await eventually_has(bus.consumer(spec).info, num_waiting=1)
        await loop.stop()


async def test_no_inbox_is_kept_without_a_lost_link(account: Account) -> None:
    async with account.applied() as bus:
        loop = await started(bus, expires=60)  # later than the wait below ends
        await loop._renew()
        assert not loop._inbox.former
        await bus._session.connection.confirm()
        await eventually_has(bus.consumer(spec).info, num_waiting=1)
        await loop.stop()


async def test_a_kept_inbox_is_given_up_when_its_pulls_have_expired(make_server: Any) -> None:
    async with behind_proxy(make_server, ping_interval=1.0) as (proxy, bus, other):
        before = len(bus._session.connection._subscriptions)
        loop = await started(bus, expires=1)
        proxy.bury()
        await eventually_async(lambda: loop._inbox.former)
        await eventually_async(lambda: not loop._inbox.former)
        await eventually_async(lambda: len(bus._session.connection._subscriptions) == before + 1)
        await put_bytes(other, 1)
        assert await take(loop, 1) == [b"\0"]
        await loop.stop()


async def test_messages_for_a_dead_link_are_released_by_a_stop(make_server: Any) -> None:
    async with behind_proxy(make_server, ping_interval=0.2) as (proxy, bus, other):
        before = len(bus._session.connection._subscriptions)
        loop = await started(bus)
        proxy.bury()
        await eventually_async(lambda: loop._inbox.former and loop._requested)
        await put_bytes(other, *range(1, 21))
        await loop.stop()
        assert len(bus._session.connection._subscriptions) == before
        async with asyncio.timeout(20):
            again = await other.consumer(spec).fetch(20, 4)
        assert len(again) == 20


async def test_a_barrier_is_passed_when_the_server_has_processed_what_was_sent_before(account: Account) -> None:
    async with AsyncSmithBus(account.url) as bus, AsyncSmithBus(account.url) as other:
        seen: list[bytes] = []
        inbox = other._connection.new_inbox()
        await other._connection.subscribe(inbox, lambda message: seen.append(message.data))
        await other._connection.barrier(timeout=20)
        for number in range(50):
            await bus._connection.publish(inbox, b"%d" % number * 10_000)
        await bus._connection.barrier(timeout=20)
        await other._connection.barrier(timeout=20)
        assert len(seen) == 50
