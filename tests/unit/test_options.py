"""Options are refused when they are built, by name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from smith_sdk import Auth, Backoff, RetryLater, RetryPolicy
from smith_sdk._core.connection import without_credentials
from smith_sdk.errors import OptionsError
from smith_sdk.options import seconds, server_urls, whole


def test_durations_are_seconds_or_a_timedelta() -> None:
    assert seconds("x", 2) == seconds("x", timedelta(seconds=2)) == 2.0
    assert seconds("x", 0, zero=True) == 0.0


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "1", None, timedelta(0)])
def test_a_duration_that_is_none(value: Any) -> None:
    with pytest.raises(OptionsError, match="wait"):
        seconds("wait", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_a_count_that_is_none(value: Any) -> None:
    with pytest.raises(OptionsError, match="count"):
        whole("count", value)


def test_backoff_grows_up_to_its_maximum_and_jitter_takes_from_it() -> None:
    steady = Backoff(initial=0.1, max=1, multiplier=2, jitter=0)
    assert [steady.delay(attempt) for attempt in (1, 2, 3, 4, 5, 5000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    drawn = {Backoff(initial=1, max=1, jitter=0.5).delay(1) for _ in range(200)}
    assert len(drawn) > 100
    assert all(0.5 <= delay <= 1 for delay in drawn)


@pytest.mark.parametrize(
    "options", [{"initial": 0}, {"initial": 2, "max": 1}, {"multiplier": 0.5}, {"jitter": 1.1}, {"jitter": -0.1}]
)
def test_a_backoff_that_can_never_work(options: dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match="Backoff"):
        Backoff(**options)


def test_a_retry_policy_has_attempts() -> None:
    assert RetryPolicy(max_attempts=-1).max_attempts == -1
    for attempts in (0, -2, True):
        with pytest.raises(OptionsError, match="max_attempts"):
            RetryPolicy(max_attempts=attempts)
    with pytest.raises(OptionsError, match="delay"):
        RetryLater(-1)


def test_auth_is_one_way_at_a_time_and_shows_nothing() -> None:
    assert "hidden" not in repr(Auth(user="hidden", password="hidden")) + repr(Auth(token="hidden"))
    for options in ({"user": "me"}, {"password": "x"}, {"token": "x", "creds": "y"}):
        with pytest.raises(OptionsError, match="Auth"):
            Auth(**options)  # type: ignore[arg-type]


def test_where_the_url_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMITH_NATS_URL", "NATS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert server_urls(None) == ["nats://127.0.0.1:4222"]
    monkeypatch.setenv("NATS_URL", "nats://a:1")
    assert server_urls(None) == ["nats://a:1"]
    monkeypatch.setenv("SMITH_NATS_URL", "nats://b:1, nats://c:2")
    assert server_urls(None) == ["nats://b:1", "nats://c:2"]
    assert server_urls(["nats://d:1"]) == ["nats://d:1"]
    for nothing in ("", ",", []):
        with pytest.raises(OptionsError, match="url"):
            server_urls(nothing)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://host:4222", "nats://host:4222"),
        ("host:4222", "nats://host:4222"),
        ("host", "nats://host"),
        ("nats://me:word@host:4222", "nats://host:4222"),
        ("me:word@host:4222", "nats://host:4222"),
        ("tls://token@[::1]:4222", "tls://[::1]:4222"),
        ("nats://me:w/o#r?d@x@host:4222/path?query", "nats://host:4222"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
