"""Back pressure's switch: while it is on, every admission quarantines new intents."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from pressure import QUARANTINE, REASON, admitting, are, decisions, have_codes, publish, switch_off, switch_on
from support import eventually_async

from smith_sdk import Allow, AsyncSmithBus, BackPressure, Quarantine, Rule, Trust, consumers, subjects
from smith_sdk.backpressure import lag_above, quarantine_new_intents, release_quarantined
from smith_sdk.errors import OptionsError
from smith_sdk.protocol import HttpFetchV1Intent, HttpFetchV1Params, QuarantinedIntent
from smith_sdk.signing import sign

SEED = bytes(range(32))


async def limit(bus: AsyncSmithBus, stream: str, **limits: int) -> None:
    config = (await bus._session.api.stream_info(stream))["config"]
    await bus._session.api.stream_update({**config, **limits})


async def test_while_the_switch_is_on_new_intents_are_quarantined(face: Face, account: Account) -> None:
    asked: list[Any] = []

    def policy(intent: Any) -> Allow:
        asked.append(intent.id)
        return Allow()

    async with account.applied() as owner, face.bus(account.url) as bus:
        await switch_on(owner)
        intent, expired = read_intent(), read_intent(created_at_ns=1)
        await publish(bus, intent, expired)
        admission = face.admission(bus, policy=policy, executor_id="tester")
        running = asyncio.ensure_future(admission.run())  # it knows the state before its first intent
        # What is refused anyhow does not go into the quarantine, to come back from there.
        await eventually_async(partial(have_codes, owner, QUARANTINED=1, INTENT_EXPIRED=1))
        await eventually_async(partial(are, owner, quarantine=1))
        assert asked == []

        kept = await owner._session.api.message(QUARANTINE, 1)
        assert msgspec.json.decode(kept.data, type=QuarantinedIntent).reason == f"lag: {REASON}"
        assert kept.headers["Smith-Quarantine-Rule"] == "backpressure"
        (decision,) = await decisions(owner, intent)
        assert (decision.rule_name, decision.decision, decision.reason) == ("backpressure", "deny", f"lag: {REASON}")

        await switch_off(owner)
        await eventually_async(partial(_is_asked, bus, asked))
        await admission.stop()
        await running


async def _is_asked(bus: Any, asked: list[Any]) -> bool:
    """Whether the policy is called for a new intent: one that comes too early is quarantined."""
    await publish(bus, read_intent())
    return bool(asked)


async def test_all_admissions_agree(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    def said(words: str) -> int:
        return sum(words in line for line in caplog.messages)

    async with account.applied() as bus, account.applied() as other, admitting(bus), admitting(other):
        await switch_on(bus, "one")
        await switch_on(other, "two")
        await eventually_async(lambda: said("back pressure is on") == 2)
        await publish(bus, *(read_intent() for _ in range(20)))
        await eventually_async(partial(are, bus, quarantine=20))
        await switch_off(bus, "one")  # the other key is still there
        await publish(bus, read_intent())
        await eventually_async(partial(are, bus, quarantine=21))
        await switch_off(bus, "two")
        await eventually_async(lambda: said("back pressure is off") == 2)
        await publish(bus, read_intent())
        await eventually_async(partial(are, bus, quarantine=21, vetted=1))


async def test_what_the_quarantine_has_no_room_for_waits_and_is_not_lost(account: Account) -> None:
    async with account.applied() as bus:
        await switch_on(bus)
        await limit(bus, QUARANTINE, max_msgs=2)
        intents = [read_intent() for _ in range(5)]
        async with admitting(bus):
            await publish(bus, *intents)
            await eventually_async(partial(are, bus, raw=3, quarantine=2))
            await limit(bus, QUARANTINE, max_msgs=3)
            await eventually_async(partial(are, bus, raw=2, quarantine=3))
            await switch_off(bus)
            await eventually_async(partial(are, bus, vetted=2, quarantine=3))
        rules = [[one.rule_name for one in await decisions(bus, intent)] for intent in intents]
        assert sorted(rules) == [["backpressure"]] * 3 + [["backpressure", "policy"]] * 2


async def test_an_intent_that_waits_for_room_is_released_when_its_admission_stops(account: Account) -> None:
    async with account.applied() as bus:
        await switch_on(bus)
        await limit(bus, QUARANTINE, max_msgs=1)
        async with admitting(bus):
            await publish(bus, read_intent(), read_intent())
            await eventually_async(partial(are, bus, raw=1, quarantine=1))
        await limit(bus, QUARANTINE, max_msgs=2)
        async with admitting(bus):
            await eventually_async(partial(are, bus, quarantine=2))


async def test_an_intent_too_large_for_the_quarantine_is_decided_about(account: Account) -> None:
    """A record would have the first bytes alone, and could not be released."""
    async with account.applied() as bus:
        await switch_on(bus)
        await limit(bus, QUARANTINE, max_msg_size=4096)
        async with admitting(bus):
            await publish(bus, large := read_intent("/" + "x" * 5000), read_intent())
            await eventually_async(partial(are, bus, vetted=1, quarantine=1))
        assert [one.rule_name for one in await decisions(bus, large)] == ["backpressure", "policy"]


async def test_forged_intents_do_not_go_into_the_quarantine(account: Account) -> None:
    signed = sign(read_intent(), SEED)
    async with account.applied() as bus:
        await switch_on(bus)
        async with admitting(bus, trust=Trust(keys=[signed.signer])):
            await publish(bus, signed, read_intent(), msgspec.structs.replace(sign(read_intent("/y"), SEED), domain="other"))
            await eventually_async(partial(have_codes, bus, QUARANTINED=1, UNSIGNED=1, SIGNATURE_INVALID=1))
            await eventually_async(partial(are, bus, quarantine=1))


async def test_a_full_quarantine_keeps_what_a_policy_says_in_the_dead_letters(account: Account) -> None:
    async with account.applied() as bus:
        await limit(bus, QUARANTINE, max_msgs=1)
        async with admitting(bus, lambda intent: Quarantine("odd")):
            await publish(bus, read_intent(), read_intent())
            await eventually_async(partial(are, bus, quarantine=1, letters=1))


async def test_without_the_bucket_an_admission_works(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus:
        await bus._session.api.stream_delete("KV_SMITH_CONTROL")
        async with admitting(bus):
            await publish(bus, read_intent())
            await eventually_async(partial(are, bus, vetted=1))
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert sum("back pressure cannot have this admission quarantine new intents" in line for line in lines) == 1
    assert "smith streams apply" in caplog.text


async def test_what_a_rule_had_quarantined_is_released_once_it_has_ended(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    intents = [read_intent() for _ in range(6)]
    waiting = [HttpFetchV1Intent.new(domain="default", params=HttpFetchV1Params(url="http://x")) for _ in range(4)]
    rule = Rule(
        when=lag_above(consumers.executor_http_fetch, 3, clear_below=1),
        do=[quarantine_new_intents(), release_quarantined(rate=500)],
        hold=0,
        name="many",
    )
    async with account.applied() as bus:
        await bus.publish_many([subjects.intents.vetted.of(one).envelope(one) for one in waiting])
        async with BackPressure(bus, [rule], interval=0.05), admitting(bus):
            await eventually_async(lambda: "back pressure is on" in caplog.text)
            await publish(bus, *intents)
            await eventually_async(partial(_vetted_and_kept, bus, 4, 6))
            await bus.streams.purge("ATOMS_VETTED")
            await eventually_async(partial(_vetted_and_kept, bus, 6, 0), timeout=30)
        assert [one.rule_name for one in await decisions(bus, intents[0])] == ["backpressure", "quarantine", "policy"]
        assert (await decisions(bus, intents[0]))[1].reason.startswith("released by rule many; ")


async def _vetted_and_kept(bus: AsyncSmithBus, vetted: int, kept: int) -> bool:
    found = (await bus.streams.get("ATOMS_VETTED")).messages, await bus.quarantine.count()
    assert found == (vetted, kept)
    return True


@pytest.mark.parametrize("rate", [0, -1, True, float("inf"), "fast"])
def test_a_rate_of_releases_is_a_number_above_0(rate: Any) -> None:
    with pytest.raises(OptionsError, match=r"release_quarantined\(rate\)"):
        release_quarantined(rate=rate)
