"""One nats-server in each process, and an account on it for each test.

PYTEST_DONT_REWRITE: no assertions.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

if TYPE_CHECKING:
    from .._core.jetstream.session import Session
    from ..aio import AsyncSmithBus
    from ..embedded import EmbeddedServer
    from ..sync import SmithBus

BusT = TypeVar("BusT", "SmithBus", "AsyncSmithBus")

_ACCOUNTS: Final = 64
"""Accounts of one server. Each adds 0.4 ms to its start; when all are used, another starts."""
_MEMORY: Final = "/dev/shm"
_ROOM: Final = 1024**3
"""Bytes that Smith's streams may hold under the profile "dev"."""


@dataclass(frozen=True)
class NatsServer:
    """A nats-server with an account for this test alone. `url` contains its credentials."""

    url: str = field(repr=False)


class Servers:
    """The server of this process, replaced when its accounts are used up or a test has killed it.

    No account is used twice: its streams can be deleted, but remembered ids, sequences and clients
    that an earlier test left running stay. Starting a server takes less time than reloading the
    configuration of a running one.
    """

    def __init__(self) -> None:
        self._server: EmbeddedServer | None = None
        self._urls: Iterator[str] = iter(())

    def account(self) -> str:
        """The URL of an unused account."""
        url = next(self._urls, None) if self.running else None
        if url is None:
            self.stop()
            self._urls = self._start()
            url = next(self._urls)
        return url

    def _start(self) -> Iterator[str]:
        from ..embedded import EmbeddedServer

        password = os.urandom(8).hex()
        names = [f"test-{number}" for number in range(_ACCOUNTS)]
        accounts = [f"{name}: {{ jetstream: enabled, users: [{{ user: {name}, password: {password} }}] }}" for name in names]
        self._server = EmbeddedServer(config="\n".join(["accounts {", *accounts, "}"]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", _store_room())  # the server or its guard removes its directory
            self._server.start()
        place = self._server.url.removeprefix("nats://")
        return iter([f"nats://{name}:{password}@{place}" for name in names])

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.running

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()


def _store_room() -> str:
    """Directory for the server's files: in memory if there is room.

    Making files is most of the time that creating streams takes.
    """
    with contextlib.suppress(OSError):
        if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
            return _MEMORY
    return tempfile.gettempdir()


def bus_on(face: type[BusT], url: str, **options: Any) -> BusT:
    """A bus on `url` without the NATS_ variables: TLS files and contexts are for other servers."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("NATS_")]:
            patch.delenv(name)
        return face(url, **options)


async def delete_streams(session: Session) -> None:
    """Delete all streams of an account: the storage they reserve counts for the whole server."""
    import asyncio

    admin = session.api
    streams = await admin.streams(">")
    await asyncio.gather(*(admin.stream_delete(one["config"]["name"]) for one in streams))
