"""The model as Python source: templates filled in, imports added, formatted, compiled.

Deterministic: the same spec gives the same bytes. Nothing here reads the clock, the environment or
a user's configuration.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2

from . import docstrings, imports, modules, trie
from .imports import Import
from .model import Declared, Enum, Family, Imported, Message, Model, Module, Namespace, Token, Union
from .names import attribute, camel, free
from .sources import CANONICAL

ABI: Final = 2
"""`smith_sdk.contract.RUNTIME_ABI` of the runtime that the output is made for."""

HEADER: Final = "# generated from subjects.toml by smith-codegen; do not edit\n"

DIRECTIVES: Final = """\
# fmt: off
# isort: skip_file
# ruff: noqa
# ruff: noqa: PGH004
# mypy: allow-any-decorated, allow-any-explicit, allow-any-expr
# mypy: disable-error-code="explicit-override, redundant-expr"
# pyright: reportCallInDefaultInitializer=false, reportImplicitOverride=false, reportImportCycles=false
# pyright: reportMissingSuperCall=false, reportPrivateUsage=false, reportUnknownVariableType=false
# pyright: reportUnnecessaryIsInstance=false, reportUnusedFunction=false
"""
"""Lines below the header: formatters and linters leave the files as they are, and type checkers
report nothing in them that is a matter of style. What they check in the user's code stays as it is.
"""

_REFERS_TO_DEPRECATED: Final = """\
# mypy: disable-error-code="deprecated, explicit-override, redundant-expr"
# pyright: reportDeprecated=false
"""

ROOMS: Final = (
    "__init__.py",
    "py.typed",
    "protocol",
    "subjects",
    "sharding.py",
    "buckets.py",
    "objects.py",
    "topology.py",
    CANONICAL,
)
"""What belongs to the generator in the output directory: nothing else may stand there."""

STARTERS: Final = ("__init__.py", "py.typed")
"""Of these, files that are left alone if the user has written them."""

TEMPLATES: Final[Mapping[type[Declared], str]] = {
    Enum: "enum.py.j2",
    Family: "family.py.j2",
    Imported: "imported.py.j2",
    Message: "message.py.j2",
    Union: "union.py.j2",
}
"""The template of each kind of declaration in `protocol`."""


class Entry(NamedTuple):
    """A name that a package imports lazily: `name` is `attribute` of `module`, or the module."""

    module: str
    attribute: str
    name: str

    @property
    def is_subject(self) -> bool:
        return self.name[0].islower()


def render(model: Model) -> dict[str, str]:
    """Every file that belongs to the spec: path inside the output directory -> text."""
    output = _Output(model)
    output.protocol()
    output.subjects()
    output.shardings()
    output.topology()
    output.buckets()
    output.package()
    return {
        "py.typed": "",
        **finish(output.files, directives=DIRECTIVES + (_REFERS_TO_DEPRECATED if model.has_deprecated else "")),
        CANONICAL: model.spec.canonical,
    }


@cache
def _jinja() -> jinja2.Environment:
    """The templates. To compile them takes longer than to fill them in, so that a process which
    generates several packages, as tests do, does it once."""
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Python source, no markup
        auto_reload=False,
    )
    jinja.filters.update(
        repr=repr,
        camel=camel,
        free=free,
        attribute=attribute,
        doc=_doc,
        refused=_refused,
        allowed=_allowed,
        wired=_wired,
        ordered=_sorted,
        imported=imports.isort,
        base=_base,
    )
    return jinja


class _Output:
    """What has been rendered so far, and the names that it is made of."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.files: dict[str, str] = {}
        self.caps = tuple(token for token in model.tokens if token.kind == "cap" and not token.home)
        self.namespaces = model.namespaces
        self.payloads = dict(self._payloads())
        self.classes = {
            subject.cls: Import(f"{subject.home}.subjects.{subject.module}", subject.cls) for subject in model.subjects
        }
        self.known = {**imports.RUNTIME, **self.payloads, **dict(self._shardings())}

    def _payloads(self) -> Iterator[tuple[str, Import]]:
        """Where the types of tokens and payloads are, and what belongs to them."""
        for token in self.model.tokens:
            if token.kind == "cap":
                yield f"_cap_{token.name}", Import(f"{token.home}.protocol", f"_{token.name}")
            else:
                for name in (token.type_name, *((token.constant,) if token.kind == "enum" else ())):
                    yield name, Import(f"{token.home}.protocol.{modules.TOKENS}", name)
        for module in self.model.modules:
            for name in (name for one in module.declared for name in (*one.exports, *one.internals)):
                yield name, Import(f"{module.home}.protocol.{module.name}", name)

    def _shardings(self) -> Iterator[tuple[str, Import]]:
        for one in self.model.shardings:
            yield f"_sharding_{one.name}", Import(".subjects._sharding", one.name)

    def emit(self, path: str, template: str, *, typed: Mapping[str, Import] | None = None, **values: Any) -> None:
        """Fill in `template`, with imports of the names it uses; those of `typed` are for checkers
        only.
        """
        body = self.fill(template, **values)
        self.files[path] = imports.add(path, body, self.known, typed or {})

    def fill(self, template: str, **values: Any) -> str:
        return _jinja().get_template(template).render(model=self.model, **values)

    def lazy(self, path: str, doc: str, entries: Iterable[Entry], *, parses: bool = False) -> None:
        """A package whose names are imported when they are first used."""
        self.emit(path, "lazy.py.j2", doc=doc, entries=sorted(entries), parses=parses)

    def protocol(self) -> None:
        self.emit(f"protocol/{modules.TOKENS}.py", "tokens.py.j2")
        tokens = (token for token in self.model.tokens if token.kind not in ("cap", "shard") and not token.home)
        entries = [Entry(f".{modules.TOKENS}", token.type_name, token.type_name) for token in tokens]
        for family in self.model.families:
            if not family.home:
                self.emit(f"protocol/_{family.by.name}.py", "cap.py.j2", family=family)
        for module in self.model.modules:
            if not module.home:
                self.module(module)
                entries += [Entry(f".{module.name}", name, name) for one in module.declared for name in one.exports]
        self.lazy("protocol/__init__.py", "The payloads of the bus, and the types of the tokens in its subjects.", entries)

    def module(self, module: Module) -> None:
        bodies = [self.fill(TEMPLATES[type(one)], one=one) for one in module.declared]
        self.emit(f"protocol/{module.name}.py", "module.py.j2", module=module, bodies=bodies)

    def subjects(self) -> None:
        for token in self.caps:
            self.emit(f"subjects/{token.facade}.py", "cap_facade.py.j2", token=token)
        for namespace in self.namespaces:
            for subject in namespace.subjects:
                self.emit(
                    f"subjects/{subject.module.replace('.', '/')}.py",
                    "subject.py.j2",
                    typed={name: self.classes[name] for name in subject.also},
                    s=subject,
                    origin=self.origin,
                )
            self.namespace(namespace)

    def namespace(self, namespace: Namespace) -> None:
        entries = [Entry(f".{name}", "", name) for name in namespace.namespaces]
        for subject in namespace.subjects:
            entries.append(Entry(f"._{subject.attr}", subject.cls, subject.attr))
            entries.append(Entry(f"._{subject.attr}", f"{subject.cls}Msg", f"{camel(subject.attr)}Msg"))
        if namespace.name:
            names = ", ".join(f"`{entry.name}`" for entry in sorted(entries, key=lambda one: one.name) if entry.is_subject)
            path = f"subjects/{namespace.name.replace('.', '/')}/__init__.py"
            self.lazy(path, f"The subjects `{namespace.name}`: {names}.", entries)
            return
        entries += [Entry(f".{token.facade}", "", token.facade) for token in self.caps]
        doc = "The subjects of the bus: `subjects.<namespace>.<name>` is a class.\n\nIt is imported on first use.\n"
        self.lazy("subjects/__init__.py", doc, entries, parses=True)

    def shardings(self) -> None:
        if self.model.shardings:
            self.emit("subjects/_sharding.py", "sharding.py.j2")
            self.emit("sharding.py", "sharding_facade.py.j2", typed={**self.payloads, **self.classes})

    def topology(self) -> None:
        bases = {_base(home): Import(f"{home}.topology", "CONTRACT") for home in self.model.homes}
        self.known.update(bases)
        self.known["_shardings"] = Import(".subjects", "_sharding")
        self.emit(
            "topology.py",
            "topology.py.j2",
            typed={**self.payloads, **self.classes},
            trie=_literal(trie.build(self.model.subjects)),
            package=self.model.spec.spec.package,
            abi=ABI,
            origin=self.origin,
        )

    def buckets(self) -> None:
        for name in ("buckets", "objects"):
            if getattr(self.model, name):
                self.emit(f"{name}.py", f"{name}.py.j2", origin=self.origin)

    def package(self) -> None:
        head = self.model.spec.spec
        entries = [Entry(".topology", "CONTRACT", "CONTRACT"), Entry(".topology", "consumers", "consumers")]
        entries += [Entry(f".{name}", "", name) for name in ("protocol", "subjects", "topology")]
        entries += [Entry(".sharding", "", "sharding")] if self.model.shardings else []
        entries += [Entry(f".{name}", "", name) for name in ("buckets", "objects") if getattr(self.model, name)]
        doc = f"The contract {head.name} {head.version}: its payloads, subjects, streams and consumers."
        self.lazy("__init__.py", doc, entries)

    @property
    def origin(self) -> str:
        return f"{self.model.spec.spec.package}.topology:CONTRACT"


