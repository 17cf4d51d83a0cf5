"""The hooks of a worker: functions that open and close what its handlers need."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from typing import Any, Final, TypeVar

from .._core.execution.thread_pool import run_in_thread
from .._core.log_records import LogFields, sdk_logger
from ..errors import OptionsError

log: Final = sdk_logger("worker")

STOP_TIMEOUT: Final = 5.0
"""Seconds for all stop hooks of a process, so that a hook that hangs does not keep the worker."""

Hook = Callable[[], object]
"""What it returns is dropped, after an awaitable has been awaited."""
HookT = TypeVar("HookT", bound=Hook)


class Hooks:
    """Functions without arguments: `start` in the order of registration, `stop` in reverse.

    Coroutine functions run in the event loop, plain ones in a thread, as they may block.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.start: list[Callable[[], Any]] = []
        self.stop: list[Callable[[], Any]] = []

    def check(self, function: Callable[[], Any], *, plain: str = "") -> None:
        """Raises `OptionsError` if it is not a hook; `plain` is why it must not be async."""
        if not callable(function):
            raise OptionsError(f"the worker of {self._name}: {function!r} is not a hook, which is a function without arguments")
        try:
            inspect.signature(function).bind()
        except TypeError:
            raise OptionsError(
                f"the worker of {self._name}: the hook {_name(function)} takes arguments, but a hook is called without any"
            ) from None
        except ValueError:  # a function in C that does not tell
            pass
        if plain and inspect.iscoroutinefunction(function):
            raise OptionsError(f"the worker of {self._name} {plain}: its hook {_name(function)} is a plain function")

    async def run_start(self) -> None:
        """Run the start hooks. Raises what the first one raises that fails, and runs no other."""
        for function in self.start:
            await _call(function)

    async def run_stop(self) -> None:
        """Run all stop hooks, also after one that fails. Logs each error, and raises the first."""
        first: BaseException | None = None
        limit = asyncio.timeout(STOP_TIMEOUT)
        try:
            async with limit:
                for function in reversed(self.stop):
                    try:
                        await _call(function)
                    except Exception as error:
                        fields = LogFields(consumer=self._name, error_type=type(error).__name__)
                        log.error(
                            "the worker of %s: on_stop hook %s failed", self._name, _name(function), exc_info=error, extra=fields
                        )
                        first = first or error
        except TimeoutError:
            if not limit.expired():
                raise
            log.error(
                "the worker of %s: its on_stop hooks have not ended within %g s",
                self._name,
                STOP_TIMEOUT,
                extra=LogFields(consumer=self._name),
            )
        if first is not None:
            raise first


async def _call(function: Callable[[], Any]) -> None:
    if inspect.iscoroutinefunction(function):
        await function()
        return
    result = await run_in_thread(contextvars.copy_context().run, function)
    if inspect.isawaitable(result):
        await result


def _name(function: Callable[[], Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
