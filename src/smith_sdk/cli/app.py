"""The commands of `smith`; groups of commands have a module each.

Results go to stdout; progress, questions and errors to stderr. Every command with a result takes
`--json`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import cyclopts
import msgspec
from cyclopts import App, Parameter

from ..embedded import EmbeddedServer
from ..errors import ServerError, SmithError
from ..sync import SmithBus
from .consumers import consumers
from .demo import run_demo
from .dlq import dlq
from .options import ContractName, Profile, load_contract
from .output import Json, plain, show_json, show_table
from .streams import streams
from .worker import worker

app = App(name="smith", help="The Smith bus on NATS JetStream.", result_action="return_value")
app.command(streams)
app.command(consumers)
app.command(dlq)
app.command(worker)


def run(argv: list[str]) -> int:
    """Run one command line and return its exit status; an SDK error is one line on stderr."""
    try:
        status = app(argv, exit_on_error=False, print_error=True)
    except cyclopts.CycloptsError:
        return 2
    except SmithError as error:
        print(f"smith: {plain(str(error))}", file=sys.stderr)
        return 2 if isinstance(error, ServerError) else 1
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0


@app.command
def demo(
    path: Path = Path(),
    *,
    workers: Annotated[int, Parameter(help="Executor processes.", validator=cyclopts.validators.Number(gte=1, lte=64))] = 2,
    json: Json = False,
) -> int:
    """Read every file under PATH through the bus, on an embedded server, and check each result.

    Exit status 1 if a result is lost or differs from the file.
    """
    root = path.resolve()
    if not root.is_dir():
        print(f"smith: {path} is not a directory", file=sys.stderr)
        return 2
    report = asyncio.run(run_demo(root, workers=workers, progress=sys.stderr))
    if json:
        show_json(report)
    else:
        rows = [[name.replace("_", " "), value] for name, value in msgspec.structs.asdict(report).items()]
        show_table(["measure", "value"], rows)
    return 1 if report.lost or report.differing else 0


@app.command
def dev(
    *, store_dir: Path | None = None, port: int | None = None, contract: ContractName = None, profile: Profile = "dev"
) -> int:
    """Run a private nats-server with the declared streams until Ctrl-C or SIGTERM.

    Messages are kept in STORE_DIR if it is given.
    """
    declared, stop = load_contract(contract), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(store_dir, port=port) as server, SmithBus(server.url, contract=declared) as bus:
        bus.streams.apply(profile=profile)
        print(f"export SMITH_NATS_URL={server.url}", flush=True)
        print(f"applied the streams of profile {profile}; press Ctrl-C to stop the server", file=sys.stderr, flush=True)
        while server.running and not stop.wait(0.5):
            pass
        if not stop.is_set():
            raise ServerError("nats-server exited unexpectedly")
    return 0


@app.command
def codegen(spec: Path = Path("subjects.toml"), out_dir: Path = Path(), /, *, check: bool = False) -> int:
    """Generate typed subjects and payloads from SPEC into the package directory OUT_DIR."""
    from smith_codegen.cli import main as generate

    return generate([str(spec), str(out_dir), *(["--check"] if check else [])])
