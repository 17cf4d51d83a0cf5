"""Smith's own subjects and payloads: what is refused, what goes round, what is imported when."""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import payloads

from smith_sdk import protocol, subjects
from smith_sdk.contract import AnySubject, CoreSubject, Leaf, Payload, ReadOnlySubject, Shard, StreamSubject, covers
from smith_sdk.errors import InvalidToken, PayloadMismatch, UnknownSubject
from smith_sdk.protocol import AnyIntent, Domain, FsReadV1Intent, FsReadV1Params, HttpFetchV1Intent, Intent, IntentId
from smith_sdk.topology import CONTRACT

CAPABILITIES = (
    "fs.read.v1",
    "fs.write.v1",
    "http.fetch.v1",
    "git.clone.v1",
    "archive.read.v1",
    "sqlite.query.v1",
    "bench.report.v1",
    "shell.exec.v1",
)

PATTERNS = {
    "intents.raw": "smith.intents.raw.{capability}",
    "intents.vetted": "smith.intents.vetted.{capability}.{domain}",
    "intents.quarantine": "smith.intents.quarantine.{capability}",
    "intents.vetted_sharded": "smith.intents.vetted.{capability}.{domain}.shard.{shard}",
    "intents.vetted_crates": "smith.intents.vetted.{capability}.shard.{shard}",
    "results": "smith.results.{intent_id}",
    "audit.execution": "smith.audit.execution.{intent_id}",
    "audit.policy": "smith.audit.policy.{intent_id}",
    "audit.security": "smith.audit.security.{event_type}",
    "events.executor_lifecycle": "smith.events.executor.lifecycle.{executor_id}",
    "events.health": "smith.events.health.{service}",
    "events.metrics": "smith.events.metrics.{service}",
    "dlq": "smith.dlq.{stream}.{consumer}.{seq}",
    "logs.service": "smith.logs.{log_service}.{level}",
    "logs.errors": "smith.logs.errors.{service}",
    "logs.performance": "smith.logs.performance.{service}",
    "logs.security": "smith.logs.security.{service}.{event_type}",
    "benchmark.runs": "smith.benchmark.runs.{run_id}",
    "benchmark.steps": "smith.benchmark.steps.{run_id}.{step_id}",
    "benchmark.tools": "smith.benchmark.tools.{run_id}.{tool_name}",
    "benchmark.context": "smith.benchmark.context.{run_id}.{segment_id}",
    "benchmark.failures": "smith.benchmark.failures.{run_id}.{failure_type}",
    "benchmark.early_stop": "smith.benchmark.early_stop.{run_id}.{reason}",
    "benchmark.optimizer": "smith.benchmark.optimizer.{task_type}",
    "benchmark.task_features": "smith.benchmark.task_features.{task_id}",
    "ai_sdlc.action_request": "smith.ai.sdlc.action.request",
    "ai_sdlc.action_result": "smith.ai.sdlc.action.result",
    "gitlab.event_mr": "smith.gitlab.event.mr",
    "gitlab.event_pipeline": "smith.gitlab.event.pipeline",
    "gitlab.event_issue": "smith.gitlab.event.issue",
    "orchestrator.audit": "smith.orchestrator.audit",
    "orchestrator.status": "smith.orchestrator.status",
}
"""What the other services of the platform have agreed on, in full."""


def leaves(node: Any) -> dict[str, type[AnySubject]]:
    found: dict[str, type[AnySubject]] = {}
    for inner in node.values():
        found.update({inner.cls.NAME: inner.cls} if isinstance(inner, Leaf) else leaves(inner))
    return found


CLASSES = leaves(CONTRACT.trie)
PAYLOADS = [cls for name in protocol.__all__ if isinstance(cls := getattr(protocol, name), type) and issubclass(cls, Payload)]
PAYLOADS.remove(AnyIntent)


def read_intent(**given: Any) -> FsReadV1Intent:
    return FsReadV1Intent.new(**{"domain": "default", "params": FsReadV1Params(path="/etc/hostname"), **given})


# ---- the contract to the letter


def test_every_pattern_of_the_platform() -> None:
    assert {name: cls.PATTERN for name, cls in CLASSES.items()} == PATTERNS


def test_every_name_leads_to_its_class() -> None:
    for name, cls in CLASSES.items():
        found: Any = subjects
        for part in name.split("."):
            found = getattr(found, part)
        assert found is cls
        kind = ReadOnlySubject if name == "intents.vetted_crates" else StreamSubject if cls.STREAM else CoreSubject
        assert issubclass(cls, kind)
        if cls.STREAM:
            leaf: Any = cls
            given = {"shard": Shard(0)} if name == "intents.vetted_sharded" else {}  # of any layout without it
            widest = str(leaf.filter(**given))
            assert any(covers(pattern, widest) for pattern in CONTRACT.stream(cls.STREAM).subjects)


