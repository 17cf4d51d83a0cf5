"""`smith backpressure`: show the rules that act now, and clear them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from ..errors import OptionsError
from .options import HERE, Where
from .output import Json, plain, say, show_json, show_table

if TYPE_CHECKING:
    from ..aio import ActiveRule

backpressure = App(name="backpressure", help="Show and clear the rules of back pressure that act.")

_HEADINGS: Final = ("rule", "since", "owner", "expires", "actions", "reason")


@backpressure.command
def show(*, where: Where = HERE, json: Json = False) -> None:
    """List the rules that act now: what they do, why, and which process owns each.

    A rule without an owner was left behind by a process that no longer exists.
    """
    from ..sync import ActiveRules

    with where.bus() as bus:
        found = ActiveRules(bus).list()
    if json:
        show_json(found)
        return
    show_table(
        list(_HEADINGS),
        [[one.rule, one.since, one.owner or None, one.expires, "; ".join(one.actions), one.reason] for one in found],
        empty="no rule of back pressure acts",
    )


@backpressure.command
def clear(
    *rules: str,
    all_: Annotated[bool, Parameter(name="--all", negative="", help="Every rule that acts now.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """End rules, and undo what they do: limits, pauses, and the quarantine of new intents.

    What is in the quarantine stays there. A process that runs a rule begins it again if its
    measures are still above their thresholds.
    """
    from ..sync import ActiveRules

    if bool(rules) == all_:
        raise OptionsError("name the rules to clear, or pass --all")
    with where.bus() as bus:
        active = ActiveRules(bus)
        acting = {one.rule: one for one in active.list()}
        if missing := [rule for rule in rules if rule not in acting]:
            names = ", ".join(acting) or "none"
            raise OptionsError(f"no rule {', '.join(map(repr, missing))} acts now; those that do: {names}")
        cleared = [acting[rule] for rule in dict.fromkeys(rules or acting)]
        for one in cleared:
            active.clear(one.rule)
    if json:
        show_json(cleared)
        return
    for one in cleared:
        say(_cleared(one))
    if not cleared:
        say("no rule of back pressure acts")


def _cleared(one: ActiveRule) -> str:
    undone = f"cleared {plain(one.rule)}: undone: {plain('; '.join(one.actions))}"
    return f"{undone}. {plain(one.owner)} runs it, and begins it again while its condition holds" if one.owner else undone
