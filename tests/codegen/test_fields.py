"""Payloads with every type of field: their JSON, hostile values, and what shows a payload."""

from __future__ import annotations

import copy
import json
import math
import pickle
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from generated import generated

from smith_sdk._core import codec
from smith_sdk.cli import fields as cli_fields
from smith_sdk.errors import InvalidToken, OptionsError, PayloadDecodeError, PayloadMismatch, UnknownValue
from smith_sdk.signing import canonical_json

ID = "0199c5a0-7b4e-7000-8000-000000000000"
DOCUMENT: dict[str, Any] = {
    "thingId": ID,
    "madeAt": "2025-01-31T12:00:00Z",
    "day": "2025-01-31",
    "span": "PT1.5S",
    "price": "1.10",
    "prices": ["0.1"],
    "big": 2**64 - 1,
    "bigs": {"a": 1, "b": None},
    "ratio": 0.5,
    "code": "AB12",
    "tags": ["x"],
    "blob": "YWJjZA==",
    "color": "red",
    "colors": ["blue"],
    "size": "small",
    "from": "here",
    "klass": "first",
    "list": 1,
    "schemaVersion": 3,
    "kindName": "thing",
    "password": "hunter2",
    "old": 1,
    "home": "eu",
    "date": "2025-01-30",
    "datetime": "2025-01-31T12:00:00.000001Z",
    "times": ["2025-01-31T12:00:00Z"],
}


@pytest.fixture(scope="module")
def all_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with generated(Path(__file__).with_name("fields.toml"), "all_bus", tmp_path_factory.mktemp("fields")) as package:
        yield package


@pytest.fixture(scope="module")
def thing(all_bus: Any) -> Any:
    return all_bus.protocol.Thing


def read(cls: Any, **changed: Any) -> Any:
    return codec.decode(cls, json.dumps({**DOCUMENT, **changed}).encode(), "all.things")


def test_the_json_of_every_type(thing: Any) -> None:
    found = read(thing)
    assert json.loads(codec.encode(found)) == DOCUMENT
    assert codec.check(thing, found, codec.encode(found)) is None
    assert (found.thing_id, found.day, found.span) == (UUID(ID), date(2025, 1, 31), timedelta(seconds=1.5))
    assert (found.price, found.prices) == (Decimal("1.10"), [Decimal("0.1")])
    assert (found.from_, found.class_, found.list_, found.blob) == ("here", "first", 1, b"abcd")
    assert found.to_dict() == {**DOCUMENT, "madeAt": found.made_at, "datetime": found.datetime, "times": found.times}


def test_the_json_of_every_type_can_be_signed(thing: Any) -> None:
    data = codec.encode(read(thing, ratio=0.1))
    canonical = canonical_json(data)
    assert codec.decode(thing, canonical, "all.things") == codec.decode(thing, data, "all.things")
    assert canonical_json(codec.encode(codec.decode(thing, canonical, "all.things"))) == canonical


def test_times_are_read_with_any_offset_and_written_in_utc(thing: Any) -> None:
    found = read(thing, madeAt="2025-01-31T14:00:00.25+02:00", times=["2025-01-31 07:00:00-05:00"])
    assert found.made_at == datetime(2025, 1, 31, 12, 0, 0, 250_000, UTC)
    assert found.made_at.tzinfo is UTC
    assert b'"madeAt":"2025-01-31T12:00:00.250000Z"' in codec.encode(found)
    assert b'"times":["2025-01-31T12:00:00Z"]' in codec.encode(found)


