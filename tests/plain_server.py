"""A nats-server with nothing but the configuration that a test writes.

`EmbeddedServer` waits for the greeting that a NATS server begins with, which one that demands TLS
first never sends.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from chaos.proxy import hold_port
from support import eventually

from smith_sdk.embedded.server import find_nats_server

HOST = "127.0.0.1"


_held: Final[dict[int, socket.socket]] = {}


def free_port() -> int:
    """A port for a `PlainServer`. No other process gets it before that server has ended."""
    holder = hold_port()
    port: int = holder.getsockname()[1]
    _held[port] = holder
    return port


def is_listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


class PlainServer:
    """`with PlainServer(tmp_path, config, *ports):` runs while the block does, and listens on each
    of `ports` when it begins."""

    def __init__(self, directory: Path, config: str, *ports: int) -> None:
        self._file = directory / f"plain-{ports[0]}.conf"
        self._file.write_text(config)
        self._ports = ports
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([find_nats_server(), "-c", self._file], stderr=subprocess.DEVNULL)
        for port in self._ports:
            eventually(lambda port=port: is_listening(port))  # type: ignore[misc]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()
        for port in self._ports:
            if (holder := _held.pop(port, None)) is not None:
                holder.close()
