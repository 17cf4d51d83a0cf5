"""Policies of `Admission` that only compute, and say so."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from ..errors import OptionsError
from .decisions import Decision

PolicyT = TypeVar("PolicyT", bound=Callable[..., Decision])
NEEDED: Final = "a function of an intent, or of an intent and its message, is needed"


class Inline:
    """What `inline` returns."""

    def __init__(self, policy: Callable[..., Any]) -> None:
        functools.update_wrapper(self, policy)
        self.policy = policy

    def __call__(self, *arguments: Any) -> Any:
        return self.policy(*arguments)

    def __repr__(self) -> str:
        return f"inline({self.policy!r})"


def inline(policy: PolicyT) -> PolicyT:
    """`policy`, a plain function that only computes, for `Admission(policy=inline(policy))`.

    It is then called in the thread of the event loop, which costs less than the hop to another
    thread and back. The price: while it runs, nothing else does in that loop - no other intent, no
    acknowledgement, no heartbeat - and the `timeout` of the admission does not end it. It must not
    wait: no file, no socket, no lock, no `sleep`. A call should take some ten microseconds.

    Raises `OptionsError` for a coroutine function, which needs no `inline`, and for what cannot be
    called.
    """
    if not callable(policy):
        raise OptionsError(f"inline({policy!r}): {NEEDED}")
    if _is_async(policy):
        raise OptionsError(
            f"inline({policy!r}): it is a coroutine function, which runs in the event loop anyway: pass it as it is, "
            f"Admission(policy=...)"
        )
    found: Any = Inline(policy)
    return cast("PolicyT", found)


def _is_async(policy: Any) -> bool:
    """Whether a call of `policy` returns a coroutine or an async generator."""
    while isinstance(policy, (functools.partial, Inline)):
        policy = policy.func if isinstance(policy, functools.partial) else policy.policy
    call = policy if inspect.isroutine(policy) else type(policy).__call__
    return any(test(one) for one in (policy, call) for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction))
