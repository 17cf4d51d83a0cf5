"""A server that sends anything: the link ends with a reason, and another is made. Nothing else is
raised, logged as an error of ours, or waited for without end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import pytest
from buses import Face, state
from support import eventually_async

from smith_sdk import AsyncSmithBus, Backoff
from smith_sdk._core.connection import parser
from smith_sdk._core.connection.greeting import checked_info
from smith_sdk._core.connection.parser import Parser
from smith_sdk.errors import ConnectError

pytestmark = pytest.mark.usefixtures("quick_garbage_collections")

HOST: Final = "127.0.0.1"
GOOD: Final = b'{"server_id":"x","version":"2.15.0","max_payload":1000,"headers":true}'
SEED: Final = 20261129


class Peer:
    """Greets with `greeting`, and then sends what a test writes to its last link."""

    def __init__(self, greeting: bytes = GOOD) -> None:
        self._greeting = greeting
        self.links = self.open = 0
        self.url = ""
        self.writer: asyncio.StreamWriter | None = None
        """Of the last link that has come past the handshake."""

    def send(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        self.open += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(b"INFO " + self._greeting + b"\r\n")
            await reader.readuntil(b"PING\r\n")
            writer.write(b"PONG\r\n")
            self.writer = writer
            while await reader.readuntil(b"PING\r\n"):
                writer.write(b"PONG\r\n")
        writer.close()
        self.open -= 1

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Peer]:
        async with await asyncio.start_server(self._serve, HOST, 0) as server:
            self.url = f"nats://{HOST}:{server.sockets[0].getsockname()[1]}"
            yield self
            await eventually_async(lambda: not self.open)


@pytest.fixture(autouse=True)
def nothing_unexpected(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing but warnings of ours about the link is logged, and no task ends with an error."""
    yield
    gc.collect()
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []
    assert [one.getMessage() for one in caplog.records if one.exc_info] == []


BAD_INFO: Final = [
    *(b"[]", b"null", b"7", b'"text"', b"true", b"", b"{", b"\xff\xfe", b"[" * 5000, b"{" * 30_000, b"x" * 40_000),
    b'{"max_payload": "x"}',
    b'{"max_payload": 0}',
    b'{"max_payload": -1}',
    b'{"max_payload": true}',
    b'{"max_payload": 1e3}',
    b'{"max_payload": 1' + b"0" * 40 + b"}",
    b'{"connect_urls": 5}',
    b'{"connect_urls": {"a": 1}}',
    b'{"connect_urls": [5]}',
    b'{"headers": "yes"}',
    b'{"auth_required": 1}',
    b'{"tls_required": []}',
    b'{"nonce": 5}',
    b'{"server_name": {}}',
    b'{"cluster": []}',
    b'{"remote_account": 1}',
    b'{"version": 2}',
    b'{"ldm": "x"}',
]


@pytest.mark.parametrize("info", BAD_INFO, ids=lambda info: info[:30].decode("latin-1"))
async def test_a_greeting_that_is_not_valid_is_a_connect_error(info: bytes) -> None:
    async with Peer(info).listening() as peer:
        bus = AsyncSmithBus(peer.url, connect_timeout=5)
        with pytest.raises(ConnectError, match=f"no NATS server at {peer.url}"):
            await bus.connect()
        assert bus.state == "closed"


async def test_the_reason_names_the_field(face: Face) -> None:
    async with Peer(b'{"max_payload": "x"}').listening() as peer:
        with pytest.raises(
            ConnectError, match="its greeting is not valid: max_payload in the INFO of the server is not a number"
        ):
            await face.bus(peer.url).connect()


def test_null_and_unknown_fields_of_a_greeting_are_ignored() -> None:
    assert checked_info({"nonce": None, "later": [1], "max_payload": 5}) == {"later": [1], "max_payload": 5}


async def test_null_in_a_greeting_is_no_value() -> None:
    fields = ("connect_urls", "nonce", "ldm", "version", "tls_required", "auth_required", "max_payload", "cluster", "headers")
    async with Peer(json.dumps(dict.fromkeys(fields)).encode()).listening() as peer, AsyncSmithBus(peer.url) as bus:
        await bus.flush()


HOSTILE: Final = [
    *(b"INFO " + info + b"\r\n" for info in BAD_INFO if b"\r" not in info),
    b"INFO\r\n",
    b"-ERR\r\n",
    b"-ERR '\x1b[31m\xff\xfe\r\n",
    b"-ERR " + b"x" * 100_000 + b"\r\n",
    b"-ERR 'Permissions Violation\r\nnonsense\r\n",
    b"x" * (parser._MAX_LINE + 100_000),
    b"MSG\r\n",
    b"MSG a 1\r\n",
    b"MSG a 1 -5\r\n\r\n",
    b"MSG a x 1\r\nx\r\n",
    b"MSG a 1 " + b"9" * 30 + b"\r\n",
    b"MSG a 1 " + b"9" * 5000 + b"\r\n",
    b"MSG a 1 99999999\r\n",
    b"MSG a 1 1\r\nxyz\r\n",
    b"HMSG a 1 9 5\r\nxxxxx\r\n",
    b"HMSG a 1 -1 5\r\nxxxxx\r\n",
    b"\r\n",
    b"PING PONG\x00\r\n\r\n",
    b"\x16\x03\x01" + b"\xff" * 600 + b"\r\n",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda data: data[:30].decode("latin-1"))
