"""One breaking change, and the rule of the key where it was made."""

from __future__ import annotations

from typing import Any, Final, get_args, get_origin

import msgspec

from ..errors import dotted
from ..locate import Path
from ..spec import Spec, fields_of
from .rules import REMEDIES, RULES, Deploy, Effect, Kind

KINDS: Final[tuple[Kind, ...]] = ("wire", "consumer", "source")
_USUAL: Final[dict[Kind, Deploy]] = {"wire": "side by side", "consumer": "readers first", "source": "any order"}


class Change(msgspec.Struct, frozen=True):
    """One breaking change. `key` is the TOML key in the old spec, or in the new one for an
    addition. `deploy`: the order in which nothing breaks. `remedy`: what to do.
    """

    kind: Kind
    key: str
    problem: str
    deploy: Deploy
    remedy: str
    path: Path


def change(kind: Kind, path: Path, problem: str, deploy: Deploy | None = None, when: str = "") -> Change:
    """A change that code found. Its remedy is that of the effect in `RULES`: the one called `when`,
    or the first of that kind and order.
    """
    order = deploy or _USUAL[kind]
    effect = effect_of(path, kind, order, when)
    return Change(kind, dotted(path), problem, order, effect.advice if effect else REMEDIES[order], path)


def effect_of(path: Path, kind: Kind, deploy: Deploy, when: str = "") -> Effect | None:
    """The effect in `RULES` that a change has; None if the table does not have it."""
    rule = RULES.get(rule_key(path))
    fitting = (one for one in rule.effects if (one.kind, one.deploy) == (kind, deploy)) if rule else iter(())
    return next((one for one in fitting if when in ("", one.when)), None)


def rule_key(path: Path) -> str:
    """The key of `RULES` for a path of TOML keys: `StreamDecl.max_age`, or `StreamDecl` for a whole
    declaration.
    """
    if path[:1] == ("mixins",):  # written out in messages, so a spec has no such section
        return rule_key(("messages", *path[1:])) if len(path) > 2 else "MixinDecl"
    kind: Any = Spec
    found = ""
    for part in path:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
            found = kind.__name__ if _is_struct(kind) else found
        elif _is_struct(kind):
            found = f"{kind.__name__}.{part}"
            kind = _inner({field.encode_name: field.type for field in fields_of(kind)}.get(part))
        else:
            break  # a place in a list, or a key of a map: a part of its value
    return _whole(path, kind, found)


def _whole(path: Path, kind: Any, found: str) -> str:
    """A path of one section alone is about one of its declarations."""
    return get_args(kind)[1].__name__ if len(path) == 1 and get_origin(kind) is dict else found


def _inner(kind: Any) -> Any:
    """The type of a key without its `| None`; a map in a map as the outer one."""
    options = [one for one in get_args(kind) if one is not type(None)]
    return options[0] if get_origin(kind) not in (dict, tuple, list) and options and _is_struct(options[0]) else kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
