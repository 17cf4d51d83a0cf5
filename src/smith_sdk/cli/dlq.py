"""`smith dlq`: dead letters."""

from __future__ import annotations

import msgspec
from cyclopts import App

from .options import HERE, Where
from .output import Json, plain, show_json, show_table

dlq = App(name="dlq", help="Dead letters.")


@dlq.command
def ls(
    *, where: Where = HERE, stream: str | None = None, consumer: str | None = None, limit: int = 1000, json: Json = False
) -> None:
    """The oldest dead letters."""
    with where.bus() as bus:
        found = bus.dead_letters.list(stream=stream, consumer=consumer, limit=limit)
    if json:
        show_json(found)
        return
    show_table(
        ["id", "subject", "attempts", "error"], [[d.id, d.subject, d.attempts, f"{d.error_type}: {d.error}"] for d in found]
    )


@dlq.command
def show(id: str, /, *, where: Where = HERE, json: Json = False) -> None:
    """One dead letter, whole. ID is {stream}.{consumer}.{seq}."""
    with where.bus() as bus:
        found = bus.dead_letters.get(id)
    if json:
        show_json(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        if name != "payload":
            print(f"{name}: {plain(str(value))}")
    print(found.payload.decode("utf-8", "backslashreplace"))
