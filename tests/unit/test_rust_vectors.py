"""What the Rust crates write is read to equal values, and what is written is what they read.

`data/rust-smith-0.1.2.json` was made by the crates: `wire` is what they write, `rust_reads` whether
they read it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from smith_sdk import subjects
from smith_sdk._core import codec
from smith_sdk.contract import covers
from smith_sdk.errors import InvalidToken, PayloadDecodeError, UnknownSubject
from smith_sdk.protocol import HttpFetchV1Intent
from smith_sdk.topology import CONTRACT

VECTORS: Final = json.loads((Path(__file__).parents[1] / "data" / "rust-smith-0.1.2.json").read_text(encoding="utf-8"))
PAYLOADS: Final = {one["name"]: one for one in VECTORS["payloads"]}

MISFITS: Final = {
    "intent/params-null/signed": r"got `null` - at `\$.params`",
    "intent/params-empty-object/signed": r"missing required field `path` - at `\$.params`",
    "intent/params-list/signed": r"got `array` - at `\$.params`",
    "intent/params-string/signed": r"got `str` - at `\$.params`",
    "intent/zeros-and-empty/signed": "domain cannot be ''",
}
"""The crates read any params, and a domain that cannot be a token: no executor could take these."""
OLDER: Final = {"audit/status-vetted": "ok", "audit/status-quarantined": "error", "audit/status-expired": "denied"}
"""Events that earlier releases of this SDK wrote, and what they are read as."""
REFUSED: Final = {
    "result/status-OK": "OK",
    "intent/depth-128/signed": "more than the 127 levels",
    "verify/duplicate-key-top": "`domain` twice",
    "verify/number-1E400": "out of range",
}


def read(vector: dict[str, Any]) -> Any:
    subject = CONTRACT.parse(vector["subject"])
    return codec.decode(subject.message_type, base64.b64decode(vector["wire_b64"]), vector["subject"])


def known(payload: Any, document: Any) -> Any:
    """The part of `document` that the class of `payload` has; None for what is absent."""
    if not isinstance(payload, msgspec.Struct) or not isinstance(document, dict):
        if isinstance(payload, list):
            return [known(*pair) for pair in zip(payload, document, strict=True)]
        return document
    found = {name: known(getattr(payload, name), document.get(name)) for name in payload.__struct_fields__}
    tag = payload.__struct_config__.tag_field
    return found if tag is None else {tag: document[tag], **found}


def test_every_vector_is_tested() -> None:
    assert len(PAYLOADS) == 84
    assert {name for name, one in PAYLOADS.items() if not one["rust_reads"]} == {*OLDER, *REFUSED}


@pytest.mark.parametrize("name", [name for name, one in PAYLOADS.items() if one["rust_reads"] and name not in MISFITS])
def test_what_they_write_is_read_to_equal_values_and_written_as_they_read_it(name: str) -> None:
    vector = PAYLOADS[name]
    payload = read(vector)
    document = json.loads(vector["wire"])
    wanted = known(payload, document)
    if name == "intent/alias-http-fetch/signed":
        assert wanted["capability"] == "http_fetch"
        wanted["capability"] = "http.fetch.v1"
    if name == "intent/absent-optionals/unsigned":
        assert (payload.signer, payload.signature_b64) == ("", "")
    written = codec.encode(payload)
    # Equal values of equal types: 1 is not 1.0, except where the crates' type is a float.
    floats = ("params.metrics",) if payload.__struct_config__.tag == "bench.report.v1" else ()
    assert list(flat(json.loads(written), floats)) == list(flat(wanted, floats))
    assert codec.decode(type(payload), written, vector["subject"]) == payload
    assert codec.check(type(payload), payload, written) is None


def flat(value: Any, floats: tuple[str, ...], place: str = "") -> Iterator[tuple[str, type, Any]]:
    """Every scalar of a JSON document, with its place and type, in the order of keys."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from flat(value[key], floats, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from flat(one, floats, f"{place}[{index}]")
    else:
        if type(value) is int and any(place.startswith(f"{start}.") for start in floats):
            value = float(value)
        yield place, type(value), repr(value)


