"""Domains: those without an executor, and moves that have not ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...domains.keys import MoveRecord, held_key
from ...domains.unserved import RECENT, UnservedDomain
from ..health import Check
from .words import counted, lasting

NAME: Final = "domains"
_LISTED: Final = 3


def unserved_check(found: Sequence[UnservedDomain]) -> Check:
    """What the admissions of this process have found lately."""
    lately = sorted((one for one in found if one.recent), key=lambda one: -one.recent)
    if not lately:
        total = sum(one.count for one in found)
        return Check(
            name=NAME,
            status="ok",
            reason=f"no intent without an executor in the last {lasting(RECENT)}, {counted(total, 'intent')} before",
        )
    shown = ", ".join(f"{one.domain} ({counted(one.recent, 'intent')})" for one in lately[:_LISTED])
    more = f" and {counted(len(lately) - _LISTED, 'domain')} more" if len(lately) > _LISTED else ""
    return Check(
        name=NAME,
        status="degraded",
        reason=f"no executor in the last {lasting(RECENT)} for {shown}{more}",
        remedy="declare a consumer that serves them ([domains] of the spec, or for_domains), apply it and start its workers; "
        "`smith domains ls` lists what is served",
    )


def moves_check(moves: Sequence[MoveRecord], held: Mapping[str, object]) -> Check:
    """Moves that have begun: those that hold their domains are being carried out."""
    left = [one for one in moves if held_key(one.stream, one.consumer) not in held]
    if left:
        names = ", ".join(one.consumer for one in left[:_LISTED])
        return Check(
            name="domain moves",
            status="degraded",
            reason=f"interrupted: the move of {names} has begun, and no process carries it out",
            remedy="run the same `smith domains move` again: it goes on where it ended",
        )
    running = ", ".join(one.consumer for one in moves[:_LISTED])
    return Check(name="domain moves", status="ok", reason=f"in progress: {running}")
