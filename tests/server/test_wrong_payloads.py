"""Wrong payloads are refused by each way to publish, on both faces, unless the bus says not to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from buses import Face, health, log_entry, read_intent
from msgspec.structs import replace

from smith_sdk import subjects
from smith_sdk.errors import PayloadMismatch, PublishManyError

FIVE: Any = 5
WRONG: list[tuple[Any, str]] = [
    (read_intent(path=FIVE), "params.path"),
    (read_intent(ttl_ms=-1), "ttl_ms"),
    (read_intent(metadata={"x": math.nan}), "metadata.x"),
]


@pytest.mark.parametrize(("intent", "field"), WRONG)
async def test_publish_submit_publish_many_and_execute_name_the_field(face: Face, intent: Any, field: str) -> None:
    async with face.applied() as bus:
        subject = subjects.intents.raw.of(intent)
        with pytest.raises(
            PayloadMismatch, match=r"smith\.intents\.raw\.fs\.read\.v1 is not a valid FsReadV1Intent"
        ) as published:
            await bus.publish(subject, intent)
        with pytest.raises(PayloadMismatch) as submitted:
            await (await bus.submit(subject, intent))
        right = read_intent()
        with pytest.raises(PublishManyError) as many:
            await bus.publish_many([subject.envelope(intent), subject.envelope(right)])
        with pytest.raises(PayloadMismatch) as executed:
            await bus.execute(intent, timeout=5)
        errors = [published.value, submitted.value, executed.value, *many.value.failures]
        assert [getattr(error, "field", None) for error in errors] == [field] * 4
        outcome: Any = many.value.outcomes[1]
        assert outcome.seq == 1, f"only {right.id} is stored"


async def test_emit_names_the_field(face: Face) -> None:
    async with face.applied() as bus:
        entry = replace(log_entry(), message=5)
        with pytest.raises(PayloadMismatch, match=r"expected str, got int - at `\$\.message`"):
            await bus.emit(subjects.logs.errors.of(entry), entry)
        event = replace(health(), healthy="yes")
        with pytest.raises(PayloadMismatch, match=r"expected bool, got str - at `\$\.healthy`"):
            await bus.publish(subjects.events.health.of(event), event)
