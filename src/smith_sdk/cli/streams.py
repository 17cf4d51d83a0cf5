"""`smith streams`: plan, apply and verify the declared streams; show and purge them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from ..errors import OptionsError, TopologyDrift
from .consumers import show_consumers
from .options import HERE, Profile, Where
from .output import (
    Json,
    Percent,
    Size,
    Yes,
    confirm,
    console,
    messages,
    plain,
    print_wrapped,
    say,
    show_facts,
    show_json,
    show_table,
    shown,
)

streams = App(name="streams", help="Plan, apply and verify the declared streams and consumers; show and purge streams.")

if TYPE_CHECKING:
    from rich.text import Text

    from ..aio.streams import Plan, StreamInfo

Prune = Annotated[bool, Parameter(negative="", help="Also delete streams and durable consumers that are not declared.")]

_COLOURS: Final = {"+": "green", "~": "yellow", "-": "red", "!": "magenta", "?": "cyan"}
_DELETIONS: Final = frozenset(("shrinks", "drops"))
"""Warnings about stored messages that are deleted."""
_LOSSES: Final = _DELETIONS | {"stranded"}
"""Warnings about messages that no reader will receive."""


@streams.command
def plan(
    *,
    where: Where = HERE,
    profile: Profile = None,
    prune: Prune = False,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="Also save the plan to this file, for `apply FILE`.")
    ] = None,
    json: Json = False,
) -> int:
    """Show what `apply` would do. Exit status 0: nothing, 2: something."""
    with where.bus() as bus:
        found = bus.streams.plan(profile, prune=prune)
    if out is not None:
        _save(found, out)
    if json:
        show_json(_as_json(found))
    else:
        _show_plan(found)
    return 2 if found.changes else 0


@streams.command
def apply(
    file: Annotated[Path | None, Parameter(help="A plan that `plan -o` saved: exactly that is done.")] = None,
    /,
    *,
    where: Where = HERE,
    profile: Profile = None,
    prune: Prune = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Create and update streams and consumers until they are as declared.

    Deletes none of them without --prune. Asks for confirmation before it deletes a stream, a
    consumer or stored messages, and before it leaves messages without a reader.
    """
    saved = None if file is None else _saved(file, profile, prune)
    with where.bus() as bus:
        found = bus.streams.plan(profile, prune=prune) if saved is None else saved
        asked = _asked(found, yes, json)
        if saved is not None or prune or asked:
            bus.streams.apply(found, prune=found.prune, strand=asked or yes, rename=asked or yes)  # exactly what was shown
        else:
            found = bus.streams.apply(profile=profile, strand=yes, rename=yes)
    if json:
        show_json(_as_json(found))
    elif found.changes:
        say("applied")


def _asked(plan: Plan, yes: bool, json: bool) -> bool:
    """Show the plan, and ask whether to apply it where that is necessary; False if it is not.

    Raises `OptionsError` if the answer is no.
    """
    asks = not yes and _needs_consent(plan)
    if asks or not json:
        _show_plan(plan, stderr=json)
    if asks:
        confirm("Apply this plan?", _effect(plan))
    return asks


@streams.command
def verify(*, where: Where = HERE, profile: Profile = None, json: Json = False) -> None:
    """Exit with status 1 and the differences unless the server is as declared."""
    with where.bus() as bus:
        found = bus.streams.profile if profile is None else profile
        try:
            bus.streams.verify(profile)
        except TopologyDrift as drift:
            if json:
                show_json({"profile": found, "differences": drift.differences})
            raise
    if json:
        show_json({"profile": found, "differences": []})
    else:
        say("as declared")


@streams.command
def ls(*, where: Where = HERE, json: Json = False) -> None:
    """List the contract's streams: messages, size, most used limit, consumers and lag."""
    with where.bus() as bus:
        found = bus.streams.info()
    if json:
        show_json(found)
        return
    show_table(
        ["stream", "messages", "size", "full", "last", "consumers", "pending"],
        map(_row, found),
        empty="no streams of the contract yet: `smith streams apply` creates them",
    )


