"""Dead letters: what a copy says, and how copies are found, page by page."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from buses import Account, Face, read_intent
from letters import STREAM, contract, original, put_letters, put_many_letters, to_dead_letters
from support import eventually_async

from smith_sdk import AsyncSmithBus, consumers, subjects
from smith_sdk._core.dead_letters import selection
from smith_sdk._core.jetstream import stream_reader
from smith_sdk._core.jetstream.claim import put_if_absent
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import MessageNotFound, OptionsError, StreamNotFound

spec = consumers.executor_fs_read


def failure(depth: int) -> ValueError:
    """An error with a traceback of some depth, whose message would end a header line."""

    def fall(left: int) -> None:
        if left:
            fall(left - 1)
        raise ValueError("no\r\nNats-Rollup: all\r\n\r\ngood \udcff")

    try:
        fall(depth)
    except ValueError as error:
        return error
    raise AssertionError


# ---- the copy


async def test_a_copy_has_every_fact_about_the_original(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent("/x")
        before = datetime.now(UTC)
        await bus.publish(subjects.intents.vetted.of(intent), intent, headers={"Trace-Id": "t1", "Empty": ""})
        (message,) = await bus.consumer(spec).fetch(1)
        await to_dead_letters(bus, message, "ValueError", "no\r\ngood", cause=failure(3), worker="w1")
        after = datetime.now(UTC)
        (letter,) = await bus.dead_letters.list()
        assert letter.payload == message.raw
        assert (letter.id, letter.stream, letter.consumer, letter.seq) == (
            f"ATOMS_VETTED.{spec.name}.1",
            "ATOMS_VETTED",
            spec.name,
            1,
        )
        assert (letter.subject, letter.attempts) == (str(subjects.intents.vetted.of(intent)), 1)
        assert (letter.error_type, letter.error) == ("ValueError", "no good")
        assert (letter.host, letter.worker) == (socket.gethostname(), "w1")
        assert letter.headers == {"Trace-Id": "t1", "Empty": ""}
        assert letter.dropped_headers == letter.replays == 0
        assert letter.stored is not None
        assert letter.first_delivered is not None
        assert before - timedelta(seconds=1) < letter.stored < letter.first_delivered
        assert letter.first_delivered == letter.last_delivered  # the only delivery: it is both
        assert letter.first_delivered <= after
        assert letter.stored < letter.time <= after
        assert letter.traceback.startswith("Traceback (most recent call last):\n")
        assert letter.traceback.rstrip().endswith("good \\udcff")
        assert await bus.dead_letters.get(letter.id) == letter


async def test_unknown_facts_stay_empty(account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1, attempts=3, headers={}))
        await put_letters(bus, original(2, attempts=3), first_delivered=datetime(2026, 1, 1, tzinfo=UTC), worker=None)
        first, second = await bus.dead_letters.list()
        assert (first.first_delivered, first.traceback, first.headers) == (None, "", {})
        assert second.first_delivered == datetime(2026, 1, 1, tzinfo=UTC)
        assert second.worker == str(os.getpid())


async def test_a_traceback_is_cut_to_8_kib_and_keeps_its_end(account: Account) -> None:
    async with account.applied() as bus:
        first = last = failure(3)
        for _ in range(60):
            last.__cause__ = last = failure(3)
        await put_letters(bus, original(1), cause=first)
        await put_letters(bus, original(2), cause=ExceptionGroup("ö" * 9000, [ValueError("the end")]))
        long, broad = await bus.dead_letters.list()
        for letter in (long, broad):
            assert 8000 < len(letter.traceback.encode()) <= 8192
            assert letter.traceback.startswith("[...]\n")
        assert long.traceback.rstrip().endswith("good \\udcff")
        assert "the end" in broad.traceback


async def test_the_server_obeys_no_header_of_the_original(account: Account) -> None:
    async with account.applied() as bus:
        await put_letters(bus, original(1))
        orders = {"Nats-Rollup": "all", "nats-ttl": "1s", "Nats-Expected-Last-Sequence": "99", "Smith-Dead-Error": "forged"}
        await put_letters(
            bus, original(2, headers={**orders, "No(Token)": "x", "Lines": "a\r\nNats-Rollup: all", "Odd": "\udcff"})
        )
        first, second = await bus.dead_letters.list()
        assert first.id == f"{STREAM}.reader.1"
        assert (second.error, second.headers) == ("no good", {"Lines": "a Nats-Rollup: all", "Odd": "\\udcff"})
        assert second.dropped_headers == 1


async def test_headers_that_do_not_fit_are_dropped_and_counted(account: Account) -> None:
    async with account.applied() as bus:
        many = {f"H{number}": "x" * 1000 for number in range(62)}  # as many as a server takes
        await put_letters(bus, original(1, headers=many), cause=failure(2), error="e" * 5000, error_type="T" * 5000)
        (letter,) = await bus.dead_letters.list()
        assert letter.dropped_headers + len(letter.headers) == 62
        assert 40 < len(letter.headers) < 62
        assert (len(letter.error), len(letter.error_type)) == (1024, 256)
        assert letter.traceback


async def test_a_payload_that_leaves_no_room_is_copied_without_headers(account: Account) -> None:
    async with account.applied() as bus:
        data = os.urandom(5 * 1024 * 1024 - 1500)
        await put_letters(bus, original(1, data=data, headers={"A": "x" * 2000}), cause=failure(2))
        (letter,) = await bus.dead_letters.list()
        assert letter.payload == data
        assert (letter.headers, letter.dropped_headers, letter.traceback) == ({}, 1, "")


async def test_a_message_is_copied_once_and_another_with_its_sequence_has_its_own_copy(account: Account) -> None:
    async with account.applied() as bus:
        of_old = original(1)
        await put_letters(bus, of_old, error="first")
        await put_letters(bus, of_old, error="second")
        (letter,) = await bus.dead_letters.list()
        assert letter.error == "first"
        await put_letters(bus, original(1, data=b"another"), error="after the stream was made anew")
        old, new = await bus.dead_letters.list()
        assert (old.id, old.error) == (new.id, "first")
        assert (await bus.dead_letters.get(new.id)).payload == b"another"


# ---- finding them


async def test_pages_and_filters(face: Face, account: Account) -> None:
    async with account.applied() as server, face.bus(account.url) as bus:
        await put_letters(server, *(original(number) for number in range(1, 8)))
        await put_letters(server, original(1, consumer="other"), error_type="KeyError")
        await put_if_absent(server._session, "SMITH_DLQ", f"smith.dlq.{STREAM}.reader.1.trial", b"")  # a marker is not a letter
        middle = datetime.now(UTC)
        await put_letters(server, original(8))
        await put_letters(server, original(9, stream="ATOMS_VETTED", consumer="other"), error_type="KeyError")

        found = bus.dead_letters
        everything = [letter.id for letter in await found.list()]
        assert len(everything) == 10
        paged: list[str] = []
        after = 0
        while page := await found.list(after=after, limit=3):
            assert len(page) == 3 or len(paged) == 9
            paged += [letter.id for letter in page]
            after = page[-1].position
        assert paged == everything
        in_zone = middle.astimezone(timezone(timedelta(hours=5)))
        for filters, expected in (
            ({"stream": STREAM}, 9),
            ({"stream": STREAM, "consumer": "reader"}, 8),
            ({"consumer": "other"}, 2),
            ({"error_type": "KeyError"}, 2),
            ({"error_type": "KeyError", "stream": STREAM}, 1),
            ({"since": middle}, 2),
            ({"until": in_zone}, 8),
            ({"since": middle, "until": middle}, 0),
            ({"error_type": "ValueError", "until": middle}, 7),
            ({"stream": "NONE"}, 0),
        ):
            assert len(await found.list(**filters)) == expected == await found.count(**filters), filters
        (one,) = await found.list(error_type="KeyError", limit=1)
        (other,) = await found.list(error_type="KeyError", after=one.position)
        assert (one.consumer, other.stream) == ("other", "ATOMS_VETTED")
        assert one.payload == b'{"number":1}'

        for filters in ({}, {"error_type": "KeyError"}, {"since": middle}, {"until": in_zone}, {"stream": "NONE"}):
            oldest = await found.list(**filters)
            assert await found.list(**filters, newest_first=True) == oldest[::-1], filters
        backwards: list[str] = []
        before = None
        while page := await found.list(newest_first=True, before=before, limit=3):
            backwards += [letter.id for letter in page]
            before = page[-1].position
        assert backwards == everything[::-1]


async def test_a_stream_that_never_had_a_letter_lists_none(account: Account) -> None:
    async with account.applied() as bus:
        for newest_first in (False, True):
            assert await bus.dead_letters.list(newest_first=newest_first) == ()
            assert await bus.dead_letters.list(newest_first=newest_first, error_type="KeyError", limit=1) == ()


async def test_the_newest_are_found_behind_many_others(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_SPAN", 2)
    async with account.applied() as bus:
        await put_letters(bus, original(1), error_type="KeyError")
        await put_many_letters(bus, 60)
        await put_letters(bus, original(61, data=b"last"))
        found = bus.dead_letters
        (last,) = await found.list(newest_first=True, limit=1)
        assert last.payload == b"last"
        (key_error,) = await found.list(newest_first=True, error_type="KeyError")
        assert key_error.payload == b'{"number":1}'
        listed = await found.list(newest_first=True, limit=50, before=last.position)
        assert len(listed) == 50
        assert [one.position for one in listed] == sorted((one.position for one in listed), reverse=True)


async def test_invalid_filters_and_ids_are_refused(account: Account) -> None:
    async with account.applied() as bus:
        letters = bus.dead_letters
        wrong: list[Any] = [
            letters.list(stream="*"),
            letters.list(consumer="a.b"),
            letters.list(stream=""),
            letters.list(since=datetime(2026, 1, 1)),
            letters.count(until=datetime(2026, 1, 1)),
            letters.list(limit=0),
            letters.list(before=3),
            letters.list(newest_first=True, after=3),
            letters.list(newest_first=True, before=0),
            letters.list(after=-1),
            letters.get("S.c.>"),
            letters.get("S.c.1.trial"),
        ]
        for call in wrong:
            with pytest.raises(OptionsError):
                await call
        with pytest.raises(MessageNotFound):
            await letters.get("S.c.1")
        await bus._session.api.stream_delete("SMITH_DLQ")
        for call in (letters.list(), letters.count(), letters.get("S.c.1")):
            with pytest.raises(StreamNotFound):
                await call


async def test_large_letters_are_read_whole(monkeypatch: pytest.MonkeyPatch, account: Account) -> None:
    async with account.applied() as bus:
        payloads = [os.urandom(3 * 1024 * 1024) for _ in range(4)]
        await put_letters(bus, *(original(number, data=data) for number, data in enumerate(payloads, 1)))
        assert [letter.payload for letter in await bus.dead_letters.list()] == payloads
        monkeypatch.setattr(stream_reader, "_PULL_BYTES", 1000)  # each larger than a pull: asked for alone
        assert [letter.payload for letter in await bus.dead_letters.list()] == payloads


async def test_reading_continues_after_the_server_has_restarted(
    make_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: EmbeddedServer = make_server(tmp_path)
    async with AsyncSmithBus(server.url, contract=contract()) as bus:
        await bus.streams.apply(profile="dev")
        await put_many_letters(bus, 3000)
        admin, bounced = bus._session.api, 0
        really = admin.call

        async def call(verb: str, *args: Any, **options: Any) -> dict[str, Any]:
            """Restart the server after the consumer of a page was created, before it is read."""
            nonlocal bounced
            answer = await really(verb, *args, **options)
            if verb.startswith("CONSUMER.CREATE") and bounced < 2:
                bounced += 1
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
            return answer

        monkeypatch.setattr(admin, "call", call)
        found = await bus.dead_letters.list(limit=3000)
        assert bounced == 2
        assert [letter.position for letter in found] == sorted({letter.position for letter in found})
        assert len(found) == 3000


async def test_reading_leaves_no_consumer_behind(account: Account) -> None:
    async with account.applied() as bus:
        await put_many_letters(bus, 20)
        await bus.dead_letters.list(limit=7)
        await bus.dead_letters.count()
        await bus.dead_letters.count(error_type="KeyError")

        async def none_left() -> bool:
            return not await bus._session.api.consumers("SMITH_DLQ")

        await eventually_async(none_left)
