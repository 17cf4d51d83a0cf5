"""The Python files of a repository that import the contract: the SDK or the generated package."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from ..walk import files_under


class User(msgspec.Struct, frozen=True):
    """A file that imports the contract. `path` is relative to the current directory."""

    path: Path
    text: str
    tree: ast.Module


def find(packages: Collection[str], generated: Path | None) -> list[User]:
    """Every such file under the current directory, without the generated package itself.

    With `""` among the packages, every file that can be read.
    """
    inside = generated.resolve() if generated is not None else None
    return [
        user
        for path in files_under(Path(), (".py",))
        if inside is None or inside not in path.resolve().parents
        for user in _read(path, packages)
    ]


def _read(path: Path, packages: Collection[str]) -> Iterator[User]:
    data = path.read_bytes()
    if data.startswith(b"# generated from") or not any(package.encode() in data for package in packages):
        return
    try:
        text = data.decode("utf-8-sig")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, str(path))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return  # each checker reports such a file
    if "" in packages or any(is_contract(module, packages) for node in ast.walk(tree) for module in imported(node)):
        yield User(path, text, tree)


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that a node imports by absolute name, also by `importlib.import_module`."""
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(module=str(module), level=0):
            yield module
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            yield module
        case _:
            pass


def is_contract(module: str, packages: Collection[str]) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)
