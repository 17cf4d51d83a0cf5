"""What each status of the server means for a pull.

The header blocks are the server's own (nats-server 2.15).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection import headers
from smith_sdk._core.jetstream.pull_status import PullStatus, StatusKind, classify


@pytest.mark.parametrize(
    ("first_line", "kind"),
    [
        ("100 Idle Heartbeat", StatusKind.HEARTBEAT),
        ("404 No Messages", StatusKind.ENDED),
        ("408 Request Timeout", StatusKind.ENDED),
        ("409 Batch Completed", StatusKind.COMPLETED),
        ("409 Message Size Exceeds MaxBytes", StatusKind.BYTES_FULL),
        ("409 Consumer Deleted", StatusKind.CONSUMER_DELETED),
        ("409 Consumer is push based", StatusKind.PUSH_BASED),
        ("409 Leadership Change", StatusKind.INTERRUPTED),
        ("409 Server Shutdown", StatusKind.INTERRUPTED),
        ("409 What a later server calls it", StatusKind.INTERRUPTED),
        ("409 Exceeded MaxWaiting", StatusKind.TOO_MANY_PULLS),
        ("409 Exceeded MaxRequestBatch of 10", StatusKind.REFUSED),
        ("409 Exceeded MaxRequestExpires of 1s", StatusKind.REFUSED),
        ("409 Exceeded MaxRequestMaxBytes of 10", StatusKind.REFUSED),
        ("423 Nats-Wrong-Pin-Id", StatusKind.WRONG_PIN),
        ("423 Nats-Pin-Id mismatch", StatusKind.WRONG_PIN),
        ("503", StatusKind.NO_RESPONDERS),
        ("400 Bad Request - heartbeat value too large", StatusKind.REFUSED),
        ("400 Bad Request - Priority Group missing", StatusKind.REFUSED),
    ],
)
def test_the_kind_of_a_status(first_line: str, kind: StatusKind) -> None:
    code, _, description = first_line.partition(" ")
    status = classify(headers.read(f"NATS/1.0 {first_line}\r\n\r\n".encode()))
    assert status == PullStatus(kind, int(code), description, 0)


def test_what_an_ended_pull_will_not_deliver() -> None:
    block = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 7\r\nNats-Pending-Bytes: 0\r\n\r\n"
    assert classify(headers.read(block)).unfilled == 7


@given(st.dictionaries(st.sampled_from(["Status", "Description", "Nats-Pending-Messages", "X"]), st.text(max_size=8)))
def test_other_headers_are_a_refusal_and_raise_nothing(fields: dict[str, str]) -> None:
    status = classify(fields)
    assert status.unfilled >= 0
    if fields.get("Status") not in ("100", "404", "408", "409", "423", "503"):
        assert status.kind is StatusKind.REFUSED
