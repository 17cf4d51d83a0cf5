"""TLS before the greeting, and websockets with and without TLS, on servers configured for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from buses import Face, bus_with, health, read_intent, state
from identities import Authority
from plain_server import HOST, PlainServer, free_port
from support import eventually_async, halt
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from smith_sdk import Allow, AsyncSmithBus, Auth, TLSFiles, consumers, subjects
from smith_sdk._core.connection.link_failures import WebSocketError
from smith_sdk._core.connection.server_pool import parse_server
from smith_sdk._core.connection.websocket import WebSocketTransport
from smith_sdk.errors import AuthenticationError, ConnectError, OptionsError, PermissionDenied, WebSocketNotInstalled

USERS = """authorization { users: [ { user: me, password: hidden },
  { user: some, password: hidden, permissions: { publish: { deny: "smith.intents.raw.>" } } } ] }"""


class Server:
    """A server that is configured for one of the transports."""

    def __init__(self, directory: Path, transport: str) -> None:
        authority = Authority(directory, "ours")
        cert, key = authority.certificate("server")
        self.tls = TLSFiles(ca=authority.ca)
        port = free_port()
        self.port = port if transport == "tls_first" else free_port()
        files = f'cert_file: "{cert}", key_file: "{key}"'
        config = f'listen: "{HOST}:{port}"\nmax_payload: 8MB\njetstream {{ store_dir: "{directory}/js" }}\n{USERS}\n'
        self.options: dict[str, Any] = {}
        if transport == "tls_first":
            config += f"tls {{ {files}, handshake_first: true }}"
            self.url, self.options = f"nats://{HOST}:{port}", {"tls": self.tls, "tls_first": True}
        elif transport == "wss":
            config += f'websocket {{ listen: "{HOST}:{self.port}", tls {{ {files} }} }}'
            self.url, self.options = f"wss://{HOST}:{self.port}/any/path?hidden=1", {"tls": self.tls}
        else:
            config += f'websocket {{ listen: "{HOST}:{self.port}", no_tls: true }}'
            self.url = f"ws://{HOST}:{self.port}"
        self.process = PlainServer(directory, config, port, self.port)


@pytest.fixture(params=["tls_first", "ws", "wss"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    server = Server(tmp_path, request.param)
    with server.process:
        yield server


async def test_everything_works_over_it_and_after_a_reconnect(face: Face, served: Server) -> None:
    options: dict[str, Any] = {"auth": Auth(user="me", password="hidden"), **served.options}
    async with face.bus(served.url, manage="apply", profile="dev", **options) as bus:
        link = (bus if face.is_async else bus.inner._aio)._connection.link
        admission = face.admission(bus, policy=lambda intent: Allow(), executor_id="a")
        running = asyncio.ensure_future(admission.run())
        for _ in range(2):
            large = read_intent("/" + "x" * 1_000_000)
            await bus.publish(subjects.intents.raw.of(large), large)
            [message] = await bus.consumer(consumers.executor_fs_read).fetch(1, timeout=20)
            assert message.payload == large
            await message.ack_sync()
            async with bus.subscribe(subjects.events.health.filter()) as messages:
                events = [health(f"s{number}") for number in range(200)]
                await asyncio.gather(*(bus.publish(subjects.events.health.of(one), one) for one in events))
                assert {(await anext(messages)).payload.service for _ in events} == {one.service for one in events}
            await asyncio.to_thread(served.process.kill)
            await eventually_async(lambda: state(bus) == "reconnecting")
            await asyncio.to_thread(served.process.start)
            await eventually_async(lambda: state(bus) == "connected")
        now = (bus if face.is_async else bus.inner._aio)._connection.link
        assert now is not link
        await admission.stop()
        await running
        assert "hidden" not in repr(bus)


async def test_a_server_that_stops_reading_stalls_publishers_and_loses_nothing(served: Server) -> None:
    """What is unsent stays bounded; once the server reads again, all of it arrives, in order."""
    auth, data = Auth(user="me", password="hidden"), bytes(100_000)
    async with AsyncSmithBus(served.url, auth=auth, **served.options) as bus:
        connection = bus._session.connection
        link = connection.link
        assert link is not None
        seen: list[str] = []
        await connection.subscribe("big.*", lambda message: seen.append(message.subject))
        await connection.flush(timeout=20)
        halt(served.process.pid)
        try:
            sent = 0
            while connection.send_now(f"big.{sent}", data, "") and sent < 500:
                sent += 1
                await asyncio.sleep(0)
            assert link.is_full
            assert link.unsent < 4_000_000
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await connection.send(f"big.{sent}", data, "")
        finally:
            os.kill(served.process.pid, signal.SIGCONT)
        await connection.flush(timeout=20)
        assert seen == [f"big.{number}" for number in range(sent + 1)]
        assert connection.link is link
        assert not link.is_full


async def test_what_the_server_refuses_over_it(served: Server) -> None:
    with pytest.raises(AuthenticationError, match=f"{HOST}:{served.port}.* refused the credentials") as refused:
        await AsyncSmithBus(served.url, auth=Auth(user="me", password="wrong"), **served.options).connect()
    assert "hidden" not in str(refused.value)
    async with AsyncSmithBus(served.url, auth=Auth(user="some", password="hidden"), **served.options) as bus:
        intent = read_intent()
        with pytest.raises(PermissionDenied):
            await bus.publish(subjects.intents.raw.of(intent), intent)


async def test_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    for transport in ("tls_first", "wss"):
        server = Server(tmp_path, transport)
        with server.process, pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await AsyncSmithBus(server.url, tls_first=transport == "tls_first").connect()


async def test_a_silent_peer_is_noticed_over_a_websocket(tmp_path: Path) -> None:
    server = Server(tmp_path, "ws")
    with server.process:
        async with AsyncSmithBus(server.url, auth=Auth(user="me", password="hidden"), ping_interval=0.2) as bus:
            link = bus._connection.link
            assert link is not None
            assert isinstance(link._transport, WebSocketTransport)
            transport: Any = link._transport._io_writer.transport
            transport.pause_reading()
            await eventually_async(lambda: bus._connection.link not in (None, link))


# ---- what is wrong with the address


async def test_ports_of_another_kind_are_named(tmp_path: Path) -> None:
    port, websocket = free_port(), free_port()
    config = f'listen: "{HOST}:{port}"\nwebsocket {{ listen: "{HOST}:{websocket}", no_tls: true }}'
    with PlainServer(tmp_path, config, port, websocket):
        for url, options, said in (
            (f"ws://{HOST}:{port}", {}, "it is not a websocket port: use nats://"),
            (f"wss://{HOST}:{websocket}", {}, "does not begin with a TLS handshake: use ws://"),
            (f"nats://{HOST}:{port}", {"tls_first": True}, "does not begin with a TLS handshake: leave out tls_first"),
        ):
            with pytest.raises(ConnectError, match=said):
                await bus_with(url, connect_timeout=30, **options).connect()


async def test_a_server_that_wants_tls_first_is_named(tmp_path: Path) -> None:
    server = Server(tmp_path, "tls_first")
    with server.process, pytest.raises(ConnectError, match="handshake_first needs tls_first=True"):
        await AsyncSmithBus(server.url, tls=server.tls, connect_timeout=0.5).connect()


def test_a_websocket_without_tls_is_refused_with_tls() -> None:
    for options in ({"tls": ssl.create_default_context()}, {"tls_first": True}):
        with pytest.raises(OptionsError, match=r"url: ws://a:80/path is not encrypted, and TLS was requested: use wss://"):
            bus_with("ws://me:hidden@a/path?hidden=1", **options)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://a", "ws://a:80"),
        ("wss://a/b/c?d=hidden#e", "wss://a:443/b/c"),
        ("wss://me:hidden@[::1]:9", "wss://[::1]:9"),
        ("nats://a/b?c", "nats://a:4222"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, shown: str) -> None:
    server = parse_server(url)
    assert server.url == shown
    assert "hidden" not in repr(server)


# ---- from the environment and from contexts


def context(directory: Path, name: str, **settings: Any) -> None:
    file = directory / "nats" / "context" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


async def test_a_context_and_the_environment_have_these_options(
    face: Face, served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    tls_first = bool(served.options.get("tls_first"))
    both = {"url": served.url, "user": "me", "password": "hidden", "ca": served.tls.ca if served.options else ""}
    context(tmp_path, "here", **both, tls_first=tls_first)
    async with face.bus(context="here") as bus:
        assert state(bus) == "connected"
    if face.is_async:  # the command line uses the blocking face
        command = [sys.executable, "-m", "smith_sdk.cli", "streams", "ls", "--json", "--context", "here"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    context(tmp_path, "less", **both)
    monkeypatch.setenv("SMITH_TLS_FIRST", str(tls_first).lower())
    async with face.bus(context="less") as bus:
        assert state(bus) == "connected"


# ---- hostile websockets


@contextlib.asynccontextmanager
async def answering(*answers: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """A peer that answers each connection's request with one of `answers`, then listens."""
    left, open_ = list(answers), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_
        open_ += 1
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0)(request) if left else b"")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        open_ -= 1

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield f"ws://{HOST}:{server.sockets[0].getsockname()[1]}"
        await eventually_async(lambda: not open_)  # every link was cut


SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def accepted(request: bytes) -> bytes:
    [key] = [line.split()[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key:")]
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return SWITCHING + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda request: b"HTTP/1.1 404 Not\x1b[31m Found\r\n\r\n", r"it refuses a websocket: HTTP '404 Not\\x1b\[31m Found'"),
        (lambda request: b"HTTP/1.1 101 Ok\r\nSec-WebSocket-Accept: x\r\n\r\n", "not valid: .missing Connection header"),
        (lambda request: SWITCHING + b"Sec-WebSocket-Accept: \x9b\r\n\r\n", r"invalid Sec-WebSocket-Accept header: \\(x|udc)9b"),
        (lambda request: SWITCHING + b"no field\x1b\r\n\r\n", r"not valid: .invalid HTTP header line: no field\\x1b"),
        (lambda request: SWITCHING + b"a: b\r\n" * 1_000, "request for a websocket is not valid"),
        (lambda request: SWITCHING + b"a: " + b"b" * 100_000, "request for a websocket is not valid"),
        (lambda request: b"\xff" * 100_000, "does not answer an HTTP request"),
        (lambda request: b"HTTP/1.1 " + b"\xff" * 100_000, "request for a websocket is not valid"),
        (lambda request: accepted(request) + b"\x81\x02hi", "not valid: it is text, not binary"),
        (lambda request: accepted(request) + b"\x82\xff" + b"\xff" * 12, "not valid"),
        (lambda request: accepted(request) + b"\x82\x7f" + b"\xff" * 8, "not valid: .*18446744073709551615"),
        (lambda request: accepted(request) + b"\x89\x7e\x01\x00" + b"x" * 256, "not valid: .*control frame too long"),
        (lambda request: accepted(request) + b"\x80\x02hi", "not valid: .*unexpected continuation"),
        (lambda request: accepted(request) + b"\x82\x09INFO []\r\n", "its greeting is not valid"),
    ],
)  # fmt: skip
async def test_a_hostile_websocket_is_a_connect_error(answer: Callable[[bytes], bytes], said: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(ConnectError, match=said):
            await AsyncSmithBus(url, connect_timeout=30).connect()


class Peer:
    """A transport, and the server at its other end."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.server = ServerProtocol(state=State.OPEN, max_size=None)
        self.transport = WebSocketTransport(self.reader, self, ClientProtocol(parse_uri("ws://a"), state=State.OPEN))  # type: ignore[arg-type]

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.server.receive_data(data)

    @property
    def received(self) -> list[tuple[Opcode, bytes]]:
        """The frames of the client; the server raises for those that are not valid."""
        if self.server.parser_exc is not None:
            raise self.server.parser_exc
        return [(event.opcode, bytes(event.data)) for event in self.server.events_received() if isinstance(event, Frame)]


async def test_frames_in_pieces_are_one_stream() -> None:
    peer = Peer()
    transport = peer.transport
    peer.reader.feed_data(b"\x02\x03IN\x46")  # the first of two pieces
    peer.reader.feed_data(b"\x89\x01p")  # a ping between them
    peer.reader.feed_data(b"\x80\x05O {}\r\x82\x7e\x00\x04\nPIN\x82\x02G\r")
    assert await transport.readline() == b"INFO {}\r\n"
    assert peer.received == [(Opcode.PONG, b"p")]
    assert transport.unwrap(b"") == b"PING\r"
    transport.require_open()
    assert transport.unwrap(b"\x88\x02\x03\xe8") == b""
    with pytest.raises(WebSocketError, match="closed the websocket"):
        transport.require_open()
    assert peer.received == [(Opcode.CLOSE, b"\x03\xe8")]
    transport.write(b"PUB")  # not allowed after a CLOSE
    assert peer.received == []


async def test_what_was_not_read_is_known() -> None:
    peer = Peer()
    transport = peer.transport
    peer.reader.feed_data(b"\x82\x03MSG\x82\x06-ERR")  # the second is not whole
    assert transport.unread() == transport.unread() == b"MSG"
    assert transport.unwrap(b"") == b"MSG"
    peer.reader.feed_data(b" x\x88\x00")
    peer.reader.set_exception(ConnectionResetError())
    assert transport.unread() == b"-ERR x"
    assert transport.unwrap(b"") == b"-ERR x"


async def test_what_arrives_before_a_frame_that_is_not_valid_is_read() -> None:
    peer = Peer()
    assert peer.transport.unwrap(b"\x82\x03MSG\x8b\x00") == b"MSG"
    with pytest.raises(WebSocketError, match="invalid opcode"):
        peer.transport.require_open()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_001])
async def test_payloads_of_every_length_pass_both_ways(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    peer = Peer()
    peer.transport.writelines([payload[:10], payload[10:]])
    assert peer.received == [(Opcode.BINARY, payload)]
    peer.server.send_binary(payload)
    peer.server.send_binary(b"end\n")
    assert peer.transport.unwrap(b"".join(peer.server.data_to_send())) == payload + b"end\n"


# ---- the package


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1", "wss://127.0.0.1:1/path"])
@pytest.mark.parametrize("mode", ["fail_fast", "wait"])
async def test_without_websockets_the_error_names_the_extra(
    face: Face, url: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, WebSocketTransport.__module__)
    monkeypatch.setitem(sys.modules, "websockets.client", None)
    with pytest.raises(WebSocketNotInstalled, match=r"pip install 'smith-sdk\[websocket\]'"):
        async with face.bus(["nats://127.0.0.1:1", url], connect_mode=mode):
            pass


def test_websockets_is_imported_when_it_is_needed() -> None:
    script = (
        "import sys, smith_sdk; smith_sdk.SmithBus('ws://a'); "
        "print([name for name in sys.modules if name.partition('.')[0] == 'websockets'])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("url", ["ws://a/\udcff", "ws://a]b"])
async def test_an_address_that_is_no_websocket_is_refused(face: Face, url: str) -> None:
    with pytest.raises(OptionsError, match="is not a valid address of a websocket"):
        async with face.bus(url):
            pass


async def test_no_frame_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "smith_sdk.connection")
    caplog.set_level("DEBUG", "websockets")
    server = Server(tmp_path, "ws")
    with server.process:
        async with AsyncSmithBus(server.url, auth=Auth(user="me", password="hidden")):
            pass
    assert "connected" in caplog.text
    # the package leaves out the middle of a long frame, so the password might not show by chance
    assert [word for word in ("hidden", "BINARY", "Sec-WebSocket") if word in caplog.text] == []
