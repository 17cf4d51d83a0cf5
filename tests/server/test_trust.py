"""Trust on a real server: an intent is let through once while it could be valid; workers that
verify."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from buses import Account, Face, read_intent
from handling import in_a_process
from support import eventually_async

from smith_sdk import (
    Admission,
    Allow,
    AsyncSmithBus,
    Backoff,
    ResultCode,
    RetryPolicy,
    Trust,
    Worker,
    consumers,
    result_of,
    subjects,
)
from smith_sdk.contract import now_ns
from smith_sdk.embedded import EmbeddedServer
from smith_sdk.errors import OptionsError, QueueFull, StreamNotFound
from smith_sdk.protocol import IntentId, ShellExecV1Intent, ShellExecV1Params
from smith_sdk.signing import sign

SEED = bytes(range(32))
TRUST = Trust(keys=[sign(read_intent(), SEED).signer])


async def received(bus: AsyncSmithBus, intent: Any) -> Any:
    """`intent` as a raw message. It is not acknowledged."""
    await bus.publish(subjects.intents.raw.of(intent), intent)
    (message,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
    return message


async def claimed(bus: AsyncSmithBus, message: Any, trust: Trust = TRUST) -> str | None:
    refusal = await trust.claim(bus._session, message.payload, message)
    return None if refusal is None else refusal.code


async def test_a_nonce_is_let_through_once_whatever_else_the_intent_says(account: Account) -> None:
    async with account.applied() as bus:
        intent = sign(read_intent(), SEED)
        first = await received(bus, intent)
        assert await claimed(bus, first) is None
        other_id = sign(read_intent("/other", nonce=intent.nonce), SEED)
        assert await claimed(bus, await received(bus, other_id)) == ResultCode.REPLAYED
        shell = ShellExecV1Intent.new(domain="d", nonce=intent.nonce, params=ShellExecV1Params(command="true"))
        assert await claimed(bus, await received(bus, sign(shell, SEED))) == ResultCode.REPLAYED
        assert await claimed(bus, await received(bus, sign(read_intent(), SEED))) is None
        other_signer = sign(read_intent(nonce=intent.nonce), bytes(32))
        assert await claimed(bus, await received(bus, other_signer)) is None
        refusal = await TRUST.claim(bus._session, other_id, await received(bus, sign(read_intent(nonce=intent.nonce), SEED)))
        assert refusal is not None
        assert "let through before, at 20" in refusal.reason


async def test_a_redelivery_of_the_same_raw_message_gets_the_same_answer(account: Account) -> None:
    async with account.applied() as bus:
        message = await received(bus, sign(read_intent(), SEED))
        assert await claimed(bus, message) is None
        await message.nack()
        (again,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
        assert again.metadata.num_delivered == 2
        assert await claimed(bus, again) is None
        replay = await received(bus, sign(read_intent(nonce=message.payload.nonce), SEED))
        for _ in range(2):
            assert await claimed(bus, replay) == ResultCode.REPLAYED


async def test_of_several_processes_one_lets_an_intent_through(account: Account) -> None:
    async with account.applied() as bus, account.applied() as other:
        for _ in range(5):
            nonce = sign(read_intent(), SEED).nonce
            copies = [await received(bus, sign(read_intent(nonce=nonce), SEED)) for _ in range(4)]
            codes = await asyncio.gather(*(claimed((bus, other)[i % 2], copy) for i, copy in enumerate(copies)))
            assert sorted(map(str, codes)) == ["None", *["REPLAYED"] * 3]


async def test_a_server_that_was_restarted_still_knows_what_was_let_through(
    make_server: Callable[..., EmbeddedServer], tmp_path: Path
) -> None:
    intent = sign(read_intent(), SEED)
    server = make_server(store_dir=tmp_path)
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        message = await received(bus, intent)
        assert await claimed(bus, message) is None
        await message.ack_sync()
    server.kill()
    server.stop()
    server = make_server(store_dir=tmp_path)
    async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
        # Another message id: the server's own deduplication does not help.
        await bus.publish(subjects.intents.raw.of(intent), intent, msg_id="another")
        (replay,) = await bus.consumer(consumers.admission).fetch(1, timeout=10)
        assert await claimed(bus, replay) == ResultCode.REPLAYED


async def test_an_intent_is_remembered_until_it_has_expired_by_every_clock(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, max_clock_skew=1)
    async with account.applied() as bus:
        created = now_ns()
        message = await received(bus, sign(read_intent(ttl_ms=60_000, created_at_ns=created), SEED))
        assert await claimed(bus, message, trust) is None
        passed = (now_ns() - created) / 1e9
        stored = await bus._session.api.message("KV_SMITH_NONCES", 1)
        assert 61 - passed <= int(stored.headers["Nats-TTL"]) <= 61, "1 s of skew"
        assert stored.data.startswith(b"SDLC_RAW.1.")
        assert await claimed(bus, await received(bus, sign(read_intent(nonce=message.payload.nonce), SEED)), trust) == "REPLAYED"
        ends = sign(read_intent(ttl_ms=60_000, created_at_ns=created - 59_000_000_000), SEED)  # soon
        assert await claimed(bus, await received(bus, ends), trust) is None
        await eventually_async(lambda: _count(bus, 1), timeout=15, interval=0.2)
        long = await received(bus, sign(read_intent(ttl_ms=2**32 - 1), SEED))  # 50 days
        assert await claimed(bus, long, trust) is None
        seconds = int((await bus._session.api.message("KV_SMITH_NONCES", 3)).headers["Nats-TTL"])
        assert 4294969 - 60 < seconds <= 4294969


async def _count(bus: AsyncSmithBus, count: int) -> bool:
    found: int = (await bus._session.api.stream_info("KV_SMITH_NONCES"))["state"]["messages"]
    return found == count


async def test_a_window_bounds_how_long_intents_are_remembered(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, replay_window=60)
    async with account.applied() as bus:
        assert await claimed(bus, await received(bus, sign(read_intent(ttl_ms=59_000), SEED)), trust) is None
        message = await received(bus, sign(read_intent(ttl_ms=120_000), SEED))
        refusal = await trust.claim(bus._session, message.payload, message)
        assert refusal is not None
        assert refusal.code == ResultCode.POLICY_DENIED
        assert "shorter ttl_ms" in refusal.reason
        assert await _count(bus, 1)


async def test_a_window_of_0_needs_no_bucket_and_lets_replays_through(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, replay_window=0)
    async with account.applied() as bus:
        await bus._session.api.stream_delete("KV_SMITH_NONCES")
        await trust.prepare(bus._session)
        intent = sign(read_intent(), SEED)
        for _ in range(2):
            assert await claimed(bus, await received(bus, sign(read_intent(nonce=intent.nonce), SEED)), trust) is None


async def test_without_the_bucket_preparing_names_the_remedy(account: Account) -> None:
    async with account.applied() as bus:
        await TRUST.prepare(bus._session)
        await bus._session.api.stream_delete("KV_SMITH_NONCES")
        with pytest.raises(StreamNotFound, match="smith streams apply"):
            await TRUST.prepare(bus._session)


async def test_a_full_bucket_lets_nothing_through(account: Account) -> None:
    async with account.applied() as bus:
        config = (await bus._session.api.stream_info("KV_SMITH_NONCES"))["config"]
        await bus._session.api.stream_update({**config, "max_msgs": 1})
        first = await received(bus, sign(read_intent(), SEED))
        second = await received(bus, sign(read_intent(), SEED))
        replay = await received(bus, sign(read_intent(nonce=first.payload.nonce), SEED))
        assert await claimed(bus, first) is None
        with pytest.raises(QueueFull, match="KV_SMITH_NONCES is full"):
            await claimed(bus, second)
        assert await claimed(bus, replay) == ResultCode.REPLAYED
        await bus._session.api.stream_update({**config, "max_msgs": -1})
        assert await claimed(bus, second) is None
        assert await claimed(bus, replay) == ResultCode.REPLAYED
        assert await claimed(bus, first) is None


async def test_an_unsigned_intent_uses_up_no_nonce_of_a_signer(account: Account) -> None:
    trust = Trust(keys=TRUST.keys, require_signature=False)
    async with account.applied() as bus:
        intent = sign(read_intent(), SEED)
        forged = msgspec.structs.replace(intent, id="another", signature_b64="")
        assert await claimed(bus, await received(bus, forged), trust) is None
        assert await claimed(bus, await received(bus, intent), trust) is None
        again = msgspec.structs.replace(forged, id="third")
        assert await claimed(bus, await received(bus, again), trust) == ResultCode.REPLAYED


# ---- workers


@contextlib.asynccontextmanager
async def working(worker: Any) -> AsyncIterator[None]:
    running = asyncio.ensure_future(worker.run())
    try:
        yield
    finally:
        await worker.stop()
        await asyncio.wait_for(running, 20)


async def vetted(bus: Any, intent: Any) -> None:
    await bus.publish(subjects.intents.vetted.of(intent), intent)


async def test_a_worker_runs_no_handler_for_what_it_does_not_trust(face: Face) -> None:
    good, unsigned, changed = sign(read_intent(), SEED), read_intent(), sign(read_intent(), SEED)
    changed = msgspec.structs.replace(changed, domain="other")
    unknown = sign(read_intent(), bytes(32))
    handled = []
    async with face.applied() as bus:
        worker = face.worker(bus, consumers.executor_fs_read, trust=Trust(keys=TRUST.keys))

        def handle(message: Any) -> Any:
            handled.append(message.payload.id)
            return result_of(message.payload, output="done")

        worker.handler(handle)
        async with working(worker):
            results = {}
            for intent in (unsigned, changed, unknown, good):
                await vetted(bus, intent)
                results[intent.id] = await eventually_async(partial(result_on, bus, intent.id), timeout=20)
        assert handled == [good.id]
        assert results[good.id].status == "ok"
        for intent, code in ((unsigned, "UNSIGNED"), (changed, "SIGNATURE_INVALID"), (unknown, "SIGNER_UNKNOWN")):
            assert (results[intent.id].status, results[intent.id].error.code) == ("denied", code)
            assert results[intent.id].error.message.startswith(f"{code}: ")
        letters = await bus.dead_letters.list()
        assert sorted(letter.error.partition(":")[0] for letter in letters) == ["SIGNATURE_INVALID", "SIGNER_UNKNOWN", "UNSIGNED"]
        assert {letter.error_type for letter in letters} == {"Reject"}


async def result_on(bus: Any, intent_id: IntentId) -> Any:
    async with bus.read(subjects.results(intent_id=intent_id)) as reader:
        async for message in reader:
            return message.payload
    return None


async def test_processes_get_what_is_trusted_only(account: Account) -> None:
    async with account.applied() as bus:
        worker = Worker(bus, consumers.executor_fs_read, processes=1, trust=TRUST)
        worker.handler(in_a_process)
        async with working(worker):
            good, bad = sign(read_intent("/etc/hostname"), SEED), sign(read_intent("/etc/hostname"), bytes(32))
            for intent in (bad, good):
                await vetted(bus, intent)
            assert (await eventually_async(partial(result_on, bus, good.id), timeout=30)).status == "ok"
            assert (await eventually_async(partial(result_on, bus, bad.id), timeout=30)).error.code == "SIGNER_UNKNOWN"


async def test_the_keys_of_a_worker_are_rotated_while_it_runs(account: Account, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(sign(read_intent(), bytes(32)).signer)
    async with account.applied() as bus:
        worker = Worker(bus, consumers.executor_fs_read, trust=Trust(keys=path))

        @worker.handler
        async def handle(message: Any) -> Any:
            return result_of(message.payload)

        async with working(worker):
            first, second = sign(read_intent(), SEED), sign(read_intent(), SEED)
            await vetted(bus, first)
            found = await eventually_async(lambda: result_on(bus, first.id), timeout=20)
            assert found.error.code == ResultCode.SIGNER_UNKNOWN
            path.with_suffix(".new").write_text(first.signer)
            path.with_suffix(".new").replace(path)
            await vetted(bus, second)
            assert (await eventually_async(lambda: result_on(bus, second.id), timeout=20)).status == "ok"


async def test_a_key_directory_that_fails_fails_the_attempt(account: Account) -> None:
    asked = []

    async def key_for(signer: str) -> bool:
        asked.append(signer)
        if len(asked) == 1:
            raise ConnectionError("the directory is down")
        return True

    async with account.applied() as bus:
        retry = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01))
        worker = Worker(bus, consumers.executor_fs_read, trust=Trust(key_for=key_for), retry=retry)

        @worker.handler
        async def handle(message: Any) -> Any:
            return result_of(message.payload)

        async with working(worker):
            intent = sign(read_intent(), SEED)
            await vetted(bus, intent)
            assert (await eventually_async(lambda: result_on(bus, intent.id), timeout=20)).status == "ok"
        assert worker.stats.retried == 1


async def test_trust_is_for_workers_of_intents(account: Account) -> None:
    async with account.applied() as bus:
        with pytest.raises(OptionsError, match="does not deliver intents"):
            Worker(bus, consumers.http_results, trust=TRUST)
        with pytest.raises(OptionsError, match="a Trust is needed"):
            Worker(bus, consumers.executor_fs_read, trust=SEED)  # type: ignore[arg-type]


# ---- admission


@contextlib.asynccontextmanager
async def admitting(*admissions: Any) -> AsyncIterator[None]:
    running = [asyncio.ensure_future(admission.run()) for admission in admissions]
    try:
        yield
    finally:
        for admission in admissions:
            await admission.stop()
        await asyncio.wait_for(asyncio.gather(*running), 20)


async def settled(bus: AsyncSmithBus, stream: str = "SDLC_RAW") -> bool:
    state = (await bus._session.api.stream_info(stream))["state"]
    return bool(state["messages"] == 0)


async def test_several_gates_let_each_nonce_through_once(face: Face) -> None:
    async with face.applied() as bus, face.applied() as other, AsyncSmithBus(face.url) as reader:
        gates = [face.admission(one, policy=allow, executor_id="gate", trust=TRUST) for one in (bus, other)]
        nonces = [read_intent().nonce for _ in range(5)]
        async with admitting(*gates):
            for nonce in nonces * 4:
                await reader.publish(subjects.intents.raw.of(intent := sign(read_intent(nonce=nonce), SEED)), intent)
            await eventually_async(partial(settled, reader), timeout=30)
        messages = await reader.consumer(consumers.executor_fs_read).fetch(len(nonces), timeout=20)
        assert (await reader.streams.get("ATOMS_VETTED")).messages == len(nonces)
        assert sorted(message.payload.nonce for message in messages) == sorted(nonces)
        assert (await reader._session.api.stream_info("ATOMS_RESULTS"))["state"]["messages"] == 15


def allow(intent: Any) -> Allow:
    return Allow()


async def test_a_plain_key_directory_that_hangs_holds_up_no_other_intent(face: Face) -> None:
    released = threading.Event()
    known = sign(read_intent(), SEED).signer

    def key_for(signer: str) -> bool:
        return signer == known or released.wait(60)

    async with face.applied() as bus, AsyncSmithBus(face.url) as reader:
        gate = face.admission(bus, policy=allow, executor_id="gate", timeout=0.3, trust=Trust(key_for=key_for))
        hangs, passed = sign(read_intent(), bytes(32)), set[str]()

        async def another_passes() -> bool:  # one that is verified within the 0.3 s: not each, on a busy machine
            intent = sign(read_intent(), SEED)
            passed.add(intent.id)
            await reader.publish(subjects.intents.raw.of(intent), intent)
            messages = await reader.consumer(consumers.executor_fs_read).fetch(1, timeout=5)
            assert {message.payload.id for message in messages} <= passed
            return bool(messages)

        async with admitting(gate):
            await reader.publish(subjects.intents.raw.of(hangs), hangs)
            await eventually_async(another_passes)
            result = await eventually_async(lambda: result_on(reader, hangs.id), timeout=20)
        released.set()
        assert result.error.code == ResultCode.ADMISSION_FAILED
        assert "verifying the signature took longer than 0.3 s" in result.error.message


async def test_a_gate_without_its_bucket_does_not_start(face: Face) -> None:
    async with face.applied() as bus, AsyncSmithBus(face.url) as other:
        await other._session.api.stream_delete("KV_SMITH_NONCES")
        gate = face.admission(bus, policy=allow, executor_id="gate", trust=TRUST)
        with pytest.raises(StreamNotFound, match=r"KV_SMITH_NONCES does not exist.*smith streams apply"):
            await asyncio.wait_for(gate.run(), 20)


async def test_while_the_bucket_is_full_intents_wait_at_the_gate(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    async with account.applied() as bus, account.applied() as other:
        config = (await bus._session.api.stream_info("KV_SMITH_NONCES"))["config"]
        await bus._session.api.stream_update({**config, "max_msgs": 1})
        gate = Admission(bus, policy=allow, executor_id="gate", trust=TRUST)
        async with admitting(gate):
            for intent in (sign(read_intent(), SEED), sign(read_intent(), SEED)):
                await other.publish(subjects.intents.raw.of(intent), intent)
            (first,) = await other.consumer(consumers.executor_fs_read).fetch(1, timeout=10)
            await first.ack_sync()
            await eventually_async(lambda: "KV_SMITH_NONCES is full" in caplog.text, timeout=20)
            await eventually_async(lambda: settled(other, "ATOMS_VETTED"))
            await bus._session.api.stream_update({**config, "max_msgs": -1})
            (second,) = await other.consumer(consumers.executor_fs_read).fetch(1, timeout=20)
            await second.ack_sync()
        assert first.payload.id != second.payload.id


async def test_a_gate_remembers_after_the_server_was_restarted(
    make_server: Callable[..., EmbeddedServer], tmp_path: Path
) -> None:
    intent = sign(read_intent(), SEED)
    for turn in range(2):
        server = make_server(store_dir=tmp_path)
        async with AsyncSmithBus(server.url, manage="apply", profile="dev") as bus:
            async with admitting(Admission(bus, policy=allow, executor_id="gate", trust=TRUST)):
                await bus.publish(subjects.intents.raw.of(intent), intent, msg_id=f"turn-{turn}")
                await eventually_async(partial(settled, bus), timeout=20)
            assert (await bus._session.api.stream_info("ATOMS_VETTED"))["state"]["last_seq"] == 1
            found = await result_on(bus, intent.id)
            assert (None if found is None else found.error.code) == (None if turn == 0 else "REPLAYED")
        server.kill()
        server.stop()
