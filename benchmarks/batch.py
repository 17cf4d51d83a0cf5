"""Messages of a round, with new ids: as objects for smith-sdk, as encoded bytes for nats-py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

import msgspec

from smith_sdk import Envelope, consumers, subjects
from smith_sdk.protocol import AuditRef, FsReadV1Intent, FsReadV1Params, IntentResult, RunnerMetadata

STREAM = consumers.http_results.stream
CONSUMER = consumers.http_results.name


class Wire(NamedTuple):
    """A message as it is passed to nats-py."""

    subject: str
    data: bytes
    msg_id: str


@dataclass(frozen=True)
class Batch:
    typed: list[tuple[subjects.results, IntentResult]]
    envelopes: list[Envelope]
    wires: list[Wire]

    def __len__(self) -> int:
        return len(self.wires)


def new_intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/srv/public/index.html", max_bytes=65536))


def new_result() -> IntentResult:
    """`PAYLOAD_BYTES` of JSON; the id is new."""
    return IntentResult.new(
        intent_id=str(uuid4()),
        status="ok",
        output={"size": 4096},
        started_at_ns=1_760_000_000_000_000_000,
        finished_at_ns=1_760_000_000_004_000_000,
        runner_meta=RunnerMetadata(pid=4711, cpu_ms=3, max_rss_kb=20480),
        audit_ref=AuditRef(id="a-1", timestamp=1_760_000_000, hash="3f786850"),
    )


def wire_of(subject: subjects.results, payload: IntentResult) -> Wire:
    """The bytes that smith-sdk sends for a subject and its payload."""
    where = str(subject)
    return Wire(where, msgspec.json.encode(payload), f"{where}:{payload.intent_id}")


def new_batch(count: int) -> Batch:
    typed = [(subjects.results.of(payload), payload) for payload in (new_result() for _ in range(count))]
    return Batch(
        typed=typed,
        envelopes=[subject.envelope(payload) for subject, payload in typed],
        wires=[wire_of(subject, payload) for subject, payload in typed],
    )


PAYLOAD_BYTES = len(new_batch(1).wires[0].data)
"""Of every message of the workloads: they differ in their ids alone."""
