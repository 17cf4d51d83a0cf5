"""Which room may import which, read off the syntax tree.

Every import counts: at the top of a module, inside a function, and under `TYPE_CHECKING`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

REPO: Final = Path(__file__).parents[2]
HOMES: Final = {"smith_sdk": REPO / "src" / "smith_sdk", "smith_codegen": REPO / "codegen" / "smith_codegen"}

CONTRACT: Final = ("contract", "protocol", "subjects", "sharding", "topology")
CORE: Final = (
    "_core.foreign_text",
    "_core.idempotency",
    "_core.events",
    "_core.log_records",
    "_core.connection",
    "_core.services",
    "_core.jetstream",
    "_core.sharding",
    "_core.topology",
    "_core.domains",
    "_core.outbox",
    "_core.dead_letters",
    "_core.monitoring",
    "_core.monitoring.breaker",
    "_core.monitoring.checks",
)

# A room is a folder, or a module with a rule of its own. From the bottom up: a room may import
# only what its line names, and a line may name only rooms that stand above it.
RULES: Final[dict[str, tuple[str, ...]]] = {
    "_lazy_names": (),
    "_core": (),
    "_core.foreign_text": (),
    "_core.idempotency": (),
    "errors": ("_core.foreign_text",),
    "options": ("errors",),
    "display": ("_core.foreign_text",),
    "contract": ("_lazy_names", "_core.foreign_text", "errors", "display"),
    "protocol": ("contract",),
    "subjects": ("contract", "protocol"),
    "sharding": ("contract", "protocol", "subjects"),
    "topology": ("contract", "protocol", "subjects"),
    "_core.payload_check": (),
    "_core.json_limits": (),
    "_core.codec": ("errors", "_core.foreign_text", "_core.payload_check", "_core.json_limits"),
    "_core.log_records": ("_core.foreign_text",),
    "_core.log_values": ("_core.foreign_text",),
    "_core.events": ("_core.log_records",),
    "_core.monitoring.outcomes": (),
    "_core.monitoring.breaker": ("errors", "options", "_core.events", "_core.log_records", "_core.monitoring.outcomes"),
    "_core.result_codes": (),
    "_core.public_keys": (),
    "_core.canonical_json": ("errors",),
    "_core.reread_file": ("errors",),
    "_core.globs": (),
    "_core.execution": ("errors", "_core.log_records"),
    "_core.blocking": ("errors", "options", "_core.log_records", "_core.execution"),
    "_core.probes": ("errors", "_core.log_records"),
    "_core.connection": ("errors", "options", "_core.foreign_text", "_core.events", "_core.log_records", "_core.execution"),
    "_core.services": ("errors", "_core.foreign_text", "_core.log_records", "_core.execution", "_core.connection"),
    "_core.jetstream": (
        "errors",
        "options",
        "contract",
        "_core.events",
        "_core.log_records",
        "_core.monitoring.breaker",
        "_core.execution",
        "_core.connection",
        "_core.services",
    ),
    "_core.log_sender": ("errors", "_core.execution", "_core.connection", "_core.jetstream"),
    "_core.sharding": (
        "errors",
        "options",
        "contract",
        "_core.foreign_text",
        "_core.codec",
        "_core.log_records",
        "_core.jetstream",
    ),
    "_core.topology": (
        "errors",
        "options",
        "contract",
        "display",
        "_core.foreign_text",
        "_core.log_records",
        "_core.jetstream",
        "_core.sharding",
    ),
    "_core.domains": (
        "errors",
        "options",
        "contract",
        "display",
        "_core.foreign_text",
        "_core.log_records",
        "_core.jetstream",
        "_core.topology",
    ),
    "_core.outbox": (
        "errors",
        "options",
        "contract",
        "display",
        "_core.foreign_text",
        "_core.log_records",
        "_core.execution",
        "_core.connection",
        "_core.jetstream",
        "_core.sharding",
    ),
    "_core.dead_letters": (
        "errors",
        "contract",
        "display",
        "_core.foreign_text",
        "_core.idempotency",
        "_core.log_records",
        "_core.connection",
        "_core.jetstream",
        "_core.sharding",
    ),
    "_core.monitoring": (
        "errors",
        "options",
        "contract",
        "display",
        "_core.foreign_text",
        "_core.events",
        "_core.log_records",
        "_core.connection",
        "_core.jetstream",
        "_core.domains",
    ),
    "_core.monitoring.checks": (
        "errors",
        "options",
        "contract",
        "_core.events",
        "_core.foreign_text",
        "_core.connection",
        "_core.jetstream",
        "_core.topology",
        "_core.domains",
        "_core.monitoring",
    ),
    "_core.exports": ("errors", "contract", "_core.monitoring"),
    "signing": ("errors", "protocol", "_core.codec", "_core.public_keys", "_core.canonical_json", "_core.foreign_text"),
    "trust": (
        "errors",
        "options",
        "contract",
        "protocol",
        "_core.result_codes",
        "_core.execution",
        "_core.reread_file",
        "_core.log_records",
        "_core.jetstream",
        "signing",
    ),
    "embedded": ("errors",),
    "server": ("embedded",),
    "aio": (
        "_lazy_names",
        "errors",
        "options",
        "display",
        *CONTRACT,
        "_core.codec",
        "_core.result_codes",
        "_core.execution",
        "_core.probes",
        *CORE,
        "trust",
        "embedded",
    ),
    "sync": (
        "_lazy_names",
        "errors",
        "options",
        "display",
        *CONTRACT,
        "_core.blocking",
        "_core.result_codes",
        *CORE,
        "trust",
        "aio",
    ),
    "testing": ("errors", *CONTRACT, "_core.blocking", "_core.codec", *CORE, "embedded", "aio", "sync"),
    "__init__": (
        "_lazy_names",
        "errors",
        "options",
        *CONTRACT,
        "_core.jetstream",
        "_core.monitoring.breaker",
        "trust",
        "aio",
        "sync",
    ),
    "alerts": ("_core.monitoring", "aio"),
    "backpressure": ("_core.events", "_core.monitoring", "aio"),
    "logging": (
        "errors",
        "options",
        *CONTRACT,
        "_core.blocking",
        "_core.codec",
        "_core.foreign_text",
        "_core.log_records",
        "_core.log_sender",
        "_core.log_values",
        "aio",
        "sync",
    ),
    "health": (
        "errors",
        "_core.blocking",
        "_core.log_records",
        "_core.monitoring",
        "_core.probes",
        "aio",
        "sync",
    ),
    "otel": (
        "errors",
        "contract",
        "_core.foreign_text",
        "_core.events",
        "_core.connection",
        "_core.jetstream",
        "_core.dead_letters",
        "_core.monitoring",
        "aio",
        "__init__",
    ),
    "policy": ("errors", "protocol", "_core.globs", "_core.log_records", "_core.reread_file", "signing", "aio"),
    # `smith worker` runs workers of both faces, and those of the async one on a portal of its own;
    # it counts signals as `Worker.run` does.
    # The contexts of the nats command are read below the faces, by the bus and by the command line.
    # `smith outbox ls` reads the file of a process that no longer runs, or that has it open.
    "cli": (
        "errors",
        "options",
        *CONTRACT,
        "_core.blocking",
        "_core.foreign_text",
        "_core.log_records",
        "_core.log_values",
        "_core.execution",
        "_core.connection",
        "_core.outbox",
        "_core.exports",
        "signing",
        "trust",
        "policy",
        "otel",
        "alerts",
        "embedded",
        "aio",
        "sync",
        "health",
        "__init__",
    ),
    "cli.top": ("errors", "options", *CONTRACT, "_core.foreign_text", "_core.monitoring", "aio", "cli"),
}

# Libraries, and the only rooms that may import them; a library that is not listed is imported
# nowhere.
LIBRARIES: Final[dict[str, tuple[str, ...]]] = {
    "msgspec": ("display", "contract", "protocol", "signing", "policy", "logging", "_core", "aio", "cli"),
    "typing_extensions": ("contract", "protocol", "subjects", "_core.jetstream.publish_request"),
    "nats": ("_core.connection.link",),
    "websockets": ("_core.connection.websocket",),
    "cryptography": ("signing", "_core.connection.credentials", "cli.demo_tls"),
    "cyclopts": ("cli",),
    "rich": ("cli",),
    "textual": ("cli.top",),
    "matplotlib": ("cli.lag_plot",),
    "watchfiles": ("cli",),
    "pydantic_core": ("contract",),
    "prometheus_client": ("_core.monitoring.exposition",),
    "opentelemetry": ("otel",),
    "pytest": ("testing",),
    "smith_codegen": ("cli",),
}


@cache
def modules(home: str) -> dict[str, Path]:
    """Every module of a package, by its dotted name within it; a folder goes by its own name, the
    package by ""."""
    found = {}
    for path in HOMES[home].rglob("*.py"):
        parts = path.relative_to(HOMES[home]).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _parsed(path: Path) -> ast.Module:
    text = path.read_text(encoding="utf-8")
    try:
        return ast.parse(text)
    except SystemError:  # CPython 3.11 counts the depth of all threads together, and another one has parsed meanwhile
        return ast.parse(text)


def imported(home: str, module: str) -> Iterator[str]:
    """The absolute names that `module` imports: a module where the name is one, otherwise the
    module that has the name."""
    path = modules(home)[module]
    package = [home, *module.split(".")] if module else [home]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            at = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*at, node.module] if node.module else at)
            for alias in node.names:
                name = f"{source}.{alias.name}"
                yield name if name.removeprefix(f"{home}.") in modules(home) else source


@cache
def graph(home: str) -> dict[str, frozenset[str]]:
    """For each module of a package, the modules of the same package that it imports."""
    inside = {}
    for module in modules(home):
        names = {name for name in imported(home, module) if name == home or name.startswith(f"{home}.")}
        inside[module] = frozenset(name.removeprefix(home).removeprefix(".") for name in names)
    return inside


def room(module: str) -> str:
    """The rule that `module` stands under: its own, or that of the nearest folder."""
    if module == "":
        return "__init__"
    while module not in RULES:
        module, dot, _ = module.rpartition(".")
        assert dot, "a module without a rule"
    return module


def circles(arrows: dict[str, frozenset[str]]) -> set[frozenset[str]]:
    """Groups of modules that reach each other (strongly connected components of two and more)."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for found in arrows[ahead.pop()] - seen:
                seen.add(found)
                ahead.append(found)
        return seen

    reached = {module: reach(module) for module in arrows}
    return {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in arrows
        if module in reached[module]
    }


