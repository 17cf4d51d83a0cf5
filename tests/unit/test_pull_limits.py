"""Limits for one pull: what is learned from a refusal, and the pulls that are made within them."""

from __future__ import annotations

from typing import Any

import pytest

from smith_sdk._core.jetstream.pull_limits import MAX_PULLS, PullLimits
from smith_sdk._core.jetstream.pull_options import PullOptions
from smith_sdk._core.jetstream.pull_requests import PullRequests


@pytest.mark.parametrize(
    ("description", "name", "value"),
    [
        ("Exceeded MaxRequestBatch of 3", "batch", 3),
        ("Exceeded MaxRequestMaxBytes of 4096", "max_bytes", 4096),
        ("Exceeded MaxRequestExpires of 1.5s", "expires", 1.5),
        ("Exceeded MaxRequestExpires of 1m30s", "expires", 90.0),
        ("Exceeded MaxRequestExpires of 2h0m0.25s", "expires", 7200.25),
        ("Exceeded MaxRequestExpires of 500ms", "expires", 0.5),
        ("Exceeded MaxRequestExpires of 250µs", "expires", 0.00025),
    ],
)
def test_a_limit_is_learned_from_the_text_of_a_refusal(description: str, name: str, value: float) -> None:
    limits = PullLimits()
    assert limits.learn(description) is True
    assert getattr(limits, name) == pytest.approx(value)
    assert limits.learn(description) is False, "it is known"


@pytest.mark.parametrize(
    "description",
    [
        "",
        "Exceeded MaxWaiting",
        "Exceeded MaxRequestBatch",
        "Exceeded MaxRequestBatch of many",
        "Exceeded MaxRequestBatch of 0",
        "Exceeded MaxRequestExpires of soon",
        "Exceeded MaxRequestOther of 3",
    ],
)
def test_a_text_without_a_limit_is_none(description: str) -> None:
    assert PullLimits().learn(description) is None


def test_a_lower_limit_counts_and_a_higher_one_does_not() -> None:
    limits = PullLimits()
    assert [limits.learn(f"Exceeded MaxRequestBatch of {size}") for size in (5, 9, 2)] == [True, False, True]
    assert limits.batch == 2
    assert limits.describe() == "max_batch=2"


def test_limits_are_learned_from_a_config() -> None:
    limits = PullLimits()
    limits.learn_from({"max_waiting": 4, "max_batch": 7, "max_expires": 2_000_000_000, "max_bytes": 100})
    assert (limits.pulls, limits.batch, limits.expires, limits.max_bytes) == (4, 7, 2.0, 100)
    limits.learn_from({"max_waiting": 512})
    assert limits.pulls == MAX_PULLS


def pulls(room: int, limits: PullLimits, *, requested: int = 0, **options: Any) -> list[object]:
    made = PullRequests(PullOptions(capacity=100, **options), limits).next(room, requested, lambda: 0)
    return [] if made is None else [body["batch"] for body in made.bodies()]


def test_one_pull_asks_for_all_unless_it_is_limited() -> None:
    assert pulls(100, PullLimits()) == [100]


def test_several_pulls_share_what_is_requested_but_not_more_than_may_wait() -> None:
    limits = PullLimits()
    limits.learn("Exceeded MaxRequestBatch of 10")
    assert pulls(25, limits) == [10, 10, 5]
    limits.learn_from({"max_waiting": 2})
    assert pulls(25, limits) == [10, 10]
    assert pulls(25, limits, requested=15) == [5]
    assert pulls(25, limits, requested=20) == []
    assert pulls(25, limits, max_batch=4) == [4, 4]
    assert pulls(25, limits, max_bytes=1000) == [10], "one pull at a time"


def test_a_pull_lives_no_longer_and_holds_no_more_than_the_limit() -> None:
    limits = PullLimits()
    limits.learn("Exceeded MaxRequestExpires of 2s")
    limits.learn("Exceeded MaxRequestMaxBytes of 4096")
    made = PullRequests(PullOptions(capacity=10, max_bytes=1_000_000), limits).next(10, 0, lambda: 0)
    assert made is not None
    (body,) = made.bodies()
    assert body["max_bytes"] == 4096
    assert 1_900_000_000 < int(body["expires"]) <= 2_000_000_000
    assert 2 * int(body["idle_heartbeat"]) <= int(body["expires"])


def test_a_pull_of_a_worker_has_a_limit_of_bytes_unless_the_consumer_allows_less() -> None:
    """Several may be outstanding; a message larger than the consumer's limit would never come."""
    for allowed, expected in ((None, 24_000_000), (30_000_000, 24_000_000), (24_000_000, 24_000_000), (1_000_000, None)):
        limits = PullLimits()
        limits.max_bytes = allowed
        made = PullRequests(PullOptions(capacity=10, max_pull_bytes=24_000_000), limits).next(4, 6, lambda: 99_000_000)
        assert made is not None
        assert made.messages == 4
        assert made.fields.get("max_bytes") == expected


def test_a_message_larger_than_a_pull_of_a_worker_is_requested_alone() -> None:
    requests = PullRequests(PullOptions(capacity=10, max_pull_bytes=24_000_000), PullLimits())

    def asked() -> tuple[int, Any]:
        made = requests.next(4, 0, lambda: 0)
        assert made is not None
        return made.messages, made.fields.get("max_bytes")

    assert asked() == (4, 24_000_000)
    assert requests.refused(3) is None  # one has come
    assert asked() == (4, 24_000_000)
    assert requests.refused(4) == 24_000_000
    assert asked() == (1, None)
    assert asked() == (4, 24_000_000)
