"""Publishing while there is no link: `when_down`, and the outbox that keeps what cannot be sent."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Face, bus_with, read_intent
from chaos.proxy import Proxy
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, CircuitBreaker, OutboxFile, PubAck, Stored, subjects
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk._core.outbox.file import OutboxDatabase
from smith_sdk.errors import (
    BusClosed,
    ConnectionLost,
    DeadlineExceeded,
    OptionsError,
    OutboxError,
    OutboxFull,
    OutboxInUse,
    PayloadTooLarge,
    PublishManyError,
    PublishUnconfirmed,
    ResultTimeout,
)
from smith_sdk.protocol import HealthEvent, Service
from smith_sdk.topology import CONTRACT

events, raw = subjects.events.health, subjects.intents.raw
STREAM: Final = "SYSTEM_EVENTS"
WEB: Final = events(service=Service("web"))
SUBJECT: Final = str(WEB)
STORED: Final = Stored(local=True)
NOWHERE: Final = "nats://127.0.0.1:1"
LONG: Final = 60.0
"""Seconds that none of these tests needs: whoever waits that long fails."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "outbox.db")


@pytest.fixture
def proxy(account: Account) -> Iterator[Proxy]:
    """In front of the account's server, on which the streams are as declared."""

    async def apply() -> None:
        async with account.applied():
            pass

    asyncio.run(apply())
    with Proxy(account.url) as proxy:
        yield proxy


def numbered(number: int) -> HealthEvent:
    return HealthEvent.new(service="web", healthy=True, detail={"n": number})


async def publish(bus: Any, event: int | HealthEvent, **options: Any) -> PubAck | Stored:
    payload = numbered(event) if isinstance(event, int) else event
    found: PubAck | Stored = await bus.publish(WEB, payload, **options)
    return found


def state_of(bus: Any) -> str:
    return str((bus if isinstance(bus, AsyncSmithBus) else bus.inner).state)


async def cut(proxy: Proxy, bus: Any) -> None:
    """The bus has no link from now on, and knows it."""
    proxy.cut()
    await eventually_async(lambda: state_of(bus) == "reconnecting", LONG)


def fill(path: str, *messages: tuple[int, float | None], subject: str = SUBJECT, stream: str = STREAM, size: int = 0) -> None:
    """Put messages into the file, as a process that no longer runs: (number, seconds since it was
    first sent)."""
    with closing(OutboxDatabase.open(path)) as file, file.transaction():
        for number, ago in messages:
            data = b'{"service":"web","healthy":true,"timestamp_ns":1,"detail":{"n":%d}}' % number + b" " * size
            request = PublishRequest(subject, data, stream, f"{subject}:{number}")
            file.add(request, len(data), time.time(), None if ago is None else time.time() - ago)


async def stored(account: Account) -> list[tuple[int, str | None]]:
    """What the stream has, in order: the number, and the mark of a possible duplicate."""
    async with AsyncSmithBus(account.url) as bus:
        return [
            ((message.payload.detail or {})["n"], message.headers.get("Smith-Outbox"))
            async for message in bus.read(events.filter())
        ]


def plain(*numbers: int) -> list[tuple[int, str | None]]:
    return [(number, None) for number in numbers]


# ---- storing and sending


async def test_what_cannot_be_sent_is_kept_and_published_in_order_once_there_is_a_link(
    face: Face, account: Account, proxy: Proxy, path: str
) -> None:
    async with face.bus(proxy.url, when_down="store", outbox=OutboxFile(path)) as bus:
        assert isinstance(await publish(bus, 0), PubAck)
        await cut(proxy, bus)
        assert [await publish(bus, number) for number in (1, 2)] == [STORED, STORED]
        assert await (await bus.submit(WEB, numbered(3))) == STORED
        assert await bus.publish_many([WEB.envelope(numbered(4))]) == [STORED]
        info = await bus.outbox.info()
        assert (info.messages, info.failed, info.path, info.max_bytes) == (4, 0, path, 64 * 1024 * 1024)
        proxy.restore()
        found = await bus.outbox.flush(LONG)
        assert (found.messages, found.bytes, found.oldest) == (0, 0, None)
        assert isinstance(await publish(bus, 5), PubAck)
    assert await stored(account) == plain(0, 1, 2, 3, 4, 5)


