"""Why a link could not be made or broke, in words that help. Knows no nats-py."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final, Protocol

from .reasons import explained, said_in
from .server_pool import Server

_AUTH_ERRORS: Final = (
    "authorization violation",
    "authorization failed",  # nats-py's own text
    "authentication expired",
    "authentication revoked",
)
_READ_REFUSAL: Final = 0.3
"""Seconds to read why a server hangs up on new connections."""
_CERTIFICATE: Final = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED")
"""Alerts (without a prefix) of a server that does not accept our certificate, or wants one."""


class LinkError(Exception):
    """A link could not be made, or broke. Its text holds no credential."""

    def __init__(self, message: str, *, refused: bool = False, said: str = "") -> None:
        super().__init__(message)
        self.refused = refused
        """Whether the server does not accept the credentials."""
        self.said = said
        """The server's own reason, if it gave one."""


class LinkClosed(LinkError):
    """The link is over, and what was to be sent was not."""


class MessageTooLarge(LinkError):
    """The message exceeds the server's max_payload, and was not sent."""


class WebSocketError(ConnectionError):
    """The peer does not speak the websocket protocol, or refuses to."""


class Attempt(Protocol):
    """What is known of a link that could not be made."""

    server: Server
    is_tls_first: bool
    """Whether TLS comes before anything else."""
    bad_greeting: str
    """Why the server's greeting is not valid; empty if it is, or did not come."""

    @property
    def has_socket(self) -> bool: ...
    @property
    def has_greeted(self) -> bool: ...
    def wants_client_certificate(self, error: Exception) -> bool: ...


def is_refusal(error: BaseException) -> bool:
    """Whether nats-py reports with `error` that the server refuses the credentials."""
    text = str(error).lower()
    return any(words in text for words in _AUTH_ERRORS)


def failure(error: Exception, attempt: Attempt, said: str, within: float) -> LinkError:
    """Why a handshake failed: as the server `said`, if it did, else by what it did."""
    alert = str(getattr(error, "reason", "") or "") if isinstance(error, ssl.SSLError) else ""
    refused = is_refusal(error) or any(words in said for words in _AUTH_ERRORS)
    refused = refused or attempt.wants_client_certificate(error) or alert.endswith(_CERTIFICATE)
    return LinkError(_why(error, alert, attempt, said, within), refused=refused, said=said)


def _why(error: Exception, alert: str, attempt: Attempt, said: str, within: float) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        text = "connection refused"  # its own text repeats the address, with an errno
    if said:
        text = f"the server said: {explained(said)}"
    elif attempt.bad_greeting:
        text = f"its greeting is not valid: {attempt.bad_greeting}"
    elif isinstance(error, WebSocketError):
        text = str(error)
    elif attempt.is_tls_first and isinstance(error, ssl.SSLError) and alert in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        text = "it does not begin with a TLS handshake: " + (
            "use ws://, or give the websocket block of the server TLS"
            if attempt.server.is_websocket
            else "leave out tls_first, or set handshake_first in the server's tls block"
        )
    elif isinstance(error, ssl.SSLError):
        pass
    elif attempt.has_socket and not attempt.has_greeted:
        did = f"no answer within {within:.2g} s" if isinstance(error, TimeoutError) else "no greeting of a NATS server"
        other = "" if attempt.is_tls_first else "; a server with handshake_first needs tls_first=True"
        text = f"it accepts the connection, but there was {did}; HTTP, monitoring, websocket and cluster ports do that{other}"
    return text


async def read_refusal(address: str, port: int) -> str:
    """Why a server hangs up on each new connection; empty if it does not.

    A full server sends its greeting and the reason, then hangs up. If what a client sends meanwhile
    is answered by a reset, the client never reads the reason: so this one only reads.
    """
    received = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_READ_REFUSAL):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                while not said_in(received) and (piece := await reader.read(4096)):
                    received += piece
            finally:
                writer.transport.abort()
    return said_in(received)
