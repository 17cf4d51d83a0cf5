"""Names that would be the same in Python: each declaration gets one of its own, by one rule."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smith_codegen import sources
from smith_codegen.cli import main

CLASH = Path(__file__).with_name("clash.toml")

USE = """\
from clash_bus import CONTRACT, consumers, protocol, subjects
from clash_bus.protocol import ABCAny_, ABCParams_, Any, Filter, Leaf, Literal, MessageId, Order, Order_, Payload, Shared, Str

order = Order(order="new", message=MessageId("m"), level="high")
one = subjects.order_.of(order)
kind: Order_ = one.order
assert (one.order, one.message_, str(one), subjects.parse(str(one))) == ("new", "m", "clash.order.new.m", one)
assert subjects.order_.filter(message_=MessageId("a")).patterns == ("clash.order.*.a",)
member = ABCAny_(str_=Str("s"), params=ABCParams_())
placed = subjects.order.any.of(member)
assert (str(placed), placed.kind, placed.str_) == ("clash.any.a.b-c.s", subjects.kind.a_b_c_, "s")
every: list[Any] = [member]
assert subjects.kind.all() == ("a.b", "a-b.c", "a.b-c")
assert str(subjects.parse_()) == "clash.parse"
assert str(subjects.import_.class_.from_()) == "clash.from"
assert subjects.kind__(first=Shared("a"), second=Shared("b")).message_type is Literal
assert str(subjects.order_any(class_=protocol.Class("c"))) == "clash.order_any.c"
assert subjects.order_any(class_=protocol.Class("c")).message_type is Filter
assert subjects.kind_.of(level="low").message_type is protocol.Received
assert [one.name for one in CONTRACT.consumers] == ["any-one", "any_one", "class"]
assert (consumers.any_one.name, consumers.any_one_.name, consumers.class_.name) == ("any-one", "any_one", "class")
assert (Payload(text="x").text, Leaf().to_dict()) == ("x", {})
for module in (protocol, subjects, subjects.order, subjects.kind_, subjects.import_.class_):
    for name in module.__all__:
        getattr(module, name)
"""

WRONG = """
subjects.order
subjects.order_(order="newer", message_=MessageId("m"))
subjects.order_.of(Payload(text="x"))
subjects.import_.klass
consumers.any_two
Order(order="new", message=MessageId("m"), level="low")
"""


def test_clashing_names_are_told_apart_at_run_time_and_by_type_checkers(tmp_path: Path, mypy_cache: Callable[[str], str]) -> None:
    assert main([str(CLASH), str(tmp_path / "clash_bus")]) == 0
    (tmp_path / "use.py").write_text(USE)
    subprocess.run([sys.executable, "use.py"], cwd=tmp_path, check=True)
    (tmp_path / "wrong.py").write_text(USE + WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "clash_bus", "wrong.py"]
    environment = {**os.environ, "MYPY_CACHE_DIR": mypy_cache("strict")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    first = len(USE.splitlines()) + 3  # `subjects.order` is a namespace, and right
    assert lines == {*range(first, first + 5)}, done.stdout


def test_a_name_stays_as_it_is_unless_it_is_taken() -> None:
    names = sources.load(CLASH).python
    assert names.tokens["order"] == "Order_"
    assert names.tokens["message"] == "MessageId"
    assert names.tokens["level"] == "Level_"
    assert names.members["Any", "a-b.c"] == "ABCAny"
    assert names.members["Any", "a.b-c"] == "ABCAny_"
    assert names.bases["Any"] == "AnyAny_"
    assert names.typevars["Any"] == "AnyT_"
    assert names.subjects["order.any"] == ("order", "any", "OrderAny")
    assert names.subjects["order_any"] == ("", "order_any", "OrderAny_")
    assert names.subjects["kind"] == ("", "kind__", "Kind_")
    smith = sources.load(Path(__file__).parents[2] / "subjects.toml").python
    assert not [
        name for one in vars(smith).values() for name in (one.values() if isinstance(one, dict) else one) if name[-1:] == "_"
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[messages.Leaf]", "[messages.ClassVar]", "ClassVar is a name that generated code needs"),
        (
            "[messages.Leaf]",
            "[messages.Leaf]\nfields = {}\n[enums.Leaf]\nvalues = ['a']\n[messages.Leef]",
            "a second type called Leaf",
        ),
        ("{order}.{message}", "{message_}.{message}", "would be message_ in Python"),
        ('second = { newtype = "Shared" }', 'second = { newtype = "Shared", base = "int" }', "which has another base"),
    ],
)
def test_what_the_spec_itself_names_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    text = CLASH.read_text().replace("[tokens]", '[tokens]\nmessage_ = { newtype = "Other" }').replace(old, new)
    (tmp_path / "clash.toml").write_text(text.replace('"Leaf" }', '"Payload" }'))
    assert main([str(tmp_path / "clash.toml"), str(tmp_path / "clash_bus")]) == 2
    assert said in capsys.readouterr().err
