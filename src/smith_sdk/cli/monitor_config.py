"""The file of `smith monitor`: rules, webhooks and intervals, in TOML.

Every mistake is an error that names the line, the key, and what would be right.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from ..alerts import (
    AlertRule,
    Condition,
    Notifier,
    ack_pending_above,
    dead_letters_above,
    default_rules,
    drifted,
    lag_above,
    oldest_above,
    redelivery_rate_above,
    replica_lag_above,
    stalled,
    to_health,
    to_webhook,
    utilisation_above,
)
from ..contract import Contract
from ..errors import OptionsError
from ..options import TLSFiles, to_seconds
from .values import duration

Table = Mapping[str, Any]
Place = tuple[str, ...]
Make = Callable[..., Condition]
T = TypeVar("T")

_DURATION: Final = 'write a number and ms, s, m, h or d, such as "90s"'
_INTERVALS: Final = ("interval", "unknown_after", "stalled_after", "drift_every")
_TOP: Final = ("service", "profile", *_INTERVALS, "state_file", "default_rules", "without", "rule", "webhook")
_OF_CONSUMER: Final[dict[str, Make]] = {
    "lag_above": lag_above,
    "oldest_above": oldest_above,
    "stalled": stalled,
    "ack_pending_above": ack_pending_above,
    "redelivery_rate_above": redelivery_rate_above,
}
_OF_STREAM: Final[dict[str, Make]] = {"utilisation_above": utilisation_above, "replica_lag_above": replica_lag_above}
_OF_CONTRACT: Final[dict[str, Make]] = {"dead_letters_above": dead_letters_above, "drifted": drifted}
_CONDITIONS: Final = {**_OF_CONSUMER, **_OF_STREAM, **_OF_CONTRACT}
_FLAGS: Final = ("stalled", "drifted")
_TIMES: Final = ("oldest_above",)
_RULE: Final = ("name", "severity", "for", "hold", "remedy", "consumer", "stream", *_CONDITIONS, "clear_below")
_WEBHOOK: Final = ("url", "url_file", "url_env", "secret_file", "secret_env", "ca", "timeout", "keep")


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """What the file says."""

    rules: list[AlertRule]
    notify: list[Notifier] = field(default_factory=list)
    profile: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `AlertMonitor`."""