HOSTILE: dict[str, list[Any]] = {
    "madeAt": ["2025-01-31T12:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z", 1, ""],
    "times": [["2025-01-31T12:00:00"], ["0001-01-01T00:00:00+00:01"]],
    "day": ["2025-02-30", "10000-01-01", "2025-01-31T00:00:00Z"],
    "span": ["P1Y", "P99999999999D", "PT" + "9" * 1000 + "S", "1h", 5],
    "price": [
        "NaN", "sNaN", "Infinity", "-Infinity", "1E+999999999", "1E-101", "0E+5000", "9" * 101, "9" * 10_000_000, "1000.51", "-0.01",
        True, "x", None,
    ],
    "prices": [["NaN"], [None], ["1E+101"]],
    "big": [2**64, -1, 1.5, int("9" * 4000), "1"],
    "bigs": [{"a": 2**64}, {"a": -1}],
    "ratio": [1.51, -0.1, "0.5", int("9" * 400)],
    "code": ["AB12\n", "ab12", "AB\u0661", "AB" + "1" * 9, "A" * 10_000_000],
    "tags": [["a"] * 4],
    "blob": ["YWJjZGU=", "*", "YQ"],
    "thingId": ["1", f"{{{ID}}}", "x" * 10_000_000],
    "color": [1, None],
    "password": [1, ["hunter2"]],
}  # fmt: skip


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_values_do_not_decode(thing: Any, key: str) -> None:
    started = time.process_time()
    for value in HOSTILE[key]:
        with pytest.raises(PayloadDecodeError) as refused:
            read(thing, **{key: value})
        assert "hunter2" not in str(refused.value)
        assert len(str(refused.value)) < 2000
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "data", [b'{"price": NaN}', b'{"ratio": 1e999}', b'{"code": "\xff"}', b'{"ratio": Infinity}', b"\xff", b""]
)
def test_what_is_not_json_does_not_decode(thing: Any, data: bytes) -> None:
    with pytest.raises(PayloadDecodeError):
        codec.decode(thing, data, "all.things")


def test_closed_sets_and_constants_refuse_other_values(thing: Any) -> None:
    for changed in ({"size": "huge"}, {"schemaVersion": 4}, {"kindName": "other"}):
        with pytest.raises(UnknownValue):
            read(thing, **changed)
    absent = {key: value for key, value in DOCUMENT.items() if key != "schemaVersion"}
    found = codec.decode(thing, json.dumps(absent).encode(), "all.things")
    assert found.schema_version == 3
    assert b'"schemaVersion":3' in codec.encode(found)


def test_an_open_enum_keeps_a_value_that_it_does_not_know(thing: Any) -> None:
    found = read(thing, color="green", colors=["green", "red"])
    assert (found.color, found.colors) == ("green", ["green", "red"])
    assert b'"color":"green","colors":["green","red"]' in codec.encode(found)


def made(cls: Any, **changed: Any) -> Any:
    given = {"price": Decimal(1), "big": 1, "code": "AB1", "blob": b"", "color": "red"}
    return cls.new(**{**given, **changed})


def test_a_new_payload_is_filled_in(thing: Any) -> None:
    found = made(thing)
    assert isinstance(found.thing_id, UUID)
    assert found.thing_id.version == 7
    assert abs(datetime.now(UTC) - found.made_at) < timedelta(minutes=1)
    assert (found.day, found.span, found.home) == (date(2025, 1, 31), timedelta(seconds=1.5), "eu")
    early = made(thing, made_at=datetime(2025, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))))
    assert early.made_at.tzinfo is UTC
    assert early.made_at.hour == 12


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("made_at", datetime(2025, 1, 31), "has no time zone"),
        ("made_at", "2025-01-31T12:00:00Z", "is not a datetime but str"),
        ("times", [datetime(2025, 1, 31)], "has no time zone"),
        ("price", 1.5, "is not a Decimal but float"),
        ("price", Decimal("NaN"), "is not a finite number"),
        ("price", Decimal("1000.51"), "is more than 1000.50"),
        ("price", Decimal(10) ** -101, "has more than 100 digits"),
        ("prices", [Decimal("Infinity")], "is not a finite number"),
        ("big", 2**64, "at most 18446744073709551615"),
        ("bigs", {"a": 2**64}, "is more than 2^64 - 1"),
    ],
)
def test_values_that_are_refused_when_a_payload_is_made(thing: Any, field: str, value: Any, words: str) -> None:
    with pytest.raises(PayloadMismatch, match=f"Thing.{field} ") as refused:
        made(thing, **{field: value})
    assert words.replace("^", "\\^") in str(refused.value) or words in str(refused.value)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day", datetime(2025, 1, 31, tzinfo=UTC)),
        ("span", 1.5),
        ("thing_id", ID),
        ("ratio", math.nan),
        ("code", "ab"),
        ("code", "A" * 100),
        ("tags", ["a"] * 4),
        ("blob", b"abcde"),
        ("size", "huge"),
        ("schema_version", 4),
    ],
)
def test_values_that_are_refused_when_a_payload_is_published(thing: Any, field: str, value: Any) -> None:
    payload = made(thing, **{field: value})
    found = codec.check(thing, payload, codec.encode(payload))
    assert found is not None
    assert found[0] in (field, "thingId", "schemaVersion")


