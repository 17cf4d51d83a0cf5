"""Bulks beside the ack window: fast ingest with and without message ids, and atomic batches."""

from __future__ import annotations

from contextlib import AsyncExitStack
from statistics import median

import others
from batch import STREAM, Batch
from harness import WINDOW, Peer, Rates, fresh_server, rates, ratio
from msgspec.structs import replace
from tables import Flat, Rows, table
from workloads import ours_publish_many

from smith_sdk import AsyncSmithBus
from smith_sdk.topology import CONTRACT

ATOMIC = 1_000
"""Messages of an atomic batch: as many as it may have."""
ROWS = {
    "window": "window, as publish_many by default",
    "fast": "fast ingest",
    "natsio_fast": "natsio-jetstream-batch, fast ingest",
    "atomic": f"atomic batches of {ATOMIC:,}",
}
_RATIOS = {"fast": "bulk.{kind}.ratio", "natsio_fast": "bulk.{kind}.natsio_fast.ratio", "atomic": "bulk.atomic.ratio"}
"""What a peer's ratio to the window is called."""


def _fast(bus: AsyncSmithBus, *, ids: bool) -> Peer:
    async def peer(batch: Batch) -> None:
        result = await bus.publish_many(batch.envelopes, mode="fast", ids=ids)
        if (result.mode, result.stored) != ("fast", len(batch)):
            raise RuntimeError(f"{result} for {len(batch)} messages")

    return peer


def _atomic(bus: AsyncSmithBus) -> Peer:
    async def peer(batch: Batch) -> None:
        for first in range(0, len(batch), ATOMIC):
            await bus.publish_many(batch.envelopes[first : first + ATOMIC], mode="atomic", ids=False)

    return peer


async def costs(rounds: int, count: int) -> dict[str, float]:
    """Each way in turns, on one server; a ratio is that of its rate to the window's, in a round."""
    streams = [replace(one, allow_batched=True, allow_atomic=True) if one.name == STREAM else one for one in CONTRACT.streams]
    contract = replace(CONTRACT, streams=tuple(streams))
    found: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(fresh_server())
        bus = await stack.enter_async_context(AsyncSmithBus(server.url, contract=contract, max_pending_messages=WINDOW))
        await bus.streams.apply(profile="dev")
        for kind, ids in (("without_ids", False), ("with_ids", True)):
            peers = {"window": ours_publish_many(bus), "fast": _fast(bus, ids=ids)}
            if not ids:
                peers["atomic"] = _atomic(bus)
            peers |= await stack.enter_async_context(others.peers(f"bulk_{kind}", server.url))
            found |= _figures(kind, await rates(server, peers, rounds, count))
    return found


def _figures(kind: str, measured: Rates) -> dict[str, float]:
    found: dict[str, float] = {}
    for peer, all_rounds in measured.items():
        found[f"bulk.{kind}.{peer}.msgs_per_s"] = median(one.rate for one in all_rounds)
        found[f"bulk.{kind}.{peer}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        if peer in _RATIOS:
            found[_RATIOS[peer].format(kind=kind)] = ratio(all_rounds, measured["window"])
    if "natsio_fast" in measured:
        found[f"bulk.{kind}.ratio_to_natsio_fast"] = ratio(measured["fast"], measured["natsio_fast"])
    return found


def show(flat: Flat) -> None:
    for kind, title in (("without_ids", "without message ids"), ("with_ids", "with message ids")):
        rows: Rows = []
        for peer, name in ROWS.items():
            key = f"bulk.{kind}.{peer}"
            if f"{key}.cpu_us" in flat:
                to_window = 1 if peer == "window" else flat.get(_RATIOS[peer].format(kind=kind))
                shown = "" if to_window is None else f"{to_window:.2f}"
                rows.append((name, f"{flat[f'{key}.msgs_per_s']:,}", shown, f"{flat[f'{key}.cpu_us']:.1f}"))
        table(f"Bulks {title} (the window has them always)", ("way", "messages/s", "x window", "CPU us each"), rows)
