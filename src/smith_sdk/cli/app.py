"""The commands of `smith`. Results go to stdout, words about progress and errors to stderr; every listing takes `--json`."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from ..errors import ServerError, SmithError
from ..server import EmbeddedServer
from ..sync import DeadLetter, SmithBus
from .demo import run_demo

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON value instead of a table.")]
Url = Annotated[str | None, Parameter(help="The server; default: SMITH_NATS_URL, NATS_URL, nats://127.0.0.1:4222.")]
Profile = Annotated[str, Parameter(help="The profile of the topology: prod has three replicas, dev fits one machine.")]

app = App(name="smith", help="The Smith bus on NATS JetStream.", result_action="return_value")
streams = App(name="streams", help="Streams and consumers as the contract declares them.")
dlq = App(name="dlq", help="Dead letters.")
app.command(streams)
app.command(dlq)

out = Console(highlight=False, soft_wrap=True)


def run(argv: list[str]) -> int:
    """Run one command line; its exit status. Errors of the SDK are one line on stderr, not a traceback."""
    try:
        status = app(argv, exit_on_error=False, print_error=True)
    except cyclopts.CycloptsError:
        return 2
    except SmithError as error:
        print(f"smith: {error}", file=sys.stderr)
        return 2 if isinstance(error, ServerError) else 1
    except KeyboardInterrupt:
        return 130
    return status if isinstance(status, int) else 0


def show_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def show_table(headings: list[str], rows: list[list[Any]]) -> None:
    table = Table(*headings)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out.print(table)


@app.command
def demo(
    path: Path = Path(),
    *,
    workers: Annotated[int, Parameter(help="Executor processes.", validator=cyclopts.validators.Number(gte=1, lte=64))] = 2,
    json: Json = False,
) -> int:
    """Read every file under PATH through the whole bus, on an embedded server, and check each result.

    Exit status 1 when anything was lost or differs from reading the file directly.
    """
    root = path.resolve()
    if not root.is_dir():
        print(f"smith: {path} is no directory", file=sys.stderr)
        return 2
    report = asyncio.run(run_demo(root, workers=workers, progress=sys.stderr))
    if json:
        show_json(report)
    else:
        rows = [[name.replace("_", " "), value] for name, value in msgspec.structs.asdict(report).items()]
        show_table(["what", "how many"], rows)
    return 1 if report.lost or report.differing else 0


@app.command
def dev(*, store_dir: Path | None = None, port: int | None = None) -> int:
    """A private nats-server with the dev streams, until Ctrl-C or SIGTERM. STORE_DIR keeps what is stored."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with EmbeddedServer(store_dir, port=port) as server, SmithBus(server.url) as bus:
        bus.streams.apply(profile="dev")
        print(f"export SMITH_NATS_URL={server.url}", flush=True)
        print("the dev streams are applied; Ctrl-C stops the server", file=sys.stderr, flush=True)
        while server.running and not stop.wait(0.5):
            pass
        if not stop.is_set():
            raise ServerError("nats-server ended by itself")
    return 0


@streams.command
def plan(*, url: Url = None, profile: Profile = "prod", json: Json = False) -> int:
    """What `apply` would do. Exit status 0: nothing; 2: something."""
    with SmithBus(url) as bus:
        found = bus.streams.plan(profile)
    if json:
        show_json(found.changes)
    else:
        print(found)
    return 2 if found.changes else 0


@streams.command
def apply(*, url: Url = None, profile: Profile = "prod", json: Json = False) -> None:
    """Create and update streams and consumers until they are as declared. Deletes nothing."""
    with SmithBus(url) as bus:
        done = bus.streams.apply(profile=profile)
    if json:
        show_json(done.changes)
    else:
        print(done)


@streams.command
def verify(*, url: Url = None, profile: Profile = "prod") -> None:
    """Fail with status 1, listing the differences, unless the server is as declared."""
    with SmithBus(url) as bus:
        bus.streams.verify(profile)
    print("as declared")


@streams.command(name="ls")
def streams_ls(*, url: Url = None, json: Json = False) -> None:
    """The contract's streams as the server has them."""
    with SmithBus(url) as bus:
        found = bus.streams.info()
    if json:
        show_json(found)
        return
    rows: list[list[Any]] = [[s.name, " ".join(s.subjects), s.messages, s.bytes, s.consumers] for s in found]
    show_table(["stream", "subjects", "messages", "bytes", "consumers"], rows)


@dlq.command(name="ls")
def dlq_ls(
    *, url: Url = None, stream: str | None = None, consumer: str | None = None, limit: int = 1000, json: Json = False
) -> None:
    """The oldest dead letters."""
    with SmithBus(url) as bus:
        found = bus.dead_letters.list(stream=stream, consumer=consumer, limit=limit)
    if json:
        show_json(found)
        return
    show_table(
        ["id", "subject", "attempts", "error"], [[d.id, d.subject, d.attempts, f"{d.error_type}: {d.error}"] for d in found]
    )


@dlq.command
def show(id: str, /, *, url: Url = None, json: Json = False) -> None:
    """One dead letter, whole. ID is {stream}.{consumer}.{seq}."""
    with SmithBus(url) as bus:
        found: DeadLetter = bus.dead_letters.get(id)
    if json:
        show_json(found)
        return
    for name, value in msgspec.structs.asdict(found).items():
        if name != "payload":
            print(f"{name}: {value}")
    print(found.payload.decode("utf-8", "backslashreplace"))


@app.command
def codegen(spec: Path = Path("subjects.toml"), out_dir: Path = Path(), /, *, check: bool = False) -> int:
    """Generate typed subjects and payloads from SPEC into the package directory OUT_DIR."""
    from smith_codegen.cli import main as generate

    return generate([str(spec), str(out_dir), *(["--check"] if check else [])])
