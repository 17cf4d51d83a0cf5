"""Settings of mypy that disable the contract, or could: judged by their effect on modules.

The canary shows whether the contract is enforced now (`enforcement.py`); this says why not, and
what may disable it later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from .canary import CODES
from .diagnosis import Check
from .mypy_config import Config, Setting

IMPORT_CODES: Final = ("import", "import-not-found", "import-untyped")


class Traps:
    """`packages` are these modules by package, `hidden` those that mypy does not find.

    `python` is the oldest Python of the SDK. `module` is a name without a section of its own:
    settings for it apply wherever no other does.
    """

    def __init__(
        self, config: Config, module: str, packages: Mapping[str, Sequence[str]], hidden: Collection[str], python: tuple[int, int]
    ) -> None:
        self.config = config
        self.module = module
        self.packages = packages
        self.modules = list(dict.fromkeys(name for names in packages.values() for name in names))
        self.hidden = set(hidden)
        self.python = python

    def judge(self) -> list[Check]:
        """All that is found; one `ok` where that is nothing."""
        found = [*self.imports(), *self.refusals(), *self.exemptions()]
        if found:
            return found
        where = f"{self.config.file}: nothing in it" if self.config.file else "mypy finds none, and nothing by default"
        return [Check(name="configuration", status="ok", says=f"{where} disables the contract")]

    def imports(self) -> Iterator[Check]:
        """How modules are imported: these settings count for the module that is imported."""
        for setting, names in self.reached("follow_imports"):
            if setting.value in ("skip", "error"):
                says = f"every name of {self.called(names)} is Any for mypy, so nothing about it is checked"
                yield _trap(setting, "fail", says, "remove it")
            elif setting.value == "silent" and not setting.pattern:
                says = "errors in files that mypy only reaches by imports are hidden"
                yield _trap(setting, "warn", says, "remove it, or give mypy every file of yours")
        for setting, names in self.reached("ignore_missing_imports"):
            if setting.value:
                yield self.silenced(setting, names)
        codes = self.config.disabled(self.module).items()
        for setting, _ in _by_setting((setting, code) for code, setting in codes if code in IMPORT_CODES):
            yield self.silenced(setting, self.modules)
        for setting, names in self.reached("follow_untyped_imports"):
            if setting.value:
                says = f"nothing reports that {self.called(names)} has no py.typed: its users get Any where you see types"
                yield _trap(setting, "warn", says, "set it only for packages that have no types")

    def silenced(self, setting: Setting, names: Sequence[str]) -> Check:
        fix = "set it only for packages that have no types"
        if gone := self.hidden.intersection(names):
            return _trap(setting, "fail", f"mypy does not find {self.called(gone)} and does not report it: all of it is Any", fix)
        says = f"if mypy stops finding {self.called(names)}, nothing reports it, and all of it is Any"
        return _trap(setting, "warn", says, fix)

    def refusals(self) -> Iterator[Check]:
        """The errors that are shown in modules without a section."""
        config = self.config
        ignoring = config.strongest("ignore_errors", self.module)
        if ignoring is not None and ignoring.value:
            yield _trap(ignoring, "fail", "no error is shown at all", "remove it")
        codes = config.disabled(self.module).items()
        for setting, off in _by_setting((setting, code) for code, setting in codes if code in CODES):
            says = f"mypy reports wrong uses of the contract as {', '.join(off)}"
            yield _trap(setting, "fail", says, "enable these codes again")
        version = config.strongest("python_version")
        if version is not None and re.fullmatch(r"\d+\.\d+", version.value):
            major, minor = map(int, version.value.split("."))
            if (major, minor) < self.python:
                floor = ".".join(map(str, self.python))
                says = f"smith-sdk needs Python {floor}: names that an older standard library lacks are Any for mypy"
                yield _trap(version, "fail", says, f'set it to "{floor}" or newer')
        optional = config.strongest("strict_optional", self.module)
        if optional is not None and not optional.value:
            yield _trap(optional, "warn", "None passes for every payload and every token", "remove it")
        unused = config.strongest("warn_unused_ignores", self.module)
        if unused is None or not unused.value:
            says = (
                "without warn_unused_ignores nothing reports a `type: ignore` that is no longer needed, in a canary or elsewhere"
            )
            file, line = (unused.file, unused.line) if unused else (str(config.file or ""), config.line)
            fix = "set warn_unused_ignores = true, or strict = true"
            yield Check(name="configuration", status="warn", says=says, fix=fix, file=file, line=line)

    def exemptions(self) -> Iterator[Check]:
        """Sections that exempt the user's modules; those for the SDK and generated code are
        harmless.
        """
        exempt = ((setting, setting.pattern) for setting in self.config.settings if _exempts(setting))
        users = ((one, name) for one, name in exempt if name not in ("", self.module) and not self.is_ours(name))
        for setting, patterns in _by_setting(users):
            says = f"wrong uses of the contract in {', '.join(patterns)} are accepted"
            yield _trap(setting, "warn", says, "narrow it to modules that use no subject")

    def is_ours(self, pattern: str) -> bool:
        base = pattern.removesuffix(".*")
        return base in self.modules or base.partition(".")[0] == "smith_sdk"

    def reached(self, option: str) -> Iterator[tuple[Setting, list[str]]]:
        """Each setting of an option that counts for some of the modules, with those."""
        return _by_setting((one, name) for name in self.modules if (one := self.config.strongest(option, name)) is not None)

    def called(self, names: Iterable[str]) -> str:
        """The packages of these modules."""
        wanted = set(names)
        return " and ".join(package for package, own in self.packages.items() if not wanted.isdisjoint(own))


def _exempts(setting: Setting) -> bool:
    if setting.option == "ignore_errors":
        return bool(setting.value)
    if setting.option in ("check_untyped_defs", "strict_optional"):
        return not setting.value
    return setting.option == "disable_error_code" and not set(CODES).isdisjoint(setting.value)


def _by_setting(pairs: Iterable[tuple[Setting, str]]) -> Iterator[tuple[Setting, list[str]]]:
    """Pairs of a setting and a name; the names of one option on one line are put together."""
    found: dict[tuple[str, int, str], tuple[Setting, list[str]]] = {}
    for setting, name in pairs:
        found.setdefault((setting.file, setting.line, setting.option), (setting, []))[1].append(name)
    return iter(found.values())


def _trap(setting: Setting, status: Literal["warn", "fail"], says: str, fix: str) -> Check:
    value = ", ".join(setting.value) if isinstance(setting.value, list) else str(setting.value).lower()
    section = f" for {setting.pattern}" if setting.pattern else ""
    written = f"{setting.option} = {value}{section}"
    return Check(name="configuration", status=status, says=f"{written}: {says}", fix=fix, file=setting.file, line=setting.line)
