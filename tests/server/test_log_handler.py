"""`SmithLogHandler`: what it sends where, and that it neither blocks, nor recurses, nor loses
silently."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from buses import Account, Face, read_intent, request
from chaos.proxy import Proxy
from support import eventually_async

from smith_codegen import permissions, sources
from smith_sdk import AsyncSmithBus, Auth, consumers, subjects
from smith_sdk._core import codec, log_sender
from smith_sdk.errors import OptionsError
from smith_sdk.logging import SmithLogHandler, correlation_id
from smith_sdk.protocol import LogEntry

NAME = "planted.part"


class Received:
    """All entries that arrive on a server, by a client of its own."""

    def __init__(self, bus: AsyncSmithBus) -> None:
        self._bus = bus
        self.found: list[tuple[str, Any]] = []

    async def start(self) -> None:
        await self._bus._connection.subscribe("smith.logs.>", lambda one: self.found.append((one.subject, one.data)))
        await self._bus._connection.confirm()

    @property
    def entries(self) -> list[LogEntry]:
        return [codec.decode(LogEntry, data, subject) for subject, data in self.found]

    @property
    def messages(self) -> list[str]:
        return [one.message for one in self.entries]

    async def until(self, *messages: str) -> list[LogEntry]:
        await eventually_async(lambda: set(messages) <= set(self.messages), 20)
        return self.entries


@contextlib.contextmanager
def handling(bus: Any, name: str = NAME, **options: Any) -> Iterator[tuple[logging.Logger, SmithLogHandler]]:
    """A logger whose records go to `bus`, and nowhere else."""
    handler = SmithLogHandler(getattr(bus, "inner", bus), **{"service": "reader", **options})
    log = logging.getLogger(name)
    before = log.level, log.propagate
    log.setLevel(1)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield log, handler
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before
        handler.close()


@contextlib.asynccontextmanager
async def receiving(url: str) -> AsyncIterator[Received]:
    async with AsyncSmithBus(url) as bus:
        received = Received(bus)
        await received.start()
        yield received


async def test_each_record_goes_to_its_subject(face: Face) -> None:
    async with receiving(face.url) as received, face.bus(face.url) as bus:
        with handling(bus) as (log, _):
            for level in (5, 10, 20, 30, 40, 50):
                log.log(level, "at %d", level)
            log.error("slow", extra={"performance_category": {"kind": "latency"}})
            log.warning("refused", extra={"security_event": "login failed!", "user": "u"})
            await received.until("at 50", "slow", "refused")
    assert [(subject, one.level, one.message) for (subject, _), one in zip(received.found, received.entries, strict=True)] == [
        ("smith.logs.reader.trace", "TRACE", "at 5"),
        ("smith.logs.reader.debug", "DEBUG", "at 10"),
        ("smith.logs.reader.info", "INFO", "at 20"),
        ("smith.logs.reader.warn", "WARN", "at 30"),
        ("smith.logs.errors.reader", "ERROR", "at 40"),
        ("smith.logs.errors.reader", "ERROR", "at 50"),
        ("smith.logs.performance.reader", "ERROR", "slow"),
        ("smith.logs.security.reader.login_failed_", "WARN", "refused"),
    ]
    first, critical, slow, refused = (received.entries[index] for index in (0, 5, 6, 7))
    assert (first.service, first.target, first.metadata.file) == ("reader", NAME, __file__)
    assert first.timestamp.endswith("Z")
    assert (critical.fields, refused.fields) == ({"level_name": "CRITICAL"}, {"user": "u"})
    assert slow.metadata.performance_category == {"kind": "latency"}
    assert len({one.node_id for one in received.entries}) == 1


HUGE = f"nats://me:s3cret{'x' * 9000}@host"
"""A URL that is cut in its password where a text is shortened."""


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


async def test_whatever_a_record_holds_becomes_an_entry(account: Account) -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    fields = {
        "nan": math.nan,
        "large": 2**80,
        "bytes": b"b",
        "surrogate": "\ud800",
        "odd": Odd(),
        "kind": int,
        "deep": deep,
        "long": "x" * 100_000,
        "url": "nats://user:s3cret@host",
    }
    async with receiving(account.url) as received, AsyncSmithBus(account.url) as bus:
        with handling(bus) as (log, _):
            try:
                raise ValueError("tls://me:s3cret@host is away")
            except ValueError:
                log.exception("\ud800 failed at nats://me:s3cret@host", extra=fields)
            log.info("z" * 8150 + " nats://me:s3cret" + "x" * 100 + "@host", extra={"cut": "y" * 4080 + HUGE})
            log.info("many", extra={f"field{number}": "y" * 8000 for number in range(100)})
            log.info("long " + "z" * 50_000)
            log.info("%d %s", "wrong")
            log.info("last")
            entry, _, many, long, *_ = await received.until("last")
    assert b"s3cret" not in b"".join(data for _, data in received.found)
    assert entry.message == "\\ud800 failed at nats://***@host"
    assert (entry.fields["nan"], entry.fields["large"], entry.fields["surrogate"]) == (None, 2**80, "\\ud800")
    assert entry.fields["odd"] == "(a Odd, whose __str__ raised RuntimeError)"
    assert (entry.fields["kind"], entry.fields["url"]) == ("<class 'int'>", "nats://***@host")
    assert "ValueError: tls://***@host is away" in entry.fields["exception"]
    assert len(entry.fields["long"]) < 10_000
    assert "omitted" in many.fields
    assert len(long.message) < 10_000
    assert len(received.found) == 5  # the one with wrong arguments went to stderr, as for any handler


async def test_levels_targets_and_filters(account: Account) -> None:
    async with receiving(account.url) as received, AsyncSmithBus(account.url) as bus:
        targets = {"planted.noisy": "ERROR", "planted.noisy.part": logging.DEBUG}
        with handling(bus, "planted", level="INFO", targets=targets) as (log, handler):
            handler.addFilter(lambda record: record.msg != "filtered")
            for name in ("a", "noisy", "noisy.part", "noisy.other", "noisyx"):
                for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                    logging.getLogger(f"planted.{name}").log(level, "%s %d", name, level)
            log.error("filtered")
            log.error("last")
            await received.until("last")
    assert received.messages == [
        *("a 20", "a 40", "noisy 40", "noisy.part 20", "noisy.part 40", "noisy.other 40", "noisyx 20", "noisyx 40"),
        "last",
    ]


async def test_what_is_dropped_is_counted_and_reported(face: Face) -> None:
    async with receiving(face.url) as received, face.bus(face.url) as bus:
        with handling(bus, per_second=5) as (log, handler):
            for number in range(100):
                log.info("%d", number)
            assert 0 < handler.dropped <= 95

            def reported() -> int:
                return sum(one.fields["dropped"] for one in received.entries if "were dropped" in one.message)

            await eventually_async(lambda: reported() == handler.dropped)  # the first report may come before the last drop
        dropped = [one for one in received.entries if "were dropped" in one.message]
        assert {(one.level, one.target) for one in dropped} == {("WARN", "smith_sdk.logging")}
        assert received.messages[:5] == list("01234")


async def test_the_queue_is_bounded(account: Account) -> None:
    async with receiving(account.url) as received, AsyncSmithBus(account.url) as bus:
        with handling(bus, capacity=7) as (log, handler):
            for number in range(20):  # without a turn of the event loop in between
                log.info("%d", number)
            assert handler.dropped == 13
            await received.until("6")
            log.info("more")
            await received.until("more")


async def test_the_queue_is_bounded_in_bytes(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sender, "_MAX_BYTES", 20_000)
    async with AsyncSmithBus(account.url) as bus, receiving(account.url) as received:
        with handling(bus) as (log, handler):
            for number in range(20):
                log.error("%d %s", number, "x" * 4000)
            assert 15 <= handler.dropped < 20
            await eventually_async(lambda: any("were dropped" in one for one in received.messages), 20)
            before = handler.dropped
            log.error("there is room again")
            await received.until("there is room again")
            assert handler.dropped == before


async def test_without_a_connection_records_go_to_stderr(
    face: Face, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sender, "_STDERR_PER_SECOND", 0.001)
    bus = face.bus(face.url)
    async with receiving(face.url) as received:
        with handling(bus) as (log, handler):
            log.info("before nats://a:s3cret@b\nforged \x1b[31m")
            async with bus:
                log.info("while")
            log.info("after")
            for number in range(1000):
                log.info("storm %d", number)
            handler.flush()
            error = capsys.readouterr().err
            await received.until("while")
            assert received.messages == ["while"]
        lines = error.splitlines()
        assert lines[0].endswith(f"INFO {NAME}: before nats://***@b")
        assert lines[1] == r"  forged \x1b[31m"
        assert lines[2].endswith("after")
        assert len([line for line in lines if " storm " in line]) == log_sender._STDERR_BURST - 2
        assert handler.dropped == 1002 - log_sender._STDERR_BURST
        assert "log records were dropped" in error
        with handling(bus, to_stderr=False) as (log, _):
            log.info("nowhere")
        assert "nowhere" not in capsys.readouterr().err


async def test_closing_the_bus_sends_what_waits(face: Face) -> None:
    async with receiving(face.url) as received, face.bus(face.url) as bus:
        with handling(bus) as (log, _):
            log.info("connected")
            await received.until("connected")
            for number in range(500):
                log.info("%d", number)
            await bus.close()
            await received.until("499")
    assert received.messages == ["connected", *map(str, range(500))]


async def test_records_of_an_outage_go_to_stderr_and_later_ones_to_the_bus(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    async with receiving(account.url) as received:
        with Proxy(account.url) as proxy:
            async with AsyncSmithBus(proxy.url) as bus:
                with handling(bus) as (log, _):
                    log.info("first")
                    await received.until("first")
                    proxy.cut()
                    await eventually_async(lambda: not bus._connection.is_up)
                    log.info("during")
                    proxy.restore()
                    await eventually_async(lambda: bus._connection.is_up, 20)
                    log.info("later")
                    await received.until("later")
    assert received.messages == ["first", "later"]
    assert [line for line in capsys.readouterr().err.splitlines() if line.endswith("during")]


async def test_threads_the_event_loop_and_signal_handlers_may_log(face: Face) -> None:
    async with receiving(face.url) as received, face.bus(face.url) as bus:
        with handling(bus) as (log, handler):

            def on_signal(*_: object) -> None:
                log.info("signal")
                handler.flush()

            def log_many(thread: int) -> None:
                for number in range(100):
                    log.info("%d.%d", thread, number)

            before = signal.signal(signal.SIGUSR1, on_signal)
            try:
                signal.raise_signal(signal.SIGUSR1)
            finally:
                signal.signal(signal.SIGUSR1, before)
            threads = [threading.Thread(target=log_many, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            log.info("loop")
            handler.flush()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            await asyncio.to_thread(handler.flush)
            await received.until("signal", "loop", *(f"{n}.{i}" for n in range(4) for i in range(100)))
            assert len(received.found) == 402
            assert handler.dropped == 0


async def test_sending_causes_no_records_that_are_sent(make_server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A user that may not publish logs, and a handler that gets all records of the SDK."""
    allowed = permissions.block(sources.load_package("smith_sdk"), "publisher", subjects=["events.health"])
    users = [permissions.User(name="owner", password="a"), permissions.User(name="p", password="a", permissions=allowed)]
    server = make_server(config=permissions.authorization(users))
    seen: list[logging.LogRecord] = []

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    watching = Watching()
    async with AsyncSmithBus(server.url, auth=Auth(user="p", password="a"), inbox_prefix=allowed.inbox_prefix) as bus:
        with handling(bus, "smith_sdk") as (log, _):
            log.addHandler(watching)
            try:
                log.error("one")
                await eventually_async(lambda: any("forbid publishing" in one.getMessage() for one in seen))
                for _ in range(20):
                    await asyncio.sleep(0.02)
                    await request(bus)
            finally:
                log.removeHandler(watching)
    assert len(seen) < 10, [one.getMessage() for one in seen]

    class Logging:
        def __str__(self) -> str:
            logging.getLogger(NAME).error("from within")
            return "text"

    with handling(AsyncSmithBus(server.url)) as (log, _):
        log.error("%s", Logging())
    assert "text" in capsys.readouterr().err


