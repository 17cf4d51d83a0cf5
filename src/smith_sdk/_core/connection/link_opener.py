"""Opens links: with credentials, within a time, and with what a refusal means."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

from ...options import Auth
from .credentials import sign_in
from .link import FLUSH_TIMEOUT, Link
from .link_failures import failure, read_refusal
from .reasons import said_by
from .server_pool import Server
from .tasks import ignore_outcome
from .transports import websocket_transport

_FOREVER: Final = 86_400
_CANCEL_AGAIN: Final = 0.1
"""Seconds between two attempts to cancel a task that may have swallowed the first."""


def _address(server: Server, address: str) -> str:
    """The URL of `server` at that IP address, for nats-py."""
    host = f"[{address}]" if ":" in address else address
    # nats-py starts TLS itself only for nats://; what it calls ws:// is a transport of ours
    scheme = "ws" if server.is_websocket else "nats"
    return f"{scheme}://{host}:{server.port}"


class LinkOpener:
    """Opens links with one set of credentials.

    `on_refused` is called with "publish" or "subscription", and the subject.
    """

    def __init__(
        self,
        *,
        auth: Auth | None,
        tls: ssl.SSLContext | None,
        tls_first: bool,
        name: str,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self._auth = auth
        self._tls = tls
        self._tls_first = tls_first
        self._name = name
        self._on_refused = on_refused

    def check(self, server: Server) -> None:
        """Raise `OptionsError` for credentials that cannot be read or an address that is not valid,
        `SigningNotInstalled` and `WebSocketNotInstalled`."""
        sign_in(self._auth, server)
        if server.is_websocket:
            websocket_transport().check(server)

    async def open(self, server: Server, address: str, within: float, on_lame_duck: Callable[[Link], None]) -> Link:
        """A link to `server` at IP address `address`, in `within` seconds.

        Raises `LinkError`, `OptionsError`.
        """
        shown = sign_in(self._auth, server)
        link = Link(
            server,
            public_key=shown.public_key,
            tls=self._tls,
            tls_first=self._tls_first,
            on_refused=self._on_refused,
            on_lame_duck=on_lame_duck,
        )
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        async def on_error(error: Exception) -> None:
            if not failed.done():
                failed.set_result(error)
            await link.report(error)

        jwt = shown.jwt
        options: dict[str, Any] = {
            "servers": [_address(server, address)],
            "name": self._name,
            "error_cb": on_error,
            "allow_reconnect": False,
            "connect_timeout": within,
            "ping_interval": _FOREVER,  # the reconnector pings
            "flush_timeout": FLUSH_TIMEOUT,
            "flusher_queue_size": 0,  # unbounded: waiting for room in a bounded one has no deadline
            "tls": None if server.is_websocket else self._tls,
            "tls_handshake_first": link.is_tls_first and not server.is_websocket,
            "tls_hostname": server.tls_name or server.host,
            "user": shown.user,
            "password": shown.password,
            "token": shown.token,
            "signature_cb": shown.sign,
            "user_jwt_cb": None if jwt is None else lambda: jwt,
        }
        opening = asyncio.ensure_future(link.connect(**options))
        opening.add_done_callback(ignore_outcome)
        try:
            await asyncio.wait((opening, failed), timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise failed.result() if failed.done() else TimeoutError(f"no answer within {within:g} s")
            opening.result()
            if not link.is_connected:  # nats-py takes a closed socket for success
                raise ConnectionError("the server closed the connection during the handshake")
        except BaseException as error:
            # what it still opens, if the loop ends first
            opening.add_done_callback(lambda _: link.discard())
            _cancel(opening, link)
            if not isinstance(error, Exception):
                raise
            said = link.read_reason() or said_by(error)
            greeted = link.has_greeted and not server.is_websocket
            if not said and greeted and isinstance(error, ConnectionError):
                said = await read_refusal(address, server.port)
            raise failure(error, link, said, within) from error
        finally:
            failed.cancel()
        link.watch()
        return link


def _cancel(opening: asyncio.Task[None], link: Link) -> None:
    """Cancel `opening`, again and again until it has ended.

    Before Python 3.12 `asyncio.wait_for` may swallow a cancellation in the moment in which its
    future is done. nats-py then goes on: refused, it would retry for ever; connected, it starts
    tasks that are never ended.
    """
    link.discard()
    if not opening.done():
        opening.cancel()
        asyncio.get_running_loop().call_later(_CANCEL_AGAIN, _cancel, opening, link)