@streams.command
def show(name: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show one stream: what it holds, how much of its limits is used, and its consumers."""
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
    say("")
    show_consumers(found.consumers)


@streams.command
def purge(
    name: str,
    /,
    *,
    where: Where = HERE,
    subject: Annotated[str | None, Parameter(help="Only messages on this subject; wildcards allowed.")] = None,
    before_seq: Annotated[int | None, Parameter(help="Only messages below this sequence.")] = None,
    keep: Annotated[int | None, Parameter(help="Keep this many of the newest messages.")] = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Only print how many messages would be deleted.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete messages from one stream: all, or those that the options select.

    Asks for confirmation.
    """
    with where.bus() as bus:
        purge = partial(bus.streams.purge, name, subject=subject, before_seq=before_seq, keep=keep)
        count = purge(dry_run=dry_run or not yes)
        if dry_run or not yes:
            say(f"{messages(count)} of stream {name} would be deleted", json=json)
        if count and not dry_run and not yes:
            confirm("Delete them?")
            count = purge()
    if json:
        show_json({"stream": name, "messages": count, "dry_run": dry_run})
    elif not dry_run:
        say(f"deleted {messages(count)} of stream {name}")


def _row(info: StreamInfo) -> list[Any]:
    """A table row: of the limits, the one that is used most."""
    full = max((Percent(used, limit) for limit, used in info.utilisation.items()), default=None)
    pending = sum(one.num_pending for one in info.consumers)
    return [info.name, info.messages, Size(info.bytes), full, info.last_time, len(info.consumers), pending]


def _needs_consent(plan: Plan) -> bool:
    """Whether applying it deletes something, or leaves messages without a reader. A plan with an
    impossible step is not applied.
    """
    if any(step.kind == "impossible" for step in plan.steps):
        return False
    return any(step.kind == "delete" or step.replaces for step in plan.steps) or any(
        caution.kind in _LOSSES for caution in plan.cautions
    )


def _effect(plan: Plan) -> str:
    """What is agreed to, in words."""
    stranded = sum(caution.messages or 0 for caution in plan.cautions if caution.kind == "stranded")
    deletes = any(step.kind == "delete" for step in plan.steps) or any(one.kind in _DELETIONS for one in plan.cautions)
    words = ["this deletes data"] * deletes + [f"this leaves {messages(stranded)} without a reader"] * bool(stranded)
    return " and ".join(words) or "this replaces a consumer"


def _save(plan: Plan, file: Path) -> None:
    try:
        file.write_text(plan.to_json(), encoding="utf-8")
    except OSError as error:
        raise OptionsError(f"{file} cannot be written: {error.strerror}") from None


def _saved(file: Path, profile: str | None, prune: bool) -> Plan:
    """The plan in `file`, if it agrees with the options. Raises `OptionsError`."""
    from ..aio.streams import Plan

    try:
        found = Plan.from_json(file.read_bytes())
    except OSError as error:
        raise OptionsError(f"{file} cannot be read: {error.strerror}") from None
    except OptionsError as error:
        raise OptionsError(f"{file}: {error}") from None
    if prune and not found.prune:
        raise OptionsError(f"{file} says what is done, and it deletes nothing: pass --prune to `smith streams plan -o`")
    if profile not in (None, found.profile):
        raise OptionsError(f"{file} is a plan for profile {found.profile}, not {profile}")
    return found


def _as_json(plan: Plan) -> dict[str, Any]:
    """A plan for programs: its steps are where the server differs from the contract."""
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
        indent = len(text.plain) - len(text.plain.lstrip())
        marked = indent + 2 if text.plain[indent + 1 : indent + 2] == " " else indent
        print_wrapped(text[:marked], text[marked:], out)


def _coloured(lines: Iterable[str]) -> Iterable[Text]:
    from rich.text import Text

    for line in map(plain, lines):
        if line.startswith("warning:"):
            yield Text.assemble(("warning:", "yellow"), line.removeprefix("warning:"))
        elif line[:1] in _COLOURS:
            yield Text.assemble((line[0], _COLOURS[line[0]]), line[1:])
        else:
            yield Text(line)
