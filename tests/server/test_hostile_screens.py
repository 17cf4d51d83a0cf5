"""Hostile names, payloads, headers and errors: what the commands and the loggers let out of them.

Every test looks at all that came out: no control character, and no line that the author of a
message chose.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from buses import Account, Face, log_entry, read_intent
from cli import Smith, shown_at
from letters import original, put_letters
from msgspec.structs import replace
from support import eventually_async, raw_client
from worker_command import Start

from smith_sdk import AsyncSmithBus, Backoff, Deny, Quarantine, Reject, RetryPolicy, consumers, result_of, subjects
from smith_sdk._core import codec
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk._core.log_records import FIELDS, ConsumerLog, LogFields, consumer_log, sdk_logger
from smith_sdk._core.outbox.file import OutboxDatabase
from smith_sdk.cli.commands import COMMANDS
from smith_sdk.protocol import ExecutionError

FORGED: Final = "FORGED line"
HOSTILE: Final = (
    f"\x1b]0;owned\x07\x9b31m\u202e\u200f\ufeff\x7f[bold][link=http://x.example]<script>\t|\r\n{FORGED}\u2028{FORGED}\x85{FORGED}"
)
CONTROL: Final = frozenset("\x1b\x07\x9b\u202e\u200f\ufeff\x7f\t\r\u2028\x85")
TOKEN: Final = "\x1b]0;owned\x07\u202e"
"""What a token of a subject may hold: the server refuses white space there."""
LONG: Final = "A" * 1_200_000
FAST: Final = RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.02, max=0.02, jitter=0))
intents, vetted = subjects.intents.raw, subjects.intents.vetted


def assert_harmless(shown: str, what: object, *, tabs: bool = False) -> None:
    """`tabs`: of tracebacks, whose lines stay lines."""
    wrong = sorted((set(shown) & CONTROL) - ({"\t"} if tabs else set()))
    assert wrong == [], (what, [line for line in shown.splitlines() if set(line) & set(wrong)][:3])
    forged = [line for line in shown.splitlines() if line.startswith(FORGED)]
    assert forged == [], (what, shown[:2000])


async def send(url: str, subject: str, payload: bytes, **headers: str) -> None:
    """As a publisher that is not the SDK: subjects and headers are any bytes."""
    reader, writer = await raw_client(url, headers=True)
    block = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items()) + b"\r\n"
    size = f"{len(block)} {len(block) + len(payload)}"
    writer.write(f"HPUB {subject} {size}\r\n".encode() + block + payload + b"\r\nPING\r\n")
    async with asyncio.timeout(20):
        await reader.readuntil(b"PONG\r\n")
    writer.close()


ODD: Final = HOSTILE.replace("\r\n", "\x0b")
"""What a header may hold."""
INTENT: Final = read_intent(HOSTILE)
LETTER: Final = "SYSTEM_EVENTS.reader.1"


EVIL: Final = f"EVIL{TOKEN}"
"""A name that the server accepts, and the SDK does not."""


async def fill(url: str) -> None:
    """Everything that the commands show, and nothing there is what it should be."""
    config = {"name": EVIL, "subjects": ["evil.>"], "description": HOSTILE, "metadata": {ODD: ODD}}
    async with AsyncSmithBus(url, manage="apply", profile="dev") as bus:
        await bus.publish(intents.of(INTENT), INTENT)
        failed = result_of(INTENT, status="error", error=ExecutionError(code=HOSTILE, message=HOSTILE), output={HOSTILE: HOSTILE})
        await bus.publish(subjects.results.of(failed), failed)
        entry = replace(log_entry(HOSTILE), fields={HOSTILE: HOSTILE})
        await bus.emit(subjects.logs.errors.of(entry), entry)
        await put_letters(
            bus, original(1, data=HOSTILE.encode()), error_type=ODD, error=HOSTILE, cause=ValueError(HOSTILE), worker=ODD
        )
    kept = json.dumps({"intent": base64.b64encode(codec.encode(INTENT)).decode(), "reason": HOSTILE, "timestamp_ns": 1})
    for payload in (HOSTILE, kept):
        await send(url, "smith.intents.quarantine.fs.read.v1", payload.encode(), **{"Smith-Quarantine-Rule": ODD, "X-Own": ODD})
    facts = {"Smith-Dead-Subject": ODD, "Smith-Dead-Error": ODD, "Smith-Dead-Error-Type": ODD, "Smith-Dead-Worker": ODD}
    facts |= {"Smith-Dead-Host": ODD, "Smith-Dead-Attempts": ODD, "Smith-Dead-Stored": ODD, "Smith-Replay-Of": ODD, "X-Own": ODD}
    facts |= {"Smith-Dead-Traceback": json.dumps(HOSTILE)}
    await send(url, "smith.dlq.SYSTEM_EVENTS.reader.2", HOSTILE.encode(), **facts)
    claim = {"rule": HOSTILE, "reason": HOSTILE, "owner": HOSTILE, "since": "2026-01-01T00:00:00Z", "actions": [HOSTILE]}
    for key, value in (("backpressure.a", claim), ("backpressure.b", HOSTILE), (f"backpressure.{TOKEN}", 7)):
        await send(url, f"$KV.SMITH_CONTROL.{key}", json.dumps(value).encode())
    held = {"rules": {HOSTILE: {"max_ack_pending": 2**60}}, "before": {"max_ack_pending": -(2**60)}}
    await send(url, f"$KV.SMITH_CONTROL.held.{TOKEN}.{TOKEN}", json.dumps(held).encode())
    shard = {"instance": ODD, "host": HOSTILE, "member": ODD, "pin": ODD, "episode_id": HOSTILE, "why": HOSTILE, "stream": ODD}
    for key in (
        "members.a",
        f"members.{TOKEN}",
        "owners.1-00",
        "owners.1-zz",
        "moves.1-01",
        "halted.000000000000002a",
        f"halted.{TOKEN}",
    ):
        text = json.dumps({**shard, "dead_letter": ODD, "project": ODD, "by": ODD}).encode()
        await send(url, f"$KV.SMITH_CONTROL.shards.episode.{key}", text, **{"Nats-TTL": "600s"})
    await send(url, f"$JS.API.STREAM.CREATE.{EVIL}", json.dumps(config).encode())
    reader = {"durable_name": EVIL, "ack_policy": "explicit", "description": HOSTILE}
    asked = json.dumps({"stream_name": "SYSTEM_EVENTS", "config": reader}).encode()
    await send(url, f"$JS.API.CONSUMER.DURABLE.CREATE.SYSTEM_EVENTS.{EVIL}", asked)
    for subject in (f"smith.events.{TOKEN}.x", f"smith.results.{TOKEN}", f"smith.intents.raw.{TOKEN}", f"smith.dlq.S.{TOKEN}.1"):
        await send(url, subject, HOSTILE.encode(), **{"X-Odd": ODD, "Nats-Msg-Id": ODD})


@pytest.fixture
def smith(account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Smith:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return Smith(capsys)


@pytest.fixture
def hostile(account: Account) -> Iterator[None]:
    """A server with hostile texts wherever one fits."""
    asyncio.run(fill(account.url))
    yield
    asyncio.run(send(account.url, f"$JS.API.STREAM.DELETE.{EVIL}", b""))


OUTBOX: Final = "outbox.db"
"""In the directory of the test."""


@pytest.fixture(autouse=True)
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of an outbox that somebody else has written, or a server has refused."""
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(OutboxDatabase.open(OUTBOX)) as file, file.transaction():
        id = file.add(PublishRequest(HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE, {"a": HOSTILE}), 1, 0.0, 0.0)
        file.fail([(id, HOSTILE)], 0.0)
        file.add(PublishRequest(HOSTILE, HOSTILE.encode(), HOSTILE, HOSTILE), 1, 0.0, None)


