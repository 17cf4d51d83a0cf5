"""The connection: its state, the server, the round trip, and how often it was replaced."""

from __future__ import annotations

from ...connection.greeting import ServerInfo
from ...connection.state import State
from ..health import Check
from .words import counted, lasting

NAME = "connection"


def connection_check(
    state: State,
    url: str,
    problem: str,
    *,
    server: ServerInfo | None = None,
    reconnects: int = 0,
    rtt: float | None = None,
    timeout: float | None = None,
    is_refused: bool = False,
) -> Check:
    """`problem` is why there is no link, or why the bus is closed; empty if no reason is known.

    `is_refused`: the bus was closed by that, such as its credentials. `rtt` are the seconds of a
    round trip; None if a PING was not answered within `timeout` seconds.
    """
    if state == "closed":
        remedy = "correct that, and start the program again" if is_refused else "call connect()"
        return Check(name=NAME, status="failing", reason=problem or "the bus is not connected", remedy=remedy)
    if state in ("connecting", "reconnecting"):
        why = f": {problem}" if problem else ""
        return Check(
            name=NAME,
            status="failing",
            reason=f"no connection to {url}, and it goes on trying{why}",
            remedy="start the server, or correct the URL, the credentials or the network",
        )
    if timeout is not None and rtt is None:
        return Check(
            name=NAME,
            status="failing",
            reason=f"{url} does not answer: a PING has had no answer for {timeout:.3g} s",
            remedy="look at the server and the network between; a link that stays silent is replaced by itself",
        )
    if state == "degraded":
        return Check(
            name=NAME,
            status="degraded",
            reason=f"{url} is shutting down, or is late with its answer to a ping",
            remedy="nothing, if it is a rolling restart: the bus moves to another server; else look at the server and the network",
        )
    parts = [f"connected to {url}"]
    if server is not None:
        name = "" if server.name == server.id else f" {server.name}"  # its id, unless it has another name
        parts.append(f"nats-server {server.version}{name}{server.cluster and f' of cluster {server.cluster}'}")
    if rtt is not None:
        parts.append(f"round trip {lasting(rtt)}")
    if reconnects:
        parts.append(counted(reconnects, "reconnect"))
    return Check(name=NAME, status="ok", reason=", ".join(parts))