def test_an_intent_on_the_wire() -> None:
    intent = read_intent(id="i-1", created_at_ns=1, nonce="n", ttl_ms=2, metadata={"a": [1]})
    assert msgspec.json.decode(msgspec.json.encode(intent)) == {
        "capability": "fs.read.v1",
        "id": "i-1",
        "domain": "default",
        "params": {"path": "/etc/hostname", "max_bytes": None, "follow_symlinks": None},
        "created_at_ns": 1,
        "ttl_ms": 2,
        "nonce": "n",
        "signer": "",
        "signature_b64": "",
        "metadata": {"a": [1]},
    }


def test_what_another_service_leaves_out_or_adds() -> None:
    raw = b'{"id":"i","capability":"http.fetch.v1","domain":"d","params":{"url":"u","later":1},"created_at_ns":1,"ttl_ms":1'
    raw += b',"nonce":"n","later":1}'
    intent = msgspec.json.decode(raw, type=Intent)
    assert isinstance(intent, HttpFetchV1Intent)
    assert (intent.signer, intent.signature_b64, intent.metadata, intent.params.method) == ("", "", {}, None)
    for wrong in (b'{"id":"i"}', raw.replace(b'"ttl_ms":1', b'"ttl_ms":4294967296'), raw.replace(b"http.fetch", b"ftp.fetch")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(wrong, type=Intent)


@pytest.mark.parametrize("status", ["ok", "error", "denied", "timeout", "killed", "success", "failed"])
def test_a_result_of_every_status(status: str) -> None:
    raw = {
        "intent_id": "i", "status": status, "started_at_ns": 1, "finished_at_ns": 2**70,
        "runner_meta": {"pid": 1, "cpu_ms": 1, "max_rss_kb": 1}, "audit_ref": {"id": "a", "timestamp": 1, "hash": "h"},
    }  # fmt: skip
    result = msgspec.convert(raw, protocol.IntentResult)
    assert (result.status, result.error, result.output, result.finished_at_ns) == (status, None, None, 2**70)
    assert protocol.IntentResult.ID_FIELD == "intent_id"


def test_quarantine_keeps_the_bytes_as_base64() -> None:
    kept = protocol.QuarantinedIntent.new(intent=b"\xff\x00 no json", reason="r")
    assert msgspec.json.decode(msgspec.json.encode(kept))["intent"] == "/wAgbm8ganNvbg=="


def test_new_intents_differ_and_sort_by_time() -> None:
    made = [read_intent() for _ in range(50)]
    assert len({intent.id for intent in made}) == len({intent.nonce for intent in made}) == 50
    assert all(intent.id[14] == "7" and intent.nonce[14] == "4" and intent.id[19] in "89ab" for intent in made)
    assert [intent.id[:13] for intent in made] == sorted(intent.id[:13] for intent in made)
    assert made[0].ttl_ms == 300_000
    assert made[0].ID_FIELD == "id"


# ---- tokens

BAD_TOKENS: list[Any] = [
    *(
        "",
        ".",
        "a.b",
        "*",
        "a*",
        ">",
        "a>",
        " ",
        "a b",
        "a\tb",
        "a\n",
        "\x00",
        "\x7f",
        "a\u00a0b",
        "a\u2003b",
        "\ud800",
        "x" * 257,
    ),
    *(7, None, b"a", ["a"]),
]


@pytest.mark.parametrize("bad", BAD_TOKENS, ids=repr)
def test_bad_tokens_are_refused_wherever_they_come_from(bad: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: subjects.results(intent_id=bad),
        lambda: subjects.intents.vetted(capability=subjects.capability.fs_read_v1, domain=bad),
        lambda: subjects.intents.raw(capability=bad),
        lambda: subjects.logs.service(log_service=bad, level="info"),
        lambda: subjects.logs.service(log_service=protocol.LogService("x"), level=bad),
        lambda: subjects.intents.vetted.of(msgspec.structs.replace(read_intent(), domain=bad)),
    ]
    if bad is not None:
        calls.append(lambda: subjects.results.filter(intent_id=bad))
        calls.append(lambda: subjects.intents.raw.filter(capability=bad))
    for call in calls:
        with pytest.raises(InvalidToken) as caught:
            call()
        assert caught.value.value is bad
        assert isinstance(caught.value, ValueError)
        assert caught.value.pattern.startswith("smith.")
        assert f"{{{caught.value.token}}}" in caught.value.pattern


def test_a_log_of_a_service_named_like_another_subject_is_refused() -> None:
    for excluded in ("errors", "performance", "security"):
        with pytest.raises(InvalidToken, match="any token but errors, performance, security"):
            subjects.logs.service(log_service=protocol.LogService(excluded), level="info")


def test_of_refuses_another_payload() -> None:
    with pytest.raises(PayloadMismatch, match="carries IntentResult, not FsReadV1Intent"):
        subjects.results.of(read_intent())  # type: ignore[arg-type]
    with pytest.raises(PayloadMismatch):
        subjects.intents.raw.of(object())  # type: ignore[call-overload]


def test_of_reads_the_tokens_from_the_payload() -> None:
    intent = read_intent(domain="here")
    assert subjects.intents.raw.of(intent) == subjects.intents.raw(capability=subjects.capability.fs_read_v1)
    assert str(subjects.intents.vetted.of(intent)) == "smith.intents.vetted.fs.read.v1.here"
    assert subjects.intents.raw.of(intent).message_type is FsReadV1Intent
    assert intent.capability == "fs.read.v1"
    step = protocol.BenchmarkEvent.new(
        run_id="r", task_id="t", step_id="s", policy_id="p", cfg_hash="c", env_hash="e", seed=1, event_type="x", data=None
    )
    assert str(subjects.benchmark.steps.of(step)) == "smith.benchmark.steps.r.s"
    assert str(subjects.benchmark.tools.of(step, tool_name=protocol.ToolName("grep"))) == "smith.benchmark.tools.r.grep"


def test_subjects_are_values() -> None:
    one, other = subjects.results(intent_id=IntentId("a")), subjects.results(intent_id=IntentId("a"))
    assert one == other
    assert len({one, other}) == 1
    assert one != cast("object", subjects.audit.execution(intent_id=IntentId("a")))
    with pytest.raises(AttributeError):
        one.intent_id = IntentId("b")  # type: ignore[misc]
    CONTRACT.require(one)


def test_filters() -> None:
    assert subjects.intents.raw.filter().patterns == ("smith.intents.raw.*.*.*",)
    assert subjects.intents.vetted.filter(domain=Domain("d")).patterns == ("smith.intents.vetted.*.*.*.d",)
    assert subjects.intents.vetted.filter(capability=subjects.capability.fs_read_v1).patterns == (
        "smith.intents.vetted.fs.read.v1.*",
    )
    both = (
        subjects.audit.execution.filter() | subjects.audit.policy.filter() | subjects.audit.policy.filter(intent_id=IntentId("a"))
    )
    assert both == CONTRACT.filter("smith.audit.policy.*", "smith.audit.execution.*")


# ---- there and back

token = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters=".*>"), min_size=1, max_size=12
)
TOKENS: dict[str, st.SearchStrategy[Any]] = {
    "capability": st.sampled_from(subjects.capability.all()),
    "level": st.sampled_from(["trace", "debug", "info", "warn", "error"]),
    "log_service": token.filter(lambda text: text not in ("errors", "performance", "security")),
    "seq": st.integers(min_value=1),
    "shard": st.builds(Shard, st.integers(0, 4095)),
}


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.differing_executors], deadline=None)
@given(data=st.data())
def test_parse_gives_back_what_was_written(name: str, data: st.DataObject) -> None:
    cls = CLASSES[name]
    subject = cls(**{field: data.draw(TOKENS.get(field, token), field) for field in cls.__struct_fields__})
    parsed = subjects.parse(str(subject))
    assert parsed == subject
    assert type(parsed) is cls
    assert parsed.message_type is subject.message_type
    if cls.__struct_fields__:
        assert covers(str(cls.filter()), str(subject))  # type: ignore[attr-defined]
        given_all = {field: getattr(subject, field) for field in cls.__struct_fields__}
        assert str(cls.filter(**given_all)) == str(subject)  # type: ignore[attr-defined]


