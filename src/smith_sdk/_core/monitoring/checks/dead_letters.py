"""The dead letters: how many there are, and of when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....contract import Contract, StreamSpec
from ...jetstream.api import parse_time
from ..health import Check
from .streams import has_dead_letters

Json = dict[str, Any]
NAME = "dead letters"


def letters_in(contract: Contract, spec: StreamSpec) -> str | None:
    """The filter that matches the dead letters in the stream of `spec`, and nothing beside them.

    None if it holds none.
    """
    return f"{contract.dead_letters}.*.*.*" if has_dead_letters(contract, spec) else None


def dead_letters_check(contract: Contract, infos: Iterable[tuple[StreamSpec, Json]]) -> Check | None:
    """How many dead letters there are; None if they cannot be counted or are not declared.

    Each has a subject of its own: `total` in the info of their stream counts those that match
    `letters_in`.
    """
    for spec, info in infos:
        if has_dead_letters(contract, spec):
            state, count = info["state"], info.get("total", 0)
            if not count:
                return Check(name=NAME, status="ok", reason="none")
            are_alone = state["messages"] == count  # the times are those of markers and records as well
            newest = parse_time(state["last_ts"]) if are_alone else None
            return Check(
                name=NAME,
                status="degraded",
                reason=f"{count:,}{'' if newest is None else f', the newest of {newest:%Y-%m-%dT%H:%M:%SZ}'}",
                remedy="`smith dlq ls` shows them, with the errors; replay or discard them",
                since=parse_time(state["first_ts"]) if are_alone else None,
            )
    return None
