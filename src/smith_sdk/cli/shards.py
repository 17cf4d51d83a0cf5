"""`smith shards`: which process has which shard, moving shards, and changing their number."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from ..errors import DeadlineExceeded, OptionsError
from .dlq import DryRun
from .options import HERE, Where
from .output import Json, Lasting, Rate, Yes, confirm, messages, note, plain, say, show_json, show_table
from .values import Duration

if TYPE_CHECKING:
    from ..contract import ShardingSpec
    from ..sync import ReshardPlan, Shards, ShardState, SmithBus

shards = App(name="shards", help="Show, move, drain and resume shards; change their number.")

Named = Annotated[str | None, Parameter(name="--sharding", help="Which sharding, if the contract declares several.")]

_HEADINGS: Final = ("shard", "owner", "since", "state", "pending", "unacked", "oldest", "out/s")
_MEMBERS: Final = ("member", "shards", "host", "pid", "since", "state")
_HALTED: Final = ("episode", "project", "hash", "shard", "at", "message", "dead letter", "reason")
_MEASURE: Final = 0.5
"""Seconds between the two looks that a rate needs."""
_PREVIEW: Final = 20
"""Shards that a dry run lists."""


@shards.command
def ls(*, sharding: Named = None, where: Where = HERE, json: Json = False) -> None:
    """List the shards: owner, since when, state, messages, age of the oldest, completed per second.

    "taking over": the owner waits for what its predecessor had, and handles nothing yet. An arrow
    shows where a shard moves to. Takes half a second, since a rate needs two looks.
    """
    with where.bus() as bus:
        found = _shards(bus, where, sharding)
        found.list()
        time.sleep(_MEASURE)
        listed, layout = found.list(), found.layout()
    if json:
        show_json([{**one.to_dict(), "lag": one.lag} for one in listed])
        return
    show_table(list(_HEADINGS), [_row(one) for one in listed], empty="no shards")
    if layout.next is not None:
        note(f"a change to {layout.next} shards is not finished: `smith shards reshard --to {layout.next}` goes on with it")
    elif layout.state == "draining":
        note(
            f"{layout.former} shards of generation {layout.generation - 1} drain: `smith shards reshard --to {layout.shards}` "
            f"ends the change"
        )


def _row(one: ShardState) -> list[Any]:
    owner = one.owner
    if one.assigned is not None and one.assigned != one.owner:
        owner = f"{one.owner or 'none'} -> {one.assigned}"
    return [
        one.shard,
        owner,
        one.since,
        f"{one.state}, drains" if one.drains else one.state,
        one.pending,
        one.ack_pending,
        None if one.oldest_age is None or not one.lag else Lasting(one.oldest_age),
        None if one.rate is None else Rate(one.rate),
    ]


@shards.command
def members(*, sharding: Named = None, where: Where = HERE, json: Json = False) -> None:
    """List the processes that share the shards."""
    with where.bus() as bus:
        found = _shards(bus, where, sharding).members()
    if json:
        show_json(found)
        return
    rows = [
        [one.name, one.shards, one.host, one.pid, one.since, "stopped" if one.stopped else "draining" if one.draining else "up"]
        for one in found
    ]
    show_table(list(_MEMBERS), rows, empty="no process runs a ShardedWorker")


@shards.command
def move(
    shard: Annotated[str, Parameter(help='Such as 0e, or 2-0e of generation 2; "all" for --to auto.')],
    /,
    *,
    to: Annotated[str, Parameter(help='The member that is to have it; "auto": as shards are assigned without any order.')],
    sharding: Named = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Move a shard to a member: its owner finishes what it has begun, and that one takes over.

    It stays there as long as that member runs, whatever the balance.
    """
    with where.bus() as bus:
        found = _shards(bus, where, sharding)
        if shard == "all" and to != "auto":
            raise OptionsError("all shards cannot be moved to one member: `smith shards drain` empties the others")
        chosen = [one.shard for one in found.list()] if shard == "all" else [shard]
        for one in chosen:
            found.move(one, None if to == "auto" else to)
    if json:
        show_json([{"shard": one, "to": None if to == "auto" else to} for one in chosen])
        return
    where_to = "where they are assigned" if to == "auto" else plain(to)
    say(f"{'all shards' if shard == 'all' else 'shard ' + plain(shard)}: ordered to {where_to}; `smith shards ls` shows the move")


