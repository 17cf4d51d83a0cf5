"""Micro-services without a server: what a name, a version and an answer may be."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from smith_sdk._core.connection.parser import RawMessage
from smith_sdk._core.services import ask as asking
from smith_sdk._core.services.format import Ping, Stats, decode, encode, name_of, requested, semver
from smith_sdk.aio.worker_service import joined


@pytest.mark.parametrize(
    ("python", "semantic"),
    [
        ("0.1.0", "0.1.0"),
        ("1.0rc1", "1.0.0-rc1"),
        ("2", "2.0.0"),
        ("1.2.3.4", "1.2.3-4"),
        ("1!2.0.post1", "2.0.0-post1"),
        ("01.2", "1.2.0"),
        ("1.0.01", "1.0.1"),
        ("1.0.0.01", "1.0.0"),  # numbers of a suffix have no leading zero
        ("unknown", "0.0.0"),
    ],
)
def test_a_version_of_python_becomes_a_semantic_one(python: str, semantic: str) -> None:
    assert semver(python) == semantic
    ping = Ping(name="n", id="i", version=semantic)
    assert decode(Ping, encode(ping)) == ping


def test_a_name_has_only_what_services_may_have() -> None:
    assert [name_of(one) for one in ("executor-fs_read", "a b/ä", "")] == ["executor-fs_read", "a_b__", "_"]


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("$SRV.PING", ("PING", "", "")),
        ("$SRV.INFO.name", ("INFO", "name", "")),
        ("$SRV.STATS.name.id", ("STATS", "name", "id")),
        ("$SRV.SCHEMA", None),
        ("$SRV", None),
        ("$SRV.PING.a.b.c", None),
        ("a.PING", None),
    ],
)
def test_a_request_is_read_off_its_subject(subject: str, found: Any) -> None:
    assert requested(subject) == found


@pytest.mark.parametrize(
    ("patterns", "subject"),
    [
        (("a.b.*",), "a.b.*"),
        (("a.b.c", "a.b.d"), "a.b.>"),
        (("a.b", "a.b.c"), "a.>"),
        (("a.b.c", "a.b"), "a.>"),
        (("a", "b"), ">"),
        ((), ">"),
    ],
)
def test_an_endpoint_has_one_subject_for_all_filters(patterns: tuple[str, ...], subject: str) -> None:
    assert joined(patterns) == subject


def answer(**fields: Any) -> bytes:
    found = {"type": "io.nats.micro.v1.stats_response", "name": "n", "id": "i", "version": "1.0.0"}
    return json.dumps({**found, "started": "2026-01-01T00:00:00Z", "endpoints": [], **fields}).encode()


async def test_hostile_answers_are_ignored_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_MOST", 5)
    answers: Any = asking._Answers("$SRV.STATS", Stats)
    valid = [answer(), answer(id="j", metadata=None, unknown={}), answer(id="i", version="2.0.0")]
    invalid = [
        b"",
        b"{",
        b"[" * 50_000,
        b"\xff",
        answer(type="io.nats.micro.v1.ping_response"),
        answer(name="a b"),
        answer(name="n\n"),
        answer(id=""),
        answer(version="1"),
        answer(started="yesterday"),
        answer(started="2026-01-01T00:00:00"),
        answer(endpoints=[{}] * 1000),
        answer(endpoints=None),
        answer(metadata={"a": 1}),
        answer(id="big", metadata={"a": "x" * 70_000}),
    ]
    for data in (*valid, *invalid, *(answer(id=str(number)) for number in range(10))):
        answers.receive(RawMessage("inbox", "", data, None))
    assert {(one.id, one.version) for one in answers.found.values()} == {
        ("i", "1.0.0"),
        ("j", "1.0.0"),
        *((str(number), "1.0.0") for number in range(3)),
    }
    assert answers.ignored == len(invalid) + 7
    assert not answers.over.done()
    await asyncio.sleep(0)


async def test_the_bytes_of_all_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TOTAL", 3 * len(answer(id="0")))
    answers: Any = asking._Answers("$SRV.STATS", Stats)
    for number in range(9):
        answers.receive(RawMessage("inbox", "", answer(id=str(number)), None))
    assert (len(answers.found), answers.ignored) == (3, 6)
