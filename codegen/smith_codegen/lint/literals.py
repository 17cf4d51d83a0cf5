"""Evaluating text expressions on the syntax tree, without running the code or knowing a spec.

An unknown part is `HOLE` in the text. A name counts if its file binds it once. Names are followed
to constants, parameters with a default, classes and enums, dicts, and functions that return text,
in other modules of the repository, too.
"""

from __future__ import annotations

import ast
import contextlib
import re
import string
from collections.abc import Iterator, Mapping
from typing import Final

from .names import Modules, Names, defaults
from .values import (
    Class,
    Form,
    Function,
    Instance,
    Items,
    Module,
    Origin,
    Table,
    Value,
    class_bindings,
    is_enum,
    last_name,
    own_nodes,
)

HOLE: Final = "\0"
"""A part of a text that is known only at run time, of any length."""

_deepest: Final = 8
_most_steps: Final = 2_000
"""Expressions that are read for one text; a larger one has holes."""

_methods: Final = frozenset({"lower", "lstrip", "removeprefix", "removesuffix", "replace", "rstrip", "strip"})
_percent = re.compile(r"%(?:\((\w+)\))?([-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?)([a-zA-Z%])")
_dollar = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


_anchor = re.compile(r"^(?:\^|\\A)|(?:\$|\\Z)$")
_open_part = re.compile(r"\((?:[^()\\]|\\.)*\)[*+?]?|\[(?:[^\]\\]|\\.)*\][*+?]?|\\[dDwWS][*+?]?|(?<!\\)\.[*+]\??")


def of_regex(pattern: str) -> str:
    """The text that a regular expression with `\\.` describes, its open parts `HOLE`."""
    return _open_part.sub(HOLE, _anchor.sub("", pattern)).replace("\\.", ".")


