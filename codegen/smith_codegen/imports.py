"""Which names a generated module uses, and the imports that bring them."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple


class Import(NamedTuple):
    """Where a name comes from. A module that begins with "." is within the generated package."""

    module: str
    name: str


_AS_THEY_ARE: Final = ("ClassVar", "TYPE_CHECKING")
"""Names without an alias: msgspec knows the first by its spelling, type checkers the second."""


def _runtime() -> dict[str, Import]:
    modules = {
        "typing": "TYPE_CHECKING Annotated Any ClassVar Final Literal Never NewType Self TypeAlias final overload",
        "typing_extensions": "TypeIs TypeVar deprecated",
        "smith_sdk.contract.generated": """
            CoreSubject HeadedSubject ReadOnlySubject RequestSubject StreamSubject Subscribable make_cap make_filter
        """,
        "smith_sdk.contract": """
            AnySubject BucketKey BucketSpec Cap ConsumerLimits ConsumerSpec Contract DomainGroup External Filter
            Headed KeyFilter Layout Leaf ObjectStoreSpec Origin Parts Payload Placement Profile ReadShards
            Received Republish ServiceError Shard ShardKey ShardingSpec StreamOverride StreamSpec
            SubjectTransform UnknownMember is_int_token is_tail is_token join_tokens kind_of make_key_filter new_uuid4
            new_uuid7 now_ns now_rfc3339 read_int_token read_part refuse_int refuse_message refuse_token
            require_struct respell rest unique with_headers
        """,
    }
    found = {name: Import(module, name) for module, names in modules.items() for name in names.split()}
    found |= {name: Import("datetime", name) for name in ("date", "datetime", "timedelta")}
    found |= {"Decimal": Import("decimal", "Decimal"), "UUID": Import("uuid", "UUID")}
    found |= {"msgspec": Import("", "msgspec"), "values": Import("smith_sdk.contract", "values")}
    return {name if name in _AS_THEY_ARE else f"_{name}": place for name, place in found.items()}


_STANDARD: Final = ("datetime", "decimal", "typing", "uuid")
RUNTIME: Final = _runtime()
"""What generated code uses of Python and of `smith_sdk.contract`, by the name that it has there.

Private names: no name of a spec begins with `_`, so a payload may be called `Any` or `Filter`.
"""


def add(path: str, body: str, known: Mapping[str, Import], typed: Mapping[str, Import]) -> str:
    """Replace `#imports` in `body`, the text of file `path`, by imports of the names that it uses.

    Those of `typed` are imported for type checkers only.
    """
    tree = ast.parse(body)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    used -= {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    used -= {node.id for one in tree.body for node in _targets(one)}
    used -= {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}
    for_types = _imports(path, used, typed)
    if for_types:
        used.add("TYPE_CHECKING")
        for_types = "\n\nif TYPE_CHECKING:\n" + textwrap.indent(for_types, "    ")
    return body.replace("#imports\n", f"{_imports(path, used - typed.keys(), known)}{for_types}\n", 1)


def _targets(node: ast.stmt) -> Iterable[ast.Name]:
    """The names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return (target for target in targets if isinstance(target, ast.Name))


def _imports(path: str, used: set[str], known: Mapping[str, Import]) -> str:
    """Imports of the `used` names, in the order and groups of isort."""
    wanted: dict[str, list[str]] = {}
    for alias in (name for name in used if name in known):
        module, name = known[alias]
        wanted.setdefault(_relative(path, module), []).append(name if name == alias else f"{name} as {alias}")
    groups: dict[int, list[str]] = {0: [], 1: [], 2: [], 3: []}
    for module in sorted(wanted, key=_depth):
        group = 0 if module in _STANDARD else 3 if module.startswith(".") else 2 if "." in module else 1
        names = ", ".join(isort(wanted[module]))
        groups[group].append(f"from {module} import {names}" if module else f"import {names}")
    return "\n\n".join("\n".join(lines) for lines in groups.values() if lines)


def _depth(module: str) -> tuple[int, str]:
    """A key that sorts modules; of relative ones those that are further up come first."""
    name = module.lstrip(".")
    return len(name) - len(module), name


def _relative(path: str, module: str) -> str:
    """A module of the generated package as the file `path` of it imports it."""
    if not module.startswith("."):
        return module
    here, there = path.split("/")[:-1], module[1:].split(".")
    while here and there and here[0] == there[0]:
        here, there = here[1:], there[1:]
    return "." * (len(here) + 1) + ".".join(there)


def isort(names: Iterable[str]) -> list[str]:
    """Constants, classes, then the rest, each without regard to case: the order of imports."""
    return sorted(names, key=lambda name: (not name.split()[0].isupper(), not name[0].isupper(), name.lower()))