def read_config(path: Path, contract: Contract) -> MonitorConfig:
    """The file at `path`, for a monitor of `contract`. Raises `OptionsError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path} cannot be read: {error.strerror if isinstance(error, OSError) else error}") from None
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{path} is not valid TOML: {error}") from None
    return _File(path, text, contract).config(found)


def require_profile(contract: Contract, profile: str) -> str:
    """`profile`. Raises `OptionsError` unless `contract` has it."""
    try:
        contract.profile(profile)
    except KeyError as error:
        raise OptionsError(f"profile {profile!r}: {error.args[0]}") from None
    return profile


class _File:
    def __init__(self, path: Path, text: str, contract: Contract) -> None:
        self._path = path
        self._text = text
        self._contract = contract

    def config(self, found: Table) -> MonitorConfig:
        self._known(found, _TOP, (), "the file")
        options: dict[str, Any] = {
            name: self._made((name,), to_seconds, name, self._duration(found, name, ())) for name in _INTERVALS if name in found
        }
        if "state_file" in found:
            options["state_file"] = self._file(found, "state_file", ())
        notify = [self._webhook(table, ("webhook", str(at))) for at, table in enumerate(self._tables(found, "webhook"))]
        if "service" in found:
            service = self._text_at(found, "service", ())
            notify.append(self._made(("service",), to_health, service))
        profile = None
        if "profile" in found:
            profile = self._made(("profile",), require_profile, self._contract, self._text_at(found, "profile", ()))
        return MonitorConfig(rules=self._rules(found), notify=notify, profile=profile, options=options)

    # ---- rules

    def _rules(self, found: Table) -> list[AlertRule]:
        own: dict[str, AlertRule] = {}
        for at, table in enumerate(self._tables(found, "rule")):
            where = ("rule", str(at))
            rule = self._rule(table, where)
            if rule.name in own:
                self._fail((*where, "name"), f"{rule.name!r} is the name of another rule: give each one of its own")
            own[rule.name] = rule
        keep = found.get("default_rules", True)
        if not isinstance(keep, bool):
            self._fail(("default_rules",), f"default_rules = {keep!r}: write true or false")
        usual = {one.name: one for one in default_rules(self._contract)} if keep else {}
        for at, name in enumerate(self._names(found, "without")):
            if name not in usual:
                self._fail(("without", str(at)), f"without: there is no rule {name!r} by default{_similar(name, list(usual))}")
            del usual[name]
        rules = list({**usual, **own}.values())  # one of the same name takes the place of that by default
        if not rules:
            self._fail((), "there are no rules: write [[rule]] tables, or leave out default_rules = false")
        return rules

    def _rule(self, table: Table, where: Place) -> AlertRule:
        self._known(table, _RULE, where, "a rule")
        given = [name for name in _CONDITIONS if name in table]
        if not given:
            self._fail(where, f"a rule needs a condition: one of {', '.join(_CONDITIONS)}")
        if "clear_below" in table and (len(given) > 1 or given[0] in _FLAGS):
            self._fail((*where, "clear_below"), "clear_below: goes with one condition that has a threshold")
        whole: Condition | None = None
        for name in given:
            one = self._condition(name, table, where)
            whole = one if whole is None else whole & one
        for key, users in (("consumer", _OF_CONSUMER), ("stream", _OF_STREAM)):
            if key in table and not set(users) & set(given):
                self._fail((*where, key), f"{key}: goes with one of {', '.join(users)}")
        return self._made(where, AlertRule, when=whole, **self._options(table, where))

    def _options(self, table: Table, where: Place) -> dict[str, Any]:
        """What a rule has beside its condition."""
        options: dict[str, Any] = {
            name: self._text_at(table, name, where) for name in ("name", "severity", "remedy") if name in table
        }
        options |= {
            f"{name}_" if name == "for" else name: self._duration(table, name, where) for name in ("for", "hold") if name in table
        }
        return options

    def _condition(self, name: str, table: Table, where: Place) -> Condition:
        arguments: list[Any] = []
        if name in _OF_CONSUMER:
            arguments.append(self._declared(table, "consumer", [one.name for one in self._contract.consumers], name, where))
        if name in _OF_STREAM:
            arguments.append(self._declared(table, "stream", [one.name for one in self._contract.streams], name, where))
        options: dict[str, Any] = {}
        if name in _FLAGS:
            if table[name] is not True:
                self._fail((*where, name), f"{name} = {_shown(table[name])}: write {name} = true, or leave it out")
        else:
            read = self._duration if name in _TIMES else self._number
            arguments.append(read(table, name, where))
            if "clear_below" in table:
                options["clear_below"] = read(table, "clear_below", where)
        return self._made((*where, name), _CONDITIONS[name], *arguments, **options)

    def _declared(self, table: Table, key: str, known: list[str], condition: str, where: Place) -> str:
        if key not in table:
            self._fail((*where, condition), f"{condition}: needs {key} = ...: one of {', '.join(known)}")
        name = self._text_at(table, key, where)
        if name not in known:
            self._fail(
                (*where, key), f"{key} = {name!r}: contract {self._contract.name!r} declares no such {key}{_similar(name, known)}"
            )
        return name

    # ---- webhooks

    def _webhook(self, table: Table, where: Place) -> Notifier:
        self._known(table, _WEBHOOK, where, "a webhook")
        ways = [name for name in ("url", "url_file", "url_env") if name in table]
        if len(ways) != 1:
            self._fail(where, "a webhook needs one of url, url_file and url_env")
        options: dict[str, Any] = {name: self._duration(table, name, where) for name in ("timeout", "keep") if name in table}
        if "secret_file" in table:
            options["secret_file"] = self._file(table, "secret_file", where)
        if "secret_env" in table:
            options["secret_env"] = self._text_at(table, "secret_env", where)
        if "ca" in table:
            options["tls"] = self._made((*where, "ca"), TLSFiles, ca=self._file(table, "ca", where))
        return self._made(where, to_webhook, self._url(ways[0], table, where), **options)

    def _url(self, way: str, table: Table, where: Place) -> str:
        given = self._text_at(table, way, where)
        if way == "url":
            return given
        if way == "url_env":
            found = os.environ.get(given, "")
            if not found:
                self._fail((*where, way), f"url_env: the environment variable {given} is not set")
            return found.strip()
        file = self._file(table, way, where)
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            self._fail(
                (*where, way),
                f"url_file: {file} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not text'}",
            )

    # ---- values

    def _known(self, table: Table, keys: tuple[str, ...], where: Place, what: str) -> None:
        for key in table:
            if key not in keys:
                self._fail((*where, key), f"unknown key {key!r}{_similar(key, list(keys))}: {what} may have {', '.join(keys)}")

    def _tables(self, found: Table, key: str) -> list[Table]:
        tables = found.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self._fail((key,), f"{key}: write each as a table [[{key}]]")
        return tables

    def _names(self, found: Table, key: str) -> list[str]:
        names = found.get(key, [])
        if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
            self._fail((key,), f"{key} = {_shown(names)}: write a list of names of rules")
        return names

    def _text_at(self, table: Table, key: str, where: Place) -> str:
        value = table[key]
        if not isinstance(value, str) or not value:
            self._fail((*where, key), f"{key} = {_shown(value)}: write a text")
        return value

    def _file(self, table: Table, key: str, where: Place) -> Path:
        """A path, from the directory of the file on."""
        return self._path.parent / Path(self._text_at(table, key, where)).expanduser()

    def _number(self, table: Table, key: str, where: Place) -> float:
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._fail((*where, key), f"{key} = {_shown(value)}: write a number")
        return value

    def _duration(self, table: Table, key: str, where: Place) -> float:
        value = table[key]
        found = duration(value) if isinstance(value, str) else None
        if found is None:
            self._fail((*where, key), f"{key} = {_shown(value)}: {_DURATION}")
        return found.total_seconds()

    def _made(self, where: Place, make: Callable[..., T], *arguments: Any, **options: Any) -> T:
        try:
            return make(*arguments, **options)
        except OptionsError as error:
            self._fail(where, str(error))

    def _fail(self, where: Place, problem: str) -> NoReturn:
        from smith_codegen.locate import line_of, lines

        line = line_of(lines(self._text), where)
        raise OptionsError(f"{self._path}{f', line {line}' if line else ''}: {problem}") from None


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _similar(given: str, known: list[str]) -> str:
    close = get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
