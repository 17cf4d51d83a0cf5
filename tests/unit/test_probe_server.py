"""The HTTP server of the probes: what is not a request does not hurt it, nor what never ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from probing import raw
from support import eventually

from smith_sdk._core.probes import server as http_server
from smith_sdk._core.probes.http import MAX_HEAD, Refused, Request, Response, encode, head_of, parse, text
from smith_sdk._core.probes.loops import ask
from smith_sdk._core.probes.server import MAX_CONNECTIONS, HttpServer

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(request: Request) -> Response:
    if request.path == "/fails":
        raise RuntimeError("the password is hunter2")
    if request.path == "/large":
        return Response(200, b"x" * 4_000_000)
    return text(200, f"{request.path} {request.accept}")


async def nothing() -> None:
    await asyncio.Event().wait()


@contextlib.contextmanager
def serving() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, answer, nothing)
    try:
        yield server
        assert status(server.port, GET) == 200  # whatever was sent before
        eventually(lambda: not server.connections)
        assert not server.accepted
    finally:
        server.close()
        assert server.is_closed


def status(port: int, *pieces: bytes) -> int:
    found = raw(port, *pieces)
    return int(found.split(b" ", 2)[1]) if found else 0


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", 200),
        (b"GET /livez HTTP/1.0\n\n", 200),
        (b"\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"HEAD /livez HTTP/1.1\r\n\r\n", 200),
        (b"GET http://example.com/livez?x=1 HTTP/1.1\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\r\n\r\nGET /fails HTTP/1.1\r\n\r\n" * 50, 200),
        (b"GET /livez HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + b"x" * 100_000, 200),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"BREW /livez HTTP/1.1\r\n\r\n", 405),
        (b"GET /livez\r\n", 400),  # HTTP/0.9 sends no more than that
        (b"GET  /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /li vez HTTP/1.1\r\n\r\n", 400),
        (b"GET /l\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nAccept: a\r\n folded\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nAccept: a\rSet-Cookie: b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nAccept: a\x00b\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n: empty\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\n\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
        (b"GET /fails HTTP/1.1\r\n\r\n", 500),
    ],
)
def test_every_request_gets_one_answer(sent: bytes, expected: int) -> None:
    try:
        head = head_of(bytearray(sent))
        assert head is not None
        found = asyncio.run(answer(parse(head)))
    except Refused as refused:
        found = refused.response
    except RuntimeError:
        found = text(500)
    assert found.status == expected


def test_requests_over_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        assert status(server.port, b"GET /li", b"vez HTTP/1.1\r\nHo", b"st: x\r\n", b"\r\n") == 200
        assert status(server.port, b"GET /livez\r\n") == 400
        assert status(server.port, b"GET /livez HTTP/1.1\r\nContent-Length: 50000\r\n\r\n", b"x" * 50_000) == 200
        assert raw(server.port, GET * 20).count(b"HTTP/1.1 ") == 1
        assert b"\r\nAllow: GET, HEAD\r\n" in raw(server.port, b"PUT / HTTP/1.1\r\n\r\n")
        head, _, body = raw(server.port, b"HEAD /x HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
        assert (b"Content-Length: 4\r\n" in head, b"Connection: close" in head, body) == (True, True, b"")
        assert len(raw(server.port, b"GET /large HTTP/1.1\r\n\r\n")) > 4_000_000
        failed = raw(server.port, b"GET /fails HTTP/1.1\r\n\r\n")
        assert failed.startswith(b"HTTP/1.1 500 ")
        assert b"hunter2" not in failed
        assert "a probe of /fails failed" in caplog.text


def test_a_client_that_closes_its_side_is_answered() -> None:
    with serving() as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(GET)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_headers_without_an_end_are_cut_off() -> None:
    with serving() as server:
        found = raw(server.port, b"GET /livez HTTP/1.1\r\n", *[b"X-Padding: " + b"y" * 65_525 + b"\r\n"] * 160)  # 10 MB
        assert not found or found.startswith(b"HTTP/1.1 431 ")  # the kernel may drop the answer when it resets the connection
        assert status(server.port, b"G" * (MAX_HEAD + 1)) == 431


def test_a_slow_request_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server, monkeypatch.context() as patch:  # undone before the last request, which may take longer
        patch.setattr(http_server, "_HEAD_TIME", 0.1)
        assert status(server.port, b"GET /livez HTT") == 408
        assert status(server.port) == 408


def test_a_slow_reader_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server, monkeypatch.context() as patch:
        patch.setattr(http_server, "_ANSWER_TIME", 0.2)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            assert sock.recv(1)  # it has begun to answer
            eventually(lambda: not server.connections)


def test_connections_that_are_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        for sent in (b"", b"GET /li", GET, b"GET /large HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(sent)


def test_idle_connections_do_not_keep_out_a_probe() -> None:
    with serving() as server, contextlib.ExitStack() as held:
        for _ in range(4):
            for _ in range(MAX_CONNECTIONS):
                held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30)).sendall(b"GET /livez HT")
            assert status(server.port, GET) == 200
        held.close()


def test_a_server_that_is_closed_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # of which some may end meanwhile
    server = HttpServer("127.0.0.1", 0, answer, nothing)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        server.close()
        server.close()
        with contextlib.suppress(ConnectionError):
            assert sock.recv(100) == b""
    assert set(threading.enumerate()) <= before
    server = HttpServer("127.0.0.1", server.port, answer, nothing)  # the port is free
    server.close()


def test_a_response_is_one_block() -> None:
    assert encode(text(200, "ok")).endswith(b"\r\n\r\nok\n")
    assert encode(text(503, "caf\u00e9 \ud800")).endswith("café \\ud800\n".encode())


# ---- other event loops


def test_a_question_to_another_loop_ends_in_time() -> None:
    other, started = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=lambda: (other.call_soon(started.set), other.run_forever()))
    thread.start()
    assert started.wait(30)

    async def fine() -> int:
        return 7

    async def failing() -> int:
        raise KeyError("x")

    async def questions() -> None:
        assert await ask(other, fine, 30) == 7
        with pytest.raises(KeyError):
            await ask(other, failing, 30)
        with pytest.raises(TimeoutError):
            await ask(other, nothing, 0.05)
        busy = threading.Event()
        other.call_soon_threadsafe(busy.wait, 30)
        with pytest.raises(TimeoutError):
            await ask(other, fine, 0.05)
        busy.set()
        assert await ask(other, fine, 30) == 7
        # what was asked in vain is not left behind
        assert await ask(other, _tasks, 30) == 1
        other.call_soon_threadsafe(other.stop)
        await asyncio.to_thread(thread.join)
        other.close()
        with pytest.raises(TimeoutError):
            await ask(other, fine, 30)

    asyncio.run(questions())


async def _tasks() -> int:
    await asyncio.sleep(0)
    return len(asyncio.all_tasks())


# ---- processes

FORKED = """
import os, signal, socket, sys
from smith_sdk import SmithBus, health
bus = SmithBus("nats://127.0.0.1:1")
server = health.serve(bus, 0)
told, tell = os.pipe()
child = os.fork()
if child == 0:
    server.close()  # which is its parent's
    os.write(tell, b"1")
    signal.pause()
try:
    assert os.read(told, 1)  # or the child might close its copy of the socket only after the parent has looked
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\\r\\n\\r\\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200"), "the child has closed it"
    server.close()
    socket.create_server(("127.0.0.1", server.port)).close()  # no copy of the socket is left in the child
finally:
    os.kill(child, signal.SIGKILL)  # it holds the pipes of the test, which reads them to their end
    os.waitpid(child, 0)
health.serve(bus, 0)
print("end")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_fork_keeps_no_port_and_a_server_no_process() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done: Any = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
