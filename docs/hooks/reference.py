"""The reference pages, made when the site is built: one for each public package, and one for the
commands.

A page lists every name of its package's `__all__`; mkdocstrings fills in signatures and docstrings.
The names are read from the source, so nothing of the SDK is imported for them.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

SOURCE: Final = Path(__file__).parents[2] / "src"
ROOT: Final = "smith_sdk"

PACKAGES: Final = {
    "smith_sdk": "What most programs import. Every name is documented in the package that it comes from.",
    "smith_sdk.aio": "The async face: the same names as [`smith_sdk.sync`](smith_sdk.sync.md), for code in an event loop.",
    "smith_sdk.sync": "The blocking face: the same names as [`smith_sdk.aio`](smith_sdk.aio.md), for code without an event loop.",
    "smith_sdk.errors": "Every error that the SDK raises, in one tree under `SmithError`.",
    "smith_sdk.display": "What results and lists of them can do: a table in a notebook, plain data for pandas and JSON.",
    "smith_sdk.options": "The options that buses and workers take. They are frozen, keyword-only and checked when they are made.",
    "smith_sdk.backpressure": "Rules that act while lag or utilisation is too high: [Act when work piles up](../howto/back-pressure.md).",
    "smith_sdk.health": "Probes over HTTP for Kubernetes and Prometheus: [Probes and metrics](../howto/probes.md).",
    "smith_sdk.alerts": "Rules that tell somebody when a figure is too high: [Alerts](../howto/alerts.md).",
    "smith_sdk.logging": "A handler that sends log records over the bus: [Send your logs over the bus](../howto/logs.md).",
    "smith_sdk.signing": "Ed25519 signatures over canonical JSON. Needs the extra `signing`.",
    "smith_sdk.trust": "Whose intents are let through, and how often: an option of `Admission` and `Worker`. Needs the extra `signing`.",
    "smith_sdk.policy": "Policies of admission in a file, as rules.",
    "smith_sdk.otel": "Traces and metrics of a bus: [See a message's way](../howto/telemetry.md). Needs the extra `otel`.",
    "smith_sdk.embedded": "A private nats-server for tests, demos and programs on one machine. Needs the extra `server`.",
    "smith_sdk.testing": "A pytest plugin and helpers. Needs the extra `testing`; [Test your code](../howto/testing.md) shows it.",
    "smith_sdk.contract": "What generated packages are built on, and what a contract looks like to a program.",
    "smith_sdk.protocol": "Smith's payloads, generated from `subjects.toml`. They are frozen, keyword-only structs.",
    "smith_sdk.subjects": "Smith's subjects, generated from `subjects.toml`. Each is a class whose fields are its tokens.",
    "smith_sdk.sharding": "Smith's shardings, generated from `subjects.toml`: which subjects are spread over shards, and by which key.",
    "smith_sdk.topology": "Smith's streams, consumers and contract, generated from `subjects.toml`.",
}
FORMER: Final = {"smith_sdk.server": "smith_sdk.embedded"}
"""Import paths that are kept for older code, and the package that has the names now."""
COMMANDS: Final = "reference/commands.md"
CODEGEN_COMMANDS: Final = ("", "breaking", "docs", "doctor", "lint", "permissions", "hash", "schema", "import")
SPEC: Final = "reference/spec.md"

PAYLOADS: Final = "smith_sdk.protocol"
"""Here the fields of a class stand in a table: there are many, and most have no more to say than
their type."""

FIXTURES: Final = "smith_sdk.testing"
"""Here the pytest fixtures are public too, although a fixture is not in `__all__`."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs: add the pages to the site."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """The Markdown of every page, by its path below docs/."""
    made = {f"reference/{package}.md": _package_page(package) for package in PACKAGES}
    spec: str = import_module("smith_codegen.spec_reference").page()
    return {"reference/index.md": _index(), **made, COMMANDS: _commands(), SPEC: spec}


