"""Handlers that call a TCP server. Processes of a worker import them from here, by this name."""

from __future__ import annotations

import asyncio
import socket
from typing import Any


def _port_of(message: Any) -> int:
    return int(message.payload.params.path.partition(":")[2])


async def dial(message: Any) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", _port_of(message))
    writer.close()


def dial_plainly(message: Any) -> None:
    socket.create_connection(("127.0.0.1", _port_of(message)), timeout=5).close()
