"""The contract layer itself: tokens, filters, profiles, what is no subject, values for new
payloads."""

from __future__ import annotations

import copy
import os
import pickle
import re
import time
import uuid
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from buses import read_intent
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk import contract, subjects
from smith_sdk._core import codec
from smith_sdk.contract import Cap, Filter, StreamSubject, covers, is_int_token, is_token, read_int_token
from smith_sdk.errors import InvalidToken, SubjectMismatch
from smith_sdk.protocol import BenchmarkEvent, IntentId, IntentResult, LogEntry, QuarantinedIntent
from smith_sdk.protocol._intent import INTENT_CLASSES
from smith_sdk.topology import CONTRACT, STREAMS

KINDS = ("RunStart", "RunStop", "Step", "ToolCall", "ContextDecision", "Failure", "OptimizerUpdate")
"""Those of the crates."""


@given(st.text(max_size=300) | st.characters())
def test_a_token_is_what_nats_can_carry(text: str) -> None:
    plain = re.fullmatch(r"[^\s.*>\x00-\x1f\x7f]{1,256}", text) is not None
    assert is_token(text) == (plain and not any("\ud800" <= char <= "\udfff" for char in text))


@pytest.mark.parametrize("text", ["01", "+1", "1_000", " 1", "1.0", "", "one", "٣", "-0", "--1"])
def test_an_int_token_has_one_way_to_be_written(text: str) -> None:
    with pytest.raises(InvalidToken):
        read_int_token("a.{n}", "n", text)


@given(st.integers())
def test_int_tokens(value: int) -> None:
    assert read_int_token("a.{n}", "n", str(value)) == value
    assert is_int_token(value, None, None)
    assert is_int_token(value, value, value)
    assert not is_int_token(value, value + 1, None)
    assert not is_int_token(value, None, value - 1)
    assert not is_int_token(True, None, None)
    assert not is_int_token(str(value), None, None)


patterns = st.lists(st.sampled_from("ab*"), min_size=1, max_size=3).map(".".join) | st.lists(
    st.sampled_from("ab*"), max_size=2
).map(lambda head: ".".join([*head, ">"]))
words = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(st.lists(patterns, min_size=1, max_size=4), st.lists(patterns, min_size=1, max_size=4), words)
def test_joined_filters_receive_what_each_receives_and_each_message_once(one: list[str], other: list[str], subject: str) -> None:
    joined = CONTRACT.filter(*one) | CONTRACT.filter(*other)
    assert any(covers(pattern, subject) for pattern in joined.patterns) == any(
        covers(pattern, subject) for pattern in one + other
    )
    for a in joined.patterns:
        assert not any(covers(b, a) for b in joined.patterns if b != a)
    assert joined == CONTRACT.filter(*other) | CONTRACT.filter(*one)
    assert hash(joined) == hash(CONTRACT.filter(*other) | CONTRACT.filter(*one))


def test_what_is_no_subject_of_the_contract_is_refused() -> None:
    class Mine(StreamSubject[IntentResult], frozen=True, kw_only=True):
        NAME: ClassVar[str] = "mine"

    CONTRACT.require(subjects.results(intent_id=IntentId("a")))
    for wrong in ("smith.results.a", subjects.results.filter(), subjects.results, None, Mine()):  # type: ignore[call-arg]
        with pytest.raises(SubjectMismatch):
            CONTRACT.require(wrong)


def test_a_constant_made_by_hand_selects_nothing() -> None:
    make: Any = Cap
    for value in ("fs.read.v9", "fs.read.v1"):
        forged = make(value)
        for use in (subjects.intents.raw, subjects.intents.raw.filter, subjects.intents.quarantine):
            with pytest.raises(InvalidToken, match=r"made by hand.*allowed: archive\.read\.v1"):
                use(capability=forged)


def test_a_constant_stays_what_it_is_when_it_is_copied() -> None:
    real = subjects.capability.fs_read_v1
    for made in (copy.copy(real), copy.deepcopy(real), pickle.loads(pickle.dumps(real))):
        assert (type(made), made, hash(made)) == (Cap, "fs.read.v1", hash("fs.read.v1"))
        assert subjects.intents.raw(capability=made) == subjects.intents.raw(capability=real)


def test_only_filters_of_the_contract_are_read() -> None:
    make: Any = Filter
    right = subjects.results.filter() | subjects.audit.policy.filter()
    for readable in (right, CONTRACT.filter("smith.>"), subjects.results(intent_id=IntentId("a"))):
        CONTRACT.require_readable(readable)
    foreign = msgspec.structs.replace(CONTRACT, origin="acme_bus.topology:CONTRACT", name="acme")
    for wrong, why in (
        (make("smith.results.*"), "was made by hand"),
        (make("smith.results.*") | right, "was made by hand"),
        (right | make("any.>"), "was made by hand"),
        (foreign.filter("smith.results.*") | right, "is of the contract acme_bus"),
        ("smith.results.*", "is not a subject"),
        (subjects.results, "is not a subject"),
    ):
        with pytest.raises(SubjectMismatch, match=why):
            CONTRACT.require_readable(wrong)
    with pytest.raises(SubjectMismatch, match="is of the contract smith_sdk"):
        foreign.require_readable(right)


