"""The findings of `smith-codegen lint` in one file: the expressions to check, and as what."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from .advice import Advice, Advisor, How
from .literals import HOLE, Reader, of_regex
from .names import Modules, Names
from .values import Origin

SILENCER: Final = "# smith: raw-subject"
"""The comment that keeps a subject as text, on a line of the expression."""

SILENCER_PATTERN: Final = re.compile(r"#\s*smith:\s*raw-subject\b")

_subject_calls: Final = {
    "publish": How.PUBLISH,
    "request": How.PUBLISH,
    "emit": How.PUBLISH,
    "publish_async": How.SUBMIT,
    "submit": How.SUBMIT,
    "subscribe": How.SUBSCRIBE,
    "queue_subscribe": How.SUBSCRIBE,
    "pull_subscribe": How.PULL,
    "pull_subscribe_bind": How.PULL,
}
"""Calls whose first argument, or `subject`, is a subject."""

_subject_call: Final = re.compile(rf"\b_*(?:{'|'.join(_subject_calls)})\s*\(")
"""A file without one of these, and without the root of a spec, has no subject as text."""

_naming_call = re.compile(
    "getLogger|get_logger|getChild|import_module|__import__|find_spec|importorskip|patch|setattr|delattr|open|Path|PurePath"
    "|get_tracer|get_meter|start_span|start_as_current_span|set_attribute|create_(counter|up_down_counter|histogram|gauge)"
)
"""Calls whose first argument, or `name`, is another dotted name: a logger, module, file, metric."""

_type_call = re.compile("cast|TypeVar|ParamSpec|ForwardRef")
_type_maker = re.compile(
    "Literal|Optional|Union|Annotated|ClassVar|Final|Callable|Iterable|Iterator|Sequence|Mapping|Awaitable"
    "|list|dict|set|tuple|type|List|Dict|Set|Tuple|Type"
)


_NEVER_TEXT: Final = (
    ast.Name, ast.Attribute, ast.Subscript, ast.List, ast.Tuple, ast.Dict, ast.IfExp, ast.BoolOp, ast.Await,
)  # fmt: skip
"""Expressions that only refer to a text or hold some: where it is written, it is found."""


class Finding(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """One subject as text. Lines and columns count from 1; `{}` in `subject` is an unknown part.

    `defined` are the places of the names that it is made of, as `BASE at consts.py:1`.
    """

    file: str
    line: int
    column: int
    subject: str
    problem: str
    use: str
    defined: str = ""

    def __str__(self) -> str:
        where = f" ({self.defined})" if self.defined else ""
        return f"{self.file}:{self.line}:{self.column}: {self.subject!r}{where} {self.problem}: use {self.use}"


class NotPython(Exception):
    """A file that cannot be read as what it is; the message names the file and the line."""


def find(data: bytes, file: str, advisor: Advisor, modules: Modules | None = None) -> list[Finding]:
    """Everything in one file, in the order of its lines; raises `NotPython`.

    `modules` are the modules that names are followed to, read once for several files.
    """
    text = _decoded(data, file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d" and the like its author hears elsewhere
            tree = ast.parse(text, file)
        if not (advisor.mentions(text) or _subject_call.search(text)):
            return []
        search = _Search(tree, text.split("\n"), _silenced(text), file, advisor, modules or Modules())
        return sorted(search.run())
    except SyntaxError as error:
        raise NotPython(f"{file}:{error.lineno or 1}: invalid Python: {error.msg}") from None
    except (ValueError, tokenize.TokenError) as error:
        raise NotPython(f"{file}:1: invalid Python: {error}") from None
    except (RecursionError, MemoryError):  # the parser of Python 3.11 raises the latter
        raise NotPython(f"{file}:1: is nested too deeply to be read") from None


def _decoded(data: bytes, file: str) -> str:
    """As Python decodes it: PEP 263, every line ending a newline."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except SyntaxError as error:
        raise NotPython(f"{file}:1: invalid Python: {error.msg}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotPython(f"{file}:{line}: invalid Python: not {error.encoding} ({error.reason})") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _silenced(text: str) -> frozenset[int]:
    if not SILENCER_PATTERN.search(text):
        return frozenset()
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return frozenset(
        token.start[0] for token in tokens if token.type == tokenize.COMMENT and SILENCER_PATTERN.search(token.string) is not None
    )


class _Search:
    def __init__(
        self, tree: ast.Module, lines: list[str], silenced: frozenset[int], file: str, advisor: Advisor, modules: Modules
    ) -> None:
        self.tree = tree
        self.lines = lines
        self.silenced = silenced
        self.file = file
        self.advisor = advisor
        self.names = Names(tree, file)
        self.reader = Reader(self.names, modules)
        self.done = self.reader.parts
        self.starts: dict[int, tuple[Origin, int]] = {}

    def run(self) -> Iterator[Finding]:
        """Walk the tree from the outside in: parts of a larger text are not checked on their
        own.
        """
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Call):
                yield from self._of_call(node)
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                self._leave(node.right)  # pathlib: directory / "name"
            if isinstance(node, ast.expr) and id(node) not in self.done:
                yield from self._of_text(node, How.LITERAL)
            elif isinstance(node, ast.Match):
                yield from self._of_match(node)
            waiting.extend(_within(node))
        yield from self._of_starts()

    def _of_match(self, node: ast.Match) -> Iterator[Finding]:
        """Cases of `match subject.split("."):` that name the tokens of a subject."""
        match node.subject:
            case ast.Call(func=ast.Attribute(attr="split"), args=[ast.Constant(value=".")]):
                patterns = [case.pattern for case in node.cases]
            case _:
                patterns = []
        for pattern in patterns:
            if isinstance(pattern, ast.MatchSequence):
                text = ".".join(map(_token_of, pattern.patterns))
                place = ast.Constant(
                    value=text, lineno=pattern.lineno, end_lineno=pattern.end_lineno, col_offset=pattern.col_offset
                )
                yield from self._finding(place, text.replace(HOLE, "{}"), self.advisor.of_text(text, How.LITERAL), None)

    def _of_call(self, call: ast.Call) -> Iterator[Finding]:
        name = _name(call.func)
        how = _subject_calls.get(name.lstrip("_"))
        if how is not None:
            for given in _argument(call, "subject"):
                yield from self._of_subject(given, how, call.func.end_lineno)
        elif _naming_call.fullmatch(name):
            for given in _argument(call, "name"):
                self._leave(given)

    def _leave(self, expr: ast.expr) -> None:
        self.reader.read(expr)  # its parts as well
        self.done.add(id(expr))

    def _of_subject(self, expr: ast.expr, how: How, first: int | None) -> Iterator[Finding]:
        """Findings in the subject argument of a call whose name is on line `first`."""
        match expr:
            case ast.IfExp(body=body, orelse=orelse):
                branches = [body, orelse]
            case ast.BoolOp(values=values):
                branches = values
            case ast.NamedExpr(value=value):
                branches = [value]
            case _:
                branches = []
        for branch in branches:
            yield from self._of_subject(branch, how, first)
        if not branches:
            inner = self.reader.rendered(expr) if how.publishes else None
            path = None if inner is None else self.names.path(inner)
            if inner is not None and path is not None:
                advice = self.advisor.of_typed(path, ast.unparse(inner), how)
                yield from self._finding(expr, ast.unparse(inner), advice, first)
            yield from self._of_text(expr, how, first)

    def _of_text(self, expr: ast.expr, how: How, first: int | None = None) -> Iterator[Finding]:
        if how is How.LITERAL and isinstance(expr, _NEVER_TEXT):
            return
        text = self.reader.read(expr, follow=how is not How.LITERAL)
        if text is None or (how is How.LITERAL and self.reader.is_mere_name(expr)):
            return
        if how is How.LITERAL and isinstance(expr, ast.Constant):
            text = of_regex(text) if "\\." in text else text
        elif how is How.LITERAL and HOLE in text and self.advisor.may_begin(text):
            text = self.reader.read(expr) or text
        self.done.add(id(expr))
        advice = self.advisor.of_text(text, how)
        yield from self._finding(expr, text.replace(HOLE, "{}"), advice, first, tuple(self.reader.origins))

    def _finding(
        self, expr: ast.expr, subject: str, advice: Advice | None, first: int | None, origins: Sequence[Origin] = ()
    ) -> Iterator[Finding]:
        lines = range(first or expr.lineno, (expr.end_lineno or expr.lineno) + 1)
        if advice is None:
            return
        for origin in origins:
            if origin.file == self.file:
                self.starts.setdefault(id(origin.expr), (origin, expr.lineno))
        if self.silenced.isdisjoint(lines):
            defined = ", ".join(dict.fromkeys(f"{one.name} at {one.file}:{one.expr.lineno}" for one in origins))
            yield Finding(self.file, expr.lineno, self._column(expr), subject, advice.problem, advice.use, defined)

    def _column(self, expr: ast.expr) -> int:
        return len(self.lines[expr.lineno - 1].encode()[: expr.col_offset].decode(errors="replace")) + 1

    def _of_starts(self) -> Iterator[Finding]:
        """Constants that subjects begin with, and that are too short to be found by themselves."""
        for origin, used in self.starts.values():
            match origin.expr:
                case ast.Constant(value=str(text)) if self.advisor.of_text(text, How.LITERAL) is None:
                    advice = self.advisor.of_start(text)
                    if advice is not None and origin.expr.lineno not in self.silenced:
                        defined = f"{origin.name}, used at line {used}"
                        expr = origin.expr
                        yield Finding(self.file, expr.lineno, self._column(expr), text, advice.problem, advice.use, defined)
                case _:
                    pass


