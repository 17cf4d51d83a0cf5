"""`smith dev`: a private nats-server with the declared streams, until a signal."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
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

    declared, stop = load_contract(contract), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(store_dir, port=port) as server, SmithBus(server.url, contract=declared, profile=profile) as bus:
        bus.streams.apply()
        say(f"export SMITH_NATS_URL={server.url}")
        with dev_context(context, server.url) as file:
            ways = f"; `smith ... --context {context}` and `nats --context {context} ...` lead here" if file else ""
            note(f"applied the streams of profile {profile}{ways}; press Ctrl-C to stop the server")
            while server.running and not stop.wait(0.5):
                pass
        if not stop.is_set():
            raise ServerError("nats-server exited unexpectedly")
    return 0
