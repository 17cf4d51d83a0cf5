"""Headers that a subject declares: published with it, and read from its messages, on both faces."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import pytest
from buses import Face
from generated import generated

from smith_sdk.errors import OptionsError, PayloadDecodeError, PayloadMismatch, PublishManyError, SubjectMismatch

SPEC = Path(__file__).parents[1] / "codegen" / "patterns.toml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The generated package, as `Any`."""
    with generated(SPEC, "patterns_bus", tmp_path_factory.mktemp("headers")) as package:
        yield package


def order(made: Any) -> Any:
    return made.protocol.Order(order_id="o")


def traced(made: Any) -> Any:
    return made.subjects.traced(tenant="t", order_id="o")


async def test_what_is_published_is_read(made: Any, face: Face) -> None:
    given = made.protocol.TracedHeaders(
        trace_id="null", priority=3, due=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), urgent=True, kind="b"
    )
    async with face.applied(contract=made.topology.CONTRACT) as bus:
        await bus.publish(traced(made).with_headers(given), order(made), headers={"Other": "x"})
        await bus.publish_many([traced(made).with_headers(made.protocol.TracedHeaders(priority=0)).envelope(order(made))])
        messages = [message async for message in bus.read(made.subjects.traced.filter())]
    first, second = messages
    assert first.typed_headers == given
    assert first.subject == traced(made)
    sent = {name: first.headers[name] for name in ("Trace-Id", "Priority", "Due", "Urgent", "Kind", "Other")}
    assert sent == {
        "Trace-Id": "null", "Priority": "3", "Due": "2025-01-02T03:04:05Z", "Urgent": "true", "Kind": "b", "Other": "x"
    }  # fmt: skip
    assert second.typed_headers == made.protocol.TracedHeaders(priority=0)
    assert "Trace-Id" not in second.headers


async def test_emitted_with_and_without_headers(made: Any, face: Face) -> None:
    noted = made.subjects.noted(tenant="t")
    async with face.bus(face.url, contract=made.topology.CONTRACT) as bus, bus.subscribe(noted) as messages:
        await bus.flush()
        await bus.emit(noted.with_headers(made.protocol.Notes(note="n", tenant="x")), order(made))
        await bus.emit(noted, order(made))
        found = [await anext(aiter(messages)) for _ in range(2)]
    assert [message.typed_headers for message in found] == [made.protocol.Notes(note="n", tenant="x"), made.protocol.Notes()]
    assert found[0].headers["X-Note"] == "n"


async def test_what_is_refused_before_it_is_sent(made: Any, face: Face) -> None:
    headers = made.protocol.TracedHeaders
    async with face.applied(contract=made.topology.CONTRACT) as bus:
        for _ in range(2):
            with pytest.raises(SubjectMismatch, match=r"needs its headers: publish to subject\.with_headers\(TracedHeaders"):
                await bus.publish(traced(made), order(made), headers={"Priority": "1"})
        with pytest.raises(PayloadMismatch, match="are TracedHeaders, not Notes"):
            traced(made).with_headers(made.protocol.Notes())
        for wrong in ({"priority": "1"}, {"priority": 10}, {"priority": None}, {"priority": 1, "kind": "c"}):
            with pytest.raises(PayloadMismatch, match="headers for"):
                traced(made).with_headers(headers(**wrong))
        for text in ("a\r\nNats-TTL: 1s", " a", "a\n"):
            with pytest.raises(PayloadMismatch, match="white space at an end, or a line break"):
                traced(made).with_headers(headers(priority=1, trace_id=text))
        with pytest.raises(OptionsError, match="Priority is declared"):
            await bus.publish(traced(made).with_headers(headers(priority=1)), order(made), headers={"Priority": "1"})
        with pytest.raises(PayloadMismatch):
            await bus.publish(traced(made).with_headers(headers(priority=1)), made.protocol.Other(a=1))
        with pytest.raises(PublishManyError):
            await bus.publish_many([made.subjects.dev(tenant="t").envelope(made.protocol.Other(a=1))])


async def test_hostile_headers_do_not_end_a_reader(made: Any, face: Face) -> None:
    hostile = [
        {},
        {"Priority": "x"},
        {"Priority": "10"},
        {"Priority": "null"},
        {"Priority": "1", "Due": "now"},
        {"Priority": "1", "Due": "null"},
        {"Priority": "\u00e9" * 9000},
    ]
    async with face.applied(contract=made.topology.CONTRACT) as bus:
        nc = await nats.connect(face.url)
        for headers in hostile:
            await nc.jetstream().publish("dev.traced.t.o", b'{"order_id":"o"}', headers=headers or None)
        await nc.close()
        await bus.publish(traced(made).with_headers(made.protocol.TracedHeaders(priority=9)), order(made))
        seen = 0
        async for message in bus.read(made.subjects.traced.filter()):
            assert message.payload == order(made)
            seen += 1
            if seen > len(hostile):
                assert message.typed_headers.priority == 9
                continue
            with pytest.raises(PayloadDecodeError, match=r"headers of a message on dev\.traced\.t\.o are invalid") as refused:
                message.typed_headers  # noqa: B018
            assert len(str(refused.value)) < 400
    assert seen == len(hostile) + 1


async def test_a_subject_without_declared_headers(made: Any, face: Face) -> None:
    async with face.applied(contract=made.topology.CONTRACT) as bus:
        await bus.publish(made.subjects.dev(tenant="t"), order(made))
        (message,) = [message async for message in bus.read(made.subjects.dev.filter())]
        with pytest.raises(SubjectMismatch, match="declares no headers"):
            message.typed_headers  # noqa: B018
