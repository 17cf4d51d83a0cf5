"""Webhooks to a real HTTP server: signed, in order, sent again, and nothing secret anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from receiver import Receiver, raw, status
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff
from smith_sdk._core.monitoring.http_post import target
from smith_sdk._core.monitoring.webhook import SIGNATURE, signature
from smith_sdk.aio.alert_notifiers import Notifier
from smith_sdk.aio.alert_outlet import Outlet
from smith_sdk.alerts import Alert, to_webhook, verify_webhook
from smith_sdk.errors import OptionsError, SignatureError

SECRET: Final = "a secret of twenty-four b"
QUICK: Final = Backoff(initial=0.01, max=0.02, jitter=0)


def alert(rule: str = "many", **fields: Any) -> Alert:
    facts = {"severity": "critical", "state": "raised", "reason": "é", "remedy": "r", "since": datetime(2026, 1, 2, tzinfo=UTC)}
    return Alert(**{"rule": rule, **facts, **fields})


@contextlib.asynccontextmanager
async def outlet(notifier: Notifier, *, most: int = 1000, finish: float = 10) -> AsyncIterator[Outlet]:
    made = Outlet(notifier._sender(AsyncSmithBus("nats://127.0.0.1:1"), blocking=False), most=most)
    made.start()
    try:
        yield made
    finally:
        await made.finish(finish)


def hook(receiver: Receiver, **options: Any) -> Notifier:
    return to_webhook(receiver.url, **{"secret": SECRET, "retry": QUICK, **options})


def rules_of(receiver: Receiver) -> list[str]:
    return [one.verified(SECRET).rule for one in receiver.requests]


def assert_no_secret(text: str) -> None:
    for secret in ("path-secret", "query-secret", SECRET, "planted"):
        assert secret not in text


# ---- delivering


async def test_an_alert_is_posted_as_json_and_verified() -> None:
    given = alert()
    with Receiver(status(204)) as receiver:
        async with outlet(hook(receiver)) as made:
            made.put(given)
    (request,) = receiver.requests
    assert request.path == "/hook/path-secret?token=query-secret"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["User-Agent"] == "smith-sdk"
    assert request.verified(SECRET) == given
    assert {**made.describe(), "to": ""} == {"to": "", "waiting": 0, "delivered": 1, "failed": 0, "dropped": 0, "problem": ""}


async def test_alerts_stay_in_order_while_the_receiver_fails(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status(500, 503, 404, 200)) as receiver:
        async with outlet(hook(receiver)) as made:
            for number in range(5):
                made.put(alert(f"r{number}"))
    assert rules_of(receiver) == ["r0"] * 4 + ["r1", "r2", "r3", "r4"]
    told = [one.getMessage() for one in caplog.records if one.name == "smith_sdk.alerts"]
    origin = f"webhook http://127.0.0.1:{receiver.port}"
    assert told == [
        f"an alert does not reach the {origin}, and is sent again: r0: it answers 500",
        f"alerts reach the {origin} again",
    ]
    assert_no_secret(caplog.text)


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (raw(b""), "no answer: it closed the connection"),
        (raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"), "its answer is not HTTP"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 9), "its answer is not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000), "the head of its answer is too long"),
    ],
    ids=["closed", "other", "interim", "long"],
)
async def test_an_answer_that_is_none_is_a_failure(respond: Any, why: str) -> None:
    with Receiver(respond) as receiver:
        async with outlet(hook(receiver)) as made:
            made.put(alert())
            await eventually_async(lambda: len(receiver.requests) >= 2 and made.describe()["problem"] == why)
            receiver.respond = raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")


async def test_a_redirect_is_not_followed() -> None:
    with Receiver(status(200)) as other, Receiver(status(307, Location=other.url)) as receiver:
        async with outlet(hook(receiver)) as made:
            made.put(alert())
            await eventually_async(lambda: "it answers 307, a redirect, which is not followed" in str(made.describe()["problem"]))
            assert other.requests == []
            receiver.respond = status(200)
    assert other.requests == []


async def test_a_receiver_that_hangs_holds_up_no_other() -> None:
    with Receiver(status(200)) as slow, Receiver(status(200)) as quick:
        slow.respond = slow.hang
        async with outlet(hook(slow, timeout=0.2), finish=0.1) as hanging, outlet(hook(quick)) as made:
            for one in (hanging, made):
                one.put(alert("r0"))
                one.put(alert("r1"))
            await eventually_async(lambda: rules_of(quick) == ["r0", "r1"])
            await eventually_async(lambda: len(slow.requests) >= 2 and set(rules_of(slow)) == {"r0"})
            assert hanging.describe()["problem"] == "no end within 0.2 s"


async def test_a_receiver_that_is_away_gets_it_later() -> None:
    receiver = Receiver(status(200))
    async with outlet(hook(receiver, timeout=0.5)) as made:  # its port takes connections, and nobody accepts them
        made.put(alert())
        await eventually_async(lambda: made.describe()["problem"] != "")
        with receiver:
            await eventually_async(lambda: made.describe()["delivered"] == 1)


@pytest.mark.parametrize("code", [400, 410, 413, 422])
async def test_what_the_receiver_refuses_for_good_is_given_up(code: int, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status(code, 200)) as receiver:
        async with outlet(hook(receiver)) as made:
            made.put(alert("r0"))
            made.put(alert("r1"))
    assert rules_of(receiver) == ["r0", "r1"]
    assert made.describe()["failed"] == 1
    assert (
        f"an alert is not delivered to the webhook http://127.0.0.1:{receiver.port}: r0 raised: it answers {code}" in caplog.text
    )


async def test_what_is_too_old_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status(500)) as receiver:
        async with outlet(hook(receiver, keep=0.1), finish=0) as made:
            made.put(alert("r0"))
            await eventually_async(lambda: made.describe()["failed"] == 1)
    assert "r0 raised: it answers 500" in caplog.text


async def test_a_receiver_may_ask_for_a_longer_pause() -> None:
    with Receiver(status(503, Retry_After="3600")) as receiver:
        async with outlet(hook(receiver, keep=60), finish=0) as made:
            made.put(alert())
            await eventually_async(lambda: made.describe()["failed"] == 1)  # the pause is longer than it is kept
    assert len(receiver.requests) == 1


async def test_nothing_is_dropped_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with Receiver(status(500)) as receiver:
        async with outlet(hook(receiver), most=3, finish=0.05) as made:
            made.put(alert("first"))
            await eventually_async(lambda: len(receiver.requests) >= 1)
            for number in range(5):
                made.put(alert(f"r{number}"))
            assert made.describe()["waiting"] == 4  # and one of them is on its way
            receiver.respond = receiver.hang
    lost = [one.__dict__["rule"] for one in caplog.records if one.levelno == logging.ERROR]
    assert lost == ["r0", "r1", "first", "r2", "r3", "r4"]
    assert made.describe()["dropped"] == 6


async def test_what_waits_at_the_end_is_delivered_first() -> None:
    with Receiver(status(500, 500, 200)) as receiver:
        async with outlet(hook(receiver)) as made:
            made.put(alert("r0"))
            made.put(alert("r1"))
        assert rules_of(receiver) == ["r0", "r0", "r0", "r1"]


# ---- what is secret


def test_nothing_shows_what_is_secret() -> None:
    made = to_webhook("https://user:planted@ops.example.com/path-secret?x=query-secret", secret=SECRET)
    sender = made._sender(AsyncSmithBus("nats://127.0.0.1:1"), blocking=False)
    shown = [repr(made), repr(sender), sender.name, repr(made.hook), repr(made.hook.target), str(made.hook.target)]  # type: ignore[attr-defined]
    assert_no_secret(" ".join(shown))
    assert sender.name == "webhook https://ops.example.com"


async def test_an_error_has_nothing_of_the_url(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    for url in (
        "http://user:planted@127.0.0.1:1/path-secret?token=query-secret",
        "https://user:planted@a..b/path-secret?token=query-secret",  # a name that is none
    ):
        async with outlet(to_webhook(url, secret_file=file, retry=QUICK), finish=0) as made:
            made.put(alert())
            await eventually_async(lambda: made.describe()["problem"] != "")
            assert "cannot connect" in str(made.describe()["problem"])
            assert_no_secret(str(made.describe()))
    assert_no_secret(caplog.text)


async def test_a_certificate_that_is_not_trusted_is_refused() -> None:
    with Receiver(status(200)) as receiver:
        url = receiver.url.replace("http:", "https:")  # which answers no handshake
        async with outlet(to_webhook(url, retry=QUICK, tls=ssl.create_default_context(), timeout=1), finish=0) as made:
            made.put(alert())
            await eventually_async(lambda: made.describe()["problem"] != "")
        assert receiver.requests == []


async def test_a_user_in_the_url_signs_in() -> None:
    with Receiver(status(200)) as receiver:
        async with outlet(to_webhook(receiver.url.replace("//", "//smith:p%40ss@"))) as made:
            made.put(alert())
    (request,) = receiver.requests
    assert request.headers["Authorization"] == "Basic c21pdGg6cEBzcw=="
    assert SIGNATURE not in request.headers


async def test_a_secret_in_a_file_may_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    with Receiver(status(200)) as receiver:
        async with outlet(to_webhook(receiver.url, secret_file=file, retry=QUICK)) as made:
            made.put(alert("r0"))
            await eventually_async(lambda: len(receiver.requests) == 1)
            file.unlink()
            made.put(alert("r1"))
            await eventually_async(lambda: "cannot be read" in str(made.describe()["problem"]))
            file.write_text("another secret, as long")
    assert receiver.requests[0].verified(SECRET).rule == "r0"
    assert receiver.requests[1].verified("another secret, as long").rule == "r1"


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: to_webhook("ftp://user:planted@host/path-secret"), "must be https:// or http://"),
        (lambda: to_webhook("https:///path-secret"), "must have a host"),
        (lambda: to_webhook("https://host/path-secret#x"), "no fragment"),
        (lambda: to_webhook("https://host:99999/path-secret"), "is not a valid URL"),
        (lambda: to_webhook("https://host/path-secret\r\nX: y"), "must be a URL in ASCII"),
        (lambda: to_webhook("https://hôst/path-secret"), "must be a URL in ASCII"),
        (lambda: to_webhook(7), "must be a URL"),  # type: ignore[arg-type]
        (lambda: to_webhook("https://host", secret="planted"), r"to_webhook\(secret\): .*16 bytes or more"),
        (lambda: to_webhook("https://host", secret=SECRET, secret_env="X"), "give one of secret and secret_env"),
        (lambda: to_webhook("https://host", secret_env="NO_SUCH_VARIABLE"), "the environment variable NO_SUCH_VARIABLE: must be"),
        (lambda: to_webhook("https://host", secret_file="/no/such/file"), "secret_file='/no/such/file' cannot be read"),
        (lambda: to_webhook("https://host", timeout=0), r"to_webhook\(timeout\)=0"),
        (lambda: to_webhook("https://host", keep=-1), r"to_webhook\(keep\)=-1"),
        (lambda: to_webhook("https://host", retry=1), r"to_webhook\(retry\)=1"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_meant_is_refused(make: Callable[[], object], names: str) -> None:
    with pytest.raises(OptionsError, match=names) as caught:
        make()
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize(
    ("url", "origin", "host", "path"),
    [
        ("https://a.example", "https://a.example", "a.example", "/"),
        ("https://a.example:443/x", "https://a.example", "a.example", "/x"),
        ("http://a.example:8080?x=1", "http://a.example:8080", "a.example:8080", "/?x=1"),
        ("http://[::1]:80/", "http://[::1]", "[::1]", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: str, host: str, path: str) -> None:
    found = target("url", url)
    assert (found.origin, found.headers["Host"], found.path) == (origin, host, path)


# ---- the check of a receiver


BODY: Final = (
    b'{"rule":"many","severity":"warning","state":"raised","reason":"","remedy":"","since":"2026-01-02T00:00:00Z","new":1}'
)
AT: Final = 1_800_000_000


def signed(body: bytes = BODY, at: int = AT, secret: str = SECRET) -> dict[str, str]:
    return {"smith-signature": signature(secret.encode(), body, at)}


def verified(headers: dict[str, str], body: bytes = BODY, secret: Any = SECRET, passed: float = 0) -> Alert:
    return verify_webhook(body, headers, secret, clock=lambda: AT + passed)


def test_a_signed_request_is_an_alert() -> None:
    assert verified(signed()).rule == "many"
    assert verified(signed(), passed=299).rule == verified(signed(), passed=-299).rule == "many"
    assert verified(signed(), secret=["another secret, as long", SECRET.encode()]).rule == "many"


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("unsigned", {"headers": {"Content-Type": "application/json"}}),
        ("malformed", {"headers": {SIGNATURE: ""}}),
        ("malformed", {"headers": {SIGNATURE: "t=1"}}),
        ("malformed", {"headers": {SIGNATURE: f"t=-1,v1={'0' * 64}"}}),
        ("malformed", {"headers": {SIGNATURE: f"t=²,v1={'0' * 64}"}}),
        ("malformed", {"headers": {SIGNATURE: f"t=1,v1={'é' * 64}"}}),
        ("malformed", {"headers": {SIGNATURE: f"{signed()['smith-signature']},v1={'0' * 64}"}}),
        ("malformed", {"headers": signed(b"[]"), "body": b"[]"}),
        ("wrong", {"headers": {SIGNATURE: f"t={AT},v1={'0' * 64}"}}),
        ("wrong", {"headers": signed(secret="another secret, as long")}),
        ("wrong", {"headers": signed(), "body": BODY.replace(b"many", b"more")}),
        ("wrong", {"headers": {SIGNATURE: signed()["smith-signature"].replace(f"t={AT}", f"t={AT + 1}")}}),
        ("wrong", {"headers": signed(), "secret": []}),
        ("expired", {"headers": signed(), "passed": 301}),
        ("expired", {"headers": signed(), "passed": -301}),
    ],
)
def test_what_is_not_signed_is_refused(reason: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(SignatureError) as caught:
        verified(**arguments)
    assert caught.value.reason == reason
    assert_no_secret(str(caught.value))


@pytest.mark.parametrize("secret", ["", None, [None]])
def test_a_secret_that_is_too_short_or_missing_verifies_nothing(secret: Any) -> None:
    with pytest.raises(OptionsError, match="secret: must be a str or bytes, 16 bytes or more"):
        verified(signed(), secret=secret)


def test_a_body_that_was_decoded_is_an_error_that_says_so() -> None:
    text: Any = BODY.decode()
    with pytest.raises(OptionsError, match=r"verify_webhook\(body\): must be bytes, as received, not str"):
        verified(signed(), body=text)


async def test_a_delivery_that_is_cut_off_leaves_nothing_behind() -> None:
    with Receiver(status(200)) as receiver:
        receiver.respond = receiver.hang
        async with outlet(hook(receiver, timeout=30), finish=0):
            pass
        assert len(asyncio.all_tasks()) == 1
