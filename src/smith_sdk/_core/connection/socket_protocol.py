"""What asyncio calls for the socket of a link: bytes as they arrive, room to write, the end."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_SIZE: Final = 128 * 1024
"""Bytes that are read from the socket at once."""


class Owner(Protocol):
    """The link over the socket. Its methods return at once and never raise."""

    def receive(self, data: bytes) -> None:
        """These bytes have arrived."""
        ...

    def set_stalled(self, is_stalled: bool) -> None:
        """Whether the socket has more to send than it should be given."""
        ...

    def lost(self, error: Exception | None) -> None:
        """The socket has ended; without an `error` the peer has closed it. Safe to repeat."""
        ...


class SocketProtocol(asyncio.BufferedProtocol):
    """Takes the place of the stream that a connection was opened with.

    A `StreamReader` has a task that reads from it: two turns of the event loop for each chunk. Here
    the chunk is parsed in the turn in which it arrives, from a buffer that is allocated once.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._buffer = memoryview(bytearray(_SIZE))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._owner.receive(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        self._owner.set_stalled(True)

    def resume_writing(self) -> None:
        self._owner.set_stalled(False)

    def eof_received(self) -> None:
        # Not first when the socket is closed: with unsent bytes for a dead peer it never would be.
        self._owner.lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost(exc)
