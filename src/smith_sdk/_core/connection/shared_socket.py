"""The socket of a link, when other threads than that of its event loop send on it, too."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

_LONGEST: Final = 0.25
"""Seconds that the loop waits for a thread that sends: that takes microseconds, unless a signal
handler has interrupted it."""


class _Sender:
    """The socket of the threads, and what one of them is sending."""

    __slots__ = ("is_known", "is_over", "lock", "message", "sent", "socket")

    def __init__(self, source: socket.socket) -> None:
        self.socket = source
        self.lock = threading.Lock()
        """Held while something is written."""
        self.message = b""
        self.sent: list[int] = []
        """How many bytes of `message` were sent; empty until that is known, and if all were."""
        self.is_over = False
        """Whether the loop has gone on without waiting for the thread."""
        self.is_known = False
        """Whether the loop then knew how much of the message was sent."""

    @property
    def rest(self) -> bytes:
        """What was not sent of the message. The loop writes it before anything else."""
        return self.message[self.sent[0] :] if self.sent else b""

    def replaced(self) -> _Sender:
        """One for other threads; the thread of this one cannot send any more."""
        self.is_over = True  # first: a thread that sends at this moment looks at it afterwards
        sent = tuple(self.sent)
        self.is_known = bool(sent)
        old = self.socket
        # The number stays in use, so that nothing can be sent to another file.
        found = _Sender(socket.socket(old.family, old.type, old.proto, old.detach()))
        found.socket.setblocking(False)
        found.message, found.sent = self.message, list(sent)
        return found


class SharedSocket:
    """Sends whole messages, the event loop's and those of threads, one after the other.

    A thread that sends its message itself saves two things that cost more than the sending: to wake
    the loop's thread, and a turn of the loop.

    Neither waits long for the other. Threads leave it to the loop while anything else is written. A
    signal handler that interrupts a thread which sends may itself wait for the loop, as one that
    closes the bus does: the loop goes on without that thread.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        loop: asyncio.AbstractEventLoop,
        is_waiting: Callable[[], bool],
        lost: Callable[[Exception | None], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        # Its own descriptor: the loop may close the transport's while a thread sends, and its
        # number may then be that of another file.
        self._sender = _Sender(transport.get_extra_info("socket").dup())
        self._is_waiting = is_waiting
        """Whether the loop has something to write."""
        self._lost = lost
        self._is_closed = False
        self._is_backed_up = transport.get_write_buffer_size() > 0
        """Whether the transport had unsent bytes when the loop wrote last.

        Threads do not ask the transport: since Python 3.12 it takes a chunk that was sent in part
        out of its buffer before it puts the rest back, and looks empty between the two.
        """

    @classmethod
    def of(
        cls,
        transport: asyncio.WriteTransport,
        loop: asyncio.AbstractEventLoop,
        is_waiting: Callable[[], bool],
        lost: Callable[[Exception | None], None],
    ) -> SharedSocket | None:
        """None if only the transport can write: with TLS, and on loops that do not write at once,
        such as uvloop's and that of Windows."""
        if transport.get_extra_info("sslcontext") is not None or not isinstance(loop, asyncio.SelectorEventLoop):
            return None
        try:
            return cls(transport, loop, is_waiting, lost)
        except OSError:  # closed just now
            return None

    # ---- in the loop

    def __enter__(self) -> None:
        """Have no thread send until `__exit__`."""
        if not self._sender.lock.acquire(timeout=_LONGEST):
            self._sender = self._sender.replaced()
            self._sender.lock.acquire()

    def __exit__(self, *exc: object) -> None:
        self._release(self._sender)

    def write(self, data: bytes) -> None:
        """`transport.write`, while no thread sends."""
        rest = self._sender.rest
        self._sender.sent.clear()
        self._transport.write(rest + data if rest else data)
        self._is_backed_up = self._transport.get_write_buffer_size() > 0

    def _write_rest(self) -> None:
        with self:
            if self._sender.rest and not self._transport.is_closing():
                self.write(b"")

    def close(self) -> None:
        """Threads send no more. Safe to repeat."""
        self._is_closed = True  # first: a thread that sends at this moment looks at it afterwards
        self._close(self._sender)

    # ---- in a thread

    def send(self, message: bytes, before: Callable[[], None]) -> bool:
        """Send `message` in the calling thread; `before` is called if that is possible.

        False, and nothing is done, while anything else is written or has to be first: the loop is
        to `write` it then. An error of the socket is not reported here: the loop notices it.
        """
        sender = self._sender
        if not sender.lock.acquire(blocking=False):
            return False
        try:
            if sender.sent or self._is_backed_up or self._is_waiting() or self._is_closed or self._transport.is_closing():
                return False
            before()
            self._send(sender, message)
        finally:
            self._release(sender)
        return True

    def _send(self, sender: _Sender, message: bytes) -> None:
        sender.message, sent = message, sender.sent
        try:
            # In one call: an exception of a signal handler (Ctrl-C) comes before or after it, and
            # never leaves a part of a message whose rest is not known.
            sent.extend(map(sender.socket.send, (message,)))
        except BlockingIOError:
            sent.append(0)
        except OSError:
            return
        finally:
            if sender.is_over:
                if sent and sent[0] and not sender.is_known:
                    # The process was stopped here, and the loop was the first to go on: it has
                    # written in between.
                    self._soon(self._lost, OSError("a message was sent too late, by a thread that was stopped"))
            elif sent and sent[0] == len(message):
                sent.clear()
            elif sent:
                self._soon(self._write_rest)

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)

    # ---- in either

    def _release(self, sender: _Sender) -> None:
        sender.lock.release()
        if self._is_closed:
            self._close(sender)

    def _close(self, sender: _Sender) -> None:
        # Not under a thread that sends, which does it then: the number could be that of another
        # file at once.
        if sender.lock.acquire(blocking=False):
            sender.socket.close()
            sender.lock.release()
