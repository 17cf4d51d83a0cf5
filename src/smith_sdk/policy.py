"""Policies of admission in a file: `load` makes one that `Admission(policy=...)` takes.

The file is TOML with rules in their order, and the first that matches decides. What no rule matches
is denied.

    [[rule]]
    name = "public files"
    effect = "allow"
    capability = "fs.read.v1"
    params.path = "/srv/public/**"
    params.max_bytes = { max = 1_048_576 }

    [[rule]]
    effect = "quarantine"
    capability = ["shell.*", "git.clone.v1"]
    reason = "to be looked at"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

from . import signing
from ._core.globs import Glob
from ._core.log_records import sdk_logger
from ._core.reread_file import RereadFile
from .aio import Allow, Decision, Deny, Quarantine
from .errors import OptionsError, SignatureError
from .protocol import Intent

__all__ = ["FilePolicy", "load"]

log: Final = sdk_logger("policy")

Effect = Literal["allow", "deny", "quarantine"]
Matches = Callable[[Intent], bool]

_EFFECTS: Final[tuple[Effect, ...]] = get_args(Effect)
_FIELDS: Final = ("capability", "domain", "signer")
_KEYS: Final = ("name", "effect", *_FIELDS, "params", "reason")
_CLASSES: Final[dict[str, Any]] = {cls.__struct_config__.tag: cls for cls in get_args(Intent)}
_CLIMBS: Final = re.compile(r"(?i)(^|[/\\]|%2f|%5c)(\.|%2e){2}([/\\?#;]|%2f|%5c|$)")
"""A path that leaves the directory it seems to be in, also as readers of URLs understand it."""


def load(path: str | os.PathLike[str], *, signers: bool = True) -> FilePolicy:
    """The policy in the file at `path`, which is read again whenever it has changed.

    With `signers` False no rule may name signers, which are only as true as their signatures: for
    an admission without a `Trust`.

    Raises `OptionsError` for every mistake in it, with the file, the number of the rule and the
    key. While a changed file is not valid, the rules from before stay in force, and an error is
    logged.
    """
    return FilePolicy(Path(path), signers=signers)


class FilePolicy:
    """A policy in a file: a function of an intent. Made by `load`."""

    def __init__(self, path: Path, *, signers: bool = True) -> None:
        self._file = RereadFile(path, _read if signers else _read_without_signers, log)

    def __call__(self, intent: Intent, /) -> Decision:
        """The decision of the first rule that matches `intent`; `Deny` if none does."""
        for rule in self._file.content:
            if rule.matches(intent):
                return rule.decision()
        return Deny("no rule of the policy allows it", rule="default")

    def __repr__(self) -> str:
        return f"<FilePolicy {self._file.path}>"


class _Rule(msgspec.Struct, frozen=True):
    name: str
    effect: Effect
    reason: str
    conditions: tuple[Matches, ...]
    has_signers: bool

    def matches(self, intent: Intent) -> bool:
        return all(condition(intent) for condition in self.conditions)

    def decision(self) -> Decision:
        match self.effect:
            case "allow":
                return Allow(reason=self.reason, rule=self.name)
            case "deny":
                return Deny(self.reason, rule=self.name)
            case "quarantine":
                return Quarantine(self.reason, rule=self.name)


# ---- reading


class _Mistake(Exception):
    """A mistake at `key` of a rule."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)


def _read(path: Path) -> tuple[_Rule, ...]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"the policy in {path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise OptionsError(f"{path} is not valid TOML: {error}") from None
    for key in found:
        if key != "rule":
            raise OptionsError(f"{path}: unknown key {key!r}: a policy has nothing but rules, each a table [[rule]]")
    tables = found.get("rule")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise OptionsError(f"{path} has no rule, so every intent would be denied: write each as a table [[rule]]")
    rules: list[_Rule] = []
    for number, table in enumerate(tables, 1):
        try:
            rule = _rule(number, table)
            for other, earlier in enumerate(rules, 1):
                if earlier.name == rule.name:
                    raise _Mistake(
                        "name", f"{rule.name!r} is that of rule {other}, and the audit trail tells rules by their names"
                    )
        except _Mistake as mistake:
            raise OptionsError(f"{path}: rule {number}: {mistake}") from None
        rules.append(rule)
    return tuple(rules)


