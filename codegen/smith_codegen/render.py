"""The model as Python source: templates filled in, imports added, formatted, compiled.

Deterministic: the same spec gives the same bytes. Nothing here reads the clock, the environment or
a user's configuration.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jinja2

from . import docstrings, trie
from .model import Family, Model, Subject, Token
from .names import camel
from .resolve import GENERATORS
from .sources import CANONICAL

ABI: Final = 1
"""`smith_sdk.contract.RUNTIME_ABI` of the runtime that the output is made for."""

HEADER: Final = "# generated from subjects.toml by smith-codegen; do not edit\n"

ROOMS: Final = ("protocol", "subjects", "sharding.py", "topology.py", CANONICAL)
"""What belongs to the generator in the output directory: nothing else may stand there."""

_CONTRACT: Final = "smith_sdk.contract"

_Sources = Mapping[str, Iterable[str]]


def render(model: Model) -> dict[str, str]:
    """Every file that belongs to the spec: path inside the output directory -> text."""
    output = _Output(model)
    output.protocol()
    output.subjects()
    output.topology()
    return {**finish(output.files), CANONICAL: model.spec.canonical}


class _Output:
    """What has been rendered so far, and the names that it is made of."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.files: dict[str, str] = {}
        self.jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # Python source, no markup
        )
        self.jinja.filters.update(
            repr=repr,
            camel=camel,
            doc=_doc,
            listed=_listed,
            refused=_refused,
            allowed=_allowed,
            ordered=_sorted,
            imported=_isort,
            base=_base,
        )
        self.caps = tuple(token for token in model.tokens if token.kind == "cap" and not token.home)

    def emit(self, path: str, template: str, sources: _Sources, typed: _Sources | None = None, **values: Any) -> None:
        """Fill in `template`, with imports of the names it uses; those of `typed` are for checkers
        only.
        """
        body = self.jinja.get_template(template).render(model=self.model, classes=_classes, **values)
        self.files[path] = _with_imports(body, sources, typed or {})

    def protocol(self) -> None:
        self.emit("protocol/_tokens.py", "tokens.py.j2", {"typing": ["Final", "Literal", "NewType", "TypeAlias"]})
        for token in self.caps:
            family = next(family for family in self.model.families if family.by == token)
            self.emit(f"protocol/_{token.name}.py", "cap.py.j2", {}, token=token, family=family)
        self.emit(
            "protocol/_messages.py",
            "messages.py.j2",
            {
                "typing": ["TYPE_CHECKING", "Annotated", "Any", "ClassVar", "Final", "Literal", "TypeAlias"],
                "": ["msgspec"],
                "typing_extensions": ["TypeVar"],
                _CONTRACT: [
                    "Cap",
                    "Payload",
                    "is_int_token",
                    "is_token",
                    "kind_of",
                    "refuse_int",
                    "refuse_token",
                    "respell",
                    *sorted(GENERATORS.values()),
                ],
                **self.payloads("."),
            },
            selector={family.name: family.by.name for family in self.model.families},
        )
        names = {"messages": self.messages(""), "tokens": [token.type_name for token in self.tokens("")]}
        self.emit("protocol/__init__.py", "protocol.py.j2", {}, names=names)

    def tokens(self, home: str) -> list[Token]:
        """Tokens with a type in `protocol/_tokens.py` of package `home`; "" is the generated
        one.
        """
        return [token for token in self.model.tokens if token.kind not in ("cap", "shard") and token.home == home]

    def messages(self, home: str) -> list[str]:
        """Names for users that stand in its `protocol/_messages.py`."""
        families = [family for family in self.model.families if family.home == home]
        found = [message.name for message in self.model.messages if message.home == home]
        return sorted(found + [name for family in families for name in (family.name, family.by.type_name)])

    def payloads(self, protocol: str) -> dict[str, list[str]]:
        """Modules of token and payload names; `protocol` is the relative name of the own
        package's.
        """
        found: dict[str, list[str]] = {}
        for home in ("", *self.model.homes):
            at = f"{home}.protocol" if home else protocol
            within = "" if at == "." else at
            families = [family for family in self.model.families if family.home == home]
            tokens = self.tokens(home)
            found[at] = [f"_{family.by.name}" for family in families]
            found[f"{within}._tokens"] = [token.type_name for token in tokens]
            found[f"{within}._tokens"] += [f"{token.name.upper()}_VALUES" for token in tokens if token.kind == "enum"]
            found[f"{within}._messages"] = self.messages(home)
            for family in families:
                found[f"{within}._messages"] += [family.typevar, f"One{family.typevar}", _classes(family)]
        if protocol == ".":
            del found["._messages"]  # these are made there
        return found

    def classes(self, subjects: str) -> dict[str, list[str]]:
        """Modules of the subject classes; `subjects` is the relative name of the own package's."""
        found: dict[str, list[str]] = {}
        for subject in self.model.subjects:
            at = f"{subject.home}.subjects.{subject.module}" if subject.home else f"{subjects}.{subject.module}"
            found.setdefault(at.replace("..", "."), []).append(subject.cls)
        return found

    def subjects(self) -> None:
        for namespace in ("", *self.model.namespaces):
            subjects = self.model.of(namespace)
            if not subjects:
                continue
            self.emit(
                f"subjects/{subjects[0].module}.py",
                "namespace.py.j2",
                {
                    "typing": ["TYPE_CHECKING", "Any", "ClassVar", "Self", "TypeAlias", "final", "overload"],
                    _CONTRACT: [
                        "CoreSubject", "Filter", "ReadOnlySubject", "Received", "Shard", "ShardKey", "StreamSubject", "Subscribable",
                        "Cap", "is_int_token", "is_token", "read_int_token", "refuse_message", "refuse_token",
                    ],
                    **self.payloads("..protocol"),
                    "._sharding": [f"{one.name} as _{one.name}" for one in self.model.shardings],
                },
                {at: names for at, names in self.classes(".").items() if at != f".{subjects[0].module}"},
                subjects=subjects,
                namespace=namespace,
                origin=self.origin,
            )  # fmt: skip
            if namespace:
                self.emit(f"subjects/{namespace}.py", "facade.py.j2", {}, subjects=subjects, namespace=namespace)
        for token in self.caps:
            self.emit(f"subjects/{token.name}.py", "cap_facade.py.j2", {}, token=token)
        self.shardings()
        self.emit("subjects/__init__.py", "subjects.py.j2", {}, caps=self.caps, root=self.model.of(""))

    def shardings(self) -> None:
        if not self.model.shardings:
            return
        sources = {"typing": ["Any", "Final"], _CONTRACT: ["Layout", "ReadShards", "ShardingSpec"]}
        self.emit("subjects/_sharding.py", "sharding.py.j2", sources)
        self.emit(
            "sharding.py",
            "sharding_facade.py.j2",
            {
                "typing": ["TYPE_CHECKING", "Final"],
                _CONTRACT: ["ShardingSpec"],
                ".subjects._sharding": [f"{one.name} as _{one.name}" for one in self.model.shardings],
            },
            {**{f"{home}.protocol": self.messages(home) for home in ("", *self.model.homes)}, **self.classes(".subjects")},
        )

    def topology(self) -> None:
        protocols = {f"{home}.protocol": self.messages(home) for home in ("", *self.model.homes)}
        self.emit(
            "topology.py",
            "topology.py.j2",
            {
                "typing": ["TYPE_CHECKING", "Any", "ClassVar", "Final", "final"],
                _CONTRACT: [
                    "ConsumerLimits",
                    "ConsumerSpec",
                    "Contract",
                    "DomainGroup",
                    "External",
                    "Leaf",
                    "Origin",
                    "Placement",
                    "Profile",
                    "Republish",
                    "StreamOverride",
                    "StreamSpec",
                    "SubjectTransform",
                    "unique",
                ],
                ".subjects": ["_sharding"],
                **{f"{home}.topology": [f"CONTRACT as {_base(home)}"] for home in self.model.homes},
            },
            {**protocols, **self.classes(".subjects")},
            trie=_literal(trie.build(self.model.subjects)),
            package=self.model.spec.spec.package,
            abi=ABI,
            origin=self.origin,
        )

    @property
    def origin(self) -> str:
        return f"{self.model.spec.spec.package}.topology:CONTRACT"


