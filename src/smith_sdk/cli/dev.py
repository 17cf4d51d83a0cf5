"""`smith dev`: a private nats-server with the declared streams, until a signal."""

from __future__ import annotations

import signal
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

from cyclopts import Parameter

from ..errors import ServerError
from .dev_context import NAME, dev_context
from .options import ContractName, load_contract
from .output import note, say


def dev(
    *,
    store_dir: Path | None = None,
    port: int | None = None,
    contract: ContractName = None,
    profile: Annotated[str, Parameter(help="The profile of the topology.")] = "dev",
    context: Annotated[str, Parameter(help="The context of the nats command that leads to it while it runs.")] = NAME,
) -> int:
    """Run a private nats-server with the declared streams until Ctrl-C or SIGTERM.

    It demands a password, which the printed URL and the context hold, and nobody else knows.
    Messages and the password are kept in STORE_DIR if it is given.
    """
    from .._core.connection.contexts import context_file
    from ..embedded import EmbeddedServer
    from ..sync import SmithBus

    context_file(context)  # a name that is not valid is refused before anything starts

    declared = load_contract(contract)
    # Reentrant: the handler may interrupt `get`. An Event would deadlock there, since its lock is
    # not.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.put(number))
    with EmbeddedServer(store_dir, port=port) as server, SmithBus(server.url, contract=declared, profile=profile) as bus:
        bus.streams.apply()
        say(f"export SMITH_NATS_URL={server.url}")
        with dev_context(context, server.url) as file:
            ways = f"; `smith ... --context {context}` and `nats --context {context} ...` lead here" if file else ""
            note(f"applied the streams of profile {profile}{ways}; press Ctrl-C to stop the server")
            while server.running:
                try:
                    signals.get(timeout=0.5)
                except Empty:
                    continue
                return 0
    raise ServerError("nats-server exited unexpectedly")
