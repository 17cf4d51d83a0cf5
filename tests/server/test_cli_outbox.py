"""`smith outbox`: on the file of a process that no longer runs, and beside one that does."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from buses import Account
from cli import Smith

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk._core.outbox.file import OutboxDatabase

SUBJECT = "smith.events.health.web"


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smith:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)

    async def apply() -> None:
        async with account.applied():
            pass

    asyncio.run(apply())
    return Smith(capsys)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Three messages wait, the second of another contract, and a fourth was refused."""
    name = str(tmp_path / "outbox.db")
    with closing(OutboxDatabase.open(name)) as file, file.transaction():
        for number, subject in enumerate((SUBJECT, "acme.orders", SUBJECT, SUBJECT)):
            data = b'{"service":"web","healthy":true,"timestamp_ns":%d}' % number
            file.add(PublishRequest(subject, data, "SYSTEM_EVENTS", f"id-{number}"), len(data), time.time(), None)
        file.fail([(4, "QueueFull: no room")], time.time())
    return name


async def stored(account: Account) -> list[int]:
    async with AsyncSmithBus(account.url) as bus:
        return [one.payload.timestamp_ns async for one in bus.read(subjects.events.health.filter())]


def test_ls_shows_what_waits_and_what_was_refused(smith: Smith, path: str) -> None:
    lines = smith("outbox", "ls", path).out.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "1", "2", "3", "4"]
    assert lines[1].split()[2:] == [SUBJECT, "49B"]
    assert lines[4].endswith("QueueFull: no room")
    assert smith.err == "3 messages waiting, 1 failed\n"
    assert [(one["id"], one["subject"], one["msg_id"], one["size"]) for one in smith("outbox", "ls", path, "--json").json][
        :2
    ] == [
        (1, SUBJECT, "id-0", 49),
        (2, "acme.orders", "id-1", 49),
    ]
    assert [one["id"] for one in smith("outbox", "ls", path, "--failed", "--json").json] == [4]
    assert [one["id"] for one in smith("outbox", "ls", path, "--after", "1", "--limit", "2", "--json").json] == [2, 3]
    assert "there may be more: pass --after 3" in smith.err


def test_flush_publishes_them_and_reports_what_is_left(smith: Smith, path: str, account: Account) -> None:
    done = smith("outbox", "flush", path)
    assert (done.status, done.out) == (1, "published 2 messages\n")
    assert f"2 messages refused: `smith outbox ls {path} --failed` shows why" in done.err
    assert asyncio.run(stored(account)) == [0, 2]
    assert smith("outbox", "discard", path, "2", "--yes").out == "discarded 1 message\n"
    done = smith("outbox", "flush", path, "--failed", "--json")
    assert (done.status, done.json["messages"], done.json["failed"]) == (0, 0, 0)
    assert asyncio.run(stored(account)) == [0, 2, 3]


def test_discard_deletes_what_it_is_told_to(smith: Smith, path: str) -> None:
    assert smith("outbox", "discard", path, "1", "3", "9", "--yes", "--json").json == [1, 3]
    assert smith.err == "1 message not found: sent or discarded before\n"
    assert smith("outbox", "discard", path, "--failed", "--yes").out == "discarded 1 message\n"
    assert [one["id"] for one in smith("outbox", "ls", path, "--json").json] == [2]
    for wrong, words in (
        ((), "no messages chosen"),
        (("2", "--failed"), "no messages chosen"),
        (("2",), "Aborted: this deletes data"),
    ):
        done = smith("outbox", "discard", path, *wrong)
        assert (done.status, words in done.err) == (1, True)


def test_beside_a_process_that_has_it_open(smith: Smith, path: str) -> None:
    with closing(OutboxDatabase.open(path)):
        assert len(smith("outbox", "ls", path, "--json").json) == 4
        for command in (("flush", path), ("discard", path, "1", "--yes")):
            done = smith("outbox", *command)
            assert (done.status, f"in use by process {os.getpid()}" in done.err) == (1, True)


def test_a_file_that_is_none(smith: Smith, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for name, words in ((tmp_path / "none", "does not exist"), (tmp_path, "is a directory"), (empty, "is empty")):
        for command in (("ls",), ("flush",), ("discard", "1", "--yes")):
            done = smith("outbox", command[0], str(name), *command[1:])
            assert (done.status, words in done.err) == (1, True), (name, command, done.err)
    assert not (tmp_path / "none").exists()
