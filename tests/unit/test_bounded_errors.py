"""Errors that quote payloads and subjects: at most 1 KiB, in one line, nothing to obey."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import pytest
from buses import read_intent
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk import subjects
from smith_sdk._core import codec
from smith_sdk._core.foreign_text import shortened
from smith_sdk.aio.publisher import checked
from smith_sdk.errors import SmithError
from smith_sdk.protocol import AuditRef, FsReadV1Params, IntentResult, LogEntry, MetricsEvent, RunnerMetadata
from smith_sdk.topology import CONTRACT

LONG: Final = "A\x1b[31m\x9b2J\u202e\n" * 100_000
SESSION: Any = SimpleNamespace(require_subject=lambda subject, _: CONTRACT.require(subject), known_subjects=set(), validate=True)
RAW: Final = subjects.intents.raw


def result(status: Any) -> IntentResult:
    return IntentResult(
        intent_id="x",  # type: ignore[arg-type]
        status=status,
        started_at_ns=1,
        finished_at_ns=1,
        runner_meta=RunnerMetadata(pid=1, cpu_ms=1, max_rss_kb=1),
        audit_ref=AuditRef(id="", timestamp=1, hash=""),
    )


def publish(**changed: Any) -> None:
    intent = msgspec.structs.replace(read_intent(), **changed)
    checked(SESSION, RAW.of(intent), intent)


def decode(cls: Any, document: Any, subject: str = "smith.results.x") -> None:
    codec.decode(cls, json.dumps(document).encode(), subject)


METRICS: Final = {"service": "s", "timestamp_ns": 1}
ERRORS: Final[dict[str, Callable[[], object]]] = {
    "unknown value": lambda: decode(IntentResult, {"status": LONG}),
    "unknown tag": lambda: decode(type(read_intent()), {"capability": LONG}),
    "value of a map": lambda: decode(MetricsEvent, METRICS | {"metrics": {LONG: "x"}}),
    "decode, long subject": lambda: decode(IntentResult, {}, f"smith.results.{LONG}"),
    "token of a payload": lambda: decode(MetricsEvent, METRICS | {"service": LONG, "metrics": {}}),
    "unknown subject": lambda: CONTRACT.parse(LONG),
    "unknown subject, many tokens": lambda: CONTRACT.parse("smith.results." + "x." * 200_000),
    "token of a subject": lambda: CONTRACT.parse(f"smith.results.{LONG}"),
    "token given": lambda: subjects.results(intent_id=LONG),  # type: ignore[arg-type]
    "level": lambda: LogEntry.new(level=LONG, service="s", target="", message="", correlation_id="", node_id=""),  # type: ignore[arg-type]
    "integer": lambda: FsReadV1Params(path="", max_bytes=10**100_000),
    "published value": lambda: checked(SESSION, subjects.results.of(result("ok")), result(LONG)),
    "published, no JSON": lambda: publish(metadata={LONG: {"a": {LONG: object()}}}),
    "published, no UTF-8": lambda: publish(metadata={LONG: "\udc00"}),
    "published, not a subject": lambda: checked(SESSION, LONG, read_intent()),
}


@pytest.mark.parametrize("case", ERRORS.values(), ids=ERRORS)
def test_an_error_is_bounded_and_controls_nothing(case: Callable[[], object]) -> None:
    with pytest.raises(SmithError) as caught:
        case()
    text = str(caught.value)
    assert len(text.encode()) <= 1024, len(text)
    assert text.isprintable()
    assert len(repr(caught.value)) <= 2048
    assert len(getattr(caught.value, "field", "")) <= 256


def test_an_error_of_pydantic_is_bounded() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", result=(IntentResult, ...))
    with pytest.raises(pydantic.ValidationError) as caught:
        model.model_validate({"result": {"status": LONG}})
    assert len(caught.value.errors()[0]["msg"]) <= 1100
    assert caught.value.errors()[0]["msg"].isprintable()


def test_a_shortened_text_keeps_its_ends() -> None:
    assert shortened("Invalid enum value 'x' - at `$.status`") == "Invalid enum value 'x' - at `$.status`"
    text = shortened(f"Invalid enum value '{'x' * 5000}' - at `$.status`", 200)
    assert text.startswith("Invalid enum value 'xxx")
    assert text.endswith("xxx' - at `$.status`")
    assert "more characters" in text


@given(st.text(), st.integers(64, 300))
def test_a_shortened_text_is_no_longer_than_it_may_be(text: str, limit: int) -> None:
    found = shortened(text * 5, limit)
    assert len(found) <= limit
    assert "\x1b" not in found
    assert "\n" not in found