SHOWING: Final = (
    ("outbox", "ls", OUTBOX),
    ("streams", "ls"),
    ("streams", "show", "SYSTEM_EVENTS"),
    ("streams", "plan", "--profile", "dev"),
    ("streams", "plan", "--profile", "dev", "--prune"),
    ("streams", "verify", "--profile", "dev"),
    ("consumers", "ls"),
    ("consumers", "show", "executor-fs-read"),
    ("health",),
    ("lag", "--interval", "0.1"),
    ("lag", "--all", "--interval", "0.1"),
    ("workers",),
    ("backpressure", "show"),
    ("domains", "ls", "--interval", "0.1"),
    ("domains", "move", "eu", "--dry-run"),
    ("shards", "ls"),
    ("shards", "members"),
    ("shards", "halted"),
    ("shards", "reshard", "--to", "8", "--dry-run"),
    ("dlq", "ls"),
    ("dlq", "ls", "--group-by", "error,subject,worker"),
    ("dlq", "show", LETTER),
    ("dlq", "show", "SYSTEM_EVENTS.reader.2"),
    ("dlq", "audit"),
    ("dlq", "replay", "--all", "--dry-run"),
    ("dlq", "discard", "--all", "--dry-run"),
    ("quarantine", "ls"),
    ("quarantine", "show", "1"),
    ("quarantine", "show", "2"),
    ("quarantine", "release", "--all", "--dry-run"),
    ("quarantine", "discard", "--all", "--dry-run"),
    ("tail", "intents.raw", "--all"),
    ("tail", "results", "--all"),
    ("tail", "smith.events.>", "--all"),
    ("tail", "dlq", "--all"),
    ("trace", INTENT.id),
)
CHANGING: Final = (
    ("outbox", "flush", OUTBOX),
    ("dlq", "replay", LETTER),
    ("dlq", "replay", "SYSTEM_EVENTS.reader.2"),
    ("dlq", "discard", "--all", "--yes"),
    ("quarantine", "release", "2", "--by", HOSTILE),
    ("quarantine", "release", "1"),
    ("quarantine", "discard", "--all", "--yes"),
    ("shards", "move", "00", "--to", "a"),
    ("shards", "drain", "a"),
    ("shards", "resume", "000000000000002a", "--hash"),
)


