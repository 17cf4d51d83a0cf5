"""`smith admission` and `smith keys` as people run them."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import read_intent
from cli import Smith
from msgspec.structs import replace
from support import eventually
from worker_command import LONG, Run

from smith_sdk import AsyncSmithBus, SmithBus, Trust, consumers, signing, subjects
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.protocol import FsReadV1Intent, IntentResult

POLICY = """
[[rule]]
name = "public"
effect = "allow"
capability = "fs.read.v1"
params.path = "/srv/**"
"""
MODULE = """
from smith_sdk import Allow, Deny

def decide(intent, message):
    return Allow() if intent.params.path == "/ok" and message.raw else Deny("not this one")

VALUE = 7
"""
Start = Callable[..., Run]


@pytest.fixture
def smith(capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


@pytest.fixture
def start(tmp_path: Path, nats_server: Any) -> Iterator[Start]:
    """Starts `smith admission` with these arguments in a directory with a policy and a module."""
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "gate.py").write_text(MODULE)
    runs: list[Run] = []

    def start(*arguments: str, url: str | None = None) -> Run:
        run = Run(tmp_path, nats_server.url if url is None else url, *arguments, verb="admission")
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.end()


def put_key(path: Path, *keys: str) -> None:
    new = path.with_suffix(".new")
    new.write_text("".join(f"{key}\n" for key in keys))
    new.replace(path)


def publish(bus: SmithBus, intent: FsReadV1Intent, headers: dict[str, str] | None = None) -> None:
    bus.publish(subjects.intents.raw.of(intent), intent, headers=headers)


def result_of(bus: SmithBus, intent: FsReadV1Intent) -> IntentResult:
    def found() -> list[Any]:
        with bus.read(subjects.results(intent_id=intent.id)) as reader:
            return [message.payload for message in reader]

    result: IntentResult = eventually(found, LONG)[0]
    return result


def code_of(bus: SmithBus, intent: FsReadV1Intent) -> str:
    publish(bus, intent)
    error = result_of(bus, intent).error
    assert error is not None
    return error.code


def vetted(bus: SmithBus, intent: FsReadV1Intent, headers: dict[str, str] | None = None) -> Any:
    publish(bus, intent, headers)
    (message,) = eventually(lambda: bus.consumer(consumers.executor_fs_read).fetch(1, timeout=1), LONG)
    message.ack_sync()
    assert message.payload == intent
    return message


def rules_of(bus: SmithBus, intent: FsReadV1Intent) -> list[str]:
    with bus.read(subjects.audit.policy(intent_id=intent.id)) as reader:
        return [message.payload.policy_decisions[0].rule_name for message in reader]


def test_it_verifies_decides_by_its_file_and_takes_changes_of_both_files(
    smith_bus: SmithBus, start: Start, tmp_path: Path
) -> None:
    bus, keys = smith_bus, tmp_path / "keys"
    one, two = signing.generate_key(), signing.generate_key()
    put_key(keys, signing.public_key(one))
    run = start("--policy", "policy.toml", "--keys", "keys", "--executor-id", "gate-1", "--replay-window", "10m")
    allowed = signing.sign(read_intent("/srv/a"), one)
    message = vetted(bus, allowed)
    assert signing.verify(message.raw) == allowed.signer
    assert rules_of(bus, allowed) == ["public"]
    assert code_of(bus, read_intent("/srv/a")) == "UNSIGNED"
    assert code_of(bus, signing.sign(read_intent("/srv/a"), two)) == "SIGNER_UNKNOWN"
    assert code_of(bus, signing.sign(read_intent("/srv/a", nonce=allowed.nonce), one)) == "REPLAYED"
    assert code_of(bus, signing.sign(read_intent("/srv/a", ttl_ms=3_600_000), one)) == "POLICY_DENIED"
    denied = signing.sign(read_intent("/etc/passwd"), one)
    assert code_of(bus, denied) == "POLICY_DENIED"
    assert rules_of(bus, denied) == ["default"]
    put_key(keys, signing.public_key(two))
    assert code_of(bus, signing.sign(read_intent("/srv/a"), one)) == "SIGNER_UNKNOWN"
    vetted(bus, signing.sign(read_intent("/srv/a"), two))
    put_key(tmp_path / "policy.toml", POLICY.replace("/srv", "/var"))
    assert code_of(bus, signing.sign(read_intent("/srv/a"), two)) == "POLICY_DENIED"
    vetted(bus, signing.sign(read_intent("/var/a"), two))
    run.process.send_signal(signal.SIGTERM)
    assert run.status() == 0
    assert not run.logged("Traceback")


def test_signers_are_no_condition_without_keys_also_in_a_file_that_changes(
    smith_bus: SmithBus, start: Start, tmp_path: Path
) -> None:
    """A signer that is not verified is what its publisher likes."""
    key = signing.generate_key()
    run = start("--policy", "policy.toml")
    vetted(smith_bus, read_intent("/srv/a"))
    rule = f'[[rule]]\neffect = "allow"\nsigner = "{signing.public_key(key)}"\n'
    put_key(tmp_path / "policy.toml", rule)
    forged = replace(signing.sign(read_intent("/etc/passwd"), key), nonce="another")
    assert code_of(smith_bus, forged) == "POLICY_DENIED"
    eventually(lambda: run.logged("what it had before stays in force"), LONG)
    vetted(smith_bus, read_intent("/srv/a"))


def test_a_function_of_a_module_decides(smith_bus: SmithBus, start: Start) -> None:
    run = start("--policy", "gate:decide", "--log-format", "json", "--concurrency", "2", "--timeout", "20s", "--telemetry")
    # Without an OpenTelemetry SDK, the gate passes the context of the intent on.
    context = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    assert context.items() <= vetted(smith_bus, read_intent("/ok"), context).headers.items()
    assert code_of(smith_bus, read_intent("/other")) == "POLICY_DENIED"
    run.process.send_signal(signal.SIGINT)
    assert run.status() == 0
    assert {record["level"] for record in run.records} <= {"info", "INFO"}


def test_without_a_required_signature_unsigned_intents_pass(smith_bus: SmithBus, start: Start, tmp_path: Path) -> None:
    put_key(tmp_path / "keys", signing.public_key(bytes(32)))
    start("--policy", "policy.toml", "--keys", "keys", "--no-require-signature", "--replay-window", "0s")
    vetted(smith_bus, read_intent("/srv/a"))
    assert code_of(smith_bus, signing.sign(read_intent("/srv/a"), bytes(range(32)))) == "SIGNER_UNKNOWN"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--policy", "none.toml"], "the policy in none.toml cannot be read"),
        (["--policy", "bad.toml"], "bad.toml: rule 1: effect: 'x'; one of allow, deny, quarantine is needed"),
        (["--policy", "signer.toml"], "signer.toml: rule 1: signer: without a Trust (--keys FILE) no signature is verified"),
        (["--policy", "gate"], "pass a .toml file, or MODULE:FUNCTION"),
        (["--policy", "policy.toml", "--keys", "none"], "the trusted keys in none cannot be read"),
        (["--policy", "policy.toml", "--keys", "bad"], "line 1 of bad: 'x' is not base64 of 32 bytes"),
        (["--policy", "policy.toml", "--no-require-signature"], "pass --keys FILE"),
        ([], "--policy"),
    ],
)
def test_what_is_not_valid_is_one_line_and_status_2(
    tmp_path: Path, smith: Smith, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "bad.toml").write_text("[[rule]]\neffect = 'x'\n")
    (tmp_path / "signer.toml").write_text("[[rule]]\neffect = 'allow'\nsigner = '*'\n")
    (tmp_path / "bad").write_text("x\n")
    smith("admission", *arguments)
    assert smith.status == 2
    assert problem in smith.err
    assert smith.err.count("\n") == 1


def test_a_target_that_is_no_function_is_one_line_and_status_2(start: Start) -> None:
    problems = {
        "gate:other": "module gate has no attribute other; functions at its top level: decide",
        "gate:VALUE": "gate:VALUE is an int, not a function",
        "nowhere:decide": "no module nowhere in ",
    }
    for run, problem in [(start("--policy", target), problem) for target, problem in problems.items()]:
        assert run.status() == 2
        (line,) = run.err
        assert problem in line


def test_a_missing_bucket_names_the_remedy(start: Start, make_server: Callable[..., EmbeddedServer], tmp_path: Path) -> None:
    server = make_server()
    with SmithBus(server.url, manage="apply", profile="dev") as bus:
        put_key(tmp_path / "keys", signing.public_key(bytes(32)))
        bus._portal.call(bus._aio._session.api.stream_delete, "KV_SMITH_NONCES")
        run = start("--policy", "policy.toml", "--keys", "keys", url=server.url)
        assert run.status() == 1
        assert run.err[-1].startswith("smith: stream KV_SMITH_NONCES does not exist on ")
        assert "smith streams apply" in run.err[-1]


# ---- smith worker --keys

WORKER = """
from smith_sdk import AsyncSmithBus, SmithBus, Trust, consumers, result_of
from smith_sdk.sync import Worker

