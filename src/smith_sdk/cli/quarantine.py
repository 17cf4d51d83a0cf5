"""`smith quarantine`: show, release and discard what admission has quarantined."""

from __future__ import annotations

import getpass
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..errors import MessageNotFound, OptionsError
from .dlq import DryRun, Positive
from .options import HERE, Where
from .output import Id, Json, Yes, confirm, note, plain, say, show_facts, show_json, show_lines, show_table
from .progress import Progress
from .values import MOMENT_HELP, Moment

if TYPE_CHECKING:
    from ..sync import QuarantineRecord

quarantine = App(name="quarantine", help="Show, release and discard quarantined intents.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Which:
    """The filters that choose records."""

    rule: Annotated[str | None, Parameter(help='Only intents that this rule quarantined, such as "backpressure".')] = None
    capability: Annotated[str | None, Parameter(help="Only intents of this capability.")] = None
    intent: Annotated[str | None, Parameter(help="Only the intent with this id.")] = None
    expired: Annotated[bool | None, Parameter(help="Only intents that have expired, or --no-expired only others.")] = None
    since: Annotated[Moment | None, Parameter(help=f"Only records stored at this time or later: {MOMENT_HELP}")] = None
    until: Annotated[Moment | None, Parameter(help=f"Only records stored before this time: {MOMENT_HELP}")] = None

    def filters(self) -> dict[str, Any]:
        """As arguments of `bus.quarantine`."""
        return {
            "rule": self.rule,
            "capability": self.capability,
            "intent_id": self.intent,
            "expired": self.expired,
            "since": self.since,
            "until": self.until,
        }

    def chosen(self, ids: tuple[str, ...], everything: bool) -> dict[str, Any]:
        """Arguments for release and discard.

        Raises `OptionsError` unless either ids, or filters, or `--all` are given.
        """
        filters = self.filters()
        is_filtered = any(one is not None for one in filters.values())
        if not (ids or everything or is_filtered):
            raise OptionsError(
                "no records chosen: pass ids, --rule, --capability, --intent, --expired, --since, --until, or --all"
            )
        if everything and (ids or is_filtered):
            raise OptionsError("--all excludes ids and filters: pass one or the other")
        if everything:
            filters["until"] = datetime.now(UTC)
        return {"ids": ids or None, **filters}


ANY = Which()
All = Annotated[bool, Parameter(name="--all", negative="", help="All records that are there now.")]
By = Annotated[str | None, Parameter(help="Who does it, for the audit trail. Default: this user and host.")]


@quarantine.command
def ls(
    *,
    which: Which = ANY,
    limit: Annotated[int, Parameter(help="Maximum number of records.", validator=Positive)] = 1000,
    after: Annotated[int, Parameter(help="Only records behind this position.", validator=Number(gte=0))] = 0,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List what is in the quarantine, the oldest first."""
    with where.bus() as bus:
        found = bus.quarantine.list(**which.filters(), after=after, limit=limit)
    if json:
        shown = [_without_secrets(one, where) for one in found]
        show_json([{**one.to_dict(), "is_expired": one.is_expired} for one in shown])
        return
    show_table(
        ["id", "when", "rule", "intent", "capability", "expires", "releases", "reason"],
        [
            [
                Id(one.id),
                one.time,
                one.rule or None,
                None if one.intent_id is None else Id(one.intent_id),
                one.capability,
                "expired" if one.is_expired else one.expires,
                one.releases or None,
                one.reason,
            ]
            for one in found
        ],
        empty="the quarantine is empty" if which == ANY and not after else "no records that these options choose",
    )
    if len(found) == limit:
        say(f"there may be more: pass --after {found[-1].position}", json=True)


@quarantine.command
def show(id: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show one record in full. ID is its position, as `smith quarantine ls` has it."""
    with where.bus() as bus:
        try:
            found = bus.quarantine.get(id)
        except MessageNotFound as error:
            raise OptionsError(f"there is no record {id}, or no longer: `smith quarantine ls` lists them") from error
    found = _without_secrets(found, where)
    if json:
        show_json({**found.to_dict(), "is_expired": found.is_expired})
    else:
        _show(found)


def _without_secrets(record: QuarantineRecord, where: Where) -> QuarantineRecord:
    return msgspec.structs.replace(record, payload=where.declared.without_secrets(record.payload))


def _show(record: QuarantineRecord) -> None:
    facts: dict[str, Any] = {
        "id": record.id,
        "intent": record.intent_id,
        "capability": record.capability,
        "domain": record.domain,
        "quarantined": record.time,
        "rule": record.rule or None,
        "reason": record.reason,
        "expires": record.expires,
        "expired": "yes: admission denies it if it is released" if record.is_expired else None,
        "releases": record.releases or None,
        "released to": record.subject,
        "problem": f"{record.problem}: it cannot be released" if record.problem else None,
        "sha-256": record.sha256,
        "bytes": record.size,
        **{f"header {plain(name)}": value for name, value in record.headers.items()},
    }
    show_facts({name: value for name, value in facts.items() if value is not None})
    say("")
    show_lines(record.payload.decode("utf-8", "backslashreplace"), indent="  ")


@quarantine.command
def release(
    *ids: str,
    which: Which = ANY,
    all_: All = False,
    limit: Annotated[int | None, Parameter(help="Maximum number of records.", validator=Positive)] = None,
    rate: Annotated[float | None, Parameter(help="Maximum intents a second.", validator=Number(gt=0))] = None,
    force: Annotated[bool, Parameter(negative="", help="Also while back pressure is on.")] = False,
    by: By = None,
    dry_run: DryRun = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Put intents back through admission, and remove them from the quarantine.

    Releases those with IDS, or those that the options choose. An intent that has expired is denied.
    An interrupted release can be run again; each intent is let through at most once. Exit status 1
    if a record failed or is refused, or if back pressure is on.
    """
    chosen = which.chosen(ids, all_)
    with where.bus() as bus, Progress("intents") as progress:
        try:
            report = bus.quarantine.release(
                **chosen,
                limit=limit,
                rate=rate,
                force=force,
                by=by or _operator(),
                dry_run=dry_run,
                progress=lambda one: progress.step(one.outcome),
            )
        except KeyboardInterrupt:
            progress.stop()
            say(
                f"interrupted: released {_intents(progress.count('released', 'finished'))}; the others are still there, "
                f"and the same command goes on with them",
                json=True,
            )
            raise
    if json:
        show_json(report)
    elif dry_run:
        say(f"{_intents(report.planned)} would be released")
    else:
        done = report.released + report.finished
        say(f"released {_intents(done)}" + f", {report.finished:,} of them by another release" * bool(report.finished))
    if report.expired:
        say(f"{_intents(report.expired)} of them expired: admission denies what has expired", json=True)
    if report.gone:
        say(f"{_intents(report.gone)} not found: released or discarded before", json=True)
    for failure in report.failed:
        say(f"{failure.id}: {failure.error}", json=True)
    for refused in report.refused:
        say(f"{refused.id} cannot be released: {refused.error}", json=True)
    if report.stopped:
        note(f"stopped: {report.stopped}; wait until that is over, or pass --force")
    return 1 if report.failed or report.refused or report.stopped else 0


@quarantine.command
def discard(
    *ids: str,
    which: Which = ANY,
    all_: All = False,
    by: By = None,
    dry_run: DryRun = False,
    where: Where = HERE,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Delete records: those with IDS, or those that the options choose. Asks for confirmation.

    The audit trail says who discarded which intent.
    """
    chosen = which.chosen(ids, all_)
    found: tuple[str, ...] = ()
    with where.bus() as bus, Progress("intents") as progress:
        if dry_run or not yes:
            found = bus.quarantine.discard(**chosen, dry_run=True)
        if not dry_run:
            if not yes:
                confirm(f"Delete {_intents(len(found))} from the quarantine?")
            try:
                found = bus.quarantine.discard(**chosen, by=by or _operator(), progress=lambda _: progress.step("discarded"))
            except KeyboardInterrupt:
                progress.stop()
                say(f"interrupted: discarded {_intents(progress.count('discarded'))}", json=True)
                raise
    if json:
        show_json(found)
    else:
        say(f"{_intents(len(found))} would be discarded" if dry_run else f"discarded {_intents(len(found))}")
    if ids and (gone := len(set(ids)) - len(found)):
        note(f"{_intents(gone)} not found: released or discarded before")


def _operator() -> str:
    """Who runs the command."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a process without an entry in the user database
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _intents(count: int) -> str:
    return f"{count:,} intent{'' if count == 1 else 's'}"
