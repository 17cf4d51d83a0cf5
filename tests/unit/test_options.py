"""Options are refused when they are built, by name."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from smith_sdk import AsyncSmithBus, Auth, Backoff, RetryLater, RetryPolicy, TLSFiles
from smith_sdk._core.connection.credentials import Access, find_access
from smith_sdk._core.connection.server_pool import ServerPool, parse_server, without_credentials
from smith_sdk.errors import OptionsError
from smith_sdk.options import format_duration, format_size, positive_int, server_urls, to_seconds


def test_durations_are_seconds_or_a_timedelta() -> None:
    assert to_seconds("x", 2) == to_seconds("x", timedelta(seconds=2)) == 2.0
    assert to_seconds("x", 0, zero=True) == 0.0


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "1", None, timedelta(0)])
def test_an_invalid_duration(value: Any) -> None:
    with pytest.raises(OptionsError, match="wait"):
        to_seconds("wait", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "1", None])
def test_an_invalid_count(value: Any) -> None:
    with pytest.raises(OptionsError, match="count"):
        positive_int("count", value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (90, "90s"),
        (120, "2m"),
        (21_600, "6h"),
        (31_536_000, "365d"),
        (86_401, "86401s"),
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (1536, "1.5KiB"), (10 * 2**20, "10MiB"), (2**40, "1TiB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_size(count) == text


def test_backoff_grows_up_to_its_maximum_and_jitter_takes_from_it() -> None:
    steady = Backoff(initial=0.1, max=1, multiplier=2, jitter=0)
    assert [steady.delay(attempt) for attempt in (1, 2, 3, 4, 5, 5000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    drawn = {Backoff(initial=1, max=1, jitter=0.5).delay(1) for _ in range(200)}
    assert len(drawn) > 100
    assert all(0.5 <= delay <= 1 for delay in drawn)


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 0},
        {"initial": 2, "max": 1},
        {"initial": "1"},
        {"multiplier": 0.5},
        {"multiplier": "2"},
        {"multiplier": None},
        {"jitter": 1.1},
        {"jitter": -0.1},
        {"jitter": "0.2"},
        {"jitter": True},
    ],
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


def test_auth_is_one_way_to_sign_in_and_shows_nothing() -> None:
    assert "hidden" not in repr(Auth(user="hidden", password="hidden")) + repr(Auth(token="hidden"))
    for options in ({"user": "me"}, {"password": "x"}, {"token": "x", "creds": "y"}):
        with pytest.raises(OptionsError, match="Auth"):
            Auth(**options)


# ---- where to connect, and with which credentials


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without variables for NATS."""
    for name in [name for name in os.environ if "NATS" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return monkeypatch


def urls(access: Access) -> list[str]:
    return [server.url for server in access.servers]


def write_context(tmp_path: Path, name: str, **settings: Any) -> None:
    file = tmp_path / "nats" / "context" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


def test_where_the_url_comes_from(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_context(tmp_path, "far", url="nats://far:1, nats://off:1")
    assert urls(find_access(None, None, None, None)) == ["nats://127.0.0.1:4222"]
    assert urls(find_access(None, None, None, "far")) == ["nats://far:1", "nats://off:1"]
    clean.setenv("NATS_URL", "a:1")
    assert urls(find_access(None, None, None, "far")) == ["nats://a:1"]
    clean.setenv("SMITH_NATS_URL", "nats://b:1, tls://c")
    assert urls(find_access(None, None, None, None)) == ["nats://b:1", "tls://c:4222"]
    assert urls(find_access(["nats://d:1"], None, None, None)) == ["nats://d:1"]
    nothing: str | list[str]
    for nothing in ("", ",", []):
        with pytest.raises(OptionsError, match="url"):
            server_urls(nothing)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NATS_USER": "me", "NATS_PASSWORD": "word"}, Auth(user="me", password="word")),
        ({"NATS_USER": "alone"}, Auth(token="alone")),  # as the nats command reads it
        ({"NATS_TOKEN": "token"}, Auth(token="token")),
        ({"NATS_CREDS": "/a.creds"}, Auth(creds="/a.creds")),
        ({"NATS_NKEY": "/a.nk"}, Auth(nkey_seed="/a.nk")),
        ({"NATS_TOKEN": ""}, None),
    ],
)
def test_credentials_come_from_arguments_then_the_environment_then_the_context(
    clean: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], expected: Auth | None
) -> None:
    for name, value in variables.items():
        clean.setenv(name, value)
    assert find_access(None, None, None, None).auth == expected
    write_context(tmp_path, "other", user="context", password="x", creds="", description="d")
    in_context = Auth(user="context", password="x")
    assert find_access(None, None, None, "other").auth == (expected or in_context)
    clean.setenv("NATS_CONTEXT", "other")
    assert find_access(None, None, None, None).auth == (expected or in_context)
    given = Auth(token="argument")
    assert find_access(None, given, None, None).auth == given


