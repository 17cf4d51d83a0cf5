"""A client of the probes: requests over HTTP, also such as no client would send."""

from __future__ import annotations

import asyncio
import http.client
import socket
from typing import NamedTuple

from smith_sdk.health import HealthServer


class Answer(NamedTuple):
    status: int
    text: str
    content_type: str


def get(server: HealthServer, path: str, *, method: str = "GET", accept: str = "") -> Answer:
    connection = http.client.HTTPConnection(server._host, server.port, timeout=30)
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
