"""Publishes a batch, brews it, and says so on one of Smith's own subjects, all on a private
server."""

from __future__ import annotations

from brew_bus import CONTRACT, consumers, subjects
from brew_bus.protocol import Batch, StageReached

import smith_sdk
from smith_sdk import SmithBus
from smith_sdk.protocol import HealthEvent, Service
from smith_sdk.sync import Message


def brew(message: Message[Batch]) -> Batch:
    batch = message.payload
    assert message.subject == subjects.batches.of(batch)
    message.ack()
    return batch


with SmithBus.embedded(contract=CONTRACT) as bus:
    bus.streams.verify(profile="dev")
    batch = Batch.new(domain="cellar", litres=500)
    first = bus.publish(subjects.batches.of(batch), batch)
    again = bus.publish(subjects.batches.of(batch), batch)
    assert (first.stream, again.duplicate) == ("BREW", True)
    (message,) = bus.consumer(consumers.brewer).fetch(1, timeout=10)
    assert brew(message) == batch

    with bus.subscribe(subjects.progress.filter(stage="mash") | subjects.progress.filter(stage="boil")) as told:
        bus.emit(
            subjects.progress(stage="boil", service=Service("kettle")),
            StageReached(batch_id=batch.batch_id, stage="boil", service=Service("kettle")),
        )
        progress = next(iter(told))
        print(progress.subject, progress.payload.batch_id == batch.batch_id)

    well = HealthEvent.new(service="kettle", healthy=True)
    print(bus.publish(smith_sdk.subjects.events.health.of(well), well).stream)
    print(CONTRACT.parse(str(subjects.batches.of(batch))) == subjects.batches.of(batch))
