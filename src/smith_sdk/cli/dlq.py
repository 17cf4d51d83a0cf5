"""`smith dlq`: show, replay, discard and audit dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..errors import MessageNotFound, OptionsError
from .options import HERE, Where
from .output import Id, Json, Yes, confirm, note, plain, say, show_facts, show_json, show_lines, show_table
from .progress import Progress
from .values import MOMENT_HELP, Moment

if TYPE_CHECKING:
    from ..sync import DeadLetter, SmithBus

dlq = App(name="dlq", help="Show, replay, discard and audit dead letters.")

Since = Annotated[Moment | None, Parameter(help=f"Only letters stored at this time or later: {MOMENT_HELP}")]
Until = Annotated[Moment | None, Parameter(help=f"Only letters stored before this time: {MOMENT_HELP}")]
DryRun = Annotated[bool, Parameter(negative="", help="Only print what would be done.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:
    """The filters that choose letters."""

    stream: Annotated[str | None, Parameter(help="Only letters of this stream.")] = None
    consumer: Annotated[str | None, Parameter(help="Only letters of this consumer.")] = None
    error: Annotated[str | None, Parameter(help="Only letters with this type of error, such as ValueError.")] = None
    since: Since = None
    until: Until = None

    def filters(self) -> dict[str, Any]:
        """As arguments of `bus.dead_letters`."""
        return {
            "stream": self.stream,
            "consumer": self.consumer,
            "error_type": self.error,
            "since": self.since,
            "until": self.until,
        }

    def chosen(self, ids: tuple[str, ...], everything: bool) -> dict[str, Any]:
        """Arguments for replay and discard.

        Raises `OptionsError` unless either ids, or filters, or `--all` are given.
        """
        filters = self.filters()
        if not (ids or everything or any(one is not None for one in filters.values())):
            raise OptionsError("no dead letters chosen: pass ids, --stream, --consumer, --error, --since, --until, or --all")
        if everything and (ids or any(one is not None for one in filters.values())):
            raise OptionsError("--all excludes ids and filters: pass one or the other")
        if everything:
            filters["until"] = datetime.now(UTC)
        return {"ids": ids or None, **filters}


ANY = Which()
_PAGE: Final = 1000
All = Annotated[bool, Parameter(name="--all", negative="", help="All letters that are there now.")]


Positive = Number(gte=1)


@dlq.command
def ls(
    *,
    which: Which = ANY,
    group_by: Annotated[
        str | None, Parameter(help="Count letters by error, consumer, stream, subject or worker; several with commas.")
    ] = None,
    limit: Annotated[int, Parameter(help="Maximum number of letters.", validator=Positive)] = 1000,
    before: Annotated[int | None, Parameter(help="Only letters before this position (see --json).", validator=Positive)] = None,
    after: Annotated[
        int | None, Parameter(help="Only letters behind this position, the oldest first.", validator=Number(gte=0))
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List dead letters, the newest first; or count them with --group-by."""
    if group_by is not None:
        keys = _grouping(group_by)
        if after is not None or before is not None:
            raise OptionsError("--group-by counts all letters that the filters choose: leave out --after and --before")
        with where.bus() as bus:
            groups = _grouped(bus, which, keys)
        _show_groups(groups, keys, json)
        return
    if after is not None and before is not None:
        raise OptionsError("--after and --before exclude each other: pass one of them")
    with where.bus() as bus:
        found = bus.dead_letters.list(**which.filters(), after=after or 0, before=before, limit=limit, newest_first=after is None)
    if json:
        show_json([_without_secrets(letter, where) for letter in found])
        return
    chosen_by_none = which == ANY and not after and before is None
    show_table(
        ["id", "when", "subject", "attempts", "replays", "error"],
        [[Id(d.id), d.time, d.subject, d.attempts, d.replays or None, f"{d.error_type}: {d.error}"] for d in found],
        empty="no dead letters" if chosen_by_none else "no dead letters that these options choose",
    )
    if len(found) == limit:
        say(f"there may be more: pass {'--before' if after is None else '--after'} {found[-1].position}", json=True)


_GROUPS: Final = {"error": "error_type", "consumer": "consumer", "stream": "stream", "subject": "subject", "worker": "worker"}
"""What letters are counted by, and the field of a letter that has it."""


def _grouping(names: str) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(name.strip() for name in names.split(",")))
    for key in keys:
        if key not in _GROUPS:
            raise OptionsError(
                f'--group-by: "{key}" is not one of {", ".join(_GROUPS)}; pass one or several, such as error,consumer'
            )
    return keys


