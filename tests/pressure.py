"""What tests of back pressure at the gate share: the switch, and where intents are."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

from smith_sdk import Admission, Allow, AsyncSmithBus, subjects
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET, Switch, switch_key
from smith_sdk.protocol import IntentResult, PolicyDecision

QUARANTINE: Final = "SDLC_QUARANTINE_BACKPRESSURE"
REASON: Final = "12,000 messages wait"
_STREAMS: Final = {"raw": "SDLC_RAW", "vetted": "ATOMS_VETTED", "quarantine": QUARANTINE, "letters": "SMITH_DLQ"}


async def switch_on(bus: AsyncSmithBus, rule: str = "lag", ttl: float = 600) -> None:
    switch = Switch(rule=rule, reason=REASON, since="2026-01-02T03:04:05Z", owner="tester:1")
    await Bucket(bus._session, BUCKET).put(switch_key(rule), switch.encode(), ttl=ttl)


async def switch_off(bus: AsyncSmithBus, rule: str = "lag") -> None:
    assert await Bucket(bus._session, BUCKET).delete(switch_key(rule))


@contextlib.asynccontextmanager
async def admitting(bus: AsyncSmithBus, policy: Any = lambda intent: Allow(), **options: Any) -> AsyncIterator[Admission]:
    admission = Admission(bus, policy=policy, executor_id="tester", **options)
    running = asyncio.ensure_future(admission.run())
    try:
        yield admission
    finally:
        await admission.stop()
        await running


async def publish(bus: Any, *intents: Any) -> None:
    for intent in intents:
        await bus.publish(subjects.intents.raw.of(intent), intent)


async def are(bus: AsyncSmithBus, **expected: int) -> bool:
    """For `eventually_async`: how many messages each stream has; none where it is not said."""
    found = {name: (await bus.streams.get(stream)).messages for name, stream in _STREAMS.items()}
    assert found == {**dict.fromkeys(_STREAMS, 0), **expected}
    return True


async def have_codes(bus: AsyncSmithBus, **expected: int) -> bool:
    """For `eventually_async`: the codes of all results that are errors."""
    results: list[IntentResult] = [one.payload async for one in bus.read(subjects.results.filter())]
    found = Counter(one.error.code for one in results if one.error is not None)
    assert found == expected
    return True


async def decisions(bus: AsyncSmithBus, intent: Any) -> list[PolicyDecision]:
    """What the audit trail says of an intent, in order."""
    events = bus.read(subjects.audit.policy(intent_id=intent.id))
    return [one async for event in events for one in event.payload.policy_decisions]
