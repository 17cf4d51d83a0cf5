"""The JSON lines of `smith worker`: one valid object for whatever a record holds."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.foreign_text import without_secrets
from smith_sdk._core.log_values import TextFormatter
from smith_sdk.cli.logs import JsonFormatter


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def line(message: str = "text", **extra: Any) -> str:
    record = logging.LogRecord("a.b", logging.INFO, "file.py", 1, message, (), None)
    vars(record).update(extra)
    return JsonFormatter().format(record)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (2**80, 2**80),
        ("\ud800", "\\ud800"),
        (b"bytes", "Ynl0ZXM="),
        ({1: "one"}, {"1": "one"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        ({"deep": [object]}, {"deep": ["<class 'object'>"]}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Odd(), "(a Odd, whose __str__ raised RuntimeError)"),
        ("a\nb\x1b[2J\u2028", "a\nb\x1b[2J\u2028"),
    ],
)
def test_any_value_becomes_json_on_one_line(value: Any, shown: Any) -> None:
    text = line(field=value)
    assert json.loads(text)["field"] == shown
    assert "\n" not in text
    assert "\x1b" not in text


def test_a_field_cannot_take_the_place_of_one_that_every_record_has() -> None:
    found = json.loads(line(level="mine", timestamp=1, pid="x", exception=None))
    assert found["level"] == "INFO"
    assert (found["level_"], found["timestamp_"], found["pid_"], found["exception_"]) == ("mine", 1, "x", None)
    assert "exception" not in found


def test_the_time_is_rfc_3339_in_utc() -> None:
    found = json.loads(line(created=1764367676.0421))
    assert found["timestamp"] == "2025-11-28T22:07:56.042Z"


def test_a_traceback_and_its_chain_are_one_text_without_credentials() -> None:
    try:
        try:
            raise KeyError("nats://user:s3cret@host:4222")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        found = json.loads(line(exc_info=sys.exc_info()))
    assert "s3cret" not in found["exception"]
    assert "KeyError: 'nats://***@host:4222'" in found["exception"]
    assert found["exception"].rstrip().endswith("ValueError: outer")


@given(
    st.text(),
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=10),
        max_size=5,
    ),
)
def test_every_line_is_an_object(message: str, extra: dict[str, Any]) -> None:
    reserved = set(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime"}
    found = line(message, **{name: value for name, value in extra.items() if name not in reserved})
    assert "\n" not in found
    json.loads(found)


def test_text_is_escaped_but_for_its_lines() -> None:
    record = logging.LogRecord("a.b", logging.ERROR, "file.py", 1, "one\n\ttwo\x1b[2J \x9b31m", (), None)
    assert TextFormatter().format(record).endswith("ERROR a.b: one\n\ttwo\\x1b[2J \\x9b31m")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://u:p@h:1, tls://token@h", "nats://***@h:1, tls://***@h"),
        ("see https://example.com/@name", "see https://example.com/@name"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_credentials_in_urls_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["a-", "a://", "a:", "://", "a.b+c"])
def test_no_text_of_a_stranger_makes_hiding_credentials_slow(piece: str) -> None:
    """It would take minutes, if the time grew with the square of the length."""
    text = piece * 200_000 + " ://"
    assert without_secrets(text) == text
