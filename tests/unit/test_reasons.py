"""What a server says when it ends a connection."""

from __future__ import annotations

import pytest

from smith_sdk._core.connection.reasons import explained, said_by, said_in


@pytest.mark.parametrize(
    ("received", "said"),
    [
        (b"", ""),
        (b'INFO {"a":"-ERR no"} \r\nPING\r\n', ""),
        (b"INFO {} \r\n-ERR 'maximum connections exceeded'\r\n", "maximum connections exceeded"),
        (b"-ERR 'Stale Connection'\r\n", "stale connection"),
        (b"-ERR Slow Consumer\r\n", "slow consumer"),
        (b"-ERR 'cut off", ""),
        (b"-ERR 'in a payload'\r\nPING\r\n", ""),
        (b"\xff\xfe\n-ERR 'odd'\r\n", "odd"),
    ],
)
def test_the_reason_is_found_among_bytes(received: bytes, said: str) -> None:
    assert said_in(received) == said


def test_the_reason_is_found_in_an_error_of_nats_py() -> None:
    assert said_by(Exception("nats: 'Maximum Connections Exceeded'")) == "maximum connections exceeded"
    assert said_by(Exception("nats: empty response")) == ""


def test_a_reason_is_given_with_what_helps() -> None:
    assert explained("maximum account active connections exceeded") == (
        "maximum account active connections exceeded: close other connections of this account, or raise its limit"
    )
    assert explained("slow consumer").endswith("does it block its event loop?")
    assert explained("of another server") == "of another server"
