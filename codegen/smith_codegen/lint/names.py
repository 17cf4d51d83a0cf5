"""The names that a file binds, and the modules of a repository that bind imported names."""

from __future__ import annotations

import ast
import functools
import os
import warnings
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MOST_MODULES: Final = 512
"""Modules that are kept for the names in them; a module that is imported later is parsed again."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

_binding = (
    ast.Name, ast.arg, ast.arguments, ast.stmt, ast.NamedExpr, ast.comprehension, ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
    ast.MatchMapping,
)  # fmt: skip
"""The kinds of nodes that may bind a name."""


class Names:
    """The meaning of the names of a file.

    `values` are the expressions of names that are bound exactly once, in any scope: of a parameter
    its default, of the variable of a loop the first item. `classes` and `functions` are bound once,
    too. `imports` are the full dotted paths of names that are only imported. `annotations` are
    those of parameters, `stars` the modules of `from module import *`.
    """

    def __init__(self, tree: ast.AST, file: str = "") -> None:
        self.file = file
        bound: Counter[str] = Counter()
        values: dict[str, ast.expr] = {}
        paths: dict[str, set[str]] = defaultdict(set)
        classes: dict[str, ast.ClassDef] = {}
        functions: dict[str, Function] = {}
        annotations: dict[str, ast.expr] = {}
        stars: list[str] = []
        for node in ast.walk(tree):
            if not isinstance(node, _binding):
                continue
            bound.update(_bound_by(node))
            values.update(_assigned_by(node))
            for name, path in _imported_by(node):
                paths[name].add(path)
                if name == "*":
                    stars.append(path.removesuffix(".*"))
            match node:
                case ast.ClassDef(name=name):
                    classes[name] = node
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    functions[name] = node
                case ast.arg(arg=name, annotation=ast.expr() as annotation):
                    annotations[name] = annotation
                case _:
                    pass
        self.stars = stars
        self._every_class = list(classes.values())
        once = {name for name, count in bound.items() if count == 1 and name not in paths}
        self.values = {name: value for name, value in values.items() if name in once}
        self.classes = {name: node for name, node in classes.items() if name in once}
        self.functions = {name: node for name, node in functions.items() if name in once}
        self.annotations = {name: node for name, node in annotations.items() if name in once}
        self.imports = {name: next(iter(found)) for name, found in paths.items() if len(found) == 1 and not bound[name]}

    @functools.cached_property
    def selves(self) -> dict[int, tuple[ast.Name, ast.ClassDef]]:
        """The uses of a method's first parameter, by id, each with its node, which keeps the id,
        and the class.
        """
        return dict(found for cls in self._every_class for found in _selves(cls))

    def path(self, expr: ast.expr) -> str | None:
        """The dotted path at the root of `expr`, imports resolved.

        `pkg.subjects.results.of` for `subjects.results.of(r)`.
        """
        attributes: list[str] = []
        for _ in range(100):
            match expr:
                case ast.Call(func=func):
                    expr = func
                case ast.Attribute(value=value, attr=attribute):
                    attributes.append(attribute)
                    expr = value
                case ast.Name(id=name) if name in self.imports:
                    return ".".join((self.imports[name], *reversed(attributes)))
                case ast.Name(id=name) if name in self.values:
                    expr = self.values[name]
                case _:
                    return None
        return None


def _assigned_by(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Each name that `node` itself assigns to, and the expression."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.NamedExpr(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.For(target=ast.Name(id=name), iter=items) | ast.AsyncFor(target=ast.Name(id=name), iter=items):
            yield name, _first_of(items)
        case ast.comprehension(target=ast.Name(id=name), iter=items):
            yield name, _first_of(items)
        case ast.arguments():
            yield from defaults(node)
        case _:
            pass


def _imported_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Each name that `node` itself imports, and its full dotted path."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                top = alias.name.partition(".")[0]
                yield alias.asname or top, alias.name if alias.asname else top
        case ast.ImportFrom(module=module, names=aliases, level=level):
            for alias in aliases:
                yield alias.asname or alias.name, f"{'.' * level}{f'{module}.' if module else ''}{alias.name}"
        case _:
            pass


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Names that this very node binds, imports left out."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            yield name
        case ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case _:
            pass


def defaults(node: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    """The parameters with a default, and it."""
    positional = [*node.posonlyargs, *node.args]
    for arg, default in zip(reversed(positional), reversed(node.defaults), strict=False):
        yield arg.arg, default
    for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True):
        if value is not None:
            yield arg.arg, value


def _first_of(items: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Subscript(value=items, slice=ast.Constant(value=0), ctx=ast.Load()), items)


def _selves(cls: ast.ClassDef) -> Iterator[tuple[int, tuple[ast.Name, ast.ClassDef]]]:
    for method in cls.body:
        if isinstance(method, Function):
            first = next((arg.arg for arg in [*method.args.posonlyargs, *method.args.args]), None)
            for node in ast.walk(method):
                if isinstance(node, ast.Name) and node.id == first:
                    yield id(node), (node, cls)


class Modules:
    """The modules that files import: those of the directories around a file, and of `src` there.

    Other ones, such as installed packages, have no subjects of this repository.
    """

    def __init__(self) -> None:
        self._top = Path.cwd()
        self._kept: OrderedDict[Path, Names | None] = OrderedDict()
        self._is_file = functools.lru_cache(maxsize=100_000)(os.path.isfile)

    def find(self, path: str, importer: str) -> tuple[Names, list[str]] | None:
        """The module in which the dotted `path` of an import is bound, and the names after it."""
        dots = len(path) - len(path.lstrip("."))
        parts = path[dots:].split(".")
        folder = Path(importer).absolute().parent
        for base in [folder.parents[dots - 2] if dots > 1 else folder] if dots else self._around(folder):
            found = self._below(base, parts)
            if found is not None:
                return found
        return None

    def _around(self, folder: Path) -> Iterator[Path]:
        for base in (folder, *folder.parents):
            yield base
            yield base / "src"
            if base == self._top or self._is_file(base / "pyproject.toml"):
                return

    def _below(self, base: Path, parts: list[str]) -> tuple[Names, list[str]] | None:
        for length in range(len(parts), 0, -1):
            at = base.joinpath(*parts[:length])
            for file in (at.with_name(f"{at.name}.py"), at / "__init__.py"):
                if parts[0] and self._is_file(file):
                    names = self._read(file)
                    return None if names is None else (names, parts[length:])
        if self._is_file(base / "__init__.py") and parts[0] and len(parts) == 1:
            names = self._read(base / "__init__.py")  # from . import NAME
            return (
                None
                if names is None or parts[0] not in {*names.values, *names.classes, *names.functions, *names.imports}
                else (names, parts)
            )
        return None

    def _read(self, file: Path) -> Names | None:
        if file in self._kept:
            self._kept.move_to_end(file)
            return self._kept[file]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                names = Names(ast.parse(file.read_bytes(), str(file)), os.path.relpath(file))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            names = None  # it is reported where it is linted
        self._kept[file] = names
        if len(self._kept) > _MOST_MODULES:
            self._kept.popitem(last=False)
        return names
