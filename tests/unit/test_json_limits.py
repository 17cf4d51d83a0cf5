"""Limits of JSON that msgspec does not have: items, levels, and keys that stand twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from buses import read_intent
from hypothesis import given
from strategies import json_value

from smith_sdk._core import codec
from smith_sdk._core.json_limits import excess, repeated_key
from smith_sdk.contract import Payload
from smith_sdk.errors import PayloadDecodeError
from smith_sdk.protocol import FsReadV1Intent, FsWriteV1Intent, FsWriteV1Params, Intent, IntentResult, PlatformEvent

BASE = json.loads(codec.encode(read_intent()))


class Small(Payload, frozen=True, kw_only=True):
    """A payload with limits of its own."""

    MAX_ITEMS = 10
    MAX_DEPTH = 4

    text: str = ""
    data: Any = None


def intent(**changed: Any) -> bytes:
    return json.dumps(BASE | changed, separators=(",", ":")).encode()


def levels(count: int, *, lists: bool = False) -> Any:
    """That many arrays or objects inside each other."""
    value: Any = 0
    for _ in range(count):
        value = [value] if lists else {"d": value}
    return value


# ---- items and levels


@pytest.mark.parametrize("value", [[1] * 8, {str(n): n for n in range(8)}, [[1, 2], {"a": [3, 4]}]])
def test_as_many_items_as_are_allowed_are_read_and_one_more_is_not(value: Any) -> None:
    data = json.dumps({"data": value}).encode()  # 8 items, the field itself, and in the last case no more
    assert codec.decode(Small, data, "s").data == value
    more = json.dumps({"data": [value, 1, 2, 3, 4]}).encode()
    with pytest.raises(
        PayloadDecodeError, match=r"it has 1\d items in its arrays and objects, more than the 10 that are allowed"
    ):
        codec.decode(Small, more, "s")


@pytest.mark.parametrize("part", ["[]", "{ }", "[\n]", '"[]"', '["[],"]', r'"\"[],"'])
def test_an_empty_array_has_no_item(part: str) -> None:
    per = len(json.loads(part)) if part[0] != '"' else 0  # with those inside
    most = 9 // (1 + per)
    data = '{"data": [%s]}'
    assert len(codec.decode(Small, (data % ", ".join([part] * most)).encode(), "s").data) == most
    with pytest.raises(PayloadDecodeError, match=r"it has 1[12] items"):
        codec.decode(Small, (data % ", ".join([part] * (most + 1))).encode(), "s")


@pytest.mark.parametrize("lists", [False, True])
def test_as_many_levels_as_are_allowed_are_read_and_one_more_is_not(lists: bool) -> None:
    for cls, key, most in ((Small, "data", 4), (PlatformEvent, "data", 127)):
        base = {} if cls is Small else {"event": "e", "timestamp_ns": 1}
        deep = levels(most - 1, lists=lists)
        assert codec.decode(cls, json.dumps({**base, key: deep}).encode(), "s").data == deep
        with pytest.raises(PayloadDecodeError, match=f"more than the {most} levels"):
            codec.decode(cls, json.dumps({**base, key: levels(most, lists=lists)}).encode(), "s")


def test_levels_of_what_the_class_does_not_know_count_too() -> None:
    assert codec.decode(FsReadV1Intent, intent(later=levels(126)), "s").id == BASE["id"]
    for lists in (False, True):
        with pytest.raises(PayloadDecodeError, match="more than the 127 levels"):
            codec.decode(FsReadV1Intent, intent(later=levels(127, lists=lists)), "s")


TEXTS = ["[" * 50_000, "{}," * 50_000, '\\"[' * 20_000, "\\\\" * 30_000 + '"' * 30_000, "é,[" * 30_000, "\n],\t" * 30_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("ascii", [False, True])
def test_what_is_in_strings_does_not_count(text: str, ascii: bool) -> None:
    base = BASE | {"capability": "fs.write.v1", "params": {"path": "/x", "content": text}}
    assert codec.decode(FsWriteV1Intent, json.dumps(base, ensure_ascii=ascii).encode(), "s").params.content == text
    # In a map of anything, too, and with the longest text as a key.
    metadata = {"metadata": {text: [text, {"a": text}]}}
    assert codec.decode(FsWriteV1Intent, json.dumps(base | metadata, ensure_ascii=ascii).encode(), "s").metadata[text][0] == text


@pytest.mark.parametrize(
    "part",
    [
        b"[]," * 600_000 + b"[]",
        b"0," * 900_000 + b"0",
        b"{}," * 600_000 + b"{}",
        b'"",' * 500_000 + b'""',
        b"[" * 1_900_000,
        b"[" * 900_000 + b"]" * 900_000,
        b'{"":' * 400_000 + b"1" + b"}" * 400_000,
        b'{"a":1},' * 200_000 + b"1",
    ],
    ids=range(8),
)
def test_two_megabytes_of_items_are_refused_before_they_become_objects(part: bytes) -> None:
    data = intent(metadata={"a": ["HERE"]}).replace(b'"HERE"', part)
    began = time.process_time()
    with pytest.raises(PayloadDecodeError, match=r"more than the (20,000 that are|127 levels of)|malformed|truncated"):
        codec.decode(FsReadV1Intent, data, "s")
    assert time.process_time() - began < 1.0


def test_publishing_refuses_what_reading_refuses() -> None:
    wide, deep = read_intent(metadata={"a": [0] * 20_001}), read_intent(metadata={"a": levels(126)})
    for payload, said in ((wide, "more than the 20,000 that are allowed"), (deep, "more than the 127 levels")):
        found = codec.check(FsReadV1Intent, payload, codec.encode(payload))
        assert found is not None
        assert said in found[1]
    for payload in (read_intent(metadata={"a": [0] * 19_900}), read_intent(metadata={"a": levels(125)})):
        assert codec.check(FsReadV1Intent, payload, codec.encode(payload)) is None


def test_a_result_may_be_as_large_as_its_stream_takes() -> None:
    result = json.loads(codec.encode(read_intent()))["id"]
    rows = [{"id": n, "name": f"row, [{n}]", "parts": [1.5, None]} for n in range(50_000)]
    document = {"intent_id": result, "status": "ok", "output": rows, "started_at_ns": 1, "finished_at_ns": 2}
    document |= {"runner_meta": {"pid": 1, "cpu_ms": 1, "max_rss_kb": 1}, "audit_ref": {"id": "", "timestamp": 1, "hash": ""}}
    data = json.dumps(document).encode()
    assert codec.decode(IntentResult, data, "s").output == rows


@given(json_value)
def test_no_other_json_is_refused(value: Any) -> None:
    data = json.dumps({"event": "e", "timestamp_ns": 1, "data": value}).encode()
    assert excess(PlatformEvent, data, 100, 127) is None or len(data) > 200
    assert repeated_key(PlatformEvent, data) is None
    assert codec.decode(PlatformEvent, data, "s").event == "e"


# ---- keys that stand twice


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + b',"domain":"other"}',
        lambda data: data[:-1] + rb',"\u0064omain":"other"}',
        lambda data: data[:-1] + rb', "dom\u0061in" : "other" }',
        lambda data: b'{"domain":"default",' + data[1:],
        lambda data: json.dumps(json.loads(data), indent=2).encode()[:-2] + b',\n"domain":"default"\n}',
        lambda data: data[:-1] + b',"later":{"domain":1},"domain":"other"}',
        lambda data: data[:-1] + b',"later":' + b"9" * 5000 + b',"later":1e999,"domain":"other"}',
        lambda data: data[:-1] + b',"metadata":{"a":"' + b"x" * 100_000 + b'"},"domain":"default"}',
        # One key less and one twice: as long as a message with each once.
        lambda data: data.replace(b'"nonce"', b'"nunce"')[:-1] + b',"nonce":"","domain":"other"}',
    ],
    ids=range(9),
)
def test_a_known_key_that_stands_twice_is_refused(change: Any) -> None:
    with pytest.raises(PayloadDecodeError, match=r"it has the key `(domain|metadata)` twice"):
        codec.decode(FsReadV1Intent, change(intent()), "s")


@pytest.mark.parametrize("key", BASE)
def test_each_key_is_looked_at(key: str) -> None:
    once = json.dumps({key: BASE[key]}, separators=(",", ":")).encode()[1:-1]
    for cls in (FsReadV1Intent, Intent):
        with pytest.raises(PayloadDecodeError, match=f"it has the key `{key}` twice"):
            codec.decode(cls, b"{" + once + b"," + intent()[1:], "s")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1] + b',"later":1,"later":2}',
        lambda data: data.replace(b'"path":', b'"path":"/other","path":'),
        lambda data: data[:-1] + b',"later":{"domain":1,"domain":2,"id":3}}',
        lambda data: data.replace(b'"metadata":{}', b'"metadata":{"id":1,"id":2,"domain":[{"nonce":1}]}'),
        lambda data: data.replace(b'"domain"', rb'"\u0064omain"'),
        lambda data: json.dumps(json.loads(data), indent=4, sort_keys=True).encode() + b"\n ",
    ],
    ids=range(6),
)
def test_others_are_read_as_the_crates_read_them(change: Any) -> None:
    assert codec.decode(FsReadV1Intent, change(intent()), "s").domain == "default"


def test_a_file_of_a_megabyte_is_read_about_as_fast_as_it_is_decoded() -> None:
    payload = FsWriteV1Intent.new(domain="d", params=FsWriteV1Params(path="/x", content='{"a": [1, 2]},\n' * 80_000))
    data = codec.encode(payload)

    def fastest(call: Any) -> float:
        times = []
        for _ in range(7):
            began = time.process_time()
            call()
            times.append(time.process_time() - began)
        return min(times)

    import msgspec

    plain = fastest(lambda: msgspec.json.decode(data, type=FsWriteV1Intent))
    assert fastest(lambda: codec.decode(FsWriteV1Intent, data, "s")) < 10 * plain + 0.005


def test_brackets_of_200_kilobytes_are_looked_at_in_a_moment() -> None:
    levels = 45_000
    data = b"[" * levels + b"]" * levels
    began = time.process_time()
    for _ in range(5):
        assert excess(list, data, 100_000, 64) is not None
    # A hundredth of this on an idle machine; a round of replacements for each level took a second.
    assert time.process_time() - began < 1
