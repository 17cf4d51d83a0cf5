"""Messages over the limit of their stream: every way to publish refuses them before sending."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from buses import Account, Face, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff, RetryPolicy, consumers, result_of, subjects
from smith_sdk.contract import Contract, Profile, StreamOverride
from smith_sdk.errors import PayloadTooLarge, PublishManyError
from smith_sdk.topology import CONTRACT

results = subjects.results
LIMIT: Final = CONTRACT.stream("ATOMS_RESULTS").max_msg_size or 0
QUICK: Final = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01))


def unlimited() -> Contract:
    """Smith's contract without sizes of messages: the server alone refuses."""
    return replace(CONTRACT, streams=tuple(replace(one, max_msg_size=None) for one in CONTRACT.streams))


async def stored(bus: AsyncSmithBus) -> int:
    return (await bus.streams.get("ATOMS_RESULTS")).last_seq


async def test_a_message_over_its_streams_limit_is_refused_before_it_is_sent(face: Face) -> None:
    async with face.applied() as bus:
        before = read_intent()
        big, small = (result_of(before, output="x" * size) for size in (LIMIT, 10))
        where = results.of(big)
        with pytest.raises(PayloadTooLarge, match=f"stream ATOMS_RESULTS accepts {LIMIT}") as caught:
            await bus.publish(where, big)
        error = caught.value
        assert error.size is not None
        assert LIMIT < error.size < LIMIT + 1000
        assert (error.limit, error.stream, error.subject, error.err_code) == (LIMIT, "ATOMS_RESULTS", str(where), 0)
        assert str(error.size) in str(error)
        with pytest.raises(PayloadTooLarge, match="accepts"):
            await (await bus.submit(where, big))
        with pytest.raises(PublishManyError) as many:
            await bus.publish_many([where.envelope(big), where.envelope(small)])
        first, second = many.value.outcomes
        assert (type(first), getattr(second, "seq", None)) == (PayloadTooLarge, 1)  # nothing else was stored


async def test_the_limit_is_the_servers_own_to_the_byte(account: Account) -> None:
    """The server counts the headers, and refuses one byte more: see `processJetStreamMsg`."""
    async with account.applied() as bus, AsyncSmithBus(account.url, contract=unlimited()) as other:
        result = result_of(read_intent(), output="")
        where = results.of(result)
        with pytest.raises(PayloadTooLarge) as caught:
            await bus.publish(where, replace(result, output="x" * LIMIT), msg_id="m")
        assert caught.value.size is not None
        exact = replace(result, output="x" * (2 * LIMIT - caught.value.size))
        over = replace(exact, output=f"{exact.output}x")
        assert (await bus.publish(where, exact, msg_id="m")).seq == 1
        for one in (bus, other):
            with pytest.raises(PayloadTooLarge) as refused:
                await one.publish(where, over, msg_id="n")
            assert refused.value.err_code == (0 if one is bus else 10054)
        assert await stored(bus) == 1


async def test_the_profile_of_the_bus_has_the_limit(account: Account) -> None:
    small = Profile(name="small", streams=(StreamOverride(stream="ATOMS_RESULTS", max_msg_size=1000),))
    large = Profile(name="large", streams=(StreamOverride(stream="ATOMS_RESULTS", max_msg_size=-1),))
    contract = replace(CONTRACT, profiles=(small, large))
    async with account.applied() as applied:
        for profile, refused in (("small", True), ("large", False), ("none of these", False)):
            async with AsyncSmithBus(account.url, contract=contract, profile=profile) as bus:
                result = result_of(read_intent(), output="x" * 2000)
                publishing = bus.publish(results.of(result), result)
                if refused:
                    with pytest.raises(PayloadTooLarge, match="accepts 1000"):
                        await publishing
                else:
                    await publishing
        assert await stored(applied) == 2


@pytest.mark.parametrize("by", ["returns", "publishes"])
async def test_a_handler_whose_result_is_too_large_runs_once(face: Face, by: str) -> None:
    """It may have effects, and what is too large is so each time."""
    async with face.applied() as bus:
        runs: list[int] = []
        worker = face.worker(bus, consumers.executor_fs_read, retry=QUICK)

        def begin(message: Any) -> Any:
            runs.append(message.metadata.num_delivered)
            return result_of(message.payload, output="x" * LIMIT)

        if by == "returns":
            worker.handler(begin)
        elif face.is_async:

            @worker.handler  # type: ignore[untyped-decorator]
            async def publish_async(message: Any) -> None:
                result = begin(message)
                await message.publish(results.of(result), result)
        else:

            @worker.handler  # type: ignore[untyped-decorator]
            def publish(message: Any) -> None:
                result = begin(message)
                message.publish(results.of(result), result)

        running = asyncio.ensure_future(worker.run())
        intent = read_intent()
        await bus.publish(subjects.intents.vetted.of(intent), intent)
        letter = (await eventually_async(bus.dead_letters.list))[0]
        await worker.stop()
        await running
        assert runs == [1]
        assert (letter.error_type, letter.attempts) == ("PayloadTooLarge", 1)
        (message,) = await bus.consumer(consumers.http_results).fetch(1)
        assert await answer_of(message) == ("error", "PAYLOAD_TOO_LARGE", intent.id)


async def answer_of(message: Any) -> tuple[str, str, str]:
    result = message.payload
    return result.status, result.error.code, result.intent_id