def forbidden_arrows() -> set[tuple[str, str]]:
    return {
        (module, target)
        for module, targets in graph("smith_sdk").items()
        for target in targets
        if room(target) != room(module) and room(target) not in RULES[room(module)]
    }


def test_every_folder_and_every_module_at_the_top_has_a_rule() -> None:
    for module, path in modules("smith_sdk").items():
        if (path.name == "__init__.py" or "." not in module) and not module.startswith("subjects."):  # its namespaces
            assert (module or "__init__") in RULES, f"{module} has no rule: add a line to RULES, where it stands among the others"


def test_every_rule_belongs_to_a_room() -> None:
    rooms = {module or "__init__" for module in modules("smith_sdk")}
    assert set(RULES) <= rooms


def test_arrows_point_down() -> None:
    rooms = list(RULES)
    for name, allowed in RULES.items():
        for other in allowed:
            assert rooms.index(other) < rooms.index(name), f"{name} may not import {other}, which stands below it"


def test_no_room_imports_what_its_rule_does_not_name() -> None:
    assert forbidden_arrows() == set()


@pytest.mark.parametrize("home", ["smith_sdk", "smith_codegen"])
def test_no_modules_import_each_other_in_a_circle(home: str) -> None:
    assert circles(graph(home)) == set()


def test_a_library_is_imported_only_where_it_may_be() -> None:
    found: dict[str, set[str]] = {}
    for module in modules("smith_sdk"):
        for name in imported("smith_sdk", module):
            library = name.partition(".")[0]
            if library != "smith_sdk" and library not in sys.stdlib_module_names:
                found.setdefault(library, set()).add(module)
    for library, users in found.items():
        assert library in LIBRARIES, f"{library} has no rule; it is imported by {sorted(users)}"
        for module in users:
            assert any(f"{module}.".startswith(f"{place}.") for place in LIBRARIES[library]), f"{module} imports {library}"
    for library, places in LIBRARIES.items():
        for place in places:
            assert any(f"{module}.".startswith(f"{place}.") for module in found.get(library, ())), f"{place} imports no {library}"


def test_the_generator_imports_nothing_of_the_sdk() -> None:
    for module in modules("smith_codegen"):
        assert not [name for name in imported("smith_codegen", module) if name.partition(".")[0] == "smith_sdk"], module


def test_circles_are_found_where_there_are_some() -> None:
    arrows = {"a": frozenset("bd"), "b": frozenset("c"), "c": frozenset("a"), "d": frozenset("d"), "e": frozenset("a")}
    assert circles(arrows) == {frozenset("abc"), frozenset("d")}


def test_imports_inside_functions_and_for_checkers_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "other.py").write_text("")
    (tmp_path / "inner" / "__init__.py").write_text("from . import late\n")
    (tmp_path / "inner" / "late.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..other import Name\ndef f():\n    import planted.inner\n"
    )
    monkeypatch.setitem(HOMES, "planted", tmp_path)
    assert graph("planted")["inner.late"] == {"other", "inner"}
    assert graph("planted")["inner"] == {"inner.late"}
