"""The docstrings of the keys of a declaration, read from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache

import msgspec


@cache
def of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What each key of `struct` is for: the string right below it, on one line."""
    found: dict[str, str] = {}
    for one in reversed(struct.__mro__):
        if one is not msgspec.Struct and issubclass(one, msgspec.Struct):
            found |= _own(one)
    return found


def summary(struct: type[msgspec.Struct]) -> str:
    """The docstring of `struct` itself, on one line."""
    return " ".join((struct.__doc__ or "").split())


def _own(struct: type[msgspec.Struct]) -> dict[str, str]:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for key, text in zip(node.body, node.body[1:], strict=False):
        match key, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                found[name] = " ".join(doc.split())
            case _:
                pass
    return found
