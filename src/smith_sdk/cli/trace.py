"""`smith trace`: what became of one intent."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from .options import HERE, Where
from .output import Json, console, plain, print_wrapped, show_json

if TYPE_CHECKING:
    from rich.text import Text

    from ..aio.trace import Trace, TraceStep

_KINDS: Final = {
    "raw": "published",
    "decision": "decided",
    "vetted": "vetted",
    "attempt": "attempt",
    "result": "result",
    "audit": "audit",
    "dead_letter": "dead letter",
    "quarantined": "quarantined",
}
_ABSENT: Final = {
    "raw": "raw message",
    "decision": "decision",
    "vetted": "vetted message",
    "result": "result",
    "audit": "audit of its execution",
    "dead_letter": "dead letter",
    "quarantined": "quarantine",
}
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def trace(
    intent_id: Annotated[str, Parameter(help="The id of an intent.")], /, *, where: Where = HERE, json: Json = False
) -> int:
    """Show what the streams know of an intent, in order of time, and where it is now.

    Exit status 1 if no stream knows of it.
    """
    with where.bus() as bus:
        found = bus.trace(intent_id)
    if json:
        show_json(found)
    else:
        _show(found)
    return 0 if found.steps else 1


def _show(found: Trace) -> None:
    from rich.text import Text

    out = console()
    out.print(Text.assemble(("intent ", "bold"), plain(found.intent_id)), soft_wrap=True)
    day = ""
    for step in found.steps:
        if sys.stdout.isatty() and (today := f"{step.time:%Y-%m-%d}") != day:
            day = today
            out.print(Text(f"{day} UTC", "dim"))
        print_wrapped(_head(step), Text(plain(step.text), _style(step)), out)
    print_wrapped(Text("now: ", "bold"), Text(plain(found.summary)), out)
    for kind, why in found.missing.items():
        print_wrapped(Text(f"no {_ABSENT[kind]}: ", "dim"), Text(plain(why), "dim"), out)


def _head(step: TraceStep) -> Text:
    from rich.text import Text

    passed = "" if step.elapsed is None else f"+{_lasted(step.elapsed)}"
    return Text.assemble((time_of(step.time), "dim"), f"  {passed:>8}  ", (f"{_KINDS[step.kind]:<11}", "bold"), "  ")


def _style(step: TraceStep) -> str:
    return "red" if step.kind in ("dead_letter", "quarantined") else ""


def time_of(moment: datetime) -> str:
    """To the millisecond: of the day on a terminal, in full elsewhere."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.partition("T")[2].removesuffix("Z") if sys.stdout.isatty() else text


def _lasted(seconds: float) -> str:
    """ "12 ms", "3.2 s", "5 min"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{seconds / size:.1f} {unit}"