def test_a_parsed_subject_is_matched_with_its_class() -> None:
    parsed = subjects.parse("smith.intents.raw.fs.read.v1")
    assert subjects.intents.raw.match(parsed)
    assert parsed.capability is subjects.capability.fs_read_v1
    assert not subjects.results.match(parsed)
    assert subjects.results.match(subjects.parse("smith.results.a"))


def test_profiles() -> None:
    dev = CONTRACT.profile("dev")
    assert [stream.name for stream in dev] == [stream.name for stream in STREAMS]
    full = sum(stream.max_bytes or 0 for stream in STREAMS)
    for stream, scaled in zip(STREAMS, dev, strict=True):
        assert scaled.max_bytes is not None
        assert stream.max_bytes is not None
        assert scaled.max_bytes == int(stream.max_bytes * 2**30 / full)
    assert [stream.max_bytes for stream in CONTRACT.profile("prod")] == [stream.max_bytes for stream in STREAMS]
    with pytest.raises(KeyError, match="it has dev, prod"):
        CONTRACT.profile("test")
    with pytest.raises(KeyError):
        CONTRACT.stream("NONE")


def test_new_ids() -> None:
    before = time.time_ns() // 1_000_000
    texts = contract.new_uuid7(), contract.new_uuid4()
    seven, four = map(uuid.UUID, texts)
    after = time.time_ns() // 1_000_000
    assert (seven.version, four.version) == (7, 4)
    assert seven.variant == four.variant == uuid.RFC_4122
    assert before <= seven.int >> 80 <= after
    assert texts == (str(seven), str(four))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")
def test_a_forked_process_makes_ids_of_its_own() -> None:
    contract.new_uuid7()  # random digits for more ids are kept from here on
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, contract.new_uuid7().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 36).decode()
    os.close(read)
    os.close(write)
    assert len(theirs) == 36
    assert contract.new_uuid7()[15:] != theirs[15:]
    assert len({contract.new_uuid7() for _ in range(1000)}) == 1000


def test_times() -> None:
    before = datetime.now(UTC)
    text = contract.now_rfc3339()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)
    assert before.timestamp() <= contract.now_ns() / 1e9


def test_the_payloads_on_a_pattern() -> None:
    intents = set(INTENT_CLASSES.values())
    for pattern in ("smith.intents.raw.>", "smith.intents.raw.fs.read.v1", "smith.intents.*.*.*.*.default"):
        assert CONTRACT.payloads_on(pattern) == intents, pattern
    assert CONTRACT.payloads_on("smith.intents.>") == {*intents, QuarantinedIntent}
    assert CONTRACT.payloads_on("smith.results.*") == {IntentResult}
    assert CONTRACT.payloads_on("smith.dlq.>") == {bytes}
    assert CONTRACT.payloads_on("smith.logs.*.*") == {LogEntry}
    assert CONTRACT.payloads_on(">") > intents
    for pattern in ("smith", "smith.results", "smith.results.a.b", "acme.>", "smith.nothing.*"):
        assert CONTRACT.payloads_on(pattern) == set(), pattern


def test_all_capabilities_in_the_order_of_the_spec() -> None:
    every = subjects.capability.all()
    assert [str(one) for one in every] == list(INTENT_CLASSES)
    assert every[0] is subjects.capability.fs_read_v1
    assert len({str(subjects.intents.vetted.filter(capability=one)) for one in every}) == len(every) == 8


@pytest.mark.parametrize(
    ("ttl_ms", "later", "is_expired"), [(5, 5_000_000, False), (5, 5_000_001, True), (0, 0, False), (0, 1, True)]
)
def test_an_intent_is_expired_once_more_than_its_ttl_has_passed(
    monkeypatch: pytest.MonkeyPatch, ttl_ms: int, later: int, is_expired: bool
) -> None:
    intent = read_intent(created_at_ns=1_000, ttl_ms=ttl_ms)
    monkeypatch.setattr("smith_sdk.protocol._intent._now_ns", lambda: 1_000 + later)
    assert intent.is_expired is is_expired


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        *(({name: {"any": 1}}, name) for name in KINDS),
        ("Step", "Step"),
        ({"Later": {}}, None),
        ("Later", None),
        ({"Step": {}, "Failure": {}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_benchmark_event_has_a_kind_and_an_unknown_one_is_kept(event_type: Any, kind: str | None) -> None:
    event = BenchmarkEvent.new(
        run_id="r", task_id="t", step_id="s", policy_id="p", cfg_hash="c", env_hash="e", seed=1, event_type=event_type, data=None
    )
    assert event.kind == kind
    raw = msgspec.json.encode(event)
    again = codec.decode(BenchmarkEvent, raw, "smith.benchmark.runs.r")
    assert (again.event_type, again.kind, msgspec.json.encode(again)) == (event_type, kind, raw)
