"""What the slots of one shard get from outside, where those of a worker make their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .._core.connection.parser import RawMessage
from .._core.dead_letters.format import Death
from .._core.execution.dispatcher import Dispatcher
from .._core.jetstream.pull_loop import PullLoop
from .message import Guard, Message
from .settle import Verdict


class ShardGuard(Guard, Protocol):
    """Whether this process may act on the messages of a shard."""

    @property
    def is_valid(self) -> bool:
        """Whether the shard is this process's now."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardParts:
    """The parts of one shard's slots.

    Its slots do not open or close the handlers, and are no part of the bus: the worker of all
    shards does and is.
    """

    make_loop: Callable[[], PullLoop]
    make_dispatcher: Callable[[PullLoop], Dispatcher[RawMessage]]
    guard: ShardGuard
    settled: Callable[[Message[Any, Any], Verdict], None]
    """Called for each settled message. A message is nak'ed by it: the settler only says so."""
    before_term: Callable[[Message[Any, Any], Death], Awaitable[None]] | None
    """Awaited before a message that is dead-lettered is terminated."""
    hold: Callable[[], None]
    """Have the dispatcher hand out nothing more."""
