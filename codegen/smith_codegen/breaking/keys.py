"""Compare the keys of two declarations by their rules alone: limits, flags, and other values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import units
from ..errors import dotted
from ..locate import Path
from ..spec import fields_of
from ..topology_spec import StreamDecl, Strict
from .change import Change
from .rules import RULES, Effect, Rule


def compare(path: Path, old: Strict, new: Strict) -> Iterator[Change]:
    """What changed in the keys of `old`, except for those whose rule is code."""
    for field in fields_of(type(old)):
        rule = RULES.get(f"{type(old).__name__}.{field.encode_name}")
        if rule is not None:
            yield from value((*path, field.encode_name), rule, getattr(old, field.name), getattr(new, field.name))


def value(path: Path, rule: Rule, old: Any, new: Any) -> Iterator[Change]:
    """What changed in one key."""
    if old == new:
        return
    if rule.how == "limit":
        yield from limit(path, rule, old, new)
    elif rule.how == "flag" and bool(_given(old, rule)) != bool(_given(new, rule)):
        yield from _found(path, rule.effect("set" if _given(new, rule) else "dropped"), old, new)
    elif rule.how == "change" and _given(old, rule) != _given(new, rule):
        yield from _found(path, rule.effect("changed"), old, new)


def limit(path: Path, rule: Rule, old: Any, new: Any) -> Iterator[Change]:
    """What changed in a limit."""
    sign = compared(path[-1], rule, old, new)
    if sign:
        yield from _found(path, rule.effect("lowered" if sign < 0 else "raised"), old, new)


def compared(key: str, rule: Rule, old: Any, new: Any) -> int:
    """-1 for a limit that is lower now, 1 for one that is higher, 0 for the same."""
    was, now = (_number(key, rule, one) for one in (old, new))
    return (now > was) - (now < was)


def sizes(path: Path, old: StreamDecl, new: StreamDecl, was: Strict | None = None, now: Strict | None = None) -> Iterator[Change]:
    """What changed in how much a stream holds. `was` and `now` have the values, if not the streams:
    overrides of a profile.
    """
    for key in ("max_bytes", "max_msgs"):
        before, after = getattr(was or old, key), getattr(now or new, key)
        rule = RULES[f"StreamDecl.{key}"]
        if compared(key, rule, before, after) < 0:
            yield from _found((*path, key), rule.effect(f"lowered, with discard {new.discard}"), before, after)


def _found(path: Path, effect: Effect, old: Any, new: Any) -> Iterator[Change]:
    if effect.kind is not None and effect.deploy is not None:
        problem = f"is {_text(new)} instead of {_text(old)}: {effect.why}"
        yield Change(effect.kind, dotted(path), problem, effect.deploy, effect.advice, path)


def _given(one: Any, rule: Rule) -> Any:
    return rule.usual if one is None else one


def _number(key: str, rule: Rule, one: Any) -> float:
    """A limit as a number, in its unit; infinite for none."""
    if one is None:
        return float(rule.usual) if isinstance(rule.usual, int | float) else math.inf
    unit = units.reader(key)
    plain = float(one if unit is None else unit[0](one))
    return math.inf if plain in rule.none else plain


def _text(one: Any) -> str:
    if one is None or one == ():
        return "not given"
    if isinstance(one, bool):
        return "true" if one else "false"
    return ", ".join(map(str, one)) if isinstance(one, tuple) else str(one)