@settings(max_examples=300)
@given(st.text(st.sampled_from("abrw.*> \t7"), max_size=12).map(lambda tail: f"smith.results.{tail}") | st.text(max_size=20))
def test_parse_of_anything_gives_a_subject_or_an_error_of_ours(text: str) -> None:
    try:
        parsed = subjects.parse(text)
    except (UnknownSubject, InvalidToken):
        return
    assert str(parsed) == text


# ---- no illegal token gets through, whichever way it comes

anything = st.one_of(
    st.text(max_size=6),
    st.text(".*> \t\r\n\x00\x7f\x85\xa0\u2028\u3000ab", min_size=1, max_size=6),
    st.sampled_from([bad for bad in BAD_TOKENS if isinstance(bad, str)]),
    st.sampled_from(["fs.read.v1", "FS.READ.V1", "fs.read", "info", "errors"]),
)


def is_legal(subject: str) -> bool:
    """Whether NATS can carry `subject`. Written apart from the rule of the SDK, to judge it."""
    tokens = subject.split(".")
    carried = not any(one in "*>\x7f" or ord(one) <= 0x20 or one.isspace() or 0xD800 <= ord(one) < 0xE000 for one in subject)
    return carried and all(0 < len(token) <= 256 for token in tokens)


WITH_TOKENS = [name for name, cls in CLASSES.items() if cls.__struct_fields__]
FROM_PAYLOADS = [name for name in WITH_TOKENS if hasattr(CLASSES[name], "of") and name != "intents.vetted_sharded"]