def test_no_command_shows_a_hostile_text_as_it_is(hostile: None, smith: Smith) -> None:
    quoted = 0
    for command in SHOWING:
        for form in ((), ("--json",)):
            done = smith(*command, *form)
            assert_harmless(done.out + done.err, (*command, *form))
            quoted += "owned" in done.out
            if form and done.out and "tail" not in command:
                json.loads(done.out)
    assert quoted > 20  # otherwise there was nothing hostile to show
    assert r"\x1b]0;owned\x07\x9b31m\u202e" in smith("dlq", "ls").out
    assert "[bold][link=http://x.example]" in smith("dlq", "show", LETTER).out
    for command in CHANGING:
        done = smith(*command)
        assert_harmless(done.out + done.err, command)


@pytest.mark.parametrize("columns", [60, 200])
def test_no_command_shows_it_on_a_terminal(hostile: None, smith: Smith, columns: int) -> None:
    quoted = 0
    for command in SHOWING:
        if not {"plan", "verify", "audit", "health", "replay", "release"} & {*command}:  # these end with another status
            shown = shown_at(columns, *command)
            assert_harmless(shown, command)
            quoted += "owned" in shown
    assert quoted > 6


WRONG: Final = (
    (HOSTILE,),
    ("outbox", "ls", HOSTILE),
    ("outbox", "flush", HOSTILE),
    ("outbox", "discard", OUTBOX, HOSTILE),
    ("streams", HOSTILE),
    ("streams", "ls", f"--{HOSTILE}"),
    ("streams", "show", HOSTILE),
    ("streams", "plan", "--profile", HOSTILE),
    ("streams", "purge", HOSTILE, "--dry-run"),
    ("consumers", "show", HOSTILE),
    ("consumers", "pause", HOSTILE, "--for", "1s"),
    ("dlq", "show", HOSTILE),
    ("dlq", "show", f"S.{TOKEN}.1x"),
    ("dlq", "ls", "--since", HOSTILE),
    ("dlq", "ls", "--group-by", HOSTILE),
    ("dlq", "replay", HOSTILE),
    ("dlq", "discard", HOSTILE, "--yes"),
    ("backpressure", "clear", HOSTILE),
    ("domains", "move", HOSTILE),
    ("domains", "move", "eu", "--to", HOSTILE),
    ("shards", "ls", "--sharding", HOSTILE),
    ("shards", "move", HOSTILE, "--to", HOSTILE),
    ("shards", "move", "00", "--to", HOSTILE),
    ("shards", "drain", HOSTILE),
    ("shards", "resume", HOSTILE, "--project", HOSTILE),
    ("shards", "resume", HOSTILE, "--hash"),
    ("shards", "reshard", "--to", HOSTILE),
    ("quarantine", "show", HOSTILE),
    ("quarantine", "ls", "--rule", HOSTILE, "--until", HOSTILE),
    ("quarantine", "release", HOSTILE),
    ("quarantine", "discard", HOSTILE, "--yes"),
    ("tail", HOSTILE),
    ("tail", f"smith.{TOKEN}"),
    ("trace", HOSTILE),
    ("publish", HOSTILE),
    ("publish", "events.health", f"service={HOSTILE}", "healthy=true"),
    ("publish", "events.health", f"{HOSTILE}=x"),
    ("publish", "events.health", "--file", HOSTILE),
    ("execute", HOSTILE),
    ("execute", "fs.read.v1", f"{HOSTILE}=1"),
    ("execute", "fs.read.v1", "path=/x", "--domain", HOSTILE),
    ("execute", "fs.read.v1", "path=/x", "--signing-key", HOSTILE.replace("\n", "")),
    ("top", "--size", HOSTILE),
    ("top", "--interval", HOSTILE),
    ("worker", HOSTILE),
    ("worker", f"os:{HOSTILE}"),
    ("worker", "os:path", "--log-config", HOSTILE),
    ("admission", "--policy", HOSTILE),
    ("keys", "show", HOSTILE),
    ("demo", HOSTILE),
    ("dev", "--context", f"/{HOSTILE}"),
    ("dev", "--profile", HOSTILE),
    ("monitor", HOSTILE),
    ("monitor", "--check", "--contract", HOSTILE),
    ("monitor", "--check", "--webhook", HOSTILE),
    ("monitor", "--check", "--webhook", "https://h", "--secret-file", HOSTILE),
    ("lag", HOSTILE),
    ("lag", "--plot", HOSTILE),
    ("health", "--url", f"nats://{HOSTILE}"),
    ("codegen", HOSTILE, HOSTILE),
    ("completion", HOSTILE),
    ("export", HOSTILE),
    ("export", "keda", HOSTILE),
    ("export", "keda", "--endpoint", HOSTILE),
    ("export", "keda", "--deployment", HOSTILE),
    ("export", "grafana", "--contract", HOSTILE),
    ("export", "grafana", "-o", f"{HOSTILE}/x"),
    ("streams", "ls", "--url", f"nats://u:{HOSTILE}@127.0.0.1:1"),
    ("streams", "ls", "--context", HOSTILE),
    ("streams", "ls", "--creds", HOSTILE),
    ("streams", "ls", "--tlsca", HOSTILE),
    ("streams", "ls", "--contract", HOSTILE),
)


