"""What people get wrong most often in a spec, side by side with what they are told:
`golden/mistakes.txt`.

Read that file as a user would: does each message say where, what and what to do next? After a
change of words, write it anew with `UPDATE_GOLDEN=1 pytest tests/codegen/test_mistakes.py`, and
review the difference.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from smith_codegen.compile import compile_spec
from smith_codegen.errors import SpecErrors

HERE = Path(__file__).parent
ACME = (HERE / "acme.toml").read_text()
GOLDEN = HERE / "golden" / "mistakes.txt"

FINISHED = '"finished" = { pattern = "acme.done.{order_id}", message = "Done", stream = "DONE" }'
TICK = '"tick" = { pattern = "acme.tick", message = "bytes" }'
BUYER = 'filter = { subject = "orders.placed", kind = "buy.v1" }'
KIND = 'kind = { enum = ["buy.v1", "sell.v1"], doc = "What an order does." }'

MISTAKES = {
    "A misspelt key": ("max_attempts = 3", "max_atempts = 3"),
    "A bracket that is not closed": ("[messages.Step]", "[messages.Step"),
    "A size in other units": ('max_bytes = "10MiB"', 'max_bytes = "10MB"'),
    "A duration in words": ('duplicate_window = "90s"', 'duplicate_window = "90 seconds"'),
    "A token that nobody declared": (FINISHED, FINISHED.replace("order_id", "order")),
    "A misspelt stream": (FINISHED, FINISHED.replace('"DONE"', '"DONES"')),
    "A field type of another language": (
        'steps = { type = "list[Step]", new = [] }',
        'steps = { type = "list[string]", new = [] }',
    ),
    "A default of another type": ("max = 1000, default = 5", 'max = 1000, default = "5"'),
    "A token with a capital letter": (
        'order_id = { newtype = "OrderId" }',
        'orderClass = { newtype = "Class" }\norder_id = { newtype = "OrderId" }',
    ),
    "A subject called with a dash": (TICK, TICK.replace('"tick"', '"clock-tick"')),
    "A wildcard in a subject's pattern": (FINISHED, FINISHED.replace("{order_id}", "*")),
    "Two placeholders in one token": (FINISHED, FINISHED.replace("{order_id}", "{order_id}-{kind}")),
    "A tail that is not last": (FINISHED, FINISHED.replace("{order_id}", "{rest>}.{order_id}")),
    "A token that may be absent, with text around it": (FINISHED, FINISHED.replace("{order_id}", "order-{order_id?}")),
    "Two subjects that one message could be": (TICK, f'{TICK}\n"greeting" = {{ pattern = "acme.{{place}}", message = "bytes" }}'),
    "The same pattern twice": (TICK, f'{TICK}\n"tock" = {{ pattern = "acme.tick", message = "bytes" }}'),
    "Values of unequal width": ('level = { enum = ["low", "high"] }', 'level = { enum = ["low", "very.high"] }'),
    "A new value without its params": (KIND, KIND.replace('"sell.v1"', '"sell.v1", "rent.v1"')),
    "A stream that captures too little": ('subjects = ["acme.orders.>"]', 'subjects = ["acme.orders.*"]'),
    "A stream that captures a part": ('subjects = ["acme.orders.>"]', 'subjects = ["acme.orders.buy.>"]'),
    "A subject without the stream that captures it": (FINISHED, FINISHED.replace(', stream = "DONE"', "")),
    "Two streams for one subject": ('subjects = ["acme.dead.>"]', 'subjects = ["acme.dead.>", "acme.done.*"]'),
    "A consumer that filters by an unknown value": (BUYER, BUYER.replace("buy.v1", "buy")),
    "A consumer that takes another's work": (BUYER + "\n", ""),
    "An interest stream without consumers": ('subjects = ["acme.done.*"]', 'subjects = ["acme.done.*"]\nretention = "interest"'),
}


def told(old: str, new: str) -> str:
    """The lines that a mistake changes, and what the generator says."""
    assert ACME.count(old) == 1, old
    text = ACME.replace(old, new)
    with pytest.raises(SpecErrors) as refused:
        compile_spec(text, "acme.toml")
    difference = difflib.unified_diff(ACME.splitlines(), text.splitlines(), lineterm="", n=0)
    changed = [line for line in difference if not line.startswith(("---", "+++", "@@"))]
    return "\n".join(["    " + line for line in changed] + ["", str(refused.value)])


def test_what_people_are_told() -> None:
    found = "\n\n".join(f"{title}\n\n{told(old, new)}\n" for title, (old, new) in MISTAKES.items())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8"), "review the words, then UPDATE_GOLDEN=1"


def test_each_is_told_where_what_and_what_to_do() -> None:
    for title, (old, new) in MISTAKES.items():
        with pytest.raises(SpecErrors) as refused:
            compile_spec(ACME.replace(old, new), "acme.toml")
        for error in refused.value.errors:
            assert error.line > 0, title
            assert error.problem, title
            assert error.fix, title
