"""Looking at the health of a bus: asks the server about all at once, within one time limit."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from .._core.connection.state import Listener, State
from .._core.jetstream.session import Session
from .._core.monitoring.health import (
    Check,
    HealthReport,
    connection_check,
    dead_letters_check,
    letters_in,
    report,
    stream_check,
    stream_failed,
    stream_unknown,
)
from ..contract import StreamSpec
from ..errors import SmithError

__all__ = ["Check", "HealthReport"]


async def health(session: Session, timeout: float) -> HealthReport:
    """Look at the connection, each declared stream and the dead letters.

    Takes at most `timeout` seconds, and raises nothing about what it finds.
    """
    until = asyncio.get_running_loop().time() + timeout
    connection, contract = session.connection, session.contract
    await _connected(session, until)
    if not connection.is_up:
        return without_connection(session)
    infos: dict[str, Any] = {}

    async def look(spec: StreamSpec) -> Check:
        try:
            async with asyncio.timeout_at(until):
                infos[spec.name] = info = await session.api.stream_info(spec.name, count=letters_in(contract, spec))
        except TimeoutError as error:  # also DeadlineExceeded, of a server that has not answered for longer
            return stream_failed(spec, error if isinstance(error, SmithError) else None, timeout)
        except SmithError as error:
            return stream_failed(spec, error, timeout)
        return stream_check(contract, spec, info)

    checks = await asyncio.gather(*map(look, contract.streams))
    letters = dead_letters_check(contract, ((spec, infos[spec.name]) for spec in contract.streams if spec.name in infos))
    # The link may have been lost meanwhile.
    return report([_connection(session), *checks, *([letters] if letters else [])])


def without_connection(session: Session) -> HealthReport:
    """The report while there is no connection: nothing is asked."""
    return report([_connection(session), *map(stream_unknown, session.contract.streams)])


def _connection(session: Session) -> Check:
    connection = session.connection
    problem = connection.problem if connection.closed_by is None else str(connection.closed_by)
    return connection_check(connection.state, connection.url, problem)


async def _connected(session: Session, until: float) -> None:
    """Return once the bus is no longer connecting for the first time, or at `until`."""
    connection, changed = session.connection, _Changed()
    connection.add_listener(changed)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while connection.state == "connecting":
                    changed.event.clear()
                    await changed.event.wait()
    finally:
        connection.remove_listener(changed)


class _Changed(Listener):
    def __init__(self) -> None:
        self.event = asyncio.Event()

    def on_state(self, state: State, reason: str) -> None:
        self.event.set()

    def on_close(self, error: SmithError) -> None:
        self.event.set()
