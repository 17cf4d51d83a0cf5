"""/metrics, as prometheus-client's own parser reads it."""

from __future__ import annotations

import asyncio
import importlib.util
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from buses import Account, Crossing, Face, read_intent
from probing import ask
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from support import eventually_async

from smith_sdk import Backoff, CircuitBreaker, Message, Reject, RetryPolicy, aio, consumers, health, subjects, sync
from smith_sdk._core.events import Delivered, Published, Settled, VerdictName
from smith_sdk._core.monitoring import metric_names as names
from smith_sdk._core.monitoring.consumer_lag import Replica, StreamUsage
from smith_sdk._core.monitoring.exposition import counted, encoding, exposition, family, monitored
from smith_sdk._core.monitoring.metrics import Counts, Seen
from smith_sdk.alerts import Alert
from smith_sdk.protocol import FsReadV1Intent

spec = consumers.executor_fs_read
vetted = subjects.intents.vetted
_VERSIONS = ("x.y", "1e9", "1.0.0.x", "²", "9" * 5000, "99.0.0", "-1.0.0", "")
_ACCEPTS = [
    *(f"{kind}; version={version}" for kind in ("application/openmetrics-text", "text/plain") for version in _VERSIONS),
    "text/plain; version=1.0.0; escaping=nonsense",
    ",;=",
    "é",
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    found = {}
    for one in text_string_to_metric_families(text):
        assert one.documentation
        for sample in one.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def at(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


async def scraped(server: health.HealthServer, accept: str = "") -> Samples:
    answer = await ask(server, "/metrics", accept=accept)
    assert answer.status == 200
    return samples(answer.text)


async def test_what_a_bus_does_is_counted(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.probes._FRESH", 0.0)
    here = {"stream": spec.stream, "consumer": spec.name}

    def handle(message: Message[FsReadV1Intent]) -> None:
        if message.payload.params.path == "/no":
            raise Reject("not mine")
        if message.metadata.num_delivered == 1:
            raise ValueError("not yet")

    async with face.applied() as bus:
        with health.serve(bus if face.is_async else bus.inner, 0) as server:
            retry = RetryPolicy(max_attempts=3, backoff=Backoff(initial=0.01, max=0.01, jitter=0))
            worker = face.worker(bus, spec, concurrency=3, retry=retry, breaker=CircuitBreaker(name="disk", minimum=99))
            worker.handler(handle)
            running = asyncio.ensure_future(worker.run())

            async def begins_with_0() -> bool:
                return (await scraped(server)).get(("smith_dead_letters_total", tuple(sorted(here.items())))) == 0

            await eventually_async(begins_with_0)
            assert at(await scraped(server), "smith_settled_total", **here, verdict="release") == 0
            for path in ("/a", "/b", "/no"):
                intent = read_intent(path)
                await bus.publish(vetted.of(intent), intent)
            await bus.publish(vetted.of(intent), intent)  # the same again: a duplicate

            seen: list[Samples] = []

            async def is_done() -> bool:
                seen.append(found := await scraped(server))
                settled = [value for (name, _), value in found.items() if name == "smith_settled_total"]
                is_idle = at(found, "smith_worker_running", **here) == at(found, "smith_loop_silent_seconds") == 0
                return sum(settled) == 5 and is_idle

            await eventually_async(is_done)
            found = seen[-1]
            assert at(found, "smith_published_total", stream=spec.stream, outcome="stored") == 3
            assert at(found, "smith_published_total", stream=spec.stream, outcome="duplicate") == 1
            assert at(found, "smith_publish_duration_seconds_count", stream=spec.stream) == 4
            assert at(found, "smith_publish_duration_seconds_bucket", stream=spec.stream, le="+Inf") == 4
            assert at(found, "smith_delivered_total", **here) == 5
            assert at(found, "smith_settled_total", **here, verdict="ack") == 2
            assert at(found, "smith_settled_total", **here, verdict="retry") == 2
            assert at(found, "smith_process_duration_seconds_count", **here, verdict="dead_letter") == 1
            assert at(found, "smith_dead_letters_total", **here) == 1
            assert at(found, "smith_attempts_bucket", **here, le="1.0") == 1  # the dead letter
            assert at(found, "smith_attempts_bucket", **here, le="2.0") == 3
            assert at(found, "smith_attempts_sum", **here) == 5
            assert at(found, "smith_worker_slots", **here) == 3
            assert at(found, "smith_worker_running", **here) == 0
            assert at(found, "smith_worker_buffered", **here) == 0
            assert at(found, "smith_connection_up") == 1
            assert at(found, "smith_reconnects_total") == 0
            assert at(found, "smith_window_messages") == 0
            assert at(found, "smith_window_bytes") == 0
            assert at(found, "smith_circuit_state", circuit="disk", state="closed") == 1
            assert at(found, "smith_circuit_state", circuit="disk", state="open") == 0
            assert at(found, "smith_loop_silent_seconds") == 0
            assert not any("/no" in value or intent.id in value for _, labels in found for _, value in labels)
            await worker.stop()
            await running
            assert ("smith_worker_slots", tuple(sorted(here.items()))) not in await scraped(server)


async def test_what_monitors_see_is_shown(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smith_sdk.aio.probes._FRESH", 0.0)
    here = {"stream": spec.stream, "consumer": spec.name}
    async with face.applied() as bus:
        kinds = (aio.LagMonitor, aio.AlertMonitor) if face.is_async else (sync.LagMonitor, sync.AlertMonitor)
        for number, kind in enumerate(kinds, 1):
            intent = read_intent(f"/{number}")
            await bus.publish(vetted.of(intent), intent)
            given: Any = kind(bus if face.is_async else bus.inner, interval=0.05)
            monitor = given if face.is_async else Crossing(given)
            async with monitor:
                with health.serve(bus if face.is_async else bus.inner, 0, monitor=given) as server:

                    async def lags(server: health.HealthServer = server, number: int = number) -> bool:
                        found = await scraped(server)
                        lag = found.get(("smith_consumer_lag", tuple(sorted(here.items()))))
                        return lag == number and ("smith_dead_letters", ()) in found

                    await eventually_async(lags)
                    found = await scraped(server)
                    assert at(found, "smith_consumer_pending", **here) == number
                    assert at(found, "smith_consumer_ack_pending", **here) == 0
                    assert at(found, "smith_consumer_redelivered", **here) == 0
                    assert at(found, "smith_consumer_oldest_age_seconds", **here) > 0
                    assert at(found, "smith_consumer_stalled", **here) == 0
                    assert at(found, "smith_consumer_paused", **here) == 0
                    assert at(found, "smith_stream_messages", stream=spec.stream) == number
                    assert at(found, "smith_stream_bytes", stream=spec.stream) > 0
                    assert 0 < at(found, "smith_stream_fill_ratio", stream=spec.stream) < 1
                    assert at(found, "smith_stream_replica_lag", stream=spec.stream) == 0
                    assert at(found, "smith_dead_letters") == 0
                    assert ("smith_consumer_drain_seconds", tuple(sorted(here.items()))) not in found  # it grows


def test_figures_of_a_monitor_as_metrics() -> None:
    usage = StreamUsage(
        name="S",
        messages=1,
        bytes=2,
        share=None,
        limit="",
        rate_in=None,
        consumers=1,
        leader="n1",
        replicas=tuple(Replica(name="n2", is_current=not off, is_offline=off, lag=5, last_seen_age=1.0) for off in (False, True)),
        observed_at=NOW,
    )
    alert = Alert(rule="full-S", severity="critical", state="raised", reason="x", remedy="y", since=NOW)
    encode, _ = encoding("")
    found = samples(exposition(lambda: monitored(Seen(streams=(usage,), alerts=(alert,))), encode).decode())
    assert at(found, "smith_stream_replica_lag", stream="S") == math.inf
    assert ("smith_stream_fill_ratio", (("stream", "S"),)) not in found
    assert at(found, "smith_alerts", rule="full-S", severity="critical") == 1
    assert ("smith_dead_letters", ()) not in found


async def test_a_client_that_asks_for_openmetrics_gets_it(account: Account) -> None:
    async with account.applied() as bus:
        with health.serve(bus, 0) as server:
            answer = await ask(server, "/metrics", accept="application/openmetrics-text; version=1.0.0,*/*;q=0.1")
            assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
            families = list(open_families(answer.text))  # type: ignore[no-untyped-call]
            assert "smith_connection_up" in {one.name for one in families}
            plain = await ask(server, "/metrics")
            assert plain.content_type.startswith("text/plain")
            for accept in _ACCEPTS:
                assert (await ask(server, "/metrics", accept=accept)).status == 200


async def test_without_the_extra_it_says_what_to_install(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "prometheus_client" else find(name, *rest)
    )
    async with account.applied() as bus:
        with health.serve(bus, 0) as server:
            answer = await ask(server, "/metrics")
            assert (answer.status, answer.text) == (
                501,
                "the metrics need the package prometheus-client: pip install 'smith-sdk[metrics]'\n",
            )
            assert not bus._session.events  # nothing is counted that is not shown
            assert (await ask(server, "/livez")).status == 200


def delivery(**fields: Any) -> Any:
    return {"stream": "S", "consumer": "c", "subject": "a.b", "seq": 1, "attempt": 1, **fields}


def test_hostile_names_are_escaped() -> None:
    hostile = 'a"b\\c\nd{}#\u2028é'
    counts = Counts()
    counts.on_delivered(Delivered(**delivery(stream=hostile)))
    counts.on_published(Published(subject="x", stream=None, msg_id="1", size=1, seconds=0.1))
    encode, _ = encoding("")
    found = samples(exposition(lambda: counted(counts), encode).decode())
    assert at(found, "smith_delivered_total", stream=hostile, consumer="c") == 1
    assert at(found, "smith_published_total", stream="", outcome="stored") == 1


def test_outcomes_and_buckets() -> None:
    counts = Counts()
    for error in (ValueError("x"), asyncio.CancelledError()):
        counts.on_published(Published(subject="x", stream="S", msg_id="1", size=1, seconds=0.1, error=error))
    verdicts: list[tuple[VerdictName, float]] = [("ack", 0.0005), ("ack", 0.00051), ("ack", 301.0), ("release", 1.0)]
    for verdict, seconds in verdicts:
        counts.on_settled(Settled(**delivery(verdict=verdict, seconds=seconds)))
    found = samples(exposition(lambda: counted(counts), encoding("")[0]).decode())
    assert at(found, "smith_published_total", stream="S", outcome="failed") == 1
    assert at(found, "smith_published_total", stream="S", outcome="cancelled") == 1
    ack = {"stream": "S", "consumer": "c", "verdict": "ack"}
    assert at(found, "smith_process_duration_seconds_bucket", **ack, le="0.0005") == 1
    assert at(found, "smith_process_duration_seconds_bucket", **ack, le="0.001") == 2
    assert at(found, "smith_process_duration_seconds_bucket", **ack, le="300.0") == 2
    assert at(found, "smith_process_duration_seconds_bucket", **ack, le="+Inf") == 3
    assert math.isclose(at(found, "smith_process_duration_seconds_sum", **ack), 301.00101)
    assert at(found, "smith_attempts_count", stream="S", consumer="c") == 3  # a release is no end


@pytest.mark.parametrize("metric", names.METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_well_named(metric: names.Metric) -> None:
    assert metric.name.startswith("smith_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert sorted(metric.buckets) == list(metric.buckets)
    if metric.kind != "histogram":
        text = exposition(lambda: [family(metric, {tuple(metric.labels): 1.0})], encoding("")[0]).decode()
        assert samples(text) == {(metric.name, tuple(sorted(zip(metric.labels, metric.labels, strict=True)))): 1.0}