def _grouped(bus: SmithBus, which: Which, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """A count for each group, the largest first, with the times and one id."""
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    position = 0
    while True:
        page = bus.dead_letters.list(**which.filters(), after=position, limit=_PAGE)
        for letter in page:
            values = tuple(getattr(letter, _GROUPS[key]) for key in keys)
            group = groups.setdefault(values, {**dict(zip(keys, values, strict=True)), "count": 0, "first": letter.time})
            group["count"] += 1
            group |= {"last": letter.time, "id": letter.id}
        if len(page) < _PAGE:
            return sorted(groups.values(), key=lambda group: -group["count"])
        position = page[-1].position


def _show_groups(groups: list[dict[str, Any]], keys: tuple[str, ...], json: bool) -> None:
    if json:
        show_json(groups)
    else:
        show_table(
            ["letters", *keys, "first", "last", "newest id"],
            [[one["count"], *(one[key] for key in keys), one["first"], one["last"], Id(one["id"])] for one in groups],
            empty="no dead letters",
        )


@dlq.command
def show(id: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show one dead letter in full. ID is {stream}.{consumer}.{seq}."""
    with where.bus() as bus:
        try:
            found = bus.dead_letters.get(id)
        except MessageNotFound as error:
            raise OptionsError(f"there is no dead letter {id}, or no longer: `smith dlq ls` lists them") from error
    found = _without_secrets(found, where)
    if json:
        show_json(found)
    else:
        _show(found)


def _without_secrets(letter: DeadLetter, where: Where) -> DeadLetter:
    return msgspec.structs.replace(letter, payload=where.declared.without_secrets(letter.payload))


def _show(letter: DeadLetter) -> None:
    facts: dict[str, Any] = {
        "id": letter.id,
        "subject": letter.subject,
        "dead-lettered": letter.time,
        "attempts": letter.attempts,
        "stored": letter.stored,
        "first delivered": letter.first_delivered,
        "last delivered": letter.last_delivered,
        "error": f"{letter.error_type}: {letter.error}",
        "host": letter.host,
        "worker": letter.worker,
        "replays": letter.replays or None,
        "replay of": letter.replay_of,
        "first letter": letter.first_letter,
        "headers dropped": letter.dropped_headers or None,
        "payload": f"the first {len(letter.payload):,} of {letter.size:,} bytes" if letter.truncated else None,
        "sha-256": letter.sha256,
        **{f"problem {number}": text for number, text in enumerate(letter.problems, 1)},
        **{f"header {plain(name)}": value for name, value in letter.headers.items()},
    }
    show_facts({name: value for name, value in facts.items() if value is not None})
    for text in (letter.traceback, letter.payload.decode("utf-8", "backslashreplace")):
        if text:
            say("")
            show_lines(text, indent="  ")  # it could look like the facts above


@dlq.command
def replay(
    *ids: str,
    which: Which = ANY,
    all_: All = False,
    rate: Annotated[float | None, Parameter(help="Maximum letters a second.", validator=Number(gt=0))] = None,
    in_doubt: Annotated[
        Literal["keep", "replay"], Parameter(help="What to do with letters that an interrupted replay may have replayed.")
    ] = "keep",
    dry_run: DryRun = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Publish letters to their original subjects again, and remove them.

    Replays those with IDS, or those that the options choose.
    A letter goes only to a subject that its own stream and consumer take; others are refused. Where
    the number of shards was changed since, that is the subject of its new shard.
    An interrupted replay can be run again; each letter is replayed at most once. Exit status 1 if a
    letter failed, is refused or is in doubt.
    """
    chosen = which.chosen(ids, all_)
    with where.bus() as bus, Progress() as progress:
        try:
            report = bus.dead_letters.replay(
                **chosen, rate=rate, in_doubt=in_doubt, dry_run=dry_run, progress=lambda one: progress.step(one.outcome)
            )
        except KeyboardInterrupt:
            progress.stop()
            say(
                f"interrupted: replayed {_letters(progress.count('replayed', 'finished'))}; the others are still there, "
                f"and the same command goes on with them",
                json=True,
            )
            raise
    if json:
        show_json(report)
    elif dry_run:
        say(f"{_letters(report.planned)} would be replayed" + f", {report.moved:,} of them to another shard" * bool(report.moved))
    else:
        done = report.replayed + report.finished
        say(f"replayed {_letters(done)}" + f", {report.finished:,} of them by another replay" * bool(report.finished))
        if report.moved:
            say(f"{report.moved:,} of them went to another shard: the number of shards was changed since")
    if report.gone:
        say(f"{_letters(report.gone)} not found: replayed or discarded before", json=True)
    for failure in report.failed:
        say(f"{failure.id}: {failure.error}", json=True)
    for refused in report.refused:
        say(f"{refused.id} is refused: {refused.error}. Read it, then discard it", json=True)
    for id in report.in_doubt:
        say(
            f"{id} is in doubt: an interrupted replay may have published it. "
            f"Check, then discard it or replay it with --in-doubt replay",
            json=True,
        )
    return 1 if report.failed or report.refused or report.in_doubt else 0


@dlq.command
def discard(
    *ids: str,
    which: Which = ANY,
    all_: All = False,
    dry_run: DryRun = False,
    where: Where = HERE,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete letters: those with IDS, or those that the options choose. Asks for confirmation."""
    chosen = which.chosen(ids, all_)
    found: tuple[str, ...] = ()
    with where.bus() as bus, Progress() as progress:
        if dry_run or not yes:
            found = bus.dead_letters.discard(**chosen, dry_run=True)
        if not dry_run:
            if not yes:
                confirm(f"Delete {_letters(len(found))}?")
            try:
                found = bus.dead_letters.discard(**chosen, progress=lambda _: progress.step("discarded"))
            except KeyboardInterrupt:
                progress.stop()
                say(f"interrupted: discarded {_letters(progress.count('discarded'))}", json=True)
                raise
    if json:
        show_json(found)
    else:
        say(f"{_letters(len(found))} would be discarded" if dry_run else f"discarded {_letters(len(found))}")
    if ids and (gone := len(set(ids)) - len(found)):
        note(f"{_letters(gone)} not found: replayed or discarded before")


@dlq.command
def audit(
    *,
    repair: Annotated[bool, Parameter(negative="", help="Repair what can be repaired.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Find messages that are stuck between a consumer and the dead letters.

    Exit status 1 if any are left.
    """
    with where.bus() as bus:
        found = bus.dead_letters.audit(repair=repair)
    if json:
        show_json(found)
    elif found:
        rows = [[one.kind, one.stream, one.consumer, one.seq, one.words, "repaired" if one.repaired else None] for one in found]
        show_table(["finding", "stream", "consumer", "seq", "description", ""], rows)
    else:
        say("nothing found")
    return 0 if all(one.repaired for one in found) else 1


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"
