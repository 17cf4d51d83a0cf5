"""Trace context in headers that anybody may have written."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from smith_sdk import AsyncSmithBus, otel
from smith_sdk.errors import OptionsError, TelemetryNotInstalled
from smith_sdk.otel._context import detached, extract, injected, span_of
from smith_sdk.otel._destinations import Destinations
from smith_sdk.topology import CONTRACT

TRACE = "0af7651916cd43dd8448eb211c80319c"
GOOD = f"00-{TRACE}-b7ad6b7169203331-01"
LARGE = 1024 * 1024


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "\x00\x1b[2J"},
        {"traceparent": "ff-" + GOOD[3:]},
        {"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"},
        {"traceparent": f"00-{TRACE.upper()}-b7ad6b7169203331-01"},
        {"traceparent": f"{GOOD}-extra"},
        {"traceparent": "0" * LARGE},
        {"traceparent": GOOD + " " * LARGE},
        {f"header-{number}": "x" for number in range(50_000)},
    ],
    ids=["none", "empty", "control", "version", "zeros", "upper", "longer", "1 MB", "1 MB of blanks", "50,000 headers"],
)
def test_a_context_that_is_not_valid_is_not_there(headers: dict[str, str]) -> None:
    assert span_of(extract(headers)) is None


def test_what_is_beside_a_valid_context_does_no_harm() -> None:
    for state in ("=", ",".join(f"k{number}=v" for number in range(1000)), "a=" + "b" * LARGE, "\x00"):
        found = span_of(extract({"tracestate": state, "baggage": "=;,%" * LARGE, "Traceparent": GOOD}))
        assert found is not None
        assert f"{found.trace_id:032x}" == TRACE
        assert found.is_remote


def test_the_current_span_is_not_taken_for_that_of_a_message() -> None:
    current = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))
    with trace.use_span(current):
        assert span_of() is not None
        assert span_of(extract({})) is None
        assert span_of(extract({"traceparent": "no"})) is None


def test_an_error_of_a_propagator_leaves_the_message_without_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("what is this?")

    monkeypatch.setattr("opentelemetry.propagate.extract", fail)
    assert span_of(extract({"traceparent": GOOD})) is None


def test_a_new_context_takes_the_place_of_another_in_any_spelling() -> None:
    context = trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))))
    found = injected({"Traceparent": "old", "TraceState": "a=b", "own": "1", "baggage": "user=7"}, context)
    assert found == {"own": "1", "baggage": "user=7", "traceparent": f"00-{1:032x}-{2:016x}-01"}
    assert injected({"own": "1"}, extract({})) is None


def test_a_context_goes_to_another_process_as_bytes() -> None:
    token = otel_context.attach(baggage.set_baggage("user", "7", extract({"traceparent": GOOD})))
    try:
        enter = pickle.loads(pickle.dumps(detached()))
    finally:
        otel_context.detach(token)
    assert span_of() is None
    with enter():
        found = span_of()
        assert found is not None
        assert f"{found.trace_id:032x}" == TRACE
        assert baggage.get_baggage("user") == "7"
    assert span_of() is None


def test_a_destination_is_a_pattern_of_the_contract() -> None:
    found = Destinations(CONTRACT)
    for _ in range(2):
        assert found.template("smith.results.01a2", "ATOMS_RESULTS") == "smith.results.{intent_id}"
        assert found.template("smith.intents.raw.fs.read.v1", None) == "smith.intents.raw.{capability}"
        # also where no subject of the contract is: an attempt marker, and what anybody may publish
        assert found.template("smith.dlq.S.c.7.trial", "SMITH_DLQ") == "smith.dlq.>"
        assert found.template("smith.intents.raw.no.such.capability", "SDLC_RAW") == "smith.intents.raw.{capability}"
        assert found.pattern("smith.dlq.S.c.7.trial") is None
        assert found.pattern("$KV.SMITH_CONTROL.health") is None
        assert found.template("a.b.c", "ELSEWHERE") == "(unknown)"
        assert found.template("", None) == "(unknown)"


def test_the_server_of_a_url() -> None:
    found = Destinations(CONTRACT)
    assert found.server("nats://example.org:4222") == {"server.address": "example.org", "server.port": 4222}
    assert found.server("wss://example.org/path") == {"server.address": "example.org"}
    assert found.server("nats://[::1]:4222") == {"server.address": "::1", "server.port": 4222}
    for url in ("nats://a:1,nats://b:2", "nats://a:port", "nats://[", ""):
        assert found.server(url) == {}
    for number in range(1000):  # a cluster whose servers come and go
        found.server(f"nats://s{number}:4222")
    assert len(found._servers) <= 64


def test_only_a_bus_and_providers_are_taken() -> None:
    bus = AsyncSmithBus("nats://127.0.0.1:1")
    with pytest.raises(OptionsError, match="an AsyncSmithBus or a SmithBus is needed"):
        otel.instrument("bus")
    with pytest.raises(OptionsError, match="tracer_provider"):
        otel.instrument(bus, tracer_provider=object())  # type: ignore[arg-type]
    with pytest.raises(OptionsError, match="meter_provider"):
        otel.instrument(bus, meter_provider=object())  # type: ignore[arg-type]
    assert not bus._session.events


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
import smith_sdk
from smith_sdk import otel
bus = smith_sdk.SmithBus("nats://127.0.0.1:1")
otel.uninstrument(bus)
for call in (lambda: otel.instrument(bus), lambda: otel.context_of(None)):
    try:
        call()
    except smith_sdk.errors.TelemetryNotInstalled as error:
        print(error)
"""


def test_without_the_extra_an_error_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "telemetry needs opentelemetry-api: pip install 'smith-sdk[otel]'\n" * 2
    assert issubclass(TelemetryNotInstalled, Exception)


LATER = """
import warnings
warnings.simplefilter("error")
import logging
logging.basicConfig(level=logging.WARNING)
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from smith_sdk import AsyncSmithBus, otel
from smith_sdk._core.jetstream.publish_request import PublishRequest

def publish(bus):
    operation = bus._session.events.tracer.on_send(PublishRequest("smith.results.1", b"", "ATOMS_RESULTS", "1"))
    operation.end()
    return operation.headers

buses = [AsyncSmithBus("nats://127.0.0.1:1") for _ in range(3)]
otel.instrument(buses[0])
assert publish(buses[0]) is None
reader = InMemoryMetricReader()
provider = MeterProvider([reader])
metrics.set_meter_provider(provider)
trace.set_tracer_provider(TracerProvider())
otel.instrument(buses[1])
otel.instrument(buses[2], meter_provider=provider)
for bus in buses:
    assert "traceparent" in publish(bus)
for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
    print(metric.name, *(getattr(point, "value", None) or point.count for point in metric.data.data_points))
"""


def test_providers_that_are_set_after_a_bus_was_instrumented() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert "messaging.client.sent.messages 4\n" in done.stdout
    assert "messaging.client.operation.duration 3\n" in done.stdout
