"""The circuits of a bus: what they are told of acknowledgements."""

from __future__ import annotations

from smith_sdk import CircuitBreaker
from smith_sdk._core.events import Events
from smith_sdk._core.jetstream.publish_circuits import PublishCircuits
from smith_sdk._core.jetstream.publish_request import PublishRequest
from smith_sdk.errors import PublishUnconfirmed


def request(stream: str) -> PublishRequest:
    return PublishRequest("smith.x", b"", stream, "id")


def test_a_circuit_that_acknowledgements_open_takes_nothing_from_the_others() -> None:
    circuits = PublishCircuits(CircuitBreaker(minimum=10), Events())
    first, second = circuits.acquire(request("A")), circuits.acquire(request("B"))
    lost = PublishUnconfirmed("no acknowledgement", may_be_stored=True, subject="smith.x", msg_id="id")
    for _ in range(6):
        first.failed(lost)
    first.acked, second.acked = 4, 7  # the tenth call of A, of which more than half have failed
    circuits.hand_over()
    assert circuits.states == {"A": "open", "B": "closed"}
    assert (first.acked, second.acked) == (0, 0)
