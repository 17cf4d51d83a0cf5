"""Messages of the Rust crates on a real bus: through admission, executors, reading and logs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import nats
import pytest
from buses import Account, Face, read_intent
from nats.js.errors import NoStreamResponseError
from support import eventually_async

from smith_sdk import Admission, Allow, AsyncSmithBus, consumers, result_of, subjects
from smith_sdk.errors import PayloadMismatch
from smith_sdk.protocol import AuditEvent, HttpFetchV1Intent, IntentResult, LogEntry, LogService

VECTORS: Final = json.loads((Path(__file__).parents[1] / "data" / "rust-smith-0.1.2.json").read_text(encoding="utf-8"))
PAYLOADS: Final = {one["name"]: one for one in VECTORS["payloads"]}


def wire(name: str) -> bytes:
    return base64.b64decode(PAYLOADS[name]["wire_b64"])


@contextlib.asynccontextmanager
async def running(*parts: Any) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(part.run()) for part in parts]
    try:
        yield
    finally:
        for part in parts:
            await part.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)


async def put(bus: AsyncSmithBus, subject: str, *datas: bytes) -> None:
    for data in datas:
        await bus._connection.publish(subject, data)


async def count(bus: AsyncSmithBus, stream: str) -> int:
    return (await bus.streams.get(stream)).messages


async def has(bus: AsyncSmithBus, stream: str, most: int) -> bool:
    return await count(bus, stream) == most


async def test_an_alias_is_admitted_executed_and_answered(face: Face) -> None:
    """The bytes go through admission as they are: their signature stays right."""
    data = wire("intent/alias-http-fetch/signed").replace(b'"created_at_ns":1760000000123456789', b'"created_at_ns":%d')
    data %= read_intent().created_at_ns
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        seen: list[Any] = []
        worker = face.worker(bus, consumers.executor_http_fetch)

        def fetch(message: Any) -> IntentResult:
            seen.append((type(message.payload), message.raw))
            return result_of(message.payload, raw=message.raw, output="fetched")

        worker.handler(fetch)
        async with running(face.admission(bus, policy=lambda intent: Allow(), executor_id="t"), worker):
            await put(other, "smith.intents.raw.http.fetch.v1", data)
            await eventually_async(lambda: has(other, "ATOMS_RESULTS", 1))
        assert seen == [(HttpFetchV1Intent, data)]
        (result,) = [one.payload async for one in other.read(subjects.results.filter())]
        assert (result.status, result.output) == ("ok", "fetched")
        assert result.audit_ref.hash == hashlib.sha256(data).hexdigest()
        assert abs(result.audit_ref.timestamp - result.finished_at_ns // 10**9) <= 1


async def test_intents_that_fit_no_executor_are_quarantined_with_the_reason(face: Face) -> None:
    names = {
        "intent/params-null/signed": "Expected `object`, got `null` - at `$.params`",
        "intent/params-list/signed": "Expected `object`, got `array` - at `$.params`",
        "intent/params-empty-object/signed": "missing required field `path` - at `$.params`",
        "intent/zeros-and-empty/signed": "domain cannot be ''",
        "verify/duplicate-key-top": "it has the key `domain` twice",
        "intent/depth-128/signed": "more than the 127 levels",
    }
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        async with running(face.admission(bus, policy=lambda intent: Allow(), executor_id="t")):
            for name in names:
                await put(other, PAYLOADS[name]["subject"], wire(name))
            await eventually_async(lambda: has(other, "SDLC_QUARANTINE_BACKPRESSURE", len(names)))
            await eventually_async(lambda: has(other, "SDLC_RAW", 0))
        kept = [one.payload async for one in other.read(subjects.intents.quarantine.filter())]
        assert [one.intent for one in kept] == [wire(name) for name in names]
        assert all(said in one.reason for one, said in zip(kept, names.values(), strict=True))


async def test_the_subject_of_an_alias_is_not_one_of_the_contract(face: Face) -> None:
    """The crates write the canonical form there. No stream captures another, so that its publisher
    learns that it was not stored."""
    payload = wire("intent/alias-http-fetch/signed")
    async with face.applied(), AsyncSmithBus(face.url) as other:
        async with await nats.connect(face.url) as client:
            jetstream = client.jetstream()
            with pytest.raises(NoStreamResponseError):
                await jetstream.publish("smith.intents.raw.http_fetch", payload)
            assert (await jetstream.publish("smith.intents.raw.http.fetch.v1", payload)).stream == "SDLC_RAW"
        assert await count(other, "SDLC_RAW") == 1


async def test_no_raw_intent_stays_out_of_reach(face: Face) -> None:
    """The server stores a token `>`, which no `*` of a filter matches."""
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        async with running(face.admission(bus, policy=lambda intent: Allow(), executor_id="t")):
            await put(other, "smith.intents.raw.>.read.v1", wire("intent/alias-http-fetch/signed"))
            await eventually_async(lambda: has(other, "SMITH_DLQ", 1))
            await eventually_async(lambda: has(other, "SDLC_RAW", 0))
        (letter,) = await other.dead_letters.list()
        assert letter.subject == "smith.intents.raw.>.read.v1"


async def test_results_and_audit_events_of_theirs_are_read(face: Face) -> None:
    theirs = [name for name, one in PAYLOADS.items() if one["rust_reads"] and one["kind"] in ("IntentResult", "AuditEvent")]
    older = [name for name in PAYLOADS if name.startswith("audit/status-")]
    async with face.applied(), AsyncSmithBus(face.url) as other:
        for name in (*theirs, *older):
            await put(other, PAYLOADS[name]["subject"], wire(name))
        await eventually_async(lambda: has(other, "AUDIT_SECURITY", 8))
        await eventually_async(lambda: has(other, "ATOMS_RESULTS", len(theirs) + len(older) - 8))
        results = [one.payload async for one in other.read(subjects.results.filter())]
        audit = [one.payload async for one in other.read(subjects.audit.execution.filter() | subjects.audit.policy.filter())]
        assert len(results) + len(audit) == len(theirs) + len(older)
        assert all(isinstance(one, IntentResult) for one in results)
        assert all(isinstance(one, AuditEvent) for one in audit)
        assert {one.result_status for one in audit[-3:]} == {"ok", "error", "denied"}


async def test_log_entries_go_both_ways(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        theirs = wire("log/warn")
        async with other.subscribe(subjects.logs.service.filter()) as messages:
            await put(other, "smith.logs.core.warn", theirs, theirs.replace(b'"WARN"', b'"warn"'))
            upper, lower = [await asyncio.wait_for(anext(messages), 20) for _ in range(2)]
            assert upper.payload == lower.payload
            assert upper.payload.level == "WARN"
            entry = LogEntry.new(level="warn", service="core", target="t", message="m", correlation_id="c", node_id="n")
            subject = subjects.logs.service.of(entry, log_service=LogService("core"))
            assert str(subject) == "smith.logs.core.warn"
            await bus.emit(subject, entry)
            sent = await asyncio.wait_for(anext(messages), 20)
            assert json.loads(sent.raw)["level"] == "WARN"
            assert set(json.loads(sent.raw)) == set(json.loads(theirs))
            assert set(json.loads(sent.raw)["metadata"]) == set(json.loads(theirs)["metadata"])


async def test_what_readers_refuse_is_not_published(face: Face) -> None:
    async with face.applied() as bus:
        intent = read_intent(metadata={"a": [0] * 20_001})
        with pytest.raises(PayloadMismatch, match="more than the 20,000 that are allowed"):
            await bus.publish(subjects.intents.raw.of(intent), intent)


async def test_two_megabytes_of_items_end_in_quarantine_and_good_intents_go_on(account: Account) -> None:
    base = json.loads(PAYLOADS["verify/good"]["wire"]) | {"metadata": {"a": ["HERE"]}}
    data = json.dumps(base).encode().replace(b'"HERE"', b"[]," * 600_000 + b"[]")
    async with account.applied() as bus:
        good = read_intent()
        async with running(Admission(bus, policy=lambda intent: Allow(), executor_id="t")):
            await put(bus, "smith.intents.raw.fs.read.v1", data)
            await bus.publish(subjects.intents.raw.of(good), good)
            await eventually_async(lambda: has(bus, "ATOMS_VETTED", 1))
            await eventually_async(lambda: has(bus, "SDLC_QUARANTINE_BACKPRESSURE", 1))
        (kept,) = [one.payload async for one in bus.read(subjects.intents.quarantine.filter())]
        assert "more than the 20,000 that are allowed" in kept.reason
