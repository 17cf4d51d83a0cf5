"""What changes of buckets and object stores break."""

from __future__ import annotations

from pathlib import Path

import pytest

from smith_codegen.breaking.compat import compare
from smith_codegen.sources import parse

ORDERS = Path(__file__).with_name("orders.toml").read_text().partition("[profiles.")[0]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("history = 5", "history = 4", ["consumer buckets.stock.history"]),
        ("history = 5", "history = 6", []),
        ('max_value_size = "64KiB"', 'max_value_size = "1KiB"', ["wire buckets.stock.max_value_size"]),
        ('limit_marker_ttl = "1s"\n', "", ["wire buckets.stock.limit_marker_ttl"]),
        ('limit_marker_ttl = "1s"\n', 'limit_marker_ttl = "2s"\n', []),
        ('ttl = "1h"', 'ttl = "10m"', ["consumer buckets.notes.ttl"]),
        ('ttl = "1h"', 'ttl = "10h"', []),
        ('storage = "memory"', 'storage = "file"', ["consumer buckets.notes.storage"]),
        ('max_bytes = "64MiB"', 'max_bytes = "6MiB"', ["wire objects.scans.max_bytes"]),
        ("[objects.scans]", "[objects.images]", ["wire objects.scans"]),
        ("[buckets.notes]", "[buckets.words]", ["wire buckets.notes"]),
        ('message = "bytes"\nstorage', 'message = "Stock"\nstorage', ["wire buckets.notes.message"]),
        ("{region}.items.{item}", "{region}.goods.{item}", ["wire buckets.stock.key"]),
        ("{region}.items.{item}", "{item}.items.{region}", ["wire buckets.stock.key"]),
        ('key = "{region}.items.{item}"\n', "", ["source buckets.stock.key"]),
        ('doc = "Free text under any key."\n', "", []),
    ],
)
def test_a_change_is_reported_at_its_key(old: str, new: str, found: list[str]) -> None:
    assert ORDERS.count(old) == 1
    changes = compare(parse(ORDERS, "orders.toml"), parse(ORDERS.replace(old, new), "orders.toml"))
    assert [f"{one.kind} {one.key}" for one in changes] == found
    assert all(one.remedy for one in changes)
