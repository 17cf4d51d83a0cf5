"""Wrong values are refused where they are made, or before they are sent; nothing undecodable is
stored."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec
import pytest
from buses import Face, read_intent
from hypothesis import given, settings
from hypothesis import strategies as st

from smith_sdk import AsyncSmithBus, SmithBus, result_of, subjects
from smith_sdk._core import codec
from smith_sdk.contract.subjects import _legal_token, is_token
from smith_sdk.errors import InvalidToken, OptionsError, PayloadMismatch, PublishManyError
from smith_sdk.protocol import (
    FsReadV1Intent,
    FsReadV1Params,
    HealthEvent,
    LogEntry,
    MetricsEvent,
    SqliteQueryV1Intent,
    SqliteQueryV1Params,
)

WRONG = ["has space", "", "a.b", "*", ">", "tab\t", "x" * 257, 5, None]


@pytest.mark.parametrize("domain", WRONG)
def test_a_payload_whose_field_cannot_be_a_token_is_refused_when_it_is_made(domain: Any) -> None:
    params = FsReadV1Params(path="/x")
    with pytest.raises(InvalidToken, match=r"FsReadV1Intent\.domain cannot be .*smith\.intents\.vetted"):
        FsReadV1Intent.new(domain=domain, params=params)
    intent = read_intent()
    with pytest.raises(InvalidToken, match="domain"):
        msgspec.structs.replace(intent, domain=domain)
    fields = {**{name: getattr(intent, name) for name in FsReadV1Intent.__struct_fields__}, "domain": domain}
    with pytest.raises(InvalidToken, match="domain"):
        FsReadV1Intent(**fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**intent.to_dict(), "domain": domain}, FsReadV1Intent)


def test_the_error_shows_the_beginning_of_a_long_value() -> None:
    with pytest.raises(InvalidToken) as caught:
        FsReadV1Intent.new(domain="x" * 10_000, params=FsReadV1Params(path="/x"))
    assert len(str(caught.value)) < 400
    assert "(10002 characters)" in str(caught.value)


def test_every_field_that_becomes_a_token_is_checked() -> None:
    with pytest.raises(InvalidToken, match=r"HealthEvent\.service"):
        HealthEvent.new(service="a b", healthy=True)
    with pytest.raises(InvalidToken, match=r"LogEntry\.service"):
        LogEntry.new(service="a.b", level="info", target="t", message="m", correlation_id="c", node_id="n")
    with pytest.raises(InvalidToken, match=r"FsReadV1Intent\.id .*smith\.results"):
        FsReadV1Intent.new(id="a b", domain="d", params=FsReadV1Params(path="/"))
    with pytest.raises(InvalidToken, match=r"IntentResult\.intent_id"):
        msgspec.structs.replace(result_of(read_intent()), intent_id="")


@given(st.text(max_size=300) | st.from_regex(r"[\w-]{0,260}", fullmatch=True))
def test_the_short_way_to_a_token_agrees_with_the_pattern(text: str) -> None:
    assert is_token(text) == (_legal_token(text) is not None)


def intent(**fields: Any) -> FsReadV1Intent:
    return msgspec.structs.replace(read_intent(), **fields)


UNDECODABLE: list[tuple[FsReadV1Intent, str]] = [
    (intent(params=FsReadV1Params(path=5)), r"\$\.params\.path"),  # type: ignore[arg-type]
    (intent(params=FsReadV1Params(path="/", max_bytes="9")), r"\$\.params\.max_bytes"),  # type: ignore[arg-type]
    (intent(ttl_ms=-1), r"\$\.ttl_ms"),
    (intent(ttl_ms=2**32), r"\$\.ttl_ms"),
    (intent(created_at_ns="now"), r"\$\.created_at_ns"),
    (intent(metadata=[]), r"\$\.metadata"),
    (intent(metadata={"a": [1, {"b": math.nan}]}), r"\$\.metadata\.a\[1\]\.b"),
    (intent(metadata={"a": -math.inf}), r"\$\.metadata\.a`"),
    (intent(params="x"), r"\$\.params"),
]


@pytest.mark.parametrize(("wrong", "where"), UNDECODABLE, ids=[where for _, where in UNDECODABLE])
async def test_what_no_reader_could_decode_is_not_published(face: Face, wrong: FsReadV1Intent, where: str) -> None:
    subject = subjects.intents.raw(capability=FsReadV1Intent.SELECTOR)
    async with face.applied() as bus:
        with pytest.raises(PayloadMismatch, match=f"not a valid FsReadV1Intent.*{where}") as caught:
            await bus.publish(subject, wrong)
        assert caught.value.subject == "smith.intents.raw.fs.read.v1"
        with pytest.raises(PayloadMismatch, match=where):
            await (await bus.submit(subject, wrong))
        with pytest.raises(PublishManyError, match=where):
            await bus.publish_many([subject.envelope(read_intent()), subject.envelope(wrong)])
        assert (await bus.streams.get("SDLC_RAW")).messages == 1


LOOP: list[object] = []
LOOP.append(LOOP)
UNENCODABLE: list[tuple[FsReadV1Intent, str]] = [
    (intent(params=FsReadV1Params(path=object())), "params.path"),  # type: ignore[arg-type]
    (intent(params=FsReadV1Params(path="\ud800")), "params.path"),
    (intent(metadata={"a": [1, {"b": object()}]}), "metadata.a[1].b"),
    (intent(metadata={"a": LOOP}), "metadata.a" + "[0]" * 14),
]


@pytest.mark.parametrize(("wrong", "field"), UNENCODABLE, ids=[field for _, field in UNENCODABLE])
async def test_what_json_cannot_represent_is_named(face: Face, wrong: FsReadV1Intent, field: str) -> None:
    subject = subjects.intents.raw(capability=FsReadV1Intent.SELECTOR)
    async with face.applied() as bus:
        with pytest.raises(PayloadMismatch, match=re.escape(f" - at `$.{field}`")) as caught:
            await bus.publish(subject, wrong)
    assert caught.value.field == field


async def test_emit_checks_as_well(face: Face) -> None:
    entry = LogEntry.new(service="core", level="info", target="t", message="m", correlation_id="c", node_id="n")
    async with face.applied() as bus:
        with pytest.raises(PayloadMismatch, match=r"\$\.message"):
            await bus.emit(subjects.logs.errors.of(entry), msgspec.structs.replace(entry, message=5))


async def test_a_float_that_is_not_a_number_is_refused_where_the_type_is_float(face: Face) -> None:
    event = MetricsEvent.new(service="s", metrics={"x": math.inf})
    query = SqliteQueryV1Intent.new(domain="d", params=SqliteQueryV1Params(database_path="/", query="", params=[math.nan]))
    async with face.applied() as bus:
        with pytest.raises(PayloadMismatch, match=r"\$\.metrics"):
            await bus.publish(subjects.events.metrics.of(event), event)
        with pytest.raises(PayloadMismatch, match=r"\$\.params\.params\[0\]"):
            await bus.publish(subjects.intents.raw.of(query), query)


async def test_without_validation_it_is_sent(face: Face) -> None:
    wrong = intent(params=FsReadV1Params(path=5))  # type: ignore[arg-type]
    async with face.applied():
        pass
    async with face.bus(face.url, validate=False) as bus:
        await bus.publish(subjects.intents.raw(capability=FsReadV1Intent.SELECTOR), wrong)


@pytest.mark.parametrize("bus", [AsyncSmithBus, SmithBus])
def test_the_option_is_a_bool(bus: Any) -> None:
    with pytest.raises(OptionsError, match="validate='no'"):
        bus(validate="no")


class Optional(msgspec.Struct):
    share: float | None = None


def test_an_optional_float_hides_no_nan() -> None:
    for share, is_right in ((None, True), (0.5, True), (math.nan, False), (math.inf, False)):
        payload = Optional(share)
        problem = codec.check(Optional, payload, codec.encode(payload))
        assert problem == (None if is_right else ("share", f"{share} is not a number that JSON can represent"))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_what_passes_the_check_is_read_as_it_was_sent(metadata: dict[str, Any]) -> None:
    payload = intent(metadata=metadata)
    data = codec.encode(payload)
    if codec.check(FsReadV1Intent, payload, data) is not None:
        assert "nan" in repr(metadata) or "inf" in repr(metadata)
    else:
        assert codec.decode(FsReadV1Intent, data, "x") == payload
