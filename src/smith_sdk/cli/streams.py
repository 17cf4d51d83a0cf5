"""`smith streams`: the declared streams and consumers, compared with a server and brought there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final

from cyclopts import App, Parameter
from rich.text import Text

from ..aio.streams import Plan, StreamInfo
from ..errors import TopologyDrift
from .consumers import show_consumers
from .options import HERE, Profile, Where
from .output import Json, Percent, Size, Yes, confirm, console, messages, plain, say, show_facts, show_json, show_table, shown

streams = App(name="streams", help="Streams and consumers as the contract declares them.")

Prune = Annotated[bool, Parameter(negative="", help="Also delete streams and durable consumers that nobody declares.")]

_COLOURS: Final = {"+": "green", "~": "yellow", "-": "red", "!": "magenta", "?": "cyan"}
_LOSSES: Final = frozenset(("shrinks", "drops"))
"""Cautions of stored messages that go."""


@streams.command
def plan(*, where: Where = HERE, profile: Profile = "prod", prune: Prune = False, json: Json = False) -> int:
    """What `apply` would do. Exit status 0: nothing; 2: something."""
    with where.bus() as bus:
        found = bus.streams.plan(profile, prune=prune)
    if json:
        show_json(_as_json(found))
    else:
        _show_plan(found)
    return 2 if found.changes else 0


@streams.command
def apply(*, where: Where = HERE, profile: Profile = "prod", prune: Prune = False, yes: Yes = False, json: Json = False) -> None:
    """Create and update streams and consumers until they are as declared.

    Deletes none of them, unless --prune says so. Asks first when a stream, a consumer or stored messages would go.
    """
    with where.bus() as bus:
        found = bus.streams.plan(profile, prune=prune)
        asks = _loses(found) and not yes
        if asks or not json:
            _show_plan(found, stderr=json)
        if asks:
            confirm("Go on?")
        if prune or _loses(found):
            bus.streams.apply(found, prune=prune)  # what was shown, and nothing else
        else:
            found = bus.streams.apply(profile=profile)
    if json:
        show_json(_as_json(found))
    elif found.changes:
        print("applied")


@streams.command
def verify(*, where: Where = HERE, profile: Profile = "prod", json: Json = False) -> None:
    """Fail with status 1, listing the differences, unless the server is as declared."""
    with where.bus() as bus:
        try:
            bus.streams.verify(profile)
        except TopologyDrift as drift:
            if json:
                show_json({"profile": profile, "differences": drift.differences})
            raise
    if json:
        show_json({"profile": profile, "differences": []})
    else:
        print("as declared")


@streams.command
def ls(*, where: Where = HERE, json: Json = False) -> None:
    """The contract's streams as the server has them: what they hold, how full the fullest of their limits is, who reads them."""
    with where.bus() as bus:
        found = bus.streams.info()
    if json:
        show_json(found)
        return
    show_table(["stream", "messages", "size", "full", "last", "consumers", "pending"], map(_row, found))


@streams.command
def show(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """One stream: what it holds, how full it is, and its consumers."""
    with where.bus() as bus:
        found = bus.streams.get(name)
    if json:
        show_json(found)
        return
    rows = {
        "stream": found.name,
        "subjects": ", ".join(found.subjects),
        "messages": found.messages,
        "size": Size(found.bytes),
        "first": f"{found.first_seq:,}  {shown(found.first_time)}",
        "last": f"{found.last_seq:,}  {shown(found.last_time)}",
        **{f"of {limit}": Percent(used) for limit, used in found.utilisation.items()},
    }
    show_facts(rows)
    print()
    show_consumers(found.consumers)


@streams.command
def purge(
    name: str,
    /,
    *,
    where: Where = HERE,
    subject: Annotated[str | None, Parameter(help="Only messages on it; wildcards allowed.")] = None,
    before_seq: Annotated[int | None, Parameter(help="Only messages below this sequence.")] = None,
    keep: Annotated[int | None, Parameter(help="All but the newest so many.")] = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Only say how many would go.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove messages from one stream for good: all, or those that the options say. Asks first."""
    with where.bus() as bus:
        remove = partial(bus.streams.purge, name, subject=subject, before_seq=before_seq, keep=keep)
        count = remove(dry_run=dry_run or not yes)
        if dry_run or not yes:
            say(f"{messages(count)} of stream {name} would go", json=json)
        if count and not dry_run and not yes:
            confirm("Remove them?")
            count = remove()
    if json:
        show_json({"stream": name, "messages": count, "dry_run": dry_run})
    elif not dry_run:
        print(f"{messages(count)} of stream {name} removed")


def _row(info: StreamInfo) -> list[Any]:
    """A stream in a table: of its limits, that which is used most."""
    full = max((Percent(used, limit) for limit, used in info.utilisation.items()), default=None)
    pending = sum(one.num_pending for one in info.consumers)
    return [info.name, info.messages, Size(info.bytes), full, info.last_time, len(info.consumers), pending]


def _loses(plan: Plan) -> bool:
    """Whether carrying it out deletes something; one with an impossible step is not carried out."""
    if any(step.kind == "impossible" for step in plan.steps):
        return False
    return any(step.kind == "delete" for step in plan.steps) or any(caution.kind in _LOSSES for caution in plan.cautions)


def _as_json(plan: Plan) -> dict[str, Any]:
    """A plan for programs: its steps are what is otherwise than declared."""
    return {
        "profile": plan.profile,
        "prune": plan.prune,
        "steps": plan.changes,
        "unknown": plan.unknown,
        "cautions": plan.cautions,
    }


def _show_plan(plan: Plan, *, stderr: bool = False) -> None:
    out = console(stderr=stderr)
    for text in _coloured(plan.lines()):
        out.print(text, soft_wrap=True)


def _coloured(lines: Iterable[str]) -> Iterable[Text]:
    for line in map(plain, lines):
        if line.startswith("warning:"):
            yield Text.assemble(("warning:", "yellow"), line.removeprefix("warning:"))
        elif line[:1] in _COLOURS:
            yield Text.assemble((line[0], _COLOURS[line[0]]), line[1:])
        else:
            yield Text(line)