def _token_of(pattern: ast.pattern) -> str:
    match pattern:
        case ast.MatchValue(value=ast.Constant(value=str(text))):
            return text
        case _:
            return HOLE


def _name(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _argument(call: ast.Call, keyword: str) -> Iterator[ast.expr]:
    """The first positional argument, or the one that is given by `keyword`."""
    if call.args:
        if not isinstance(call.args[0], ast.Starred):
            yield call.args[0]
    else:
        yield from (given.value for given in call.keywords if given.arg == keyword)


def _within(node: ast.AST) -> Iterable[ast.AST]:
    """The nodes inside `node` that are code: without docstrings, annotations and `__all__`."""
    match node:
        case ast.Expr(value=ast.Constant() | ast.JoinedStr()):
            return ()
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.AugAssign(target=ast.Name(id="__all__")):
            return ()
        case ast.AnnAssign(target=ast.Name(id="__all__")):
            return ()
        case ast.AnnAssign(target=target, annotation=annotation, value=value):
            return (target,) if value is None or _name(annotation) == "TypeAlias" else (target, value)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return (*node.decorator_list, node.args, *node.body)
        case ast.ClassDef():
            return (*node.decorator_list, *node.bases, *node.keywords, *node.body)
        case ast.arg():
            return ()
        case ast.Subscript(value=value) if _type_maker.fullmatch(_name(value)):
            return ()
        case ast.Call(func=func) if _type_call.fullmatch(_name(func)):
            return node.args[1:] if _name(func) == "cast" else ()
        case _ if type(node).__name__ == "TypeAlias":  # the statement `type X = ...`, from Python 3.12 on
            return ()
        case _:
            return ast.iter_child_nodes(node)
