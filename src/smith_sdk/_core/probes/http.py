"""Requests and responses of HTTP/1, as far as probes need them: GET and HEAD without a body."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import msgspec

MAX_HEAD: Final = 8192
"""Bytes of a request line and its headers. A probe of Kubernetes has 150, a browser 2,000."""

_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]{1,4096}) HTTP/([0-9])\.[0-9]")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_END: Final = re.compile(rb"\r?\n\r?\n")
_ORIGIN: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class Request(msgspec.Struct, frozen=True):
    """A request for `path`, which is without its query. `accept` is empty if there is none."""

    path: str
    accept: str = ""
    is_head: bool = False


class Response(msgspec.Struct, frozen=True):
    """What is answered. `content_type` is ASCII."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


def text(status: int, *lines: str) -> Response:
    """Lines of plain text."""
    return Response(status, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))


class Refused(Exception):
    """A request that is not answered as it asks; `response` says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.response = text(status, why)


def head_of(received: bytearray) -> str | None:
    """The request line and headers at the beginning of `received`, None if they are not complete.

    What is not a request is refused with its first line: a client of HTTP/0.9 sends no second one.
    Raises `Refused`.
    """
    if received.startswith(b"\r\n"):  # an empty line before it, as old clients send
        del received[:2]
    end = _END.search(received)
    head = received[: end.start() if end else MAX_HEAD + 1].decode("latin-1")
    line, is_whole, _ = head.partition("\n")
    if is_whole or end:
        _request_line(line)
    if len(head) > MAX_HEAD:
        raise Refused(431, f"the request line and the headers are longer than {MAX_HEAD} bytes")
    return head if end else None


def parse(head: str) -> Request:
    """The request with that head. Raises `Refused`."""
    first, *lines = head.split("\n")
    method, target = _request_line(first)
    accept: list[str] = []
    for line in lines:
        found = _FIELD.fullmatch(line.removesuffix("\r"))
        if found is None:
            raise Refused(400, "a header is not valid")
        if found[1].lower() == "accept":
            accept.append(found[2].strip())
    if method not in ("GET", "HEAD"):
        raise Refused(405, "only GET and HEAD are answered")
    path = _ORIGIN.sub("", target, count=1).partition("?")[0]
    return Request(path or "/", ", ".join(accept), method == "HEAD")


def _request_line(line: str) -> tuple[str, str]:
    found = _LINE.fullmatch(line.removesuffix("\r"))
    if found is None:
        raise Refused(400, "this is not a request of HTTP/1.1")
    if found[3] != "1":
        raise Refused(505, "only HTTP/1.1 and HTTP/1.0 are answered")
    return found[1], found[2]


def encode(response: Response, *, head_only: bool = False) -> bytes:
    """`response` as it is sent: each connection has one."""
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(["Allow: GET, HEAD"] if response.status == HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    head = "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\r\n"
    return head if head_only else head + response.body
