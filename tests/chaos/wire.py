"""What goes through the links of this process, for harnesses that kill it at a byte.

The bytes of the async face are written by asyncio's stream, those of the blocking face by its
shared socket: in the thread of the event loop, or in that of a caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from smith_sdk._core.connection.link import Link
from smith_sdk._core.connection.shared_socket import SharedSocket


def watch_writes(look: Callable[[bytes, Callable[[bytes], object]], None]) -> None:
    """Call `look(data, write)` before `data` is written; `write` sends a part of it at once."""
    by_stream, by_loop, by_thread = asyncio.StreamWriter.write, SharedSocket.write, SharedSocket._send

    def on_stream(writer: asyncio.StreamWriter, data: Any) -> None:
        look(data, partial(by_stream, writer))
        by_stream(writer, data)

    def on_loop(socket: SharedSocket, data: bytes) -> None:
        look(data, partial(by_loop, socket))
        by_loop(socket, data)

    def on_thread(socket: SharedSocket, sender: Any, message: bytes) -> None:
        look(message, sender.socket.send)
        by_thread(socket, sender, message)

    asyncio.StreamWriter.write = on_stream  # type: ignore[method-assign, assignment]
    SharedSocket.write = on_loop  # type: ignore[method-assign, assignment]
    SharedSocket._send = on_thread  # type: ignore[method-assign, assignment]


def watch_reads(look: Callable[[bytes], None]) -> None:
    """Call `look(data)` before `data`, which has arrived, is parsed."""
    receive = Link.receive

    def on_arrival(link: Link, data: bytes) -> None:
        look(data)
        receive(link, data)

    Link.receive = on_arrival  # type: ignore[method-assign, assignment]
