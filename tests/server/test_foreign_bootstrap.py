"""Streams that smith-bus's own bootstrap has changed: the plan names it, and publishing fails."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from buses import Account, Face, read_intent

from smith_sdk import AsyncSmithBus, subjects
from smith_sdk.cli.app import run
from smith_sdk.errors import StreamNotFound

BOOTSTRAP: Final = {
    "SDLC_RAW": ("smith.intents.raw.*", "Phase 2: Raw intent ingestion with high-throughput optimization"),
    "ATOMS_VETTED": ("smith.intents.vetted.*", "Phase 2: Policy-approved intents with ordering guarantees"),
    "ATOMS_RESULTS": ("smith.results.*", "Phase 2: Execution results with performance tracking"),
    "SDLC_QUARANTINE_BACKPRESSURE": ("smith.intents.quarantine.*", "Phase 2: Backpressure and quarantine handling"),
}
"""What `bootstrap_streams()` of the Rust crate smith-bus 0.1.2 makes of streams that exist. The
server refuses its update of AUDIT_SECURITY, which forbids deletion."""


async def test_the_bootstrap_of_the_rust_crate_is_named_in_the_plan(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        api = other._session.api
        for name, (pattern, text) in BOOTSTRAP.items():
            config = (await api.stream_info(name))["config"]
            await api.stream_update(config | {"subjects": [pattern], "discard": "old", "description": text})
        plan = await bus.streams.plan()
        found = {caution.stream: caution for caution in plan.cautions if caution.kind == "bootstrap"}
        assert set(found) == {"SDLC_RAW", "ATOMS_VETTED", "SDLC_QUARANTINE_BACKPRESSURE"}
        assert all("looks like smith-bus's own bootstrap" in str(caution) for caution in found.values())
        assert found["SDLC_RAW"].subjects == ("smith.intents.raw.*.*.*",)
        intent = read_intent()
        for subject in (subjects.intents.raw.of(intent), subjects.intents.vetted.of(intent)):
            with pytest.raises(StreamNotFound, match=f"stream {subject.STREAM} .* does not capture .* as the contract declares"):
                await bus.publish(subject, intent)
        await bus.streams.apply(plan)
        assert not [caution for caution in (await bus.streams.plan()).cautions if caution.kind == "bootstrap"]
        await bus.publish(subjects.intents.raw.of(intent), intent)


async def test_other_subjects_are_not_taken_for_that_bootstrap(account: Account) -> None:
    async with account.applied() as bus:
        api = bus._session.api
        for name, wanted in (("SDLC_RAW", ["smith.intents.raw.*.*.*"]), ("ATOMS_VETTED", ["smith.vetted.*"])):
            await api.stream_update((await api.stream_info(name))["config"] | {"subjects": wanted})
        assert not [caution for caution in (await bus.streams.plan()).cautions if caution.kind == "bootstrap"]


async def test_the_command_prints_whose_bootstrap_it_looks_like(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    async with account.applied() as bus:
        config = (await bus._session.api.stream_info("SDLC_RAW"))["config"]
        await bus._session.api.stream_update(config | {"subjects": ["smith.intents.raw.*"]})
        status = await asyncio.to_thread(run, ["streams", "plan", "--url", account.url, "--profile", "dev"])
        assert status == 2
        out = capsys.readouterr()
        assert "looks like smith-bus's own bootstrap" in " ".join((out.out + out.err).split())