def _read_without_signers(path: Path) -> tuple[_Rule, ...]:
    rules = _read(path)
    for number, rule in enumerate(rules, 1):
        if rule.has_signers:
            raise OptionsError(f"{path}: rule {number}: signer: without a Trust (--keys FILE) no signature is verified")
    return rules


def _rule(number: int, table: Mapping[str, Any]) -> _Rule:
    for key in table:
        if key not in _KEYS:
            raise _Mistake(repr(key), f"unknown key; a rule may have {', '.join(_KEYS)}")
    effect = _effect(table.get("effect"))
    name = _text("name", table.get("name", f"rule-{number}"))
    reason = _text("reason", table.get("reason", f"{_DONE[effect]} by rule {name}"))
    conditions: list[Matches] = []
    capabilities = list(_CLASSES)
    if "capability" in table:
        globs = _globs("capability", table["capability"])
        capabilities = [one for one in _CLASSES if any(glob.matches(one) for glob in globs)]
        if not capabilities:
            raise _Mistake("capability", f"{table['capability']!r} matches none of {', '.join(_CLASSES)}")
        chosen = frozenset(capabilities)
        conditions.append(lambda intent: intent.__struct_config__.tag in chosen)
    if "domain" in table:
        domains = _globs("domain", table["domain"])
        conditions.append(lambda intent: any(glob.matches(intent.domain) for glob in domains))
    if "signer" in table:
        signers = _globs("signer", table["signer"])
        _check_signers(table["signer"])
        # Without a signature the field says what its publisher likes.
        conditions.append(lambda intent: bool(intent.signature_b64) and any(glob.matches(intent.signer) for glob in signers))
    conditions += _params(table.get("params", {}), capabilities, effect)
    return _Rule(name, effect, reason, tuple(conditions), "signer" in table)


def _effect(value: object) -> Effect:
    for one in _EFFECTS:
        if value == one:
            return one
    raise _Mistake("effect", f"{'missing' if value is None else repr(value)}; one of {', '.join(_EFFECTS)} is needed")


_DONE: Final[dict[Effect, str]] = {"allow": "allowed", "deny": "denied", "quarantine": "quarantined"}


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Mistake(key, f"{value!r} is not a text")
    return value


def _texts(key: str, value: object) -> list[str]:
    """One text or a list of them."""
    found = value if isinstance(value, list) else [value]
    if not found:
        raise _Mistake(key, "an empty list matches nothing")
    return [_text(key, one) for one in found]


def _globs(key: str, value: object) -> list[Glob]:
    return [Glob(text) for text in _texts(key, value)]


def _check_signers(value: object) -> None:
    for text in _texts("signer", value):
        if "*" not in text:
            try:
                signing.require_public_key(text)
            except SignatureError as error:
                raise _Mistake("signer", str(error)) from None


# ---- parameters

_BEYOND: Final = "/\\?#"
"""What `*` does not match in a parameter: it stays in a part of a path, or in the host of a URL."""


def _params(table: object, capabilities: list[str], effect: Effect) -> Iterator[Matches]:
    if not isinstance(table, dict):
        raise _Mistake("params", f"{table!r} is not a table: write params.path = ...")
    for name, wanted in table.items():
        kinds = _kinds(name, capabilities)
        key = f"params.{name}"
        if isinstance(wanted, bool):
            test = _of_kind(key, kinds, bool, _equal(wanted))
        elif isinstance(wanted, (int, float)):
            if wanted != wanted:
                raise _Mistake(key, f"{wanted!r} is not a number")
            test = _of_kind(key, kinds, (int, float), _equal(wanted))
        elif isinstance(wanted, dict):
            test = _of_kind(key, kinds, (int, float), _bounds(key, wanted))
        else:
            test = _of_kind(key, kinds, str, _any_text(_texts(key, wanted), effect))
        yield _of_param(name, test)


