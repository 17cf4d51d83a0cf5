"""Switches inside a file that turn checking off for code that uses the contract.

Each is known to be obeyed by the checkers that its message names: tests/codegen/test_switches.py
runs them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from .canary import CODES
from .diagnosis import Check
from .mypy_traps import IMPORT_CODES
from .rules import RULES
from .users import User, imported, is_contract

_MYPY: Final = ("mypy", "zuban")
_EVERY: Final = ("mypy", "pyright", "basedpyright", "pyrefly", "ty", "zuban")
_OFF: Final = ("false", "none", "warning", "information")

_comment_of = re.compile(r"#\s*(mypy|pyright|pyrefly|ty|zuban|type):\s*(.*)")


def judge(user: User, packages: Collection[str], checkers: Collection[str]) -> Iterator[Check]:
    """The switches of one file that one of `checkers` obeys, in the order of its lines."""
    found = sorted([*_comments(user), *_code(user.tree, packages)])
    for line, written, obeyed, says, fix in found:
        by = [name for name in obeyed if name in checkers]
        if by:
            verb = "obeys" if len(by) == 1 else "obey"
            effect = f"{written}: {says} ({' and '.join(by)} {verb} it)"
            yield Check(name="switched off", status="warn", says=effect, fix=fix, file=user.path.as_posix(), line=line)


_Found = tuple[int, str, Sequence[str], str, str]
"""The line, the switch as written, the checkers that obey it, what it does, and what to do."""


# ---- comments


def _comments(user: User) -> Iterator[_Found]:
    at_top = True  # only comments so far: here `# type: ignore` is about the whole file
    for token in tokenize.generate_tokens(io.StringIO(user.text).readline):
        if token.type == tokenize.COMMENT:
            match = _comment_of.match(token.string)
            if match and not token.line[: token.start[1]].strip():
                for found in _comment(match[1], match[2].strip(), at_top=at_top):
                    yield token.start[0], token.string, *found
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING):
            at_top = False


def _comment(tool: str, rest: str, *, at_top: bool) -> Iterator[tuple[Sequence[str], str, str]]:
    """What a comment on a line of its own turns off."""
    whole = "no error is shown in the whole file"
    remove = "remove it; `# type: ignore[code]` at one line accepts only that line"
    if tool == "mypy":
        for says in _mypy_options(rest):
            yield _MYPY, says, remove
    elif tool == "pyright":
        for says in _pyright_options(rest):
            yield ("pyright", "basedpyright"), says, "remove it"
    elif tool == "pyrefly" and rest.startswith("ignore-errors"):
        yield ("pyrefly",), whole, remove
    elif at_top and tool == "type" and re.match(r"ignore\b", rest):
        yield ("mypy", "pyright", "zuban", *(() if rest.startswith("ignore[") else ("ty",))), whole, remove
    elif at_top and tool in ("ty", "zuban") and re.match(r"ignore\b", rest):
        for says in _ignored_rules(tool, rest):
            yield (tool,), says, remove


def _ignored_rules(tool: str, rest: str) -> Iterator[str]:
    listed = re.match(r"ignore\[(.*?)\]", rest)
    if listed is None:
        yield "no error is shown in the whole file"
    else:
        rules = [rule.strip() for rule in listed[1].split(",")]
        off = [rule for rule in rules if rule in RULES.get(tool, CODES)]
        if off:
            yield f"wrong uses of the contract are reported as {', '.join(off)}"


def _mypy_options(rest: str) -> Iterator[str]:
    for name, value in re.findall(r'([\w-]+)\s*(?:=\s*("[^"]*"|[^,]*))?(?:,|$)', rest):
        option, given = name.replace("-", "_"), value.strip().strip('"')
        on = given.lower() not in ("false", "no", "off", "0")
        if option == "ignore_errors" and on:
            yield "no error is shown in the whole file"
        elif option == "disable_error_code":
            off = [code for code in re.split(r"[,\s]+", given) if code in (*CODES, *IMPORT_CODES)]
            if off:
                yield f"wrong uses of the contract are reported as {', '.join(off)}"
        elif (option == "check_untyped_defs" and not on) or (option == "no_check_untyped_defs" and on):
            yield "functions without annotations are not checked"


def _pyright_options(rest: str) -> Iterator[str]:
    for part in rest.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name in ("basic", "standard") and not value:
            yield "the file is checked less strictly than the configuration says: values of unknown type pass"
        elif name in RULES["pyright"] and value.lower() in _OFF:
            yield "wrong uses of the contract are reported under this rule"


# ---- code


def _code(tree: ast.Module, packages: Collection[str]) -> Iterator[_Found]:
    names = _names(tree, packages)
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                for decorator in decorators:
                    if _last_name(decorator) == "no_type_check":
                        says = f"the body of {node.name} is not checked"
                        yield decorator.lineno, "@no_type_check", _EVERY, says, "remove the decorator"
            case ast.If():
                for branch, written in _unseen_branches(node):
                    if _uses(branch, names, packages):
                        says = "no checker reads what stands there, and it uses the contract"
                        yield node.lineno, written, _EVERY, says, "move that code out of the branch"
            case (
                ast.Assign(value=ast.Call() as call)
                | ast.AnnAssign(value=ast.Call() as call)
                | ast.NamedExpr(value=ast.Call() as call)
                | ast.Attribute(value=ast.Call() as call)
            ):
                for module in imported(call):
                    if is_contract(module, packages):
                        fix = f"import it by a statement: from {module} import ..."
                        yield call.lineno, ast.unparse(call), _EVERY, f"every name of {module} is Any", fix
            case _:
                pass


def _names(tree: ast.Module, packages: Collection[str]) -> set[str]:
    """The names that a file imports from the contract."""
    return {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and any(is_contract(module, packages) for module in imported(node))
        for alias in node.names
    }


def _unseen_branches(node: ast.If) -> Iterator[tuple[list[ast.stmt], str]]:
    match node.test:
        case ast.UnaryOp(op=ast.Not(), operand=operand) if _last_name(operand) == "TYPE_CHECKING":
            yield node.body, "if not TYPE_CHECKING"
        case ast.Name() | ast.Attribute() if _last_name(node.test) == "TYPE_CHECKING":
            yield node.orelse, "else of `if TYPE_CHECKING`"
        case _:
            pass


def _uses(branch: list[ast.stmt], names: Collection[str], packages: Collection[str]) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in names) or any(is_contract(module, packages) for module in imported(node))
        for statement in branch
        for node in ast.walk(statement)
    )


def _last_name(expr: ast.expr) -> str:
    match expr:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
