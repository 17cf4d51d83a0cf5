"""What several test modules need: waiting with a deadline, looking at processes, talking to a
server without any client."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sized
from pathlib import Path
from typing import Any, Final, TypeVar, overload

T = TypeVar("T")


def eventually(fn: Callable[[], T], timeout: float = 30, *, interval: float = 0.01) -> T:
    """The first true value of `fn()`; AssertionError after `timeout` seconds. An AssertionError in
    `fn` is a "not yet"."""
    deadline = time.monotonic() + timeout
    while True:
        problem: AssertionError | None = None
        try:
            value = fn()
        except AssertionError as error:
            problem = error
        else:
            if value:
                return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"still not so after {timeout:g} s: {problem or inspect.getsource(fn).strip()}")
        time.sleep(interval)


@overload
async def eventually_async(fn: Callable[[], Awaitable[T]], timeout: float = 30, *, interval: float = 0.01) -> T: ...
@overload
async def eventually_async(fn: Callable[[], T], timeout: float = 30, *, interval: float = 0.01) -> T: ...
async def eventually_async(fn: Callable[[], Any], timeout: float = 30, *, interval: float = 0.01) -> Any:
    """`eventually` that lets the loop run; `fn` may be async."""
    deadline = time.monotonic() + timeout
    while True:
        problem: AssertionError | None = None
        try:
            value = fn()
            if inspect.isawaitable(value):
                value = await asyncio.wait_for(value, max(0.05, deadline - time.monotonic()))
        except AssertionError as error:
            problem = error
        else:
            if value:
                return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"still not so after {timeout:g} s: {problem or inspect.getsource(fn).strip()}")
        await asyncio.sleep(interval)


async def eventually_equal(look: Callable[[], Awaitable[T]], expected: T) -> None:
    """Waits until `look()` is `expected`: for figures that a server counts a moment after it has
    answered, as those of a consumer after a publish."""

    async def is_so() -> bool:
        found = await look()
        assert found == expected, f"{found!r}, not {expected!r}"
        return True

    await eventually_async(is_so)


async def eventually_has(look: Callable[[], Awaitable[object]], **expected: object) -> None:
    """`eventually_equal` of some attributes of what `look()` returns."""

    async def attributes() -> dict[str, object]:
        found = await look()
        return {name: getattr(found, name) for name in expected}

    await eventually_equal(attributes, expected)


def has_length(found: Sized, count: int) -> Callable[[], bool]:
    """For `eventually` in a loop, whose variable a lambda would share with the next round."""
    return lambda: len(found) == count


def is_alive(pid: int) -> bool:
    """Whether the process runs. A zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return True
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


LOGIN: Final = "authorization { user: both, password: planted }"
"""For servers of one cluster, which clients find by themselves: with the same user on all."""


def signed_in(url: str) -> str:
    """The URL of a server that has `LOGIN` in its configuration."""
    return url.replace("://", "://both:planted@")


def without_login(url: str) -> str:
    """`url` as the SDK shows it: without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def elsewhere(url: str, host: str) -> str:
    """`url`, credentials included, with another host and port."""
    return f"{url.rpartition('@')[0]}@{host}"


async def raw_client(url: str, **facts: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server at `url`, with its credentials sent, and no client library."""
    login, _, place = url.removeprefix("nats://").rpartition("@")
    user, _, password = login.partition(":")
    host, _, port = place.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"CONNECT " + json.dumps({"verbose": False, "user": user, "pass": password, **facts}).encode() + b"\r\n")
    return reader, writer


def nats_info(url: str, timeout: float = 2.0) -> str:
    """The INFO line of the server at `url`."""
    host, _, port = url.removeprefix("nats://").rpartition("@")[2].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection, connection.makefile("rb") as stream:
        return stream.readline().decode()


def halt(pid: int | None, timeout: float = 30.0) -> None:
    """Stop a process with SIGSTOP, and wait until all of it has stopped: the signal alone may take
    a moment."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    if tasks.exists():
        eventually(lambda: all(_state(task / "stat") == "T" for task in tasks.iterdir()), timeout, interval=0.001)


def _state(stat: Path) -> str:
    return stat.read_text().rpartition(")")[2].split()[0]
