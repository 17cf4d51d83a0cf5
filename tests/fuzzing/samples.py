"""Valid messages, from which hostile ones are made: the same for a number, but for the time."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from smith_sdk import consumers, result_of, subjects
from smith_sdk.contract import Contract, now_ns
from smith_sdk.protocol import (
    AuditEvent,
    ExecutorId,
    FsReadV1Intent,
    FsReadV1Params,
    Intent,
    IntentId,
    SecurityContext,
    SecurityEvent,
    ShellExecV1Intent,
    ShellExecV1Params,
)
from smith_sdk.topology import CONTRACT

# Messages that a handler has not settled are redelivered soon.
SPEC: Final = replace(consumers.executor_fs_read, ack_wait=5.0)


def contract() -> Contract:
    """Smith's, with a reader of vetted intents that is quick."""
    return replace(CONTRACT, consumers=tuple(SPEC if one.name == SPEC.name else one for one in CONTRACT.consumers))


def intent(number: int, **fields: Any) -> FsReadV1Intent:
    """The same for a number, but for the time."""
    made = FsReadV1Intent.new(domain="default", params=FsReadV1Params(path=f"/{number}", max_bytes=10))
    return replace(made, **{"id": IntentId(f"01900000-0000-7000-8000-{number:012d}"), "nonce": f"n{number}", **fields})


def shell(number: int) -> ShellExecV1Intent:
    params = ShellExecV1Params(command="id", args=["-u"], env={"A": "b"})
    return replace(ShellExecV1Intent.new(domain="default", params=params), id=intent(number).id)


def to_json(payload: object) -> bytes:
    return msgspec.json.encode(payload)


def raw_samples(number: int) -> list[tuple[str, bytes]]:
    return [
        (str(subjects.intents.raw.of(one)), to_json(one)) for one in (intent(number), intent(number + 1, ttl_ms=0), shell(number))
    ]


def vetted_samples(number: int) -> list[tuple[str, bytes]]:
    return [(str(subjects.intents.vetted.of(one)), to_json(one)) for one in (intent(number), intent(number + 1))]


def result_sample(one: Intent) -> tuple[str, bytes]:
    return str(subjects.results.of(result_of(one))), to_json(result_of(one, output={"list": [1, "x"]}))


def audit_event(one: Intent) -> AuditEvent:
    confined = SecurityContext(landlock_enabled=True, seccomp_enabled=True)
    return AuditEvent(
        intent_id=one.id,
        result_status="ok",
        timestamp_ns=now_ns(),
        executor_id=ExecutorId("e1"),
        policy_decisions=[],
        security_context=confined,
    )


def audit_samples(number: int) -> list[tuple[str, bytes]]:
    event = audit_event(intent(number))
    security = SecurityEvent.new(event_type="login", severity="critical", detail={"user": "x"})
    return [
        (str(subjects.audit.policy(intent_id=event.intent_id)), to_json(event)),
        (str(subjects.audit.execution(intent_id=event.intent_id)), to_json(event)),
        (str(subjects.audit.security.of(security)), to_json(security)),
    ]


def letter_samples(number: int) -> list[tuple[str, bytes]]:
    return [
        (f"smith.dlq.ATOMS_VETTED.executor-fs-read.{number}", to_json(intent(number))),
        (f"smith.dlq.SDLC_RAW.admission.{number}", to_json(shell(number))),
        (f"smith.dlq.ATOMS_VETTED.executor-fs-read.{number}.trial", b""),
        (f"smith.dlq.ATOMS_VETTED.executor-fs-read.{number}.replay", b"x"),
        (f"smith.dlq.SYSTEM_EVENTS.reader.{number}", b"{}"),
    ]


def advisory_samples(number: int) -> list[tuple[str, bytes]]:
    """The server's advisories, as anybody who may publish there can forge them."""
    found = []
    for kind in ("MAX_DELIVERIES", "MSG_TERMINATED"):
        body = {
            "type": f"io.nats.jetstream.advisory.v1.{kind.lower()}",
            "id": "x",
            "timestamp": "2026-01-01T00:00:00.123456789Z",
            "stream": SPEC.stream,
            "consumer": SPEC.name,
            "stream_seq": number,
            "consumer_seq": number,
            "deliveries": 3,
            "reason": "x",
        }
        found.append((f"$JS.EVENT.ADVISORY.CONSUMER.{kind}.{SPEC.stream}.{SPEC.name}", to_json(body)))
    return found