def test_no_error_shows_a_hostile_argument_as_it_is(hostile: None, smith: Smith) -> None:
    assert {command[0] for command in (*SHOWING, *WRONG)} >= COMMANDS.keys()
    for command in WRONG:
        done = smith(*command)
        assert_harmless(done.out + done.err, command)
        assert done.status != 0, command
        assert len(done.err) < 20_000, command


def test_a_hostile_result_is_not_shown_as_it_is(account: Account, smith: Smith) -> None:
    """Of `smith execute`: the error is quoted, and an output on a terminal."""

    async def answer(outputs: list[Any]) -> None:
        async with AsyncSmithBus(account.url, manage="apply", profile="dev") as bus:
            async for message in bus.consumer(consumers.admission).messages():
                output = outputs.pop(0)
                wrong = ExecutionError(code=HOSTILE, message=HOSTILE + LONG) if output is None else None
                result = result_of(message.payload, status="error" if wrong else "ok", error=wrong, output=output)
                await bus.publish(subjects.results.of(result), result)
                await message.ack()
                if not outputs:
                    return

    async def run() -> list[tuple[int, str]]:
        answering = asyncio.ensure_future(answer([None, HOSTILE, {HOSTILE: HOSTILE}]))
        await asyncio.sleep(0)
        found = []
        for form in ((), ("--json",), ()):
            done = await asyncio.to_thread(smith, "execute", "fs.read.v1", "path=/x", *form)
            found.append((done.status, done.out + done.err))
        await answering
        return found

    async def apply() -> None:
        async with AsyncSmithBus(account.url, manage="apply", profile="dev"):
            pass

    asyncio.run(apply())
    failed, as_json, shown = asyncio.run(run())
    assert failed[0] == 1
    assert as_json[0] == shown[0] == 0
    assert len(failed[1]) < 5000
    for _, text in (failed, as_json, shown):
        assert_harmless(text, "execute")
        assert "owned" in text


