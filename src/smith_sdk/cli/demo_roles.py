"""What the parts of the demo connect with: one bus for all, or a bus for each role."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from ..aio import AsyncSmithBus
from ..protocol import FsReadV1Intent, IntentResult
from ..trust import Trust

EXECUTOR_ROLE: Final = "SMITH_DEMO_ROLE"
"""The environment variable with an executor's `ExecutorRole`, as JSON."""


class ExecutorRole(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor is told beside the URL of its server."""

    inbox_prefix: str
    trusted: list[str]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What a role tried that is not its own, and the subject or code by which it was refused."""

    role: str
    tried: str
    refused: bool
    by: str


Answers = Mapping[str, IntentResult]
"""The results of intents that are not the demo's own, by the ids of these."""


async def _nothing(_: Answers) -> tuple[Refused, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The buses of the parts that run in this process, and what the others need."""

    publisher: AsyncSmithBus
    admission: AsyncSmithBus
    collector: AsyncSmithBus
    watcher: AsyncSmithBus
    """Receives dead letters."""
    executors: Mapping[str, str]
    """The environment of the executors, which holds their credentials."""
    trust: Trust | None = None
    sign: Callable[[FsReadV1Intent], FsReadV1Intent] = lambda intent: intent
    try_forbidden: Callable[[Answers], Awaitable[tuple[Refused, ...]]] = _nothing


@asynccontextmanager
async def one_role_for_all() -> AsyncIterator[Roles]:
    """All parts share a bus that may do everything."""
    async with AsyncSmithBus.embedded() as bus:
        environment = {**os.environ, "SMITH_NATS_URL": bus.url}
        yield Roles(publisher=bus, admission=bus, collector=bus, watcher=bus, executors=environment)
