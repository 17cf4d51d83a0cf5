"""`smith execute` and `smith publish` on a real server, with a worker that answers."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buses import Account
from cli import Smith, shown_at
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from generated import generated
from support import eventually

from smith_sdk import SmithBus, consumers, signing, subjects
from smith_sdk.protocol import ExecutionError, FsReadV1Intent, IntentResult
from smith_sdk.sync import Admission, Allow, Decision, Deny, Message, Worker, result_of

EXECUTE = ("execute", "fs.read.v1", "path=/etc/hostname", "--timeout", "20")


@pytest.fixture
def url(account: Account, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SMITH_NATS_URL", account.url)
    with SmithBus(account.url, manage="apply", profile="dev"):
        return account.url


@pytest.fixture
def smith(url: str, capsys: pytest.CaptureFixture[str]) -> Smith:
    return Smith(capsys)


@pytest.fixture
def answering(url: str) -> Iterator[list[FsReadV1Intent]]:
    """Admission and an executor of fs.read.v1; the intents that reach the executor."""
    seen: list[FsReadV1Intent] = []
    with SmithBus(url) as bus:
        worker = Worker(bus, consumers.executor_fs_read)

        def policy(intent: Any) -> Decision:
            return Deny("no secrets") if intent.params.path == "/secret" else Allow()

        admission = Admission(bus, policy=policy, executor_id="test")

        @worker.handler
        def read(message: Message[FsReadV1Intent]) -> IntentResult:
            intent = message.payload
            seen.append(intent)
            if intent.params.path == "/fails":
                return result_of(intent, status="error", error=ExecutionError(code="EIO", message="disk\x1b[31m on fire"))
            output: Any = {"path": intent.params.path} if intent.params.max_bytes is None else "a\x1b]0;b\x07\n"
            return result_of(intent, output=output)

        threads = [threading.Thread(target=one.run) for one in (worker, admission)]
        for thread in threads:
            thread.start()
        yield seen
        worker.stop()
        admission.stop()
        for thread in threads:
            thread.join(10)


def test_execute_prints_the_output(smith: Smith, answering: list[FsReadV1Intent]) -> None:
    assert smith(*EXECUTE).status == 0
    assert (smith.json, smith.err) == ({"path": "/etc/hostname"}, "")
    assert smith(*EXECUTE, "--json", "--domain", "here", "--ttl", "90s").status == 0
    assert (smith.json["status"], smith.json["output"]) == ("ok", {"path": "/etc/hostname"})
    assert (answering[-1].domain, answering[-1].ttl_ms, answering[-1].id) == ("here", 90_000, smith.json["intent_id"])
    assert smith(*EXECUTE, "max_bytes=1", "follow_symlinks=false").status == 0
    assert smith.out == "a\x1b]0;b\x07\n", "a pipe gets the bytes"
    assert (answering[-1].params.max_bytes, answering[-1].params.follow_symlinks) == (1, False)
    assert shown_at(80, *EXECUTE, "max_bytes=1") == "a\\x1b]0;b\\x07\n", "a terminal is not controlled by them"


def test_what_failed_is_told_on_stderr_with_its_code(smith: Smith, answering: list[FsReadV1Intent]) -> None:
    assert smith("execute", "fs.read.v1", "path=/secret").status == 1
    assert (smith.out, smith.err) == ("", "smith: denied: POLICY_DENIED: no secrets\n")
    assert smith("execute", "fs.read.v1", "path=/fails").status == 1
    assert (smith.out, smith.err) == ("", "smith: error: EIO: disk\\x1b[31m on fire\n")
    assert smith("execute", "fs.read.v1", "path=/fails", "--json").status == 1
    assert smith.json["error"]["code"] == "EIO"


def test_no_result_in_time_is_an_error(smith: Smith) -> None:
    assert smith("execute", "fs.write.v1", "path=/x", "content=a", "--timeout", "300ms").status == 1
    (line,) = smith.err.splitlines()
    assert "within 0.3 s" in line


def test_what_cannot_be_executed_is_not_sent(smith: Smith, url: str) -> None:
    for words, said in (
        (("fs.reed.v1",), 'there is no capability "fs.reed.v1"; did you mean fs.read.v1?'),
        (("fs.read.v1", "pth=/x"), "fs.read.v1 has no field pth; did you mean path?; it has path (text, required)"),
        (("fs.read.v1",), "fs.read.v1 needs path (text)"),
        (("fs.read.v1", "path=/x", "--domain", "has space"), "domain"),
        (("fs.read.v1", "path=/x", "--ttl", "365d"), "ttl"),
        (("fs.read.v1", "path=/x", "--signing-key", "/no/such.pem"), "--signing-key: /no/such.pem cannot be read"),
    ):
        assert smith("execute", *words, "--timeout", "2").status == 1
        (line,) = smith.err.splitlines()
        assert said in line, line
    with SmithBus(url) as bus:
        assert bus.streams.get("SDLC_RAW").last_seq == 0


@pytest.mark.parametrize("form", ["pem", "seed"])
def test_an_intent_is_signed(smith: Smith, answering: list[FsReadV1Intent], tmp_path: Path, form: str) -> None:
    key, file = Ed25519PrivateKey.generate(), tmp_path / "key"
    if form == "pem":
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    else:
        file.write_text(base64.b64encode(key.private_bytes_raw()).decode() + "\n")
    assert smith(*EXECUTE, "--signing-key", str(file)).status == 0
    assert answering[-1].signer == base64.b64encode(key.public_key().public_bytes_raw()).decode()
    assert signing.sign(answering[-1], key).signature_b64 == answering[-1].signature_b64
    file.write_text("hidden")
    assert smith(*EXECUTE, "--signing-key", str(file)).status == 1
    assert "is not an Ed25519 key; `openssl genpkey -algorithm ed25519" in smith.err
    assert "hidden" not in smith.err


def test_ctrl_c_while_waiting_names_the_intent(url: str) -> None:
    command = [sys.executable, "-m", "smith_sdk.cli", "execute", "fs.read.v1", "path=/x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        (intent,) = eventually(lambda: raw(url))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    said = f"smith: interrupted: intent {intent.id} may still be executed; `smith trace {intent.id}` shows its steps\n"
    assert (process.returncode, out, err) == (130, "", said)


# ---- publish


def raw(url: str, count: int = 1) -> list[Any]:
    """The intents that wait for admission, so many, all of them acknowledged now."""
    with SmithBus(url) as bus:
        assert bus.streams.get("SDLC_RAW").messages == count
        found = bus.consumer(consumers.admission).fetch(count, 30)
        for message in found:
            message.ack_sync()
    return [message.payload for message in found]


def is_empty(url: str) -> bool:
    """Whether no intent has been published."""
    with SmithBus(url) as bus:
        return bus.streams.get("SDLC_RAW").last_seq == 0


def test_publish_by_name_and_by_subject(smith: Smith, url: str) -> None:
    intent = ("capability=fs.read.v1", "domain=d", "params.path=/x")
    assert smith("publish", "intents.raw", *intent).status == 0
    (first,) = raw(url)
    assert smith.out == f"stored in SDLC_RAW as 1, id {first.id}\n"
    assert first.params.path == "/x"
    assert smith("publish", "smith.intents.raw.fs.read.v1", "domain=d", "params.path=/y", "id=a", "--json").status == 0
    assert smith.json == {"stream": "SDLC_RAW", "seq": 2, "duplicate": False, "resent": False}
    assert smith("publish", "intents.raw", *intent, "id=a").out == "was stored before, in SDLC_RAW as 2, id a\n"
    assert smith("publish", "intents.raw", *intent, "--msg-id", "m1", "--json").json["seq"] == 3
    assert smith("publish", "intents.raw", *intent, "--msg-id", "m1", "--json").json["duplicate"] is True


def test_publish_over_core_nats(smith: Smith, url: str) -> None:
    log = ("level=warn", "message=hi", "target=t", "correlation_id=c", "node_id=n")
    with SmithBus(url) as bus, bus.subscribe(subjects.logs.errors.filter()) as messages:
        assert smith("publish", "logs.errors", "service=web", *log).status == 0
        assert smith.out == "sent on smith.logs.errors.web, which no stream keeps\n"
        assert smith("publish", "smith.logs.errors.api", *log).status == 0, "the subject fills the field"
        services = [next(messages).payload.service for _ in range(2)]
    assert services == ["web", "api"]
    assert smith("publish", "logs.service", "log_service=abc", "service=web", *log).out.startswith("sent on smith.logs.abc.warn,")


def test_lines_of_json(smith: Smith, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "intents.jsonl"
    lines = [json.dumps({"params": {"path": f"/{number}"}}) for number in range(30)]
    file.write_text("\n".join(lines) + "\n\n")
    given = ("publish", "intents.raw", "capability=fs.read.v1", "domain=d")
    assert smith(*given, "--file", str(file)).out == "published 30 messages\n"
    assert [one.params.path for one in raw(url, 30)] == [f"/{number}" for number in range(30)]
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines[0]))
    assert smith(*given, "-", "--json").json == [{"stream": "SDLC_RAW", "seq": 31, "duplicate": False, "resent": False}]
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines[0]))
    assert smith(*given, "--file", "-").out == "published 1 message\n"
    file.write_text(json.dumps({"params": {"path": "/z"}, "metadata": {"a": 1}, "domain": "own"}, indent=2))
    assert smith(*given, "--file", str(file)).out == "published 1 message\n"
    assert [(one.params.path, one.metadata, one.domain) for one in raw(url, 3)][-1] == ("/z", {"a": 1}, "own")


VECTORS = Path(__file__).parents[1] / "data" / "rust-smith-0.1.2.json"
THEIRS = {one["name"]: one for one in json.loads(VECTORS.read_text(encoding="utf-8"))["payloads"]}


@pytest.mark.parametrize(
    "name",
    [
        *("intent/fs.read.v1/full/signed", "intent/alias-http-fetch/signed", "result/ok", "audit/full", "benchmark/tool-call"),
        *("benchmark/optimizer", "log/error", "log/warn"),
    ],
)
def test_a_file_may_have_the_whole_payload_as_the_crates_write_it(smith: Smith, url: str, tmp_path: Path, name: str) -> None:
    """With the field that selects it, and the tokens of its subject."""
    one = THEIRS[name]
    file = tmp_path / "theirs.json"
    file.write_text(one["wire"], encoding="utf-8")
    assert smith("publish", one["subject"], "--file", str(file)).out == "published 1 message\n", smith.err


def test_a_subject_of_which_the_payload_has_no_token(smith: Smith, url: str) -> None:
    words = ("capability=fs.read.v1", "intent=e30=", "reason=r")
    assert smith("publish", "intents.quarantine", *words).out.startswith("stored in SDLC_QUARANTINE_BACKPRESSURE as 1"), smith.err
    assert smith("publish", "smith.intents.quarantine.fs.read.v1", *words[1:]).status == 0, smith.err
    assert smith("publish", "intents.quarantine", *words[1:]).status == 1
    assert "intents.quarantine needs capability=..." in smith.err


def test_the_payload_in_a_file_selects_its_subject(smith: Smith, url: str, tmp_path: Path) -> None:
    file = tmp_path / "theirs.jsonl"
    wire = THEIRS["intent/fs.read.v1/full/signed"]["wire"]
    file.write_text(wire + "\n" + THEIRS["intent/fs.write.v1/full/signed"]["wire"], encoding="utf-8")
    assert smith("publish", "intents.raw", "--file", str(file)).out == "published 2 messages\n"
    assert [one.capability for one in raw(url, 2)] == ["fs.read.v1", "fs.write.v1"]
    assert smith("publish", "smith.intents.raw.fs.read.v1", "--file", str(file)).status == 1
    assert "line 2: smith.intents.raw.fs.read.v1: " in smith.err
    file.write_text(wire.replace('"fs.read.v1"', '"http_fetch"'), encoding="utf-8")
    assert smith("publish", "smith.intents.raw.fs.read.v1", "--file", str(file)).status == 1
    assert "http_fetch" in smith.err


def test_a_wrong_line_of_a_file_stops_it_before_anything_is_published(smith: Smith, url: str, tmp_path: Path) -> None:
    file = tmp_path / "intents.jsonl"
    good = '{"params": {"path": "/x"}}'
    given = ("publish", "intents.raw", "capability=fs.read.v1", "domain=d", "--file", str(file))
    for wrong, said in (
        ('{"params": {"path": 5}}', f"{file}, line 2: intents.raw: params: Expected `str`, got `int` - at `$.path`"),
        ('{"params": {"path": "/x"}, "ttl_ms": -1}', f"{file}, line 2: intents.raw: ttl_ms: Expected `int` >= 0"),
        ('{"params": {"path": "/x"}', f"{file}, line 2 is not JSON"),
        ("5", f"{file}, line 2: expected a JSON object"),
        ('{"param": {}}', f"{file}, line 2: intents.raw has no field param; did you mean params?"),
    ):
        file.write_text(f"{good}\n{wrong}\n{good}\n")
        assert smith(*given).status == 1
        (line,) = smith.err.splitlines()
        assert said in line, line
    assert smith(*given[:-1], "/no/such.jsonl").status == 1
    assert "/no/such.jsonl cannot be read: No such file or directory" in smith.err
    file.write_text("nothing")
    assert smith(*given).status == 1
    assert "line 1 is not JSON" in smith.err
    assert is_empty(url)


def test_a_stream_on_standard_input_is_published_as_it_comes(url: str) -> None:
    command = [sys.executable, "-m", "smith_sdk.cli", "publish", "intents.raw", "capability=fs.read.v1", "domain=d", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write('{"params": {"path": "/1"}}\n')
        process.stdin.flush()
        with SmithBus(url) as bus:
            assert eventually(lambda: bus.streams.get("SDLC_RAW").last_seq == 1), "the input is still open"
        out, err = process.communicate('{"params": 5}\n', timeout=20)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[0] == "smith: 1 message published before that"
    assert "standard input, line 2: intents.raw: params: Expected" in err.splitlines()[1]


def test_what_cannot_be_published_is_one_line(smith: Smith, url: str) -> None:
    for words, said in (
        (("intents.row",), "did you mean intents.raw?"),
        (("smith.nothing",), "no subject of contract 'smith' matches 'smith.nothing'"),
        (("intents.raw", "domain=d"), "intents.raw needs capability=..., which selects the payload"),
        (("intents.raw", "capability=x"), "allowed: archive.read.v1"),
        (("logs.errors", "level=loud"), "it takes one of DEBUG | ERROR | INFO"),
        (("logs.errors", "service=web"), "logs.errors needs level (one of"),
        (("dlq",), "dlq carries raw bytes"),
        (
            ("smith.logs.errors.web", "service=api", "level=info", "message=m", "target=t", "correlation_id=c", "node_id=n"),
            "belongs",
        ),
        (("intents.raw", "-", "--file", "x"), "- and --file exclude each other"),
        (("intents.raw", "-", "--msg-id", "x"), "--msg-id is for one message"),
    ):
        assert smith("publish", *words).status == 1, words
        (line,) = smith.err.splitlines()
        assert said in line, line
    assert is_empty(url)


def test_another_contract(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    smith = Smith(capsys)
    with generated(Path(__file__).parents[1] / "codegen" / "brew.toml", "brew_bus", tmp_path) as package:
        with SmithBus(url, contract=package.topology.CONTRACT) as bus:
            bus.streams.apply(profile="dev")
        assert smith("publish", "nothing", "--contract", "brew_bus").status == 1
        (line,) = smith.err.splitlines()
        assert "contract 'brew" in line
        given = ("domain=d", "batch=b1", "by=me", "level=info", "--contract", "brew_bus")
        assert smith("publish", "batches.brewed", *given).out == "stored in BREW as 1, id b1\n"
        kettle = ("capability=fs.read.v1", "domain=d", "params.path=/x", "--contract", "brew_bus")
        assert smith("publish", "batches.asked", "kettle=10", *kettle, "--json").json["stream"] == "BREW"
        assert smith("publish", "batches.asked", *kettle).status == 1
        assert "batches.asked needs kettle=... for its subject brew.asked.{capability}.{kettle}" in smith.err
        for kettle_number in ("99", "many"):
            assert smith("publish", "batches.asked", f"kettle={kettle_number}", *kettle).status == 1
            assert "kettle" in smith.err
            assert len(smith.err.splitlines()) == 1