@shards.command
def drain(
    member: str,
    /,
    *,
    undo: Annotated[bool, Parameter(name="--undo", negative="", help="Give it shards again.")] = False,
    sharding: Named = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Have a member give all its shards to the others, and be given none until it ends."""
    with where.bus() as bus:
        _shards(bus, where, sharding).drain(member, draining=not undo)
    if json:
        show_json({"member": member, "draining": not undo})
        return
    say(f"member {plain(member)} {'is given shards again' if undo else 'gives its shards to the others'}")


@shards.command
def halted(*, sharding: Named = None, where: Where = HERE, json: Json = False) -> None:
    """List the keys whose messages wait, because one was dead-lettered with `halt_key`."""
    with where.bus() as bus:
        found = _shards(bus, where, sharding).halted()
    if json:
        show_json(found)
        return
    rows = [
        [one.episode_id, one.project, one.hash, one.shard, one.at, f"{one.stream} {one.seq}", one.dead_letter, one.why]
        for one in found
    ]
    show_table(list(_HALTED), rows, empty="no key is halted")


@shards.command
def resume(
    key: Annotated[str, Parameter(help="The episode id, or with --hash what `smith shards halted` shows as hash.")],
    /,
    *,
    project: Annotated[str | None, Parameter(help="The project of the episode, if its key has one.")] = None,
    is_hash: Annotated[bool, Parameter(name="--hash", negative="", help="KEY is the hash of a key.")] = False,
    sharding: Named = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Have the messages of a halted key handled again; replay its dead letter before, if needed."""
    if is_hash and project is not None:
        raise OptionsError("--hash and --project exclude each other: a hash is of both")
    from ..contract import ShardKey

    with where.bus() as bus:
        found = _shards(bus, where, sharding).resume(key if is_hash else ShardKey(key, project))
    if json:
        show_json({"key": key, "project": project, "resumed": found})
        return 0 if found else 1
    if not found:
        say(f"key {plain(key)} is not halted: `smith shards halted` lists those that are")
        return 1
    say(f"key {plain(key)} goes on")
    return 0


@shards.command
def reshard(
    *,
    to: Annotated[int | None, Parameter(help="The new number of shards.")] = None,
    dry_run: DryRun = False,
    abort: Annotated[bool, Parameter(name="--abort", negative="", help="Undo a change that was only prepared.")] = False,
    timeout: Annotated[Duration | None, Parameter(help="How long to wait until the old shards are worked off.")] = None,
    sharding: Named = None,
    yes: Yes = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Change the number of shards while publishers and workers go on. Asks for confirmation.

    The order of each key is kept: a new shard starts when the old ones that may hold its keys are
    worked off. Interrupted at any point, the same command again goes on where it stopped.
    """
    if abort == (to is not None) or (abort and dry_run):
        raise OptionsError("pass --to with the new number of shards, or --abort alone")
    with where.bus() as bus:
        found = _shards(bus, where, sharding)
        if to is None:
            layout = found.abort_reshard()
        else:
            if dry_run or not yes:
                plan = found.reshard_plan(to)
                if dry_run or not plan.steps:
                    _show_plan(plan, json)
                    return 0
                _show_plan(plan, json=False)
                confirm(f"Change {plan.shards} shards to {plan.to}?", "this changes streams and consumers")
            try:
                layout = found.reshard(to, on_step=lambda text: say(plain(text), json=json), timeout=timeout)
            except DeadlineExceeded as error:
                note(str(error))
                return 1
    if json:
        show_json(layout)
    else:
        say(f"{layout.state}: {layout.shards} shards of generation {layout.generation}")
    return 0


def _show_plan(plan: ReshardPlan, json: bool) -> None:
    if json:
        show_json({**plan.to_dict(), "messages": plan.messages, "seconds": plan.seconds})
        return
    if not plan.steps:
        say(f"nothing to do: there are {plan.to} shards")
        return
    for number, step in enumerate(plan.steps, 1):
        say(f"{number}. {plain(step)}")
    for one in sorted(plan.backlog, key=lambda one: -one.messages)[:_PREVIEW]:
        say(f"   {plain(one.shard)}: {messages(one.messages)}, {one.rate:,.1f}/s")
    if len(plan.backlog) > _PREVIEW:
        say(f"   and {len(plan.backlog) - _PREVIEW} other shards")
    took = f"about {plan.seconds:,.0f} s" if plan.seconds is not None else "for ever: some shard completes nothing now"
    say(f"to work off: {messages(plan.messages)}, at the present rates {took}")


def _shards(bus: SmithBus[Any], where: Where, name: str | None) -> Shards:
    from ..sync import Shards

    return Shards(bus, _chosen(where, name))


def _chosen(where: Where, name: str | None) -> ShardingSpec[Any, Any]:
    """The sharding `name` of the contract, or its only one. Raises `OptionsError`."""
    declared = where.declared.shardings
    found = [one for one in declared if name in (None, one.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in declared) or "none"
    raise OptionsError(
        f"--sharding {name}: not declared; it has {names}" if name else f"pass --sharding: the contract has {names}"
    )
