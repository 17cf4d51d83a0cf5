"""The cost of the gate: an intent let through, beside one `publish_many` message of the same run,
with each kind of policy; and the cost of trust, side by side with a gate that verifies nothing."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from batch import new_intent
from harness import WINDOW, Round, Server, fresh_server, ratio, worked_off
from tables import Flat, note, table
from workloads import compared

from smith_sdk import Admission, Allow, AsyncSmithBus, Trust, inline, signing, subjects
from smith_sdk.protocol import Intent

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
        one = await compared(server, bus)
        if number:
            published.append(one.cpu_us)
        for name, (_, policy) in POLICIES.items():
            found = await _round(server, bus, [new_intent() for _ in range(count)], policy, None)
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
            batch = [signing.sign(new_intent(), SEED) for _ in range(count if number else count // 4)]
            found = await _round(server, bus, batch, _async_policy, trust)
            if number:
                measured[name].append(found)
    figures: dict[str, float] = {}
    for name, all_rounds in measured.items():
        figures[f"admission.{name}.msgs_per_s"] = median(one.rate for one in all_rounds)
        figures[f"admission.{name}.cpu_us"] = median(one.cpu_us for one in all_rounds)
        figures[f"admission.{name}.ratio"] = ratio(all_rounds, measured["unverified"])
    return figures


async def _round(server: Server, bus: AsyncSmithBus, batch: list[Any], policy: Any, trust: Trust | None) -> Round:
    """Let a batch of intents through, which wait in the raw stream."""
    await server.purge(VETTED)
    await bus.publish_many(subjects.intents.raw.of(intent).envelope(intent) for intent in batch)
    found = await worked_off(Admission(bus, policy=policy, executor_id="bench", trust=trust), len(batch))
    await server.emptied(RAW)
    if (there := await server.stored(VETTED)) != len(batch):
        raise RuntimeError(f"{there} of {len(batch)} intents were let through")
    return found


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
    unverified, signed, replay = (flat[f"admission.{kind}.cpu_us"] for kind in GATES)
    note(
        f"Of the processor time, {signed - unverified:.0f} us are for a signature, and {replay - signed:.0f} us for replay protection."
    )
