"""The protocol parser: operations whole, in pieces, and with any bytes that a publisher can put
into a subject."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection import parser
from smith_sdk._core.connection.parser import Parser, RawMessage

Call = tuple[Any, ...]


class Recorder:
    """A receiver that records its calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def on_message(self, sid: int, message: RawMessage) -> None:
        self.calls.append(("msg", sid, message.subject, message.reply, message.data, message._block))

    def on_error(self, text: str) -> None:
        self.calls.append(("err", text))

    def on_info(self, info: dict[str, Any]) -> None:
        self.calls.append(("info", info))

    def on_ping(self) -> None:
        self.calls.append(("ping",))

    def on_pong(self) -> None:
        self.calls.append(("pong",))


def parsed(*pieces: bytes) -> list[Call]:
    receiver = Recorder()
    parser = Parser(receiver)
    for piece in pieces:
        parser.parse(piece)
    return receiver.calls


HEADERS = b"NATS/1.0\r\nA: b\r\n\r\n"
OPERATIONS: list[tuple[bytes, list[Call]]] = [
    (b"PING\r\n", [("ping",)]),
    (b"PONG \r\n", [("pong",)]),
    (b"+OK\r\n", []),
    (b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n", [("err", "'Permissions Violation for Publish to \"a\"'")]),
    (b"-ERR\r\n", [("err", "")]),
    (b'INFO {"server_id": "a b", "port": 1}\r\n', [("info", {"server_id": "a b", "port": 1})]),
    (b"MSG a.b 7 0\r\n\r\n", [("msg", 7, "a.b", "", b"", None)]),
    (b"MSG a.b 7 _INBOX.x 4\r\n\r\n\r\n\r\n", [("msg", 7, "a.b", "_INBOX.x", b"\r\n\r\n", None)]),
    (b"HMSG a.b 7 18 18\r\n" + HEADERS + b"\r\n", [("msg", 7, "a.b", "", b"", HEADERS)]),
    (b"HMSG a.b 7 r 18 21\r\n" + HEADERS + b"abc\r\n", [("msg", 7, "a.b", "r", b"abc", HEADERS)]),
    (b"MSG a\x0b2 7 1\r\nx\r\n", [("msg", 7, "a\x0b2", "", b"x", None)]),
    (b"MSG \x0c\x1c\x85\xa0\xff 7 r\x0b 1\r\nx\r\n", [("msg", 7, "\x0c\x1c\\x85\\xa0\\xff", "r\x0b", b"x", None)]),
]


@pytest.mark.parametrize(("sent", "calls"), OPERATIONS)
def test_every_operation_whole_and_byte_by_byte(sent: bytes, calls: list[Call]) -> None:
    assert parsed(sent) == calls
    assert parsed(*(sent[at : at + 1] for at in range(len(sent)))) == calls
    assert parsed(sent[:3], sent[3:] + b"PING\r\n" + sent) == [*calls, ("ping",), *calls]


@given(
    picks=st.lists(st.sampled_from(OPERATIONS), max_size=8),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=40),
)
def test_the_size_of_the_pieces_makes_no_difference(picks: list[tuple[bytes, list[Call]]], sizes: list[int]) -> None:
    sent = b"".join(one for one, _ in picks)
    pieces: list[bytes] = []
    at = 0
    while at < len(sent):
        pieces.append(sent[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    assert parsed(*pieces) == [one for _, calls in picks for one in calls]


def test_a_large_message_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(5_000_000)
    sent = b"MSG a 1 5000000\r\n" + data + b"\r\nPING\r\n"
    receiver = Recorder()
    parser = Parser(receiver)
    for at in range(0, len(sent), 1000):
        parser.parse(sent[at : at + 1000])
        assert at + 1000 >= len(sent) or len(parser._pieces) == at // 1000 + 1
    assert receiver.calls == [("msg", 1, "a", "", data, None), ("ping",)]


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"MSG a 1\r\n", "message line of 3 words"),
        (b"MSG a 1 r x 1\r\n", "line of 6 words"),
        (b"HMSG a 1 2\r\n", "line of 4 words"),
        (b"MSG a b 1\r\nx\r\n", "invalid literal for int"),
        (b"MSG a 1 x\r\n", "invalid literal for int"),
        (b"MSG a 1 -1\r\n", "negative size"),
        (b"HMSG a 1 3 2\r\nabc\r\n", "negative size"),
        (b"HMSG a 1 -3 2\r\nabc\r\n", "negative size"),
        (b"MSG a 1 1\r\nxyz\r\n", "does not end at its stated size"),
        (b"MSG\ta\t1\t0\r\n\r\n", "not an operation of the protocol"),
        (b"PUB a 0\r\n\r\n", "not an operation of the protocol"),
        (b"\r\n", "not an operation of the protocol"),
        (b"INFO {nonsense}\r\n", "Expecting property name"),
    ],
)
def test_bytes_that_are_not_the_protocol_raise(sent: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parsed(sent)


def test_a_line_that_never_ends_raises() -> None:
    with pytest.raises(ValueError, match="line of more than"):
        parsed(*(b"x" * 10_000 for _ in range(parser._MAX_LINE // 10_000 + 2)))
