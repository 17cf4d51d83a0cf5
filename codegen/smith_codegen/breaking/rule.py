"""What a rule is: how a key is compared, what breaks when it changes, and what to do about it."""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

Kind = Literal["wire", "consumer", "source"]
"""What a change breaks: see `compat.py`."""

Deploy = Literal["readers first", "publishers first", "side by side", "on apply", "any order"]
"""The order of deployment in which no message is lost: see `compat.py`."""

READERS: Final[Deploy] = "readers first"
PUBLISHERS: Final[Deploy] = "publishers first"
BESIDE: Final[Deploy] = "side by side"
APPLY: Final[Deploy] = "on apply"
ANY: Final[Deploy] = "any order"

REMEDIES: Final[dict[Deploy, str]] = {
    READERS: "deploy all readers, then the publishers",
    PUBLISHERS: "deploy all publishers, let what is stored be read, then deploy the readers",
    BESIDE: "add the new beside the old, move programs over, then remove the old",
    APPLY: "see what `smith streams plan` says before `smith streams apply`",
    ANY: "change the code before it is deployed",
}
"""What to do about a change, where its rule does not say anything more precise."""


class Effect(NamedTuple):
    """What a change does. `kind` None: nothing breaks. `why` goes after what became of what."""

    when: str
    kind: Kind | None = None
    deploy: Deploy | None = None
    why: str = ""
    remedy: str = ""

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.remedy or (REMEDIES[self.deploy] if self.deploy else "")


How = Literal["limit", "flag", "change", "code", "nothing", "part"]
"""How a key is compared: as a limit that may be lower or higher, as a flag that is set or dropped,
any change alike, by code of its own, not at all, or as a part of what it stands in."""


class Rule(NamedTuple):
    """The rule of a key. `usual` is the value of a limit, or of any key, where the spec is silent.

    `none` are the values of a limit that mean "no limit", as the server has them.
    """

    how: How
    effects: tuple[Effect, ...] = ()
    usual: object = None
    none: tuple[float, ...] = ()

    def effect(self, when: str) -> Effect:
        """The effect of one kind of change; one that breaks nothing if the rule has none."""
        return next((one for one in self.effects if one.when == when), Effect(when))


def limit(lowered: Effect, raised: Effect | None = None, usual: float = math.inf, none: tuple[float, ...] = ()) -> Rule:
    """The rule of a limit."""
    found = (lowered._replace(when="lowered"), raised._replace(when="raised") if raised else Effect("raised"))
    return Rule("limit", found, usual, none)


def flag(*, given: Effect | None = None, dropped: Effect | None = None, usual: bool = False) -> Rule:
    """The rule of a flag."""
    either = (
        given._replace(when="set") if given else Effect("set"),
        dropped._replace(when="dropped") if dropped else Effect("dropped"),
    )
    return Rule("flag", either, usual)


def change(effect: Effect, usual: object = None) -> Rule:
    """The rule of a key of which every change has the same effect."""
    return Rule("change", (effect._replace(when="changed"),), usual)


def code(*effects: Effect) -> Rule:
    """The rule of a key that code of its own compares; it reports only these effects."""
    return Rule("code", effects)


def nothing(why: str) -> Rule:
    """The rule of a key of which no change breaks anything, with the reason."""
    return Rule("nothing", (Effect("changed", why=why),))


def part(of: str) -> Rule:
    """The rule of a key that is compared as a part of another one."""
    return Rule("part", (Effect("changed", why=f"is compared as a part of `{of}`"),))


def on_apply(why: str, remedy: str, kind: Kind = "consumer") -> Effect:
    """An effect of `smith streams apply`."""
    return Effect("", kind, APPLY, why, remedy)
