"""What an expression may be when it is followed, and what classes bind."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from .names import Names

_deepest: Final = 8
"""Base classes that are followed above a class."""


class Class(msgspec.Struct, frozen=True, eq=False):
    names: Names
    node: ast.ClassDef


class Instance(msgspec.Struct, frozen=True, eq=False):
    """An object of a class; `given` are the arguments that made it, by parameter."""

    cls: Class
    given: Mapping[str, Value | None]


class Function(msgspec.Struct, frozen=True, eq=False):
    names: Names
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    owner: Class | Instance | None


class Module(msgspec.Struct, frozen=True, eq=False):
    path: str
    importer: str


class Items(msgspec.Struct, frozen=True, eq=False):
    items: list[Value | None]


class Table(msgspec.Struct, frozen=True, eq=False):
    entries: dict[str, Value | None]


class Form(msgspec.Struct, frozen=True, eq=False):
    """A `string.Template`."""

    text: str


Value = str | Class | Instance | Function | Module | Items | Table | Form


class Origin(msgspec.Struct, frozen=True, eq=False):
    """The place where a followed name is defined, and the expression there."""

    name: str
    file: str
    expr: ast.expr


def is_enum(cls: Class, depth: int = 0) -> bool:
    """Whether a class has a base that is called an enum, in its own module."""
    names = [last_name(base) for base in cls.node.bases]
    above = [cls.names.classes[name] for name in names if name in cls.names.classes]
    return any(name.endswith(("Enum", "Flag")) for name in names) or (
        depth < _deepest and any(is_enum(Class(cls.names, node), depth + 1) for node in above)
    )


def class_bindings(cls: ast.ClassDef) -> dict[str, list[ast.expr | ast.stmt]]:
    """What each name of a class is bound to in its body, or by `self.name = ...` in a method."""
    found: dict[str, list[ast.expr | ast.stmt]] = {}
    inside: dict[str, list[ast.expr | ast.stmt]] = {}
    for statement in cls.body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, []).append(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                found.setdefault(name, []).append(value or statement)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.setdefault(name, []).append(statement)
                for attribute, value in _assigned_to_self(statement):
                    inside.setdefault(attribute, []).append(value)
            case ast.ClassDef(name=name):
                found.setdefault(name, []).append(statement)
            case _:
                pass
    return {**found, **inside}


def _assigned_to_self(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, ast.expr]]:
    first = next((arg.arg for arg in [*method.args.posonlyargs, *method.args.args]), None)
    for node in ast.walk(method):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=owner), attr=name)], value=value) if owner == first:
                yield name, value
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id=owner), attr=name), value=ast.expr() as value) if (
                owner == first
            ):
                yield name, value
            case _:
                pass


def own_nodes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))


def last_name(expr: ast.expr) -> str:
    match expr:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
