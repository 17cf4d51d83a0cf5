"""Doing the same with many streams or consumers, some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

ItemT = TypeVar("ItemT")

_TOGETHER: Final = 16
"""Maximum number of requests in flight."""


async def in_parallel(items: Sequence[ItemT], carry_out: Callable[[ItemT], Awaitable[None]]) -> None:
    """Call `carry_out` with each of `items`, in this order, at most `_TOGETHER` at a time.

    After the first error no other call is begun; it is raised when none is in flight any more.
    """
    waiting = iter(items)
    errors: list[Exception] = []

    async def work() -> None:
        for item in waiting:
            try:
                await carry_out(item)
            except Exception as error:
                errors.append(error)
            if errors:
                return

    await asyncio.gather(*(work() for _ in range(min(_TOGETHER, len(items)))))
    if errors:
        raise errors[0]