def _of_param(name: str, test: Callable[[Any], bool]) -> Matches:
    def matches(intent: Intent) -> bool:
        value = getattr(intent.params, name, None)
        return value is not None and test(value)

    return matches


def _kinds(name: str, capabilities: list[str]) -> set[type]:
    """The types that parameter `name` has among `capabilities`. Raises if it is of none of them."""
    kinds: set[type] = set()
    known: set[str] = set()
    for capability in capabilities:
        (params,) = (field.type for field in msgspec.structs.fields(_CLASSES[capability]) if field.name == "params")
        fields = {field.name: field.type for field in msgspec.structs.fields(params)}
        known |= fields.keys()
        if name in fields:
            kinds |= _plain_types(msgspec.inspect.type_info(fields[name]))
    if not kinds:
        raise _Mistake(f"params.{name}", f"{', '.join(capabilities)} has no such parameter; there are {', '.join(sorted(known))}")
    return kinds


_PLAIN: Final[dict[type, type]] = {
    msgspec.inspect.StrType: str,
    msgspec.inspect.IntType: int,
    msgspec.inspect.FloatType: float,
    msgspec.inspect.BoolType: bool,
}


def _plain_types(info: msgspec.inspect.Type) -> set[type]:
    """The Python types of a field; `object` for what no rule can match."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _plain_types(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return {kind for one in info.types for kind in _plain_types(one)} - {type(None)}
    return {type(None)} if isinstance(info, msgspec.inspect.NoneType) else {_PLAIN.get(type(info), object)}


def _of_kind(key: str, kinds: set[type], wanted: type | tuple[type, ...], test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """`test`, if the parameter may be of such a type. Raises otherwise: it would never match."""
    fits = wanted if isinstance(wanted, tuple) else (wanted,)
    if not kinds & set(fits):
        names = " or ".join(sorted("a list or map" if kind is object else _NAMES[kind] for kind in kinds))
        more = "; write such a policy in Python" if object in kinds else ""
        raise _Mistake(key, f"the parameter is {names}, which this condition never matches{more}")
    return lambda value: isinstance(value, wanted) and (bool in fits or not isinstance(value, bool)) and test(value)


_NAMES: Final[dict[type, str]] = {str: "text", int: "a number", float: "a number", bool: "true or false"}


def _equal(wanted: object) -> Callable[[Any], bool]:
    return lambda value: bool(value == wanted)


def _bounds(key: str, table: Mapping[str, object]) -> Callable[[Any], bool]:
    for name, bound in table.items():
        if name not in ("min", "max"):
            raise _Mistake(f"{key}.{name}", "unknown key; a condition on a number may have min and max")
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or bound != bound:
            raise _Mistake(f"{key}.{name}", f"{bound!r} is not a number")
    least: Any = table.get("min", float("-inf"))
    most: Any = table.get("max", float("inf"))
    if not table or least > most or least == float("inf") or most == float("-inf"):
        raise _Mistake(key, "it matches no number: give min, max or both, min not above max")
    return lambda value: bool(least <= value <= most)


def _any_text(texts: Iterable[str], effect: Effect) -> Callable[[Any], bool]:
    exact = frozenset(text for text in texts if "*" not in text)
    globs = [Glob(text, _BEYOND) for text in texts if "*" in text]

    def test(value: str) -> bool:
        if value in exact:
            return True
        # "/srv/../etc/shadow" is not below /srv: no wildcard allows it, and every one may deny it.
        if effect == "allow" and _CLIMBS.search(value):
            return False
        return any(glob.matches(value) for glob in globs)

    return test
