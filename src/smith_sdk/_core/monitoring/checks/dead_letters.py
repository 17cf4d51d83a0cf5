"""The dead letters: how many there are, and of when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....contract import Contract, StreamSpec
from ....errors import StreamNotFound
from ...jetstream.api import parse_time
from ...jetstream.api_errors import APPLY
from ..health import Check
from .streams import LEADERLESS, has_dead_letters
from .words import not_known

Json = dict[str, Any]
NAME = "dead letters"


def letters_in(contract: Contract, spec: StreamSpec) -> str | None:
    """The filter that matches the dead letters in the stream of `spec`, and nothing beside them.

    None if it holds none.
    """
    return f"{contract.dead_letters}.*.*.*" if has_dead_letters(contract, spec) else None


def dead_letters_check(contract: Contract, infos: Iterable[tuple[StreamSpec, Json | Exception]]) -> Check | None:
    """How many dead letters there are; None if they are not declared.

    `infos`: each stream with its info, or why that could not be had. Each letter has a subject of
    its own: `total` in the info of their stream counts those that match `letters_in`.
    """
    for spec, info in infos:
        if has_dead_letters(contract, spec):
            if not isinstance(info, dict):
                return dead_letters_failed(spec, info)
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


def dead_letters_failed(spec: StreamSpec, error: Exception) -> Check:
    """The check where the info of their stream, `spec`, could not be had."""
    if isinstance(error, StreamNotFound):
        return Check(name=NAME, status="failing", reason=f"cannot be stored: stream {spec.name} does not exist", remedy=APPLY)
    return not_known(NAME, error, LEADERLESS)
