"""Settings of pyright, basedpyright, pyrefly and ty that disable the contract, or parts of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from .checkers import Settings
from .diagnosis import Check
from .rules import RULES

_Found = tuple[tuple[str, ...], Literal["warn", "fail"], str, str]
"""The path of the key, the status, what it does, and what to do."""

_enable = 'remove it, or set it to "error"'
_unannotated = "functions without annotations are not checked"
_pyrefly_skips = (
    ("check-unannotated-defs", (False,)),
    ("untyped-def-behavior", ("skip-and-infer-return-any", "skip-and-infer-return-any-and-do-not-check")),
)
_off = (False, "none", "information", "warning", "warn", "info", "ignore")


def judge(name: str, known: Settings, packages: Collection[str]) -> Iterator[Check]:
    """Each setting that lets wrong uses of the contract pass, with its file and line."""
    judges = {"pyright": _pyright, "basedpyright": _pyright, "pyrefly": _pyrefly, "ty": _ty}
    for path, status, effect, fix in judges[name](known.table, packages):
        written = ".".join(part for part in path if not part.isdigit())
        says = f"{written} = {_shown(known.table, path)}: {effect} ({name})"
        yield Check(name="configuration", status=status, says=says, fix=fix, file=str(known.file), line=known.line(path))


def _shown(table: Any, path: tuple[str, ...]) -> str:
    for key in path:
        table = table[int(key)] if isinstance(table, list) else table[key]
    return str(table).lower() if isinstance(table, bool) else repr(table)


def _rules(name: str, table: Any, at: tuple[str, ...], status: Literal["warn", "fail"], where: str = "") -> Iterator[_Found]:
    for rule, value in table.items() if isinstance(table, Mapping) else ():
        if rule in RULES[name] and value in _off:
            effect = f"wrong uses of the contract{where} are reported under this rule, and no longer as errors"
            yield (*at, rule), status, effect, _enable


def _pyright(table: Mapping[str, Any], packages: Collection[str]) -> Iterator[_Found]:
    if table.get("typeCheckingMode") == "off":
        yield ("typeCheckingMode",), "fail", "no wrong use of the contract is reported", 'set it to "standard" or "strict"'
    if table.get("analyzeUnannotatedFunctions") is False:
        yield ("analyzeUnannotatedFunctions",), "fail", _unannotated, "remove it"
    yield from _rules("pyright", table, (), "fail")
    for index, environment in enumerate(table.get("executionEnvironments", ())):
        at = ("executionEnvironments", str(index))
        yield from _rules("pyright", environment, at, "warn", f" under {environment.get('root', '.')}")


def _pyrefly(table: Mapping[str, Any], packages: Collection[str]) -> Iterator[_Found]:
    if table.get("preset") in ("off", "basic"):
        yield ("preset",), "fail", "most wrong uses of the contract are accepted", 'set it to "default" or "strict"'
    for option, values in _pyrefly_skips:
        if table.get(option) in values:
            yield (option,), "fail", _unannotated, "remove it"
    yield from _rules("pyrefly", table.get("errors"), ("errors",), "fail")
    for index, sub in enumerate(table.get("sub-config", ())):
        at = ("sub-config", str(index), "errors")
        yield from _rules("pyrefly", sub.get("errors"), at, "warn", f" in {sub.get('matches')}")
    yield from _any(table, (), ("replace-imports-with-any", "ignore-missing-imports"), packages)


def _ty(table: Mapping[str, Any], packages: Collection[str]) -> Iterator[_Found]:
    yield from _rules("ty", table.get("rules"), ("rules",), "fail")
    for index, override in enumerate(table.get("overrides", ())):
        where = f" in {', '.join(override.get('include', ['every file']))}"
        yield from _rules("ty", override.get("rules"), ("overrides", str(index), "rules"), "warn", where)
    yield from _any(
        table.get("analysis", {}), ("analysis",), ("replace-imports-with-any", "allowed-unresolved-imports"), packages
    )


def _any(table: Mapping[str, Any], at: tuple[str, ...], options: tuple[str, str], packages: Collection[str]) -> Iterator[_Found]:
    """Imports that become Any: always under the first option, where not found under the second."""
    always, missing = options
    for option in options:
        listed = table.get(option) or ()
        if not any(_reaches(str(pattern), package) for pattern in listed for package in packages):
            continue
        if option == always:
            yield (*at, option), "fail", "every name of the contract is Any", "remove the pattern"
        elif option == missing:
            yield (*at, option), "warn", "where the contract is not found, every name of it is Any", "remove the pattern"


def _reaches(pattern: str, package: str) -> bool:
    """Whether a pattern of module names (`a.*`, `a.**`, `*`) reaches a package or a part of it."""
    base = pattern.rstrip("*").rstrip(".")
    return not pattern.startswith("!") and (
        not base or f"{base}.".startswith(f"{package}.") or f"{package}.".startswith(f"{base}.")
    )