# ---- what templates call


def _doc(text: str) -> str:
    """Text that is safe inside a docstring."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f"{text} " if text.endswith('"') else text


def _classes(family: Family) -> str:
    return f"{family.name.upper()}_CLASSES"


def _base(home: str) -> str:
    """What the contract of another package is called."""
    return f"_{home.replace('.', '_')}"


def _refused(token: Token, value: str) -> str:
    """The condition, as Python source, that `value` is not a valid value of the token."""
    if token.kind == "open":
        excluded = f" or {value} in {tuple(token.exclude)!r}" if token.exclude else ""
        return f"not is_token({value}){excluded}"
    if token.kind == "shard":
        return f"not isinstance({value}, Shard)"
    if token.kind == "int":
        return f"not is_int_token({value}, {token.min!r}, {token.max!r})"
    return f"not isinstance({value}, str) or {value} not in {_values(token)}"


def _values(token: Token) -> str:
    """Where the values of a closed set stand."""
    return f"_{token.name}.ALL" if token.kind == "cap" else f"{token.name.upper()}_VALUES"


def _allowed(token: Token) -> str:
    """The last argument of a `refuse_token` call: the valid values."""
    if token.kind == "shard":
        return ", 'a Shard'"
    if token.kind == "int":
        bounds = [f"{word} {bound}" for word, bound in (("from", token.min), ("to", token.max)) if bound is not None]
        return f", {' '.join(['a whole number', *bounds])!r}"
    if token.values:
        return f", ', '.join(sorted({_values(token)}))"
    return f", {'any token but ' + ', '.join(token.exclude)!r}" if token.exclude else ""


def _listed(subjects: Iterable[Subject]) -> list[tuple[str, str]]:
    """The classes and aliases of `subjects`, each with its name for users, in isort's order."""
    pairs = [
        (name, alias) for one in subjects for name, alias in ((one.cls, one.attr), (f"{one.cls}Msg", f"{camel(one.attr)}Msg"))
    ]
    return sorted(pairs, key=lambda pair: pair[0].lower())