TAGS: Final = {"table", "thead", "tbody", "tr", "th", "td", "pre", "p", "div", "b", "code", "details", "summary"}


async def test_no_repr_and_no_cell_of_a_notebook_shows_it(hostile: None, face: Face) -> None:
    async with face.bus(face.url) as bus:
        found: list[Any] = [await bus.dead_letters.list(), await bus.trace(INTENT.id)]
        found += [found[0][0], await bus.streams.info(), await bus.streams.plan(profile="dev", prune=True)]
        found += [one async for one in bus.read(subjects.dlq.filter(), last=1)]
        found += [await bus.quarantine.list(), (await bus.quarantine.list())[1]]
        async with bus.subscribe(subjects.results.filter()) as results:
            await send(face.url, f"smith.results.{TOKEN}", HOSTILE.encode(), **{"X-Odd": ODD})
            found.append(await asyncio.wait_for(anext(results), 10))
    for one in found:
        one = getattr(one, "inner", one)
        for text in (repr(one), str(one)):
            assert_harmless(text, type(one))
        if hasattr(one, "_repr_html_"):  # a cell ends where its tag does, whatever lines are in it
            page = one._repr_html_()
            assert set(page) & CONTROL <= {"\t"}, type(one)
            assert set(re.findall(r"</?([a-z0-9]+)", page)) <= TAGS


async def test_a_trace_is_bounded(face: Face) -> None:
    async with face.applied() as bus:
        result = result_of(INTENT, status="error", error=ExecutionError(code="E", message=LONG))
        await bus.publish(subjects.results.of(result), result)
        trace = await bus.trace(INTENT.id)
    assert len(repr(trace)) < 8000
    assert "more characters)" in trace.steps[0].text


# ---- logs


