"""Files that use the contract, and that a checker is not told to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from .checkers import Settings
from .diagnosis import Check
from .mypy_config import Config, Setting
from .users import User

_SHOWN: Final = 3


def of_mypy(name: str, config: Config, users: Sequence[User], everything: Callable[[], Sequence[User]]) -> Iterator[Check]:
    """`files`, `packages`, `modules` and `exclude` of mypy and zuban.

    mypy checks a file that is not listed nevertheless where a listed one imports it: `everything`
    gives all files of the repository.
    """
    listing = [one for option in ("files", "packages", "modules") for one in config.of(option) if one.value]
    excludes = config.of("exclude")

    def listed(path: Path) -> bool:
        return not listing or any(_is_listed(one, path) for one in listing)

    def kept(path: Path) -> bool:
        return not any(_is_excluded(one, path) for one in excludes)

    left = [user for user in users if not (listed(user.path) and kept(user.path))]
    if left and name == "mypy":
        files = everything()
        reached = _reached([user for user in files if listed(user.path) and kept(user.path)], files)
        left = [user for user in left if user.path not in reached]
    for settings, group in (
        (listing, [user for user in left if not listed(user.path)]),
        (excludes, [user for user in left if listed(user.path)]),
    ):
        if group:
            setting = settings[-1]
            yield _left(name, setting.option, setting.file, setting.line, group, users)


def of_others(name: str, known: Settings, users: Sequence[User]) -> Iterator[Check]:
    """What pyright, basedpyright, pyrefly and ty include and exclude."""
    for path, wanted in _keys[name]:
        table: Any = known.table
        for key in path:
            table = table.get(key) if isinstance(table, Mapping) else None
        patterns = [str(pattern) for pattern in table] if isinstance(table, list) else []
        if patterns:
            left = [user for user in users if any(_glob(one, user.path) for one in patterns) is not wanted]
            if left:
                yield _left(name, ".".join(path), str(known.file), known.line(path), left, users)


_keys: Final[Mapping[str, Sequence[tuple[tuple[str, ...], bool]]]] = {
    "pyright": ((("include",), True), (("exclude",), False), (("ignore",), False)),
    "basedpyright": ((("include",), True), (("exclude",), False), (("ignore",), False)),
    "pyrefly": ((("project-includes",), True), (("project-excludes",), False)),
    "ty": ((("src", "include"), True), (("src", "exclude"), False)),
}
"""The keys of each checker that choose files, and whether they include."""


def _left(name: str, option: str, file: str, line: int, left: Sequence[User], users: Collection[User]) -> Check:
    shown = ", ".join(user.path.as_posix() for user in left[:_SHOWN])
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    verb = "uses" if len(left) == 1 else "use"
    says = f"{option}: {name} does not check {shown}{more}, which {verb} the contract"
    every = len(left) == len(users)
    fix = f"add {'it' if len(left) == 1 else 'them'} to what {name} checks"
    return Check(name="unchecked code", status="fail" if every else "warn", says=says, fix=fix, file=file, line=line)


# ---- mypy


def _is_listed(setting: Setting, path: Path) -> bool:
    if setting.option == "files":
        return any(_glob(pattern, path) for pattern in setting.value)
    module = _module(path)
    nested = setting.option == "packages"
    return any(module == one or (nested and module.startswith(f"{one}.")) for one in setting.value)


def _is_excluded(setting: Setting, path: Path) -> bool:
    """mypy searches each pattern in the path of the file and of the folders around it."""
    places = [path.as_posix(), *(f"{folder.as_posix()}/" for folder in path.parents if folder != Path())]
    try:
        return any(re.search(pattern, place) for pattern in setting.value for place in places)
    except re.error:
        return False  # mypy refuses the pattern


def _reached(kept: Sequence[User], files: Sequence[User]) -> set[Path]:
    """The files that are checked because kept ones import them, directly or not."""
    by_module: dict[str, list[User]] = {}
    for file in files:  # by every name that it may have, whichever folders are searched
        parts = _module(file.path).split(".")
        for start in range(len(parts)):
            by_module.setdefault(".".join(parts[start:]), []).append(file)
    waiting, found = list(kept), {user.path for user in kept}
    while waiting:
        user = waiting.pop()
        for module in _imports(user):
            for other in by_module.get(module, ()):
                if other.path not in found:
                    found.add(other.path)
                    waiting.append(other)
    return found


def _imports(user: User) -> Iterator[str]:
    package = _module(user.path).split(".")[: -1 if user.path.name != "__init__.py" else None]
    for node in ast.walk(user.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _module(path: Path) -> str:
    """The module name of a file, from the outermost folder with an `__init__.py`, or from src."""
    parts = list(path.with_suffix("").parts)
    if parts[0] == "src":
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# ---- patterns


def _glob(pattern: str, path: Path) -> bool:
    """Whether a pattern of paths reaches a file: itself, or a folder around it."""
    text = pattern.replace("\\", "/").removeprefix("./").rstrip("/")
    text = re.sub(r"^\$\{?\w+\}?/", "", text)
    if text in ("", "."):
        return True
    glob = re.escape(text).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.fullmatch(f"{glob}(?:/.*)?", path.as_posix()) is not None
