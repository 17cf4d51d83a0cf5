"""A client of the probes: requests over HTTP, also such as no client would send."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import socket
from typing import NamedTuple

from smith_sdk.health import HealthServer


class Answer(NamedTuple):
    status: int
    text: str
    content_type: str


def get(server: HealthServer, path: str, *, method: str = "GET", accept: str = "") -> Answer:
    return fetch(server.port, path, host=server._host, method=method, accept=accept)


def fetch(port: int, path: str, *, host: str = "127.0.0.1", method: str = "GET", accept: str = "") -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, headers={"Accept": accept} if accept else {})
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), response.headers["Content-Type"])
    finally:
        connection.close()


async def ask(server: HealthServer, path: str, *, method: str = "GET", accept: str = "") -> Answer:
    """`get` from another thread than that of the loop, which may be the one that is asked."""
    return await asyncio.to_thread(get, server, path, method=method, accept=accept)


def raw(port: int, *pieces: bytes) -> bytes:
    """Everything that is answered to `pieces`; empty if the connection was reset before that."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        found = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
            while more := sock.recv(65536):
                found += more
        except ConnectionError:  # it has answered, and does not read the rest
            pass
        return found


def is_ready(port: int) -> bool:
    """For `eventually`: also false while nothing listens there."""
    try:
        return fetch(port, "/readyz").status == 200
    except OSError:
        return False


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free: below those that systems pick by
    themselves."""
    while True:
        first = random.randrange(20_000, 30_000)
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
