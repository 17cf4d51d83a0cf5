"""Servers: their addresses, shown without credentials, and the order in which they are tried."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final
from urllib.parse import unquote

from ...errors import OptionsError
from ..execution.thread_pool import run_in_thread
from ..log_records import LogFields, sdk_logger

log: Final = sdk_logger("connection")

DEFAULT_PORT: Final = 4222
_PORTS: Final = {"nats": DEFAULT_PORT, "tls": DEFAULT_PORT, "ws": 80, "wss": 443}
_WEBSOCKETS: Final = ("ws", "wss")


@dataclass(frozen=True, slots=True)
class Server:
    """Where one server listens.

    `user` and `password` (a token: `user` alone) are what its URL carried.
    """

    host: str
    port: int
    scheme: str = "nats"
    """nats, tls, ws or wss."""
    path: str = field(default="", repr=False)
    """Path and query of a websocket; a query may hold a secret."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls_name: str | None = None
    """The name that its certificate must have; None: `host`."""

    @property
    def url(self) -> str:
        """Its address without credentials."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def tls(self) -> bool:
        """Whether credentials are sent over TLS or not at all."""
        return self.scheme in ("tls", "wss")

    @property
    def is_websocket(self) -> bool:
        return self.scheme in _WEBSOCKETS


def _split(url: str) -> tuple[str, str, str, str]:
    """Scheme, user and password, address, and what stands behind it from "/" or "?" on.

    Everything up to the last "@" is the second: a password may hold any character.
    """
    scheme, there, rest = url.partition("://")
    if not there:
        scheme, rest = "nats", url
    login, _, address = rest.rpartition("@")
    host = re.split("[/?#]", address, maxsplit=1)[0]
    return scheme, login, host, address[len(host) :].partition("#")[0]


def without_credentials(url: str) -> str:
    """`url` without user, password and token, for messages and logs."""
    scheme, _, address, _ = _split(url)
    return f"{scheme}://{address}"


def parse_server(url: str) -> Server:
    """The server at `url`.

    Raises `OptionsError`, which does not show `url`: it may hold a password.
    """
    scheme, login, address, path = _split(url)
    host, port = address, ""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        wrong = port[:1] not in ("", ":")
        port = port[1:]
    else:
        wrong = address.count(":") > 1  # an IPv6 address without its brackets
        host, _, port = address.partition(":")
    wrong = wrong or not host or re.search(r"[\s\x00-\x1f\x7f]", host) is not None
    wrong = wrong or not (port == "" or (port.isascii() and port.isdigit() and 0 < int(port) < 65536))
    wrong = wrong or re.search(r"[\s\x00-\x1f\x7f]", path) is not None
    if wrong or scheme not in _PORTS:
        raise OptionsError(
            "url: expected nats://host:port, or tls://, ws:// or wss:// in place of nats://, with an IPv6 address in brackets and "
            "special characters of user and password %-encoded (the value is not shown: it may hold a password)"
        )
    user, colon, password = login.partition(":")
    return Server(
        host=host,
        port=int(port or _PORTS[scheme]),
        scheme=scheme,
        path=path if scheme in _WEBSOCKETS else "",
        user=unquote(user) if login else None,
        password=unquote(password) if colon else None,
    )


async def addresses(server: Server) -> list[str]:
    """Every IP address of `server`. Raises `OSError` if its name has none."""
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(server.host))]  # without the resolver's thread
    try:
        found = await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except RuntimeError:
        # The main thread has ended, and with it the thread pool that the event loop resolves names
        # in.
        found = await run_in_thread(partial(socket.getaddrinfo, server.host, server.port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class ServerPool:
    """The configured servers, then those that the last one announced, in turn."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self._configured = list(servers)
        self._discovered: list[Server] = []
        self.last: Server | None = None
        """The server that was last connected to."""

    @property
    def url(self) -> str:
        """The configured servers, without credentials."""
        return ", ".join(server.url for server in self._configured)

    def connected_to(self, server: Server, announced: Iterable[str]) -> None:
        """`server` accepted us, and announced where its cluster listens (host:port)."""
        self.last = server
        known = {(one.host, one.port) for one in self._configured}
        named = server.tls_name or server.host
        self._discovered = []
        for text in announced:
            try:
                one = parse_server(text)
            except OptionsError:
                log.warning(
                    "%s announced a server of its cluster at %r, which is not a valid address",
                    server.url,
                    text,
                    extra=LogFields(server=server.url),
                )
                continue
            if (one.host, one.port) not in known:
                self._discovered.append(replace(server, host=one.host, port=one.port, tls_name=named))

    def round(self) -> list[Server]:
        """All of them once, starting after the last one connected to, which is the one that
        failed."""
        servers = self._configured + self._discovered
        places = [at for at, one in enumerate(servers) if self.last is not None and one.url == self.last.url]
        first = places[0] + 1 if places else 0
        return servers[first:] + servers[:first]

    def others(self, server: Server) -> list[Server]:
        """All but `server`."""
        return [one for one in self.round() if one.url != server.url]