async def test_a_publish_in_flight_when_the_link_is_lost_is_kept_at_once_and_stored_once(
    account: Account, proxy: Proxy, path: str
) -> None:
    async with AsyncSmithBus(proxy.url, outbox=OutboxFile(path), publish_timeout=LONG) as bus:
        proxy.deafen("to_client")  # the stream stores it, and its acknowledgement is lost
        publishing = asyncio.ensure_future(publish(bus, 1, when_down="store"))
        async with AsyncSmithBus(account.url) as other:
            await eventually_async(lambda: holds(other, 1), LONG)
        await cut(proxy, bus)
        assert await publishing == STORED
        (kept,) = await bus.outbox.list()
        assert kept.sent is not None
        assert kept.subject == SUBJECT
        proxy.hear()
        proxy.restore()
        assert (await bus.outbox.flush(LONG)).messages == 0
    assert await stored(account) == plain(1)  # known by its id


def has_trouble(bus: Any) -> bool:
    return bus._store._lane(STREAM).trouble is not None


async def holds(bus: AsyncSmithBus, count: int, stream: str = STREAM) -> bool:
    return (await bus.streams.get(stream)).messages >= count


async def test_what_is_unconfirmed_within_its_timeout_is_kept(account: Account, proxy: Proxy, path: str) -> None:
    async with bus_with(proxy.url, when_down="store", outbox=OutboxFile(path), publish_breaker=None) as bus:
        proxy.deafen()
        assert await publish(bus, 1, timeout=0.2) == STORED
        assert await publish(bus, 2, timeout=LONG) == STORED  # behind the first: not sent, so not waited for
        proxy.hear()
        assert (await bus.outbox.flush(LONG)).messages == 0
    assert [number for number, _ in await stored(account)] == [1, 2]


async def test_with_an_open_circuit_it_is_kept(account: Account, proxy: Proxy, path: str) -> None:
    breaker = CircuitBreaker(minimum=1, failure_rate=0.01)
    async with bus_with(proxy.url, outbox=OutboxFile(path), publish_breaker=breaker) as bus:
        proxy.deafen()
        with pytest.raises(PublishUnconfirmed):
            await publish(bus, 1, timeout=0.1, when_down="wait")
        assert await publish(bus, 2, timeout=LONG, when_down="store") == STORED
        proxy.hear()


async def test_a_bus_that_was_never_connected_keeps_what_is_published(face: Face, path: str) -> None:
    async with face.bus(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path)) as bus:
        assert await publish(bus, 1) == STORED
        with pytest.raises(DeadlineExceeded, match=r"outbox .* still has 1 to send after .*: there is no connection"):
            await bus.outbox.flush(0.05)


async def test_the_next_bus_sends_what_an_earlier_one_has_left(
    account: Account, proxy: Proxy, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncSmithBus(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path)) as bus:
        for number in (1, 2):
            assert await publish(bus, number) == STORED
    assert f"outbox {path} keeps 2 unsent" in caplog.text
    async with AsyncSmithBus(proxy.url, outbox=OutboxFile(path)) as bus:
        assert (await bus.outbox.flush(LONG)).messages == 0
        assert await bus.outbox.list() == ()
    assert await stored(account) == plain(1, 2)


async def test_closing_sends_what_waits(account: Account, proxy: Proxy, path: str) -> None:
    fill(path, *((number, None) for number in range(300)))
    async with AsyncSmithBus(proxy.url, outbox=OutboxFile(path)) as bus:
        await bus.close(LONG)
    assert await stored(account) == plain(*range(300))


async def test_the_loop_runs_while_the_disk_is_slow(proxy: Proxy, path: str) -> None:
    async with AsyncSmithBus(proxy.url, when_down="store", outbox=OutboxFile(path)) as bus:
        await cut(proxy, bus)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the file can be read, and not written
            keeping = [await bus.submit(WEB, numbered(number)) for number in range(10)]
            await asyncio.sleep(0)
            assert not any(one.done() for one in keeping)
            other.execute("ROLLBACK")
        assert await asyncio.gather(*keeping) == [STORED] * 10


# ---- order, refusals, and what may be stored twice


async def test_a_full_stream_holds_its_messages_up_in_order_and_no_other_stream(
    account: Account, proxy: Proxy, path: str
) -> None:
    intents = [read_intent(str(number)) for number in range(6)]
    async with AsyncSmithBus(proxy.url, when_down="store", outbox=OutboxFile(path)) as bus, AsyncSmithBus(account.url) as other:
        api = other._session.api
        config = (await api.stream_info("SDLC_RAW"))["config"]
        await api.stream_update(config | {"max_msgs": 2})
        await cut(proxy, bus)
        assert await bus.publish_many(raw.of(one).envelope(one) for one in intents) == [STORED] * 6
        proxy.restore()
        seen: list[str] = []
        while len(seen) < 6:
            await eventually_async(lambda: holds(other, 2, "SDLC_RAW"), LONG)
            assert isinstance(await publish(bus, 1), PubAck)  # to another stream
            seen += [message.payload.id async for message in other.read(raw.filter())]
            await other.streams.purge("SDLC_RAW")
        assert seen == [one.id for one in intents]
        assert (await bus.outbox.flush(LONG)).failed == 0


