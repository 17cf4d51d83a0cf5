"""Records of the SDK have the fields that are known where they are logged, read off the syntax
tree."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import smith_sdk
from smith_sdk._core.log_records import FIELDS, sdk_logger

SOURCE: Final = Path(smith_sdk.__file__).parent
METHODS: Final = {"debug", "info", "warning", "error", "critical", "exception", "log"}
RECEIVERS: Final = {"log", "self._log"}

ABOUT_NO_MESSAGE: Final = {
    "_core/blocking": "work of the blocking face, whatever it is",
    "_core/execution/loop_watch.py": "an event loop",
    "_core/outbox/local_store.py": "the file of an outbox",
    "_core/probes": "a probe over HTTP",
    "_core/reread_file.py": "a file",
    "_core/events.py": "an observer",
    "_core/connection/state.py": "a listener",
    "_core/monitoring/breaker.py": "a circuit",
    "_core/services/responder.py": "requests for the state of a worker",
    "aio/alerts.py": "the measures of a monitor",
    "aio/lag_monitor.py": "the measures of a monitor",
    "cli": "a process",
}
"""Where records need no fields: what they are about instead."""
OF_SEVERAL: Final = {
    "closing with %d unacknowledged messages: each future ends with PublishUnconfirmed",
    "an event loop ended with %d unacknowledged messages",
    "sending the messages of outbox %s has failed",
    "%s",
    "a mistake of the SDK in reading what the server has sent",
}
"""Records about several messages, of several kinds, or where nothing else is known."""


class Call(NamedTuple):
    """One call that logs."""

    module: str
    node: ast.Call
    caught: frozenset[str]
    """Names of exceptions where it is made."""
    has_consumer: bool
    """Whether its logger adds stream and consumer."""

    @property
    def text(self) -> str:
        found = [one.value for one in self.node.args if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return str(found[0]) if found else ""

    def argument(self, name: str) -> ast.expr | None:
        return next((one.value for one in self.node.keywords if one.arg == name), None)

    def __str__(self) -> str:
        return f"{self.module}:{self.node.lineno}: {self.text}"


@cache
def calls() -> tuple[Call, ...]:
    return tuple(_calls())


def _calls() -> Iterator[Call]:
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "log." in text:
            has_consumer = "ConsumerLog" in text or "consumer_log" in text
            yield from _calls_in(path.relative_to(SOURCE).as_posix(), ast.parse(text), has_consumer)


def _calls_in(module: str, tree: ast.Module, has_consumer: bool) -> Iterator[Call]:
    caught: dict[int, frozenset[str]] = {}
    for function in ast.walk(tree):
        if isinstance(function, _FUNCTIONS):  # an inner one comes later, and knows the outer one's too
            names = _caught(function) | caught.get(id(function), frozenset())
            caught.update((id(node), names) for node in ast.walk(function))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            receiver = ast.unparse(node.func.value)
            if receiver in RECEIVERS:
                is_reader = has_consumer and (receiver == "self._log" or module.endswith("pull_absence.py"))
                yield Call(module, node, caught.get(id(node), frozenset()), is_reader)


_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def _caught(function: ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    names = {one.name for one in ast.walk(function) if isinstance(one, ast.ExceptHandler) and one.name}
    given = [one for one in (*function.args.args, *function.args.kwonlyargs) if one.annotation is not None]
    return frozenset(names | {one.arg for one in given if one.annotation and "Error" in ast.unparse(one.annotation)})


def test_calls_that_log_are_found() -> None:
    assert len(calls()) > 100
    assert {"settle", "connection", "pull_absence"} <= {Path(call.module).stem for call in calls()}


def test_every_record_has_fields_or_is_about_nothing_that_has_a_name() -> None:
    bare = [
        str(call)
        for call in calls()
        if call.argument("extra") is None
        and not call.has_consumer
        and not call.module.startswith(tuple(ABOUT_NO_MESSAGE))
        and call.text not in OF_SEVERAL
    ]
    assert bare == [], "give them extra=LogFields(...), or say above what they are about"


def test_an_exception_is_logged_as_it_is_so_that_its_type_becomes_a_field() -> None:
    """`str(error)` would hide it; `sdk_logger` sets `error_type` otherwise."""
    hidden = []
    for call in calls():
        fields = {one.id for one in ast.walk(call.argument("extra") or ast.Constant(None)) if isinstance(one, ast.Name)}
        texts = [one for one in ast.walk(call.node) if isinstance(one, ast.Call) and ast.unparse(one.func) == "str" and one.args]
        if {ast.unparse(one.args[0]) for one in texts} & call.caught - fields:
            hidden.append(str(call))
    assert hidden == []


def test_what_is_excused_exists() -> None:
    modules = {call.module for call in calls()}
    for place in ABOUT_NO_MESSAGE:
        assert any(module.startswith(place) for module in modules), place
    assert {call.text for call in calls()} >= OF_SEVERAL


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    log, handler = sdk_logger("planted"), Kept()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


def test_the_type_of_an_exception_becomes_a_field(kept: Kept) -> None:
    log = sdk_logger("planted")
    log.error("failed: %s", TimeoutError("late"))
    log.error("failed: %(why)s", {"why": TimeoutError("late")})
    try:
        raise KeyError("x")
    except KeyError as error:
        log.exception("failed, by %s", ValueError("another"))
        log.error("failed", exc_info=error)
    log.error("failed: %s", OSError("x"), extra={"error_type": "Chosen"})
    log.error("fine")
    assert [getattr(one, "error_type", None) for one in kept.records] == [
        *("TimeoutError", "TimeoutError", "KeyError", "KeyError", "Chosen"),
        None,
    ]
    assert "error_type" in FIELDS