def test_a_secret_is_in_the_json_and_nowhere_else(thing: Any) -> None:
    payload = made(thing, password="hunter2")
    assert b'"password":"hunter2"' in codec.encode(payload)
    shown = [repr(payload), str(payload), f"{payload}", f"{[payload]}", payload._repr_html_(), str(payload.__rich_repr__())]
    for one in shown:
        assert "hunter2" not in one
        assert "***" in one
    assert "password=None" in repr(made(thing))
    with pytest.raises(OptionsError) as refused:
        cli_fields.build(thing, {"password": cli_fields.Json('["hunter2"]')}, "a thing")
    assert "hunter2" not in str(refused.value)
    assert "which is secret, is not text" in str(refused.value)


def test_what_shows_payloads_hides_the_keys_of_secrets(all_bus: Any) -> None:
    contract = all_bus.topology.CONTRACT
    assert contract.secrets == {"password"}
    whole = json.dumps([{"inner": {"password": ["hunter2"], "a": 1}}, {"password": None}]).encode()
    assert json.loads(contract.without_secrets(whole)) == [{"inner": {"password": "***", "a": 1}}, {"password": None}]
    for other in (b'{"a": 1}', b"\xff", b"", b"[" * 10_000):
        assert contract.without_secrets(other) == other
    for cut in (json.dumps(DOCUMENT).encode()[:-1], b'{"password": "hunter2"'):
        assert b"hunter2" not in contract.without_secrets(cut)


def test_using_what_is_deprecated_warns_and_receiving_it_does_not(all_bus: Any) -> None:
    old: Any = None
    for _ in range(2):  # each place that uses it is warned about
        with pytest.warns(DeprecationWarning, match=r"all_bus.protocol.Old is deprecated: use Thing") as caught:
            old = all_bus.protocol.Old
        assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"all_bus.subjects.former is deprecated: use things"):
        former = all_bus.subjects.former
    assert (old.__deprecated__, former.__deprecated__) == ("use Thing", "use things")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        subject = all_bus.topology.CONTRACT.parse("all.old")
        assert type(subject) is former
        assert codec.decode(old, b'{"x":1}', str(subject)).x == 1
        assert all_bus.protocol.Thing is all_bus.protocol.Thing


BASE = """
[spec]
name = "{name}"
version = 1
root = "{name}"
package = "{name}_bus"
"""
KIN = """
extends = ["kin_bus"]
[messages.Order]
id = "order_id"
rename = "pascal"
[messages.Order.fields]
order_id = { type = "OrderId", deprecated = "no longer needed" }
color = "Color"
type = { type = "Tone", name = "class" }
from = "Color?"
[messages.Other]
fields = { a = "int" }
[enums.Tone]
values = ["low"]
[unions.Every]
tag = "type"
members = ["Order", "Other"]
[subjects]
"orders" = { pattern = "kin2.orders.{order_id}", message = "Order" }
"whatever" = { pattern = "kin2.any", message = "Every" }
"""


