"""Hooks of pre-commit that run a checker without the SDK, or without files that use it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from . import commands
from .checkers import NAMES
from .diagnosis import Check
from .users import User

FILE: Final = Path(".pre-commit-config.yaml")

_isolated: Final = ("python", "conda")
"""Languages whose local hooks run in an environment of their own."""

_told: Final = re.compile(r"\bsmith[-_.]sdk\b", re.IGNORECASE)
_whole: Final = "--ignore-missing-imports"


def judge(file: Path, users: Collection[User]) -> Iterator[Check]:
    if not file.is_file():
        return
    try:
        import yaml
    except ImportError:
        says = "was not read: that needs PyYAML"
        yield Check(name="pre-commit", status="warn", says=says, fix="pip install 'smith-sdk[codegen]'", file=str(file))
        return
    try:
        top = _plain(yaml.compose(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        says = f"cannot be read: {str(error).splitlines()[0]}"
        yield Check(name="pre-commit", status="warn", says=says, fix="fix the file", file=str(file))
        return
    for repo in _list(_get(top, "repos")):
        for hook in _list(_get(repo, "hooks")):
            name = _checker(repo, hook)
            if name:
                yield from _environment(file, repo, hook, name)
                yield from _files(file, hook, name, users)
                if name == "mypy":
                    yield from _arguments(file, hook)


_Node = tuple[Any, int]
"""A value of YAML and its line; a mapping is a dict of nodes, a sequence a list of nodes."""


def _plain(node: Any) -> _Node:
    if node is None:
        return None, 1
    line = node.start_mark.line + 1
    if node.id == "mapping":
        return {key.value: _plain(value) for key, value in node.value if key.id == "scalar"}, line
    if node.id == "sequence":
        return [_plain(item) for item in node.value], line
    return node.value, line


def _get(node: _Node, key: str) -> _Node:
    found: _Node = node[0].get(key, (None, node[1])) if isinstance(node[0], dict) else (None, node[1])
    return found


def _list(node: _Node) -> list[_Node]:
    return node[0] if isinstance(node[0], list) else []


def _checker(repo: _Node, hook: _Node) -> str | None:
    """The checker that a hook runs; None for another hook."""
    written = [str(_get(hook, key)[0] or "") for key in ("id", "entry")]
    url = str(_get(repo, "repo")[0] or "")
    words = [word for text in written for word in re.findall(r"[a-z]+", text)]
    if "mirrors-mypy" in url:
        return "mypy"
    return next((name for name in reversed(NAMES) if name in words or (name == "zuban" and "zmypy" in words)), None)


def _environment(file: Path, repo: _Node, hook: _Node, name: str) -> Iterator[Check]:
    local = _get(repo, "repo")[0] == "local"
    if local and _get(hook, "language")[0] not in _isolated:
        return
    given = " ".join(str(item[0]) for item in _list(_get(hook, "additional_dependencies")))
    if _told.search(given):
        return
    arguments = [str(item[0]) for item in _list(_get(hook, "args"))]
    silent = name == "mypy" and not local and (not arguments or _whole in arguments)
    effect = "where every subject is Any (it ignores missing imports)" if silent else "where no name of the contract is known"
    label = "mirrors-mypy" if "mirrors-mypy" in str(_get(repo, "repo")[0]) else f"the hook of {name}"
    says = f"{label} runs in an environment without smith-sdk, {effect}"
    fix = "name smith-sdk in its additional_dependencies"
    yield Check(name="pre-commit", status="warn", says=says, fix=fix, file=str(file), line=(hook if local else repo)[1])


def _arguments(file: Path, hook: _Node) -> Iterator[Check]:
    given = _get(hook, "args")
    for says in commands.of_mypy([str(item[0]) for item in _list(given)]):
        yield Check(name="pre-commit", status="warn", says=says, fix="remove it from args", file=str(file), line=given[1])


def _files(file: Path, hook: _Node, name: str, users: Collection[User]) -> Iterator[Check]:
    """Files that a hook is never given, by its `files` and `exclude`."""
    for key, wanted in (("files", True), ("exclude", False)):
        pattern, line = _get(hook, key)
        if not isinstance(pattern, str):
            continue
        try:
            left = [user.path.as_posix() for user in users if bool(re.search(pattern, user.path.as_posix())) is not wanted]
        except re.error:
            continue  # pre-commit refuses such a file
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            says = f"{key}: {name} is not given {left[0]}{more}, which uses the contract"
            yield Check(name="pre-commit", status="warn", says=says, fix=f"widen {key} of the hook", file=str(file), line=line)
