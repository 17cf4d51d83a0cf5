"""The proxy does what it says: a fault that is none would let every scenario pass."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from chaos.proxy import HOST, Proxy, hold_port, port_of
from support import eventually

BUFFERS = 16 * 1024 * 1024  # more than the sockets on the way take by themselves


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.url = f"nats://{HOST}:{self.listener.getsockname()[1]}"
        self.received = bytearray()
        self.links: list[socket.socket] = []
        self.hung_up = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                self.links.append(link)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := link.recv(65536):
                self.received += data
                link.sendall(data)
        self.hung_up += 1

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self.links:
            link.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.url) as proxy:
        yield proxy


@contextlib.contextmanager
def client_of(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((HOST, port_of(proxy.url)), timeout=5) as client:
        yield client


def read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def is_silent(client: socket.socket, seconds: float = 0.2) -> bool:
    client.settimeout(seconds)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def test_bytes_go_through_both_ways(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        data = bytes(range(256)) * 4096
        threading.Thread(target=client.sendall, args=(data,), daemon=True).start()
        assert read(client, len(data)) == data
        assert proxy.links == proxy.accepted == 1
    eventually(lambda: proxy.links == 0)


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_closes_links_and_refuses_new_ones_until_it_is_restored(proxy: Proxy, echo: Echo, reset: bool) -> None:
    with client_of(proxy) as client:
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        assert proxy.cut(reset=reset) == 1
        if reset:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        else:
            assert client.recv(1) == b""
    eventually(lambda: echo.hung_up == 1)
    with pytest.raises(ConnectionRefusedError), client_of(proxy):
        pass
    proxy.restore()
    with client_of(proxy) as client:
        client.sendall(b"again")
        assert read(client, 5) == b"again"


def test_a_deaf_proxy_takes_bytes_and_drops_them(proxy: Proxy, echo: Echo) -> None:
    with client_of(proxy) as idle, client_of(proxy) as client:
        idle.sendall(b"i")
        assert read(idle, 1) == b"i"
        proxy.deafen()
        client.sendall(b"lost")
        assert is_silent(client)
        assert echo.received == b"i"
        with client_of(proxy) as newcomer:
            newcomer.sendall(b"lost too")
            assert is_silent(newcomer)
            proxy.hear()
            for lossy in (client, newcomer):
                with pytest.raises(ConnectionResetError):
                    lossy.recv(1)
        idle.sendall(b"still here")
        assert read(idle, 10) == b"still here"
        assert echo.received == b"istill here"


def test_deaf_in_one_direction(proxy: Proxy, echo: Echo) -> None:
    with client_of(proxy) as client:
        proxy.deafen("to_client")
        client.sendall(b"heard")
        eventually(lambda: echo.received == b"heard")
        assert is_silent(client)
        proxy.hear()
    with client_of(proxy) as client:
        client.sendall(b"x")
        assert read(client, 1) == b"x"


def test_a_buried_link_stays_deaf_and_new_ones_live(proxy: Proxy, echo: Echo) -> None:
    with client_of(proxy) as client:
        eventually(lambda: proxy.links == 1)
        assert proxy.bury() == 1
        client.sendall(b"lost")
        proxy.hear()
        client.sendall(b"lost")
        assert is_silent(client)
        assert proxy.links == 0
        with client_of(proxy) as other:
            other.sendall(b"x")
            assert read(other, 1) == b"x"
    eventually(lambda: echo.hung_up == 1)  # the living one's; nobody hears the dead one hang up
    assert echo.received == b"x"


def test_a_stalled_proxy_loses_nothing_and_pushes_back(proxy: Proxy, echo: Echo) -> None:
    with client_of(proxy) as client:
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        proxy.stall()
        client.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < BUFFERS:
                sent += client.send(b"y" * 65536)
        assert sent < BUFFERS
        assert echo.received == b"x"
        client.settimeout(5)
        proxy.hear()
        assert read(client, sent) == b"y" * sent


def test_a_delay_is_a_delay_both_ways(proxy: Proxy) -> None:
    with client_of(proxy) as client:
        proxy.delay(0.5)
        began = time.monotonic()
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        assert 1 <= time.monotonic() - began < 4
        proxy.delay(0)
        began = time.monotonic()
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        assert time.monotonic() - began < 1


def test_without_its_server_it_hangs_up() -> None:
    with hold_port() as nobody, Proxy(f"nats://{HOST}:{nobody.getsockname()[1]}") as proxy, client_of(proxy) as client:
        assert client.recv(1) == b""


def test_nothing_is_left_of_it(echo: Echo) -> None:
    threads = threading.active_count()
    with Proxy(echo.url) as proxy, client_of(proxy) as client:
        client.sendall(b"x")
        assert read(client, 1) == b"x"
        proxy.stall()
    with pytest.raises(ConnectionRefusedError), client_of(proxy):
        pass
    eventually(lambda: threading.active_count() <= threads + 1)  # the echo's own for this link ends by itself
