"""Right uses of fields of every type, in the package that tests/codegen/fields.toml makes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal, assert_never
from uuid import UUID, uuid4

from all_bus import subjects
from all_bus.protocol import Color, Domain, Size, Thing

from smith_sdk import SmithBus
from smith_sdk.contract import UnknownMember


def make(color: Color, size: Size) -> Thing:
    least = Thing.new(price=Decimal("1.10"), big=2**64 - 1, code="AB12", blob=b"", color="red")
    whole = Thing(
        thing_id=uuid4(),
        made_at=datetime.now(UTC),
        day=date(2025, 1, 31),
        span=timedelta(seconds=1.5),
        price=Decimal(1),
        prices=[Decimal("0.1")],
        big=1,
        bigs={"a": 1, "b": None},
        ratio=1,
        code="AB12",
        tags=["a"],
        blob=b"abcd",
        color=color,
        colors=["red", color, UnknownMember("green")],
        size=size,
        from_="here",
        class_="first",
        list_=1,
        schema_version=3,
        kind_name="thing",
        password="hunter2",
        home=Domain("eu"),
        date=None,
        datetime=datetime.now(UTC),
        times=[],
    )
    return whole if whole.price > least.price else least


def read(thing: Thing) -> tuple[UUID, datetime, date, timedelta, Decimal, int, float, str, bytes, Literal[3]]:
    late = thing.made_at + thing.span if thing.datetime is None else thing.datetime - thing.span
    total = sum(thing.prices, start=thing.price) * 2
    big = sum(number or 0 for number in (thing.bigs or {}).values()) + thing.big
    text = (thing.from_ or "") + thing.class_ + thing.color + "".join(thing.colors or [])
    return (thing.thing_id, late, thing.day, thing.span, total, big, thing.ratio, text, thing.blob, thing.schema_version)


def handled(color: Color) -> int:
    match color:
        case "red":
            return 1
        case "blue":
            return 2
        case unknown:
            return len(unknown)


def exhaustive(size: Size) -> int:
    match size:
        case "small":
            return 1
        case "large":
            return 2
        case other:
            assert_never(other)


def publish(bus: SmithBus, thing: Thing) -> None:
    bus.emit(subjects.things(), thing)
