"""The cost of running once: the same intents executed by a worker without `once`, with the result
as the record, and with a claim in a bucket, side by side."""

from __future__ import annotations

from statistics import median
from typing import Any

from batch import new_intent
from harness import WINDOW, Round, Server, fresh_server, ratio, worked_off
from tables import Flat, note, table
from workloads import compared

from smith_sdk import AsyncSmithBus, Message, Once, Worker, consumers, result_of, subjects
from smith_sdk.protocol import FsReadV1Intent, IntentResult

WAYS = {
    "plain": "Worker that returns results",
    "result": "with once=True",
    "claim": "with once=Once(...)",
}
# Any bucket will do: this one is in Smith's contract.
_ONCE: dict[str, bool | Once] = {"plain": False, "result": True, "claim": Once(bucket="SMITH_NONCES", ttl=3600)}
_SLOTS = {"": 64, "one_slot.": 1}
"""Slots of the worker, by what the figures' names have: at one, nothing hides a round trip."""
VETTED, RESULTS, KEYS = "ATOMS_VETTED", "ATOMS_RESULTS", "KV_SMITH_NONCES"


async def costs(rounds: int, count: int) -> dict[str, float]:
    """Intents per second of each way, and how that compares with the plain one; medians."""
    measured: dict[tuple[str, str], list[Round]] = {(slots, way): [] for slots in _SLOTS for way in WAYS}
    published: list[float] = []
    async with fresh_server() as server, AsyncSmithBus(server.url, max_pending_messages=WINDOW) as bus:
        for number in range(rounds + 1):
            many = await compared(server, bus)
            if number:
                published.append(many.cpu_us)
            for slots, way in measured:
                for stream in (RESULTS, KEYS):
                    await server.purge(stream)
                some = count // 8 if _SLOTS[slots] == 1 else count
                found = await _round(server, bus, _SLOTS[slots], _ONCE[way], some if number else some // 4)
                if number:
                    measured[slots, way].append(found)
    figures = {
        "worker.result.us": median(one.cpu_us for one in measured["", "plain"]),
        "worker.result.per_publish": median(
            one.cpu_us / many for one, many in zip(measured["", "plain"], published, strict=True)
        ),
    }
    for (slots, way), all_rounds in measured.items():
        name = f"once.{slots}{way}"
        figures[f"{name}.msgs_per_s"] = median(one.rate for one in all_rounds)
        figures[f"{name}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        figures[f"{name}.ratio"] = ratio(all_rounds, measured[slots, "plain"])
    return figures


async def _round(server: Server, bus: AsyncSmithBus, slots: int, once: bool | Once, count: int) -> Round:
    """Execute `count` intents, which wait in the vetted stream."""
    vetted = subjects.intents.vetted
    await bus.publish_many(vetted.of(intent).envelope(intent) for intent in [new_intent() for _ in range(count)])
    worker: Worker[Any, Any] = Worker(bus, consumers.executor_fs_read, concurrency=slots, once=once)

    @worker.handler
    async def handle(message: Message[FsReadV1Intent]) -> IntentResult:
        return result_of(message.payload, raw=message.raw, output="text")

    found = await worked_off(worker, count)
    await server.emptied(VETTED)
    if (there := await server.stored(RESULTS)) != count:
        raise RuntimeError(f"{there} of {count} intents have a result")
    return found


def show(flat: Flat) -> None:
    table(
        "Worker with 64 slots, and with one: intents executed, each with a result",
        ("worker", "intents/s", "x plain", "CPU us each", "one slot: intents/s", "x plain"),
        [
            (
                name,
                f"{flat[f'once.{way}.msgs_per_s']:,}",
                f"{flat[f'once.{way}.ratio']:.2f}",
                f"{flat[f'once.{way}.cpu_us']:.1f}",
                f"{flat[f'once.one_slot.{way}.msgs_per_s']:,}",
                f"{flat[f'once.one_slot.{way}.ratio']:.2f}",
            )
            for way, name in WAYS.items()
        ],
    )
    note(f"An intent that is executed costs {flat['worker.result.per_publish']:.2f} messages of publish_many (CPU, same rounds).")
