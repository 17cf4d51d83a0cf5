"""mypy's configuration, found and read as mypy does, each setting with its file and line.

Options of mypy's command line count as settings too. `mypy_traps.py` judges the settings.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from .. import locate

OWN_FILES: Final = ("mypy.ini", ".mypy.ini")
SHARED_FILES: Final = ("pyproject.toml", "setup.cfg")
"""Files that are mypy's only where they have a section for it."""

COMMAND_LINE: Final = "the command line of mypy"

_lists = {
    "disable_error_code": ",",
    "enable_error_code": ",",
    "files": ",",
    "packages": ",",
    "modules": ",",
    "mypy_path": "[,:]",
    "exclude": r"(?!)",  # a pattern, which may contain commas
}
_texts = {"follow_imports", "python_version", "python_executable"}
_by_strict = {"check_untyped_defs", "warn_unused_ignores"}
"""Options (of those that anyone here asks for) that `strict` turns on."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One option as written: a bool, str or list of str. `pattern` is "" for all modules."""

    option: str
    value: Any
    pattern: str
    file: str
    line: int


class Unreadable(Exception):
    """A file that mypy cannot read, and passes over."""

    def __init__(self, file: Path, problem: object) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `file` is None if mypy finds none; `line` is that of the global section, or
    0.
    """

    file: Path | None
    line: int
    settings: tuple[Setting, ...]

    def of(self, option: str, module: str = "") -> list[Setting]:
        """The settings of an option that apply to a module, strongest last; without one, global
        ones.
        """
        found = [setting for setting in self.settings if setting.option == option and _reaches(setting.pattern, module)]
        return sorted(found, key=lambda setting: _strength(setting.pattern))

    def strongest(self, option: str, module: str = "") -> Setting | None:
        """The effective setting of an option for a module; `strict` counts for each that it
        enables.
        """
        strict = [setting for setting in self.of("strict") if setting.value] if option in _by_strict else []
        found = strict + self.of(option, module)
        return found[-1] if found else None

    def value(self, option: str, module: str = "") -> Any:
        """The effective value for a module; None if it is not set."""
        setting = self.strongest(option, module)
        return None if setting is None else setting.value

    def disabled(self, module: str = "") -> dict[str, Setting]:
        """Disabled error codes of a module, with the setting. They add up; enabling takes
        precedence.
        """
        found: dict[str, Setting] = {}
        both = self.of("disable_error_code", module) + self.of("enable_error_code", module)
        for setting in sorted(both, key=lambda setting: _strength(setting.pattern)):
            for code in setting.value:
                if setting.option == "disable_error_code":
                    found[code] = setting
                else:
                    found.pop(code, None)
        return found


def _reaches(pattern: str, module: str) -> bool:
    """`a.*` reaches `a` and all below it, `a.*.b` any number of names between, `a` only itself."""
    if not pattern or pattern == module:
        return True
    if not module or "*" not in pattern:
        return False
    if _is_wildcard(pattern):
        return f"{module}.".startswith(pattern[:-1])
    first, *rest = pattern.split(".")
    glob = ".*" if first == "*" else re.escape(first)
    glob += "".join(r"(\..*)?" if part == "*" else re.escape(f".{part}") for part in rest)
    return bool(rest) and re.fullmatch(glob, module) is not None


def _is_wildcard(pattern: str) -> bool:
    return pattern.endswith(".*") and "*" not in pattern[:-1]


def _strength(pattern: str) -> tuple[int, int]:
    """Global first, then `a.*` before `a.b.*`, then `a.*.b` in the order of the file, then
    names.
    """
    if not pattern:
        return 0, 0
    if _is_wildcard(pattern):
        return 1, pattern.count(".")
    return (2 if "*" in pattern else 3), 0


# ---- finding


def find(start: Path, named: Path | None = None, tool: str = "mypy") -> Config:
    """The configuration that mypy reads when run in `start`; `named` is that of `--config-file`.

    With another `tool` (zuban), its own section of pyproject.toml comes first.

    Raises `Unreadable` for the first file that mypy would skip, `OSError` if `named` is unreadable.
    """
    if named is not None:
        return read(named) or Config(file=named, line=0, settings=())
    project = start / "pyproject.toml"
    if tool != "mypy" and project.is_file() and (own := read(project, Path(project.name), tool)) is not None:
        return own
    for folder in (start.absolute(), *start.absolute().parents):
        for name in (*OWN_FILES, *SHARED_FILES):
            path = Path(os.path.relpath(folder / name, start))
            if (start / path).is_file() and (found := read(start / path, path)) is not None:
                return found
        if (folder / ".git").exists() or (folder / ".hg").exists():
            break
    home = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    for path in (home / "mypy" / "config", Path("~/.config/mypy/config").expanduser(), Path("~/.mypy.ini").expanduser()):
        if path.is_file() and (found := read(path)) is not None:
            return found
    return Config(file=None, line=0, settings=())


def read(path: Path, called: Path | None = None, tool: str = "mypy") -> Config | None:
    """The settings of one file, called `shown` in messages; None if it has none for mypy.

    Raises `Unreadable`.
    """
    text = path.read_text(encoding="utf-8")
    file = called or path
    try:
        sections = list(_toml(text, tool) if path.suffix.lower() == ".toml" else _ini(text))
    except (tomllib.TOMLDecodeError, configparser.Error) as error:
        raise Unreadable(file, error) from None
    main = [line for pattern, line, _, _ in sections if pattern is None]
    if not main and path.name in SHARED_FILES:
        return None
    settings = (
        Setting(option=option, value=value, pattern=one, file=str(file), line=lines.get(key, line))
        for pattern, line, table, lines in sections
        for one in _patterns(pattern)
        for key, given in table.items()
        for option, value in _normal(key, given)
    )
    return Config(file=file, line=main[0] if main else 0, settings=tuple(settings))


_Section = tuple[str | None, int, Mapping[str, Any], Mapping[str, int]]
"""Modules as written (None: all), the line, the keys with their values, and their lines."""


def _toml(text: str, tool: str) -> Iterator[_Section]:
    top = tomllib.loads(text).get("tool", {}).get(tool)
    if top is None:
        return
    known = locate.lines(text)

    def lines(path: locate.Path) -> dict[str, int]:
        return {key[-1]: line for key, line in known.items() if key[:-1] == path}

    at: locate.Path = ("tool", tool)
    yield None, locate.line_of(known, at), {key: value for key, value in top.items() if key != "overrides"}, lines(at)
    for index, table in enumerate(top.get("overrides", ())):
        at = ("tool", tool, "overrides", str(index))
        modules = table.get("module", ())
        for module in [modules] if isinstance(modules, str) else modules:
            yield module, locate.line_of(known, at), {key: value for key, value in table.items() if key != "module"}, lines(at)


def _ini(text: str) -> Iterator[_Section]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    known: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\[([^]]+)\]", line):
            section = header[1]
            known.setdefault((section, ""), number)
        elif key := re.match(r"([^\s#;=:][^=:]*?)\s*[=:]", line):
            known.setdefault((section, key[1].lower()), number)
    for name in parser.sections():
        if name == "mypy" or name.startswith("mypy-"):
            lines = {key: number for (at, key), number in known.items() if at == name}
            yield None if name == "mypy" else name[5:], lines.get("", 0), dict(parser[name]), lines


def _patterns(modules: str | None) -> list[str]:
    return [""] if modules is None else [one.strip() for one in modules.split(",")]


def _normal(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """An option and its typed value; nothing for a value that mypy would refuse too."""
    if key in _lists:
        parts = re.split(_lists[key], value) if isinstance(value, str) else value
        yield key, [str(part).strip() for part in parts if str(part).strip()]
    elif key in _texts:
        yield key, os.path.expandvars(os.path.expanduser(str(value).strip()))
    else:
        truth = configparser.RawConfigParser.BOOLEAN_STATES.get(str(value).strip().lower())
        if truth is not None:
            yield (key.removeprefix("no_"), not truth) if key.startswith("no_") and key != "no_site_packages" else (key, truth)


# ---- mypy's command line

_flags = (
    "--strict",
    "--ignore-missing-imports",
    "--follow-untyped-imports",
    "--check-untyped-defs",
    "--warn-unused-ignores",
    "--no-site-packages",
    "--no-strict-optional",
)


def of_command(words: Sequence[str]) -> tuple[Path | None, tuple[Setting, ...]]:
    """The settings of a command such as `mypy --strict`: the file it names, and global settings."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config-file", type=Path)
    for flag in _flags:
        parser.add_argument(flag, action="store_true", default=None)
    for option in sorted(_texts):
        parser.add_argument(f"--{option.replace('_', '-')}")
    for option in ("--disable-error-code", "--enable-error-code"):
        parser.add_argument(option, action="append")
    given = vars(parser.parse_known_args(list(words)[1:])[0])
    file: Path | None = given.pop("config_file")
    settings = (
        Setting(option=option, value=normal, pattern="", file=COMMAND_LINE, line=0)
        for key, value in given.items()
        if value is not None
        for option, normal in _normal(key, value)
    )
    return file, tuple(settings)


def with_command(config: Config, settings: tuple[Setting, ...]) -> Config:
    """The configuration with the command line's settings, which override global ones of the
    file.
    """
    return msgspec.structs.replace(config, settings=config.settings + settings)
