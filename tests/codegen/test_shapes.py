"""Shapes of messages: inline objects, mixins, unions, strict messages, and existing classes."""

from __future__ import annotations

import json

import pytest

from smith_codegen import reader
from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors

HEAD = """
[spec]
name = "shop"
version = 1
root = "shop"
package = "shop_bus"
"""
SUBJECT = """
[subjects]
"orders" = { pattern = "shop.orders", message = "Order" }
"""
NOTED = """
[mixins.Audited]
fields = { by = "str", at = { fields = { zone = "str" } } }

[messages.Order]
mixins = ["Audited"]
forbid_unknown = true
fields.id = "str"
fields.address = { doc = "Where to.", fields = { street = "str", geo = { type = "object?", fields = { lat = "float" } } } }
fields.lines = { type = "list[object]", fields = { sku = "str" } }
"""
PLAIN = """
[messages.AuditedAt]
fields = { zone = "str" }
[messages.OrderAddressGeo]
forbid_unknown = true
fields = { lat = "float" }
[messages.OrderAddress]
forbid_unknown = true
fields = { street = "str", geo = "OrderAddressGeo?" }
[messages.OrderLines]
forbid_unknown = true
fields = { sku = "str" }
[messages.Order]
forbid_unknown = true
fields = { by = "str", at = "AuditedAt", id = "str", address = "OrderAddress", lines = "list[OrderLines]" }
"""


def refusals(text: str) -> list[str]:
    with pytest.raises(SpecErrors) as refused:
        compile_spec(HEAD + text + SUBJECT, "shop.toml")
    return [str(error) for error in refused.value.errors]


# ---- inline objects and mixins


def test_notations_mean_what_they_stand_for() -> None:
    assert reader.read(HEAD + NOTED + SUBJECT).canonical == reader.read(HEAD + PLAIN + SUBJECT).canonical


def test_a_generated_package_keeps_the_meaning() -> None:
    canonical = json.loads(compile_spec(HEAD + NOTED + SUBJECT)["spec.json"])
    assert "mixins" not in canonical
    assert canonical["messages"]["Order"]["fields"]["lines"] == "list[OrderLines]"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('street = "str"', 'street = "st"', "shop.toml:15: messages.Order.fields.address.fields.street: unknown type 'st'"),
        ('lat = "float"', 'lat = "flot"', "messages.Order.fields.address.fields.geo.fields.lat: unknown type 'flot'"),
        ('by = "str"', 'by = "st"', "shop.toml:9: mixins.Audited.fields.by: unknown type 'st'"),
        ('zone = "str"', 'zone = "st"', "mixins.Audited.fields.at.fields.zone: unknown type 'st'"),
        ('["Audited"]', '["Audit"]', "messages.Order.mixins.0: 'Audit' is not one of [mixins] (did you mean `Audited`?)"),
        ('["Audited"]', '["Audited", "Audited"]', "mixins.1: Audited has the field by, which the message has already"),
        ('fields.id = "str"', 'fields.by = "str"', "mixins.0: Audited has the field by, which the message has already"),
        ('"list[object]"', '"list[Order]"', "fields.lines.type: does not have the word object"),
        ("lines =", "Address =", "its class would be OrderAddress, as that of messages.Order.fields.address (rename"),
        ("doc =", "docs =", "messages.Order.fields.address.docs: unknown key (did you mean `doc`?)"),
        ("by =", "by = 5, b =", "mixins.Audited.fields.by: expected"),
        ("[mixins.Audited]", "[mixins.Audited]\nfield = 1", "mixins.Audited.field: unknown key (did you mean `fields`?)"),
        ("[mixins.", "[messages.OrderLines]\nfields = {}\n[mixins.", "OrderLines, which is declared already (rename"),
    ],
)
def test_what_is_wrong_is_named_where_it_is_written(old: str, new: str, error: str) -> None:
    assert old in NOTED
    found = refusals(NOTED.replace(old, new, 1))
    assert any(error in one for one in found), found


# ---- unions and classes of the user's own

UNION = """
[tokens]
kind = { enum = ["a"] }
[messages.Circle]
fields = { radius = "float" }
[messages.Square]
fields = { side = "float" }
[messages.Parcel]
by = "kind"
params = { a = {} }
[messages.Row]
import = "legacy.rows:Row"
[unions.Shape]
tag = "kind"
members = ["Circle", "Square"]
[messages.Order]
fields = { shapes = "list[Shape]", row = "Row?" }
"""


def test_a_union_is_a_type_for_fields() -> None:
    files = compile_spec(HEAD + UNION + SUBJECT)
    assert "Shape: _TypeAlias = Circle | Square" in files["protocol/_shape.py"]
    assert "tag_field='kind', tag='Circle'" in files["protocol/_circle.py"].replace('"', "'")
    assert "from legacy.rows import Row as _class" in files["protocol/_row.py"]
    assert compile_spec(files["spec.json"], "spec.json")["spec.json"] == files["spec.json"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"Square"]', '"Sqare"]', "unions.Shape.members.1: unknown message 'Sqare' (did you mean Square?"),
        ('"Square"]', '"Parcel"]', "unions.Shape.members.1: Parcel is a family, which has a tag of its own"),
        ('"Square"]', '"Row"]', "unions.Shape.members.1: Row is a class of yours, whose tag is its own"),
        ('tag = "kind"', 'tag = "side"', "unions.Shape.members.1: Square has a field side"),
        ('tag = "kind"', 'tag = "a b"', "unions.Shape.tag: 'a b' is not a valid key"),
        ('["Circle", "Square"]', "[]", "unions.Shape.members: is empty"),
        ('["Circle", "Square"]', '["Circle", "Circle"]', "unions.Shape.members: has a message twice"),
        ('["Circle", "Square"]', '{ "" = "Circle" }', "an empty tag"),
        ("[unions.Shape]", "[unions.shape]", "unions.shape: 'shape' is not a valid class name"),
        ("[unions.Shape]", "[unions.Order]", "is a second type called Order"),
        (
            "[unions.Shape]",
            '[unions.Other]\nmembers = ["Circle"]\n[unions.Shape]',
            "Circle would have the tag kind='Circle', and has",
        ),
        ('"legacy.rows:Row"', '"legacy.rows.Row"', "messages.Row.import: 'legacy.rows.Row' is not a class"),
        ('"legacy.rows:Row"', '"legacy.class:Row"', "messages.Row.import: 'legacy.class:Row' is not a class"),
        ('rows:Row"', 'rows:Row"\nid = "x"', "messages.Row.id: does not go with import (give the class `ID_FIELD"),
        ('rows:Row"', 'rows:Row"\nforbid_unknown = true', "messages.Row.forbid_unknown: does not go with import"),
        ('"list[Shape]"', '"list[Shap]"', "unknown type 'Shap' (did you mean Shape?"),
    ],
)
def test_a_union_or_class_that_cannot_be(old: str, new: str, error: str) -> None:
    assert old in UNION
    found = refusals(UNION.replace(old, new, 1))
    assert any(error in one for one in found), found
