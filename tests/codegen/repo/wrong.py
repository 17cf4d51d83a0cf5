"""Each marked line must be refused, and no other."""

from brew_bus import consumers, subjects
from brew_bus.protocol import Batch, BatchId, StageReached

from smith_sdk import AsyncSmithBus, SmithBus
from smith_sdk import subjects as smith
from smith_sdk.protocol import Domain, FsReadV1Intent, IntentResult


def wrong(bus: SmithBus, batch: Batch, progress: StageReached, intent: FsReadV1Intent, result: IntentResult) -> None:
    bus.publish(subjects.batches.of(batch), progress)  # error
    bus.publish("brew.batches.cellar.7", batch)  # error
    bus.publish(subjects.progress.of(progress), progress)  # error
    bus.publish(smith.intents.raw.of(intent), batch)  # error
    bus.publish(subjects.batches.filter(), batch)  # error
    bus.publish(subjects.batches(domain=Domain("d"), batch_id=Domain("b")), batch)  # error
    bus.publish(subjects.batches(domain=Domain("d"), batch_id=BatchId("b")), batch)
    subjects.batches.of(batch).envelope(result)  # error
    subjects.progress(stage="bottle", service="kettle")  # error
    print(subjects.batch)  # error
    bus.consumer(consumers.brewers)  # error


async def wrong_async(bus: AsyncSmithBus, batch: Batch, progress: StageReached) -> None:
    await bus.publish(subjects.batches.of(batch), progress)  # error
    await bus.emit(subjects.progress.of(progress), batch)  # error
    async for message in bus.consumer(consumers.brewer).messages():
        print(message.payload.litre)  # error