bus = SmithBus()
worker = Worker(bus, consumers.executor_fs_read)
results = Worker(bus, consumers.http_results)

@worker.handler
def read(message):
    return result_of(message.payload, output="read")

@results.handler
def take(message):
    pass
"""


def test_a_worker_with_keys_verifies(smith_bus: SmithBus, nats_server: Any, tmp_path: Path) -> None:
    put_key(tmp_path / "keys", signing.public_key(bytes(32)))
    (tmp_path / "jobs.py").write_text(WORKER)
    for processes in ("1", "2"):
        run = Run(tmp_path, nats_server.url, "jobs:worker", "--keys", "keys", "--processes", processes)
        try:
            for intent, status in ((read_intent(), "denied"), (signing.sign(read_intent(), bytes(32)), "ok")):
                smith_bus.publish(subjects.intents.vetted.of(intent), intent)
                assert result_of(smith_bus, intent).status == status
            run.process.terminate()
            assert run.status() == 0
        finally:
            run.end()
    other = Run(tmp_path, nats_server.url, "jobs:results", "--keys", "keys")
    assert other.status() == 2
    assert "consumer http-results does not deliver intents" in other.err[-1]


# ---- smith keys


def test_a_key_is_made_once_for_its_owner_only_and_shown(smith: Smith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smith("keys", "generate")
    path = tmp_path / "smith-signing-key.pem"
    assert smith.status == 0
    public = smith.out.strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = path.read_text()
    assert private.startswith("-----BEGIN PRIVATE KEY-----")
    assert private.splitlines()[1] not in smith.out + smith.err
    assert str(path.name) in smith.err
    assert signing.sign(read_intent(), signing.load_key(path)).signer == public
    smith("keys", "generate")
    assert (smith.status, path.read_text()) == (1, private)
    assert "exists and is not overwritten" in smith.err
    smith("keys", "show", str(path))
    assert (smith.status, smith.out, smith.err) == (0, f"{public}\n", "")
    smith("keys", "show", str(path), "--json")
    assert smith.json == {"public_key": public}
    smith("keys", "generate", "--out", "other.pem", "--json")
    assert set(smith.json) == {"public_key"}
    smith("keys", "generate", "--out", "a.pem", "--trust", "trusted")
    first = smith.out.strip()
    smith("keys", "generate", "--show-private", "--trust", "trusted")
    lines = (tmp_path / "trusted").read_text().splitlines()
    assert lines[0] == f"{first} a.pem"
    assert lines[1] in smith.err
    assert Trust(keys=tmp_path / "trusted")
    (tmp_path / "open").write_text(f"# ours\n{first} a.pem")  # no end of line
    smith("keys", "generate", "--out", "b.pem", "--trust", "open")
    assert (tmp_path / "open").read_text() == f"# ours\n{first} a.pem\n{smith.out.strip()} b.pem\n"
    smith("keys", "generate", "--out", "c.pem", "--trust", "none/trusted")
    assert smith.status == 1
    assert f"add this line by hand: {signing.public_key(signing.load_key(tmp_path / 'c.pem'))}" in smith.err
    # what openssl makes is read as well
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "theirs.pem"], check=True, capture_output=True)
    smith("keys", "show", "theirs.pem")
    assert signing.require_public_key(smith.out.strip())


def test_a_private_key_is_printed_only_if_asked_for(smith: Smith, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smith("keys", "generate", "--show-private")
    assert smith.out.startswith("-----BEGIN PRIVATE KEY-----")
    (tmp_path / "key.pem").write_text(smith.out)
    assert signing.public_key(signing.load_key(tmp_path / "key.pem")) in smith.err
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]
    smith("keys", "generate", "--show-private", "--json")
    assert set(smith.json) == {"public_key", "private_key"}


def test_a_file_without_a_key_is_refused_in_one_line(smith: Smith, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    smith("keys", "show", str(path))
    assert (smith.status, smith.err.count("\n")) == (1, 1)
    assert "cannot be read" in smith.err
    for content, problem in ((b"", "no private key in PEM"), (b"\xff", "no private key in PEM")):
        path.write_bytes(content)
        smith("keys", "show", str(path))
        assert smith.status == 1
        assert problem in smith.err
    for algorithm, options, problem in (
        ("ec", ["-pkeyopt", "ec_paramgen_curve:P-256"], "not an Ed25519 key"),
        ("ed25519", ["-aes256", "-pass", "pass:x"], "is encrypted"),
    ):
        subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, *options, "-out", path], check=True, capture_output=True)
        smith("keys", "show", str(path))
        assert smith.status == 1
        assert problem in smith.err


def widen(bus: SmithBus, url: str, *streams: str) -> None:
    """Room for 64 messages of 2 MiB in streams of profile "dev"."""

    async def change() -> None:
        async with AsyncSmithBus(url) as owner:
            for stream in streams:
                config = (await owner._session.api.stream_info(stream))["config"]
                await owner._session.api.stream_update(config | {"max_bytes": 256 * 1024 * 1024})

    asyncio.run(change())


def test_64_large_intents_at_once_take_bounded_memory_and_leave_the_link(start: Start, make_server: Any) -> None:
    """Each decodes to four times its size: one character takes four bytes, so all do."""
    server = make_server()
    text = "a" * 2_090_000 + "\U0001f600"
    with SmithBus(server.url, manage="apply", profile="dev") as bus:
        widen(bus, server.url, "SDLC_RAW")
        sent = [read_intent("/else", metadata={"text": text}) for _ in range(64)]
        for intent in sent:
            publish(bus, intent)
        run = start("--policy", "policy.toml", "--executor-id", "gate-1", url=server.url)
        eventually(lambda: bus.streams.get("SDLC_RAW").messages == 0, LONG)
        memory = Path(f"/proc/{run.process.pid}/status").read_text()
        assert bus.streams.get("ATOMS_RESULTS").messages == 64
        assert bus.streams.get("SMITH_DLQ").messages == 0
    peak = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("VmHWM"))
    assert peak < 700_000, f"{peak} KB"
    said = [*run.out, *run.err]
    assert not [line for line in said if " lost: " in line]  # the server ends links that cannot take what it sends
