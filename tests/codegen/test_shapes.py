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
