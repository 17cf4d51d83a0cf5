"""Unions of messages, strict messages and classes of the user's own, on a real server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec
import pytest
from buses import Account, Face
from generated import generated
from support import raw_client

from smith_sdk.errors import PayloadDecodeError, PayloadMismatch, UnknownValue

SPEC = """
[spec]
name = "draw"
version = 1
root = "draw"
package = "draw_bus"

[messages.Point]
fields = { x = "int", y = "int" }

[messages.Circle]
id = "name"
forbid_unknown = true
fields = { name = "str", center = "Point", radius = { type = "float", default = 1.0 } }

[messages.Group]
max_items = 30
fields = { parts = "list[Shape]", main = "Shape?" }

[messages.Legacy]
import = "draw_legacy:Row"

[unions.Shape]
doc = "What can be drawn."
tag = "@type"
members = { circle = "Circle", group = "Group" }

[subjects]
"shapes" = { pattern = "draw.shapes", message = "Shape", stream = "DRAW" }
"rows" = { pattern = "draw.rows", message = "Legacy", stream = "DRAW" }

[streams.DRAW]
subjects = ["draw.>"]
max_bytes = "1MiB"

[consumers.all]
stream = "DRAW"
ack_wait = "30s"
max_attempts = 1
max_ack_pending = 100
prefetch = 10

[profiles.dev]
replicas = 1
"""
LEGACY = """
from typing import ClassVar

import msgspec


class Row(msgspec.Struct, array_like=True, frozen=True):
    ID_FIELD: ClassVar[str] = "key"

    key: str
    n: int = 0
"""


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    top = tmp_path_factory.mktemp("draw")
    (top / "draw.toml").write_text(SPEC)
    (top / "draw_legacy.py").write_text(LEGACY)
    with generated(top / "draw.toml", "draw_bus", top) as package:
        yield package
    sys.modules.pop("draw_legacy", None)


async def test_a_union_is_published_and_read(draw: ModuleType, face: Face) -> None:
    protocol, shapes = draw.protocol, draw.subjects.shapes()
    circle = protocol.Circle(name="a", center=protocol.Point(x=1, y=2))
    group = protocol.Group(parts=[circle, protocol.Group(parts=[])], main=circle)
    legacy = protocol.Legacy(key="k", n=2)
    async with face.applied(contract=draw.topology.CONTRACT) as bus:
        assert not (await bus.publish(shapes, circle)).duplicate
        assert (await bus.publish(shapes, circle)).duplicate
        await bus.publish(shapes, group)
        await bus.publish(draw.subjects.rows(), legacy)
        assert (await bus.publish(draw.subjects.rows(), legacy)).duplicate
        got = await bus.consumer(draw.topology.consumers.all).fetch(3, timeout=5)
        assert [message.payload for message in got] == [circle, group, legacy]
        assert msgspec.json.decode(got[0].raw)["@type"] == "circle"
        assert got[2].raw == b'["k",2]'
        with pytest.raises(PayloadMismatch, match=r"draw.shapes carries Circle \| Group, not Point"):
            await bus.publish(shapes, circle.center)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (b'{"@type":"square"}', UnknownValue, "Invalid value 'square'"),
        (b'{"name":"a"}', PayloadDecodeError, "missing required field `@type`"),
        (b'{"@type":"circle","name":"a","center":{"x":1,"y":2},"z":1}', PayloadDecodeError, "unknown field `z`"),
        (b'{"@type":"group","parts":[],"z":[' + b"1," * 30 + b"1]}", PayloadDecodeError, "more than the 30"),
        (b'{"@type":"group","parts":' + b"[" * 100_000, PayloadDecodeError, "more than"),
        (b'{"@type":1}', PayloadDecodeError, "@type"),
        (b"[]", PayloadDecodeError, "Circle | Group"),
    ],
)
async def test_what_is_no_member_does_not_decode(
    draw: ModuleType, account: Account, data: bytes, error: type[Exception], text: str
) -> None:
    face = Face("async", account)
    async with face.applied(contract=draw.topology.CONTRACT) as bus:
        _, writer = await raw_client(face.url)
        writer.write(b"PUB draw.shapes %d\r\n%b\r\nPING\r\n" % (len(data), data))
        await writer.drain()
        (message,) = await bus.consumer(draw.topology.consumers.all).fetch(1, timeout=5)
        writer.close()
        with pytest.raises(error) as refused:
            _ = message.payload
        assert text in str(refused.value)


def test_a_handler_for_each_member(draw: ModuleType) -> None:
    payloads: Any = draw.topology.CONTRACT.payloads_on("draw.shapes")
    assert payloads == {draw.protocol.Circle, draw.protocol.Group}


def test_a_class_that_cannot_be_a_payload(draw: ModuleType) -> None:
    from smith_sdk.contract import require_struct

    class Wrong(msgspec.Struct):
        ID_FIELD = "name"

    with pytest.raises(PayloadMismatch, match="a:b, which the spec imports as a payload, is not a msgspec Struct"):
        require_struct(int, "a:b")
    with pytest.raises(PayloadMismatch, match="ID_FIELD is 'name', which is not one of its fields"):
        require_struct(Wrong, "a:b")
