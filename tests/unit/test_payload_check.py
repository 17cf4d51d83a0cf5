"""What readers could not decode, or would decode as another value, has the name of its field."""

from __future__ import annotations

import copy
import datetime
import enum
import math
import pickle
import uuid
from typing import Any

import pytest
from buses import log_entry, read_intent

from smith_sdk import subjects
from smith_sdk._core import codec
from smith_sdk.protocol import (
    AuditRef,
    BenchReportV1Intent,
    BenchReportV1Params,
    FsReadV1Intent,
    FsReadV1Params,
    FsWriteV1Params,
    HttpFetchV1Intent,
    HttpFetchV1Params,
    IntentResult,
    RunnerMetadata,
    ShellExecV1Intent,
    ShellExecV1Params,
)


class Plain(enum.Enum):
    OK = "ok"


class Text(enum.StrEnum):
    OK = "ok"


def read(**fields: Any) -> Any:
    return FsReadV1Intent.new(**{"domain": "d", "params": FsReadV1Params(path="/x"), **fields})


def result(**fields: Any) -> Any:
    given: dict[str, Any] = {"intent_id": "x", "status": "ok", "started_at_ns": 1}
    meta, ref = RunnerMetadata(pid=1, cpu_ms=1, max_rss_kb=1), AuditRef(id="a", timestamp=1, hash="h")
    return IntentResult.new(**{**given, "runner_meta": meta, "audit_ref": ref, **fields})


def problem(payload: Any) -> tuple[str, str] | None:
    return codec.check(type(payload), payload, codec.encode(payload))


def report(**metrics: Any) -> Any:
    return BenchReportV1Intent.new(domain="d", params=BenchReportV1Params(benchmark_name="b", metrics=metrics))


def fetch(headers: Any) -> Any:
    return HttpFetchV1Intent.new(domain="d", params=HttpFetchV1Params(url="u", headers=headers))


def shell(args: Any) -> Any:
    return ShellExecV1Intent.new(domain="d", params=ShellExecV1Params(command="c", args=args))


# ---- before they are sent


@pytest.mark.parametrize(
    ("payload", "field", "why"),
    [
        (read(params=FsReadV1Params(path=5)), "params.path", "expected str, got int"),  # type: ignore[arg-type]
        (read(params=FsReadV1Params(path=uuid.UUID(int=1))), "params.path", "expected str, got UUID"),  # type: ignore[arg-type]
        (read(params=FsReadV1Params(path=b"x")), "params.path", "expected str, got bytes"),  # type: ignore[arg-type]
        (read(params=FsWriteV1Params(path="p", content="c")), "params", "expected FsReadV1Params, got FsWriteV1Params"),
        (read(params={"path": "p"}), "params", "expected FsReadV1Params, got dict"),
        (read(params=None), "params", "expected object, got null"),
        (read(ttl_ms=-1), "ttl_ms", "expected int >= 0"),
        (read(ttl_ms=2**32), "ttl_ms", "expected int <= 4294967295"),
        (read(ttl_ms=1.5), "ttl_ms", "expected int, got float"),
        (read(created_at_ns=True), "created_at_ns", "expected int, got bool"),
        (read(metadata={"a": {"b": [1, math.nan]}}), "metadata.a.b[1]", "nan is not a number that JSON can represent"),
        (read(metadata={1: 2}), "metadata", "the key 1 is not a str but int"),
        (result(output=math.inf), "output", "inf is not a number that JSON can represent"),
        (result(output=[{"x": (1, -math.inf)}]), "output[0].x[1]", "-inf is not a number that JSON can represent"),
        (result(status="weird"), "status", "invalid enum value 'weird'"),
        (result(status=Plain.OK), "status", "expected str, got Plain"),
        (report(a=math.nan), "params.metrics.a", "nan is not a number that JSON can represent"),
        (report(a="1"), "params.metrics[...]", "expected float, got str"),
        (fetch({1: "a"}), "params.headers", "the key 1 is not a str but int"),
        (shell(["a", 5]), "params.args[1]", "expected str, got int"),
        (shell(("a", uuid.UUID(int=1))), "params.args[1]", "expected str, got UUID"),
    ],
)
def test_what_readers_could_not_decode_is_refused_with_the_name_of_its_field(payload: Any, field: str, why: str) -> None:
    assert problem(payload) == (field, why)


def test_what_was_changed_after_it_was_made_is_refused() -> None:
    intent = read(metadata={"a": 1})
    assert problem(intent) is None
    intent.metadata["a"] = math.nan
    assert problem(intent) == ("metadata.a", "nan is not a number that JSON can represent")


@pytest.mark.parametrize(
    "payload",
    [
        read(metadata={"a": [1, None, {"b": 2.5}], "big": 2**80}),
        result(output={"at": datetime.datetime(2026, 1, 1), "id": uuid.UUID(int=1), "t": (1, 2), "s": {1}}),
        result(status=Text.OK),
        report(a=1),
        shell(("a", "b")),
    ],
)
def test_what_json_represents_is_sent(payload: Any) -> None:
    assert problem(payload) is None


def test_the_fields_of_a_payload_and_of_its_check_have_one_order() -> None:
    """Or what is compared fast would always differ."""
    for payload in (read(), result(), report(a=1), log_entry()):
        checked = codec._checker_of(type(payload))(codec.encode(payload))
        assert checked.__struct_fields__ == payload.__struct_fields__


@pytest.mark.parametrize("value", [read(), result(output=[1]), log_entry(), subjects.intents.raw.of(read_intent())])
def test_payloads_and_subjects_are_pickled_and_copied(value: Any) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert type(again) is type(value)