@pytest.mark.parametrize("name", MISFITS)
def test_what_fits_no_executor_is_undecodable_with_the_reason(name: str) -> None:
    with pytest.raises(PayloadDecodeError, match=MISFITS[name]):
        read(PAYLOADS[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_they_refuse_is_refused(name: str) -> None:
    with pytest.raises(PayloadDecodeError, match=REFUSED[name]):
        read(PAYLOADS[name])


@pytest.mark.parametrize("name", OLDER)
def test_older_audit_events_are_read_and_written_in_their_words(name: str) -> None:
    event = read(PAYLOADS[name])
    assert event.result_status == OLDER[name]
    assert json.loads(codec.encode(event)) == {**json.loads(PAYLOADS[name]["wire"]), "result_status": OLDER[name]}


def test_the_level_is_in_upper_case_in_json_and_in_lower_case_in_the_subject() -> None:
    for name, vector in PAYLOADS.items():
        if name.startswith("log/") and ".errors." not in vector["subject"]:
            entry = read(vector)
            assert str(subjects.logs.service.of(entry, log_service=entry.service)) == vector["subject"]
            lower = vector["wire"].replace(f'"level":"{entry.level}"', f'"level":"{entry.level.lower()}"')
            assert lower != vector["wire"]
            assert codec.decode(type(entry), lower.encode(), vector["subject"]) == entry
            assert type(entry).new(**{**fields(entry), "level": entry.level.lower()}) == entry


def fields(payload: Any) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in payload.__struct_fields__}


@pytest.mark.parametrize("level", ["Info", "INFo", "fatal", "", 5, None, ["INFO"]])
def test_another_level_is_refused_when_an_entry_is_made(level: Any) -> None:
    entry = read(PAYLOADS["log/info"])
    with pytest.raises(InvalidToken, match=r"LogEntry\.level cannot be"):
        msgspec.structs.replace(entry, level=level)


def test_the_alias_is_that_of_one_capability_only() -> None:
    wire = PAYLOADS["intent/alias-http-fetch/signed"]["wire"].encode()
    assert type(codec.decode(HttpFetchV1Intent, wire, "s")) is HttpFetchV1Intent
    for other in (b"http-fetch", b"HTTP_FETCH", b"fs.read.v1", b"http.fetch"):
        with pytest.raises(PayloadDecodeError, match=r"at `\$.capability`"):
            codec.decode(HttpFetchV1Intent, wire.replace(b"http_fetch", other), "s")
    for other in (b'"url":5', b'"u":""'):
        with pytest.raises(PayloadDecodeError, match=r"at `\$.params"):
            codec.decode(HttpFetchV1Intent, wire.replace(b'"url":"https://example.com/"', other), "s")
    with pytest.raises(PayloadDecodeError, match="`capability` twice"):
        codec.decode(HttpFetchV1Intent, wire[:-1] + b',"capability":"http_fetch"}', "s")


# ---- subjects


def every(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        yield from ((f"{name} {key}", one) for key, one in value.items()) if isinstance(value, dict) else ((name, value),)


SUBJECTS: Final = dict(every(VECTORS["subjects"]))
UNKNOWN: Final = {
    "IntentSubject::quarantine()": "without a capability",
    "IntentSubject::raw(fs) [no dot: v1 is assumed]": "no capability",
    "patterns::benchmark::POLICY_ASSIGNMENTS": "not in the contract",
    "patterns::benchmark::REGRESSION_ALERTS": "not in the contract",
    "patterns::intents::RAW_ATOM_USE": "no capability",
    "patterns::intents::RAW_MACRO": "no capability",
    "patterns::intents::RAW_PLAYBOOK": "no capability",
}
"""Subjects of theirs that this contract has none for, apart from two families: vetted intents
without a domain, and intents before their "phase 2"."""


def test_every_subject_of_theirs_is_known_or_known_not_to_be() -> None:
    assert len(SUBJECTS) == 66
    for name, subject in SUBJECTS.items():
        if subject.endswith(".>"):
            patterns = [leaf.PATTERN for leaf in leaves() if leaf.PATTERN.startswith(subject[:-1])]
            assert patterns, name
        elif name in UNKNOWN or name.startswith(("IntentSubject::vetted ", "IntentSubject::with_domain(_, default) ")):
            with pytest.raises((UnknownSubject, InvalidToken)):
                CONTRACT.parse(subject)
            captured = [stream.name for stream in CONTRACT.streams if any(covers(one, subject) for one in stream.subjects)]
            # The server refuses it, for want of a stream, instead of acknowledging and dropping it.
            assert captured == []
        else:
            assert str(CONTRACT.parse(subject)) == subject


def leaves() -> Iterator[Any]:
    nodes: list[Any] = [CONTRACT.trie]
    while nodes:
        for key, value in nodes.pop().items():
            if key is None:
                yield value.cls
            else:
                nodes.append(value)
