"""Which module of a generated package has what, and when it is imported."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from generated import generated

from smith_codegen.compile import compile_spec

SPEC = """
[spec]
name = "tree"
version = 1
root = "tree"
package = "tree_bus"

[tokens]
id = { newtype = "Id" }

[messages.Tip]
fields = { text = "str" }
[messages.Node]
fields = { children = "list[Branch]", tip = "Tip?" }
[messages.Branch]
fields = { node = "Node?", note = "Note" }
[messages.Note]
fields = { text = "str" }
[messages.HTTPCall]
fields = {}
[messages.Tokens]
fields = {}

[subjects]
"orders" = { pattern = "tree.orders.{id}", message = "Tip" }
"orders.current" = { pattern = "tree.current.{id}", message = "Node" }
"orders.current.eu.north" = { pattern = "tree.north.{id}", message = "Note" }
"orders.current.eu" = { pattern = "tree.eu.{id}", message = "HTTPCall" }
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    top = tmp_path_factory.mktemp("tree")
    (top / "tree.toml").write_text(SPEC)
    with generated(top / "tree.toml", "tree_bus", top) as package:
        yield package


def test_payloads_that_refer_to_each_other_in_a_circle_share_a_module() -> None:
    names = {name for name in compile_spec(SPEC) if name.startswith("protocol/")}
    assert names == {
        f"protocol/{name}.py"
        for name in ("__init__", "_tokens", "_tip", "_node", "_note", "_http_call", "_tokens_")
    }  # fmt: skip


def test_a_chain_of_a_thousand_payloads_is_no_recursion() -> None:
    chain = "".join(f'[messages.M{n}]\nfields = {{ next = "M{n + 1}?" }}\n' for n in range(1500))
    text = SPEC.partition("[messages.Tip]")[0] + chain + "[messages.M1500]\nfields = {}\n"
    from smith_codegen import modules, resolve, sources

    model = resolve.build(sources.parse(text, "subjects.toml"))
    assert len(model.modules) == 1501
    circle = text.replace("[messages.M1500]\nfields = {}", '[messages.M1500]\nfields = { next = "M0?" }')
    model = resolve.build(sources.parse(circle, "subjects.toml"))
    assert [(module.name, len(module.declared)) for module in model.modules] == [("_m0", 1501)]
    assert modules.split(model.declared, model.tokens) == model.modules


def test_namespaces_nest_and_may_be_called_as_a_subject_is(tree: ModuleType) -> None:
    subjects = tree.subjects
    assert subjects.orders_.NAME == "orders"
    assert subjects.orders.current_.NAME == "orders.current"
    assert subjects.orders.current.eu_.NAME == "orders.current.eu"
    north = subjects.orders.current.eu.north
    assert str(north(id="x")) == "tree.north.x"
    assert subjects.parse("tree.north.x") == north(id="x")
    assert subjects.parse("tree.eu.x").message_type is tree.protocol.HTTPCall
    assert dir(subjects) == ["OrdersMsg", "orders", "orders_", "parse"]
    assert dir(subjects.orders.current) == ["EuMsg", "eu", "eu_"]
    with pytest.raises(AttributeError, match=r"'tree_bus\.subjects\.orders\.current' has no attribute 'west'"):
        _ = subjects.orders.current.west


def test_payloads_are_pickled_and_decoded_wherever_they_are_declared(tree: ModuleType) -> None:
    protocol = tree.protocol
    node = protocol.Node(children=[protocol.Branch(note=protocol.Note(text="a"))], tip=protocol.Tip(text="b"))
    assert pickle.loads(pickle.dumps(node)) == node
    assert msgspec.json.decode(msgspec.json.encode(node), type=protocol.Node) == node


def test_everything_can_be_imported_with_a_star_and_one_subject_alone(tree: ModuleType, tmp_path: Path) -> None:
    assert tree.__file__ is not None
    script = (
        "import sys\n"
        "from tree_bus.subjects.orders.current.eu import north\n"
        "print(sorted(name for name in sys.modules if name.startswith('tree_bus.') and '._' in name))\n"
        "from tree_bus.protocol import *\n"
        "from tree_bus.subjects.orders import *\n"
        "print(Branch.__name__, Id.__name__, current_.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(tree.__file__).parents[1], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "['tree_bus.protocol._note', 'tree_bus.protocol._tokens', 'tree_bus.subjects.orders.current.eu._north']",
        "Branch Id OrdersCurrent",
    ]