async def test_messages_wait_for_a_stream_that_does_not_exist(account: Account, proxy: Proxy, path: str) -> None:
    fill(path, (1, None))
    async with bus_with(proxy.url, when_down="store", outbox=OutboxFile(path)) as bus, AsyncSmithBus(account.url) as other:
        await bus.outbox.flush(LONG)
        await cut(proxy, bus)
        assert await publish(bus, 2) == STORED
        await other._session.api.stream_delete(STREAM)
        proxy.restore()
        await eventually_async(lambda: has_trouble(bus), LONG)
        with pytest.raises(DeadlineExceeded, match=rf"still has 1 to send .* stream {STREAM} does not exist"):
            await bus.outbox.flush(0.05)
        assert await publish(bus, 3) == STORED  # behind the one that waits
        await other.streams.apply(profile="dev")
        assert (await bus.outbox.flush(LONG)).failed == 0
    assert await stored(account) == plain(2, 3)


async def test_a_message_that_is_refused_for_good_stays_with_the_reason_and_holds_up_no_other(
    face: Face, account: Account, proxy: Proxy, path: str
) -> None:
    largest = next(one for one in CONTRACT.streams if one.name == STREAM).max_msg_size
    assert largest is not None
    fill(path, (1, None))
    fill(path, (2, None), size=largest)
    fill(path, (3, None))
    fill(path, (4, None), subject="acme.orders.new", stream="ACME")  # of another contract
    async with face.bus(proxy.url, outbox=OutboxFile(path)) as bus:
        info = await bus.outbox.flush(LONG)
        assert (info.messages, info.failed) == (0, 2)
        large, strange = await bus.outbox.list(failed=True)
        assert large.error.startswith("PayloadTooLarge: ")
        assert strange.error.startswith("UnknownSubject: ")
        assert (large.id, large.sent, large.size > largest) == (2, None, True)
        assert (await bus.outbox.flush(LONG, failed=True)).failed == 2  # refused once more
        assert await bus.outbox.discard(large.id) == 1
        assert await bus.outbox.discard([large.id]) == 0
        assert await bus.outbox.discard(failed=True) == 1
        info = await bus.outbox.info()
        assert (info.failed, info.bytes) == (0, 0)
    assert await stored(account) == plain(1, 3)


async def test_what_may_be_stored_and_forgotten_is_marked(account: Account, proxy: Proxy, path: str) -> None:
    """SYSTEM_EVENTS remembers ids for 30 s. A clock that was set back leaves times to come."""
    fill(path, (1, None), (2, 1.0), (3, 29.0), (4, 10_000.0), (5, -600.0))
    async with AsyncSmithBus(proxy.url, outbox=OutboxFile(path)) as bus:
        await bus.outbox.flush(LONG)
    mark = "possible-duplicate"
    assert await stored(account) == [(1, None), (2, None), (3, mark), (4, mark), (5, mark)]


async def test_a_definite_refusal_is_no_possible_duplicate(account: Account, proxy: Proxy, path: str) -> None:
    fill(path, (1, None))
    async with AsyncSmithBus(proxy.url, outbox=OutboxFile(path)) as bus, AsyncSmithBus(account.url) as other:
        await bus.outbox.flush(LONG)
        await other._session.api.stream_delete(STREAM)
        fresh = await publish_unsent(bus)
        assert fresh.sent is None
        await other.streams.apply(profile="dev")
        await bus.outbox.flush(LONG)


async def publish_unsent(bus: AsyncSmithBus[Any]) -> Any:
    """A message that was tried and refused, as the file has it then."""
    store: Any = bus._store
    store._keep(store._lane(STREAM), PublishRequest(SUBJECT, b"{}", STREAM, "one"), None)
    await eventually_async(lambda: has_trouble(bus), LONG)
    found: list[Any] = []

    async def is_unsent() -> bool:
        found[:] = await bus.outbox.list()
        return found[0].sent is None

    await eventually_async(is_unsent, LONG)
    return found[0]


# ---- "fail"


