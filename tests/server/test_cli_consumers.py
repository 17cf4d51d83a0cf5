"""`smith consumers` on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from buses import Account
from cli import Smith, apply_declared, contract_module
from support import eventually
from topology_cases import ORDERS, READER, contract

from smith_sdk import SmithBus
from smith_sdk.contract import Profile

DECLARED = contract(ORDERS, readers=(READER,), profile=Profile(name="prod"))
"""The reader gets one of the two subjects that messages are on."""


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server as declared, with 6 messages, 3 of them for the reader."""
    url = account.url
    monkeypatch.setenv("SMITH_NATS_URL", url)
    apply_declared(url, DECLARED, 6)
    return url


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str], url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Smith]:
    with contract_module("orders_bus", DECLARED) as name:
        monkeypatch.setenv("SMITH_CONTRACT", name)
        yield Smith(capsys)


def delivered(url: str, count: int, wait: float = 5.0) -> list[int]:
    """Have so many messages delivered, and acknowledge none; their sequences."""
    with SmithBus(url, contract=DECLARED) as bus:
        return [message.metadata.stream_seq for message in bus.consumer(READER).fetch(count, wait)]


def reader(smith: Smith) -> dict[str, Any]:
    found: dict[str, Any] = smith("consumers", "show", "reader", "--json").json
    return found


def test_ls_and_show(smith: Smith, url: str) -> None:
    assert delivered(url, 2) == [1, 3]
    assert smith("consumers", "ls").status == 0
    headings, row = smith.out.splitlines()
    assert headings.split()[:3] == ["consumer", "stream", "pending"]
    assert row.split()[:4] == ["reader", "ORDERS", "1", "2"]
    (listed,) = smith("consumers", "ls", "ORDERS", "--json").json
    assert (listed["name"], listed["num_pending"], listed["num_ack_pending"]) == ("reader", 1, 2)
    assert listed == reader(smith)
    assert smith("consumers", "show", "reader").status == 0
    assert {line.rstrip() for line in smith.out.splitlines()} >= {
        "consumer           reader",
        "pending            1",
        "unacked            2",
        "paused until",
        "filters            t.orders.a",
    }
    assert smith("consumers", "ls", "NONE").status == 1
    assert "ORDERS" in smith.err
    for command in ("show", "resume", "reset"):
        assert smith("consumers", command, "nobody").status == 1
        assert "reader" in smith.err


def test_pause_and_resume(smith: Smith, url: str) -> None:
    assert smith("consumers", "pause", "reader", "--for", "1h30m", "--json").status == 0
    until = datetime.fromisoformat(smith.json["paused_until"])
    assert 5390 < (until - datetime.now(UTC)).total_seconds() <= 5400
    assert delivered(url, 1, wait=0.5) == []
    assert smith("consumers", "ls").out.splitlines()[1].split()[-1] == f"{until:%Y-%m-%dT%H:%M:%SZ}"
    assert smith("consumers", "resume", "reader").out == "consumer reader of ORDERS is not paused\n"
    assert reader(smith)["paused_until"] is None
    assert delivered(url, 1) == [1]
    assert smith("consumers", "pause", "reader", "--for", "45s").status == 0
    assert smith.out.startswith("consumer reader of ORDERS is paused until 2")
    assert smith("consumers", "resume", "reader", "--json").json["paused_until"] is None


@pytest.mark.parametrize(("how_long", "status"), [("soon", 2), ("10", 2), ("10m5", 2), ("0s", 1), ("", 2)])
def test_a_pause_of_no_length(smith: Smith, how_long: str, status: int) -> None:
    assert smith("consumers", "pause", "reader", "--for", how_long).status == status
    assert reader(smith)["paused_until"] is None


def test_reset(smith: Smith, url: str) -> None:
    assert delivered(url, 3) == [1, 3, 5]
    assert smith("consumers", "reset", "reader").status == 1
    assert smith.out == "to be delivered again to consumer reader of ORDERS: 3 messages not acknowledged\n"
    assert smith.err == "smith: Aborted: this redelivers messages, and standard input is not a terminal. Pass --yes to confirm.\n"
    assert smith("consumers", "reset", "reader", "--seq", "3").status == 1
    assert smith.out == "to be delivered again to consumer reader of ORDERS: all messages from sequence 3 on\n"
    assert smith("consumers", "reset", "reader", "--json").status == 1
    assert smith.out == ""
    assert reader(smith)["num_ack_pending"] == 3, "nothing was changed"
    assert smith("consumers", "reset", "reader", "--seq", "3", "--yes").status == 0
    assert smith.out == "reset consumer reader of ORDERS: 2 messages to deliver\n"
    assert eventually(lambda: reader(smith)["num_ack_pending"] == 0)
    assert delivered(url, 2) == [3, 5]
    assert smith("consumers", "reset", "reader", "--yes", "--json").json["name"] == "reader"
    assert delivered(url, 2) == [3, 5]
    assert smith("consumers", "reset", "reader", "--seq", "99", "--yes").status == 1
    assert "ends at 6" in smith.err


def test_a_consumer_that_is_full_of_unacknowledged_messages_says_so(smith: Smith, url: str) -> None:
    with SmithBus(url, contract=DECLARED) as bus:
        api = bus._aio._session.api

        async def limit() -> None:
            info = await api.consumer_info(READER.stream, READER.name)
            body = {"stream_name": READER.stream, "config": {**info["config"], "max_ack_pending": 2}, "action": "update"}
            await api.call(f"CONSUMER.CREATE.{READER.stream}.{READER.name}", body, stream=READER.stream, consumer=READER.name)

        bus._portal.call(limit)
        for message in bus.consumer(READER).fetch(2):
            message.nack(600)
        eventually(lambda: bus.consumer(READER).info().is_full)
        assert bus.consumer(READER).info().max_ack_pending == 2
    for command in (("ls",), ("show", "reader")):
        assert smith("consumers", *command).status == 0
        assert "reader delivers nothing: 2 messages unacknowledged, which is its max_ack_pending=2" in smith.out
