"""How `smith worker` logs: its options, records as JSON, and modules that configure logging."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from support import eventually
from worker_command import LONG, MAKES, Run, Start, put

from smith_sdk import SmithBus, consumers

FAILING = """
    import logging, warnings
    from smith_sdk import RetryPolicy, Backoff
    bus = {bus}
    worker = {face}.Worker(bus, consumers.executor_fs_read, retry=RetryPolicy(max_attempts=2, backoff=Backoff(initial=0.01)){more})

    {define}
        logging.getLogger("mine").debug("begun")
        logging.getLogger("mine").info("begun\\nhere", extra={{"order": 17, "level": "mine", "odd": object}})
        if message.payload.params.path == "warn":
            return warnings.warn("old")
        raise ValueError("nats://me:hunter2@there \\x1b[2J")

    worker.handler(handle)
"""
SOURCES = {
    "async": FAILING.format(bus="AsyncSmithBus()", face="aio", more="", define="async def handle(message):"),
    "blocking": FAILING.format(bus="SmithBus()", face="sync", more="", define="def handle(message):"),
    "process": FAILING.format(bus="AsyncSmithBus()", face="aio", more=", processes=1", define="def handle(message):"),
}


def having(run: Run, text: str) -> list[dict[str, Any]]:
    return [record for record in run.records if text in record["message"]]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_json_is_one_object_a_line_with_the_fields(smith_bus: SmithBus, start: Start, source: str) -> None:
    run = start(source, "--log-format", "json")
    put(smith_bus, "/x", "warn")
    eventually(lambda: having(run, "dead letter ") and having(run, "old"), LONG)
    run.process.terminate()
    assert run.status() == 0
    for record in run.records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["timestamp"])
        assert {"level", "logger", "message", "pid"} <= set(record)
    (letter,) = having(run, "dead letter ")
    assert {key: letter[key] for key in ("level", "logger", "stream", "consumer", "attempt", "error_type")} == {
        "level": "ERROR",
        "logger": "smith_sdk.worker",
        "stream": "ATOMS_VETTED",
        "consumer": "executor-fs-read",
        "attempt": 2,
        "error_type": "ValueError",
    }
    assert letter["subject"].startswith("smith.intents.vetted.fs.read.v1.")
    assert letter["msg_id"].startswith(letter["subject"])
    assert "in handle" in letter["exception"]
    assert "exception" not in having(run, "attempt 1 of 2")[0]
    mine = having(run, "begun")[0]
    assert (mine["message"], mine["level"], mine["order"], mine["level_"]) == ("begun\nhere", "INFO", 17, "mine")
    assert mine["odd"] == "<class 'object'>"
    assert having(run, "old")[0]["logger"] == "py.warnings"
    assert having(run, "stopped: 3 handled (1 retried, 1 dead-lettered), 0 released")
    assert not any(word in line for line in run.err for word in ("hunter2", "\x1b"))


@pytest.mark.parametrize("options", [[], ["--processes", "2"]], ids=["one", "two"])
def test_errors_of_the_command_are_json_as_well(account: Any, start: Start, options: list[str]) -> None:
    run = start(MAKES + "    worker = made(AsyncSmithBus())\n", *options, "--log-format", "json", url="nats://127.0.0.1:1")
    eventually(lambda: any("no NATS server at nats://127.0.0.1:1" in line for line in run.err), LONG)
    run.process.terminate()
    run.status()
    assert having(run, "no NATS server at")[0]["level"] == "ERROR"
    broken = start("nonsense", *options, "--log-format", "json")
    assert broken.status() == 1
    (record,) = having(broken, "jobs cannot be imported")
    assert "NameError: name 'nonsense' is not defined" in record["exception"]


def test_text_escapes_what_a_terminal_would_obey_and_hides_credentials(smith_bus: SmithBus, start: Start) -> None:
    run = start(SOURCES["async"])
    put(smith_bus, "/x")
    eventually(lambda: run.logged("dead letter "), LONG)
    run.process.terminate()
    assert run.status() == 0
    assert run.logged(r"ValueError: nats://\*\*\*@there \\x1b\[2J")
    assert not any(word in line for line in run.err for word in ("hunter2", "\x1b"))
    assert not run.logged(" DEBUG ")


def test_the_level_is_that_of_all_records(smith_bus: SmithBus, start: Start) -> None:
    run = start(SOURCES["async"], "--log-level", "debug")
    put(smith_bus, "/x")
    eventually(lambda: run.logged("dead letter "), LONG)
    assert run.logged(" DEBUG mine: begun")
    run.process.terminate()
    assert run.status() == 0
    assert run.count("^ *Traceback") == 2  # the retry has its own at this level
    quiet = start(SOURCES["async"], "--log-level", "ERROR")
    put(smith_bus, "/y")
    eventually(lambda: quiet.logged("dead letter "), LONG)
    assert not quiet.logged(" (INFO|WARNING) ")


CONFIGURED = """
    import json, logging
    class Mine(logging.Formatter):
        def format(self, record):
            return "mine " + json.dumps([record.levelname, record.getMessage(), getattr(record, "seq", None), bool(record.exc_info)])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Mine())
    logging.basicConfig(level="INFO", handlers=[handler])