class Reader:
    """Reads expressions of one file. `parts`: ids of nodes read as part of a larger expression.

    `origins` are the places that the last text was followed to, nearest first.
    """

    def __init__(self, names: Names, modules: Modules) -> None:
        self.names = names
        self.modules = modules
        self.parts: set[int] = set()
        self.origins: list[Origin] = []
        self._within: tuple[int, ...] = ()
        self._env: Mapping[str, Value | None] = {}
        self._steps = 0
        self._follows = True
        self._read_classes: dict[int, tuple[ast.ClassDef, dict[str, list[ast.expr | ast.stmt]]]] = {}

    def read(self, expr: ast.expr, *, follow: bool = True) -> str | None:
        """The text of `expr`; None if it is not text.

        Without `follow`, only names of its own file count, and only those of text.
        """
        self.origins, self._steps, self._follows = [], 0, follow
        return self._read(expr)

    def _read(self, expr: ast.expr) -> str | None:
        return self._text(self.value(expr))

    def _text(self, value: Value | None) -> str | None:
        if isinstance(value, Instance) and is_enum(value.cls):
            return self._text(self._members(value.cls))
        return value if isinstance(value, str) else None

    def value(self, expr: ast.expr) -> Value | None:
        """What `expr` is, as far as it can be told."""
        self._steps += 1
        if self._steps > _most_steps:
            return None
        match expr:
            case ast.Constant(value=str(text)):
                return text.replace(HOLE, " ")
            case ast.JoinedStr(values=values):
                return "".join([self._known(self._part(value)) for value in values])
            case ast.FormattedValue(value=value, format_spec=spec, conversion=conversion):
                return self._known(value) if spec is None and conversion in (-1, ord("s")) else HOLE
            case ast.BinOp(op=ast.Add()):
                return self._sum([self._read(self._part(operand)) for operand in self._operands(expr)])
            case ast.BinOp(left=left, op=ast.Mod(), right=right):
                form = self._read(self._part(left))
                return None if form is None else self._after_percent(form, right)
            case ast.Call():
                return self._call(expr)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._reference(expr)
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return Items(self._elements(elements))
            case ast.Dict():
                return Table(self._entries(expr))
            case ast.Lambda():
                return Function(self.names, expr, None)
            case ast.IfExp(body=first, orelse=second) if self._follows:
                return self._first_text([first, second])
            case ast.BoolOp(values=values) if self._follows:
                return self._first_text(values)
            case ast.Await(value=inner) if self._follows:
                return self.value(inner)
            case _:
                return None

    def _first_text(self, branches: list[ast.expr]) -> Value | None:
        """One of the texts that an expression may be; without text, what it is first."""
        found = [self.value(branch) for branch in branches]
        return next((value for value in found if isinstance(value, str)), found[0])

    # ---- names, attributes and items

    def _reference(self, expr: ast.Name | ast.Attribute | ast.Subscript) -> Value | None:
        match expr:
            case ast.Name(id=name):
                return self._name(expr, name)
            case ast.Attribute(value=value, attr=name) if self._follows:
                return self._attribute(self.value(value), name)
            case ast.Subscript(value=value, slice=ast.Constant(value=key)) if self._follows:
                return self._item(self.value(value), key)
            case _:
                return None

    def _name(self, expr: ast.Name, name: str) -> Value | None:
        if name in self._env:
            return self._env[name]
        if not self._follows:
            return self._follow(self.names, name, self.names.values[name]) if name in self.names.values else None
        if name not in self.names.values and id(expr) in self.names.selves:
            return Instance(Class(self.names, self.names.selves[id(expr)][1]), {})
        if name in self.names.imports:
            return self._imported(self.names.imports[name], self.names.file)
        return self._bound(self.names, name)

    def _bound(self, names: Names, name: str) -> Value | None:
        """What a name of a module is bound to."""
        if name in names.classes:
            return Class(names, names.classes[name])
        if name in names.functions:
            return Function(names, names.functions[name], None)
        if name in names.values:
            return self._follow(names, name, names.values[name])
        for path in names.stars:
            found = self.modules.find(f"{path}.{name}", names.file) if len(self._within) < _deepest else None
            if found is not None and found[1] == [name]:
                with self._scope(found[0], ast.Pass(), {}):
                    return self._bound(found[0], name)
        if name in names.annotations:
            cls = self._follow(names, name, names.annotations[name])
            return Instance(cls, {}) if isinstance(cls, Class) else None
        return None

    def _follow(self, names: Names, name: str, expr: ast.expr, env: Mapping[str, Value | None] | None = None) -> Value | None:
        """The value of the expression that `name` is bound to, in its own module."""
        if id(expr) in self._within or len(self._within) >= _deepest:
            return None
        at = len(self.origins)
        with self._scope(names, expr, env or {}):
            value = self.value(expr)
        if isinstance(value, str | Items | Table | Form):
            self.origins.insert(at, Origin(name, names.file, expr))
        return value

    @contextlib.contextmanager
    def _scope(self, names: Names, node: ast.AST, env: Mapping[str, Value | None]) -> Iterator[None]:
        outer = self.names, self._within, self._env
        self.names, self._within, self._env = names, (*self._within, id(node)), env
        try:
            yield
        finally:
            self.names, self._within, self._env = outer

    def _imported(self, path: str, importer: str) -> Value | None:
        if len(self._within) >= _deepest:
            return None
        found = self.modules.find(path, importer)
        if found is None or not found[1]:
            return Module(path, importer)
        names, (first, *rest) = found
        if first in names.imports:  # the module imports it in its turn
            with self._scope(names, ast.Pass(), {}):
                value = self._imported(names.imports[first], names.file)
        else:
            value = self._bound(names, first)
        for name in rest:
            value = self._attribute(value, name)
        return value

    def _attribute(self, of: Value | None, name: str) -> Value | None:
        match of:
            case str() if name in ("value", "_value_"):
                return of  # of a member of an enum
            case Module(path, importer):
                return self._imported(f"{path}.{name}", importer)
            case Instance(cls) if name in ("value", "_value_") and is_enum(cls):
                return self._members(cls)
            case Class() | Instance():
                return self._member(of, name, 0)
            case _:
                return None

    def _member(self, of: Class | Instance, name: str, depth: int) -> Value | None:
        """An attribute of a class or an object, also one that a method assigns or a base has."""
        cls = of.cls if isinstance(of, Instance) else of
        given = of.given if isinstance(of, Instance) else {}
        bound = self._bindings(cls.node).get(name, [])
        if isinstance(of, Instance) and name in given and not any(isinstance(node, ast.FunctionDef) for node in bound):
            return given[name]
        if len(bound) == 1:
            label = f"{cls.node.name}.{name}"
            match bound[0]:
                case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
                    function = Function(cls.names, node, of)
                    is_property = any(last_name(one) in ("property", "cached_property") for one in node.decorator_list)
                    return self._returned(function, {}) if is_property else function
                case ast.ClassDef() as node:
                    return Class(cls.names, node)
                case ast.expr() as expr:
                    return self._follow(cls.names, label, expr, given)
        if not bound and depth < _deepest:
            for base in cls.node.bases:
                with self._scope(cls.names, base, {}):
                    above = self.value(base) if len(self._within) < _deepest else None
                if isinstance(above, Class):
                    found = self._member(Instance(above, given) if isinstance(of, Instance) else above, name, depth + 1)
                    if found is not None:
                        return found
        return None

    def _bindings(self, cls: ast.ClassDef) -> dict[str, list[ast.expr | ast.stmt]]:
        if id(cls) not in self._read_classes:
            self._read_classes[id(cls)] = cls, class_bindings(cls)
        return self._read_classes[id(cls)][1]

    def _members(self, cls: Class) -> Value | None:
        """Of an enum, the first member that is text: one of those that it may be."""
        for name, bound in self._bindings(cls.node).items():
            value = self._member(cls, name, _deepest) if isinstance(bound[0], ast.expr) else None
            if isinstance(value, str):
                return value
        return None

    def _item(self, of: Value | None, key: object) -> Value | None:
        match of:
            case Table(entries) if isinstance(key, str):
                return entries.get(key)
            case Table(entries) if key == 0:  # the first of a loop
                return next(iter(entries), None)
            case Items(items) if isinstance(key, int) and -len(items) <= key < len(items):
                return items[key]
            case Class() if key == 0 and is_enum(of):
                return self._members(of)
            case Class() if isinstance(key, str) and is_enum(of):
                return self._member(of, key, 0)
            case _:
                return None

    def _elements(self, elements: list[ast.expr]) -> list[Value | None]:
        """The items of a list; of one that is starred, its items, or `HOLE` for all of them."""
        found: list[Value | None] = []
        for element in elements:
            if isinstance(element, ast.Starred):
                inner = self.value(element.value)
                found += inner.items if isinstance(inner, Items) else [HOLE]
            else:
                found.append(self.value(element))
        return found

    def _entries(self, node: ast.Dict) -> dict[str, Value | None]:
        found: dict[str, Value | None] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                found[key.value] = self.value(value)
            elif key is None and isinstance(inner := self.value(value), Table):
                found.update(inner.entries)
        return found

    # ---- calls

    def _call(self, call: ast.Call) -> Value | None:
        match call:
            case ast.Call(func=ast.Attribute(value=value, attr="join"), args=[elements]):
                return self._joined(value, elements)
            case ast.Call(func=ast.Attribute(value=value, attr="format"), args=args, keywords=keywords):
                form = self._read(self._part(value))
                return None if form is None else self._formatted(form, args, self._keywords(keywords))
            case ast.Call(func=ast.Name(id="str"), args=[inner], keywords=[]):
                return self._read(self._part(inner))
            case _:
                return self._followed_call(call) if self._follows else None

    def _followed_call(self, call: ast.Call) -> Value | None:
        """Calls whose result depends on a name: of templates, mappings, classes and functions."""
        match call.func, call.args:
            case ((ast.Name(id="Template") | ast.Attribute(attr="Template")), [form]):
                text = self._read(form)
                return None if text is None else Form(text)
            case ((ast.Name(id="getenv") | ast.Attribute(attr="getenv")), [_, default]):
                return self.value(default)
            case ast.Attribute(value=value, attr="get"), [key, *rest]:
                known = self._item(self.value(value), key.value) if isinstance(key, ast.Constant) else None
                return self.value(rest[0]) if known is None and rest else known
            case ast.Attribute(value=value, attr="format_map"), [mapping]:
                text = self._read(self._part(value))
                table = self.value(mapping)
                return None if text is None else self._formatted(text, [], table.entries if isinstance(table, Table) else {})
            case ast.Attribute(value=value, attr="substitute" | "safe_substitute"), args:
                return self._substituted(self.value(value), args, self._keywords(call.keywords))
            case ast.Name(id="getattr"), [of, ast.Constant(value=str(name)), *_]:
                return self._attribute(self.value(of), name)
            case ast.Attribute(value=value, attr=method), args if method in _methods:
                return self._changed(self._read(self._part(value)), method, [self._read(arg) for arg in args])
            case ast.Name(id="dict"), []:
                return Table({key: value for key, value in self._keywords(call.keywords).items() if key is not None})
            case ((ast.Name(id="field" | "Field") | ast.Attribute(attr="field" | "Field")), args):
                given = next((key.value for key in call.keywords if key.arg == "default"), args[0] if args else None)
                return None if given is None else self.value(given)
            case _:
                return self._made(self.value(call.func), call)

    @staticmethod
    def _changed(text: str | None, method: str, args: list[str | None]) -> str | None:
        """The text of `.strip()` and the like; unchanged where a part is unknown."""
        known = [arg for arg in args if arg is not None and HOLE not in arg]
        if text is None or HOLE in text or len(known) != len(args):
            return text
        try:
            changed: str = getattr(text, method)(*known)
        except TypeError:
            return text  # it would raise when it runs
        return changed

    def _made(self, function: Value | None, call: ast.Call) -> Value | None:
        """The object or the text that a class or a function of the repository gives."""
        args = self._elements(call.args)
        keywords = self._keywords(call.keywords)
        match function:
            case Class(names, node):
                bound = self._bindings(node)
                init = bound.get("__init__", [None])[0]
                if isinstance(init, ast.FunctionDef):
                    return Instance(function, self._arguments(Function(names, init, function), args, keywords))
                fields = [name for name, found in bound.items() if isinstance(found[0], ast.expr)]
                given = dict(zip(fields, args, strict=False))
                return Instance(function, given | {name: value for name, value in keywords.items() if name in bound})
            case Function():
                return self._returned(function, self._arguments(function, args, keywords))
            case _:
                return None

    def _arguments(
        self, function: Function, args: list[Value | None], keywords: Mapping[str, Value | None]
    ) -> dict[str, Value | None]:
        node = function.node
        names = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args]]
        decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
        if function.owner is not None and names and not any(last_name(one) == "staticmethod" for one in decorators):
            args = [function.owner, *args]
        env: dict[str, Value | None] = dict.fromkeys([*names, *(arg.arg for arg in node.args.kwonlyargs)])
        with self._scope(function.names, node, {}):
            if len(self._within) <= _deepest:
                env.update({name: self.value(default) for name, default in defaults(node.args)})
        env.update(zip(names, args, strict=False))
        env.update({name: value for name, value in keywords.items() if name in env})
        if node.args.vararg is not None:
            env[node.args.vararg.arg] = Items(args[len(names) :])
        return env

    def _returned(self, function: Function, env: Mapping[str, Value | None]) -> Value | None:
        """The text of a `return` of a function: the first that is text."""
        node = function.node
        if isinstance(node, ast.Lambda):
            returned = [node.body]
        else:
            returned = [one.value for one in own_nodes(node) if isinstance(one, ast.Return) and one.value is not None]
        if id(node) in self._within or len(self._within) >= _deepest:
            return None
        if function.owner is not None and not env:
            env = self._arguments(function, [], {})
        value: Value | None = None
        for expr in sorted(returned, key=lambda expr: expr.lineno):
            at = len(self.origins)
            with self._scope(function.names, node, env):
                value = self.value(expr)
            if isinstance(value, str):
                if not isinstance(node, ast.Lambda):
                    self.origins.insert(at, Origin(node.name, function.names.file, expr))
                return value
        return value if len(returned) == 1 else None

    def _keywords(self, keywords: list[ast.keyword]) -> dict[str, Value | None]:
        found: dict[str, Value | None] = {}
        for keyword in keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                found[keyword.arg] = value
            elif isinstance(value, Table):
                found.update(value.entries)
        return found

    def _joined(self, separator: ast.expr, elements: ast.expr) -> str | None:
        between = self._read(separator)
        if between not in ("", "."):
            return None
        if isinstance(elements, ast.List | ast.Tuple):
            for element in elements.elts:
                self._part(element)
        items = self.value(elements)
        if not isinstance(items, Items):
            return None
        return between.join([HOLE if text is None else text for text in map(self._text, items.items)])

    def _substituted(self, form: Value | None, args: list[ast.expr], keywords: Mapping[str, Value | None]) -> str | None:
        if not isinstance(form, Form):
            return None
        tables = [table.entries for arg in args if isinstance(table := self.value(arg), Table)]
        given = {key: value for table in [*tables, keywords] for key, value in table.items()}

        def value_of(match: re.Match[str]) -> str:
            text = self._text(given.get(match[1] or match[2]))
            return "$" if match[0] == "$$" else HOLE if text is None else text

        return _dollar.sub(value_of, form.text)

    @staticmethod
    def _sum(texts: list[str | None]) -> str | None:
        """The operands of `+` joined; None if none of them is text."""
        return None if all(text is None for text in texts) else "".join([HOLE if text is None else text for text in texts])

    def is_mere_name(self, expr: ast.expr) -> bool:
        """Whether `expr` only refers to a text: the finding then belongs where the text is."""
        inner = _rendered(expr)
        return isinstance(expr, ast.Name | ast.Attribute | ast.Subscript) or (inner is not None and self.is_mere_name(inner))

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
        text = self._read(expr)
        return HOLE if text is None else text

    def _operands(self, expr: ast.expr) -> list[ast.expr]:
        """Of `a + b + c`; a sum of a thousand is a tree a thousand deep, so no recursion."""
        found = []
        while isinstance(expr, ast.BinOp) and isinstance(expr.op, ast.Add):
            found.append(expr.right)
            expr = self._part(expr.left)
        return [expr, *reversed(found)]

    def _formatted(self, form: str, args: list[ast.expr], keywords: Mapping[str, Value | None]) -> str:
        try:
            fields = list(string.Formatter().parse(form))
        except ValueError:
            return form  # it would raise when it runs
        values = dict(keywords)
        if not any(isinstance(arg, ast.Starred) for arg in args):
            values.update({str(index): self.value(arg) for index, arg in enumerate(args)})
        text, count = "", 0
        for literal, field, spec, conversion in fields:
            text += literal
            if field is None:
                continue
            if field == "":
                field, count = str(count), count + 1
            value = None if spec or conversion else self._text(values.get(field))
            text += HOLE if value is None else value
        return text

    def _after_percent(self, form: str, right: ast.expr) -> str:
        given = self.value(right)
        values = iter(given.items if isinstance(given, Items) else [given])
        named = given.entries if isinstance(given, Table) else {}

        def value_of(match: re.Match[str]) -> str:
            name, width, letter = match.groups()
            if letter == "%":
                return "%"
            value = self._text(named.get(name) if name else next(values, None))
            return HOLE if value is None or width or letter != "s" else value

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
