"""The JSON Schema of `subjects.toml`, and the reference that is made from it."""

from __future__ import annotations

import copy
import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from smith_codegen import key_docs, reader, spec, spec_reference, spec_schema
from smith_codegen.cli import main
from smith_codegen.errors import SpecErrors
from smith_codegen.topology_spec import Strict

ROOT = Path(__file__).parents[2]
SPECS = [ROOT / "subjects.toml", *sorted(path for path in Path(__file__).parent.rglob("*.toml") if "[spec]" in path.read_text())]
SCHEMA = spec_schema.build()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def structs(kind: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for one in kind.__subclasses__():
        yield one
        yield from structs(one)


@pytest.mark.parametrize("kind", sorted(structs(), key=str), ids=str)
def test_every_key_of_a_declaration_has_a_docstring_below_it(kind: type[msgspec.Struct]) -> None:
    missing = {field.name for field in msgspec.structs.fields(kind)} - key_docs.of(kind).keys()
    assert not missing, f"write a docstring below {kind.__name__}.{', '.join(sorted(missing))}"
    assert key_docs.summary(kind)


def test_it_is_a_valid_schema_with_every_section() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == {*spec.SECTIONS, *reader.NOTATIONS}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name + "/" + path.name)
def test_every_spec_of_this_repository_passes(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text()))] == []


def mutants(whole: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Copies of a spec in which one place is changed."""
    chance = random.Random(1)
    for _ in range(count):
        made = copy.deepcopy(whole)
        at: Any = made
        while True:
            key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if not isinstance(at[key], dict | list) or not at[key] or chance.random() < 0.15:
                break
            at = at[key]
        change = chance.randrange(4)
        if change == 0 and isinstance(at, dict):
            at[f"{key}x"] = at.pop(key)
        elif change == 1:
            del at[key]
        else:
            at[key] = chance.choice([7, 1.5, True, "word", "90s", "10MiB", [], ["a"], [1], {}, {"a": 1}, -1])
        yield made


def refusal(made: dict[str, Any]) -> str:
    """What the reader finds wrong; "" for nothing."""
    try:
        reader.read_canonical(json.dumps(made), "mutant.json")
    except SpecErrors as errors:
        return str(errors)
    return ""


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name + "/" + path.name)
def test_it_refuses_what_the_reader_refuses_by_form(path: Path) -> None:
    verdicts = set()
    for made in mutants(tomllib.loads(path.read_text()), 60):
        refused = refusal(made)
        if "is not one of [mixins]" in refused:  # what a name refers to is not a matter of form
            continue
        verdicts.add(refused == "")
        assert VALIDATOR.is_valid(made) is (refused == ""), (refused, [error.message for error in VALIDATOR.iter_errors(made)])
    assert verdicts == {True, False}


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match="complex"):
        spec_schema._type(complex, {})


def test_the_command_writes_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "subjects.schema.json"
    assert main(["schema"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown) == SCHEMA
    assert main(["schema", str(out), "--check"]) == 1
    assert main(["schema", str(out)]) == 0
    assert out.read_text() == shown
    assert main(["schema", str(out), "--check"]) == 0
    out.write_text("{}")
    assert main(["schema", str(out), "--check"]) == 1


def test_the_reference_has_every_key_and_escapes_its_cells() -> None:
    page = spec_reference.page()
    for name, one in SCHEMA["definitions"].items():
        table = one["anyOf"][1] if "anyOf" in one else one
        start = page.index(f"{{ #{name.lower()} }}")
        body = page[start:].split("\n## ")[0]
        for key, schema in table["properties"].items():
            assert f"\n| `{key}` | " in body, f"{name}.{key}"
            assert schema["description"].replace("|", "\\|") in body
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert all(line.replace("\\|", "").count("|") == 4 for line in rows)