async def test_fail_raises_at_once_while_there_is_no_link(face: Face, account: Account, proxy: Proxy) -> None:
    async with face.bus(proxy.url, when_down="fail", publish_timeout=LONG) as bus:
        assert isinstance(await publish(bus, 1), PubAck)
        await cut(proxy, bus)
        with pytest.raises(ConnectionLost, match=f"{SUBJECT} was not sent: there is no connection"):
            await publish(bus, 2)
        with pytest.raises(PublishManyError) as failed:
            await bus.publish_many([WEB.envelope(numbered(3))])
        assert [type(one) for one in failed.value.outcomes] == [ConnectionLost]
        with pytest.raises(ConnectionLost):
            await bus.execute(read_intent(), timeout=LONG)
        proxy.restore()
        assert isinstance(await publish(bus, 4, when_down="wait"), PubAck)
    assert await stored(account) == plain(1, 4)


async def test_fail_before_the_first_connection(face: Face) -> None:
    async with face.bus(NOWHERE, connect_mode="wait", publish_timeout=LONG) as bus:
        with pytest.raises(ConnectionLost):
            await publish(bus, 1, when_down="fail")
        if face.is_async:  # the blocking face queues it
            with pytest.raises(ConnectionLost):
                await bus.submit(WEB, numbered(1), when_down="fail")
    with pytest.raises(BusClosed):
        await publish(bus, 1, when_down="fail")


async def test_execute_stores_nothing(account: Account, path: str) -> None:
    async with bus_with(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path), publish_timeout=0.1) as bus:
        with pytest.raises(ResultTimeout):
            await bus.execute(read_intent(), timeout=0.1)
        assert (await bus.outbox.info()).messages == 0


# ---- the limit, the disk, and the file


async def test_beyond_its_limit_a_publish_raises(face: Face, path: str) -> None:
    async with face.bus(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path, max_bytes=1000)) as bus:
        kept = 3
        for number in range(kept):
            assert await publish(bus, number) == STORED
        with pytest.raises(OutboxFull, match=r"max_bytes=1000, and the message takes \d+") as full:
            await publish(bus, kept)
        assert (full.value.limit, full.value.path, full.value.size > 200) == (1000, path, True)
        info = await bus.outbox.info()
        assert (info.messages, info.bytes <= 1000) == (kept, True)
        assert await bus.outbox.discard([1]) == 1
        assert await publish(bus, 100) == STORED


async def test_what_no_stream_would_take_is_not_kept(path: str) -> None:
    async with bus_with(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path)) as bus:
        with pytest.raises(PayloadTooLarge):
            await bus.publish(WEB, HealthEvent.new(service="web", healthy=True, detail={"": "x" * 9_000_000}))
        with pytest.raises(OptionsError, match="header"):
            await publish(bus, 1, headers={"a b": "c"})
        assert (await bus.outbox.info()).messages == 0


async def test_a_full_disk_is_a_clear_error_and_costs_no_other_message(path: str) -> None:
    async with bus_with(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path)) as bus:
        store: Any = bus._store
        (pages,) = await store.run(lambda file: file._database.execute("PRAGMA page_count").fetchone())
        await store.run(lambda file: file._database.execute(f"PRAGMA max_page_count={pages + 1}").fetchone())
        large = replace(numbered(1), detail={"": "x" * 50_000})
        with pytest.raises(OutboxError, match=f"outbox {path}: the disk is full: make room"):
            await publish(bus, large)
        outcomes = await asyncio.gather(publish(bus, 2), publish(bus, large), return_exceptions=True)
        assert outcomes[0] == STORED
        assert isinstance(outcomes[1], OutboxError)
        await store.run(lambda file: file._database.execute("PRAGMA max_page_count=100000").fetchone())
        assert await publish(bus, large) == STORED
        assert (await bus.outbox.info()).messages == 2


