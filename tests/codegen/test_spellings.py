"""Spellings that are read and never written, aliases of tags, maxima beyond 64 bits, limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from generated import generated

from smith_sdk._core import codec
from smith_sdk.errors import InvalidToken, PayloadDecodeError, PayloadMismatch

SPEC = """
[spec]
name = "till"
version = 1
root = "till"
package = "till_bus"

[tokens]
kind = { enum = ["sale.v1", "refund.v1"], aliases = { sale = "sale.v1", sold = "sale.v1", back = "refund.v1" } }
level = { enum = ["low", "high"] }
place = { newtype = "Place" }

[messages.Entry]
by = "kind"
max_items = 20
max_depth = 4
fields = { place = "Place", note = "any?" }

[messages.Entry.params]
"sale.v1" = { amount = { type = "int", min = 0, max = 18446744073709551615 } }
"refund.v1" = { amount = { type = "int?", max = 18446744073709551615 } }

[messages.Note]
fields.place = "Place"
fields.level = { type = "Level", case = "upper" }
fields.before = { type = "Level?", case = "upper" }
fields.state = { type = "enum:open|shut?", reads = { opened = "open", closed = "shut" } }
fields.where = { type = "Where", new = {} }

[messages.Where]
fields = { aisle = "int?" }

[subjects]
"entries" = { pattern = "till.entries.{kind}.{place}", message = "Entry" }
"notes" = { pattern = "till.notes.{place}.{level}", message = "Note" }
"""


@pytest.fixture(scope="module")
def till(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("till")
    (file := Path(folder, "till.toml")).write_text(SPEC)
    with generated(file, "till_bus", folder) as package:
        yield package


def read(cls: Any, **document: Any) -> Any:
    return codec.decode(cls, json.dumps(document).encode(), "till.x")


def test_other_spellings_are_read_and_not_written(till: Any) -> None:
    note = till.protocol.Note
    base = {"place": "a", "where": {}}
    for level, before, state in (("low", "high", "opened"), ("LOW", "HIGH", "open"), ("low", "HIGH", "open")):
        found = read(note, **base, level=level, before=before, state=state)
        assert (found.level, found.before, found.state) == ("LOW", "HIGH", "open")
        assert json.loads(codec.encode(found)) == {
            **base,
            "level": "LOW",
            "before": "HIGH",
            "state": "open",
            "where": {"aisle": None},
        }
        assert str(till.subjects.notes.of(found)) == "till.notes.a.low"
    assert read(note, **base, level="low").state is None
    for wrong in ({"level": "Low"}, {"level": "low", "state": "Open"}, {"level": None}):
        with pytest.raises(PayloadDecodeError):
            read(note, **base, **wrong)


def test_new_takes_both_and_makes_an_empty_message(till: Any) -> None:
    note = till.protocol.Note
    for level in ("low", "LOW"):
        assert note.new(place="a", level=level) == note(place="a", level="LOW", where=till.protocol.Where(aisle=None))
    with pytest.raises(InvalidToken, match=r"Note\.level cannot be 'Low'.*allowed: high, low"):
        note.new(place="a", level="Low")
    assert note.SPELLINGS["state"] == {"opened": "open", "closed": "shut"}


def test_each_alias_selects_the_payload_that_it_stands_for(till: Any) -> None:
    sale, refund = till.protocol.SaleV1Entry, till.protocol.RefundV1Entry
    base = {"place": "a", "params": {"amount": 5}}
    for cls, aliases in ((sale, ("sale", "sold")), (refund, ("back",))):
        assert aliases == cls.ALIASES
        for kind in (cls.SELECTOR, *aliases):
            found = read(cls, kind=kind, **base)
            assert type(found) is cls
            assert json.loads(codec.encode(found))["kind"] == cls.SELECTOR
    for cls, kind in ((sale, "back"), (refund, "sale"), (refund, "refund")):
        with pytest.raises(PayloadDecodeError, match=r"at `\$.kind`"):
            read(cls, kind=kind, **base)
    with pytest.raises(PayloadDecodeError, match=r"at `\$.place`"):
        read(sale, kind="sold", **base | {"place": 5})


def test_a_maximum_beyond_64_bits(till: Any) -> None:
    sale, refund = till.protocol.SaleV1Params, till.protocol.RefundV1Params
    most = 2**64 - 1
    for cls in (sale, refund):
        assert read(cls, amount=most) == cls(amount=most)
        with pytest.raises(PayloadMismatch, match=f"{cls.__name__}.amount cannot be {2**64}: at most {most}"):
            cls(amount=2**64)
        with pytest.raises(PayloadDecodeError, match=f"{cls.__name__}.amount cannot be {2**64}"):
            read(cls, amount=2**64)
        schema = msgspec.json.schema(cls)["$defs"][cls.__name__]["properties"]["amount"]
        assert str(most) in json.dumps(schema)
    assert refund(amount=None).amount is None
    assert read(refund, amount=-(2**80)).amount == -(2**80)
    with pytest.raises(PayloadDecodeError):
        read(sale, amount=-1)


def test_limits_of_a_message_hold_for_each_of_its_family(till: Any) -> None:
    for cls in (till.protocol.SaleV1Entry, till.protocol.RefundV1Entry):
        assert (cls.MAX_ITEMS, cls.MAX_DEPTH) == (20, 4)
        base = {"kind": cls.SELECTOR, "place": "a", "params": {"amount": 1}}
        assert read(cls, **base, note=[1] * 12).note == [1] * 12
        for note, said in (([1] * 20, "more than the 20 that are allowed"), ([[[[1]]]], "more than the 4 levels")):
            with pytest.raises(PayloadDecodeError, match=said):
                read(cls, **base, note=note)
    assert (till.protocol.Note.MAX_ITEMS, till.protocol.Note.MAX_DEPTH) == (100_000, 127)
