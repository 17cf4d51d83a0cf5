"""Public subject trees, ported: all generate and type-check, and each subject parses to itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from generated import generated
from hypothesis import given, settings
from hypothesis import strategies as st

from smith_codegen import permissions
from smith_codegen.breaking.compat import compare
from smith_codegen.checks import check
from smith_codegen.cli import main
from smith_codegen.errors import SpecErrors
from smith_codegen.reader import read
from smith_sdk.contract import AnySubject, Leaf, ReadOnlySubject
from smith_sdk.errors import InvalidToken, SmithError, UnknownSubject

HERE: Final = Path(__file__).parent
OURS: Final = sorted((HERE / "ports").glob("*.toml"))
GIVEN: Final = sorted((HERE / "ports" / "given").glob("*.toml"))
"""Written for an older generator, without a `$` and with one root each."""


def package_of(spec: Path) -> str:
    package: str = tomllib.loads(spec.read_text())["spec"]["package"]
    return package


def test_all_generate_and_pass_mypy_strict(tmp_path: Path, mypy_cache: Callable[[str], str]) -> None:
    specs = [*OURS, HERE / "patterns.toml", *(one for one in GIVEN if one.stem != "shop")]
    for spec in specs:
        package = f"{package_of(spec)}_given" if spec in GIVEN else package_of(spec)
        (copy := tmp_path / f"{package}.toml").write_text(spec.read_text().replace(f'"{package_of(spec)}"', f'"{package}"'))
        assert main([str(copy), str(tmp_path / package)]) == 0
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", *(one.stem for one in tmp_path.glob("*.toml"))]
    env = {**os.environ, "MYPY_CACHE_DIR": mypy_cache("strict")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout


def test_what_the_given_shop_is_refused_for() -> None:
    """One run says: its cart is below another root and its stream captures two subjects less."""
    text = (HERE / "ports" / "given" / "shop.toml").read_text()
    with pytest.raises(SpecErrors) as refused:
        check(read(text))
    uncaptured = {'subjects."orders.by_region".stream', 'subjects."orders.prio".stream'}
    assert {error.key for error in refused.value.errors} == {"subjects.carts.pattern"} | uncaptured
    with pytest.raises(SpecErrors) as refused:
        check(read(text.replace('root = "shop"', 'root = ["shop", "cart"]')))
    found = {error.key: error.problem for error in refused.value.errors}
    assert set(found) == uncaptured
    assert all("captures none of" in problem for problem in found.values())


# ---- text -> subject -> text


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    top = tmp_path_factory.mktemp("ports")
    with generated(HERE / "patterns.toml", "patterns_bus", top) as patterns:
        names = {package_of(spec): spec for spec in OURS}
        made = {"patterns_bus": patterns}
        managers = []
        for package, spec in names.items():
            managers.append(generated(spec, package, top))
            made[package] = managers[-1].__enter__()
        yield made
        for manager in managers:
            manager.__exit__(None, None, None)


def classes(package: Any) -> list[Any]:
    return [leaf.cls for leaf in vars(package.topology).values() if isinstance(leaf, Leaf)]


tokens = st.text("abp1-v", min_size=1, max_size=4) | st.sampled_from(
    ["orders", "low", "high", "l-low-x", "p3", "va1", "7", "new-order"]
)
texts = st.lists(tokens | st.sampled_from(["t", "dev", "only", "files", "fam", "v1", "0", "1"]), min_size=1, max_size=6).map(
    ".".join
)


@given(st.sampled_from(["t.", "dev.", ""]), texts)
@settings(max_examples=300)
def test_what_parses_is_what_was_parsed(packages: dict[str, Any], root: str, rest: str) -> None:
    parse = packages["patterns_bus"].topology.CONTRACT.parse
    try:
        found = parse(root + rest)
    except (UnknownSubject, InvalidToken):
        return
    assert str(found) == root + rest
    assert parse(str(found)) == found


@given(st.data())
@settings(max_examples=200)
def test_every_subject_parses_to_itself(packages: dict[str, Any], data: st.DataObject) -> None:
    package = packages[data.draw(st.sampled_from(sorted(packages)))]
    cls = data.draw(st.sampled_from(classes(package)))
    given_: dict[str, Any] = {}
    for field in cls.__struct_fields__:
        kind = str(cls.__annotations__[field])
        given_[field] = data.draw(
            st.lists(tokens, min_size=1, max_size=4).map(tuple) if "tuple" in kind else tokens | st.integers(-1, 11) | st.none()
        )
    try:
        made: AnySubject = cls(**given_)
    except SmithError:
        return
    parsed = package.topology.CONTRACT.parse(str(made))
    assert (parsed, type(parsed)) == (made, cls)


def test_subjects_of_the_server_are_read_only(packages: dict[str, Any]) -> None:
    kinds = {
        cls.PATTERN: issubclass(cls, ReadOnlySubject)
        for name in ("jetstream_events", "sys_events")
        for cls in classes(packages[name])
    }
    assert [pattern for pattern, read_only in kinds.items() if not read_only] == ["$SYS.REQ.SERVER.PING.STATSZ"]


def test_names_of_versions_side_by_side(packages: dict[str, Any]) -> None:
    subjects = packages["wasm_bus"].subjects
    v1, v2 = (version.component_scale(lattice="l", host_id="h") for version in (subjects.ctl.v1, subjects.ctl.v2))
    assert (str(v1), str(v2)) == ("wasmbus.ctl.v1.l.component.scale.h", "wasmbus.ctl.v2.l.component.scale.h")
    assert v1.message_type is not v2.message_type


# ---- filters and permissions


def test_filters(packages: dict[str, Any]) -> None:
    subjects = packages["patterns_bus"].subjects
    assert subjects.dev.filter().patterns == ("dev.*", "dev.*.*")
    assert subjects.dev.filter(device_id="d").patterns == ("dev.*.d",)
    assert subjects.only.filter().patterns == ("t.only", "t.only.*")
    assert subjects.files.filter(level="low").patterns == ("t.*.files.low.>",)
    assert subjects.files.filter(path=("a", "b")).patterns == ("t.*.files.*.a.b",)
    assert subjects.prio.filter(priority=3).patterns == ("t.*.p3.*",)
    assert subjects.lev.filter(level="high").patterns == ("t.*.l-high-x.*",)
    assert subjects.lev.filter().patterns == ("t.*.*.*",)
    for cls, wrong in ((subjects.files, {"path": ()}), (subjects.prio, {"priority": 10}), (subjects.dev, {"device_id": "a.b"})):
        with pytest.raises(InvalidToken):
            cls.filter(**wrong)


def test_permissions_have_every_pattern() -> None:
    spec = read((HERE / "patterns.toml").read_text())
    sent = permissions.block(spec, "publisher", subjects=("dev", "files:path=a.b", "prio:priority=3")).publish
    assert {"dev.*", "dev.*.*", "t.*.files.*.a.b", "t.*.p3.*"} <= set(sent)
    received = permissions.block(spec, "reader", subjects=("dev:device_id=d", "only")).subscribe
    assert {"dev.*.d", "t.only", "t.only.*"} <= set(received)


# ---- changes


def changes(old: str, new: str) -> list[tuple[str, str]]:
    text = (HERE / "patterns.toml").read_text()
    assert old in text
    return [(change.kind, change.key) for change in compare(read(text), read(text.replace(old, new)))]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("p{priority}", "q{priority}", [("wire", "subjects.prio.pattern")]),
        ("t.only.{priority?}", "t.only.{priority}", [("wire", "subjects.only.pattern")]),
        ("{path>}", "{file>}", [("source", "subjects.files.pattern")]),
        ('"Trace-Id" = "str?", ', "", [("wire", "subjects.traced.headers.Trace-Id")]),
        (', headers = "Notes"', "", [("wire", "subjects.noted.headers")]),
        (
            'message = "Order", headers = "Notes"',
            'message = "Order", headers = { "Must" = "int" }',
            [("wire", "subjects.noted.headers")],
        ),
        ('"Urgent" = {', '"New" = "str?", "Urgent" = {', []),
        ('"Urgent" = {', '"New" = "str", "Urgent" = {', [("wire", "subjects.traced.headers.new")]),
    ],
)
def test_breaking_changes(old: str, new: str, expected: list[tuple[str, str]]) -> None:
    assert changes(old, new) == expected
