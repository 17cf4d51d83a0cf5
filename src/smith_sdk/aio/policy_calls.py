"""Calling the user's policy: by its signature, in time, in a thread if it is a plain function.

A policy that is inline is called in the loop's own thread, and nothing can end it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from types import CoroutineType
from typing import Any, Final, TypeVar

from .._core.execution.context_call import Ended, start
from .._core.execution.deadlines import Deadlines
from .._core.execution.prompt_future import PromptFuture
from .._core.execution.thread_pool import ThreadPool
from .._core.log_records import LogFields, sdk_logger
from ..errors import HandlerTimeout, OptionsError, Reject
from ..topology import consumers
from .decisions import Allow, Deny, Quarantine, Transform
from .inline_policy import NEEDED, Inline
from .message import Message

log: Final = sdk_logger("admission")

T = TypeVar("T")
_DECISIONS: Final = frozenset({Allow, Deny, Transform, Quarantine})
Present = Callable[[Message[Any, Any]], Any]
_SPARE: Final = 4
"""How many threads there may be for each slot, with those that a hung policy still occupies."""


class PolicyCalls:
    """Calls `policy`, at most `slots` calls at once, each for at most `timeout` seconds."""

    def __init__(self, policy: Callable[..., Any], slots: int, timeout: float) -> None:
        self._takes_message = _takes_message(policy)
        self._is_inline = isinstance(policy, Inline)
        if isinstance(policy, Inline):
            policy = policy.policy
        self.name = f"policy {getattr(policy, '__qualname__', None) or repr(policy)}"
        self._policy = policy
        self._in_thread = not self._is_inline and not inspect.iscoroutinefunction(policy)
        self._slots = slots
        self._timeout = timeout
        self._threads: ThreadPool | None = None
        self._deadlines: Deadlines | None = None
        """Those of the calls in threads."""
        self._present: Present | None = None

    def show_as(self, present: Present) -> None:
        """Have the policy get what `present` makes of a message."""
        self._present = present

    def open(self) -> None:
        """Start the threads. Raises `RuntimeError` if the system has no more."""
        if self._in_thread:
            self._threads = ThreadPool(f"smith-{consumers.admission.name}", self._slots, most=self._slots * _SPARE)
            self._deadlines = Deadlines(self._timeout)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.close()
        if self._deadlines is not None:
            self._deadlines.close()

    async def decide(self, message: Message[Any, Any]) -> object:
        """What the policy returns. Raises what it raises, and `HandlerTimeout`."""
        if self._in_thread:
            began = monotonic()
            result = await self._call_in_thread(message)
            return await self.in_time(self._awaited(result), f"the {self.name}", began) if _is_awaitable(result) else result
        # What it sets in context variables ends with the call.
        run = contextvars.copy_context().run
        result = run(self._policy, *self._arguments(message))
        if self._is_inline:
            return self._of_inline(result)
        if type(result) is not CoroutineType:
            return await self.in_time(self._awaited(result), f"the {self.name}")
        began = monotonic()
        begun = start(result, run)
        if isinstance(begun, Ended):  # most wait for nothing, and need no timer
            result = begun.value
            if not _is_awaitable(result):
                return result
            begun = result
        return await self.in_time(self._awaited(begun), f"the {self.name}", began)

    def _of_inline(self, result: object) -> object:
        if not _is_awaitable(result):
            return result
        if inspect.iscoroutine(result):
            result.close()
        raise Reject(f"the {self.name} is inline and returned {type(result).__name__}: it has to return a Decision")

    async def check_in_time(self, check: Coroutine[Any, Any, T], what: str) -> T:
        """`in_time`, for what mostly waits for nothing, and then needs no timer."""
        began = monotonic()
        begun = start(check, _call)
        if isinstance(begun, Ended):
            found: T = begun.value
            return found
        return await self.in_time(begun, what, began)

    async def in_time(self, work: Awaitable[T], what: str, began: float | None = None) -> T:
        """What `work` returns. Raises `HandlerTimeout`, in which it is called `what`.

        `began`: when it was started (monotonic), if that is not now.
        """
        limit = asyncio.timeout(self._timeout if began is None else began + self._timeout - monotonic())
        try:
            async with limit:
                return await work
        except TimeoutError:
            if limit.expired():
                raise self._too_long(what) from None
            raise

    def _too_long(self, what: str) -> HandlerTimeout:
        return HandlerTimeout(f"{what} took longer than {self._timeout:g} s: Admission(timeout=...) sets the limit")

    async def _awaited(self, work: Awaitable[Any]) -> object:
        """What `work` ends with, and if that can be awaited, what that ends with."""
        result = await work
        while _is_awaitable(result):
            result = await result
        return result

    def _arguments(self, message: Message[Any, Any]) -> tuple[Any, ...]:
        if not self._takes_message:
            return (message.payload,)
        return message.payload, message if self._present is None else self._present(message)

    async def _call_in_thread(self, message: Message[Any, Any]) -> Any:
        assert self._threads is not None
        assert self._deadlines is not None
        arguments = self._arguments(message)
        if self._takes_message and self._present is None:
            message._in_thread = True  # it is for reading there: nothing can be awaited
        call = _Call(self._policy, arguments)
        future: PromptFuture[Any] = PromptFuture()
        is_late = False
        self._threads.submit_for(future, call)
        self._deadlines.add(future)
        try:
            try:
                return await future
            finally:
                is_late = self._deadlines.remove(future)
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
            task = asyncio.current_task()
            if is_late and task is not None and not task.cancelling():
                raise self._too_long(f"the {self.name}") from None
            raise
        finally:
            if not call.is_running:
                message._in_thread = False


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


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _is_awaitable(result: object) -> bool:
    return type(result) not in _DECISIONS and inspect.isawaitable(result)


def _takes_message(policy: object) -> bool:
    """Whether `policy` takes the message beside the intent. Raises `OptionsError`."""
    if not callable(policy):
        raise OptionsError(f"Admission(policy={policy!r}): {NEEDED}")
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
        raise OptionsError(f"Admission(policy={policy!r}): {NEEDED}, and it takes {signature}: {error}") from None
    return wanted
