"""The parts of the outbox: turns, the clock, and commits for many at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import eventually_async

from smith_sdk import Stored
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk._core.outbox.commits import GroupCommits
from smith_sdk._core.outbox.file import Clock, OutboxDatabase
from smith_sdk._core.outbox.lane import is_refusal, may_be_stored
from smith_sdk._core.outbox.turns import Turns
from smith_sdk.errors import (
    CircuitOpen,
    ConnectionLost,
    JetStreamDisabled,
    NoInterest,
    PayloadTooLarge,
    PermissionDenied,
    PublishCircuitOpen,
    PublishError,
    PublishUnconfirmed,
    QueueFull,
    SmithError,
    StreamNotFound,
    UnknownSubject,
    WrongStream,
)

REQUEST = PublishRequest("s.x", b"data", "S", "id", {"a": "b"}, 5.0)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[OutboxDatabase]:
    with closing(OutboxDatabase.open(str(tmp_path / "outbox.db"))) as file:
        yield file


# ---- turns


async def test_while_it_is_open_all_have_their_turn_at_once() -> None:
    turns = Turns()
    for _ in range(1000):
        await turns.take(0.0)
    assert turns.is_free


async def test_while_a_backlog_shrinks_every_second_message_that_was_sent_gives_a_turn() -> None:
    turns = Turns()
    turns.shrunk(0)
    for _ in range(256):  # what a slow publisher never uses up
        await turns.take(60.0)
    order: list[int] = []

    async def take(number: int) -> None:
        await turns.take(60.0)
        order.append(number)

    tasks = [asyncio.ensure_future(take(number)) for number in range(10)]
    await asyncio.sleep(0)
    assert order == []
    turns.shrunk(4)
    await eventually_async(lambda: len(order) == 2)
    tasks[2].cancel()
    tasks.append(asyncio.ensure_future(take(10)))
    turns.open()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, *range(3, 11)]
    assert turns.is_free


async def test_a_turn_is_taken_at_the_timeout() -> None:
    turns = Turns()
    turns.shrunk(0)
    for _ in range(256):
        await turns.take(60.0)
    await turns.take(0.001)
    assert not turns.is_free


async def test_a_later_publisher_does_not_overtake_one_that_has_its_turn() -> None:
    turns = Turns()
    turns.shrunk(0)
    for _ in range(256):
        await turns.take(60.0)
    order: list[str] = []

    async def take(name: str) -> None:
        await turns.take(60.0)
        order.append(name)

    first = asyncio.ensure_future(take("first"))
    await asyncio.sleep(0)
    turns.open()
    assert not turns.is_free
    await take("second")
    await first
    assert order == ["first", "second"]


# ---- the clock


def test_the_clock_does_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    before = clock.now()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    assert before <= clock.now() < before + 60
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert clock.now() >= before + 3600


# ---- what becomes of a message


@pytest.mark.parametrize(
    ("error", "refused", "stored"),
    [
        (PayloadTooLarge("x"), True, False),
        (NoInterest("x"), True, False),
        (UnknownSubject("x", subject="s"), True, False),
        (PermissionDenied("x", subject="s.x"), True, False),
        (PermissionDenied("x", subject="_INBOX.1"), False, False),
        (PublishError("x", code=400), True, False),
        (PublishError("x", code=503), False, False),
        (WrongStream("x", err_code=10060), True, False),
        (WrongStream("x"), True, True),
        (QueueFull("x", code=503), False, False),
        (StreamNotFound("x"), False, False),
        (JetStreamDisabled("x"), False, False),
        (CircuitOpen("x", name="n", until=1.0, retry_after=1.0), False, False),
        (
            PublishCircuitOpen("x", name="n", until=1.0, retry_after=1.0, stream="S", subject="s.x", msg_id="id"),
            False,
            False,
        ),
        (ConnectionLost("x"), False, True),
        (PublishUnconfirmed("x", may_be_stored=True, subject="s.x", msg_id="id"), False, True),
        (PublishUnconfirmed("x", may_be_stored=False, subject="s.x", msg_id="id"), False, False),
    ],
)
def test_which_errors_are_for_good_and_which_leave_it_open(error: SmithError, refused: bool, stored: bool) -> None:
    assert (is_refusal(error, REQUEST), may_be_stored(error)) == (refused, stored)


def test_stored_is_no_acknowledgement() -> None:
    outcome: Any = Stored(local=True)
    assert outcome == Stored()
    assert not hasattr(outcome, "seq")
    assert not hasattr(outcome, "stream")


# ---- the file


def test_a_message_comes_out_as_it_was_put_in(file: OutboxDatabase) -> None:
    with file.transaction():
        file.add(REQUEST, 4, 1.0, None)
        file.add(PublishRequest("s.y", b"", "T", "other"), 4, 1.0, 2.0)
        (found,) = file.next("S", count=9, size=99, now=7.0)
    assert (found.sent_at, found.request) == (None, PublishRequest("s.x", b"data", "S", "id", {"a": "b"}, None, False))
    with file.transaction():
        (again,) = file.next("S", count=9, size=99, now=8.0)
        assert again.sent_at == 7.0
        file.unsend([again.id])
        (fresh,) = file.next("S", count=9, size=99, now=9.0)
    assert fresh.sent_at is None
    assert file.waiting() == {"S": 1, "T": 1}


def test_a_page_has_a_limit_of_bytes_and_at_least_one_message(file: OutboxDatabase) -> None:
    with file.transaction():
        for size in (10, 3, 3, 3):
            file.add(REQUEST, size, 1.0, None)
        assert [one.id for one in file.next("S", count=9, size=5, now=1.0)] == [1]
        file.remove([1])
        assert [one.id for one in file.next("S", count=9, size=6, now=1.0)] == [2, 3]
        assert [one.id for one in file.next("S", count=1, size=6, now=1.0)] == [2]
        assert file.next("S", count=0, size=6, now=1.0) == []


def test_an_id_is_never_used_twice(file: OutboxDatabase) -> None:
    for expected in (1, 2, 3):
        with file.transaction():
            assert file.add(REQUEST, 4, 1.0, None) == expected
            file.remove([expected])


# ---- commits for many at once


async def test_one_job_that_fails_costs_the_others_nothing(file: OutboxDatabase) -> None:
    commits = GroupCommits(file)

    def fails(file: OutboxDatabase) -> int:
        file.add(REQUEST, 4, 1.0, None)
        raise ValueError("planted")

    jobs = [commits.run(lambda file: file.add(REQUEST, 4, 1.0, None)), commits.run(fails)]
    jobs.append(commits.run(lambda file: file.add(REQUEST, 4, 1.0, None)))
    first, planted, last = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(planted, ValueError)
    assert (await commits.run(lambda file: file.info())).messages == 2
    assert isinstance(first, int)
    assert isinstance(last, int)
    await commits.close()
    await commits.close()


async def test_what_was_asked_for_is_done_before_it_closes(file: OutboxDatabase, tmp_path: Path) -> None:
    commits = GroupCommits(file)
    jobs = [commits.run(lambda file: file.add(REQUEST, 4, 1.0, None)) for _ in range(3000)]
    await commits.close()
    assert all(job.done() for job in jobs)
    with closing(OutboxDatabase.open(str(tmp_path / "outbox.db"))) as again:
        assert again.info().messages == 3000


async def test_an_owner_that_is_forgotten_gives_the_file_back(file: OutboxDatabase, tmp_path: Path) -> None:
    commits = GroupCommits(file)
    await commits.run(OutboxDatabase.info)
    thread = commits._thread
    del commits
    await asyncio.to_thread(thread.join, 30)
    OutboxDatabase.open(str(tmp_path / "outbox.db")).close()
