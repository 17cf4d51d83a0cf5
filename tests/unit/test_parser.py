"""What a server sends, taken apart: whole, in pieces, and with all that a publisher can put into a subject."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smith_sdk._core.connection import parser
from smith_sdk._core.connection.parser import Parser

Told = tuple[Any, ...]


class Hears:
    """A client that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.told.append(("msg", sid, subject, reply, data, headers))

    async def _process_err(self, err_msg: str) -> None:
        self.told.append(("err", err_msg))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.told.append(("info", info))

    async def _process_ping(self) -> None:
        self.told.append(("ping",))

    async def _process_pong(self) -> None:
        self.told.append(("pong",))


async def told(*pieces: bytes) -> list[Told]:
    client = Hears()
    parser = Parser(client)
    for piece in pieces:
        await parser.parse(piece)
    return client.told


HEADERS = b"NATS/1.0\r\nA: b\r\n\r\n"
SAID: list[tuple[bytes, list[Told]]] = [
    (b"PING\r\n", [("ping",)]),
    (b"PONG \r\n", [("pong",)]),
    (b"+OK\r\n", []),
    (b"-ERR 'Permissions Violation for Publish to \"a\"'\r\n", [("err", "'permissions violation for publish to \"a\"'")]),
    (b"-ERR\r\n", [("err", "")]),
    (b'INFO {"server_id": "a b", "port": 1}\r\n', [("info", {"server_id": "a b", "port": 1})]),
    (b"MSG a.b 7 0\r\n\r\n", [("msg", 7, b"a.b", b"", b"", None)]),
    (b"MSG a.b 7 _INBOX.x 4\r\n\r\n\r\n\r\n", [("msg", 7, b"a.b", b"_INBOX.x", b"\r\n\r\n", None)]),
    (b"HMSG a.b 7 18 18\r\n" + HEADERS + b"\r\n", [("msg", 7, b"a.b", b"", b"", HEADERS)]),
    (b"HMSG a.b 7 r 18 21\r\n" + HEADERS + b"abc\r\n", [("msg", 7, b"a.b", b"r", b"abc", HEADERS)]),
    (b"MSG a\x0b2 7 1\r\nx\r\n", [("msg", 7, b"a\x0b2", b"", b"x", None)]),
    (b"MSG \x0c\x1c\x85\xa0\xff 7 r\x0b 1\r\nx\r\n", [("msg", 7, b"\x0c\x1c\x85\xa0\xff", b"r\x0b", b"x", None)]),
]


@pytest.mark.parametrize(("said", "heard"), SAID)
async def test_every_operation_whole_and_byte_by_byte(said: bytes, heard: list[Told]) -> None:
    assert await told(said) == heard
    assert await told(*(said[at : at + 1] for at in range(len(said)))) == heard
    assert await told(said[:3], said[3:] + b"PING\r\n" + said) == [*heard, ("ping",), *heard]


@given(
    picks=st.lists(st.sampled_from(SAID), max_size=8),
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=40),
)
def test_where_the_pieces_end_makes_no_difference(picks: list[tuple[bytes, list[Told]]], sizes: list[int]) -> None:
    said = b"".join(one for one, _ in picks)
    pieces: list[bytes] = []
    at = 0
    while at < len(said):
        pieces.append(said[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    assert asyncio.run(told(*pieces)) == [one for _, heard in picks for one in heard]


async def test_a_large_message_is_joined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(5_000_000)
    said = b"MSG a 1 5000000\r\n" + data + b"\r\nPING\r\n"
    client = Hears()
    parser = Parser(client)
    for at in range(0, len(said), 1000):
        await parser.parse(said[at : at + 1000])
        assert at + 1000 >= len(said) or len(parser._pieces) == at // 1000 + 1
    assert client.told == [("msg", 1, b"a", b"", data, None), ("ping",)]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (b"MSG a 1\r\n", "line of 3 words"),
        (b"MSG a 1 r x 1\r\n", "line of 6 words"),
        (b"HMSG a 1 2\r\n", "line of 4 words"),
        (b"MSG a b 1\r\nx\r\n", "invalid literal for int"),
        (b"MSG a 1 x\r\n", "invalid literal for int"),
        (b"MSG a 1 -1\r\n", "less than no bytes"),
        (b"HMSG a 1 3 2\r\nabc\r\n", "less than no bytes"),
        (b"HMSG a 1 -3 2\r\nabc\r\n", "less than no bytes"),
        (b"MSG a 1 1\r\nxyz\r\n", "does not end where it says"),
        (b"MSG\ta\t1\t0\r\n\r\n", "none of the protocol's operations"),
        (b"PUB a 0\r\n\r\n", "none of the protocol's operations"),
        (b"\r\n", "none of the protocol's operations"),
        (b"INFO {nonsense}\r\n", "Expecting property name"),
    ],
)
async def test_what_is_not_the_protocol_is_an_error(said: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        await told(said)


async def test_a_line_without_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="line of more than"):
        await told(*(b"x" * 10_000 for _ in range(parser._LONGEST // 10_000 + 2)))


async def test_another_link_begins_anew() -> None:
    client = Hears()
    parser = Parser(client)
    await parser.parse(b"MSG a 1 5\r\nab")
    parser.reset()
    await parser.parse(b"PING\r\n")
    assert client.told == [("ping",)]