def width(cls: type[AnySubject]) -> int:
    """How many tokens a subject of this class has on the wire; a capability has three."""
    return cls.PATTERN.count(".") + 1 + 2 * cls.PATTERN.count("{capability}")


def check_let_through(cls: Any, subject: Any) -> None:
    text = str(subject)
    assert type(subject) is cls
    assert is_legal(text)
    assert text.count(".") + 1 == width(cls)
    assert subjects.parse(text) == subject


@pytest.mark.parametrize("name", WITH_TOKENS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.differing_executors], deadline=None)
@given(data=st.data())
def test_no_illegal_token_gets_through(name: str, data: st.DataObject) -> None:
    cls: Any = CLASSES[name]
    tokens = {field: data.draw(TOKENS.get(field, token), field) for field in cls.__struct_fields__}
    field = data.draw(st.sampled_from(cls.__struct_fields__))
    written = str(cls(**tokens)).split(".")
    place = data.draw(st.integers(0, len(written) - 1))
    bad: Any = data.draw(anything | st.integers() | st.booleans() | st.binary(max_size=3))
    text = bad if isinstance(bad, str) else str(bad)
    with contextlib.suppress(InvalidToken):
        check_let_through(cls, cls(**{**tokens, field: bad}))
    with contextlib.suppress(InvalidToken):
        (pattern,) = cls.filter(**{field: bad}).patterns
        assert is_legal(pattern.replace("*", "x"))
        assert pattern.count(".") + 1 == width(cls)
        assert covers(str(cls.filter()), pattern)
        stars = 3 if field == "capability" else 2 if field == "shard" and name == "intents.vetted_sharded" else 1
        assert pattern.count("*") == str(cls.filter()).count("*") - stars
    received = [*written[:place], text, *written[place + 1 :]]
    with contextlib.suppress(InvalidToken):
        check_let_through(cls, cls.from_tokens(received))
    with contextlib.suppress(UnknownSubject, InvalidToken):
        parsed = subjects.parse(".".join(received))
        assert str(parsed) == ".".join(received)
        check_let_through(type(parsed), parsed)


