"""`smith health`: how the bus is, thing by thing, and what to do."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from ..errors import SmithError
from .options import HERE, Where
from .output import Json, ago, console, note, plain, print_wrapped, show_json
from .values import Duration, Seconds

if TYPE_CHECKING:
    from ..aio import Check, HealthReport
    from ..sync import SmithBus

_STATUS: Final = {"ok": 0, "degraded": 1, "failing": 2}
"""Exit status."""
_COLOURS: Final = {"ok": "green", "degraded": "yellow", "failing": "red"}
_STATUS_WIDTH: Final = max(map(len, _STATUS)) + 2
_LEAST_TEXT: Final = 50
"""Columns below which the reasons have no column of their own."""
_UNKNOWN: Final = "not known: there is no connection"
_CONNECT_SHARE: Final = 0.8
"""The share of a look after which connecting has failed, so that its reason is known in time."""
_PAUSE: Final = 0.5
"""Seconds between two looks while it waits."""


def health(
    *,
    where: Where = HERE,
    timeout: Annotated[Seconds, Parameter(help="Seconds that a look may take, connecting included, or 500ms.")] = 2.0,
    wait: Annotated[
        Duration | None, Parameter(help="Look again until nothing is failing, at most for so long, such as 30s or 2m.")
    ] = None,
    json: Json = False,
) -> int:
    """Show how the server, streams, consumers and dead letters are, and what to do.

    Exit status 0: all is well; 1: degraded; 2: failing, or not known. With --wait it ends as soon
    as nothing is failing: what is degraded, such as a stream that is nearly full, works.
    """
    began = datetime.now(UTC)
    try:
        # Connects in the background: what keeps it from that is a part of the report.
        with where.bus(connect_mode="wait", connect_timeout=_CONNECT_SHARE * timeout) as bus:
            found = _look(bus, timeout, 0.0 if wait is None else wait.total_seconds())
    except SmithError as error:  # its exit status would be that of "degraded"
        note(f"smith: {error}")
        return _STATUS["failing"]
    if json:
        show_json(found)
    else:
        _show(found, began)
    return _STATUS[found.status]


def _look(bus: SmithBus, timeout: float, wait: float) -> HealthReport:
    """The first report without anything failing, or what is known after `wait` seconds."""
    until, told = time.monotonic() + wait, ""
    while True:
        found = bus.health(timeout)
        left = until - time.monotonic()
        if found.status != "failing" or left <= 0 or bus.state == "closed":  # refused credentials stay refused
            return found
        worst = found.problems[0]
        if worst.name != told:
            told = worst.name
            note(f"waiting: {worst.name}: {worst.reason}")
        time.sleep(min(_PAUSE, left))


def _show(found: HealthReport, began: datetime) -> None:
    from rich.text import Text

    out = console()
    unknown = [check for check in found.checks if check.reason == _UNKNOWN]
    checks = [check for check in found.checks if check not in unknown]
    width = max(len(check.name) for check in checks)
    is_narrow = out.file.isatty() and out.width < _STATUS_WIDTH + width + _LEAST_TEXT
    for check in checks:
        head = Text.assemble((f"{check.status:<{_STATUS_WIDTH}}", _COLOURS[check.status]))
        name = Text.assemble((f"{check.name}  " if is_narrow else f"{check.name:<{width}}  ", "bold"))
        text = Text(plain(check.reason) + _age(check, began))
        if is_narrow:
            text = Text.assemble(name, text)
        else:
            head = Text.assemble(head, name)
        print_wrapped(head, text, out)
        if check.remedy:
            print_wrapped(Text(" " * head.cell_len), Text(plain(check.remedy), "dim"), out)
    if unknown:
        note(f"{len(unknown)} more are not known, without a connection; --json lists them")
    print_wrapped(Text.assemble((found.status, _COLOURS[found.status])), Text(_total(found)), out)


def _total(found: HealthReport) -> str:
    """How many checks are not ok."""
    counts = {status: sum(check.status == status for check in found.checks) for status in ("failing", "degraded")}
    shown = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f" ({shown}, of {len(found.checks)} checks)" if shown else ""


def _age(check: Check, began: datetime) -> str:
    """Since when it is not well, if the server knows that."""
    if check.status == "ok" or check.since is None or check.since >= began:
        return ""
    return f" (since {check.since:%Y-%m-%dT%H:%M:%SZ}, {ago(check.since)})"