def test_the_selected_context_is_not_used_unasked(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_context(tmp_path, "chosen", url="nats://chosen:1", token="t")
    (tmp_path / "nats" / "context.txt").write_text("chosen")
    access = find_access(None, None, None, None)
    assert (urls(access), access.auth) == (["nats://127.0.0.1:4222"], None)


def test_a_context_s_files_are_found_from_home(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("HOME", "/home/someone")
    write_context(tmp_path, "c", creds="~/my.creds")
    assert find_access(None, None, None, "c").auth == Auth(creds="/home/someone/my.creds")


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ("absent", "no .*absent.json"),
        ("../up", "name of a context"),
        ("broken", "cannot be read"),
        ("list", "does not contain a JSON object"),
        ("odd", "socks_proxy, user_seed"),
        ("two", "context two: Auth: give one way"),
    ],
)
def test_a_context_that_cannot_be_used(clean: pytest.MonkeyPatch, tmp_path: Path, context: str, said: str) -> None:
    write_context(tmp_path, "odd", socks_proxy="socks5://hidden", user_seed="hidden", url="nats://a")
    write_context(tmp_path, "two", token="hidden", creds="/x")
    for name, text in (("broken", '{"token": "hidden'), ("list", '["hidden"]')):
        (tmp_path / "nats" / "context" / f"{name}.json").write_text(text)
    with pytest.raises(OptionsError, match=said) as caught:
        find_access(None, None, None, context)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("key", ["url", "user", "password", "token", "creds", "nkey", "ca", "cert", "key"])
def test_a_context_key_that_is_not_a_string_is_refused(clean: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    """Ignored, a url would mean another server, and a user without its password would be a
    token."""
    write_context(tmp_path, "odd", **{"url": "nats://far:1", key: 12345})
    with pytest.raises(OptionsError, match=rf"context='odd': {key} in .*odd\.json is not a string") as caught:
        find_access(None, None, None, "odd")
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("auth", "hidden"),
        ("auth", {"token": "hidden"}),
        ("tls", True),
        ("tls", "hidden"),
        ("url", b"hidden"),
        ("url", 5),
        ("url", [None]),
    ],
)
def test_an_option_of_another_type_is_refused_by_name_and_not_shown(clean: pytest.MonkeyPatch, option: str, value: Any) -> None:
    """Otherwise it would be noticed when the bus connects, or be mistaken for another option."""
    options: dict[str, Any] = {"url": "nats://far:1", option: value}
    with pytest.raises(OptionsError, match=f"^{option}: ") as caught:
        AsyncSmithBus(**options)
    assert "hidden" not in str(caught.value)


def test_two_ways_to_sign_in_in_the_environment_are_refused(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("NATS_TOKEN", "hidden")
    clean.setenv("NATS_CREDS", "/x")
    with pytest.raises(OptionsError, match=r"NATS_TOKEN.*give one way to sign in") as caught:
        find_access(None, None, None, None)
    assert "hidden" not in str(caught.value)


def test_files_for_tls_are_refused_by_name(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("not a certificate")
    with pytest.raises(OptionsError, match="go together"):
        TLSFiles(cert="x")
    for files in ({"ca": "no.pem"}, {"ca": "absent.pem"}, {"cert": "no.pem", "key": "no.pem"}):
        with pytest.raises(OptionsError, match=r"TLSFiles: .*(no|absent)\.pem"):
            TLSFiles(**{name: tmp_path / file for name, file in files.items()}).context()
    clean.setenv("NATS_CA", str(tmp_path / "absent.pem"))
    with pytest.raises(OptionsError, match=r"absent\.pem"):
        find_access(None, None, None, None)
    clean.setenv("NATS_CERT", "x")
    with pytest.raises(OptionsError, match=r"NATS_CA, NATS_CERT, NATS_KEY: .*go together"):
        find_access(None, None, None, None)


@pytest.mark.parametrize(
    ("url", "user", "password", "shown"),
    [
        ("nats://host", None, None, "nats://host:4222"),
        ("nats://to%2Fken@host:1", "to/ken", None, "nats://host:1"),
        ("tls://mine:w%40%25rd@[::1]", "mine", "w@%rd", "tls://[::1]:4222"),
        ("mine:w/o#r?d@x@host:4222/path?query", "mine", "w/o#r?d@x", "nats://host:4222"),
        ("nats://mine:@host", "mine", "", "nats://host:4222"),
    ],
)
def test_a_server_is_read(url: str, user: str | None, password: str | None, shown: str) -> None:
    server = parse_server(url)
    assert (server.user, server.password, server.url) == (user, password, shown)
    for secret in (user, password):
        assert not secret or secret not in repr(server)


@pytest.mark.parametrize(
    "url",
    [
        "nats://user:hidden",
        "nats://me:hidden@",
        "nats://me:hidden@host:port",
        "nats://me:hidden@host:0",
        "nats://me:hidden@host:65536",
        "nats://me:hidden@::1",
        "nats://me:hidden@[::1]4222",
        "nats://me:hidden@ho st",
        "ws://me:hidden@host:port/path",
        "http://me:hidden@host",
    ],
)
def test_an_invalid_server_is_refused_and_not_shown(clean: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(OptionsError, match="nats://host:port") as caught:
        find_access(url, None, None, None)
    assert "hidden" not in str(caught.value)


def test_servers_take_turns_after_the_one_in_doubt() -> None:
    one, two, three = (parse_server(f"nats://me:word@{name}:1") for name in ("one", "two", "three"))
    pool = ServerPool([one, two])
    assert pool.round() == [one, two]
    pool.connected_to(one, ["three:1", "two:1", "no address"])
    found = pool.round()
    assert [server.url for server in found] == [two.url, three.url, one.url]
    # what one server accepts, its cluster accepts
    assert (found[1].user, found[1].tls_name) == ("me", "one")
    assert pool.others(two) == [found[1], one]
    pool.connected_to(two, [])
    assert pool.round() == [one, two]


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
