"""The leak counter: what a bus has open in this process, counted before and after."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support import eventually


def open_now() -> Counter[str]:
    """Threads, file descriptors (sockets, selectors, files), and futures and tasks that are not
    done."""
    found: Counter[str] = Counter()
    for thread in threading.enumerate():
        found[f"thread {re.sub('[0-9]+', '#', thread.name)}"] += 1
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the one that listed the folder
            continue
        found[f"fd {re.sub('[0-9]+', '#', target)}"] += 1
    gc.collect()
    for one in gc.get_objects():
        if issubclass(type(one), asyncio.Future) and not one.done():
            found[f"{type(one).__name__} {one.get_coro() if isinstance(one, asyncio.Task) else ''}".strip()] += 1
    return found


@contextmanager
def nothing_left() -> Iterator[None]:
    """Around the whole life of a bus: what it opened is closed when the block ends, or a moment
    later."""
    before = open_now()
    yield

    def gone() -> bool:
        left = open_now() - before
        assert not left, f"left open: {dict(left)}"
        return True

    eventually(gone)


def of_bus(bus: Any) -> Counter[str]:
    """What an open bus of either face has in flight: subscriptions (nats-py's and ours),
    publishes, replies, parts, listeners."""
    aio = getattr(bus, "inner", bus)
    aio = getattr(aio, "_aio", aio)
    session = aio._session
    found = Counter(
        {
            "subscriptions": len(session.connection._subscriptions),
            "subscriptions of the link": len(link.subscriptions) if (link := session.connection.link) is not None else 0,
            "publishes": len(session.window),
            "replies awaited": len(session.requests._waiting),
            "parts to stop": len(session.parts) + len(session._stopping),
            "listeners": len(session.connection._status.listeners),
        }
    )
    portal = getattr(getattr(bus, "inner", None), "_portal", None)
    if portal is not None:
        found["calls"] = len(portal._thread.calls)
        found["handed over"] = len(portal._thread.posts) + len(portal._thread.submits)
    return found