def public_names(module: str) -> list[str]:
    """The names in `__all__` of `module`, read from its source."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets):
            return sorted(ast.literal_eval(node.value), key=str.lower)
    raise LookupError(f"{module} has no __all__")


def fixtures(module: str) -> list[str]:
    """The public pytest fixtures of `module`, read from its source and that of the modules beside
    it."""
    found: list[str] = []
    for file in _files_of(module):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                decorators = [ast.unparse(one) for one in node.decorator_list]
                if any(text.startswith("pytest.fixture") for text in decorators):
                    found.append(_identifier(file, node.name))
    return sorted(found)


def _index() -> str:
    rows = [f"| [`{package}`]({package}.md) | {_local(text)} |" for package, text in PACKAGES.items()]
    rows.append("| [`smith` and `smith-codegen`](commands.md) | The two command lines. |")
    rows.append("| [`subjects.toml`](spec.md) | Every key of a spec. |")
    return "\n".join(
        [
            "# Reference",
            "",
            "Made from the docstrings. Durations are seconds, as a `float` or a `timedelta`; sizes are bytes.",
            "Every docstring says what is raised; all of it is under [`SmithError`](smith_sdk.errors.md).",
            "",
            "| package | what is in it |",
            "|---|---|",
            *rows,
            "",
            *(f"`{old}` is the former import path of `{new}`, kept for older code." for old, new in FORMER.items()),
            "",
        ]
    )


def _local(text: str) -> str:
    return re.sub(r"\[(`?[^\]]+`?)\]\((?!\.\.)[^)]+\)", r"\1", text)


def _package_page(package: str) -> str:
    head = [f"# {package}", "", PACKAGES[package], ""]
    if package == ROOT:
        return "\n".join([*head, *_facade(package)])
    if package == "smith_sdk.subjects":
        return "\n".join([*head, *_subjects(package)])
    body: list[str] = []
    if package == "smith_sdk.errors":
        body += _error_tree(package)
    for name in public_names(package):
        struct = _class(package, name) if package == PAYLOADS else None
        if struct is None:
            body += _entry(_where(package, name))
        else:
            body += [*_entry(f"{package}.{name}", members=[]), *_fields(struct)]
    if package == FIXTURES:
        body += ["## Fixtures", "", "pytest gives them to a test that names them as parameters.", ""]
        for identifier in fixtures(package):
            body += _entry(identifier, level=3)
    return "\n".join([*head, *body])


def _where(package: str, name: str) -> str:
    """The full name of a public name; a module beside it that has the same name would be taken for
    it."""
    return f"{package}.{name}.{name}" if _file(f"{package}.{name}").exists() else f"{package}.{name}"


def _entry(identifier: str, *, level: int = 2, members: list[str] | None = None) -> list[str]:
    options = [f"      heading_level: {level}"]
    if members is not None:
        options.append(f"      members: {members}")
    return [f"::: {identifier}", "    options:", *options, ""]


def _facade(package: str) -> list[str]:
    """Names that are re-exported: where each comes from, and a link to it."""
    homes = _imports(package)
    rows = []
    for name in public_names(package):
        home = homes[name]
        target = f"{home if home in PACKAGES else package}.{name}"
        link = f"[`{home}`]({home}.md)" if home == f"{package}.{name}" else f"[`{target}`][{target}]"
        rows.append(f"| `{name}` | {link} |")
    return ["| name | documented as |", "|---|---|", *rows, "", *_entries_of_private_homes(package, homes)]


def _entries_of_private_homes(package: str, homes: dict[str, str]) -> list[str]:
    """What comes from a module that has no page of its own is documented here."""
    body: list[str] = []
    for name, home in homes.items():
        if home not in PACKAGES and name in public_names(package):
            body += _entry(f"{package}.{name}")
    return body


def _imports(package: str) -> dict[str, str]:
    """For each name that the `TYPE_CHECKING` block of `package` imports, the module that it comes
    from."""
    homes: dict[str, str] = {}
    for node in ast.walk(_tree(package)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            for alias in node.names:
                homes[alias.asname or alias.name] = f"{package}.{node.module}" if node.module else f"{package}.{alias.name}"
    return homes


def _subjects(package: str) -> list[str]:
    """A table of all patterns, then each namespace with its classes."""
    rows: list[str] = []
    body: list[str] = []
    for name in public_names(package):
        if _file(f"{package}.{name}").exists():  # a namespace
            body += [f"## {name} {{ #{package}.{name} }}", "", _docstring(f"{package}.{name}"), ""]
            for member in public_names(f"{package}.{name}"):
                rows += _subject_row(f"{package}.{name}", member)
                body += _entry(f"{package}.{name}.{member}", level=3, members=["of", "filter"])
        else:
            rows += _subject_row(package, name)
            body += _entry(f"{package}.{name}", members=["of", "filter"])
    table = ["| subject | on the wire, and what it is for |", "|---|---|", *rows, ""]
    every = [
        "Beside what is listed with it, every subject has `str(subject)`, the form on the wire; "
        "`subject.envelope(payload)`, a typed pair for `publish_many`; and the constants `PATTERN` and `STREAM`. "
        "`…Msg` is the type of a message that arrives on it, for annotations.",
        "",
    ]
    return [*table, *every, *body]


def _subject_row(package: str, name: str) -> list[str]:
    """The row of a subject: the docstring of its class has the pattern."""
    found = _class(package, name)
    if found is None:
        return []
    where = package.removeprefix(f"{ROOT}.")
    return [f"| [`{where}.{name}`][{package}.{name}] | {ast.get_docstring(found)} |"]


def _class(package: str, name: str) -> ast.ClassDef | None:
    """The class that `package` imports as `name` from a private module beside it; None for anything
    else."""
    base = package if _file(package).name == "__init__.py" else package.rpartition(".")[0]
    for node in ast.walk(_tree(package)):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module and node.module.startswith("_"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    for found in _tree(f"{base}.{node.module}").body:
                        if isinstance(found, ast.ClassDef) and found.name == alias.name:
                            return found
    return None


def _fields(struct: ast.ClassDef) -> list[str]:
    """A payload's fields as a table, and which of them its `new()` fills in."""
    rows = []
    found = _statements(struct)
    for node, after in zip(found, [*found[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or "ClassVar" in ast.unparse(node.annotation):
            continue
        doc = ast.literal_eval(after.value) if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        doc = " ".join(doc.split())
        rows.append(f"| `{ast.unparse(node.target)}` | {_code(_type(node.annotation))} | {_default(node.value)} | {doc} |")
    if not rows:
        return []
    body = ["| field | type | default | |", "|---|---|---|---|", *rows, ""]
    filled = _filled_by_new(struct)
    if filled:
        body += [
            f"`{struct.name}.new(...)` makes one, and fills in {', '.join(f'`{name}`' for name in filled)} where not given.",
            "",
        ]
    return body


def _statements(struct: ast.ClassDef) -> list[ast.stmt]:
    """The body of a class as a type checker sees it: more may be read than a field can be."""
    found: list[ast.stmt] = []
    for node in struct.body:
        found += node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node]
    return found


def _type(annotation: ast.expr) -> str:
    """A type for people: the limits of a number are not the business of its name."""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        inner, *limits = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        found = [f"{word.arg} {ast.unparse(word.value)}" for one in limits if isinstance(one, ast.Call) for word in one.keywords]
        found = [re.sub(r"extra_json_schema \{'maximum': (\d+)\}", r"le \1", text) for text in found]
        words = {"ge": "at least", "le": "at most"}
        return ", ".join(
            [_type(inner), *(" ".join([words.get(text.split()[0], text.split()[0]), text.split()[1]]) for text in found)]
        )
    if isinstance(annotation, ast.BinOp) and ast.unparse(annotation.right) == "None":
        kind, comma, bounds = _type(annotation.left).partition(", at ")
        return f"{kind} | None{comma}{bounds}"
    return ast.unparse(annotation)


def _default(value: ast.expr | None) -> str:
    if value is None:
        return "required"
    factory = re.fullmatch(r"msgspec\.field\(default_factory=(\w+)\)", ast.unparse(value))
    return _code(f"{factory[1]}()" if factory else ast.unparse(value))


def _code(text: str) -> str:
    return f"`{text}`"


def _filled_by_new(struct: ast.ClassDef) -> list[str]:
    """The required fields that the `new` of a payload does not require."""
    required = [
        ast.unparse(node.target) for node in _statements(struct) if isinstance(node, ast.AnnAssign) and node.value is None
    ]
    for node in struct.body:
        if isinstance(node, ast.FunctionDef) and node.name == "new":
            given = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            return [argument.arg for argument, default in given if default is not None and argument.arg in required]
    return []


def _error_tree(package: str) -> list[str]:
    """The tree of the errors, as the module's docstring draws it."""
    tree = ast.get_docstring(_tree(package)) or ""
    drawn = [line for line in tree.splitlines() if re.match(r" {4}(SmithError|[│├└ ])", line)]
    return ["```text", *(line.removeprefix("    ") for line in drawn), "```", ""]


def _commands() -> str:
    """The help of both command lines, as the programs themselves print it."""
    from smith_sdk.cli.app import app

    os.environ["COLUMNS"] = "88"
    body = app.generate_docs(heading_level=2)
    body = re.sub(r"^#+ Table of Contents\n.*?(?=^\*\*Commands)", "", body, flags=re.DOTALL | re.MULTILINE)
    body = re.sub(
        r"^(#{2,}) (smith[^\n]*)$", lambda m: f"{m[1]} {m[2]} {{ #{m[2].replace(' ', '-')} }}", body, flags=re.MULTILINE
    )
    parts = [
        "# The command lines",
        "",
        "Results go to standard output, everything else to standard error. Exit status 0 means that it is done;",
        "1 that something was found or failed; 2 that the command line, or what it names, is at fault.",
        "`SMITH_NATS_URL` names the server, `SMITH_CONTRACT` the contract.",
        "",
        body.replace("```console", "```text"),
        "",
    ]
    for name in CODEGEN_COMMANDS:
        parts += [f"## smith-codegen {name}".rstrip(), "", "```text", _codegen_help(name), "```", ""]
    return "\n".join(parts)


def _codegen_help(name: str) -> str:
    commands = import_module("smith_codegen.cli")
    command = import_module(f"smith_codegen.{commands.COMMANDS[name]}" if name else "smith_codegen.generate")
    parser = argparse.ArgumentParser(prog=f"smith-codegen {name}".strip(), description=command.__doc__)
    command.arguments(parser)
    return parser.format_help().rstrip()


# ---- reading the source


def _file(module: str) -> Path:
    path = SOURCE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _files_of(module: str) -> list[Path]:
    file = _file(module)
    return sorted(file.parent.glob("*.py")) if file.name == "__init__.py" else [file]


def _identifier(file: Path, name: str) -> str:
    parts = list(file.relative_to(SOURCE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join([*parts, name])


def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text())


def _docstring(module: str) -> str:
    return ast.get_docstring(_tree(module)) or ""
