"""`smith domains`: show which consumers serve each domain, and move domains between them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from .dlq import DryRun
from .options import HERE, Where
from .output import Json, Rate, Yes, confirm, note, say, show_json, show_table
from .values import Duration, Seconds

if TYPE_CHECKING:
    from ..sync import DomainUsage, MoveStep

domains = App(name="domains", help="Show and move the domains of executors.")

_TIMEOUT = timedelta(minutes=5)


@domains.command
def ls(
    *,
    interval: Annotated[Seconds, Parameter(help="Seconds between the two looks that a rate needs, 0.5 at least.")] = 1.0,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List each domain, the consumers that serve it, its lag, and their rates.

    `lag` is what is stored for the domain and not acknowledged, `rate` what the consumer completes
    per second, for all its domains together. Domain `*` stands for any: such a consumer serves
    whatever domain an intent names. A domain that is unserved has no executor: admission denies or
    quarantines intents for it.
    """
    with where.bus() as bus:
        found = bus.domains.list()
        if any(one.consumer for one in found):
            time.sleep(interval)
            found = bus.domains.list()
    if json:
        show_json(found)
        return
    show_table(
        ["domain", "consumer", "stream", "lag", "rate/s", "state"],
        [_row(one) for one in found],
        empty="no consumer of the contract is for domains: none has a filter with an open {domain}",
        sections="domain",
    )


def _row(one: DomainUsage) -> list[Any]:
    return [one.domain, one.consumer or "-", one.stream, one.lag, None if one.rate is None else Rate(one.rate), one.state]


@domains.command
def move(
    domain: str,
    /,
    *,
    to: Annotated[
        list[str] | None,
        Parameter(help="A declared consumer that is to serve it; may be repeated. Default: all that are declared for it."),
    ] = None,
    timeout: Annotated[Duration, Parameter(help="How long its workers may take to finish what there is.")] = _TIMEOUT,
    where: Where = HERE,
    dry_run: DryRun = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Have the declared consumers serve DOMAIN, in place of those on the server. Asks first.

    Step by step: hold the domain at admission, wait until the old consumer has nothing left, stop
    it, create the new one, delete the old one, let admission go on. No intent is lost, and none is
    executed twice. An interrupted move is run again with the same command.
    """
    with where.bus() as bus:
        steps = bus.domains.move(domain, to=to, dry_run=True)
        if not steps:
            _show(steps, json, "nothing to move: the consumers of this domain are as declared")
            return
        if dry_run:
            _show(steps, json, "")
            return
        if not yes:
            for step in steps:
                say(f"to do: {step.text}", json=json)
            confirm("Move the domain?", "this deletes consumers, once they have nothing left")
        done = bus.domains.move(domain, to=to, timeout=timeout, progress=lambda step: note(step.text))
    if json:
        show_json(done)
    else:
        say(f"moved domain {domain}: {len(done)} steps")


def _show(steps: list[MoveStep], json: bool, empty: str) -> None:
    if json:
        show_json(steps)
    elif not steps:
        say(empty)
    else:
        show_table(["step", "consumer", "what is done"], [[one.action, one.consumer, one.text] for one in steps], empty=empty)
