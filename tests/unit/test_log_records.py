"""What the loggers of the SDK let out: whatever a record quotes, its line is one line, bounded, and
nothing that a terminal obeys."""

from __future__ import annotations

import ast
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import smith_sdk
from smith_sdk._core.log_records import FIELDS, escape_foreign_text, sdk_logger

HOSTILE: Final = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\nERROR:root:forged"
SHOWN: Final = r"a\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb\nERROR:root:forged"
SOURCE: Final = Path(smith_sdk.__file__).parent


class Odd:
    def __str__(self) -> str:
        return HOSTILE

    def __repr__(self) -> str:
        return f"<{HOSTILE}>"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
    found = sdk_logger("test")
    found.addHandler(handler)
    found.propagate = False
    yield found, out
    found.removeHandler(handler)
    found.propagate = True


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("%s!", (HOSTILE,), f"{SHOWN}!"),
        ("%r", (HOSTILE,), repr(HOSTILE)),
        ("%s", (ValueError(HOSTILE),), SHOWN),
        ("%s", (Mute(),), "(no message: its __str__ raised RuntimeError)"),
        ("%s and %r", (Odd(), Odd()), f"{SHOWN} and <{SHOWN}>"),
        ("%s", ([HOSTILE],), f"[{HOSTILE!r}]"),
        ("%(what)s", ({"what": HOSTILE},), SHOWN),
        (HOSTILE, (), SHOWN),
        (ValueError(HOSTILE), (), SHOWN),
        ("%d of %s, %.1f %s", (3, None, 2.5, True), "3 of None, 2.5 True"),
        ("%s", ("A" * 1_200_000,), "A" * 1024 + "... (1,198,976 more characters)"),
        ("%s", ("Grüße 世界",), "Grüße 世界"),
    ],
)
def test_a_record_is_one_line(log: tuple[logging.Logger, io.StringIO], message: Any, args: tuple[Any, ...], shown: str) -> None:
    log[0].error(message, *args)
    assert log[1].getvalue() == f"ERROR:smith_sdk.test:{shown}\n"


def test_fields_are_escaped_and_bounded(log: tuple[logging.Logger, io.StringIO]) -> None:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    keep = Keep()
    log[0].addHandler(keep)
    log[0].error("x", extra={"subject": HOSTILE, "msg_id": "m" * 2000, "seq": 7})
    log[0].removeHandler(keep)
    (record,) = records
    assert {name: getattr(record, name) for name in FIELDS if hasattr(record, name)} == {
        "subject": SHOWN,
        "msg_id": "m" * 1024 + "... (976 more characters)",
        "seq": 7,
    }


def test_no_line_of_a_traceback_begins_at_the_margin(log: tuple[logging.Logger, io.StringIO]) -> None:
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as error:
            error.add_note(HOSTILE)
            raise ExceptionGroup("several", [ValueError(HOSTILE)]) from error
    except ExceptionGroup as error:
        log[0].error("failed", exc_info=error)
    first, *rest = log[1].getvalue().rstrip("\n").split("\n")
    assert first == "ERROR:smith_sdk.test:failed"
    assert all(not line or line.startswith("  ") for line in rest)
    text = "\n".join(rest)
    assert "  Traceback (most recent call last):\n" in text
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202eb" in text
    assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert "ERROR:root:forged" in text


def test_a_traceback_is_bounded_and_keeps_its_end(log: tuple[logging.Logger, io.StringIO]) -> None:
    try:
        raise ValueError("first\n" + "x" * 500_000 + "\n" + "line\n" * 50_000 + "the end")
    except ValueError as error:
        log[0].error("failed", exc_info=error)
    text = log[1].getvalue()
    assert len(text) < 64 * 1024
    assert "  Traceback (most recent call last):" in text
    assert text.endswith("\n  the end\n")
    assert max(map(len, text.splitlines())) < 1100


def test_a_logger_is_filtered_once() -> None:
    assert sdk_logger("test") is sdk_logger("test") is logging.getLogger("smith_sdk.test")
    assert sdk_logger("test").filters.count(escape_foreign_text) == 1


def test_no_module_has_a_logger_of_another_kind() -> None:
    """Otherwise its records would show the text of strangers as it is."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("logging.getLogger", "getLogger") and node.args:
                name = node.args[0]
                is_ours = isinstance(name, ast.Constant) and str(name.value).startswith("smith_sdk.")
                where = f"{path}:{node.lineno}: sdk_logger(...) makes the loggers of the SDK"
                assert not is_ours, where
                assert ast.unparse(name) != "__name__", where


PRINTING: Final = {
    "output.py": "the functions that escape",
    "__init__.py": "runs before output.py is imported",
    "app.py": "the help, and errors line by line",
    "logs.py": "an error, without credentials",
    "keys.py": "keys that it has made or checked",
    "progress.py": "numbers, and names of outcomes",
}


def test_no_command_prints_by_itself() -> None:
    """It says what it has to say by `say`, `note` and `warn`, which escape what they are given."""
    for path in (SOURCE / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and path.name not in PRINTING:
                assert ast.unparse(node.args[0]).startswith("plain("), f"{path}:{node.lineno}: print a line with say or note"


def test_a_password_that_is_cut_is_hidden_as_well(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, out = log
    url = f"{'x' * 1000} nats://me:s3cret{'y' * 2000}@host"
    logger.warning("no link to %s", url, extra={"server": url})
    try:
        raise ValueError(url)
    except ValueError:
        logger.exception("no link")
    assert "nats://***@host" in out.getvalue()
    assert "s3cret" not in out.getvalue()