def _literal(node: trie.Node | str) -> str:
    """The trie as source; a leaf is the name of its constant."""
    if isinstance(node, str):
        return f"_{node}"
    return "{" + ", ".join(f"{key!r}: {_literal(inner)}" for key, inner in node.items()) + "}"


def _sorted(names: Iterable[str]) -> list[str]:
    """Constants, classes, then the rest: the order of `__all__`."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def _isort(names: Iterable[str]) -> list[str]:
    """The same, but case does not count: the order of imports."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name.lower()))


# ---- finishing


def _with_imports(body: str, sources: _Sources, typed: _Sources) -> str:
    """Replace `#imports` in `body` by the imports of the names that it uses."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    for_types = _imports(used, typed)
    if for_types:
        used.add("TYPE_CHECKING")
        for_types = "\n\nif TYPE_CHECKING:\n" + textwrap.indent(for_types, "    ")
    return body.replace("#imports\n", f"{_imports(used, sources)}{for_types}\n", 1)


def _imports(used: set[str], sources: _Sources) -> str:
    """Imports of the `used` names, which may be aliases, in the order and groups of isort."""
    groups: dict[int, list[str]] = {0: [], 1: [], 2: [], 3: []}
    for module, names in sorted(sources.items()):
        wanted = _isort(name for name in names if name.split()[-1] in used)
        if wanted:
            group = 0 if module == "typing" else 3 if module.startswith(".") else 2 if "." in module else 1
            groups[group].append(f"from {module} import {', '.join(wanted)}" if module else f"import {wanted[0]}")
    return "\n\n".join("\n".join(lines) for lines in groups.values() if lines)


def finish(files: Mapping[str, str], header: str = HEADER) -> dict[str, str]:
    """Add the header, format, wrap the docstrings, and make sure that Python accepts it."""
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
    for name, text in found.items():
        compile(text, name, "exec", dont_inherit=True)
    return found
