"""Evaluating text expressions on the syntax tree, without running the code or knowing a spec.

An unknown part is `HOLE` in the text. A name counts if the file binds it once.
"""

from __future__ import annotations

import ast
import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

HOLE: Final = "\0"
"""A part of a text that is known only at run time, of any length."""

_deepest = 8
_percent = re.compile(r"%(?:\((\w+)\))?([-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?)([a-zA-Z%])")


class Names:
    """The meaning of the names of a file.

    `values` are the expressions of names that are bound exactly once, in any scope; `imports` are
    the full dotted paths of names that are only imported.
    """

    def __init__(self, tree: ast.AST) -> None:
        bound: Counter[str] = Counter()
        values: dict[str, ast.expr] = {}
        paths: dict[str, set[str]] = defaultdict(set)
        for node in ast.walk(tree):
            bound.update(_bound_by(node))
            values.update(_assigned_by(node))
            for name, path in _imported_by(node):
                paths[name].add(path)
        self.values = {name: value for name, value in values.items() if bound[name] == 1 and name not in paths}
        self.imports = {name: next(iter(found)) for name, found in paths.items() if len(found) == 1 and not bound[name]}

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
                yield alias.asname or alias.name, f"{'.' * level}{module or ''}.{alias.name}"
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


class Reader:
    """Reads expressions of one file. `parts`: ids of nodes read as part of a larger expression."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.parts: set[int] = set()
        self._within: tuple[str, ...] = ()

    def read(self, expr: ast.expr) -> str | None:
        """The text of `expr`; None if it is not text.

        Text is a constant, an f-string, `+`, `%`, `.format`, `".".join`, `str`, or a name of these.
        """
        match expr:
            case ast.Constant(value=str(text)):
                return text.replace(HOLE, " ")
            case ast.JoinedStr(values=values):
                return "".join([self._known(self._part(value)) for value in values])
            case ast.FormattedValue(value=value, format_spec=spec, conversion=conversion):
                return self._known(value) if spec is None and conversion in (-1, ord("s")) else HOLE
            case ast.BinOp(op=ast.Add()):
                return self._sum([self.read(self._part(operand)) for operand in self._operands(expr)])
            case ast.BinOp(left=left, op=ast.Mod(), right=right):
                form = self.read(self._part(left))
                return None if form is None else self._after_percent(form, right)
            case ast.Call():
                return self._call(expr)
            case ast.Name(id=name) if name in self.names.values and name not in self._within and len(self._within) < _deepest:
                outer, self._within = self._within, (*self._within, name)
                try:
                    return self.read(self.names.values[name])
                finally:
                    self._within = outer
            case _:
                return None

    def _call(self, call: ast.Call) -> str | None:
        """The text of `.format`, `"".join` and `str`."""
        match call:
            case ast.Call(func=ast.Attribute(value=value, attr="format"), args=args, keywords=keywords):
                form = self.read(self._part(value))
                return None if form is None else self._formatted(form, args, {key.arg: key.value for key in keywords})
            case ast.Call(
                func=ast.Attribute(value=ast.Constant(value="" | "." as separator), attr="join"),
                args=[ast.Tuple(elts=elements) | ast.List(elts=elements)],
            ):
                return str(separator).join([self._known(self._part(element)) for element in elements])
            case ast.Call(func=ast.Name(id="str"), args=[inner], keywords=[]):
                return self.read(self._part(inner))
            case _:
                return None

    @staticmethod
    def _sum(texts: list[str | None]) -> str | None:
        """The operands of `+` joined; None if none of them is text."""
        return None if all(text is None for text in texts) else "".join([HOLE if text is None else text for text in texts])

    def is_mere_name(self, expr: ast.expr) -> bool:
        """Whether `expr` is only the text of a name: the finding then belongs where it is bound."""
        inner = _rendered(expr)
        return isinstance(expr, ast.Name) or (inner is not None and self.is_mere_name(inner))

    def rendered(self, expr: ast.expr) -> ast.expr | None:
        """The x of `str(x)` and `f"{x}"`, also where a name stands for one of these."""
        for _ in range(_deepest):
            inner = _rendered(expr)
            if inner is not None:
                return inner
            if not (isinstance(expr, ast.Name) and expr.id in self.names.values):
                break
            expr = self.names.values[expr.id]
        return None

    def _part(self, expr: ast.expr) -> ast.expr:
        if not self._within:
            self.parts.add(id(expr))
        return expr

    def _known(self, expr: ast.expr) -> str:
        text = self.read(expr)
        return HOLE if text is None else text

    def _operands(self, expr: ast.expr) -> list[ast.expr]:
        """Of `a + b + c`; a sum of a thousand is a tree a thousand deep, so no recursion."""
        found = []
        while isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Add):
            found.append(expr.right)
            expr = self._part(expr.left)
        return [expr, *reversed(found)]

    def _formatted(self, form: str, args: list[ast.expr], keywords: dict[str | None, ast.expr]) -> str:
        try:
            fields = list(string.Formatter().parse(form))
        except ValueError:
            return form  # it would raise when it runs
        values = dict(keywords)
        if not any(isinstance(arg, ast.Starred) for arg in args):
            values.update({str(index): arg for index, arg in enumerate(args)})
        text, count = "", 0
        for literal, field, spec, conversion in fields:
            text += literal
            if field is None:
                continue
            if field == "":
                field, count = str(count), count + 1
            value = values.get(field)
            text += HOLE if value is None or spec or conversion else self._known(value)
        return text

    def _after_percent(self, form: str, right: ast.expr) -> str:
        values = iter(right.elts if isinstance(right, ast.Tuple) else [right])
        named: dict[object, ast.expr] = {}
        if isinstance(right, ast.Dict):
            named = {
                key.value: value for key, value in zip(right.keys, right.values, strict=True) if isinstance(key, ast.Constant)
            }

        def value_of(match: re.Match[str]) -> str:
            name, width, letter = match.groups()
            if letter == "%":
                return "%"
            value = named.get(name) if name else next(values, None)
            return HOLE if value is None or width or letter != "s" else self._known(value)

        return _percent.sub(value_of, form)


def _rendered(expr: ast.expr) -> ast.expr | None:
    match expr:
        case (
            ast.Call(func=ast.Name(id="str"), args=[inner], keywords=[])
            | ast.JoinedStr(values=[ast.FormattedValue(value=inner, format_spec=None)])
        ):
            return inner
        case _:
            return None