async def test_a_link_on_which_anything_comes_is_replaced(hostile: bytes) -> None:
    async with Peer().listening() as peer, AsyncSmithBus(peer.url, ping_interval=5) as bus:
        soon(bus)
        peer.send(hostile)
        await eventually_async(lambda: peer.links == 2 and bus.state == "connected", 8)
        await bus.flush()


@pytest.mark.parametrize("hostile", [b"INFO []\r\n", b'INFO {"connect_urls": 5}\r\n'])
async def test_both_faces_go_on(face: Face, hostile: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with Peer().listening() as peer, face.bus(peer.url) as bus:
        peer.send(hostile)
        await eventually_async(lambda: "that cannot be parsed" in caplog.text, 8)
        assert "in the INFO of the server" in caplog.text or "the INFO of the server is not" in caplog.text
        await eventually_async(lambda: peer.links == 2 and state(bus) == "connected", 8)
        await bus.flush()


def soon(bus: AsyncSmithBus) -> None:
    """Have the next links be made without a pause."""
    bus._connection._reconnector._backoff = Backoff(initial=0.001, max=0.001)


async def test_refusals_that_nothing_has_caused_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    text = b"".join(
        b"-ERR 'Permissions Violation for %s to \"%s\"'\r\n" % (kind, subject)
        for kind in (b"Publish", b"Subscription")
        for subject in (b"", b"a", b"\\", b"\\\\", b"\\x", b"\\uD800", b"\\UFFFFFFFF", b"\xff\xfe", b'\\"' * 1000)
    )
    async with Peer().listening() as peer, AsyncSmithBus(peer.url) as bus:
        link = bus._connection.link
        peer.send(text)
        await bus.flush()
        assert bus._connection.link is link
    for one in list(caplog.records):  # they are logged, since a server has sent them
        if "permissions" in one.getMessage().lower():
            caplog.records.remove(one)


def is_replaced(peer: Peer, bus: AsyncSmithBus, links: int) -> bool:
    return peer.links >= links and bus.state == "connected"


def mutated(chance: random.Random) -> bytes:
    """Some operations of the protocol, with bytes changed, doubled, cut and swapped."""
    lines = [
        b"MSG smith.events.x 1 5\r\nhello\r\n",
        b"HMSG smith.events.x 2 reply 14 16\r\nNATS/1.0\r\n\r\n\r\nxx\r\n",
        b"PING\r\n",
        b"+OK\r\n",
        b"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n",
        b"INFO "
        + json.dumps({"max_payload": chance.choice([1, 2**40, "x"]), "connect_urls": ["a:1", "[::1", 5]}).encode()
        + b"\r\n",
    ]
    data = bytearray(b"".join(chance.choice(lines) for _ in range(chance.randint(1, 12))))
    for _ in range(chance.randint(0, 12)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 5)]
            case 2:
                data[at:at] = bytes(chance.choices(range(256), k=chance.randint(1, 9)))
            case _:
                data[at:at] = data[: chance.randint(1, 40)]
        data = data or bytearray(b"x")
    return bytes(data)


class Receiver:
    """Takes what a parser reads, as a link does."""

    def on_message(self, sid: int, message: parser.RawMessage) -> None:
        assert message.headers is None or all(isinstance(one, str) for one in message.headers.values())

    def on_error(self, text: str) -> None:
        assert isinstance(text, str)

    def on_info(self, info: dict[str, Any]) -> None:
        assert info.get("max_payload", 1) > 0

    def on_ping(self) -> None: ...

    def on_pong(self) -> None: ...


def test_the_parser_raises_nothing_but_value_errors() -> None:
    """20,000 pieces of mutated protocol, each cut anywhere."""
    chance = random.Random(SEED)
    refused = 0
    for _ in range(20_000):
        data = mutated(chance)
        one = Parser(Receiver())
        cut = chance.randrange(len(data) + 1)
        try:
            one.parse(data[:cut])
            one.parse(data[cut:])
        except (ValueError, RecursionError):  # both end the link
            refused += 1
        assert sum(map(len, one._pieces)) <= len(data)
    assert 5_000 < refused < 20_000


async def test_a_bus_outlives_100_hostile_links() -> None:
    chance = random.Random(SEED)
    async with Peer().listening() as peer, AsyncSmithBus(peer.url) as bus:
        soon(bus)
        for number in range(100):
            peer.send(mutated(chance) + b"\r\nnonsense\r\n")
            await eventually_async(partial(is_replaced, peer, bus, number + 2), 5)
        await bus.flush()
