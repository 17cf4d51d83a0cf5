"""The cost of trust at the gate: the same signed intents let through without a `Trust`, verified,
and verified and remembered, side by side."""

from __future__ import annotations

import asyncio
import gc
import time
from statistics import median

from harness import WINDOW, Round, Server, fresh_server
from tables import Flat, table

from smith_sdk import Admission, Allow, AsyncSmithBus, Trust, signing, subjects
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, Intent

GATES = {
    "plain": "Admission, nothing verified",
    "signature": "with signatures",
    "replay": "with signatures and replay protection",
}
RAW, VETTED = "SDLC_RAW", "ATOMS_VETTED"


async def costs(rounds: int, count: int) -> dict[str, float]:
    """Intents per second of each gate, and how that compares with the plain one; medians."""
    measured: dict[str, list[Round]] = {name: [] for name in GATES}
    seed = bytes(range(32))
    keys = {signing.public_key(seed)}
    trusts = {"plain": None, "signature": Trust(keys=keys, replay_window=0), "replay": Trust(keys=keys)}
    async with fresh_server() as server, AsyncSmithBus(server.url, max_pending_messages=WINDOW) as bus:
        for number in range(rounds + 1):
            for name, trust in trusts.items():
                await server.purge(VETTED)
                batch = [signing.sign(_intent(), seed) for _ in range(count if number else count // 4)]
                await bus.publish_many(subjects.intents.raw.of(intent).envelope(intent) for intent in batch)
                found = await _round(server, bus, trust, len(batch))
                if number:
                    measured[name].append(found)
    figures: dict[str, float] = {}
    for name, all_rounds in measured.items():
        figures[f"admission.{name}.msgs_per_s"] = median(one.rate for one in all_rounds)
        figures[f"admission.{name}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        figures[f"admission.{name}.ratio"] = median(
            one.rate / plain.rate for one, plain in zip(all_rounds, measured["plain"], strict=True)
        )
    return figures


def _intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/srv/public/index.html", max_bytes=65536))


async def _allow(intent: Intent) -> Allow:
    return Allow()


async def _round(server: Server, bus: AsyncSmithBus, trust: Trust | None, count: int) -> Round:
    """Let `count` intents through, which wait in the raw stream."""
    gate = Admission(bus, policy=_allow, executor_id="bench", trust=trust)
    gc.collect()
    started, used = time.perf_counter(), time.process_time()
    running = asyncio.ensure_future(gate.run())
    while await server.stored(RAW):
        if running.done():
            running.result()
        await asyncio.sleep(0.005)
    took, used = time.perf_counter() - started, time.process_time() - used
    await gate.stop()
    await running
    if (there := await server.stored(VETTED)) != count:
        raise RuntimeError(f"{there} of {count} intents were let through")
    return Round(count / took, used * 1e6 / count)


def show(flat: Flat) -> None:
    table(
        "Admission with 64 slots: signed intents let through",
        ("gate", "intents/s", "x plain", "CPU us each"),
        [
            (
                name,
                f"{flat[f'admission.{kind}.msgs_per_s']:,}",
                f"{flat[f'admission.{kind}.ratio']:.2f}",
                f"{flat[f'admission.{kind}.cpu_us']:.1f}",
            )
            for kind, name in GATES.items()
        ],
    )