"""


@pytest.mark.parametrize("options", [[], ["--log-level", "warning"], ["--log-format", "json"]], ids=str)
def test_a_module_that_configures_logging_keeps_its_handlers(smith_bus: SmithBus, start: Start, options: list[str]) -> None:
    run = start(CONFIGURED + SOURCES["async"], *options)
    put(smith_bus, "/x")
    eventually(lambda: run.logged("dead letter "), LONG)
    run.process.terminate()
    assert run.status() == 0
    assert all(line.startswith("mine ") for line in run.err)
    records = [json.loads(line.removeprefix("mine ")) for line in run.err]
    assert ["ERROR", 1, True] in [[level, seq, exc] for level, _, seq, exc in records]
    assert any(level == "INFO" for level, *_ in records) is ("--log-level" not in options)
    ignored = "the module has configured logging itself, so --log-format json is not used"
    assert any(ignored == message for _, message, *_ in records) is ("--log-format" in options)


CONFIG = {
    "json": json.dumps(
        {
            "formatters": {"f": {"format": "configured %(levelname)s %(message)s"}},
            "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
            "root": {"level": "INFO", "handlers": ["h"]},
        }
    ),
    "toml": """
[formatters.f]
format = "configured %(levelname)s %(message)s"
[handlers.h]
class = "logging.StreamHandler"
formatter = "f"
[root]
level = "INFO"
handlers = ["h"]
""",
    "ini": """
[loggers]
keys = root
[handlers]
keys = h
[formatters]
keys = f
[logger_root]
level = INFO
handlers = h
[handler_h]
class = StreamHandler
args = ()
formatter = f
[formatter_f]
format = configured %(levelname)s %(message)s
""",
}


@pytest.mark.parametrize(("kind", "processes"), [(kind, 2 if kind == "toml" else 1) for kind in CONFIG])
def test_a_file_configures_logging(smith_bus: SmithBus, start: Start, tmp_path: Path, kind: str, processes: int) -> None:
    (tmp_path / f"logs.{kind}").write_text(CONFIG[kind])
    put(smith_bus, "/x")
    run = start(SOURCES["async"], "--log-config", f"logs.{kind}", "--processes", str(processes))
    eventually(lambda: run.logged("^configured ERROR .*dead letter "), LONG)
    eventually(lambda: run.count("^configured INFO running ") == processes, LONG)
    run.process.send_signal(signal.SIGINT)
    assert run.status() == 0
    assert run.count("^configured INFO worker executor-fs-read stopped") == processes


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("absent.json", None, "--log-config absent.json cannot be read: No such file or directory"),
        ("logs.json", "{", "--log-config logs.json is not valid: Expecting property name"),
        (
            "logs.json",
            "[]",
            "--log-config logs.json is not valid: an object with the keys of logging.config.dictConfig is needed",
        ),
        ("logs.toml", "[", "--log-config logs.toml is not valid: "),
        ("logs.ini", "[x]", "--log-config logs.ini is not valid: "),
        ("logs.yaml", "", "--log-config logs.yaml: a .json or .toml file of logging.config.dictConfig, or an .ini file"),
        (
            "logs.json",
            '{"handlers": {"h": {"class": "no.such.Handler"}}, "root": {"handlers": ["h"]}}',
            "is not valid: Unable to configure handler 'h': ",
        ),
    ],
)
def test_a_file_that_is_not_valid_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, says: str
) -> None:
    from smith_sdk.cli.logs import LogOptions
    from smith_sdk.errors import OptionsError

    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(name).write_text(text)
    with pytest.raises(OptionsError) as raised:
        LogOptions(config=Path(name)).before_import()
    assert says in str(raised.value)


def test_wrong_options_are_a_line(start: Start, smith_bus: SmithBus) -> None:
    both = start(SOURCES["async"], "--log-config", "a.json", "--log-format", "json")
    assert both.status() == 2
    assert both.err == ["smith: --log-format and --log-config exclude each other: the file says how records are written"]
    level = start(SOURCES["async"], "--log-level", "loud")
    assert level.status() == 2
    (line,) = level.err
    assert "--log-level" in line
    assert "loud" in line
    assert consumers.executor_fs_read.name not in line
