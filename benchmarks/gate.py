"""The cost of the gate: an intent let through, beside one `publish_many` message of the same run,
with each kind of policy; and the cost of trust, side by side with a gate that verifies nothing."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from batch import new_batch
from harness import WINDOW, Round, Server, fresh_server
from tables import Flat, table

from smith_sdk import Admission, Allow, AsyncSmithBus, Trust, inline, signing, subjects
from smith_sdk.protocol import FsReadV1Intent, FsReadV1Params, Intent

GATES = {
    "unverified": "Admission, nothing verified",
    "signature": "with signatures",
    "replay": "with signatures and replay protection",
}
RAW, VETTED = "SDLC_RAW", "ATOMS_VETTED"
SEED = bytes(range(32))


async def _async_policy(intent: Intent) -> Allow:
    return Allow()


def _plain_policy(intent: Intent) -> Allow:
    return Allow()


POLICIES: dict[str, tuple[str, Callable[..., Any]]] = {
    "async": ("async def", _async_policy),
    "plain": ("a plain function, in threads", _plain_policy),
    "inline": ("inline(a plain function)", inline(_plain_policy)),
}


async def costs(rounds: int, count: int) -> dict[str, float]:
    """What an intent costs with each kind of policy, and with each kind of trust; medians."""
    async with fresh_server() as server, AsyncSmithBus(server.url, max_pending_messages=WINDOW) as bus:
        return {**await _of_policies(server, bus, rounds, count), **await _of_trust(server, bus, rounds, count)}


async def _of_policies(server: Server, bus: AsyncSmithBus, rounds: int, count: int) -> dict[str, float]:
    """Processor time (us) of this process for an intent, and how many messages of `publish_many`
    cost as much."""
    published: list[float] = []
    measured: dict[str, list[Round]] = {name: [] for name in POLICIES}
    for number in range(rounds + 1):
        one = await _publish_round(server, bus, count)
        if number:
            published.append(one.cpu_us)
        for name, (_, policy) in POLICIES.items():
            found = await _round(server, bus, [_intent() for _ in range(count)], policy, None)
            if number:
                measured[name].append(found)
    figures = {"admission.publish_many.us": median(published)}
    for name, all_rounds in measured.items():
        figures[f"admission.{name}.us"] = median(one.cpu_us for one in all_rounds)
        figures[f"admission.{name}.per_publish"] = median(
            one.cpu_us / many for one, many in zip(all_rounds, published, strict=True)
        )
    return figures


async def _of_trust(server: Server, bus: AsyncSmithBus, rounds: int, count: int) -> dict[str, float]:
    """Intents per second of each gate, and how that compares with the one that verifies nothing."""
    keys = {signing.public_key(SEED)}
    trusts = {"unverified": None, "signature": Trust(keys=keys, replay_window=0), "replay": Trust(keys=keys)}
    measured: dict[str, list[Round]] = {name: [] for name in GATES}
    for number in range(rounds + 1):
        for name, trust in trusts.items():
            batch = [signing.sign(_intent(), SEED) for _ in range(count if number else count // 4)]
            found = await _round(server, bus, batch, _async_policy, trust)
            if number:
                measured[name].append(found)
    figures: dict[str, float] = {}
    for name, all_rounds in measured.items():
        figures[f"admission.{name}.msgs_per_s"] = median(one.rate for one in all_rounds)
        figures[f"admission.{name}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        figures[f"admission.{name}.ratio"] = median(
            one.rate / plain.rate for one, plain in zip(all_rounds, measured["unverified"], strict=True)
        )
    return figures


def _intent() -> FsReadV1Intent:
    return FsReadV1Intent.new(domain="default", params=FsReadV1Params(path="/srv/public/index.html", max_bytes=65536))


async def _publish_round(server: Server, bus: AsyncSmithBus, count: int) -> Round:
    await server.purge()
    envelopes = new_batch(count).envelopes
    gc.collect()
    started, used = time.perf_counter(), time.process_time()
    await bus.publish_many(envelopes)
    took, used = time.perf_counter() - started, time.process_time() - used
    return Round(count / took, used * 1e6 / count)


async def _round(server: Server, bus: AsyncSmithBus, batch: list[Any], policy: Any, trust: Trust | None) -> Round:
    """Let a batch of intents through, which wait in the raw stream."""
    await server.purge(VETTED)
    await bus.publish_many(subjects.intents.raw.of(intent).envelope(intent) for intent in batch)
    count = len(batch)
    gate = Admission(bus, policy=policy, executor_id="bench", trust=trust)
    gc.collect()
    started, used = time.perf_counter(), time.process_time()
    running = asyncio.ensure_future(gate.run())
    while gate.stats.succeeded < count:
        if running.done():
            running.result()
        await asyncio.sleep(0.005)
    took, used = time.perf_counter() - started, time.process_time() - used
    await gate.stop()
    await running
    if (there := await server.stored(VETTED)) != count:
        raise RuntimeError(f"{there} of {count} intents were let through")
    if left := await server.stored(RAW):
        raise RuntimeError(f"{left} intents are left in the raw stream")
    return Round(count / took, used * 1e6 / count)


def show(flat: Flat) -> None:
    table(
        "Admission with 64 slots: processor time of an intent that is let through",
        ("policy", "CPU us each", "x a publish_many message"),
        [
            (what, f"{flat[f'admission.{kind}.us']:.1f}", f"{flat[f'admission.{kind}.per_publish']:.2f}")
            for kind, (what, _) in POLICIES.items()
        ],
    )
    table(
        "Admission with 64 slots: signed intents let through",
        ("gate", "intents/s", "x unverified", "CPU us each"),
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
