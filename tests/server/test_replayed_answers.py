"""Whoever replays an intent that is being executed is denied, and its caller does not get that
denial."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from buses import Face, read_intent
from msgspec.structs import replace
from support import eventually_async

from smith_sdk import Allow, Trust, consumers, result_of, signing, subjects
from smith_sdk.aio.stored_results import answered_message
from smith_sdk.protocol import IntentResult


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

        async def codes() -> list[str]:
            found = []
            async for message in bus.read(subjects.results(intent_id=intent.id)):
                found.append(message.payload.error.code)
            return found

        assert await eventually_async(codes) == ["REPLAYED" if kind == "replayed" else "UNSIGNED"]
        done, _ = await asyncio.wait({calling}, timeout=0.3)
        assert not done, calling.result()
        released.set()
        result = await calling
        assert (result.status, result.output) == ("ok", "done")
        for part in (admission, worker):
            await part.stop()
        await asyncio.gather(*running)


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
