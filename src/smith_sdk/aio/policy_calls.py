"""Calling the user's policy: by its signature, in a thread if it is a plain function, in time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from .._core.execution.thread_pool import ThreadPool
from .._core.log_records import LogFields, sdk_logger
from ..errors import HandlerTimeout, OptionsError
from ..topology import consumers
from .message import Message

log: Final = sdk_logger("admission")

T = TypeVar("T")
Present = Callable[[Message[Any, Any]], Any]
_NEEDED: Final = "a function of an intent, or of an intent and its message, is needed"
_SPARE: Final = 4
"""How many threads there may be for each slot, with those that a hung policy still occupies."""


class PolicyCalls:
    """Calls `policy`, at most `slots` calls at once, each for at most `timeout` seconds."""

    def __init__(self, policy: Callable[..., Any], slots: int, timeout: float) -> None:
        self.name = f"policy {getattr(policy, '__qualname__', None) or repr(policy)}"
        self._policy = policy
        self._takes_message = _takes_message(policy)
        self._in_thread = not inspect.iscoroutinefunction(policy)
        self._slots = slots
        self._timeout = timeout
        self._threads: ThreadPool | None = None
        self._present: Present | None = None

    def show_as(self, present: Present) -> None:
        """Have the policy get what `present` makes of a message."""
        self._present = present

    def open(self) -> None:
        """Start the threads. Raises `RuntimeError` if the system has no more."""
        if self._in_thread:
            self._threads = ThreadPool(f"smith-{consumers.admission.name}", self._slots, most=self._slots * _SPARE)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()

    async def decide(self, message: Message[Any, Any]) -> object:
        """What the policy returns. Raises what it raises, and `HandlerTimeout`."""
        return await self.in_time(self._call(message), f"the {self.name}")

    async def in_time(self, work: Coroutine[Any, Any, T], what: str) -> T:
        """What `work` returns. Raises `HandlerTimeout`, in which it is called `what`."""
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise HandlerTimeout(
                    f"{what} took longer than {self._timeout:g} s: Admission(timeout=...) sets the limit"
                ) from None
            raise

    async def _call(self, message: Message[Any, Any]) -> object:
        result = await (self._call_in_thread(message) if self._in_thread else self._policy(*self._arguments(message)))
        while inspect.isawaitable(result):
            result = await result
        return result

    def _arguments(self, message: Message[Any, Any]) -> tuple[Any, ...]:
        if not self._takes_message:
            return (message.payload,)
        return message.payload, message if self._present is None else self._present(message)

    async def _call_in_thread(self, message: Message[Any, Any]) -> Any:
        assert self._threads is not None
        arguments = self._arguments(message)
        if self._takes_message and self._present is None:
            message._in_thread = True  # it is for reading there: nothing can be awaited
        call = _Call(self._policy, arguments)
        try:
            result = await self._threads.run(call)
        except asyncio.CancelledError:
            call.is_abandoned = True
            if call.is_running and not self._threads.replace():
                log.error(
                    "%s: %d threads are occupied by calls that have not returned: no more are started, so other intents "
                    "have to wait for a thread",
                    self.name,
                    self._slots * _SPARE,
                    extra=LogFields(stream=consumers.admission.stream, consumer=consumers.admission.name),
                )
            raise
        finally:
            if not call.is_running:
                message._in_thread = False
        return result


class _Call:
    """One call of a policy in a thread. Not made if it was abandoned before its turn."""

    def __init__(self, policy: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._policy = policy
        self._arguments = arguments
        self.is_running = False
        self.is_abandoned = False

    def __call__(self) -> Any:
        if self.is_abandoned:
            return None
        self.is_running = True
        try:
            return self._policy(*self._arguments)
        finally:
            self.is_running = False


def _takes_message(policy: object) -> bool:
    """Whether `policy` takes the message beside the intent. Raises `OptionsError`."""
    if not callable(policy):
        raise OptionsError(f"Admission(policy={policy!r}): {_NEEDED}")
    try:
        signature = inspect.signature(policy)
    except ValueError:  # a function in C may have none
        return False
    positional = [
        one
        for one in signature.parameters.values()
        if one.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    # A second parameter with a default is the user's own, unless it has the name of ours.
    wanted = len(positional) > 1 and (positional[1].default is inspect.Parameter.empty or positional[1].name == "message")
    try:
        signature.bind(*[None] * (1 + wanted))
    except TypeError as error:
        raise OptionsError(f"Admission(policy={policy!r}): {_NEEDED}, and it takes {signature}: {error}") from None
    return wanted
