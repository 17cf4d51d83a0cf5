"""Admission by domains: what no consumer is declared for is answered, and nothing is dropped."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from buses import Account, Face, read_intent
from pressure import admitting, are, decisions, have_codes, publish
from support import eventually_async, eventually_has

from smith_sdk import Admission, Allow, AsyncSmithBus, Transform, consumers, subjects
from smith_sdk._core.domains.keys import Hold, encode, held_key
from smith_sdk._core.jetstream.kv import Bucket
from smith_sdk._core.monitoring.control import BUCKET
from smith_sdk.aio import executor_check
from smith_sdk.errors import OptionsError
from smith_sdk.topology import CONTRACT

READ = consumers.executor_fs_read
EUROPE = CONTRACT.with_domains(READ.for_domains("eu", "uk"))
HELD = held_key("ATOMS_VETTED", READ.name)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_check, "_PAUSE", 0.4)  # longer than an old view of the consumers may refuse
    monkeypatch.setattr(executor_check, "_HELD_PAUSE", 0.05)


async def hold(bus: AsyncSmithBus, *patterns: str) -> None:
    value = Hold(patterns=patterns, reason="they are moved", since="2026-01-01T00:00:00Z", owner="tester")
    await Bucket(bus._session, BUCKET).put(HELD, encode(value), ttl=600)


async def test_a_domain_that_no_consumer_serves_is_denied_audited_and_counted(face: Face, soon: None) -> None:
    async with face.applied(contract=EUROPE) as bus, AsyncSmithBus(face.url) as owner:
        served, *strays = read_intent(domain="uk"), read_intent(domain="mars"), read_intent(domain="mars")
        await publish(bus, served, *strays)
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="tester")
        running = asyncio.ensure_future(admission.run())
        await eventually_async(partial(are, owner, vetted=1))
        await eventually_async(partial(have_codes, owner, NO_EXECUTOR=2))
        for stray in strays:
            (decision,) = await decisions(owner, stray)
            assert (decision.rule_name, decision.decision) == ("executor", "deny")
            assert "smith.intents.vetted.fs.read.v1.mars" in decision.reason
        assert dict(admission.unserved) == {"mars": 2}
        (check,) = [one for one in (await bus.health()).checks if one.name == "domains"]
        assert check.status == "degraded"
        assert "mars (2 intents)" in check.reason
        await admission.stop()
        await running


async def test_by_choice_it_is_quarantined_and_passes_once_it_is_served(account: Account, soon: None) -> None:
    async with account.applied(contract=EUROPE) as bus:
        await publish(bus, intent := read_intent(domain="mars"))
        async with admitting(bus, no_executor="quarantine") as admission:
            await eventually_async(partial(are, bus, quarantine=1))
            await eventually_async(partial(have_codes, bus, QUARANTINED=1))
            (decision,) = await decisions(bus, intent)
            assert (decision.rule_name, decision.decision) == ("executor", "deny")
            assert admission.unserved == {"mars": 1}
            async with account.applied(contract=EUROPE.with_domains(READ.for_domains("mars"))) as owner:
                (kept,) = await owner.quarantine.list()
                await owner.quarantine.release(kept.id)
            await eventually_async(partial(are, bus, vetted=1))


async def test_a_declared_consumer_that_is_missing_is_an_outage(account: Account, soon: None) -> None:
    """Intents wait for it, however often they are delivered, and none is dead-lettered."""
    async with account.applied(contract=EUROPE) as bus:
        await bus._session.api.consumer_delete("ATOMS_VETTED", "executor-fs-read--eu--uk")
        bus._session.forget_interest()
        await publish(bus, read_intent(domain="eu"), read_intent(domain="mars"))
        async with admitting(bus) as admission:
            await eventually_async(lambda: admission.stats.retried >= 5)
            await eventually_async(partial(have_codes, bus, NO_EXECUTOR=1))
            assert admission.unserved == {"mars": 1}
            await bus.streams.apply()
            await eventually_async(partial(_is_empty, bus))
        await eventually_has(lambda: bus.streams.get("ATOMS_VETTED"), messages=1)
        assert len(await bus.dead_letters.list()) == 0


async def _is_empty(bus: AsyncSmithBus) -> bool:
    return (await bus.streams.get("SDLC_RAW")).messages == 0


async def test_too_many_that_wait_do_not_hold_up_the_others(
    account: Account, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_check, "_WAITING", 3)
    async with account.applied(contract=EUROPE) as bus:
        await bus._session.api.consumer_delete("ATOMS_VETTED", "executor-fs-read--eu--uk")
        bus._session.forget_interest()
        await publish(bus, *(read_intent(domain="eu") for _ in range(5)))
        async with admitting(bus):
            await eventually_async(partial(have_codes, bus, NO_EXECUTOR=2))
            await eventually_has(lambda: bus.streams.get("SDLC_RAW"), messages=3)


async def test_what_is_held_waits_uncounted_and_the_others_go_on(account: Account, soon: None) -> None:
    async with account.applied() as bus:
        async with admitting(bus) as admission:
            await hold(bus, "smith.intents.vetted.fs.read.v1.eu", "smith.intents.vetted.shell.>")
            await eventually_async(lambda: admission._executors._control.any("domains.held.") is not None)
            await publish(bus, read_intent(domain="eu"), read_intent(domain="us"))
            await eventually_async(lambda: admission.stats.retried >= 4)  # max_attempts is 2
            await eventually_has(lambda: bus.streams.get("ATOMS_VETTED"), messages=1)
            # of the other one: nothing is decided about what is held
            await eventually_has(lambda: bus.streams.get("AUDIT_SECURITY"), messages=1)
            assert await Bucket(bus._session, BUCKET).delete(HELD)
            await eventually_async(partial(_is_empty, bus))
        await eventually_has(lambda: bus.streams.get("ATOMS_VETTED"), messages=2)
        assert await have_codes(bus)


@pytest.mark.parametrize(
    ("value", "ttl"),
    [
        (b"{", 600),
        (encode(Hold(patterns=("smith.>",), reason="", since="", owner="")), None),
        (encode(Hold(patterns=("other.>", "", "*"), reason="", since="", owner="")), 600),
    ],
    ids=["not JSON", "for ever", "other subjects"],
)
async def test_a_key_that_is_no_hold_holds_nothing(account: Account, soon: None, value: bytes, ttl: float | None) -> None:
    async with account.applied() as bus:
        await Bucket(bus._session, BUCKET).put(HELD, value, ttl=ttl)
        await publish(bus, read_intent(domain="eu"))
        async with admitting(bus):
            await eventually_async(partial(are, bus, vetted=1))


async def test_an_intent_that_is_transformed_into_one_for_another_domain_goes_there(account: Account, soon: None) -> None:
    def policy(intent: Any) -> Transform:
        return Transform(read_intent(domain="uk", id=intent.id))

    async with account.applied(contract=EUROPE) as bus:
        await publish(bus, read_intent(domain="mars"))
        async with admitting(bus, policy):
            await eventually_async(partial(are, bus, vetted=1))
        (message,) = [one async for one in bus.read(subjects.intents.vetted.filter())]
        assert (message.subject.domain, message.payload.domain) == ("uk", "uk")


async def test_another_choice_is_refused(account: Account) -> None:
    with pytest.raises(OptionsError, match=r'Admission.no_executor=.drop.: must be "deny" or "quarantine"'):
        Admission(AsyncSmithBus(account.url), policy=lambda intent: Allow(), executor_id="x", no_executor="drop")  # type: ignore[arg-type]