async def test_entries_say_which_intent_they_are_about(face: Face) -> None:
    log = logging.getLogger(NAME)
    async with face.applied() as bus, receiving(face.url) as received:
        with handling(bus):
            worker = face.worker(bus, consumers.executor_fs_read)
            (worker if face.is_async else worker.inner).handler(lambda message: log.info("handled"))
            running = asyncio.ensure_future(worker.run(signals=()))
            intent = read_intent()
            await bus.publish(subjects.intents.vetted.of(intent), intent)
            (handled,) = await received.until("handled")
            correlation_id.set("request-7")
            log.info("mine")
            log.info("named", extra={"intent_id": "other"})
            log.info("given", extra={"correlation_id": "third"})
            _, mine, named, given = await received.until("given")
            await worker.stop()
            await running
    assert [one.correlation_id for one in (handled, mine, named, given)] == [intent.id, "request-7", "other", "third"]
    assert (named.fields, given.fields) == ({"intent_id": "other"}, {})


SCRIPT = """
import logging, os, sys
from smith_sdk import SmithBus
from smith_sdk.logging import SmithLogHandler

bus = SmithBus()
bus.connect()
log = logging.getLogger("app")
log.setLevel(logging.INFO)
log.addHandler(SmithLogHandler(bus, service="script"))
log.info("waits")
if os.fork() == 0:
    log.info("in the fork")
    sys.exit()
os.wait()
log.info("at the end")
if "close" in sys.argv:
    bus.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["close", "leave"])
async def test_a_fork_and_the_end_of_the_interpreter(account: Account, how: str) -> None:
    async with receiving(account.url) as received:
        env = {**os.environ, "SMITH_NATS_URL": account.url}
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, how]
        done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        lines = [line.rpartition(": ")[2] for line in done.stderr.splitlines() if " app: " in line]
        assert lines == ["in the fork"], done.stderr
        await received.until("at the end")
        assert received.messages == ["waits", "at the end"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"service": "a b"}, "service='a b': a name is needed"),
        ({"service": "errors"}, "is none of errors"),
        ({"level": "LOUD"}, "level='LOUD'"),
        ({"targets": {"a": None}}, r"targets\['a'\]=None"),
        ({"per_second": 0}, "per_second=0"),
        ({"capacity": 0}, "capacity=0"),
        ({"timeout": -1}, "timeout=-1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        SmithLogHandler(AsyncSmithBus(), **{"service": "s", **options})


def test_another_object_is_not_a_bus() -> None:
    with pytest.raises(OptionsError, match="is not an AsyncSmithBus"):
        SmithLogHandler(object(), "s")  # type: ignore[arg-type]
