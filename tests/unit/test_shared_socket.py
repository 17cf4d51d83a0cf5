"""A socket that threads and an event loop write to: whole messages, whatever it takes at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from smith_sdk._core.connection.shared_socket import SharedSocket

END = b"."
ended: list[Exception | None] = []
"""With what a link was ended."""


@pytest.fixture(autouse=True)
def none_ends() -> Iterator[None]:
    ended.clear()
    yield
    assert not ended


def message(writer: int, number: int) -> bytes:
    return bytes([65 + writer]) * (1 + 997 * (number % 40)) + END


class Plain:
    """A transport of which a test needs only what it says about itself."""

    def __init__(self, end: socket.socket | None, *, buffered: int = 0, waiting: bool = False, tls: object = None) -> None:
        self.end, self.buffered, self.waiting, self.tls = end, buffered, waiting, tls

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.end, "sslcontext": self.tls}[name]

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        assert threading.current_thread() is threading.main_thread(), "another thread may see it half changed"
        return self.buffered

    def write(self, data: bytes) -> None:
        assert self.end is not None
        self.end.send(data)


def write_in_loop(shared: SharedSocket, data: bytes) -> None:
    with shared:
        shared.write(data)


async def shared_over(transport: Any, loop: Any = None) -> SharedSocket | None:
    return SharedSocket.of(transport, loop or asyncio.get_running_loop(), lambda: bool(transport.waiting), ended.append)


async def test_messages_are_whole_and_in_the_order_of_their_writer() -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    reader, received = await asyncio.open_connection(sock=far)
    shared = SharedSocket.of(transport, loop, lambda: False, ended.append)
    assert shared is not None
    each, writers, counts = 200, 4, {"here": 0, "refused": 0}

    async def by_loop(data: bytes) -> None:
        write_in_loop(shared, data)

    def write(writer: int) -> None:
        for number in range(each):
            if shared.send(message(writer, number), lambda: None):
                counts["here"] += 1
            else:
                counts["refused"] += 1
                asyncio.run_coroutine_threadsafe(by_loop(message(writer, number)), loop).result(20)

    async def write_here() -> None:
        for number in range(each):
            write_in_loop(shared, message(writers, number))
            await asyncio.sleep(0)

    async def read() -> list[bytes]:
        return [await reader.readuntil(END) for _ in range(each * (writers + 1))]

    reading = asyncio.ensure_future(read())
    await asyncio.gather(write_here(), *(asyncio.to_thread(write, writer) for writer in range(writers)))
    found = await asyncio.wait_for(reading, 20)
    for writer in range(writers + 1):
        own = [one for one in found if one[:1] == bytes([65 + writer])]
        assert own == [message(writer, number) for number in range(each)]
    assert counts["here"]
    assert counts["refused"], "the socket was never full, so that nothing was sent in two parts"
    shared.close()
    transport.close()
    received.close()
    await received.wait_closed()


async def test_a_signal_handler_that_interrupts_a_sending_does_not_send_into_it() -> None:
    near, far = socket.socketpair()
    with near, far:
        shared = await shared_over(Plain(near))
        assert shared is not None
        inner: list[bool] = []
        assert shared.send(b"outer", lambda: inner.append(shared.send(b"inner", lambda: None)))
        assert inner == [False]
        assert shared.send(b"after", lambda: None)
        assert far.recv(100) == b"outerafter"
        shared.close()


async def test_the_loop_goes_on_without_a_thread_that_is_held_up_before_it_sends() -> None:
    """As by a signal handler that waits for the loop."""
    near, far = socket.socketpair()
    with near, far:
        shared = await shared_over(Plain(near))
        assert shared is not None
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def held_up() -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(20)

        sending = asyncio.ensure_future(asyncio.to_thread(shared.send, b"held up", held_up))
        await asyncio.wait_for(begun.wait(), 20)
        assert not await asyncio.to_thread(shared.send, b"by a thread", lambda: None), "it may not wait for the other"
        write_in_loop(shared, b"by the loop,")
        assert await asyncio.to_thread(shared.send, b"by a thread,", lambda: None)
        go_on.set()
        assert await asyncio.wait_for(sending, 20)
        assert await asyncio.to_thread(shared.send, b"after", lambda: None)
        assert far.recv(100) == b"by the loop,by a thread,after"
        shared.close()


async def test_the_loop_writes_the_rest_for_a_thread_that_is_held_up_after_it_has_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    near.setblocking(False)
    with near, far:
        shared = await shared_over(Plain(near))
        assert shared is not None
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def held_up(*args: object) -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(20)

        monkeypatch.setattr(shared, "_soon", held_up)  # called when a part was sent
        data = message(0, 39) * 3
        sending = asyncio.ensure_future(asyncio.to_thread(shared.send, data, lambda: None))
        await asyncio.wait_for(begun.wait(), 20)
        received = far.recv(len(data))
        assert 0 < len(received) < len(data)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * len(data))
        write_in_loop(shared, b"by the loop")
        go_on.set()
        assert await asyncio.wait_for(sending, 20)
        shared.close()
        near.close()
        while more := far.recv(len(data)):
            received += more
        assert received == data + b"by the loop"


async def test_what_a_stopped_thread_sends_after_the_loop_has_gone_on_ends_the_link() -> None:
    near, far = socket.socketpair()
    with near, far:
        shared = await shared_over(Plain(near))
        assert shared is not None
        loop, sender = asyncio.get_running_loop(), shared._sender
        inside, begun, go_on = sender.socket.dup(), asyncio.Event(), threading.Event()

        class Stopped:
            """A socket, and a process that is stopped inside its call."""

            def send(self, data: bytes) -> int:
                loop.call_soon_threadsafe(begun.set)
                assert go_on.wait(20)
                return inside.send(data)

        original, sender.socket = sender.socket, Stopped()  # type: ignore[assignment]
        sending = asyncio.ensure_future(asyncio.to_thread(shared.send, b"too late", lambda: None))
        await asyncio.wait_for(begun.wait(), 20)
        sender.socket = original
        write_in_loop(shared, b"by the loop,")
        go_on.set()
        assert await asyncio.wait_for(sending, 20)
        await asyncio.sleep(0)
        assert "sent too late" in str(ended.pop())
        inside.close()
        shared.close()


async def test_an_interrupt_before_the_sending_leaves_it_usable() -> None:
    near, far = socket.socketpair()
    with near, far:
        shared = await shared_over(Plain(near))
        assert shared is not None

        def interrupt() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            shared.send(b"never", interrupt)
        assert shared.send(b"after", lambda: None)
        assert far.recv(100) == b"after"
        shared.close()


@pytest.mark.parametrize("before", [{"buffered": 1}, {"waiting": True}])
async def test_nothing_overtakes_what_is_still_to_be_written(before: dict[str, Any]) -> None:
    near, far = socket.socketpair()
    with near, far:
        shared = await shared_over(Plain(near, **before))
        assert shared is not None
        begun: list[int] = []
        assert not shared.send(b"x", lambda: begun.append(1))
        assert not begun
        shared.close()


async def test_only_the_loop_looks_at_the_buffer_of_its_transport() -> None:
    near, far = socket.socketpair()
    with near, far:
        transport = Plain(near, buffered=1)
        shared = await shared_over(transport)
        assert shared is not None
        assert not await asyncio.to_thread(shared.send, b"1", lambda: None)
        transport.buffered = 0  # sent meanwhile, which the next writing notices
        write_in_loop(shared, b"1")
        assert await asyncio.to_thread(shared.send, b"2", lambda: None)
        assert far.recv(100) == b"12"
        shared.close()


async def test_a_socket_that_only_its_transport_can_write_to_is_not_shared() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert await shared_over(Plain(near, tls=ssl.create_default_context())) is None
        assert await shared_over(Plain(near), object()) is None  # that of uvloop, say
