"""What the payloads are on the wire: field by field, as the other services of the platform have
agreed on it.

`FIELDS` is that agreement, written by hand; `golden/payloads.json` has for each payload a document
with every field and one with no more than it needs. Neither is generated: a change of subjects.toml
that changes the wire fails here.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from smith_sdk import protocol
from smith_sdk._core import codec
from smith_sdk.contract import Payload
from smith_sdk.errors import PayloadDecodeError, PayloadMismatch
from smith_sdk.protocol import AnyIntent, FsReadV1Intent, FsReadV1Params, Intent, IntentResult, MetricsEvent, QuarantinedIntent
from smith_sdk.signing import canonical_json, verify

INTENT = (
    "id: str, domain: str, created_at_ns: uint, ttl_ms: u32, nonce: str, "
    "signer: str = '', signature_b64: str = '', metadata: map of any = {}"
)
FIELDS = {
    "FsReadV1Params": "path: str, max_bytes?: u64, follow_symlinks?: bool",
    "FsWriteV1Params": "path: str, content: str, append?: bool, create?: bool",
    "HttpFetchV1Params": "url: str, method?: str, headers?: map of str, body?: str, timeout_ms?: u32",
    "GitCloneV1Params": "url: str, dest?: str, branch?: str, depth?: int",
    "ArchiveReadV1Params": "path: str, extract_content?: bool",
    "SqliteQueryV1Params": "database_path: str, query: str, params?: list of any, max_rows?: u32, timeout_ms?: u32",
    "BenchReportV1Params": "benchmark_name: str, metrics: map of float, metadata?: map of any, retention_days?: u32",
    "ShellExecV1Params": ("command: str, args?: list of str, env?: map of str, cwd?: str, timeout_ms?: u32, stdin?: str"),
    "FsReadV1Intent": f"{INTENT}, params: FsReadV1Params",
    "FsWriteV1Intent": f"{INTENT}, params: FsWriteV1Params",
    "HttpFetchV1Intent": f"{INTENT}, params: HttpFetchV1Params",
    "GitCloneV1Intent": f"{INTENT}, params: GitCloneV1Params",
    "ArchiveReadV1Intent": f"{INTENT}, params: ArchiveReadV1Params",
    "SqliteQueryV1Intent": f"{INTENT}, params: SqliteQueryV1Params",
    "BenchReportV1Intent": f"{INTENT}, params: BenchReportV1Params",
    "ShellExecV1Intent": f"{INTENT}, params: ShellExecV1Params",
    "QuarantinedIntent": "intent: base64, reason: str, timestamp_ns: uint",
    "IntentResult": (
        "intent_id: str, status: ok | error | denied | timeout | killed | success | failed, output?: any, error?: ExecutionError, "
        "started_at_ns: uint, finished_at_ns: uint, runner_meta: RunnerMetadata, audit_ref: AuditRef"
    ),
    "ExecutionError": "code: str, message: str",
    "RunnerMetadata": "pid: u32, cpu_ms: u32, max_rss_kb: u32, capability_digest?: str",
    "AuditRef": "id: str, timestamp: u64, hash: str",
    "AuditEvent": (
        "intent_id: str, result_status: ok | error | denied | timeout | killed | success | failed, timestamp_ns: uint, "
        "executor_id: str, policy_decisions: list of PolicyDecision, "
        "security_context: SecurityContext, resource_usage?: ResourceUsage"
    ),
    "PolicyDecision": "rule_name: str, decision: allow | deny | transform, reason: str",
    "SecurityContext": (
        "sandbox_mode?: full | demo | unsafe, user_ns?: u32, mount_ns?: u32, pid_ns?: u32, net_ns?: u32, cgroup_path?: str, "
        "landlock_enabled: bool, seccomp_enabled: bool, allowlist_hits?: list of AllowlistHit"
    ),
    "AllowlistHit": "resource_type: str, resource_id: str, operation: str, timestamp_ns: uint",
    "ResourceUsage": (
        "peak_memory_kb: u32, cpu_time_ms: u32, wall_time_ms: u32, fd_count: u32, disk_read_bytes: u64, disk_write_bytes: u64, "
        "network_tx_bytes: u64, network_rx_bytes: u64"
    ),
    "SecurityEvent": (
        "event_type: str, severity: info | warning | critical, timestamp_ns: uint, intent_id?: str, detail: map of any"
    ),
    "LifecycleEvent": ("executor_id: str, state: starting | ready | draining | stopped, timestamp_ns: uint, detail?: str"),
    "HealthEvent": "service: str, healthy: bool, timestamp_ns: uint, detail?: map of any",
    "MetricsEvent": "service: str, timestamp_ns: uint, metrics: map of float",
    "LogEntry": (
        "timestamp: str, level: TRACE | DEBUG | INFO | WARN | ERROR, service: str, target: str, message: str, fields: map of any, "
        "span?: LogSpan, trace?: LogTrace, correlation_id: str, node_id: str, metadata: LogMetadata"
    ),
    "LogSpan": "id: str, parent_id?: str, name: str, fields: map of any",
    "LogTrace": "id: str, context: map of any",
    "LogMetadata": "file?: str, line?: u32, module_path?: str, thread_id?: str, performance_category?: any",
    "BenchmarkEvent": (
        "run_id: str, task_id: str, step_id: str, ts: str, policy_id: str, cfg_hash: str, env_hash: str, seed: u64, "
        "event_type: any, data: any"
    ),
    "PlatformEvent": "event: str, timestamp_ns: uint, data: any",
}
"""Of each payload its fields: `name: type`, `name?: type` where it may be absent or null, `= value`
what it is where it is absent. u32 and u64 are unsigned integers of so many bits, uint has no end.
"""

INTEGERS = {"u32": (0, 2**32 - 1), "u64": (0, 2**64 - 1), "uint": (0, None), "int": (None, None)}
"""The kinds of integers, each with its least and largest value."""
SPELLINGS = {
    "AuditEvent.result_status": {"vetted": "ok", "quarantined": "error", "expired": "denied"},
    "LogEntry.level": {word.lower(): word for word in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")},
}
"""Other spellings of words that are read, and what they become."""

CAPABILITIES = {
    "FsReadV1Intent": "fs.read.v1",
    "FsWriteV1Intent": "fs.write.v1",
    "HttpFetchV1Intent": "http.fetch.v1",
    "GitCloneV1Intent": "git.clone.v1",
    "ArchiveReadV1Intent": "archive.read.v1",
    "SqliteQueryV1Intent": "sqlite.query.v1",
    "BenchReportV1Intent": "bench.report.v1",
    "ShellExecV1Intent": "shell.exec.v1",
}

WRITTEN = msgspec.json.decode(
    (Path(__file__).parent / "golden" / "payloads.json").read_bytes(), type=dict[str, dict[str, msgspec.Raw]]
)
GOLDEN: dict[str, dict[str, Any]] = {
    name: {kind: json.loads(bytes(text)) for kind, text in pair.items()} for name, pair in WRITTEN.items()
}
CLASSES: dict[str, Any] = {
    name: cls
    for name in protocol.__all__
    if isinstance(cls := getattr(protocol, name), type) and issubclass(cls, Payload) and cls is not AnyIntent
}
BIG = (2**53 + 1, 2**63, 2**64 + 1, 10**30, -(2**63) - 1, -(10**30))

each_payload = pytest.mark.parametrize("name", FIELDS)


class Field(NamedTuple):
    name: str
    optional: bool
    type: str
    default: str | None

    @property
    def required(self) -> bool:
        return not self.optional and self.default is None


def fields(name: str) -> list[Field]:
    found = []
    for text in FIELDS[name].split(", "):
        match = re.fullmatch(r"(\w+)(\??): (.+?)(?: = (.+))?", text)
        assert match, text
        found.append(Field(match[1], bool(match[2]), match[3], match[4]))
    return found


def each_payload_with(wanted: Callable[[Field], bool]) -> pytest.MarkDecorator:
    """One test for each payload that has such fields, with these as `chosen`."""
    cases = {name: [field for field in fields(name) if wanted(field)] for name in FIELDS}
    return pytest.mark.parametrize(
        ("name", "chosen"), [pytest.param(name, chosen, id=name) for name, chosen in cases.items() if chosen]
    )


def read(name: str, document: Any) -> Any:
    return codec.decode(CLASSES[name], json.dumps(document).encode(), "smith.s")


def full(name: str, /, **changed: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOLDEN[name]["full"]), **changed}


# ---- the agreement


PLAIN: dict[type, str] = {
    msgspec.inspect.StrType: "str",
    msgspec.inspect.FloatType: "float",
    msgspec.inspect.BoolType: "bool",
    msgspec.inspect.BytesType: "base64",
    msgspec.inspect.AnyType: "any",
}


def notation(kind: Any) -> str:
    """A type as msgspec sees it, as `FIELDS` writes it."""
    info = msgspec.inspect
    match kind:
        case info.UnionType():
            (inner,) = (one for one in kind.types if not isinstance(one, info.NoneType))
            return notation(inner)
        case info.StructType():
            return str(kind.cls.__name__)
        case info.ListType():
            return f"list of {notation(kind.item_type)}"
        case info.DictType():
            assert isinstance(kind.key_type, info.StrType)
            return f"map of {notation(kind.value_type)}"
        case info.LiteralType():
            return " | ".join(map(str, kind.values))
        case info.Metadata(type=info.IntType(ge=least), extra_json_schema={"maximum": most}):
            return integer(least, most)
        case info.IntType(ge=least, le=most):
            return integer(least, most)
    plain: dict[type, str] = {
        info.StrType: "str",
        info.FloatType: "float",
        info.BoolType: "bool",
        info.BytesType: "base64",
        info.AnyType: "any",
    }
    return plain[type(kind)]


def integer(least: int | None, most: int | None) -> str:
    return next(name for name, bounds in INTEGERS.items() if bounds == (least, most))


def default(field: Any) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


@each_payload
def test_the_fields_are_those_agreed_on(name: str) -> None:
    found = {
        Field(
            field.encode_name,
            default(field) is None,
            written(f"{name}.{field.name}", notation(field.type)),
            None if field.required or default(field) is None else repr(default(field)),
        )
        for field in msgspec.inspect.type_info(CLASSES[name]).fields  # type: ignore[attr-defined]
    }
    # A Literal keeps the order of its spec; on the wire there is none.
    assert {field._replace(type=unordered(field.type)) for field in found} == {
        field._replace(type=unordered(field.type)) for field in fields(name)
    }


def written(name: str, kind: str) -> str:
    """A type without the words that are read only."""
    return " | ".join(word for word in kind.split(" | ") if word not in SPELLINGS.get(name, {}))


def unordered(kind: str) -> str:
    return " | ".join(sorted(kind.split(" | ")))


def test_every_payload_is_agreed_on_and_has_its_golden_documents() -> None:
    assert set(CLASSES) == set(FIELDS) == set(GOLDEN)
    tags = {name: info.tag for name, cls in CLASSES.items() if (info := cls.__struct_config__).tag is not None}
    assert tags == CAPABILITIES
    assert {CLASSES[name].__struct_config__.tag_field for name in CAPABILITIES} == {"capability"}
    assert all(set(pair) == {"full", "minimal"} for pair in GOLDEN.values())


@each_payload
def test_the_golden_documents_have_all_fields_or_no_more_than_needed(name: str) -> None:
    tag = {"capability"} if name in CAPABILITIES else set()
    assert set(GOLDEN[name]["full"]) == {field.name for field in fields(name)} | tag
    assert all(value is not None for field, value in GOLDEN[name]["full"].items())
    assert set(GOLDEN[name]["minimal"]) == {field.name for field in fields(name) if field.required} | tag


# ---- there and back


@each_payload
def test_all_fields_come_back_as_they_were(name: str) -> None:
    written = bytes(WRITTEN[name]["full"])
    once = codec.encode(codec.decode(CLASSES[name], written, "smith.s"))
    # Canonical JSON keeps numbers as they are written: 1 is not 1.0, and no digit is lost.
    assert canonical_json(once) == canonical_json(written)
    assert codec.encode(codec.decode(CLASSES[name], once, "smith.s")) == once


@each_payload
def test_what_is_absent_is_none_or_the_default(name: str) -> None:
    payload = read(name, GOLDEN[name]["minimal"])
    for field in fields(name):
        if field.optional:
            assert getattr(payload, field.name) is None
        elif field.default is not None:
            assert repr(getattr(payload, field.name)) == field.default
    once = codec.encode(payload)
    assert codec.decode(CLASSES[name], once, "smith.s") == payload
    assert set(json.loads(once)) == set(GOLDEN[name]["full"])


@each_payload
def test_null_is_for_what_is_optional_only(name: str, subtests: pytest.Subtests) -> None:
    for field in fields(name):
        with subtests.test(field=field.name):
            document = full(name, **{field.name: None})
            if field.optional or field.type == "any":
                assert getattr(read(name, document), field.name) is None
            else:
                with pytest.raises(PayloadDecodeError, match=re.escape(f"`$.{field.name}`")):
                    read(name, document)


def with_unknown_fields(kind: str, value: Any) -> Any:
    """A value of a type of `FIELDS` with an unknown field in every object that is not a map."""
    if kind.startswith("list of "):
        return [with_unknown_fields(kind.removeprefix("list of "), item) for item in value]
    if kind not in FIELDS:
        return value
    inner = {field.name: field.type for field in fields(kind)}
    known = {key: with_unknown_fields(inner.get(key, "any"), item) for key, item in value.items()}
    return {"later": {"a": [None]}, **known, "Path": 1, "": "x"}


@each_payload
def test_unknown_fields_are_ignored_at_every_level(name: str) -> None:
    document = with_unknown_fields(name, full(name))
    assert read(name, document) == read(name, full(name))
    inner = [field.name for field in fields(name) if field.type.removeprefix("list of ") in FIELDS]
    assert all("later" in json.dumps(document[key]) for key in inner)


@each_payload_with(lambda field: field.type in INTEGERS)
def test_integers_are_exact(name: str, chosen: list[Field], subtests: pytest.Subtests) -> None:
    for field in chosen:
        with subtests.test(field=field.name):
            least, most = INTEGERS[field.type]
            inside = [one for one in (0, -1, *BIG) if (least is None or one >= least) and (most is None or one <= most)]
            for number in {*inside, *(one for one in (least, most) if one is not None)}:
                data = json.dumps(full(name, **{field.name: number})).encode()
                payload = codec.decode(CLASSES[name], data, "smith.s")
                assert type(getattr(payload, field.name)) is int
                assert getattr(payload, field.name) == number
                assert f'"{field.name}":{number}'.encode() in codec.encode(payload)


@each_payload_with(lambda field: field.type.endswith("any"))
def test_integers_inside_of_anything_are_exact(name: str, chosen: list[Field], subtests: pytest.Subtests) -> None:
    for field in chosen:
        with subtests.test(field=field.name):
            numbers = [*BIG, {"deep": [*BIG]}]
            given = {"map of any": {"n": numbers}, "list of any": numbers, "any": numbers}[field.type]
            payload = read(name, full(name, **{field.name: given}))
            assert getattr(payload, field.name) == given
            assert canonical_json(codec.encode(payload)) == canonical_json(json.dumps(full(name, **{field.name: given})).encode())


def test_integers_end_where_those_of_python_do() -> None:
    longest, longer = b"9" * 4300, b"9" * 4301
    written = b'{"event":"e","data":null,"timestamp_ns":%s}'
    assert codec.encode(codec.decode(protocol.PlatformEvent, written % longest, "s")).count(longest) == 1
    with pytest.raises(PayloadDecodeError, match=r"out of range - at `\$.timestamp_ns`"):
        codec.decode(protocol.PlatformEvent, written % longer, "s")


def test_a_float_takes_an_integer_but_not_what_is_no_number() -> None:
    payload = read("MetricsEvent", full("MetricsEvent", metrics={"a": 3, "b": -0.0, "c": 5e-324}))
    assert payload.metrics == {"a": 3.0, "b": 0.0, "c": 5e-324}
    assert math.copysign(1, payload.metrics["b"]) == -1
    assert b'"a":3.0' in codec.encode(payload)
    for wrong in (b"NaN", b"Infinity", b"1e400", b"null"):
        data = json.dumps(full("MetricsEvent", metrics={"a": "HERE"})).encode().replace(b'"HERE"', wrong)
        with pytest.raises(PayloadDecodeError):
            codec.decode(MetricsEvent, data, "s")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_becomes_null_which_is_no_float(number: float) -> None:
    data = codec.encode(MetricsEvent.new(service="s", metrics={"a": number}))
    assert json.loads(data)["metrics"] == {"a": None}
    with pytest.raises(PayloadDecodeError, match=re.escape("`$.metrics[...]`")):
        codec.decode(MetricsEvent, data, "s")


# ---- what is refused


@each_payload_with(lambda field: field.required)
def test_a_required_field_that_is_missing(name: str, chosen: list[Field], subtests: pytest.Subtests) -> None:
    for field in chosen:
        with subtests.test(field=field.name):
            document = full(name)
            del document[field.name]
            with pytest.raises(
                PayloadDecodeError, match=f"the message on smith.s is not a valid {name}: .*missing required field `{field.name}`"
            ) as caught:
                read(name, document)
            assert caught.value.raw == json.dumps(document).encode()
            assert caught.value.subject == "smith.s"


def wrong_values(kind: str) -> Iterator[Any]:
    match kind.split()[0]:
        case "str":
            yield from (7, True, ["a"], {})
        case word if word in INTEGERS:
            yield from ("7", 1.5, True, [1])
            least, most = INTEGERS[word]
            if least is not None:
                yield least - 1
            if most is not None and most < 2**63:  # of others msgspec does not name the place
                yield most + 1
        case "bool":
            yield from ("true", 0, 1, [])
        case "base64":
            yield from (7, "*", "a", [1])
        case "list":
            yield from ({}, "a", 7)
        case "map":
            yield from ([], "a", 7)
        case "any":
            return
        case word if word in FIELDS:
            yield from ([], "a", 7)
        case _:
            yield from ("", "nonsense", kind.split(" | ")[0].title(), 0)


@each_payload
def test_a_field_of_the_wrong_type(name: str, subtests: pytest.Subtests) -> None:
    for field in fields(name):
        with subtests.test(field=field.name):
            for wrong in wrong_values(field.type):
                with pytest.raises(PayloadDecodeError, match=re.escape(f"`$.{field.name}`")):
                    read(name, full(name, **{field.name: wrong}))


@each_payload_with(lambda field: " | " in field.type)
def test_every_word_of_a_closed_set(name: str, chosen: list[Field], subtests: pytest.Subtests) -> None:
    for field in chosen:
        with subtests.test(field=field.name):
            for word in field.type.split(" | "):
                payload = read(name, full(name, **{field.name: word}))
                assert getattr(payload, field.name) == word
                assert json.loads(codec.encode(payload))[field.name] == word
            for word, means in SPELLINGS.get(f"{name}.{field.name}", {}).items():
                assert read(name, full(name, **{field.name: word})) == read(name, full(name, **{field.name: means}))


@each_payload_with(lambda field: field.type == "u64")
def test_an_integer_beyond_64_bits_is_refused_when_it_is_made_and_when_it_is_read(name: str, chosen: list[Field]) -> None:
    for field in chosen:
        document = full(name, **{field.name: 2**64})
        with pytest.raises(PayloadDecodeError, match=f"{name}.{field.name} cannot be 18446744073709551616"):
            read(name, document)
        payload = read(name, full(name))
        with pytest.raises(PayloadMismatch, match=f"{name}.{field.name} cannot be 18446744073709551616") as caught:
            msgspec.structs.replace(payload, **{field.name: 2**64})
        assert caught.value.field == field.name


@pytest.mark.parametrize(
    ("name", "change", "path"),
    [
        ("FsReadV1Intent", {"params": {"path": 7}}, "$.params.path"),
        ("FsReadV1Intent", {"params": {}}, "missing required field `path` - at `$.params`"),
        ("HttpFetchV1Intent", {"params": {"url": "u", "headers": {"a": 1}}}, "$.params.headers[...]"),
        ("ShellExecV1Intent", {"params": {"command": "c", "args": ["a", 1]}}, "$.params.args[1]"),
        ("BenchReportV1Intent", {"params": {"benchmark_name": "b", "metrics": {"a": "1"}}}, "$.params.metrics[...]"),
        ("IntentResult", {"runner_meta": {"pid": "1", "cpu_ms": 1, "max_rss_kb": 1}}, "$.runner_meta.pid"),
        ("IntentResult", {"error": {"code": "c"}}, "missing required field `message` - at `$.error`"),
        (
            "AuditEvent",
            {"policy_decisions": [{"rule_name": "r", "decision": "maybe", "reason": ""}]},
            "$.policy_decisions[0].decision",
        ),
        ("SecurityContext", {"allowlist_hits": [{}]}, "missing required field `resource_type` - at `$.allowlist_hits[0]`"),
    ],
)
def test_an_error_further_in_names_its_path(name: str, change: dict[str, Any], path: str) -> None:
    with pytest.raises(PayloadDecodeError, match=re.escape(path)):
        read(name, full(name, **change))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'"a"', b"\xff", b'\xef\xbb\xbf{"path":"a"}', b'{"path":"\xff"}', b'{"path":"\\ud800"}',
        b'{"path":"a"}{}', b'{"path":"a","x":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_json_of_a_payload_is_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(PayloadDecodeError, match="is not a valid FsReadV1Params") as caught:
        codec.decode(FsReadV1Params, data, "smith.s")
    assert caught.value.raw == data


# ---- intents


@pytest.mark.parametrize("name", CAPABILITIES)
def test_the_capability_selects_the_payload(name: str) -> None:
    for document in GOLDEN[name].values():
        intent = codec.decode(Intent, json.dumps(document).encode(), "smith.s")
        assert type(intent) is CLASSES[name]
        assert intent.capability == document["capability"] == CAPABILITIES[name]
        # Wherever the capability stands in the object, also behind what it explains.
        late = {**{key: value for key, value in document.items() if key != "capability"}, "capability": document["capability"]}
        assert codec.decode(Intent, json.dumps(late).encode(), "smith.s") == intent


@pytest.mark.parametrize("kind", [Intent, FsReadV1Intent])
@pytest.mark.parametrize("capability", ["fs.read.v2", "FS.READ.V1", "", None, 7])
def test_a_capability_that_nobody_knows(kind: Any, capability: Any) -> None:
    with pytest.raises(PayloadDecodeError, match=re.escape("`$.capability`")):
        codec.decode(kind, json.dumps(full("FsReadV1Intent", capability=capability)).encode(), "smith.s")


def test_an_intent_is_not_read_as_one_of_another_capability() -> None:
    with pytest.raises(PayloadDecodeError, match=re.escape("'fs.write.v1' - at `$.capability`")):
        read("FsReadV1Intent", full("FsWriteV1Intent"))


def test_signatures_of_the_golden_intents() -> None:
    signed = [name for name in CAPABILITIES if GOLDEN[name]["full"]["signature_b64"]]
    assert len(signed) == 3
    for name in signed:
        assert verify(bytes(WRITTEN[name]["full"])) == GOLDEN[name]["full"]["signer"]


# ---- bytes, and what is said in older words


def test_bytes_are_base64_of_the_standard_alphabet() -> None:
    assert read("QuarantinedIntent", full("QuarantinedIntent")).intent == b'{"id": "i-1"}'
    every = bytes(range(256))
    kept = QuarantinedIntent.new(intent=every, reason="r")
    assert codec.decode(QuarantinedIntent, codec.encode(kept), "s").intent == every
    for wrong in ("_-_-", "AAA", "A A=", "AA=A"):
        with pytest.raises(PayloadDecodeError, match=re.escape("`$.intent`")):
            read("QuarantinedIntent", full("QuarantinedIntent", intent=wrong))


def test_a_denial_is_a_status_with_an_error_code() -> None:
    result: IntentResult = read("IntentResult", full("IntentResult"))
    assert result.error is not None
    assert (result.status, result.error.code) == ("denied", "POLICY_DENIED")
