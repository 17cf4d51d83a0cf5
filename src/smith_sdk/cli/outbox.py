"""`smith outbox`: what waits in the file of an outbox, and what becomes of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..errors import OptionsError
from .options import HERE, Where
from .output import Json, Size, Yes, confirm, messages, note, say, show_json, show_table

if TYPE_CHECKING:
    from .._core.outbox.file import OutboxDatabase

outbox = App(name="outbox", help="List, flush and discard the messages of an outbox.")

Failed = Annotated[bool, Parameter(negative="", help="Messages that their stream has refused for good.")]


@outbox.command
def ls(
    path: Path,
    /,
    *,
    failed: Failed = False,
    after: Annotated[int, Parameter(help="Only messages behind this id.", validator=Number(gte=0))] = 0,
    limit: Annotated[int, Parameter(help="Maximum number of messages.", validator=Number(gte=1))] = 1000,
    json: Json = False,
) -> None:
    """List the messages in the outbox PATH, the oldest first. Connects to no server.

    The file may be in use: a bus goes on sending them meanwhile.
    """
    with closing(_file().read(_name(path))) as file:
        found, info = file.list(failed=failed, after=after, limit=limit), file.info()
    if json:
        show_json(found)
    else:
        show_table(
            ["id", "stored", "subject", "size", "sent", "failed", "error"],
            [[one.id, one.stored, one.subject, Size(one.size), one.sent, one.failed, one.error] for one in found],
        )
    if len(found) == limit:
        note(f"there may be more: pass --after {found[-1].id}")
    note(f"{messages(info.messages)} waiting, {info.failed:,} failed")


@outbox.command
def flush(
    path: Path,
    /,
    *,
    failed: Annotated[bool, Parameter(negative="", help="Also those that their stream has refused for good.")] = False,
    timeout: Annotated[float, Parameter(help="Seconds until it gives up.", validator=Number(gt=0))] = 60.0,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Publish the messages in the outbox PATH, in order and with their ids.

    For the file of a process that no longer runs: a bus sends those of its own by itself. Exit
    status 1 if messages are left.
    """
    from .. import OutboxFile

    name = _name(path)
    with closing(_file().read(name)) as file:  # which has to be there
        before = file.info()
    with where.bus(outbox=OutboxFile(name)) as bus:
        left = bus.outbox.flush(timeout, failed=failed)
    if json:
        show_json(left)
    else:
        say(f"published {messages(before.messages + before.failed - left.failed)}")
    if left.failed:
        note(f"{messages(left.failed)} refused: `smith outbox ls {name} --failed` shows why")
    return 1 if left.failed else 0


@outbox.command
def discard(path: Path, /, *ids: int, failed: Failed = False, yes: Yes = False, json: Json = False) -> None:
    """Delete messages from the outbox PATH: those with IDS, or with --failed all refused ones.

    For the file of a process that no longer runs. Asks for confirmation.
    """
    if bool(ids) == failed:
        raise OptionsError("no messages chosen: pass ids, or --failed for those that were refused")
    kind = _file()
    name = _name(path)
    kind.read(name).close()  # discarding creates none
    with closing(kind.open(name)) as file:
        if not yes:
            confirm(f"Delete {messages(file.info().failed if failed else len(ids))} from {name}?")
        with file.transaction():
            removed = [one.id for one in (file.remove_failed() if failed else file.remove(ids))]
    if json:
        show_json(removed)
    else:
        say(f"discarded {messages(len(removed))}")
    if ids and (gone := len(set(ids)) - len(removed)):
        note(f"{messages(gone)} not found: sent or discarded before")


def _name(path: Path) -> str:
    return str(path.expanduser().resolve())


def _file() -> type[OutboxDatabase]:
    from .._core.outbox.file import OutboxDatabase  # with SQLite, which help does not need

    return OutboxDatabase
