"""Awaiting a coroutine function in a context of its own, without a task for it."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar

T = TypeVar("T")


async def await_in_context(context: contextvars.Context, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in `context`, as a part of the current task."""
    try:
        awaited = context.run(work.send, None)
    except StopIteration as end:  # it did not have to wait
        value: T = end.value
        return value
    found: T = await _Remainder(work, context.run, awaited)
    return found


async def call_in_context(function: Callable[[Any], Any], argument: Any) -> Any:
    """Await `function(argument)` in a copy of the current context.

    What it sets in context variables ends with the call. It stays part of the current task, which
    is cheaper than a task for each message: cancelling the task cancels it.
    """
    work = function(argument)
    if type(work) is not CoroutineType and not isinstance(work, Coroutine):  # the second asks an ABC: slow
        return await work
    run = contextvars.copy_context().run
    try:
        awaited = run(work.send, None)
    except StopIteration as end:  # it did not have to wait
        return end.value
    return await _Remainder(work, run, awaited)


class Ended:
    """A coroutine that did not have to wait, and returned `value`."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def start(work: Coroutine[Any, Any, Any], run: Callable[..., Any]) -> Ended | Awaitable[Any]:
    """Run `work` up to where it first waits, by the `run` of its context. Await what is left."""
    try:
        awaited = run(work.send, None)
    except StopIteration as end:
        return Ended(end.value)
    return _Remainder(work, run, awaited)


class _Remainder:
    """A coroutine that has been started and awaits `awaited`; its steps run in its context."""

    __slots__ = ("_awaited", "_run", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], run: Callable[..., Any], awaited: Any) -> None:
        self._work, self._run, self._awaited = work, run, awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited, step = self._awaited, self._run
        while True:
            try:
                value = yield awaited
            except BaseException as error:
                work = partial(step, self._work.throw, error)
            else:
                work = partial(step, self._work.send, value)
            try:
                awaited = work()
            except StopIteration as end:
                return end.value
