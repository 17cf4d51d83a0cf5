"""A real HTTP server that receives webhooks, and answers as a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from smith_sdk.alerts import Alert, verify_webhook


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> Alert:
        return verify_webhook(self.body, self.headers, secret)


Respond = Callable[["Handler", int], None]
"""What is done about a request: the handler, and how many there were before it."""


def status(*codes: int, **headers: str) -> Respond:
    """Answer with `codes` one after another, the last one from then on."""

    def respond(handler: Handler, count: int) -> None:
        handler.send_response(codes[min(count, len(codes) - 1)])
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return respond


def raw(data: bytes) -> Respond:
    """Answer with these bytes, and close the connection."""

    def respond(handler: Handler, count: int) -> None:
        handler.wfile.write(data)

    return respond


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        count = receiver.add(Request(self.path, dict(self.headers), body))
        self.close_connection = True
        receiver.respond(self, count)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    receiver: Receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The sender may have gone."""


class Receiver:
    """`with Receiver(respond) as receiver`: its `url`, and the `requests` so far."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self.released = threading.Event()
        """Ends what hangs."""
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.receiver = self

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/path-secret?token=query-secret"

    def add(self, request: Request) -> int:
        with self._lock:
            self.requests.append(request)
            return len(self.requests) - 1

    def hang(self, handler: Handler, count: int) -> None:
        """A `Respond`: no answer until the end of the test."""
        self.released.wait(60)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
