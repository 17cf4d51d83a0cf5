"""Whoever replays an intent that is being executed is denied, and its caller does not get that
denial."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from buses import Account, Face, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import Admission, Allow, AsyncSmithBus, ResultCode, Trust, consumers, result_of, signing, subjects
from smith_sdk.aio import diagnosis
from smith_sdk.aio.answers import put_answer
from smith_sdk.aio.stored_results import answered_message
from smith_sdk.errors import ResultTimeout
from smith_sdk.protocol import ExecutionError, IntentResult


@pytest.mark.parametrize("kind", ["replayed", "unsigned"])
async def test_a_caller_gets_no_denial_of_a_replay(kind: str, face: Face) -> None:
    key = signing.generate_key()
    released = asyncio.Event()
    async with face.applied() as bus:
        trust = Trust(keys={signing.public_key(key)})
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="gate", trust=trust)
        worker = face.worker(bus, consumers.executor_fs_read)

        async def work(message: Any) -> IntentResult:
            await released.wait()
            return result_of(message.payload, output="done")

        def work_in_thread(message: Any) -> IntentResult:
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result(20)
            return result_of(message.payload, output="done")

        loop = asyncio.get_running_loop()
        worker.handler(work if face.is_async else work_in_thread)
        running = [asyncio.ensure_future(part.run()) for part in (admission, worker)]
        intent = signing.sign(read_intent(), key)
        calling = asyncio.ensure_future(bus.execute(intent, timeout=20))

        async def is_running() -> bool:
            return bool(worker.stats.running)

        await eventually_async(is_running)
        copy = intent if kind == "replayed" else replace(intent, signer="", signature_b64="")
        await bus.publish(subjects.intents.raw.of(copy), copy, msg_id="another")

        assert await eventually_async(lambda: codes(bus, intent)) == ["REPLAYED" if kind == "replayed" else "UNSIGNED"]
        done, _ = await asyncio.wait({calling}, timeout=0.3)
        assert not done, calling.result()
        assert (await bus.trace(intent.id)).state == "running"
        released.set()
        result = await calling
        assert (result.status, result.output) == ("ok", "done")
        for part in (admission, worker):
            await part.stop()
        await asyncio.gather(*running)


def answer(
    intent: Any, seq: int, code: str, *, stream: str = "SDLC_RAW", consumer: str = "admission"
) -> tuple[bytes, dict[str, str]]:
    """What an admission, or a worker, answers to the message `seq`."""
    result = result_of(intent, status="denied", error=ExecutionError(code=code, message="no"))
    return msgspec.json.encode(result), {"Smith-Answer-For": f"{stream}.{consumer}.{seq}"}


async def put(bus: AsyncSmithBus, intent: Any, data: bytes, headers: dict[str, str]) -> None:
    subject = f"smith.results.{intent.id}"
    await bus._session.publish(subject, data, stream="ATOMS_RESULTS", msg_id=uuid4().hex, headers=headers)


async def test_an_answer_is_found_below_those_to_others(account: Account) -> None:
    """The answer to the caller was stored while it was away, and copies were denied since."""
    async with account.applied() as bus:
        intent = read_intent()
        ack = await bus.publish(subjects.intents.raw.of(intent), intent)
        await put(bus, intent, *answer(intent, ack.seq + 7, "REPLAYED"))
        await put(bus, intent, *answer(intent, ack.seq, "POLICY_DENIED"))
        await put(bus, intent, *answer(intent, ack.seq + 1, "REPLAYED"))
        await put(bus, intent, *answer(intent, ack.seq + 2, "UNSIGNED"))
        result = await bus.execute(intent, timeout=5)  # a duplicate: what is stored counts
        assert result.error is not None
        assert result.error.code == "POLICY_DENIED"


async def test_a_result_that_is_stored_late_is_not_lost_below_another_answer(account: Account, monkeypatch: Any) -> None:
    """Results are received before they are stored, and the newest stored may be another's."""
    async with account.applied() as bus:
        intent = read_intent()
        calling = asyncio.ensure_future(bus.execute(intent, timeout=10))

        async def seq() -> int:
            return int((await bus._session.api.stream_info("SDLC_RAW"))["state"]["last_seq"])

        own = await eventually_async(seq)
        await put(bus, intent, *answer(intent, own + 1, "REPLAYED"))
        data = msgspec.json.encode(result_of(intent, output="done"))
        held = asyncio.Event()
        last_message = bus._session.api.last_message

        async def late(stream: str, subject: str) -> Any:
            found = await last_message(stream, subject)
            if not held.is_set():  # as if the result were not stored yet
                held.set()
                return await bus._session.api.next_message(stream, 1, subject)
            return found

        monkeypatch.setattr(type(bus._session.api), "last_message", lambda self, stream, subject: late(stream, subject))
        await put(bus, intent, data, {})
        assert (await calling).output == "done"
        assert held.is_set()


async def test_the_denial_of_a_replay_does_not_follow_what_an_executor_answered(account: Account) -> None:
    async with account.applied() as bus:
        intent = read_intent()
        await put(bus, intent, *answer(intent, 1, "HANDLER_FAILED", stream="ATOMS_VETTED", consumer="executor-fs-read"))
        await bus.publish(subjects.intents.raw.of(intent), intent)
        (message,) = await bus.consumer(consumers.admission).fetch(1)
        assert not await put_answer(bus._session, message, intent.id, "denied", ResultCode.REPLAYED, "no")
        assert await put_answer(bus._session, message, intent.id, "denied", ResultCode.POLICY_DENIED, "no")
        assert await codes(bus, intent) == ["HANDLER_FAILED", "POLICY_DENIED"]


async def codes(bus: Any, intent: Any) -> list[str]:
    return [message.payload.error.code async for message in bus.read(subjects.results(intent_id=intent.id))]


async def test_a_timeout_tells_of_the_callers_own_decision(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsigned copy is denied while the intent waits for its executor."""
    monkeypatch.setattr(diagnosis, "BUDGET", 20.0)
    key = signing.generate_key()
    async with account.applied() as bus:
        trust = Trust(keys={signing.public_key(key)})
        admission = Admission(bus, policy=lambda intent: Allow(), executor_id="gate", trust=trust)
        running = asyncio.ensure_future(admission.run())
        intent = signing.sign(read_intent(), key)
        await bus.publish(subjects.intents.raw.of(intent), intent)

        async def is_vetted() -> bool:
            return bool((await bus._session.api.stream_info("ATOMS_VETTED"))["state"]["messages"])

        await eventually_async(is_vetted)
        copy = replace(intent, signer="", signature_b64="")
        await bus.publish(subjects.intents.raw.of(copy), copy, msg_id="another")
        assert await eventually_async(lambda: codes(bus, intent)) == ["UNSIGNED"]
        with pytest.raises(ResultTimeout) as caught:
            await bus.execute(intent, timeout=1)  # a duplicate: what is stored counts
        assert caught.value.state == "queued", caught.value
        assert (await bus.trace(intent.id)).state == "queued"
        await admission.stop()
        await running


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("SDLC_RAW.admission.12", ("SDLC_RAW", 12)),
        ("SDLC_RAW.admission.x", None),
        ("SDLC_RAW.admission." + "9" * 5000, None),
        ("", None),
        ("..", None),
        ("\u0661", None),
    ],
    ids=["valid", "no number", "too long", "empty", "dots", "not ascii"],
)
def test_what_an_answer_is_for(header: str, place: Any) -> None:
    assert answered_message({"Smith-Answer-For": header}) == place
    assert answered_message({}) is None