@pytest.mark.parametrize("name", FROM_PAYLOADS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_illegal_token_gets_through_from_a_payload(name: str, data: st.DataObject) -> None:
    cls: Any = CLASSES[name]
    of = inspect.signature(cls.of).parameters
    others = {field: data.draw(anything | TOKENS.get(field, token), field) for field in of if field != "message"}
    subject = cls(**{field: data.draw(TOKENS.get(field, token), field) for field in cls.__struct_fields__})
    read = [field for field in cls.__struct_fields__ if field not in others and field != "capability"]
    payload = data.draw(payloads(subject.message_type))
    drawn = {field: data.draw(anything | token, field) for field in read if hasattr(payload, field)}
    with contextlib.suppress(InvalidToken):  # from the payload as well: it checks its own tokens
        check_let_through(cls, cls.of(msgspec.structs.replace(payload, **drawn), **others))


def test_a_number_has_its_bounds_and_one_spelling() -> None:
    dlq: Any = subjects.dlq
    names = {"stream": "S", "consumer": "c"}
    for bad in (0, -1, True, 7.0, "7", None):
        with pytest.raises(InvalidToken):
            dlq(**names, seq=bad)
        if bad is not None:
            with pytest.raises(InvalidToken):
                dlq.filter(seq=bad)
    for text in ("0", "-1", "01", "+1", "1_0", "0x1", "1e3", "\u0667", "9" * 5000, "one", ""):
        with pytest.raises(InvalidToken):
            dlq.from_tokens(["smith", "dlq", "S", "c", text])
        with pytest.raises(InvalidToken):
            subjects.parse(f"smith.dlq.S.c.{text}")
    for number in (1, 2**64 + 1):
        assert subjects.parse(f"smith.dlq.S.c.{number}") == dlq(**names, seq=number)


def test_parse_refuses() -> None:
    for unknown in ("smith", "smith.results", "smith.results.a.b", "smith.intents.raw.fs", "smith..results.a", "acme.results.a"):
        with pytest.raises(UnknownSubject):
            subjects.parse(unknown)
    for bad in (
        "smith.results.*",
        "smith.results.>",
        "smith.results.",
        "smith.intents.raw.fs.read.v2",
        "smith.dlq.S.c.01",
        "smith.logs.x.loud",
    ):
        with pytest.raises(InvalidToken):
            subjects.parse(bad)


@pytest.mark.parametrize("cls", PAYLOADS, ids=lambda cls: cls.__name__)
@settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_payloads_go_over_the_wire_and_back(cls: type[Payload], data: st.DataObject) -> None:
    payload = data.draw(payloads(cls))
    assert msgspec.json.decode(msgspec.json.encode(payload), type=cls) == payload
    if cls.ID_FIELD:
        assert isinstance(getattr(payload, cls.ID_FIELD), str)


# ---- what is imported when


def fresh(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def test_namespaces_are_imported_when_they_are_used() -> None:
    loaded = "[name.rpartition('.')[2] for name in sys.modules if name.startswith('smith_sdk.subjects.')]"
    assert fresh(f"import sys, smith_sdk; print({loaded})") == "[]"
    used = "from smith_sdk import subjects; subjects.parse('smith.results.a')"
    assert fresh(f"import sys; {used}; print('intents' in {loaded}, '_results' in {loaded})") == "False True"


def test_a_subject_imports_its_own_payload_and_no_other() -> None:
    loaded = "sorted(name for name in sys.modules if name.startswith('smith_sdk.protocol._'))"
    used = "from smith_sdk.subjects.events import health"
    of_others = "[name for name in sys.modules if name.startswith('smith_sdk.subjects.') and name.count('.') > 2]"
    found = fresh(f"import sys; {used}; print({loaded}, {of_others})")
    assert found == "['smith_sdk.protocol._health_event', 'smith_sdk.protocol._tokens'] ['smith_sdk.subjects.events._health']"
    used = "from smith_sdk.subjects.audit import execution"
    found = fresh(f"import sys; {used}; print({loaded})")
    assert "_audit_event" in found
    assert "_resource_usage" in found  # which it refers to
    assert "_intent'" not in found
    assert fresh(f"import sys, smith_sdk.protocol; print({loaded})") == "[]"


def test_completion_shows_names_for_users_only() -> None:
    assert [name for name in dir(subjects.intents) if not name.startswith("_")] == [
        "QuarantineMsg",
        "RawMsg",
        "VettedCratesMsg",
        "VettedMsg",
        "VettedShardedMsg",
        "quarantine",
        "raw",
        "vetted",
        "vetted_crates",
        "vetted_sharded",
    ]
    assert dir(subjects) == sorted(subjects.__all__)
    with pytest.raises(AttributeError, match="no attribute 'intent'"):
        _ = subjects.intent  # type: ignore[attr-defined]


def test_consumers_and_streams() -> None:
    names = {spec.name: spec for spec in CONTRACT.consumers}
    executors = {f"executor-{capability.removesuffix('.v1').replace('.', '-')}" for capability in CAPABILITIES}
    shards = {f"episode-{number:02x}" for number in range(16)}
    assert set(names) == executors | shards | {"admission", "http-results", "audit-collector", "quarantine-review"}
    assert names["executor-fs-read"].filters == ("smith.intents.vetted.fs.read.v1.*",)
    assert names["admission"].filters == ("smith.intents.raw.>",)
    assert CONTRACT.dead_letters == "smith.dlq"
    dev, prod = CONTRACT.profile("dev"), CONTRACT.profile("prod")
    assert sum(stream.max_bytes or 0 for stream in dev) <= 2**30
    assert {stream.replicas for stream in dev} == {1}
    assert {stream.replicas for stream in prod} == {3}
    assert all((stream.max_msg_size or 0) <= (stream.max_bytes or 0) for stream in dev)
    raw, audit = CONTRACT.stream("SDLC_RAW"), CONTRACT.stream("AUDIT_SECURITY")
    assert (raw.retention, raw.discard, raw.max_age, raw.max_bytes, raw.max_msgs) == ("workqueue", "new", 21600, 524288000, 50000)
    assert (audit.retention, audit.deny_delete, audit.deny_purge, audit.max_age) == ("limits", True, True, 365 * 86400)
