"""Reads the socket of a link: the event loop does, or the one thread that waits for a reply."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final

_LOOP_SIZE: Final = 128 * 1024
"""Bytes that the loop reads from the socket at once."""
_REPLY_SIZE: Final = 4096
"""Bytes that a thread reads at once: more than a reply has."""
_LONGEST: Final = 0.2
"""Seconds that a thread reads for: then it is the loop's turn, with all its timers."""
_LOOK: Final = 0.25
"""Seconds between two looks at the reader. Longer than `_LONGEST`: the same one in both hangs, or
has taken long to send."""
_BUSY: Final = 64
"""Requests for which no thread reads after one has found something else than its reply."""

_Received = list[bytes]


class _Turn:
    """The thread that reads, if one does, and the socket that threads use for that."""

    def __init__(self, source: socket.socket) -> None:
        self.socket = source.dup()
        self.socket.settimeout(_LONGEST)
        self.receiving = threading.Lock()
        """Held while a thread is inside the call of the socket."""
        self.reader: dict[None, _Received] = {}
        """What the reader has received and not passed on; empty while none reads. A dict, because
        `setdefault` claims it in one step."""


class ReplyReader:
    """Lets a thread read the reply to what it has sent, if no other thread waits for one.

    Then the loop's thread is not woken, and need not wake the other: that is nearly half of the
    processor time of a blocking publish. Whatever is not the reply is handed to the loop, which
    goes on reading after it: so all else is received by the loop alone, and in order.

    A thread may be interrupted between any two steps: by an exception of a signal handler (Ctrl-C),
    or by a handler that takes long, or itself waits for something to be received. The loop looks
    for that twice in half a second, and takes back the turn of a thread that hangs.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes], None],
        lost: Callable[[Exception | None], None],
        is_between: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._lost = lost
        self._is_between = is_between
        """Whether what was received so far ends with a whole message."""
        self._socket: socket.socket = transport.get_extra_info("socket").dup()
        self._buffer = memoryview(bytearray(_LOOP_SIZE))
        self._turn = _Turn(self._socket)
        self._busy = 0
        self._claims = 0
        self._is_looking = False
        self._seen: tuple[_Received | None, int] = (None, 0)
        """The reader's list, and how many threads had claimed a turn, when the loop looked last."""
        # The loop waits for this instead of the socket: other threads may say whether it is to.
        self._gate = select.epoll()
        self._gate.register(self._socket, select.EPOLLIN)
        loop.add_reader(self._gate.fileno(), self._on_readable)
        transport.pause_reading()

    @classmethod
    def of(
        cls,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[bytes], None],
        lost: Callable[[Exception | None], None],
        is_between: Callable[[], bool],
    ) -> ReplyReader | None:
        """None where only the transport can read: on systems without epoll."""
        if sys.platform != "linux":
            return None
        try:
            return cls(transport, loop, receive, lost, is_between)
        except OSError:  # closed just now
            return None

    # ---- in a thread

    def ask(self, send: Callable[[], bool], head: bytes) -> bytes | None:
        """Call `send`, and wait for the message that begins with `head` and its size; return its
        data.

        None if `send` has returned False. Empty if the loop will receive it: another thread reads,
        something else has come first, or nothing for a moment.
        """
        turn, received = self._turn, _Received()
        is_reading = self._claim(turn, received)
        if not send():
            if is_reading:
                self._release(turn)
            return None
        return self._reply(turn, received, head) if is_reading else b""

    def _claim(self, turn: _Turn, received: _Received) -> bool:
        if self._busy:
            self._busy -= 1
            return False
        # Before it reads: an exception between the two leaves nothing that has to be looked for.
        self._claims += 1
        if not self._is_looking:
            self._soon(self._begin_to_look)
        if turn.reader.setdefault(None, received) is not received:
            return False
        if self._is_between():
            self._watch(0)
            if self._turn is turn:
                return True
            self._watch(select.EPOLLIN)  # the loop has taken the turn back, while a signal handler ran
        turn.reader.clear()
        return False

    def _reply(self, turn: _Turn, received: _Received, head: bytes) -> bytes:
        try:
            # In one call, so that nothing is lost if a signal handler raises after it.
            with turn.receiving:
                received.extend(map(turn.socket.recv, (_REPLY_SIZE,)))
            data = received[0]
        except (OSError, IndexError):  # nothing has come, or the loop has taken the turn back
            self._release(turn)
            return b""
        begin = data.find(b"\r\n") + 2
        body = data[begin:-2]
        if data == b"%b%d\r\n%b\r\n" % (head, len(body), body):
            received.clear()
            self._release(turn)
            return body
        self._busy = _BUSY
        self._soon(self._take_over, turn)
        return b""

    def _release(self, turn: _Turn) -> None:
        if self._turn is turn:
            self._watch(select.EPOLLIN)
        turn.reader.clear()
        if self._gate.closed:
            turn.socket.close()

    def _watch(self, events: int) -> None:
        """Have the loop woken for these events of the socket."""
        try:
            self._gate.modify(self._socket, events)
        except (OSError, ValueError):  # closed
            return

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)

    # ---- in the loop

    def _on_readable(self) -> None:
        turn, received = self._turn, _Received()
        if turn.reader.setdefault(None, received) is not received:
            return
        try:
            size = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._lost(error)
        else:
            self._take(bytes(self._buffer[:size]))
        finally:
            turn.reader.clear()

    def _take(self, data: bytes) -> None:
        if data:
            self._receive(data)
        else:
            self._lost(None)

    def _take_over(self, turn: _Turn) -> None:
        """Receive what a thread has received, and go on."""
        received = turn.reader.get(None, [])
        if self._turn is turn:
            self._take_all(received)
            self._release(turn)
        elif received:
            # The process was stopped while the thread read, and the loop was first to go on: it has
            # received later bytes.
            self._lost(OSError("bytes of the server were received too late, by a thread that was stopped"))

    def _take_all(self, received: _Received) -> None:
        while received:
            self._take(received.pop(0))

    def _begin_to_look(self) -> None:
        if not self._is_looking and not self._gate.closed:
            self._is_looking = True
            self._loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        """Take back the turn of a reader that was there at the last look, too."""
        self._is_looking = False  # first: a thread that has seen it true is counted by now
        turn = self._turn
        reader = turn.reader.get(None)
        before, self._seen = self._seen, (reader, self._claims)
        if reader is not None and reader is before[0] and not self._gate.closed:
            try:
                self._turn = _Turn(self._socket)
            except OSError as error:  # no more descriptors
                self._lost(error)
                return
            turn.socket.close()  # its thread has not begun to read, or has ended: none takes that long
            self._take_all(reader)
        if self._turn.reader.get(None) is None:
            self._watch(select.EPOLLIN)
        if self._seen != before:
            self._begin_to_look()

    def close(self) -> None:
        """Read no more. Safe to repeat."""
        if not self._gate.closed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.remove_reader(self._gate.fileno())
            self._gate.close()
            self._socket.close()
            # Not under a thread that receives: its number could be that of another file at once.
            if self._turn.receiving.acquire(blocking=False):
                self._turn.socket.close()
                self._turn.receiving.release()
