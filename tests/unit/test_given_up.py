"""Whether the server has given a message up: what it says of its consumers decides, and no
advisory alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from smith_sdk._core.dead_letters.advisories import Advisory
from smith_sdk._core.dead_letters.given_up import Answer, Progress, is_given_up

ADVISORY = Advisory(stream="S", consumer="c", stream_seq=5, deliveries=3, timestamp=datetime(2026, 1, 1, tzinfo=UTC))


def consumer(**otherwise: Any) -> Progress:
    fields: dict[str, Any] = {
        "filters": ("a.>",),
        "max_deliver": -1,
        "ack_floor": 9,
        "delivered": 9,
        "in_flight": 0,
        "redelivered": 0,
    }
    return Progress(**{**fields, **otherwise})


@pytest.mark.parametrize(
    ("progress", "retention", "answer"),
    [
        (consumer(), "workqueue", "yes"),  # what is acknowledged would be deleted
        (consumer(), "interest", "yes"),
        (consumer(), "limits", "no"),  # it may be acknowledged
        (consumer(max_deliver=3), "limits", "yes"),
        (consumer(max_deliver=4), "limits", "no"),
        (consumer(redelivered=1), "limits", "yes"),  # its limit was taken away since
        (consumer(redelivered=1, in_flight=1), "limits", "no"),  # that may be the one in flight
        (consumer(redelivered=2, in_flight=1), "limits", "yes"),
        (consumer(ack_floor=4, in_flight=1), "workqueue", "no"),  # perhaps in flight
        (consumer(ack_floor=4, in_flight=1, max_deliver=3), "workqueue", "unknown"),
        (consumer(ack_floor=5, in_flight=1), "workqueue", "yes"),  # others are
        (consumer(delivered=4, ack_floor=4), "workqueue", "no"),  # not delivered yet
        (consumer(filters=("b",)), "workqueue", "no"),  # never to be delivered
        (consumer(filters=()), "workqueue", "yes"),
    ],
)
def test_what_the_server_says_of_the_consumer(progress: Progress, retention: str, answer: Answer) -> None:
    assert is_given_up(ADVISORY, "a.b", progress, retention, ()) == answer


def test_in_a_stream_with_interest_another_consumer_may_keep_the_message() -> None:
    assert is_given_up(ADVISORY, "a.b", consumer(), "interest", [consumer(filters=("b",))]) == "yes"
    assert is_given_up(ADVISORY, "a.b", consumer(), "interest", [consumer(filters=())]) == "no"
    assert is_given_up(ADVISORY, "a.b", consumer(max_deliver=3), "interest", [consumer(filters=())]) == "yes"


def test_what_the_server_says_is_read() -> None:
    info = {
        "config": {"filter_subject": "a.b", "max_deliver": 7},
        "ack_floor": {"stream_seq": 1},
        "delivered": {"stream_seq": 2},
        "num_ack_pending": 3,
        "num_redelivered": 4,
    }
    assert Progress.of(info) == consumer(filters=("a.b",), max_deliver=7, ack_floor=1, delivered=2, in_flight=3, redelivered=4)
    assert Progress.of({**info, "config": {"filter_subjects": ["a", "b"]}}).filters == ("a", "b")
    assert Progress.of({**info, "config": {}}) == consumer(filters=(), ack_floor=1, delivered=2, in_flight=3, redelivered=4)