def test_enums_tokens_unions_and_wire_names_together(tmp_path: Path) -> None:
    base = (
        BASE.format(name="kin") + '[tokens]\norder_id = { newtype = "OrderId" }\n[enums.Color]\nvalues = ["red"]\nopen = true\n'
    )
    base += '[messages.Base]\nfields = { color = "Color", password = { type = "list[str]", secret = true } }\n'
    (tmp_path / "kin.toml").write_text(base + '[subjects]\nbases = { pattern = "kin.base", message = "Base" }\n')
    (tmp_path / "kin2.toml").write_text(BASE.format(name="kin2") + KIN)
    with (
        generated(tmp_path / "kin.toml", "kin_bus", tmp_path) as kin,
        generated(tmp_path / "kin2.toml", "kin2_bus", tmp_path) as kin2,
    ):
        made = kin2.protocol.Order(order_id="o1", color="green", type="low")
        assert json.loads(codec.encode(made)) == {
            "type": "Order",
            "OrderId": "o1",
            "Color": "green",
            "class": "low",
            "From": None,
        }
        assert codec.decode(kin2.protocol.Order, codec.encode(made), "kin2.any") == made
        with pytest.raises(InvalidToken, match="order_id"):
            kin2.protocol.Order(order_id="a.b", color="green", type="low")
        assert str(kin2.subjects.orders.of(made)) == "kin2.orders.o1"
        assert kin2.topology.CONTRACT.without_secrets(b'{"password":["x"]}') == b'{"password":"***"}'  # of the base
        assert "hunter2" not in repr(kin.protocol.Base(color="red", password=["hunter2"]))


def test_copies(thing: Any) -> None:
    found = read(thing)
    for same in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert same == found


def test_pydantic_reads_and_writes_its_json(thing: Any) -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", thing=(thing, ...))
    found = model.model_validate({"thing": DOCUMENT})
    assert found.thing == read(thing)
    assert json.loads(found.model_dump_json()) == {"thing": DOCUMENT}
    for key, value in (("price", "NaN"), ("madeAt", "2025-01-31T12:00:00"), ("code", "x"), ("size", "huge")):
        with pytest.raises(pydantic.ValidationError):
            model.model_validate({"thing": {**DOCUMENT, key: value}})
    properties = model.model_json_schema()["properties"]["thing"]["properties"]
    assert properties["big"] == {"type": "integer", "minimum": 0, "maximum": 2**64 - 1}
    assert properties["color"] == {"type": "string", "examples": ["red", "blue"]}
    assert properties["password"]["anyOf"][0] == {"type": "string", "writeOnly": True}
    assert properties["old"]["anyOf"][0] == {"type": "integer", "deprecated": True}
    assert properties["code"]["maxLength"] == 10
    assert properties["from"]["default"] is None


def test_words_of_the_command_line(thing: Any) -> None:
    words = ["price=1.10", "big=5", "code=AB1", "blob=YWJj", "color=green", "from=x", "madeAt=2025-01-31T14:00:00+02:00"]
    words += [f"thingId={ID}", "span=PT1S", "day=2025-02-01", "date=2025-02-02", 'prices=["1.5"]', 'bigs={"a":1}', "password=p"]
    found = cli_fields.build(thing, cli_fields.read_words(words), "a thing")
    assert (found.price, found.from_, found.color, found.thing_id) == (Decimal("1.10"), "x", "green", UUID(ID))
    assert (found.made_at, found.span, found.day) == (
        datetime(2025, 1, 31, 12, tzinfo=UTC),
        timedelta(seconds=1),
        date(2025, 2, 1),
    )
    assert (found.prices, found.bigs, found.password) == ([Decimal("1.5")], {"a": 1}, "p")
    assert "price (a decimal, required)" in cli_fields.describe(thing)
    for wrong in ("price=x", "price=NaN", "madeAt=2025", "span=1h", "day=x", "thingId=1", "size=huge"):
        with pytest.raises(OptionsError, match=wrong.partition("=")[0]):
            cli_fields.build(
                thing, cli_fields.read_words([*words[1:6], wrong, *(["price=1"] * ("price" not in wrong))]), "a thing"
            )