async def test_an_outbox_has_one_owner(face: Face, path: str, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.symlink_to(path)
    async with face.bus(NOWHERE, connect_mode="wait", outbox=OutboxFile(path)) as bus:
        for name in (path, str(linked)):
            with pytest.raises(OutboxInUse, match=f"in use by process {os.getpid()} on .*: each bus needs a file of its own"):
                await face.bus(NOWHERE, connect_mode="wait", outbox=OutboxFile(name)).connect()
        assert (await bus.outbox.info()).messages == 0
        with closing(OutboxDatabase.read(path)) as beside:
            assert beside.list(failed=False, after=0, limit=9) == []
    async with face.bus(NOWHERE, connect_mode="wait", outbox=OutboxFile(linked)):
        pass


async def test_a_bus_that_cannot_connect_leaves_the_outbox_to_others(path: str) -> None:
    with pytest.raises(Exception, match="no NATS server"):
        await AsyncSmithBus(NOWHERE, outbox=OutboxFile(path)).connect()
    async with AsyncSmithBus(NOWHERE, connect_mode="wait", outbox=OutboxFile(path)) as bus:
        await bus.close()
        await bus.connect()
        assert await publish(bus, 1, when_down="store") == STORED


async def test_a_forked_child_cannot_use_it_and_leaves_it_to_its_parent(path: str) -> None:
    async with bus_with(NOWHERE, connect_mode="wait", when_down="store", outbox=OutboxFile(path)) as bus:
        store: Any = bus._store
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on: the process has threads
            child = os.fork()
        if child == 0:
            try:
                store._commits.run(OutboxDatabase.info)
            except BusClosed as error:
                os._exit(7 if f"in the forked child {os.getpid()}" in str(error) else 1)
            finally:
                os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert await publish(bus, 1) == STORED
        with pytest.raises(OutboxInUse):
            OutboxDatabase.open(path)


def test_a_new_file_is_for_its_user_alone(path: str) -> None:
    before = os.umask(0)
    try:
        OutboxDatabase.open(path).close()
    finally:
        os.umask(before)
    assert [Path(name).stat().st_mode & 0o777 for name in (path, f"{path}-lock")] == [0o600, 0o600]


def _text(path: Path) -> None:
    path.write_text("hello" * 1000)


def _of_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE bookmarks(url TEXT)")


def _newer(path: Path) -> None:
    OutboxDatabase.open(str(path)).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=2")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "is a directory"),
        (_text, "is not an outbox"),
        (_of_others, "is the database of another program"),
        (_newer, r"is from a newer version of smith-sdk \(format 2, this one knows 1\)"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_when_it_is_given(face: Face, path: str, make: Any, words: str) -> None:
    make(Path(path))
    before = Path(path).stat()
    with pytest.raises(OptionsError, match=f"outbox='{path}': .*{words}"):
        face.bus(NOWHERE, outbox=OutboxFile(path))
    assert Path(path).stat().st_size == before.st_size


async def test_a_damaged_file_is_a_clear_error(path: str) -> None:
    fill(path, *((number, None) for number in range(200)))
    pages = bytearray(Path(path).read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)
    Path(path).write_bytes(pages)
    with pytest.raises(OptionsError, match=f"outbox='{path}': .*is damaged.*: move it away"):
        await AsyncSmithBus(NOWHERE, connect_mode="wait", outbox=OutboxFile(path)).connect()


async def test_a_file_that_cannot_be_written_is_refused_as_it_is_opened(
    path: str, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smith_sdk._core.outbox.file._BUSY", 0.05)
    fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OptionsError, match=f"outbox='{path}': another program has it locked"):
            await face.bus(NOWHERE, connect_mode="wait", outbox=OutboxFile(path)).connect()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"when_down": "store"}, 'when_down="store": needs outbox=OutboxFile'),
        ({"when_down": "drop"}, "when_down='drop': must be"),
        ({"outbox": 5}, "outbox=5: must be the path of a file"),
        ({"outbox": ""}, "outbox='': must be the path of a file"),
        ({"outbox": "/nowhere/at/all"}, "outbox='/nowhere/at/all': there is no directory /nowhere/at"),
    ],
)
def test_a_wrong_option_is_refused_when_it_is_given(face: Face, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        face.bus(NOWHERE, **options)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
def test_a_wrong_limit_is_refused(limit: Any) -> None:
    with pytest.raises(OptionsError, match=f"OutboxFile.max_bytes={limit}: must be a whole number"):
        OutboxFile("outbox.db", max_bytes=limit)


async def test_a_wrong_use_is_refused(face: Face, path: str) -> None:
    async with face.bus(NOWHERE, connect_mode="wait") as bus:
        for call in (lambda: publish(bus, 1, when_down="store"), bus.outbox.info, lambda: bus.outbox.flush(1)):
            with pytest.raises(OptionsError, match="this bus has no outbox: pass outbox="):
                await call()
        with pytest.raises(OptionsError, match="when_down='drop': must be"):
            await publish(bus, 1, when_down="drop")
    bus = face.bus(NOWHERE, connect_mode="wait", outbox=OutboxFile(path))
    with pytest.raises(BusClosed):
        await bus.outbox.info()
    async with bus:
        with pytest.raises(OptionsError, match="retry=False"):
            await publish(bus, 1, when_down="store", retry=False)
        for wrong in ({}, {"ids": 1, "failed": True}, {"ids": [0]}):
            with pytest.raises(OptionsError, match="discard"):
                await bus.outbox.discard(**wrong)
