"""`smith dev`: a private nats-server with the declared streams, until a signal."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..errors import ServerError
from .options import ContractName, load_contract
from .output import note, say


def dev(
    *,
    store_dir: Path | None = None,
    port: int | None = None,
    contract: ContractName = None,
    profile: Annotated[str, Parameter(help="The profile of the topology.")] = "dev",
) -> int:
    """Run a private nats-server with the declared streams until Ctrl-C or SIGTERM.

    Messages are kept in STORE_DIR if it is given.
    """
    from ..embedded import EmbeddedServer
    from ..sync import SmithBus

    declared, stop = load_contract(contract), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(store_dir, port=port) as server, SmithBus(server.url, contract=declared, profile=profile) as bus:
        bus.streams.apply()
        say(f"export SMITH_NATS_URL={server.url}")
        note(f"applied the streams of profile {profile}; press Ctrl-C to stop the server")
        while server.running and not stop.wait(0.5):
            pass
        if not stop.is_set():
            raise ServerError("nats-server exited unexpectedly")
    return 0
