"""More than an executor bears, in small: the surplus goes into the quarantine, and comes back from
there. tests/chaos/test_surplus.py is the same in numbers, for a minute."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any, Final

from buses import Account, Face, read_intent
from support import eventually_async

from smith_sdk import Allow, AsyncSmithBus, Rule, consumers, result_of, subjects
from smith_sdk.backpressure import lag_above, quarantine_new_intents

EXECUTOR: Final = consumers.executor_fs_read
SURPLUS: Final = 12


async def publish(bus: AsyncSmithBus, count: int) -> set[str]:
    intents = [read_intent() for _ in range(count)]
    await bus.publish_many([subjects.intents.raw.of(one).envelope(one) for one in intents])
    return {one.id for one in intents}


async def test_the_surplus_is_quarantined_released_and_processed(face: Face, account: Account) -> None:
    bears, handled = threading.Event(), set[str]()
    rule = Rule(name="overload", when=lag_above(EXECUTOR, 9, clear_below=4), do=[quarantine_new_intents()], hold=0)

    def execute(message: Any) -> Any:
        assert bears.wait(60)
        handled.add(message.payload.id)
        return result_of(message.payload, output={})

    async with face.applied() as bus, AsyncSmithBus(account.url) as owner:
        worker = face.worker(bus, EXECUTOR, concurrency=2)
        worker.handler(execute)
        admission = face.admission(bus, policy=lambda _: Allow(), executor_id="gate")
        running = [asyncio.ensure_future(one.run(signals=())) for one in (worker, admission)]
        try:
            async with face.back_pressure(bus, [rule]) as pressure:
                sent = await publish(owner, 10)  # more than the executor bears
                await eventually_async(lambda: pressure.active, 30)
                while await owner.quarantine.count() < SURPLUS:  # from when the gate knows
                    assert len(sent) < 1000
                    sent |= await publish(owner, 1)
                    await eventually_async(lambda: _is_empty(owner), 30)
                assert handled == set()
                kept = await owner.quarantine.count()
                bears.set()
                await eventually_async(lambda: len(handled) == len(sent) - kept, 30)
                await eventually_async(lambda: not pressure.active, 30)
                assert await owner.quarantine.count() == kept  # it leaves by a word only
                report = await bus.quarantine.release(until=datetime.now(UTC), force=True)
                assert report.released == kept
                await eventually_async(lambda: handled == sent, 30)
        finally:
            bears.set()
            await admission.stop()
            await worker.stop()
            await asyncio.gather(*running)
        assert await owner.quarantine.count() == 0
        assert await owner.dead_letters.count() == 0
        last = [one.payload async for one in owner.read(subjects.results.filter(), last_per_subject=True)]
        assert {one.intent_id: one.status for one in last} == dict.fromkeys(sent, "ok")


async def _is_empty(bus: AsyncSmithBus) -> bool:
    """Whether the gate has decided about everything."""
    return (await bus.streams.get("SDLC_RAW")).messages == 0
