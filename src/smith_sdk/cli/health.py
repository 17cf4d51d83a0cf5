"""`smith health`: how the server, the declared streams and the dead letters are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from ..errors import SmithError
from .options import HERE, Where
from .output import Json, console, note, plain, print_wrapped, show_json

if TYPE_CHECKING:
    from rich.text import Text

    from ..aio import Check, HealthReport

_STATUS: Final = {"ok": 0, "degraded": 1, "failing": 2}
"""Exit status."""
_COLOURS: Final = {"ok": "green", "degraded": "yellow", "failing": "red"}


def health(
    *,
    where: Where = HERE,
    timeout: Annotated[float, Parameter(help="Seconds that it may take, connecting included.")] = 2.0,
    json: Json = False,
) -> int:
    """Show how the server, the declared streams and the dead letters are, and what to do.

    Exit status 0: all is well; 1: degraded; 2: failing, or not known.
    """
    try:
        # Connects in the background: what keeps it from that is a part of the report.
        with where.bus(connect_mode="wait", connect_timeout=timeout) as bus:
            found = bus.health(timeout)
    except SmithError as error:  # its exit status would be that of "degraded"
        note(f"smith: {error}")
        return _STATUS["failing"]
    if json:
        show_json(found)
    else:
        _show(found)
    return _STATUS[found.status]


def _show(found: HealthReport) -> None:
    from rich.text import Text

    out = console()
    widths = [max(len(name) for name in names) for names in (_STATUS, [check.name for check in found.checks])]
    for check in found.checks:
        print_wrapped(_head(check, widths), Text(plain(check.reason)), out)
        if check.remedy:
            print_wrapped(Text(" " * (sum(widths) + 4)), Text(plain(check.remedy), "dim"), out)
    print_wrapped(Text.assemble((found.status, _COLOURS[found.status])), Text(""), out)


def _head(check: Check, widths: list[int]) -> Text:
    from rich.text import Text

    return Text.assemble(
        (f"{check.status:<{widths[0]}}", _COLOURS[check.status]), "  ", (f"{check.name:<{widths[1]}}", "bold"), "  "
    )
