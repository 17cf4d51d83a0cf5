"""The reference is complete: every public name has its entry, and nothing else has one."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

import smith_sdk
import smith_sdk.cli.app
from smith_sdk.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
INSTALLED = Path(smith_sdk.__file__).parent


def _load() -> ModuleType:
    spec = util.spec_from_file_location("docs_reference", ROOT / "docs" / "hooks" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = _load()
PACKAGES: list[str] = list(REFERENCE.PACKAGES)


@cache
def pages() -> dict[str, str]:
    """Made once, and by the first test that needs them: every process of a run imports this
    file."""
    made: dict[str, str] = REFERENCE.pages()
    return made


def entries(package: str) -> list[str]:
    """What mkdocstrings is asked for on the page of `package`, by full name."""
    return re.findall(r"^::: (\S+)$", pages()[f"reference/{package}.md"], re.MULTILINE)


def test_every_public_package_has_a_page() -> None:
    found = {file.stem for file in INSTALLED.glob("[!_]*.py")} | {
        file.parent.name for file in INSTALLED.glob("[!_]*/__init__.py")
    }
    public = {f"smith_sdk.{name}" for name in found}
    assert public - {"smith_sdk.cli", *REFERENCE.FORMER} == set(PACKAGES) - {"smith_sdk"}
    for old, new in REFERENCE.FORMER.items():
        assert import_module(old).__all__ == import_module(new).__all__
        assert f"`{old}`" in pages()["reference/index.md"]
    # that of smith_sdk.cli, whose one public name is the command itself
    assert REFERENCE.COMMANDS in pages()


@pytest.mark.parametrize("package", [name for name in PACKAGES if name not in ("smith_sdk", "smith_sdk.subjects")])
def test_every_public_name_has_one_entry_and_no_other_has(package: str) -> None:
    found = entries(package)
    assert all(entry.startswith(f"{package}.") for entry in found)
    fixtures = REFERENCE.fixtures(package) if package == REFERENCE.FIXTURES else []
    names = [*import_module(package).__all__, *(name.rpartition(".")[2] for name in fixtures)]
    assert Counter(entry.rpartition(".")[2] for entry in found) == Counter(set(names))


def test_the_tree_of_errors_has_every_error_at_its_place() -> None:
    page = pages()["reference/smith_sdk.errors.md"]
    tree = page[page.index("```text") : page.index("```\n", page.index("```text") + 3)]
    above: list[str] = []
    found: dict[str, str] = {}
    for indent, name in re.findall(r"^((?:[│├└─ ]{4})*)(\w+)", tree, re.MULTILINE):
        del above[len(indent) // 4 :]
        if above:
            found[name] = above[-1]
        above.append(name)
    errors = import_module("smith_sdk.errors")
    kinds = [getattr(errors, name) for name in errors.__all__ if issubclass(getattr(errors, name), errors.SmithError)]
    assert found == {kind.__name__: kind.__mro__[1].__name__ for kind in kinds if kind is not errors.SmithError}


def test_every_field_of_a_payload_is_in_its_table() -> None:
    protocol = import_module("smith_sdk.protocol")
    for part in pages()["reference/smith_sdk.protocol.md"].split("\n::: smith_sdk.protocol.")[1:]:
        payload = getattr(protocol, part.split()[0])
        if isinstance(payload, type) and issubclass(payload, msgspec.Struct) and not payload.__subclasses__():
            rows = re.findall(r"^\| `(\w+)` \| `.+` \| (.+?) \| .*\|$", part, re.MULTILINE)
            assert [name for name, _ in rows] == list(payload.__struct_fields__)
            required = [field.name for field in msgspec.structs.fields(payload) if field.required]
            assert [name for name, default in rows if default == "required"] == required


def test_the_fixtures_of_the_plugin_are_among_the_entries() -> None:
    names = {entry.rpartition(".")[2] for entry in entries("smith_sdk.testing")}
    assert {"smith_bus", "async_smith_bus", "nats_server", "instant_retries", "smith_contract", "smith_profile"} <= names


def test_what_the_root_exports_is_listed_with_the_place_where_it_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", pages()["reference/smith_sdk.md"], re.MULTILINE))
    assert sorted(rows, key=str.lower) == sorted(smith_sdk.__all__, key=str.lower)
    documented = {entry for package in PACKAGES for entry in entries(package)}
    for name, link in rows.items():
        target = re.fullmatch(r"\[`[\w.]+`\]\[([\w.]+)\]", link)
        if target is None:
            assert link == f"[`smith_sdk.{name}`](smith_sdk.{name}.md)"
        else:
            assert target[1] in documented, name
            where, _, attribute = target[1].rpartition(".")
            assert getattr(import_module(where), attribute) is getattr(smith_sdk, name)


def test_every_subject_and_namespace_has_an_entry() -> None:
    subjects = import_module("smith_sdk.subjects")
    headings = set(re.findall(r"^## (\w+) \{", pages()["reference/smith_sdk.subjects.md"], re.MULTILINE))
    expected: set[str] = set()
    for name in subjects.__all__:
        found = getattr(subjects, name)
        if isinstance(found, ModuleType):
            assert name in headings
            expected |= {f"smith_sdk.subjects.{name}.{member}" for member in found.__all__}
        else:
            expected.add(f"smith_sdk.subjects.{name}")
    assert set(entries("smith_sdk.subjects")) == expected
    assert len(expected) > 40


def test_every_command_has_its_heading() -> None:
    page = pages()[REFERENCE.COMMANDS]
    headings = set(re.findall(r"^#+ (smith.*?)(?: \{|$)", page, re.MULTILINE))
    assert headings == {*_commands(smith_sdk.cli.app.app, "smith"), *_codegen_commands()}


def _commands(app: object, name: str) -> list[str]:
    """The commands of a cyclopts App, those below it included."""
    found = [name]
    for command in app:  # type: ignore[attr-defined]
        if not command.startswith("-"):
            found += _commands(app[command], f"{name} {command}")  # type: ignore[index]
    return found


def _codegen_commands() -> list[str]:
    return ["smith-codegen", *(f"smith-codegen {name}" for name in import_module("smith_codegen.cli").COMMANDS)]


def test_the_navigation_has_every_page() -> None:
    listed = re.findall(r"^ +- (?:[\w ]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    written = [str(file.relative_to(ROOT / "docs")) for file in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted([*written, *pages()])


def test_the_page_of_the_command_line_has_every_command() -> None:
    page = (ROOT / "docs" / "howto" / "command-line.md").read_text()
    table = page.partition("| command |")[2].partition("\n\n")[0]
    for name in COMMANDS:
        assert f"`smith {name}" in table, f"docs/howto/command-line.md does not mention smith {name}"