# ---- what templates call


def _doc(text: str) -> str:
    """Text that is safe inside a docstring."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f"{text} " if text.endswith('"') else text


def _base(home: str) -> str:
    """What the contract of another package is called."""
    return f"_base_{home.replace('.', '_')}"


def _refused(token: Token, value: str) -> str:
    """The condition, as Python source, that `value` is not a valid value of the token."""
    if token.kind == "open":
        excluded = f" or {value} in {tuple(token.exclude)!r}" if token.exclude else ""
        return f"not _is_token({value}){excluded}"
    if token.kind == "shard":
        return f"not isinstance({value}, _Shard)"
    if token.kind == "tail":
        return f"not _is_tail({value})"
    if token.kind == "int":
        return f"not _is_int_token({value}, {token.min!r}, {token.max!r})"
    return f"not isinstance({value}, str) or {value} not in {_values(token)}"


def _wired(token: Token) -> str:
    """What the variable of its name is on the wire, as Python source inside an f-string."""
    if token.kind == "tail":
        return f"'.'.join({token.attr})"
    if token.kind == "shard":
        return f"{token.attr}.tokens" if token.has_word else token.attr
    is_number = token.kind == "int" and (token.format or token.is_part)
    value = f"format({token.attr}, {token.format or 'd'!r})" if is_number else token.attr
    return " + ".join([*([repr(token.prefix)] * bool(token.prefix)), value, *([repr(token.suffix)] * bool(token.suffix))])


def _values(token: Token) -> str:
    """Where the values of a closed set stand."""
    return f"_cap_{token.name}._ALL" if token.kind == "cap" else token.constant


def _allowed(token: Token) -> str:
    """The last argument of a `refuse_token` call: the valid values."""
    if token.kind == "shard":
        return ", 'a Shard'"
    if token.kind == "tail":
        return ", 'a tuple of at least one token'"
    if token.kind == "int":
        bounds = [f"{word} {bound}" for word, bound in (("from", token.min), ("to", token.max)) if bound is not None]
        return f", {' '.join(['a whole number', *bounds])!r}"
    if token.values:
        return f", ', '.join(sorted({_values(token)}))"
    return f", {'any token but ' + ', '.join(token.exclude)!r}" if token.exclude else ""


def _literal(node: Any) -> str:
    """The trie as source; a leaf is the name of its constant."""
    if isinstance(node, str):
        return f"_leaf_{node}"
    if isinstance(node, trie.Rest):
        return f"_rest(_leaf_{node.cls})"
    if isinstance(node, trie.Parts):
        parts = [(one.prefix, one.suffix, one.number and one.number.format) for one in node.parts]
        return f"_Parts({_literal(node.plain)}, {(*parts,)!r}, {_literal(node.nodes)})"
    return "{" + ", ".join(f"{key!r}: {_literal(inner)}" for key, inner in node.items()) + "}"


def _sorted(names: Iterable[str]) -> list[str]:
    """Constants, classes, then the rest: the order of `__all__`."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


# ---- finishing


def finish(files: Mapping[str, str], header: str = HEADER, *, directives: str = "") -> dict[str, str]:
    """Add the header, format, wrap the docstrings, and make sure that Python accepts it.

    `directives` are comments for other tools; they come below the header.
    """
    with tempfile.TemporaryDirectory(prefix="smith-codegen-") as scratch:
        paths = []
        for name, text in files.items():
            path = Path(scratch, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(header + text, encoding="utf-8", newline="\n")
            paths.append(path)
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--no-cache", "--quiet"]
        command += ["--line-length", "130", "--target-version", "py311"]
        done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise RuntimeError(f"ruff cannot format the generated code:\n{done.stderr}")
        found = {name: docstrings.wrap(Path(scratch, name).read_text(encoding="utf-8")) for name in sorted(files)}
    found = {name: text.replace(header, header + directives, 1) for name, text in found.items()}
    for name, text in found.items():
        compile(text, name, "exec", dont_inherit=True)
    return found
