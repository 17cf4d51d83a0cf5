"""`smith workers`: the workers of all processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from .options import HERE, Where
from .output import Id, Json, show_json, show_table
from .values import Seconds

if TYPE_CHECKING:
    from ..aio import WorkerReport

_HEADINGS: Final = (
    "consumer",
    "stream",
    "host",
    "pid",
    "state",
    "running",
    "pending",
    "handled",
    "failed",
    "average",
    "last error",
)


def workers(
    *,
    timeout: Annotated[Seconds, Parameter(help="Seconds for which answers are collected.")] = 1.0,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List the workers and admissions of all processes, as they answer themselves.

    One whose event loop is blocked, or that may not answer, is not among them.
    """
    with where.bus() as bus:
        found = bus.workers(timeout)
    if json:
        show_json(found)
    else:
        show_table(_HEADINGS, map(_row, found), empty=f"no worker has answered within {timeout:g} s", sections="stream")


def _row(one: WorkerReport) -> tuple[Any, ...]:
    running = None if one.running is None else f"{one.running}/{one.slots}"
    average = f"{one.average_time * 1000:,.3g} ms" if one.handled else None
    return (
        one.consumer,
        one.stream,
        one.host,
        Id(one.pid) if one.pid else None,
        _state(one),
        running,
        one.num_pending,
        one.handled,
        one.failed,
        average,
        one.last_error,
    )


def _state(one: WorkerReport) -> str:
    if one.is_draining:
        return "draining"
    return "running" if one.circuit in (None, "closed") else f"circuit {one.circuit}"
