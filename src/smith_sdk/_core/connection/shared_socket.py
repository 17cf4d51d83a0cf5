"""The socket of a link, when other threads than that of its event loop send on it, too."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable


class SharedSocket:
    """Sends whole messages, the event loop's and those of threads, one after the other.

    A thread that sends its message itself saves two things that cost more than the sending: to wake
    the loop's thread, and a turn of the loop.
    """

    def __init__(
        self, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop, is_waiting: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        # Its own descriptor: the loop may close the transport's while a thread sends, and its
        # number may then be that of another file.
        self._socket: socket.socket = transport.get_extra_info("socket").dup()
        self._is_waiting = is_waiting
        """Whether the loop has something to write."""
        self.lock = threading.RLock()
        """Held while something is written. Reentrant: a signal handler may interrupt `send` and
        call it."""
        self._is_sending = False
        self._is_backed_up = transport.get_write_buffer_size() > 0
        """Whether the transport had unsent bytes when the loop wrote last.

        Threads do not ask the transport: since Python 3.12 it takes a chunk that was sent in part
        out of its buffer before it puts the rest back, and looks empty between the two.
        """
        self._rest = b""
        """What was not sent of a thread's message. The loop writes it before anything else."""

    @classmethod
    def of(
        cls, transport: asyncio.WriteTransport, loop: asyncio.AbstractEventLoop, is_waiting: Callable[[], bool]
    ) -> SharedSocket | None:
        """None if only the transport can write: with TLS, and on loops that do not write at once,
        such as uvloop's and that of Windows."""
        if transport.get_extra_info("sslcontext") is not None or not isinstance(loop, asyncio.SelectorEventLoop):
            return None
        try:
            return cls(transport, loop, is_waiting)
        except OSError:  # closed just now
            return None

    def write(self, data: bytes) -> None:
        """`transport.write`, for the loop."""
        with self.lock:
            rest, self._rest = self._rest, b""
            self._transport.write(rest + data if rest else data)
            self._is_backed_up = self._transport.get_write_buffer_size() > 0

    def send(self, message: bytes, before: Callable[[], None]) -> bool:
        """Send `message` in the calling thread; `before` is called if that is possible.

        False, and nothing is done, while others have to be sent first: the loop is to `write` it
        then. An error of the socket is not reported here: the loop notices it.
        """
        with self.lock:
            if self._is_sending or self._is_backed_up or self._rest or self._is_waiting() or self._transport.is_closing():
                return False
            self._is_sending = True
            try:
                before()
                self._send(message)
            finally:
                self._is_sending = False
        return True

    def _send(self, message: bytes) -> None:
        sent: list[int] = []
        try:
            # In one call: an exception of a signal handler (Ctrl-C) comes before or after it, and
            # never leaves a part of a message whose rest is not known.
            sent.extend(map(self._socket.send, (message,)))
        except BlockingIOError:
            sent.append(0)
        except OSError:
            return
        finally:
            if sent and sent[0] < len(message):
                self._rest = message[sent[0] :]
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._write_rest)

    def _write_rest(self) -> None:
        if self._rest and not self._transport.is_closing():
            self.write(b"")

    def close(self) -> None:
        """Threads send no more. Safe to repeat."""
        with self.lock:
            self._socket.close()
