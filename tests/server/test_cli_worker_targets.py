"""What `smith worker` can be given: workers, admissions and factories, and errors for the rest."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from buses import Account, episode_intent, read_intent
from support import eventually
from worker_command import ASYNC, BLOCKING, LONG, MAKES, Run, Start, all_is_finished, let_go, put, write

from smith_sdk import SmithBus, consumers, subjects

FACTORIES = {
    "function": """
    def make():
        return made(AsyncSmithBus())
    """,
    "function of the blocking face": """
    def make():
        return made(SmithBus(), sync)
    """,
    "async function": """
    async def make():
        await asyncio.sleep(0)
        return [made(AsyncSmithBus())]
    """,
    "async function that connects": """
    async def make():
        bus = AsyncSmithBus()
        await bus.connect()
        return made(bus)
    """,
    "function of the blocking face that connects": """
    def make():
        bus = SmithBus()
        bus.connect()
        return made(bus, sync)
    """,
    "context manager": """
    import contextlib

    @contextlib.contextmanager
    def make():
        with SmithBus() as bus:
            yield made(bus, sync)
            say("closing", bus.state)
        say("closed")
    """,
    "async context manager": """
    import contextlib

    @contextlib.asynccontextmanager
    async def make():
        async with AsyncSmithBus() as bus, asyncio.timeout(None), asyncio.TaskGroup() as group:  # of one task
            yield (made(bus),)
            say("closing", bus.state)
        say("closed")
    """,
}


@pytest.mark.parametrize(
    ("source", "options"),
    [*((source, []) for source in FACTORIES.values()), (FACTORIES["async context manager"], ["--processes", "2"])],
    ids=[*FACTORIES, "in two processes"],
)
def test_a_factory_is_called_and_left_when_its_worker_has_stopped(
    smith_bus: SmithBus, start: Start, source: str, options: list[str]
) -> None:
    run = start(MAKES + source, *options, name="make")
    put(smith_bus, "a", "b")
    eventually(lambda: len(run.said("start")) == 2, LONG)
    eventually(lambda: run.count("running executor-fs-read") == (2 if options else 1), LONG)
    run.process.terminate()
    assert run.status() == 0
    eventually(lambda: all_is_finished(smith_bus))
    assert not run.logged("Traceback|Warning")
    if "contextlib" in source:
        count = 2 if options else 1
        # The bus of a factory is its own: it closes it.
        assert run.said("closing") == [["connected"]] * count
        assert run.said("closed") == [[]] * count


def test_an_admission_and_workers_of_both_faces_from_several_targets(
    account: Account, smith_bus: SmithBus, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write(
        tmp_path / "gate.py",
        """
    from smith_sdk import Admission, Allow
    admission = Admission(AsyncSmithBus(), policy=lambda intent: Allow(), executor_id="gate")
    blocking = sync.Admission(SmithBus(), policy=lambda intent: Allow(), executor_id="gate")
    """,
    )
    write(tmp_path / "jobs.py", f"{MAKES}\n    class Made:\n        worker = made(AsyncSmithBus())\n")
    write(
        tmp_path / "shards.py",
        """
    from smith_sdk import ShardedWorker, sharding
    one = ShardedWorker(AsyncSmithBus(), sharding.episode)
    two = sync.ShardedWorker(SmithBus(), sharding.episode)

    @one.handler
    @two.handler
    def handle(message):
        say("sharded", message.fence > 0)
    """,
    )
    run = Run(tmp_path, account.url, "gate:admission", "jobs:Made.worker", "gate:blocking", "shards:one", "shards:two")
    request.addfinalizer(run.end)
    keyed = episode_intent("ep", "/sharded")
    smith_bus.publish(subjects.intents.vetted_sharded.of(keyed), keyed)
    for path in ("a", "b", "c"):
        intent = read_intent(path)
        smith_bus.publish(subjects.intents.raw.of(intent), intent)
    eventually(lambda: len(run.said("start")) == 3, LONG)
    eventually(lambda: run.said("sharded") == [["True"]], LONG)
    run.process.terminate()
    assert run.status() == 0
    assert run.logged("running admission, executor-fs-read, admission, episode, episode")
    assert smith_bus.consumer(consumers.admission).info().num_pending == 0


HOOKED = {
    "async": """
    worker = Worker(AsyncSmithBus(), consumers.executor_fs_read)

    @worker.on_start
    async def begin():
        say("opened", os.getpid())

    @worker.on_stop
    async def end():
        say("closed", os.getpid())

    @worker.handler
    async def handle(message):
        say("start", os.getpid())
        while not message.draining:
            await asyncio.sleep(0.01)
    """,
    "blocking": """
    worker = sync.Worker(SmithBus(), consumers.executor_fs_read)

    @worker.on_start
    def begin():
        say("opened", os.getpid())

    @worker.on_stop
    def end():
        say("closed", os.getpid())

    @worker.handler
    def handle(message):
        say("start", os.getpid())
        while not message.draining:
            time.sleep(0.01)
    """,
}


@pytest.mark.parametrize(
    ("source", "processes"), [*((one, 1) for one in HOOKED.values()), (HOOKED["async"], 2)], ids=[*HOOKED, "two"]
)
def test_hooks_run_in_each_process_and_handlers_see_that_it_drains(
    smith_bus: SmithBus, start: Start, source: str, processes: int
) -> None:
    put(smith_bus, "a")
    run = start(source, "--processes", str(processes))
    eventually(lambda: run.said("start") and len(run.pids("opened")) == processes, LONG)
    opened = run.pids("opened")
    assert not run.said("closed")
    run.process.terminate()
    assert run.status() == 0
    assert run.pids("closed") == opened
    eventually(lambda: all_is_finished(smith_bus))
    assert run.count("stopped: 1 handled, 0 released") == 1


@pytest.mark.parametrize("face", ["Async", ""], ids=["async", "blocking"])
def test_a_cleanup_that_fails_is_logged_and_status_1(smith_bus: SmithBus, start: Start, tmp_path: Path, face: str) -> None:
    kind, word = ("asynccontextmanager", "async ") if face else ("contextmanager", "")
    run = start(
        f"""{MAKES}
    import contextlib

    @contextlib.{kind}
    {word}def make():
        yield made({face}SmithBus(), sys.modules["smith_sdk{"" if face else ".sync"}"])
        raise ValueError("the pool is gone")
    """,
        name="make",
    )
    eventually(lambda: run.logged("running "), LONG)
    run.process.terminate()
    assert run.status() == 1
    assert run.logged("closing what jobs:make made failed: ValueError: the pool is gone")
    assert run.count(f'File "{tmp_path}/jobs.py", line ') == 1


def test_a_task_group_that_fails_while_its_workers_run_stops_them(smith_bus: SmithBus, start: Start, tmp_path: Path) -> None:
    run = start(
        f"""{MAKES}
    import contextlib

    async def refresh():
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        raise ValueError("the token has expired")

    @contextlib.asynccontextmanager
    async def make():
        async with asyncio.TaskGroup() as group:
            group.create_task(refresh())
            yield made(AsyncSmithBus())
    """,
        name="make",
    )
    put(smith_bus, "a")
    eventually(lambda: run.said("start"), LONG)
    let_go(tmp_path)
    assert run.status() == 1
    assert run.logged("a context manager has ended while its workers ran: ExceptionGroup")
    assert run.logged("ValueError: the token has expired")
    assert run.logged("stopped: 1 handled, 0 released")
    eventually(lambda: all_is_finished(smith_bus))


def test_a_factory_that_cannot_reach_the_server(start: Start) -> None:
    run = start(MAKES + FACTORIES["async context manager"], name="make", url="nats://127.0.0.1:1")
    assert run.status() == 1
    assert run.logged("jobs:make failed: ConnectError: no NATS server at nats://127.0.0.1:1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_while_a_factory_runs_ends_at_once_and_cleans_up(
    smith_bus: SmithBus, start: Start, number: signal.Signals
) -> None:
    slow = """
    import contextlib

    @contextlib.asynccontextmanager
    async def first():
        yield made(AsyncSmithBus())
        say("closed")

    def second():
        say("loading")
        time.sleep(600)
    """
    run = start(MAKES + slow, "jobs:second", name="first")
    eventually(lambda: run.said("loading") == [[]], LONG)
    run.process.send_signal(number)
    assert run.status() == 0
    assert run.said("closed") == [[]]
    assert run.logged(f"{number.name} before the first message")


# ---- where its buses connect

CLOSED = "nats://127.0.0.1:1"


@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one", "two"])
@pytest.mark.parametrize("source", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_the_options_about_the_server_are_for_its_buses(
    smith_bus: SmithBus, account: Account, start: Start, tmp_path: Path, source: str, options: list[str]
) -> None:
    (tmp_path / "go").touch()
    run = start(source, "--url", account.url, *options, url=CLOSED)
    put(smith_bus, "a")
    eventually(lambda: run.said("end"), LONG)
    run.process.send_signal(signal.SIGTERM)
    assert run.status() == 0


def test_a_context_for_a_worker_and_options_that_exclude_each_other(
    smith_bus: SmithBus, account: Account, start: Start, tmp_path: Path
) -> None:
    contexts = tmp_path / "nats" / "context"
    contexts.mkdir(parents=True)
    (contexts / "near.json").write_text(json.dumps({"url": account.url}))
    (contexts.parent / "context.txt").write_text("far")
    (tmp_path / "go").touch()
    run = start(ASYNC, "--context", "near", XDG_CONFIG_HOME=str(tmp_path), SMITH_NATS_URL="")
    put(smith_bus, "a")
    eventually(lambda: run.said("end"), LONG)
    run.process.send_signal(signal.SIGTERM)
    assert run.status() == 0
    wrong = start(ASYNC, "--creds", "a", "--nkey", "b")
    assert wrong.status() == 2
    assert wrong.err == ["smith: --creds and --nkey exclude each other: pass one of them"]
    missing = start(ASYNC, "--creds", str(tmp_path / "no.creds"), url=CLOSED, NATS_USER="me", NATS_PASSWORD="hidden")
    assert missing.status() in (1, 2)
    assert "no.creds cannot be read" in missing.err[-1], "and not that there are two ways to sign in"
