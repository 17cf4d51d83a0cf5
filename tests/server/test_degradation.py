"""What goes on while JetStream is away, and what becomes of handlers that finish while their server
cannot be reached; on both faces."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from buses import Face, declaring, log_entry, read_intent
from chaos.proxy import Proxy
from msgspec.structs import replace
from support import LOGIN, eventually_async, signed_in

from smith_sdk import AsyncSmithBus, consumers, subjects
from smith_sdk.errors import JetStreamDisabled
from smith_sdk.protocol import LogService

raw = subjects.intents.raw
spec = replace(consumers.admission, ack_wait=1.0)
SUBJECT = subjects.logs.service(log_service=LogService("web"), level="info")
AT_MOST = 5.0
"""Seconds that a call of core NATS or a health report may take; the default timeouts are below."""


async def core_goes_on(face: Face, url: str) -> None:
    """What does not need JetStream works, and a health report names what does not."""
    async with face.bus(url, publish_timeout=1.0) as bus:
        began = time.monotonic()
        async with bus.subscribe(SUBJECT) as messages:
            await bus.emit(SUBJECT, log_entry("heard"))
            message = await asyncio.wait_for(anext(messages), AT_MOST)
            assert message.payload.message == "heard"
        report = await bus.health(timeout=1.0)
        assert time.monotonic() - began < AT_MOST
        checks = {check.name: check.status for check in report.checks}
        assert checks["connection"] == "ok"
        assert (report.status, checks["stream SDLC_RAW"]) == ("failing", "failing")
        intent = read_intent()
        with pytest.raises(JetStreamDisabled):
            await bus.publish(raw.of(intent), intent)


async def test_core_nats_and_health_go_on_without_jetstream(face: Face, make_server: Any) -> None:
    await core_goes_on(face, make_server(jetstream=False).url)


async def test_a_subscription_goes_on_when_jetstream_is_off_after_a_restart(face: Face, make_server: Any, tmp_path: Path) -> None:
    server = make_server(tmp_path, config=LOGIN)
    async with face.bus(signed_in(server.url), manage="apply", profile="dev") as bus, bus.subscribe(SUBJECT) as messages:
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(make_server, port=int(server.url.rpartition(":")[2]), config=LOGIN, jetstream=False)
        waiting = asyncio.ensure_future(anext(messages))

        async def heard() -> bool:
            await bus.emit(SUBJECT, log_entry("heard"))
            return bool(waiting.done())

        await eventually_async(heard, 20, interval=0.1)
        assert waiting.result().payload.message == "heard"
        assert (await bus.health(timeout=1.0)).status == "failing"


# ---- a worker that cannot reach its server


async def is_done(other: AsyncSmithBus) -> bool:
    info = await other.consumer(spec).info()
    return (info.num_pending, info.num_ack_pending) == (0, 0)


@pytest.mark.parametrize("ack", ["sent", "confirmed"])
@pytest.mark.parametrize("fault", ["cut", "deaf", "killed"])
async def test_what_finishes_during_an_outage_is_settled_after_it_or_redelivered(
    face: Face, fault: str, ack: str, make_server: Any, tmp_path: Path
) -> None:
    """The worker keeps what runs, and goes on by itself. Nothing is lost, and with confirmed acks
    nothing counts as done of which the server does not know."""
    server = make_server(tmp_path, config=LOGIN)
    url, port, contract = signed_in(server.url), int(server.url.rpartition(":")[2]), declaring(spec)
    names = [f"{number}" for number in range(4)]
    runs: Counter[str] = Counter()
    finish = threading.Event()

    def handle(message: Any) -> None:
        runs[message.payload.params.path] += 1
        assert finish.wait(60)

    with Proxy(url) as proxy:
        async with face.bus(proxy.url, contract=contract, manage="apply", profile="dev", ping_interval=0.3) as bus:
            for name in names:
                intent = read_intent(name)
                await bus.publish(raw.of(intent), intent)
            worker = face.worker(bus, spec, concurrency=len(names), ack=ack)
            worker.handler(handle)
            running = asyncio.ensure_future(worker.run())
            await eventually_async(lambda: len(runs) == len(names))
            if fault == "killed":
                server.kill()
            elif fault == "cut":
                proxy.cut()
            else:
                proxy.deafen()
            finish.set()
            await eventually_async(lambda: bus.state == "reconnecting")
            assert not running.done()
            if ack == "confirmed":
                assert worker.stats.succeeded == 0
            if fault == "killed":
                await asyncio.to_thread(make_server, tmp_path, port=port, config=LOGIN)
            proxy.hear()
            proxy.restore()
            async with AsyncSmithBus(url, contract=contract) as other:
                await eventually_async(lambda: is_done(other), 30)
            await eventually_async(lambda: worker.stats.running == 0)
            stats = worker.stats  # of an ack that was not confirmed it is not known whether it arrived
            assert stats.succeeded + (stats.unanswered if ack == "confirmed" else 0) >= len(names)
            assert sorted(runs) == names
            again = read_intent("after")
            await bus.publish(raw.of(again), again, timeout=20)
            await eventually_async(lambda: "after" in runs, 20)
            await worker.stop()
            await asyncio.wait_for(running, 20)
