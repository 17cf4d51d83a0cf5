"""A TCP proxy in front of a nats-server, which makes the faults of a network between the two.

It runs in a thread with an event loop of its own, so that the code under test cannot starve it and
both faces can use it. A link holds at most one read of `CHUNK` bytes in each direction, and its
sockets little more; the rest stays with the sender, whose buffers fill up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

T = TypeVar("T")

HOST: Final = "127.0.0.1"
CHUNK: Final = 64 * 1024
_CALL: Final = 10.0

Direction = Literal["both", "to_server", "to_client"]
Hearing = Literal["open", "deaf", "stalled"]


def hold_port() -> socket.socket:
    """A socket that reserves a free port of loopback; a server may still listen on it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    return holder


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


class Link:
    """One client's connection and the one to the server that goes with it."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.has_lost = False
        """Bytes of it were dropped."""
        self.is_dead = False
        """It is deaf for good, whatever the proxy hears."""

    def close(self, loop: asyncio.AbstractEventLoop, *, reset: bool) -> None:
        for task in self.tasks:
            task.cancel()
        for end in (self.client, self.server):
            if end is not None and end.fileno() >= 0:
                loop.remove_reader(end)  # before its number goes to another socket
                loop.remove_writer(end)
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()


class Proxy:
    """`with Proxy(server.url) as proxy:` and clients connect to `proxy.url`. Its methods are
    thread-safe, and take effect at once."""

    def __init__(self, target: str) -> None:
        self._target = port_of(target)
        credentials, at, _ = target.removeprefix("nats://").rpartition("@")
        self._credentials = credentials + at
        self._holder = hold_port()
        self._port: int = self._holder.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: set[Link] = set()
        self._hearing: dict[str, Hearing] = {"to_server": "open", "to_client": "open"}
        self._heard = asyncio.Event()  # set for an instant whenever a direction opens
        self._delay = 0.0
        self.accepted = 0
        """Connections taken so far."""

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        self.restore()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL)
        self._loop.close()
        self._holder.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL)

    def _at_once(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        self._call(run())

    # ---- what it is

    @property
    def url(self) -> str:
        return f"nats://{self._credentials}{HOST}:{self._port}"

    @property
    def links(self) -> int:
        """Connections that are open, and not dead."""
        return sum(not link.is_dead and link.server is not None for link in tuple(self._links))

    # ---- faults

    def cut(self, *, reset: bool = True) -> int:
        """Close every link, by RST or by FIN, and refuse new ones until `restore`. Returns how
        many were closed."""

        async def cut() -> int:
            self._refuse()
            closed = len(self._links)
            self._close(tuple(self._links), reset=reset)
            return closed

        return self._call(cut())

    def restore(self) -> None:
        """Take connections again."""
        self._call(self._listen())

    def deafen(self, direction: Direction = "both") -> None:
        """Accept bytes and drop them; links stay open, and new ones are accepted and as deaf: a
        network that died in silence."""
        self._at_once(lambda: self._set(direction, "deaf"))

    def stall(self, direction: Direction = "both") -> None:
        """Read no more: nothing is lost, and the sender's socket fills up. `hear` lets
        everything through."""
        self._at_once(lambda: self._set(direction, "stalled"))

    def bury(self) -> int:
        """Every present link is deaf for good, as behind a router that forgot it; new ones are
        not. Returns how many."""

        async def bury() -> int:
            buried = [link for link in self._links if not link.is_dead]
            for link in buried:
                link.is_dead = True
            return len(buried)

        return self._call(bury())

    def hear(self) -> None:
        """End `deafen` and `stall`. A link that lost bytes is reset: as a stream of TCP it
        cannot go on."""

        def hear() -> None:
            self._set("both", "open")
            self._close([link for link in self._links if link.has_lost and not link.is_dead], reset=True)
            self._heard.set()
            self._heard.clear()

        self._at_once(hear)

    def delay(self, seconds: float) -> None:
        """Hold whatever is read for `seconds` before it is passed on; 0 ends that."""
        self._delay = seconds

    # ---- in the loop

    def _set(self, direction: Direction, hearing: Hearing) -> None:
        for one in self._hearing if direction == "both" else (direction,):
            self._hearing[one] = hearing

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)  # for what it accepts
        self._listener.bind((HOST, self._port))
        self._listener.listen()
        self._accepting = asyncio.create_task(self._accept(self._listener))

    def _refuse(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()
        self._accepting = self._listener = None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            link = Link(client)
            self._links.add(link)
            link.tasks.append(asyncio.create_task(self._open(link)))

    async def _open(self, link: Link) -> None:
        server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        try:
            await self._loop.sock_connect(server, (HOST, self._target))
        except OSError:
            server.close()
            self._close([link], reset=False)
            return
        except BaseException:
            server.close()
            raise
        link.server = server
        for end in (link.client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.tasks += (
            asyncio.create_task(self._pump(link, "to_server", link.client, server)),
            asyncio.create_task(self._pump(link, "to_client", server, link.client)),
        )

    async def _pump(self, link: Link, direction: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._not_stalled(direction)
                data = await self._loop.sock_recv(source, CHUNK)
                await self._not_stalled(direction)  # it may have been stalled while this was waited for
                if link.is_dead or self._hearing[direction] == "deaf":
                    link.has_lost = True
                    if not data:
                        return  # nor does the other side hear that this one hung up
                    continue
                if not data:
                    break
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._loop.sock_sendall(sink, data)
        self._close([link], reset=False)

    async def _not_stalled(self, direction: str) -> None:
        while self._hearing[direction] == "stalled":
            await self._heard.wait()

    def _close(self, links: list[Link] | tuple[Link, ...], *, reset: bool) -> None:
        for link in links:
            self._links.discard(link)
            link.close(self._loop, reset=reset)

    async def _end(self) -> None:
        self._refuse()
        self._close(tuple(self._links), reset=True)
        ending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
