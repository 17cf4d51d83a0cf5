"""What carries the bytes of a link, other than a TCP socket: loaded when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import WebSocketNotInstalled

if TYPE_CHECKING:
    from .websocket import WebSocketTransport


def websocket_transport() -> type[WebSocketTransport]:
    """The transport of ws:// and wss://, imported when needed. Raises `WebSocketNotInstalled`."""
    try:
        from .websocket import WebSocketTransport
    except ImportError:
        raise WebSocketNotInstalled(
            "ws:// and wss:// need the websockets package, 13 or newer: pip install 'smith-sdk[websocket]'"
        ) from None
    return WebSocketTransport
