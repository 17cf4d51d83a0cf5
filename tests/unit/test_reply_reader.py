"""A socket that the event loop reads, and now and then a thread: all of it, and in order."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support import eventually_async

from smith_sdk._core.connection.reply_reader import ReplyReader, _Received

HEAD = b"MSG inbox.-1 1 "
REPLY = HEAD + b"4\r\nbody\r\n"


class Ends:
    """A reader at one end of a connection, the other end, and what the loop has received."""

    def __init__(self, reader: ReplyReader, far: socket.socket) -> None:
        self.reader, self.far = reader, far
        self.received = b""
        self.lost: list[Exception | None] = []
        self.is_between = True

    async def ask(self, *sent: bytes) -> bytes | None:
        """What a thread gets that asks, while the other end sends this."""

        def send() -> bool:
            for one in sent:
                self.far.sendall(one)
            return True

        return await asyncio.to_thread(self.reader.ask, send, HEAD)


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    near, far = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)

    def receive(data: bytes) -> None:
        ends.received += data

    reader = ReplyReader.of(
        transport, asyncio.get_running_loop(), receive, lambda why: ends.lost.append(why), lambda: ends.is_between
    )
    if reader is None:
        pytest.skip("without epoll the event loop alone reads, which other tests cover")
    ends = Ends(reader, far)
    with far:
        yield ends
        reader.close()
        reader.close()
        transport.close()


async def test_a_thread_gets_its_reply_and_the_loop_all_else() -> None:
    async with connected() as ends:
        ends.far.sendall(b"before")
        await eventually_async(lambda: ends.received == b"before")
        assert await ends.ask(REPLY) == b"body"
        ends.far.sendall(b" after")
        await eventually_async(lambda: ends.received == b"before after")


@pytest.mark.parametrize("sent", [b"PING\r\n", b"PING\r\n" + REPLY, REPLY + b"PING\r\n", REPLY[:-1], HEAD + b"5\r\nbody\r\n"])
async def test_what_is_not_the_reply_alone_is_for_the_loop(sent: bytes) -> None:
    async with connected() as ends:
        assert await ends.ask(sent) == b""
        ends.far.sendall(b"after")
        await eventually_async(lambda: ends.received == sent + b"after")
        assert await ends.ask(REPLY) == b"", "a thread reads again at once, although others send a lot"
        await eventually_async(lambda: ends.received == sent + b"after" + REPLY)


async def test_in_the_middle_of_a_message_no_thread_reads() -> None:
    async with connected() as ends:
        ends.is_between = False
        assert await ends.ask(REPLY) == b""
        await eventually_async(lambda: ends.received == REPLY)


async def test_a_thread_that_hangs_loses_its_turn_and_nothing_of_what_it_has_received() -> None:
    async with connected() as ends:
        turn, received = ends.reader._turn, _Received()
        assert ends.reader._claim(turn, received)
        received.append(b"first ")
        ends.far.sendall(REPLY)
        await eventually_async(lambda: ends.received == b"first " + REPLY)
        ends.far.sendall(REPLY)
        assert await asyncio.to_thread(ends.reader._reply, turn, received, HEAD) == b"", "it reads after it has lost its turn"
        await eventually_async(lambda: ends.received == b"first " + REPLY + REPLY)
        assert await ends.ask(REPLY) == b"body"


async def test_what_a_thread_has_received_after_it_has_lost_its_turn_ends_the_link() -> None:
    async with connected() as ends:
        turn, received = ends.reader._turn, _Received()
        assert ends.reader._claim(turn, received)
        await eventually_async(lambda: ends.reader._turn is not turn)
        received.append(b"PING\r\n")  # as if its process had been stopped in the middle of the call
        ends.reader._take_over(turn)
        assert ends.received == b""
        assert [str(one) for one in ends.lost] == [
            "bytes of the server were received too late, by a thread that was stopped",
        ]


async def test_what_the_loop_has_taken_from_a_thread_that_hangs_is_received_once() -> None:
    async with connected() as ends:
        turn, received = ends.reader._turn, _Received()
        assert ends.reader._claim(turn, received)
        received.append(b"PING\r\n")
        await eventually_async(lambda: ends.reader._turn is not turn)
        ends.reader._take_over(turn)
        assert (ends.received, ends.lost) == (b"PING\r\n", [])


async def test_a_socket_that_a_thread_reads_is_closed_by_the_thread() -> None:
    async with connected() as ends:
        turn, go_on = ends.reader._turn, threading.Event()
        inside = turn.socket

        class Slow:
            """A socket, and a thread that is in its call for as long as the test needs."""

            close = inside.close

            def recv(self, size: int) -> bytes:
                assert go_on.wait(20)
                return inside.recv(size)

        turn.socket = Slow()  # type: ignore[assignment]
        asking = asyncio.ensure_future(ends.ask())
        await eventually_async(turn.receiving.locked)
        ends.reader.close()
        assert inside.fileno() >= 0
        go_on.set()
        assert await asking == b""
        assert inside.fileno() < 0


async def test_a_thread_waits_no_longer_than_a_moment() -> None:
    async with connected() as ends:
        assert await ends.ask() == b""
        ends.far.sendall(REPLY)
        await eventually_async(lambda: ends.received == REPLY)


async def test_the_loop_learns_of_the_end() -> None:
    async with connected() as ends:
        ends.far.shutdown(socket.SHUT_WR)
        await eventually_async(lambda: ends.lost)
    async with connected() as ends:
        ends.far.shutdown(socket.SHUT_WR)
        assert await ends.ask() == b""
        await eventually_async(lambda: ends.lost)
