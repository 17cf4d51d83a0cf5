"""One HTTP request with one deadline: POST a body, and see the status of the answer.

On streams of asyncio, so that it can be cancelled wherever it waits: a client that blocks a thread
has time limits for each read, and a receiver that sends a byte now and then outlasts them all.
Redirects are not followed, no proxy is used, and the body of the answer is not read.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from ...errors import OptionsError

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 64 * 1024
"""Bytes of the head of an answer."""
_INTERIM: Final = 8
"""Answers before the one that counts, such as 100."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?")
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,6})[ \t]*\r\n", re.IGNORECASE)


class PostFailed(Exception):
    """There is no answer that counts. The text has nothing of the URL."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    retry_after: float | None
    """Seconds after which the server asks to be asked again."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post. Its repr and its `origin` show nothing secret."""

    origin: str
    """Scheme, host and port: the path of a webhook is often a password."""
    host: str
    port: int
    is_tls: bool
    path: str
    headers: dict[str, str]
    """Host, and Authorization if the URL has a user."""

    def __repr__(self) -> str:
        return f"<Target {self.origin}>"


def target(option: str, url: Any) -> Target:
    """`url`, taken apart. Raises `OptionsError` naming `option`, and nothing of the URL but its
    scheme."""
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url:
        raise OptionsError(f"{option}: must be a URL in ASCII, with everything else percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OptionsError(f"{option}: is not a valid URL: write https://host/path") from None
    if parts.scheme not in _PORTS:
        raise OptionsError(f"{option}: scheme {parts.scheme!r}: must be https:// or http://")
    if not parts.hostname or parts.fragment:
        raise OptionsError(f"{option}: must have a host, and no fragment: write https://host/path")
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    place = shown if port in (None, _PORTS[parts.scheme]) else f"{shown}:{port}"
    return Target(
        origin=f"{parts.scheme}://{place}",
        host=host,
        port=_PORTS[parts.scheme] if port is None else port,
        is_tls=parts.scheme == "https",
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers={"Host": place, **_authorization(parts)},
    )


def _authorization(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


async def post(to: Target, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> Answer:
    """Post `body`, and return the answer. The caller sets the deadline.

    Raises `PostFailed`.
    """
    lines = [f"POST {to.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**to.headers, **headers}.items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    try:
        reader, writer = await asyncio.open_connection(to.host, to.port, ssl=tls if to.is_tls else None, limit=_LONGEST)
    except (OSError, UnicodeError) as error:  # also ssl.SSLError; UnicodeError for a host that cannot be one
        raise PostFailed(f"cannot connect: {_reason(error)}") from None
    try:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        return await _answer(reader)
    except asyncio.LimitOverrunError:
        raise PostFailed("the head of its answer is too long") from None
    except (OSError, EOFError) as error:  # EOFError: asyncio.IncompleteReadError
        why = "it closed the connection" if isinstance(error, EOFError) else _reason(error)
        raise PostFailed(f"no answer: {why}") from None
    finally:
        writer.transport.abort()  # nothing is left to say, and a handshake of closing could hang


async def _answer(reader: asyncio.StreamReader) -> Answer:
    for _ in range(_INTERIM):
        head = await reader.readuntil(b"\r\n\r\n")
        found = _STATUS.match(head)
        if found is None:
            break
        status = int(found[1])
        if status >= 200:
            pause = _RETRY_AFTER.search(head)
            return Answer(status, None if pause is None else float(pause[1]))
    raise PostFailed("its answer is not HTTP")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return "the host is not a valid name"