@contextlib.contextmanager
def logged() -> Iterator[io.StringIO]:
    """What a plain handler of the program writes, with a time before each record."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    root, level = logging.getLogger(), logging.getLogger("smith_sdk").level
    root.addHandler(handler)
    logging.getLogger("smith_sdk").setLevel(logging.DEBUG)
    yield out
    root.removeHandler(handler)
    logging.getLogger("smith_sdk").setLevel(level)


@contextlib.asynccontextmanager
async def working(*parts: Any) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.gather(*running)


def hostile_error(message: Any) -> Any:
    error = ValueError(HOSTILE)
    error.add_note(HOSTILE)
    if message.payload.params.path == "reject":
        raise Reject(HOSTILE + LONG)
    raise ExceptionGroup(HOSTILE, [error, KeyError(HOSTILE)])


async def test_no_log_record_of_a_worker_or_an_admission_holds_it_as_it_is(face: Face, account: Account) -> None:
    def policy(intent: Any) -> Any:
        return Deny(HOSTILE) if intent.params.path == "deny" else Quarantine(HOSTILE)

    async def handle(message: Any) -> Any:
        return hostile_error(message)

    with logged() as out:
        async with face.applied() as bus, account.applied() as other:
            worker = face.worker(bus, consumers.executor_fs_read, retry=FAST)
            worker.handler(handle if face.is_async else hostile_error)
            admission = face.admission(bus, policy=policy, executor_id="tester")
            async with working(worker, admission):
                for path in ("reject", "raise"):
                    intent = read_intent(path)
                    await other.publish(vetted.of(intent), intent, msg_id=f"id {TOKEN} {path}")
                for path in ("deny", "quarantine"):
                    intent = read_intent(path)
                    await other.publish(intents.of(intent), intent)
                odd = json.dumps({"capability": HOSTILE + LONG, HOSTILE: HOSTILE}).encode()
                await send(account.url, f"smith.intents.raw.{TOKEN}", odd, **{"Nats-Msg-Id": ODD})
                await send(account.url, f"smith.intents.vetted.fs.read.v1.{TOKEN}", odd, **{"Nats-Msg-Id": ODD})
                await eventually_async(lambda: out.getvalue().count("dead letter ") >= 3, 20)
                await eventually_async(lambda: "quarantines" in out.getvalue(), 20)
    text = out.getvalue()
    assert_harmless(text, "log", tabs=True)
    assert text.count("owned") > 8
    names = ("DEBUG ", "INFO ", "WARNING ", "ERROR ")
    assert all(line.startswith((*names, "  ")) or not line for line in text.splitlines())
    assert max(map(len, text.splitlines())) < 8000


def test_every_logger_of_the_sdk_escapes() -> None:
    import smith_sdk.cli.worker
    import smith_sdk.sync  # noqa: F401  with all that they import

    names = [name for name in logging.root.manager.loggerDict if name.startswith("smith_sdk.")]
    assert len(names) >= 10
    logs: list[logging.Logger | ConsumerLog] = [logging.getLogger(name) for name in names if not name.endswith(".test")]
    logs += [consumer_log(HOSTILE, HOSTILE), sdk_logger("new")]
    with logged() as out:
        for log in logs:
            log.warning("about %s and %r", HOSTILE, HOSTILE, extra=LogFields(subject=HOSTILE))
            try:
                raise ValueError(HOSTILE)
            except ValueError as error:
                log.error("%s", error, exc_info=True)
    assert_harmless(out.getvalue(), "loggers", tabs=True)
    assert out.getvalue().count("about ") == len(logs)
    assert "msg_id" in FIELDS


HOSTILE_MODULE: Final = f"""
    import logging
    HOSTILE = {HOSTILE!r}
    worker = Worker(AsyncSmithBus(), consumers.executor_fs_read, retry=__import__("smith_sdk").RetryPolicy(max_attempts=1))

    @worker.handler
    async def handle(message):
        logging.getLogger("mine").warning("read %s", HOSTILE, extra={{"what": HOSTILE}})
        raise ValueError(HOSTILE)
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_log_of_smith_worker(account: Account, start: Start, form: str) -> None:
    from support import eventually

    from smith_sdk import SmithBus

    run = start(HOSTILE_MODULE, "--log-format", form)
    with SmithBus(account.url) as bus:
        bus.publish(vetted.of(INTENT), INTENT)
        eventually(lambda: run.logged("dead letter "), 30)
    run.end()
    text = "\n".join(run.err)
    assert_harmless(text, form, tabs=True)
    assert text.count("owned") >= 3
    if form == "json":
        assert [json.loads(line)["what"] for line in run.err if '"mine"' in line] == [HOSTILE]


def test_the_demo_shows_no_hostile_name(tmp_path: Path, smith: Smith, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN, f"a\n{FORGED}", f".{TOKEN}"):
        (tmp_path / name).write_text("x")
    (tmp_path / f"link\n{FORGED}{TOKEN}").symlink_to("nowhere")
    done = smith("demo", str(tmp_path), "--workers", "1")
    assert_harmless(done.out + done.err, "demo")
    assert done.status == 0
