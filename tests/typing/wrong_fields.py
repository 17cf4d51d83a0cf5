# ruff: noqa: B018, F401, F841
# fmt: off
"""Values that fields cannot hold, in the package that tests/codegen/fields.toml makes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, assert_never
from uuid import UUID, uuid4

from all_bus import subjects
from all_bus.protocol import Color, Domain, Size, Thing

from smith_sdk import SmithBus
from smith_sdk.contract import UnknownMember

NOW = datetime.now(UTC)


def make(text: str, number: float, color: Color, size: Size) -> None:
    Thing.new(price=1.5, big=1, code="A1", blob=b"", color="red")  # error
    Thing.new(price="1.10", big=1, code="A1", blob=b"", color="red")  # error
    Thing.new(price=Decimal(1), big=1.0, code="A1", blob=b"", color="red")  # error
    Thing.new(price=Decimal(1), big="1", code="A1", blob=b"", color="red")  # error
    Thing.new(price=Decimal(1), big=1, code=b"A1", blob=b"", color="red")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob="", color="red")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="green")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color=text)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", thing_id=text)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", made_at=text)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", made_at=date(2025, 1, 31))  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", made_at=1)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", day="2025-01-31")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", span=1.5)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", span="PT1S")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", prices=[1.5])  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", bigs={"a": "1"})  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", bigs={1: 1})  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", ratio="0.5")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", tags="abc")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", colors=["green"])  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", size="huge")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", size=text)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", size=color)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color=size)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", schema_version=4)  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", kind_name="other")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", times=[date(2025, 1, 31)])  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", thingId=uuid4())  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", klass="x")  # error
    Thing.new(price=Decimal(1), big=1, code="A1", blob=b"", color="red", password=1)  # error
    Thing(price=Decimal(1), big=1, code="A1", blob=b"", color="red", thing_id=uuid4(), made_at="2025-01-31T12:00:00Z")  # error
    Thing(price=Decimal(1), big=1, code="A1", blob=b"", color="red", thing_id=text, made_at=NOW)  # error
    Thing(price=Decimal(1), big=1, code="A1", blob=b"", color="red", made_at=NOW)  # error
    Thing(price=Decimal(1), big=1, code="A1", blob=b"", color="red", thing_id=uuid4(), made_at=NOW, home=text)  # error


def read(thing: Thing) -> None:
    thing.from_.upper()  # error
    thing.klass  # error
    thing.madeAt  # error
    thing.made_at.upper()  # error
    thing.price + 1.5  # error
    thing.day.hour  # error
    thing.span.days.x  # error
    thing.thing_id.upper()  # error
    thing.bigs["a"]  # error
    thing.schema_version = 3  # error
    text: str = thing.made_at  # error
    number: float = thing.price  # error
    known: Literal["red", "blue"] = thing.color  # error
    version: Literal[4] = thing.schema_version  # error


def unhandled(color: Color) -> int:  # error
    match color:
        case "red":
            return 1
        case "blue":
            return 2


def not_exhaustive(color: Color) -> int:
    match color:
        case "red":
            return 1
        case "blue":
            return 2
        case other:
            assert_never(other)  # error


def forgotten(size: Size) -> int:
    match size:
        case "small":
            return 1
        case other:
            assert_never(other)  # error


def publish(bus: SmithBus, thing: Thing) -> None:
    bus.emit(subjects.former(), thing)  # error
